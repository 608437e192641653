/// An image that stands in front of another, and passes on to it what it does not do itself.
public protocol ImageInFront: DiskImage {
  /// The image behind it.
  var behind: any DiskImage { get }
}

extension ImageInFront {
  public var path: String { behind.path }
  public var size: UInt64 { behind.size }
  public var isReadOnly: Bool { behind.isReadOnly }
  public var identity: MediumIdentity { behind.identity }
  public var recentlyWritten: [UInt64] { behind.recentlyWritten }
  public var hold: MediumHold { behind.hold }

  public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    try behind.read(at: offset, into: buffer)
  }
  public func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError) {
    try behind.write(at: offset, from: buffer)
  }
  public func discard(at offset: UInt64, count: UInt64) throws(DiskImageError) {
    try behind.discard(at: offset, count: count)
  }
  public func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(DiskImageError) {
    try behind.writeZeroes(at: offset, count: count, mayUnmap: mayUnmap)
  }
  public func flush() throws(DiskImageError) { try behind.flush() }
  public func lock() throws(DiskImageError) { try behind.lock() }
  public func share() throws(DiskImageError) { try behind.share() }
  public func unlock() { behind.unlock() }
  public func setMark(_ mark: UInt64?) throws(DiskImageError) { try behind.setMark(mark) }
  public func noteWritten(blocks: [UInt64]) { behind.noteWritten(blocks: blocks) }
  public func note(failure: DiskImageError) { behind.note(failure: failure) }
  public func onFailure(_ body: @escaping @Sendable (DiskImageError) -> Void) { behind.onFailure(body) }
}
