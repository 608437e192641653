/// A fast 64-bit checksum against damage (not against forgery): four lanes of multiply and fold, in the manner of
/// multiplicative hashing, so that a page of memory costs well under a microsecond.
public enum Checksum {
  private static let odd1: UInt64 = 0x9E37_79B9_7F4A_7C15
  private static let odd2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
  private static let odd3: UInt64 = 0x1656_67B1_9E37_79F9
  private static let odd4: UInt64 = 0xD6E8_FEB8_6659_FD93

  /// The checksum of bytes; pieces are joined by giving that of the one before as `seed`.
  public static func of(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt64 {
    var lane1 = seed ^ odd1
    var lane2 = seed ^ odd2
    var lane3 = seed ^ odd3
    var lane4 = seed ^ odd4
    let count = bytes.count
    var position = 0
    if let base = bytes.baseAddress {
      let whole = count & ~31
      while position < whole {
        lane1 = fold(lane1, base.loadUnaligned(fromByteOffset: position, as: UInt64.self), odd1)
        lane2 = fold(lane2, base.loadUnaligned(fromByteOffset: position &+ 8, as: UInt64.self), odd2)
        lane3 = fold(lane3, base.loadUnaligned(fromByteOffset: position &+ 16, as: UInt64.self), odd3)
        lane4 = fold(lane4, base.loadUnaligned(fromByteOffset: position &+ 24, as: UInt64.self), odd4)
        position &+= 32
      }
      while position < count {
        lane1 = fold(lane1, UInt64(base.load(fromByteOffset: position, as: UInt8.self)), odd3)
        position &+= 1
      }
    }
    var result = mix(lane1 ^ UInt64(truncatingIfNeeded: count))
    result = mix(result ^ lane2)
    result = mix(result ^ lane3)
    return mix(result ^ lane4)
  }

  /// The checksum of bytes; pieces are joined by giving that of the one before as `seed`.
  public static func of(_ bytes: [UInt8], seed: UInt64 = 0) -> UInt64 {
    bytes.withUnsafeBytes { of($0, seed: seed) }
  }

  /// Spreads every bit of `value` over all bits; 0 does not stay 0.
  @inline(__always)
  public static func mix(_ value: UInt64) -> UInt64 {
    var value = (value ^ (value &>> 32)) &* odd4
    value = (value ^ (value &>> 29)) &* odd1
    return value ^ (value &>> 32) ^ odd2
  }

  @inline(__always)
  private static func fold(_ lane: UInt64, _ word: UInt64, _ odd: UInt64) -> UInt64 {
    let product = (lane ^ word) &* odd
    return product ^ (product &>> 31)
  }
}
