import CHost

/// The careful body: where accesses that are checked together lie in two pages now and then, the block's rest is emitted
/// once more with each checked by itself. A check for several that fails leads there, to its own instruction; from there
/// the block goes on to its end.
extension BlockTranslator {
  /// Whether the check that has failed was for others too.
  func isLeader(_ miss: Miss) -> Bool { leaders.contains { $0.isAt(miss) } }

  mutating func emitCarefulBody() {
    guard block.pointee.careful != 0, let first = leaders.map(\.index).min() else { return }
    enter(.careful)
    index = first
    flags = .rax
    epoch += 1
    emitInstructions()
  }

  /// Before the code of instruction `index` of the careful body: who comes from a leader arrives. Flags are in RAX.
  mutating func meetCareful() {
    let isWanted = leaders.contains { $0.index == index || $0.index + 1 == index }
    guard isWanted else { return }
    _ = meetWays()
    hasVectors = false
    hasX87 = false
    alignments = []
    carefulLabels[index] = a.cursor
  }

  /// The way of a leader's check that has failed: tries again, then has the instruction and all that follow it checked by
  /// themselves. Whoever has no way to try again, or has done so too often, has its instruction interpreted before.
  mutating func emitCarefulMiss(_ miss: Miss) {
    var steps: UnsafeMutablePointer<UInt8>?
    if let refill = miss.refill {
      emitRefill(refill, join: miss.again)
      if refill.slot >= 0 {
        a.arithmetic(7, StateField.microExhausted, 0, size: 4)
        steps = a.jumpIf(Condition.notEqual)
      }
      emitWayToCareful(miss, steps: false)
    }
    if let steps { Assembler.patch(steps, a.cursor) }
    if steps != nil || miss.refill == nil { emitWayToCareful(miss, steps: true) }
  }

  private mutating func emitWayToCareful(_ miss: Miss, steps: Bool) {
    emitFlags(from: miss.flags, miss.recipe)
    if miss.x87 >= 0 { noteX87(miss.x87) }
    if isExchanged { emitExchange(back: true) }
    if steps { emitStep(miss.index) }
    // An instruction that ends the block does not come back from the interpreter.
    if let label = carefulLabels[steps ? miss.index + 1 : miss.index] { a.jump(to: label) }
  }
}
