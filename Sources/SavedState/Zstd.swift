import CZstd
import Foundation

/// One compression context, kept because building one costs more than a small chunk. For one thread at a time.
public final class ZstdCompressor {
  private let context: OpaquePointer
  private let level: Int32

  /// - Parameter level: 1 is the fastest of the ordinary levels.
  public init(level: Int32 = 1) {
    // Only an exhausted heap makes this nil.
    guard let context = ZSTD_createCCtx() else { preconditionFailure("out of memory") }
    self.context = context
    self.level = level
  }

  deinit { ZSTD_freeCCtx(context) }

  /// A frame with these bytes; throws when the library fails.
  public func compress(_ bytes: UnsafeRawBufferPointer) throws(SavedStateError) -> [UInt8] {
    let bound = ZSTD_compressBound(bytes.count)
    var failure: SavedStateError?
    let result = [UInt8](unsafeUninitializedCapacity: bound) { buffer, count in
      let done = ZSTD_compressCCtx(context, buffer.baseAddress, bound, bytes.baseAddress, bytes.count, level)
      if ZSTD_isError(done) != 0 {
        failure = .corrupt("zstd: \(String(cString: ZSTD_getErrorName(done)))")
      } else {
        count = done
      }
    }
    if let failure { throw failure }
    return result
  }

  /// A frame that any decoder takes and nobody has compressed: RFC 8878, 3.1.1, raw blocks. For a connection that is
  /// faster than the compressor.
  public static func store(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    var result: [UInt8] = []
    store(bytes, appendingTo: &result)
    return result
  }

  /// The same, behind what is there.
  static func store(_ bytes: UnsafeRawBufferPointer, appendingTo result: inout [UInt8]) {
    let blocks = StoredFrame.blocks(bytes.count)
    result.reserveCapacity(result.count + StoredFrame.size(of: bytes.count))
    result += StoredFrame.header(of: bytes.count)
    for block in 0..<blocks {
      let start = block * StoredFrame.blockBytes
      let piece = bytes[start..<min(start + StoredFrame.blockBytes, bytes.count)]
      result += StoredFrame.blockHeader(piece.count, isLast: block == blocks - 1)
      result.append(contentsOf: UnsafeRawBufferPointer(rebasing: piece))
    }
  }
}

/// The frame that `ZstdCompressor.store` makes.
enum StoredFrame {
  static let blockBytes = 128 << 10
  private static let headerBytes = 9
  private static let blockHeaderBytes = 3

  static func blocks(_ count: Int) -> Int { max(1, (count + blockBytes - 1) / blockBytes) }

  /// Of the frame, in bytes.
  static func size(of count: Int) -> Int { headerBytes + blocks(count) * blockHeaderBytes + count }

  /// Magic number; a single segment, whose size follows in four bytes.
  static func header(of count: Int) -> [UInt8] {
    [0x28, 0xB5, 0x2F, 0xFD, 0b1010_0000] + (0..<4).map { UInt8(truncatingIfNeeded: count >> ($0 * 8)) }
  }

  static func blockHeader(_ count: Int, isLast: Bool) -> [UInt8] {
    let head = count << 3 | (isLast ? 1 : 0)
    return (0..<3).map { UInt8(truncatingIfNeeded: head >> ($0 * 8)) }
  }

  /// Whether a frame is one of these, of `count` bytes: then byte N of them is at `place(of: N)`, and nothing need be
  /// decompressed.
  static func isStored(_ frame: UnsafeRawBufferPointer, _ count: Int) -> Bool {
    guard frame.count == size(of: count), frame.prefix(headerBytes).elementsEqual(header(of: count)) else {
      return false
    }
    let blocks = blocks(count)
    return (0..<blocks).allSatisfy { block in
      let start = block * blockBytes
      let place = place(of: start) - blockHeaderBytes
      let expected = blockHeader(min(blockBytes, count - start), isLast: block == blocks - 1)
      return frame[place..<place + blockHeaderBytes].elementsEqual(expected)
    }
  }

  static func place(of offset: Int) -> Int { headerBytes + (offset / blockBytes + 1) * blockHeaderBytes + offset }
}

/// For one thread at a time.
public final class ZstdDecompressor {
  private let context: OpaquePointer

  public init() {
    guard let context = ZSTD_createDCtx() else { preconditionFailure("out of memory") }
    self.context = context
  }

  deinit { ZSTD_freeDCtx(context) }

  /// Decompresses into exactly `target`: input that holds more, less or nonsense is damaged.
  public func decompress(
    _ bytes: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer, subject: @autoclosure () -> String
  ) throws(SavedStateError) {
    let done = ZSTD_decompressDCtx(context, target.baseAddress, target.count, bytes.baseAddress, bytes.count)
    guard ZSTD_isError(done) == 0 else {
      throw .corrupt("\(subject()): \(String(cString: ZSTD_getErrorName(done)))")
    }
    guard done == target.count else { throw .corrupt("\(subject()): \(done) bytes instead of \(target.count)") }
  }
}
