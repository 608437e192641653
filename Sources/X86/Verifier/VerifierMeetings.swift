/// Where ways meet, what is known on all of them is known on.
extension VerifierState {
  /// Keeps what holds in `other` too, which is used up by that. Returns whether that is less than before.
  ///
  /// - Parameter isFinal: a fact that would say less goes altogether.
  func meet(_ other: VerifierState, isFinal: Bool) -> Bool {
    var changed = meetValues(other)
    if meetFacts(other, isFinal: isFinal) { changed = true }
    if meetTables(other) { changed = true }
    if meetShort(other) { changed = true }
    if flags != other.flags && flags != .unknown {
      flags = .unknown
      changed = true
    }
    if jump != nil && jump != other.jump {
      jump = nil
      changed = true
    }
    if exit != nil && exit != other.exit {
      exit = nil
      changed = true
    }
    func both(_ mine: inout Bool, _ theirs: Bool) {
      if mine && !theirs {
        mine = false
        changed = true
      }
    }
    both(&hasJumpPage, other.hasJumpPage)
    both(&isLeftByKnown, other.isLeftByKnown)
    both(&isBelowTurns, other.isBelowTurns)
    both(&hasVectors, other.hasVectors)
    both(&hasX87, other.hasX87)
    return changed
  }

  private func meetValues(_ other: VerifierState) -> Bool {
    var changed = false
    // Guest registers first: what others hold is then said by them on both ways.
    let temporaries: UInt16 = 1 << UInt16(Host.rax) | 1 << UInt16(Host.r14) | 1 << UInt16(Host.r15)
    for part in [~temporaries, temporaries] {
      var left = (known | other.known) & part
      while left != 0 {
        let register = UInt8(left.trailingZeroBitCount)
        left &= left - 1
        guard self[register] != other[register] else { continue }
        if known >> UInt16(register) & 1 != 0 {
          giveUp(register, besides: other)
          changed = true
        }
        other.giveUp(register, besides: self)
      }
    }
    let strangers = foreign | other.foreign
    if strangers != foreign {
      foreign = strangers
      changed = true
    }
    return changed
  }

  /// The register becomes its own. What is said by the place that it was an alias of, and is not so in `other`, is said by the
  /// register from now on.
  private func giveUp(_ register: UInt8, besides other: VerifierState) {
    let value = self[register]
    materialize(Int(register))
    guard case .sum(let alias) = value, let place = alias.single else { return }
    let expressed = { (sum: Sum) -> Sum? in
      sum.replacing(place, by: Place(register)).map {
        var result = $0
        result.rebase(Place(register), alias.constant)
        return result
      }
    }
    var left = known
    while left != 0 {
      let each = UInt8(left.trailingZeroBitCount)
      left &= left - 1
      if self[each].sum?.contains(place) ?? false, self[each] != other[each] {
        self[each] = self[each].mapped(expressed)
      }
    }
    for index in 0..<8 where self[stride: index] != .own && self[stride: index] != other[stride: index] {
      self[stride: index] = self[stride: index].mapped(expressed)
    }
    for lookup in lookups where lookup.address.contains(place) {
      if let address = expressed(lookup.address) { append(lookup.cell, address) }
    }
  }

  private func meetFacts(_ other: VerifierState, isFinal: Bool) -> Bool {
    var changed = false
    var kept = 0
    // Mostly both have the same, in the same order.
    var hint = 0
    for index in 0..<factCount {
      let fact = facts[index]
      if hint < other.factCount, other.facts[hint] == fact {
        facts[kept] = fact
        kept += 1
        hint += 1
        continue
      }
      var best: Fact?
      for place in 0..<other.factCount where other.facts[place].isLike(fact) {
        let each = other.facts[place]
        if each == fact {
          best = fact
          hint = place + 1
          break
        }
        var met = fact
        met.low = max(fact.low, each.low)
        met.high = min(fact.high, each.high)
        if fact.kind == .noCarry { met.high = fact.high }
        met.write = fact.write && each.write
        if each.site != fact.site { met.site = -1 }
        guard met.low < met.high || fact.kind == .noCarry || fact.kind == .run else { continue }
        if best.map({ met.high - met.low > $0.high - $0.low || met.write && !$0.write }) ?? true { best = met }
      }
      guard let best, best == fact || !isFinal else {
        changed = true
        continue
      }
      if best != fact { changed = true }
      facts[kept] = best
      kept += 1
    }
    keepFacts(kept)
    return changed
  }

  /// Strides, bounds and lookups.
  private func meetTables(_ other: VerifierState) -> Bool {
    var changed = false
    for index in 0..<8 where self[stride: index] != .own && self[stride: index] != other[stride: index] {
      self[stride: index] = .own
      changed = true
    }
    if !bounds.isEmpty {
      let found = bounds.filter { each in other.bounds.contains { $0.place == each.place && $0.most <= each.most } }
      if found.count != bounds.count {
        bounds = found
        changed = true
      }
    }
    if !lookups.isEmpty {
      let found = lookups.filter { each in
        other.lookups.contains { $0.cell == each.cell && $0.address == each.address }
      }
      if found.count != lookups.count {
        lookups = found
        changed = true
      }
    }
    return changed
  }
}
