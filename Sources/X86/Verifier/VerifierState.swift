/// What is known on the way to an instruction.
struct VerifierState {
  /// More facts than this are not kept.
  private static let mostFacts = 64

  var registers = ContiguousArray<HostValue>(repeating: .own, count: 16)
  /// Registers of which nothing is known but that they may hold what no guest may see.
  var foreign: UInt16 = 0
  /// Of what the cells of stride pointers hold.
  var strides = ContiguousArray<HostValue>(repeating: .own, count: 8)
  var facts: ContiguousArray<Fact> = []
  /// The most that a place holds.
  var bounds: [(place: Place, most: Int64)] = []
  /// Entries of the data TLB that nothing has replaced since they were looked up: the place of their addend, and the low
  /// half of the address.
  var lookups: [(cell: Place, address: Sum)] = []
  var flags = HostFlags.unknown
  /// The entry of the jump cache whose tag was compared, and whether its page is in `code_page`.
  var jump: JumpPlace?
  var hasJumpPage = false
  /// Why the code is left, when that is in the state.
  var exit: UInt64?
  /// `code_left_by` names an instruction of this block.
  var isLeftByKnown = false
  /// R14 holds less than `turns_left`.
  var isBelowTurns = false
  var hasVectors = false
  var hasX87 = false

  // MARK: Registers

  /// The register's value as a sum, if it is one.
  func sum(_ register: UInt8) -> Sum? {
    switch registers[Int(register)] {
    case .own: Sum(Place(register))
    case .sum(let sum): sum
    default: nil
    }
  }

  func isForeign(_ register: UInt8) -> Bool {
    if case .own = registers[Int(register)] { return foreign >> UInt16(register) & 1 != 0 }
    return isForeign(registers[Int(register)])
  }

  /// Whether no guest may see the value.
  func isForeign(_ value: HostValue) -> Bool {
    if value.isForeign { return true }
    guard case .sum(let sum) = value else { return false }
    let isStranger = { (place: Place) in Places.isRegister(place) && foreign >> UInt16(place) & 1 != 0 }
    return sum.terms.contains(where: isStranger) || sum.isCut && sum.cut.contains(where: isStranger)
  }

  mutating func setForeign(_ register: UInt8, _ isForeign: Bool) {
    let bit: UInt16 = 1 << UInt16(register)
    if isForeign { foreign |= bit } else { foreign &= ~bit }
  }

  /// The register has got a value. One that is made of what it held before is not known any more.
  mutating func set(_ register: UInt8, _ value: HostValue, isForeign: Bool = false) {
    let place = Place(register)
    var value = value
    var isForeign = isForeign
    if case .own = registers[Int(register)] {
      if value.names(place) || value.mapped({ $0.contains(place) ? nil : $0 }) == .own {
        isForeign = isForeign || self.isForeign(value)
        value = .own
      }
      kill(place)
    }
    if register == 14 { isBelowTurns = false }
    if jump == .indexed(register) { jump = nil }
    registers[Int(register)] = value
    if case .own = value { setForeign(register, isForeign) }
  }

  /// A register that is an alias or a sum becomes its own; what is known by the alias is known of it.
  mutating func materialize(_ register: Int) {
    let value = registers[register]
    if case .own = value { return }
    setForeign(UInt8(register), isForeign(value))
    registers[register] = .own
    guard case .sum(let sum) = value else { return }
    guard let place = sum.single else { return copyFacts(of: sum, to: Place(register)) }
    for fact in facts where fact.terms.contains(place) || fact.isCut && fact.cut.contains(place) {
      var copy = fact
      guard let terms = fact.terms.replacing(place, by: Place(register)),
        let cut = fact.cut.replacing(place, by: Place(register))
      else { continue }
      // The address is a constant less by as often as the place is in it.
      if fact.isCut && sum.constant != 0 && fact.terms.contains(place) { continue }
      copy.rebase(place, sum.constant)
      copy.terms = terms
      copy.cut = cut
      add(copy)
    }
  }

  // MARK: Places

  /// What the place holds is something else from now on.
  mutating func kill(_ place: Place) {
    for register in 0..<16 {
      switch registers[register] {
      case .own: continue
      case .sum(let sum):
        guard sum.contains(place) else { continue }
        materialize(register)
      default:
        let value = registers[register]
        guard value.names(place) || value.mapped({ $0.contains(place) ? nil : $0 }) == .own else { continue }
        setForeign(UInt8(register), true)
        registers[register] = .own
      }
    }
    facts.removeAll { $0.contains(place) }
    bounds.removeAll { $0.place == place }
    lookups.removeAll { $0.cell == place || $0.address.contains(place) }
    for index in strides.indices where strides[index] != .own {
      if strides[index].names(place) || strides[index].mapped({ $0.contains(place) ? nil : $0 }) == .own {
        strides[index] = .own
      }
    }
    flags = .unknown
  }

