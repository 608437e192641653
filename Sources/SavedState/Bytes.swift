import Foundation

/// Little-endian numbers and length-prefixed strings, written in order.
public struct ByteWriter: Sendable {
  /// What has been put so far.
  public private(set) var bytes: [UInt8] = []

  public init() {}

  /// Appends a number, little-endian.
  public mutating func put<T: FixedWidthInteger>(_ value: T) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// Appends bytes as they are.
  public mutating func put(bytes more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

  /// A name: at most 255 bytes of UTF-8 behind a length byte.
  public mutating func put(name: String) {
    let text = Array(name.utf8.prefix(255))
    put(UInt8(text.count))
    put(bytes: text)
  }
}

/// Reads what `ByteWriter` wrote from bytes that nobody vouches for: every read is checked against what is there.
public struct ByteReader {
  private let bytes: [UInt8]
  private var position: Int
  /// What is being read, for the error.
  private let subject: String

  public init(_ bytes: [UInt8], subject: String) {
    self.bytes = bytes
    position = 0
    self.subject = subject
  }

  /// Bytes not yet taken.
  public var remaining: Int { bytes.count - position }

  /// Takes the next bytes; throws when there are fewer.
  public mutating func take(_ count: Int) throws(SavedStateError) -> ArraySlice<UInt8> {
    guard count >= 0, count <= remaining else { throw .truncated(subject) }
    defer { position += count }
    return bytes[position..<position + count]
  }

  /// Takes a little-endian number; throws when the bytes end before.
  public mutating func number<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type) throws(SavedStateError) -> T {
    let piece = try take(MemoryLayout<T>.size)
    var value: T = 0
    for byte in piece.reversed() { value = (MemoryLayout<T>.size == 1 ? 0 : value << 8) | T(byte) }
    return value
  }

  /// Takes a name: a byte that counts, then UTF-8. Throws when it is cut off or no text.
  public mutating func name() throws(SavedStateError) -> String {
    let count = Int(try number(UInt8.self))
    guard let text = String(validating: try take(count), as: UTF8.self) else {
      throw .corrupt("\(subject): a name is not UTF-8")
    }
    return text
  }

  /// Throws unless everything has been read.
  public func end() throws(SavedStateError) {
    guard remaining == 0 else { throw .corrupt("\(subject): \(remaining) bytes too many") }
  }
}
