/// A firmware table being written: little-endian fields behind each other.
struct TableBytes {
  private(set) var bytes: [UInt8] = []

  init(_ bytes: [UInt8] = []) { self.bytes = bytes }

  var count: Int { bytes.count }

  mutating func append<T: FixedWidthInteger>(_ value: T) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func append(_ more: [UInt8]) { bytes += more }
  mutating func append(_ more: TableBytes) { bytes += more.bytes }

  /// Text of a field of fixed length, filled up with `padding`.
  mutating func append(_ text: String, length: Int, padding: UInt8 = 0x20) {
    let characters = Array(text.utf8.prefix(length))
    bytes += characters + Array(repeating: padding, count: length - characters.count)
  }

  mutating func put<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    withUnsafeBytes(of: value.littleEndian) { bytes.replaceSubrange(offset..<offset + $0.count, with: $0) }
  }

  mutating func align(_ alignment: Int) {
    bytes += Array(repeating: 0, count: (alignment - bytes.count % alignment) % alignment)
  }

  /// What makes a range's bytes add up to 0.
  func checksum(_ range: Range<Int>) -> UInt8 { 0 &- bytes[range].reduce(0, &+) }
}
