import Synchronization

/// An image in whose place another of the same content comes while a drive has it: when a snapshot is taken, one that is based
/// on it.
public final class SwitchableImage: ImageInFront {
  private let inner: Mutex<any DiskImage>
  private let listener = Mutex<(@Sendable (DiskImageError) -> Void)?>(nil)

  /// Begins with this one.
  public init(_ image: any DiskImage) { inner = Mutex(image) }

  /// That which is there now.
  public var behind: any DiskImage { inner.withLock { $0 } }

  /// Puts another in its place, which is held as this one is. Nobody may be reading or writing.
  public func change(to image: any DiskImage) {
    image.noteWritten(blocks: behind.recentlyWritten)
    if let body = listener.withLock({ $0 }) { image.onFailure(body) }
    inner.withLock { $0 = image }
  }

  public func onFailure(_ body: @escaping @Sendable (DiskImageError) -> Void) {
    listener.withLock { $0 = body }
    behind.onFailure(body)
  }
}
