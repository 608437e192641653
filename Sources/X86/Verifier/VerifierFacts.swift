/// What facts say.
extension VerifierState {
  /// Whether the guest may access `size` bytes at the address.
  func allows(_ address: Sum, _ size: Int, write: Bool) -> Bool {
    for index in 0..<factCount where facts[index].terms == address.terms {
      let kind = facts[index].kind
      guard kind == .access || kind == .stride, facts[index].isCut == address.isCut, !write || facts[index].write else {
        continue
      }
      var first = address.constant
      if address.isCut {
        guard facts[index].cut == address.cut, address.inner >= facts[index].low, address.inner < facts[index].high
        else { continue }
        first &+= address.inner
      }
      if first >= facts[index].low && first <= facts[index].high - Int64(size) { return true }
    }
    return false
  }

  /// A turn has been taken from a counter, which has not gone below 0.
  func takeTurn(_ counter: Place) {
    for index in 0..<factCount where facts[index].counter == counter {
      switch facts[index].kind {
      case .stride:
        facts[index].low &+= facts[index].step
        facts[index].high &+= facts[index].step
      case .noCarry: facts[index].low = max(facts[index].low - abs(facts[index].step), 0)
      default: break
      }
    }
    removeFacts { $0.counter == counter && $0.kind == .run }
  }

  /// `counter` has got what `other` holds.
  func copyCounter(_ counter: Place, from other: Place) {
    for index in 0..<factCount where facts[index].counter == other {
      guard facts[index].kind == .stride || facts[index].kind == .noCarry else { continue }
      var copy = facts[index]
      copy.counter = counter
      add(copy)
    }
  }
}
