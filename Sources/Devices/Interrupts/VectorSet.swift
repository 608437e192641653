/// A set of interrupt vectors: the local APIC's 256-bit registers, in four words so that nothing is allocated.
public struct VectorSet: Codable, Equatable, Sendable {
  private var word0: UInt64 = 0
  private var word1: UInt64 = 0
  private var word2: UInt64 = 0
  private var word3: UInt64 = 0

  public init() {}

  @inline(__always)
  private func word(_ index: UInt8) -> UInt64 {
    switch index {
    case 0: word0
    case 1: word1
    case 2: word2
    default: word3
    }
  }

  /// Whether the vector is in the set.
  public func contains(_ vector: UInt8) -> Bool { word(vector &>> 6) &>> UInt64(vector & 63) & 1 != 0 }

  /// Adds a vector.
  public mutating func insert(_ vector: UInt8) {
    let bit = 1 as UInt64 &<< UInt64(vector & 63)
    switch vector &>> 6 {
    case 0: word0 |= bit
    case 1: word1 |= bit
    case 2: word2 |= bit
    default: word3 |= bit
    }
  }

  /// Takes a vector away.
  public mutating func remove(_ vector: UInt8) {
    let mask = ~(1 as UInt64 &<< UInt64(vector & 63))
    switch vector &>> 6 {
    case 0: word0 &= mask
    case 1: word1 &= mask
    case 2: word2 &= mask
    default: word3 &= mask
    }
  }

  /// The highest vector in the set, or nil.
  @inline(__always)
  public var highest: UInt8? {
    if word3 != 0 { return 255 &- UInt8(word3.leadingZeroBitCount) }
    if word2 != 0 { return 191 &- UInt8(word2.leadingZeroBitCount) }
    if word1 != 0 { return 127 &- UInt8(word1.leadingZeroBitCount) }
    if word0 != 0 { return 63 &- UInt8(word0.leadingZeroBitCount) }
    return nil
  }

  /// The 32-bit register `index` (0 to 7) as the guest reads it.
  public func register(_ index: Int) -> UInt32 {
    UInt32(truncatingIfNeeded: word(UInt8(index >> 1)) &>> UInt64((index & 1) * 32))
  }

  /// No vector is in the set.
  public var isEmpty: Bool { word0 | word1 | word2 | word3 == 0 }
}
