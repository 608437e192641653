/// What is known on the way to an instruction. Reused: ways are many, and what is known mostly fits where it was before.
final class VerifierState {
  /// More facts than this are not kept.
  private static let mostFacts = 64

  /// By register; `own` where `known` says so.
  private let values: UnsafeMutablePointer<HostValue>
  /// Registers whose value is not `own`, a bit for each.
  private(set) var known: UInt16 = 0
  /// Registers of which nothing is known but that they may hold what no guest may see.
  var foreign: UInt16 = 0
  /// Registers that hold what is theirs, with an upper half of zeros, a bit for each.
  private(set) var short: UInt16 = 0
  /// Of what the cells of stride pointers hold.
  private let strideValues: UnsafeMutablePointer<HostValue>
  private var knownStrides: UInt8 = 0
  let facts: UnsafeMutablePointer<Fact>
  private(set) var factCount = 0
  /// Registers that facts, bounds, lookups or other values speak of, and maybe more: what is said of another need not be
  /// looked for.
  private var mentioned: UInt16 = 0
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

  init() {
    values = .allocate(capacity: 16)
    values.initialize(repeating: .own, count: 16)
    strideValues = .allocate(capacity: 8)
    strideValues.initialize(repeating: .own, count: 8)
    facts = .allocate(capacity: Self.mostFacts)
    facts.initialize(repeating: Fact(terms: .empty, low: 0, high: 0), count: Self.mostFacts)
  }

  deinit {
    values.deallocate()
    strideValues.deallocate()
    facts.deallocate()
  }

  /// Nothing is known.
  func clear() {
    known = 0
    foreign = 0
    short = 0
    knownStrides = 0
    factCount = 0
    mentioned = 0
    bounds.removeAll(keepingCapacity: true)
    lookups.removeAll(keepingCapacity: true)
    flags = .unknown
    jump = nil
    hasJumpPage = false
    exit = nil
    isLeftByKnown = false
    isBelowTurns = false
    hasVectors = false
    hasX87 = false
  }

  /// What `other` knows is known.
  func take(_ other: VerifierState) {
    known = other.known
    Self.each(known) { values[$0] = other.values[$0] }
    foreign = other.foreign
    short = other.short
    knownStrides = other.knownStrides
    Self.each(UInt16(knownStrides)) { strideValues[$0] = other.strideValues[$0] }
    factCount = other.factCount
    facts.update(from: other.facts, count: factCount)
    mentioned = other.mentioned
    bounds = other.bounds
    lookups = other.lookups
    flags = other.flags
    jump = other.jump
    hasJumpPage = other.hasJumpPage
    exit = other.exit
    isLeftByKnown = other.isLeftByKnown
    isBelowTurns = other.isBelowTurns
    hasVectors = other.hasVectors
    hasX87 = other.hasX87
  }

  /// Calls `body` with the number of each bit that is set.
  @inline(__always)
  private static func each(_ bits: UInt16, _ body: (Int) -> Void) {
    var left = bits
    while left != 0 {
      body(left.trailingZeroBitCount)
      left &= left &- 1
    }
  }

  // MARK: Registers

  @inline(__always)
  subscript(_ register: UInt8) -> HostValue {
    get { known >> UInt16(register) & 1 == 0 ? .own : values[Int(register)] }
    set {
      let bit: UInt16 = 1 << UInt16(register)
      if case .own = newValue {
        known &= ~bit
      } else {
        known |= bit
        short &= ~bit
        values[Int(register)] = newValue
        mentioned |= newValue.registers
      }
    }
  }

  /// What the cell of a stride's pointer holds.
  subscript(stride index: Int) -> HostValue {
    get { knownStrides >> UInt8(index) & 1 == 0 ? .own : strideValues[index] }
    set {
      let bit: UInt8 = 1 << UInt8(index)
      if case .own = newValue {
        knownStrides &= ~bit
      } else {
        knownStrides |= bit
        strideValues[index] = newValue
        mentioned |= newValue.registers
      }
    }
  }

  func forgetStrides() { knownStrides = 0 }