  /// A constant has been added to what the place holds, in 64 bits.
  mutating func shift(_ place: Place, _ bytes: Int64) {
    facts.removeAll { $0.counter == place || $0.kind == .noCarry && $0.terms.contains(place) }
    moved(place, bytes)
  }

  private mutating func moved(_ place: Place, _ bytes: Int64) {
    facts.removeAll { $0.contains(place) && ($0.kind == .run || $0.isCut && $0.terms.contains(place)) }
    for index in facts.indices where facts[index].kind != .noCarry && facts[index].contains(place) {
      facts[index].rebase(place, bytes)
    }
    flags = .unknown
    bounds.removeAll { $0.place == place }
    let rebased = { (sum: Sum) -> Sum? in
      var sum = sum
      sum.rebase(place, bytes)
      return sum
    }
    for register in 0..<16 {
      if case .own = registers[register] { continue }
      if registers[register].names(place) {
        setForeign(UInt8(register), true)
        registers[register] = .own
      } else {
        registers[register] = registers[register].mapped(rebased)
      }
    }
    for index in strides.indices { strides[index] = strides[index].mapped(rebased) }
    for index in lookups.indices { lookups[index].address.rebase(place, bytes) }
  }

  /// The same in 32 bits, the upper half being cleared.
  mutating func shiftLow(_ place: Place, _ bytes: Int64) {
    var isExact = false
    for index in facts.indices where facts[index].kind == .noCarry && facts[index].terms.single == place {
      let at = facts[index].step > 0 ? facts[index].low + bytes : facts[index].low - bytes
      guard at >= 0 && at <= abs(facts[index].step) else { continue }
      facts[index].low = at
      isExact = true
    }
    if !isExact {
      // An address that is cut to 32 bits itself goes on to be known.
      facts.removeAll { $0.terms.contains(place) || $0.counter == place }
      for register in 0..<16 {
        guard case .sum(let sum) = registers[register], sum.terms.contains(place) else { continue }
        setForeign(UInt8(register), isForeign(registers[register]))
        registers[register] = .own
      }
      let safe = { (sum: Sum) -> Sum? in sum.terms.contains(place) ? nil : sum }
      for register in 0..<16 {
        let value = registers[register]
        if case .own = value { continue }
        if value.mapped(safe) == .own {
          setForeign(UInt8(register), true)
          registers[register] = .own
        }
      }
      for index in strides.indices { strides[index] = strides[index].mapped(safe) }
      lookups.removeAll { $0.address.terms.contains(place) }
    } else {
      facts.removeAll { $0.counter == place }
    }
    moved(place, bytes)
  }

  /// What a register has held gets a name of its own, as it is about to hold something else.
  mutating func rename(_ register: UInt8, to ghost: Place) {
    kill(ghost)
    let place = Place(register)
    let renamed = { (sum: Sum) -> Sum? in sum.replacing(place, by: ghost) }
    facts = ContiguousArray(
      facts.compactMap { fact in
        guard fact.contains(place) else { return fact }
        guard fact.kind != .noCarry, fact.counter != place,
          let terms = fact.terms.replacing(place, by: ghost), let cut = fact.cut.replacing(place, by: ghost)
        else { return nil }
        var fact = fact
        fact.terms = terms
        fact.cut = cut
        return fact
      })
    for index in 0..<16 where registers[index] != .own { registers[index] = registers[index].mapped(renamed) }
    for index in lookups.indices {
      if let sum = lookups[index].address.replacing(place, by: ghost) { lookups[index].address = sum }
    }
    kill(place)
  }

  /// Eight bytes of the state have got a value: what is known by the value is known by the cell.
  mutating func store(_ cell: Place, _ value: HostValue, _ sum: Sum?) {
    guard let sum else { return kill(cell) }
    if sum.single == cell { return sum.constant == 0 ? () : shift(cell, sum.constant) }
    let isKnown = !sum.contains(cell)
    kill(cell)
    if isKnown { copyFacts(of: sum, to: cell) }
  }

  /// What is known by a sum is known by the place that holds it.
  private mutating func copyFacts(of sum: Sum, to place: Place) {
    if sum.isConstant { return }
    for fact in facts where fact.kind == .access || fact.kind == .stride {
      var copy = fact
      guard let rest = fact.terms.adding(sum.terms, -1) else { continue }
      if sum.isCut {
        guard fact.isCut, fact.cut == sum.cut, sum.inner >= fact.low, sum.inner < fact.high else { continue }
        copy.isCut = false
        copy.cut = .empty
        copy.low &-= sum.inner &+ sum.constant
        copy.high &-= sum.inner &+ sum.constant
      } else {
        guard rest.count == fact.terms.count - sum.terms.count, !fact.isCut || sum.constant == 0 else { continue }
        copy.low &-= sum.constant
        copy.high &-= sum.constant
      }
      guard let terms = rest.adding(place, 1) else { continue }
      copy.terms = terms
      add(copy)
    }
  }

