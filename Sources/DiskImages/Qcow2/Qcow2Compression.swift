import CZlib
import CZstd

/// What a compressed cluster holds. Only read: what the guest writes there goes to a cluster that is not compressed.
enum Qcow2Compression {
  /// Fills `output`, a cluster, with what `input` holds; more of it than was compressed may be there.
  /// - Returns: false when it does not hold a cluster.
  static func expand(
    _ input: [UInt8], _ kind: Qcow2Header.Compression, into output: UnsafeMutableRawBufferPointer
  ) -> Bool {
    switch kind {
    case .zlib: inflate(input, into: output)
    case .zstd: expandZstd(input, into: output)
    }
  }

  /// A raw deflate stream with a window of 4 KiB.
  private static func inflate(_ input: [UInt8], into output: UnsafeMutableRawBufferPointer) -> Bool {
    var stream = z_stream()
    guard inflateInit2_(&stream, -12, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else { return false }
    defer { inflateEnd(&stream) }
    return input.withUnsafeBytes { bytes in
      stream.next_in = UnsafeMutablePointer(mutating: bytes.bindMemory(to: UInt8.self).baseAddress)
      stream.avail_in = UInt32(bytes.count)
      stream.next_out = output.bindMemory(to: UInt8.self).baseAddress
      stream.avail_out = UInt32(output.count)
      let result = CZlib.inflate(&stream, Z_FINISH)
      // Z_BUF_ERROR: the cluster is full before the stream's end was seen.
      return (result == Z_STREAM_END || result == Z_BUF_ERROR) && stream.avail_out == 0
    }
  }

  private static func expandZstd(_ input: [UInt8], into output: UnsafeMutableRawBufferPointer) -> Bool {
    guard let context = ZSTD_createDCtx() else { return false }
    defer { ZSTD_freeDCtx(context) }
    return input.withUnsafeBytes { bytes in
      var from = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
      var to = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
      while to.pos < to.size {
        let before = (from.pos, to.pos)
        let result = ZSTD_decompressStream(context, &to, &from)
        if ZSTD_isError(result) != 0 { return false }
        if result == 0 || before == (from.pos, to.pos) { break }
      }
      return to.pos == to.size
    }
  }
}
