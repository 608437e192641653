/// The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words.
enum InternetChecksum {
  /// The one's complement sum of `bytes`, taken as big-endian words, folded to 16 bits and not complemented. A last odd byte
  /// counts as the high half of a word.
  static func sum(_ bytes: UnsafeRawBufferPointer) -> UInt16 {
    // The sum of words in the wrong byte order is the wrong way round and otherwise right (RFC 1071, 2 (B)).
    var total: UInt64 = 0
    var at = 0
    while at &+ 4 <= bytes.count {
      total &+= UInt64(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
      at &+= 4
    }
    if at &+ 2 <= bytes.count {
      total &+= UInt64(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt16.self)))
      at &+= 2
    }
    if at < bytes.count { total &+= UInt64(bytes[at]) }
    while total >> 16 != 0 { total = (total & 0xFFFF) &+ (total >> 16) }
    return UInt16(truncatingIfNeeded: total).byteSwapped
  }

  static func sum(_ bytes: [UInt8], from start: Int, to end: Int) -> UInt16 {
    guard start < end, end <= bytes.count else { return 0 }
    return bytes.withUnsafeBytes { sum(UnsafeRawBufferPointer(rebasing: $0[start..<end])) }
  }

  /// The one's complement sum of two sums.
  static func add(_ first: UInt16, _ second: UInt16) -> UInt16 {
    let (sum, carries) = first.addingReportingOverflow(second)
    return carries ? sum &+ 1 : sum
  }
}

/// Big-endian fields of a frame.
extension [UInt8] {
  func word(at offset: Int) -> UInt16 { UInt16(self[offset]) << 8 | UInt16(self[offset + 1]) }

  mutating func setWord(at offset: Int, _ value: UInt16) {
    self[offset] = UInt8(value >> 8)
    self[offset + 1] = UInt8(value & 0xFF)
  }

  func long(at offset: Int) -> UInt32 { UInt32(word(at: offset)) << 16 | UInt32(word(at: offset + 2)) }

  mutating func setLong(at offset: Int, _ value: UInt32) {
    setWord(at: offset, UInt16(value >> 16))
    setWord(at: offset + 2, UInt16(value & 0xFFFF))
  }
}