  /// The register's value as a sum, if it is one.
  func sum(_ register: UInt8) -> Sum? {
    switch self[register] {
    case .own: Sum(Place(register))
    case .sum(let sum): sum
    default: nil
    }
  }

  @inline(__always)
  func isForeign(_ register: UInt8) -> Bool {
    if known >> UInt16(register) & 1 == 0 { return foreign >> UInt16(register) & 1 != 0 }
    return isForeign(values[Int(register)])
  }

  /// Whether no guest may see the value.
  func isForeign(_ value: HostValue) -> Bool {
    if value.isForeign { return true }
    return foreign != 0 && value.registers & foreign != 0
  }

  @inline(__always)
  func setForeign(_ register: UInt8, _ isForeign: Bool) {
    let bit: UInt16 = 1 << UInt16(register)
    if isForeign { foreign |= bit } else { foreign &= ~bit }
  }

  /// The register has got a value. One that is made of what it held before is not known any more.
  func set(_ register: UInt8, _ value: HostValue, isForeign: Bool = false) {
    let place = Place(register)
    var value = value
    var isForeign = isForeign
    short &= ~(1 << place)
    if known >> UInt16(register) & 1 == 0 {
      if value.contains(place) {
        isForeign = isForeign || self.isForeign(value)
        value = .own
      }
      kill(place)
    }
    if register == 14 { isBelowTurns = false }
    if jump == .indexed(register) { jump = nil }
    self[register] = value
    if case .own = value { setForeign(register, isForeign) }
  }

  /// A register that is an alias or a sum becomes its own; what is known by the alias is known of it.
  func materialize(_ register: Int) {
    guard known >> UInt16(register) & 1 != 0 else { return }
    let value = values[register]
    setForeign(UInt8(register), isForeign(value))
    self[UInt8(register)] = .own
    guard case .sum(let sum) = value else { return }
    copyFacts(of: sum, to: Place(register))
  }

  /// Nothing is known of the register any more, but whether a guest may see it.
  private func forget(_ register: Int) {
    setForeign(UInt8(register), isForeign(values[register]))
    self[UInt8(register)] = .own
  }

  // MARK: Places

  /// What the place holds is something else from now on.
  func kill(_ place: Place) {
    flags = .unknown
    if place < 16 {
      let bit: UInt16 = 1 << place
      short &= ~bit
      guard mentioned & bit != 0 else { return }
    }
    Self.each(known) { register in
      switch values[register] {
      case .own: break
      case .sum(let sum): if sum.contains(place) { materialize(register) }
      default: if values[register].contains(place) { forget(register) }
      }
    }
    removeFacts { $0.contains(place) }
    if !bounds.isEmpty { bounds.removeAll { $0.place == place } }
    if !lookups.isEmpty { lookups.removeAll { $0.cell == place || $0.address.contains(place) } }
    Self.each(UInt16(knownStrides)) { if strideValues[$0].contains(place) { self[stride: $0] = .own } }
    if place < 16 { mentioned &= ~(1 << place) }
  }

  /// The interpreter has run an instruction, and the registers of `resident` have been in their places in the state
  /// meanwhile; it may have changed those of `changed`, guest registers.
  func spill(_ resident: [(guest: UInt8, host: UInt8)], changed: UInt16) {
    var hosts: UInt16 = 0
    var cells = changed
    for (guest, host) in resident {
      let bit: UInt16 = 1 << UInt16(guest)
      if known >> UInt16(host) & 1 != 0 { materialize(Int(host)) }
      cells |= bit
      guard changed & bit != 0 else { continue }
      hosts |= 1 << UInt16(host)
      setForeign(host, false)
    }
    flags = .unknown
    let isGone = { (place: Place) -> Bool in
      place < 16 ? hosts >> place & 1 != 0 : place &- Places.firstCell < 16 && cells >> (place & 15) & 1 != 0
    }
    assert(Places.firstCell & 15 == 0 && known & hosts == 0)
    Self.each(known) { if values[$0].contains(where: isGone) { forget($0) } }
    removeFacts {
      $0.terms.contains(where: isGone) || $0.isCut && $0.cut.contains(where: isGone) || isGone($0.counter)
    }
    if !bounds.isEmpty { bounds.removeAll { isGone($0.place) } }
    if !lookups.isEmpty { lookups.removeAll { $0.address.contains(where: isGone) } }
    Self.each(UInt16(knownStrides)) { if strideValues[$0].contains(where: isGone) { self[stride: $0] = .own } }
    mentioned &= ~hosts
    short &= ~hosts
  }

