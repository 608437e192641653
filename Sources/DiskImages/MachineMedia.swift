import Foundation

/// The media of one machine, which are held together.
///
/// A machine runs with its media taken exclusively. While it passes to another host both hold them shared, so that no
/// writer can come in between. A reader can; that the machine then runs with a shared hold harms nobody, since that
/// keeps every other writer out as well.
public final class MachineMedia: @unchecked Sendable {
  private var images: [any DiskImage]
  private let mutex = NSLock()
  /// What the machine is entitled to: what it has of an image is less while `claim` still tries.
  private var entitled = MediumHold.none

  public init(_ images: [any DiskImage]) { self.images = images }

  /// Takes all of them exclusively. Done already when that has been done, or is `claim`'s to do.
  /// - Throws: `DiskImageError.inUse` naming a medium that another machine holds; then each is held as before.
  public func take() throws {
    try mutex.withLock {
      guard entitled != .exclusive else { return }
      try change { try $0.lock() }
      entitled = .exclusive
    }
  }

  /// Takes all of them shared, or lets others share them.
  /// - Throws: `DiskImageError.inUse` naming a medium that another machine holds; then each is held as before.
  public func share() throws {
    try mutex.withLock {
      try change { try $0.share() }
      entitled = .shared
    }
  }

  /// Makes exclusive what is held shared, each as soon as nobody else shares it; returns at once.
  public func claim() {
    let isShared = mutex.withLock {
      guard entitled == .shared else { return false }
      entitled = .exclusive
      return true
    }
    guard isShared else { return }
    let thread = Thread { [weak self] in
      var pause = 0.005
      while self?.advance() == false {
        Thread.sleep(forTimeInterval: pause)
        pause = min(pause * 2, 1)
      }
    }
    thread.name = "media"
    thread.start()
  }

  /// Another image in the place of one of them, or of none: the new one is taken as the others are, the old one given up.
  /// - Throws: `DiskImageError.inUse` when another machine holds the new one; then nothing has changed.
  public func exchange(_ old: (any DiskImage)?, for new: (any DiskImage)?) throws {
    try mutex.withLock {
      switch entitled {
      case .none: break
      case .shared: try new?.share()
      case .exclusive: try new?.lock()
      }
      images.removeAll { $0 === old }
      if let new { images.append(new) }
      old?.unlock()
    }
  }

  /// Gives them up.
  public func release() {
    mutex.withLock {
      for image in images { image.unlock() }
      entitled = .none
    }
  }

  /// Brings what was written to stable storage. An error is the guest's to see, at its own next flush.
  public func flush() {
    for image in mutex.withLock({ images.filter(\.isLocked) }) { try? image.flush() }
  }

  /// - Returns: whether there is nothing more to do for a claim.
  private func advance() -> Bool {
    mutex.withLock {
      guard entitled == .exclusive else { return true }
      var isDone = true
      for image in images {
        do { try image.lock() } catch { isDone = false }
      }
      return isDone
    }
  }

  private func change(_ step: (any DiskImage) throws -> Void) throws {
    let before = images.map(\.hold)
    do {
      for image in images { try step(image) }
    } catch {
      for (image, hold) in zip(images, before) {
        switch hold {
        case .none: image.unlock()
        case .shared: try? image.share()
        case .exclusive: try? image.lock()
        }
      }
      throw error
    }
  }
}
