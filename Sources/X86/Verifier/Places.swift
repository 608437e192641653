import CHost

/// Where a value can be: a general register of the host, eight bytes of the CPU's state, the addend of a micro-TLB entry,
/// or a ghost, which is a value that some instruction has seen and that need not be anywhere any more.
typealias Place = UInt16

enum Places {
  static let none: Place = 0xffff
  static let firstCell: Place = 64
  static let firstMicro: Place = 1024
  /// The addend of the data TLB's entry that the instruction of that number in the block has looked up.
  static let firstAddend: Place = 0x2000
  /// What a register held before the instruction of that number.
  static let firstValue: Place = 0x6000
  /// Of host instructions in a block.
  static let mostInstructions = 0x4000

  /// The eight bytes at `offset`, a multiple of 8, from the state's start.
  static func cell(_ offset: Int) -> Place { firstCell + Place(offset >> 3) }
  static func micro(_ slot: Int) -> Place { firstMicro + Place(slot) }
  static func addend(_ instruction: Int) -> Place { firstAddend + Place(instruction) }
  static func value(_ instruction: Int) -> Place { firstValue + Place(instruction) }
  /// The same of another register.
  static func otherValue(_ instruction: Int) -> Place { value(mostInstructions + instruction) }
  static func isRegister(_ place: Place) -> Bool { place < 16 }

  /// Whether what the place holds is the host's own, that no guest may see.
  static func isForeign(_ place: Place) -> Bool {
    if place >= firstMicro && place < firstValue { return true }
    return place >= firstCell && place < firstMicro && StateLayout.isForeign(Int(place - firstCell) << 3)
  }
}

/// A sum of places, each a number of times. At most four, in the order of the places.
struct Terms: Equatable {
  private(set) var places = SIMD4<UInt16>(repeating: Places.none)
  private(set) var times = SIMD4<Int16>(repeating: 0)

  static let empty = Terms()

  init() {}

  init(_ place: Place) {
    places[0] = place
    times[0] = 1
  }

  var isEmpty: Bool { places[0] == Places.none }
  var count: Int { (0..<4).count { places[$0] != Places.none } }

  /// The place, when the sum is of one, once.
  var single: Place? { places[0] != Places.none && places[1] == Places.none && times[0] == 1 ? places[0] : nil }

  @inline(__always)
  func times(_ place: Place) -> Int {
    let found = places .== SIMD4(repeating: place)
    return Int(times.replacing(with: 0, where: .!found).wrappedSum())
  }

  @inline(__always)
  func contains(_ place: Place) -> Bool { any(places .== SIMD4(repeating: place)) }

  func contains(where test: (Place) -> Bool) -> Bool {
    (0..<4).contains { places[$0] != Places.none && test(places[$0]) }
  }

  /// The registers among them, a bit for each.
  var registers: UInt16 {
    var bits: UInt16 = 0
    for index in 0..<4 where places[index] < 16 { bits |= 1 << places[index] }
    return bits
  }

  /// nil when there would be more than four.
  func adding(_ place: Place, _ count: Int) -> Terms? {
    if count == 0 { return self }
    var list: [(Place, Int)] = []
    var isNew = true
    for index in 0..<4 where places[index] != Places.none {
      var own = Int(times[index])
      if places[index] == place {
        own += count
        isNew = false
      }
      if own != 0 { list.append((places[index], own)) }
    }
    if isNew { list.append((place, count)) }
    guard list.count <= 4 else { return nil }
    list.sort { $0.0 < $1.0 }
    var result = Terms()
    for (index, (place, count)) in list.enumerated() {
      guard abs(count) < 1 << 14 else { return nil }
      result.places[index] = place
      result.times[index] = Int16(count)
    }
    return result
  }

  func adding(_ other: Terms, _ count: Int) -> Terms? {
    if other.isEmpty || count == 0 { return self }
    if isEmpty && count == 1 { return other }
    var result: Terms? = self
    for index in 0..<4 where other.places[index] != Places.none {
      result = result?.adding(other.places[index], Int(other.times[index]) * count)
    }
    return result
  }

  /// The same with another place in one's stead.
  func replacing(_ place: Place, by other: Place) -> Terms? {
    let count = times(place)
    return count == 0 ? self : adding(place, -count)?.adding(other, count)
  }
}

/// A number of 64 bits: a sum of places and a constant, and if `cut` is not empty or `isCut`, the sum of that and `inner`
/// cut to 32 bits, besides.
struct Sum: Equatable {
  var terms = Terms.empty
  var constant: Int64 = 0
  var isCut = false
  var cut = Terms.empty
  var inner: Int64 = 0

  init() {}
  init(constant: Int64) { self.constant = constant }
  init(_ place: Place) { terms = Terms(place) }

  var isConstant: Bool { terms.isEmpty && !isCut }
  var isForeign: Bool { terms.contains(where: Places.isForeign) || cut.contains(where: Places.isForeign) }
  /// A place and a constant.
  var single: Place? { isCut ? nil : terms.single }

  func contains(_ place: Place) -> Bool { terms.contains(place) || isCut && cut.contains(place) }
  func contains(where test: (Place) -> Bool) -> Bool {
    terms.contains(where: test) || isCut && cut.contains(where: test)
  }

  /// The registers in it, a bit for each.
  var registers: UInt16 { isCut ? terms.registers | cut.registers : terms.registers }

  func adding(_ constant: Int64) -> Sum {
    var result = self
    result.constant &+= constant
    return result
  }

  func adding(_ other: Sum, _ count: Int) -> Sum? {
    if isCut && other.isCut || other.isCut && count != 1 { return nil }
    guard let terms = terms.adding(other.terms, count) else { return nil }
    var result = self
    result.terms = terms
    result.constant &+= other.constant &* Int64(count)
    if other.isCut {
      result.isCut = true
      result.cut = other.cut
      result.inner = other.inner
    }
    return result
  }

  /// Something with the same low 32 bits that is not cut.
  var uncut: Sum? {
    guard isCut else { return self }
    guard let all = terms.adding(cut, 1) else { return nil }
    var result = Sum()
    result.terms = all
    result.constant = constant &+ inner
    return result
  }

  /// The low 32 bits.
  func low() -> Sum? {
    if terms.isEmpty && isCut && constant == 0 { return self }
    // What was cut before can be cut with the rest.
    guard let all = isCut ? terms.adding(cut, 1) : terms else { return nil }
    var result = Sum()
    let inner = Int64(Int32(truncatingIfNeeded: constant &+ (isCut ? self.inner : 0)))
    if all.isEmpty {
      result.constant = inner & 0xffff_ffff
      return result
    }
    result.isCut = true
    result.cut = all
    result.inner = inner
    return result
  }

  /// `place` holds `bytes` more than it did.
  mutating func rebase(_ place: Place, _ bytes: Int64) {
    constant &-= bytes &* Int64(terms.times(place))
    if isCut { inner = Int64(Int32(truncatingIfNeeded: inner &- bytes &* Int64(cut.times(place)))) }
  }

  func replacing(_ place: Place, by other: Place) -> Sum? {
    guard let terms = terms.replacing(place, by: other), let cut = cut.replacing(place, by: other) else { return nil }
    var result = self
    result.terms = terms
    result.cut = cut
    return result
  }
}
