import Synchronization

/// An image in whose place another of the same content comes while a drive has it: when a snapshot is taken, one that is based
/// on it.
public final class SwitchableImage: DiskImage {
  private let inner: Mutex<any DiskImage>
  private let listener = Mutex<(@Sendable (DiskImageError) -> Void)?>(nil)

  /// Begins with this one.
  public init(_ image: any DiskImage) { inner = Mutex(image) }

  /// That which is there now.
  public var current: any DiskImage { inner.withLock { $0 } }

  /// Puts another in its place, which is held as this one is. Nobody may be reading or writing.
  public func change(to image: any DiskImage) {
    image.noteWritten(blocks: current.recentlyWritten)
    if let body = listener.withLock({ $0 }) { image.onFailure(body) }
    inner.withLock { $0 = image }
  }

  public var path: String { current.path }
  public var size: UInt64 { current.size }
  public var isReadOnly: Bool { current.isReadOnly }
  public var identity: MediumIdentity { current.identity }
  public var recentlyWritten: [UInt64] { current.recentlyWritten }
  public var hold: MediumHold { current.hold }

  public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    try current.read(at: offset, into: buffer)
  }
  public func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError) {
    try current.write(at: offset, from: buffer)
  }
  public func discard(at offset: UInt64, count: UInt64) throws(DiskImageError) {
    try current.discard(at: offset, count: count)
  }
  public func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(DiskImageError) {
    try current.writeZeroes(at: offset, count: count, mayUnmap: mayUnmap)
  }
  public func flush() throws(DiskImageError) { try current.flush() }
  public func lock() throws(DiskImageError) { try current.lock() }
  public func share() throws(DiskImageError) { try current.share() }
  public func unlock() { current.unlock() }
  public func setMark(_ mark: UInt64?) throws(DiskImageError) { try current.setMark(mark) }
  public func noteWritten(blocks: [UInt64]) { current.noteWritten(blocks: blocks) }
  public func note(failure: DiskImageError) { current.note(failure: failure) }
  public func onFailure(_ body: @escaping @Sendable (DiskImageError) -> Void) {
    listener.withLock { $0 = body }
    current.onFailure(body)
  }
}
