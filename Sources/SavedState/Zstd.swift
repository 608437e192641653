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
    let blockBytes = 128 << 10
    let blocks = max(1, (bytes.count + blockBytes - 1) / blockBytes)
    let size = 9 + blocks * 3 + bytes.count
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      let target = UnsafeMutableRawBufferPointer(buffer)
      target.storeBytes(of: UInt32(0xFD2F_B528).littleEndian, toByteOffset: 0, as: UInt32.self)
      // A single segment, whose size follows in four bytes.
      target[4] = 0b1010_0000
      target.storeBytes(of: UInt32(bytes.count).littleEndian, toByteOffset: 5, as: UInt32.self)
      var position = 9
      for block in 0..<blocks {
        let piece = bytes[block * blockBytes..<min((block + 1) * blockBytes, bytes.count)]
        let head = UInt32(piece.count) << 3 | (block == blocks - 1 ? 1 : 0)
        for byte in 0..<3 { target[position + byte] = UInt8(truncatingIfNeeded: head >> UInt32(byte * 8)) }
        position += 3
        let place = UnsafeMutableRawBufferPointer(rebasing: target[position...])
        place.copyMemory(from: UnsafeRawBufferPointer(rebasing: piece))
        position += piece.count
      }
      count = position
    }
  }
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
