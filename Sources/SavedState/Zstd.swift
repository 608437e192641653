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
