/// What bytes are read from and written to by their place: a medium, or the file that a format lies on.
public protocol ByteStorage: AnyObject, Sendable {
  /// Fills `buffer` from `offset` (bytes) on.
  /// - Throws: `DiskImageError`.
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError)
  /// - Throws: `DiskImageError`.
  func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError)
}

extension ByteStorage {
  /// So many bytes from `offset` on.
  /// - Throws: `DiskImageError`.
  public func bytes(at offset: UInt64, count: Int) throws(DiskImageError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    try bytes.withUnsafeMutableBytes { buffer in
      Result<Void, DiskImageError> { () throws(DiskImageError) in try read(at: offset, into: buffer) }
    }.get()
    return bytes
  }

  /// Writes them from `offset` on.
  /// - Throws: `DiskImageError`.
  public func write(_ bytes: [UInt8], at offset: UInt64) throws(DiskImageError) {
    try bytes.withUnsafeBytes { buffer in
      Result<Void, DiskImageError> { () throws(DiskImageError) in try write(at: offset, from: buffer) }
    }.get()
  }
}
