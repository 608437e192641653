/// What a format that is more than bytes lies on: the host's file, or a simulated disk in tests.
///
/// What was written is on stable storage when a `sync` that began afterwards has returned. Until then any part of it, in any
/// order, may be. What lies behind the end reads as zeros.
protocol ClusterStorage: ByteStorage {
  /// For errors.
  var path: String { get }
  /// Bytes.
  var length: UInt64 { get throws(DiskImageError) }
  /// What is written first behind its end has zeros before it and around it.
  var growsWithZeros: Bool { get }
  func sync() throws(DiskImageError)
  func resize(to length: UInt64) throws(DiskImageError)
  /// Gives the storage of these bytes back; they read as zeros then, or nothing has happened.
  func punchHole(at offset: UInt64, count: UInt64) -> Bool
}

extension ClusterStorage {
  /// Numbers of 64 bits, big endian, as qcow2's tables have them.
  func numbers(at offset: UInt64, count: Int) throws(DiskImageError) -> [UInt64] {
    let raw = try bytes(at: offset, count: count * 8)
    return raw.withUnsafeBytes { buffer in
      (0..<count).map { UInt64(bigEndian: buffer.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self)) }
    }
  }

  func write(_ numbers: some Collection<UInt64>, at offset: UInt64) throws(DiskImageError) {
    var raw: [UInt8] = []
    raw.reserveCapacity(numbers.count * 8)
    for number in numbers { withUnsafeBytes(of: number.bigEndian) { raw += $0 } }
    try write(raw, at: offset)
  }
}