  /// A constant has been added to what the place holds, in 64 bits.
  func shift(_ place: Place, _ bytes: Int64) {
    removeFacts { $0.counter == place || $0.kind == .noCarry && $0.terms.contains(place) }
    if place < 16 { short &= ~(1 << place) }
    moved(place, bytes)
  }

  private func moved(_ place: Place, _ bytes: Int64) {
    removeFacts { $0.contains(place) && ($0.kind == .run || $0.isCut && $0.terms.contains(place)) }
    for index in 0..<factCount where facts[index].kind != .noCarry && facts[index].contains(place) {
      facts[index].rebase(place, bytes)
    }
    flags = .unknown
    if !bounds.isEmpty { bounds.removeAll { $0.place == place } }
    let rebased = { (sum: Sum) -> Sum? in
      var sum = sum
      sum.rebase(place, bytes)
      return sum
    }
    Self.each(known) { register in
      if values[register].names(place) {
        forget(register)
      } else if values[register].contains(place) {
        values[register] = values[register].mapped(rebased)
      }
    }
    Self.each(UInt16(knownStrides)) { self[stride: $0] = strideValues[$0].mapped(rebased) }
    for index in lookups.indices { lookups[index].address.rebase(place, bytes) }
  }

  /// The same in 32 bits, the upper half being cleared.
  func shiftLow(_ place: Place, _ bytes: Int64) {
    var isExact = false
    for index in 0..<factCount where facts[index].kind == .noCarry && facts[index].terms.single == place {
      let at = facts[index].step > 0 ? facts[index].low + bytes : facts[index].low - bytes
      guard at >= 0 && at <= abs(facts[index].step) else { continue }
      facts[index].low = at
      isExact = true
    }
    if isExact {
      removeFacts { $0.counter == place }
    } else {
      // An address that is cut to 32 bits itself goes on to be known.
      removeFacts { $0.terms.contains(place) || $0.counter == place }
      let safe = { (sum: Sum) -> Sum? in sum.terms.contains(place) ? nil : sum }
      Self.each(known) { register in
        if case .sum(let sum) = values[register], sum.terms.contains(place) {
          let isForeign = isForeign(values[register])
          self[UInt8(register)] = .own
          setForeign(UInt8(register), isForeign)
        } else if values[register].mapped(safe) == .own {
          forget(register)
        }
      }
      Self.each(UInt16(knownStrides)) { self[stride: $0] = strideValues[$0].mapped(safe) }
      lookups.removeAll { $0.address.terms.contains(place) }
    }
    moved(place, bytes)
    if place < 16 { short |= 1 << place }
  }

  /// Whether the register's upper half is known to be zeros.
  func isShort(_ place: Place) -> Bool { place < 16 && short >> place & 1 != 0 }

  /// Keeps of the registers with an upper half of zeros those that `other` has too. Returns whether they are fewer.
  func meetShort(_ other: VerifierState) -> Bool {
    let before = short
    short &= other.short
    return short != before
  }

  /// What a register has held gets a name of its own, as it is about to hold something else.
  func rename(_ register: UInt8, to ghost: Place) {
    kill(ghost)
    let place = Place(register)
    let renamed = { (sum: Sum) -> Sum? in sum.replacing(place, by: ghost) }
    for index in 0..<factCount where facts[index].contains(place) {
      guard facts[index].kind != .noCarry, facts[index].counter != place,
        let terms = facts[index].terms.replacing(place, by: ghost),
        let cut = facts[index].cut.replacing(place, by: ghost)
      else { continue }
      facts[index].terms = terms
      facts[index].cut = cut
    }
    Self.each(known) { self[UInt8($0)] = values[$0].mapped(renamed) }
    for index in lookups.indices {
      if let sum = lookups[index].address.replacing(place, by: ghost) { lookups[index].address = sum }
    }
    kill(place)
  }

