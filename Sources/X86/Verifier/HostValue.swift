/// An entry of the jump cache: an inline cache at a fixed distance from the first entry, or the one at the offset in a
/// register.
enum JumpPlace: Equatable {
  case fixed(Int)
  case indexed(UInt8)
}

/// What the verifier knows of a register's value.
enum HostValue: Equatable {
  /// Nothing but that it is what the register holds.
  case own
  case sum(Sum)
  /// The tag of a TLB entry: `cell` is the place of its addend. Of the data TLB, the low half of the address whose entry it
  /// is.
  case tag(cell: Place, write: Bool, indexed: Sum?)
  /// An address XORed with such a tag, and `delta` added. `site` numbers the instruction.
  case xored(Sum, cell: Place, write: Bool, site: Int, delta: Int64)
  /// The low half of an address rotated or shifted right by 7.
  case rotated(Sum)
  /// The byte offset in its set of the data TLB's entry for an address, by its low half; its addend is `cell`.
  case index(Sum, cell: Place)
  /// Bits 12 to 23 of an address.
  case pageNumber(Sum)
  /// A multiple of 32, at most this.
  case masked(Int, isForeign: Bool)
  /// The address of an entry of the execute TLB.
  case fetchEntry
  /// XORed with the jump key.
  case keyed
  /// The page field of an entry whose tag was compared.
  case jumpPage(JumpPlace)
  /// The low 12 bits.
  case pageOffset(Sum)
  /// The same and the bytes of `count` elements.
  case runEnd(Sum, count: Place, size: Int)
  /// The offset in its page of the address whose check is `site`.
  case offset(site: Int)
  /// `total` less that, or (`isUp` false) that itself.
  case room(site: Int, isUp: Bool, total: Int64)
  case product(site: Int, isUp: Bool, total: Int64, factor: Int64)
  /// That divided by `step`, rounded down.
  case turns(site: Int, isUp: Bool, total: Int64, step: Int64)
  /// What can be added to, or taken from, the low half of a place without a carry.
  case wrapRoom(Place, isUp: Bool)
  /// That shifted right, and then less 1.
  case wrapTurns(Place, isUp: Bool, bits: Int, isLess: Bool)

  var isConstant: Int64? {
    if case .sum(let sum) = self, sum.isConstant { return sum.constant }
    return nil
  }

  /// Whether no guest may see it, whatever registers hold that it is made of.
  var isForeign: Bool {
    switch self {
    case .sum(let sum), .rotated(let sum), .index(let sum, _), .pageNumber(let sum): sum.isForeign
    case .wrapRoom(let place, _), .wrapTurns(let place, _, _, _): Places.isForeign(place)
    case .masked(_, let isForeign): isForeign
    case .pageOffset, .own: false
    default: true
    }
  }

  /// Calls `change` with the sum within, which may make it nil: then nothing is known.
  @inline(__always)
  func mapped(_ change: (Sum) -> Sum?) -> HostValue {
    switch self {
    case .sum(let sum): change(sum).map { .sum($0) } ?? .own
    case .tag(let cell, let write, let indexed):
      if let indexed { change(indexed).map { .tag(cell: cell, write: write, indexed: $0) } ?? .own } else { self }
    case .xored(let sum, let cell, let write, let site, let delta):
      change(sum).map { .xored($0, cell: cell, write: write, site: site, delta: delta) } ?? .own
    case .rotated(let sum): change(sum).map { .rotated($0) } ?? .own
    case .index(let sum, let cell): change(sum).map { .index($0, cell: cell) } ?? .own
    case .pageNumber(let sum): change(sum).map { .pageNumber($0) } ?? .own
    case .pageOffset(let sum): change(sum).map { .pageOffset($0) } ?? .own
    case .runEnd(let sum, let count, let size):
      change(sum).map { .runEnd($0, count: count, size: size) } ?? .own
    default: self
    }
  }

  /// The sum within, if there is one.
  var sum: Sum? {
    switch self {
    case .sum(let sum), .xored(let sum, _, _, _, _), .rotated(let sum), .index(let sum, _), .pageNumber(let sum),
      .pageOffset(let sum), .runEnd(let sum, _, _):
      sum
    case .tag(_, _, let indexed): indexed
    default: nil
    }
  }

  /// The place that it is about, other than by a sum.
  var place: Place? {
    switch self {
    case .tag(let cell, _, _), .xored(_, let cell, _, _, _), .index(_, let cell): cell
    case .runEnd(_, let count, _): count
    case .wrapRoom(let other, _), .wrapTurns(let other, _, _, _): other
    case .jumpPage(.indexed(let register)): Place(register)
    default: nil
    }
  }

  func contains(_ place: Place) -> Bool { self.place == place || sum?.contains(place) ?? false }
  func contains(where test: (Place) -> Bool) -> Bool {
    place.map(test) ?? false || sum?.contains(where: test) ?? false
  }

  /// The registers that it is about, a bit for each.
  var registers: UInt16 {
    var bits = sum?.registers ?? 0
    if let place, place < 16 { bits |= 1 << place }
    return bits
  }

  /// Whether it is about `place`, other than by a sum.
  func names(_ place: Place) -> Bool { self.place == place }
}

/// What the last comparison means for the branch that follows.
enum HostFlags: Equatable {
  case unknown
  /// A value of 64 bits, in `register`, was compared with a constant.
  case compared(HostValue, register: UInt8, Int64)
  /// A keyed value with the tag of an entry.
  case jumpTag(JumpPlace)
  /// A value with `turns_left`.
  case turns(HostValue)
  /// A field of 4 bytes with 0.
  case ready(Int)
  /// What loads the guest's vector registers, or the x87 state, has returned.
  case loaded(vectors: Bool)
  /// 1 was taken from a counter.
  case decremented(Place)
  /// 1 was taken from R14, which held this.
  case borrowed(HostValue)
}

/// Something that holds on the way to an instruction.
struct Fact: Equatable {
  enum Kind: UInt8 {
    /// The guest may access the bytes from the sum plus `low` up to the sum plus `high`.
    case access
    /// The same with any multiple of `step` added, from none to as many as `counter` says.
    case stride
    /// The offset in its page of the sum, plus `step` times `counter`, is 4096 at most.
    case run
    /// A register of 32 bits may have `step` added as often as `counter` says and once more without a carry, counted from
    /// what it held `low` ago.
    case noCarry
  }

  var kind = Kind.access
  var write = false
  var isCut = false
  /// As in `Sum`; `low` and `high` are added to the part that is cut, where there is one.
  var terms: Terms
  var cut = Terms.empty
  var low: Int64
  var high: Int64
  /// Which check has found it: `low` is the byte that was checked, or -1.
  var site = -1
  var step: Int64 = 0
  var counter = Places.none

  func contains(_ place: Place) -> Bool {
    terms.contains(place) || counter == place || isCut && cut.contains(place)
  }

  /// The registers that it speaks of, a bit for each.
  var registers: UInt16 {
    (isCut ? terms.registers | cut.registers : terms.registers) | (counter < 16 ? 1 << counter : 0)
  }

  /// Whether it says the same of maybe other bytes.
  func isLike(_ other: Fact) -> Bool {
    kind == other.kind && terms == other.terms && isCut == other.isCut && cut == other.cut && step == other.step
      && counter == other.counter
  }

  /// A place that is spoken of holds `bytes` more than it did.
  mutating func rebase(_ place: Place, _ bytes: Int64) {
    let count = Int64(isCut ? cut.times(place) : terms.times(place))
    low &-= bytes &* count
    high &-= bytes &* count
  }
}
