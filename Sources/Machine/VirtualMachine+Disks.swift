import DiskImages

/// An image that stands on what a disk has, and takes its place.
public struct DiskOverlay: Sendable {
  /// The drive.
  public var place: HardwareDescription.StorageSlot.Place
  /// Based on what is in the drive, and empty.
  public var image: any DiskImage

  /// An image for a drive.
  public init(place: HardwareDescription.StorageSlot.Place, image: any DiskImage) {
    self.place = place
    self.image = image
  }
}

extension VirtualMachine {
  /// Puts images on top of those that the disks of a paused machine have: what they had is not written any more.
  /// - Parameter commit: what makes it hold for the next start; when it throws, or an image cannot be had, nothing has changed.
  /// - Throws: `MachineError.running`, `DiskImageError`, or what `commit` throws.
  public func putOnDisks(_ overlays: [DiskOverlay], commit: () throws -> Void) throws {
    guard runState == .paused else { throw MachineError.running }
    let drives = overlays.compactMap { overlay in
      board.media.first { $0.slot.place == overlay.place }.flatMap {
        ($0.image as? WriteGate)?.behind as? SwitchableImage
      }
    }
    guard drives.count == overlays.count else { throw MachineError.noDisk }
    do {
      for drive in drives { try drive.flush() }
      for (drive, overlay) in zip(drives, overlays) {
        // Nobody else comes in between: what stands on it shares it.
        try drive.share()
        try overlay.image.lock()
      }
      try commit()
    } catch {
      for (drive, overlay) in zip(drives, overlays) {
        overlay.image.unlock()
        try drive.lock()
      }
      throw error
    }
    for (drive, overlay) in zip(drives, overlays) {
      let old = drive.behind
      drive.change(to: overlay.image)
      old.unlock()
    }
  }
}