  /// Eight bytes of the state have got a value: what is known by the value is known by the cell.
  func store(_ cell: Place, _ value: HostValue, _ sum: Sum?) {
    guard let sum else { return kill(cell) }
    if sum.single == cell { return sum.constant == 0 ? () : shift(cell, sum.constant) }
    let isKnown = !sum.contains(cell)
    kill(cell)
    if isKnown { copyFacts(of: sum, to: cell) }
  }

  /// A guest register's place has got the value of a temporary register, which it outlives: what is known by that is known
  /// by the place from now on.
  func store(_ cell: Place, from register: UInt8) {
    let value = self[register]
    if case .sum(let sum) = value, sum.isConstant || sum.single == cell { return store(cell, value, sum) }
    kill(cell)
    switch self[register] {
    case .own: rename(register, to: cell)
    case .sum(let sum): copyFacts(of: sum, to: cell)
    default: return
    }
    self[register] = .sum(Sum(cell))
  }

  /// What is known by a sum is known by the place that holds it.
  private func copyFacts(of sum: Sum, to place: Place) {
    if sum.isConstant { return }
    if let other = sum.single { return copyFacts(of: other, plus: sum.constant, to: place) }
    for index in 0..<factCount where facts[index].kind == .access || facts[index].kind == .stride {
      let fact = facts[index]
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

  /// The same of a place to which a constant was added.
  private func copyFacts(of other: Place, plus constant: Int64, to place: Place) {
    for index in 0..<factCount where facts[index].terms.contains(other) || facts[index].cut.contains(other) {
      var copy = facts[index]
      // The address is a constant less by as often as the place is in it.
      if constant != 0 && (copy.isCut && copy.terms.contains(other) || copy.kind == .noCarry) { continue }
      guard let terms = copy.terms.replacing(other, by: place), let cut = copy.cut.replacing(other, by: place) else {
        continue
      }
      copy.rebase(other, constant)
      copy.terms = terms
      copy.cut = cut
      add(copy)
    }
  }

  // MARK: Facts

  func add(_ fact: Fact) {
    for index in 0..<factCount where facts[index].isLike(fact) {
      if facts[index].low <= fact.low && facts[index].high >= fact.high && (facts[index].write || !fact.write)
        && (facts[index].site == fact.site || fact.site < 0)
      {
        return
      }
    }
    if factCount >= Self.mostFacts {
      factCount -= 1
      for index in 0..<factCount { facts[index] = facts[index + 1] }
    }
    mentioned |= fact.registers
    facts[factCount] = fact
    factCount += 1
  }

  func removeFacts(where isGone: (Fact) -> Bool) {
    var kept = 0
    for index in 0..<factCount where !isGone(facts[index]) {
      if kept != index { facts[kept] = facts[index] }
      kept += 1
    }
    factCount = kept
  }

  /// The facts behind the first `count` go.
  func keepFacts(_ count: Int) { factCount = count }

  func hasFact(where test: (Fact) -> Bool) -> Bool { (0..<factCount).contains { test(facts[$0]) } }

  func forgetFacts() {
    factCount = 0
    bounds.removeAll()
    forgetStrides()
  }

  func bound(_ place: Place, _ most: Int64) {
    if place < 16 { mentioned |= 1 << place }
    bounds.append((place, most))
  }

  func noteLookup(_ cell: Place, _ address: Sum) {
    if !lookups.contains(where: { $0.cell == cell }) { append(cell, address) }
  }

  func append(_ cell: Place, _ address: Sum) {
    guard !lookups.contains(where: { $0.cell == cell && $0.address == address }) else { return }
    mentioned |= address.registers
    lookups.append((cell, address))
  }

  /// Entries of the data TLB may have been replaced, but for the one whose addend is `kept`.
  func dropLookups(except kept: Place = Places.none) {
    Self.each(known) { register in
      switch values[register] {
      case .tag(let cell, _, _), .xored(_, let cell, _, _, _), .index(_, let cell):
        if cell >= Places.firstAddend && cell != kept { forget(register) }
      default: break
      }
    }
    if !lookups.isEmpty { lookups.removeAll { $0.cell != kept } }
  }
}
