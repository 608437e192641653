import CZlib

/// The frame check sequence of Ethernet (IEEE 802.3, 3.2.9), and what cards make of it to look up multicast addresses.
enum EthernetCRC {
  static func value(of bytes: UnsafeRawBufferPointer) -> UInt32 {
    UInt32(truncatingIfNeeded: crc32(0, bytes.bindMemory(to: UInt8.self).baseAddress, UInt32(bytes.count)))
  }

  /// As it follows a frame.
  static func bytes(of frame: [UInt8]) -> [UInt8] {
    let value = frame.withUnsafeBytes { Self.value(of: $0) }
    return [0, 8, 16, 24].map { UInt8(truncatingIfNeeded: value >> $0) }
  }

  /// The register after the destination address has gone through it, before it is inverted.
  private static func register(_ frame: [UInt8]) -> UInt32 {
    ~frame.withUnsafeBytes { value(of: UnsafeRawBufferPointer(rebasing: $0[..<6])) }
  }

  /// The six highest bits of the register as it shifts towards the lower end: 0 to 63 (Am79C973, "Logical Address Filter").
  static func lowHash(of frame: [UInt8]) -> Int { Int(register(frame) >> 26) }

  /// As it shifts towards the higher end (DP8390D data sheet, 10.3).
  static func highHash(of frame: [UInt8]) -> Int {
    (0..<6).reduce(0) { $0 << 1 | Int(register(frame) >> UInt32($1) & 1) }
  }
}