  // MARK: Facts

  mutating func add(_ fact: Fact) {
    for index in facts.indices where facts[index].isLike(fact) {
      let known = facts[index]
      if known.low <= fact.low && known.high >= fact.high && (known.write || !fact.write)
        && (known.site == fact.site || fact.site < 0)
      {
        return
      }
    }
    if facts.count >= Self.mostFacts { facts.removeFirst() }
    facts.append(fact)
  }

  /// Whether the guest may access `size` bytes at the address.
  func allows(_ address: Sum, _ size: Int, write: Bool) -> Bool {
    for fact in facts where fact.kind == .access || fact.kind == .stride {
      guard fact.terms == address.terms, fact.isCut == address.isCut, !write || fact.write else { continue }
      var first = address.constant
      if address.isCut {
        guard fact.cut == address.cut, address.inner >= fact.low, address.inner < fact.high else { continue }
        first &+= address.inner
      }
      if first >= fact.low && first <= fact.high - Int64(size) { return true }
    }
    return false
  }

  /// A turn has been taken from a counter, which has not gone below 0.
  mutating func takeTurn(_ counter: Place) {
    for index in facts.indices where facts[index].counter == counter {
      switch facts[index].kind {
      case .stride:
        facts[index].low &+= facts[index].step
        facts[index].high &+= facts[index].step
      case .noCarry: facts[index].low = max(facts[index].low - abs(facts[index].step), 0)
      default: break
      }
    }
    facts.removeAll { $0.counter == counter && $0.kind == .run }
  }

  /// `counter` has got what `other` holds.
  mutating func copyCounter(_ counter: Place, from other: Place) {
    for fact in facts where fact.counter == other && (fact.kind == .stride || fact.kind == .noCarry) {
      var copy = fact
      copy.counter = counter
      add(copy)
    }
  }

  /// Entries of the data TLB may have been replaced, but for the one whose addend is `kept`.
  mutating func dropLookups(except kept: Place = Places.none) {
    for register in 0..<16 {
      switch registers[register] {
      case .tag(let cell, _, _), .xored(_, let cell, _, _, _), .index(_, let cell):
        guard cell >= Places.firstAddend, cell != kept else { continue }
        setForeign(UInt8(register), true)
        registers[register] = .own
      case .pageNumber: continue
      default: continue
      }
    }
    lookups.removeAll { $0.cell != kept }
  }

  // MARK: Joining

  /// Keeps what holds in `other` too. Returns whether that is less than before.
  ///
  /// - Parameter isFinal: a fact that would say less goes altogether.
  mutating func meet(_ other: VerifierState, isFinal: Bool) -> Bool {
    var other = other
    var changed = false
    for register in 0..<16 where registers[register] != other.registers[register] {
      if registers[register] != .own {
        materialize(register)
        changed = true
      }
      other.materialize(register)
    }
    let strangers = foreign | other.foreign
    if strangers != foreign {
      foreign = strangers
      changed = true
    }
    var kept: ContiguousArray<Fact> = []
    kept.reserveCapacity(facts.count)
    for fact in facts {
      var best: Fact?
      for each in other.facts where each.isLike(fact) {
        var met = fact
        met.low = max(fact.low, each.low)
        met.high = min(fact.high, each.high)
        if fact.kind == .noCarry { met.high = fact.high }
        met.write = fact.write && each.write
        if each.site != fact.site { met.site = -1 }
        guard met.low < met.high || fact.kind == .noCarry || fact.kind == .run else { continue }
        if best.map({ met.high - met.low > $0.high - $0.low || met.write && !$0.write }) ?? true { best = met }
      }
      if let best, best == fact || !isFinal { kept.append(best) }
    }
    if kept != facts {
      facts = kept
      changed = true
    }
    for index in strides.indices where strides[index] != other.strides[index] && strides[index] != .own {
      strides[index] = .own
      changed = true
    }
    let bounded = bounds.filter { each in other.bounds.contains { $0.place == each.place && $0.most <= each.most } }
    if bounded.count != bounds.count {
      bounds = bounded
      changed = true
    }
    let found = lookups.filter { each in other.lookups.contains { $0.cell == each.cell && $0.address == each.address } }
    if found.count != lookups.count {
      lookups = found
      changed = true
    }
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
}
