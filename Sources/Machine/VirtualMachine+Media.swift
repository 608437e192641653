import Devices
import DiskImages
import Foundation

/// Samples of the media of one machine, by the drives they are in.
public struct MediumSample: Codable, Equatable, Sendable {
  /// The drive.
  public var place: HardwareDescription.StorageSlot.Place
  /// Samples of its medium's content.
  public var samples: MediumSamples

  /// Samples of the medium in a drive.
  public init(place: HardwareDescription.StorageSlot.Place, samples: MediumSamples) {
    self.place = place
    self.samples = samples
  }
}

extension VirtualMachine {
  /// Takes the media for this machine alone. Needed before `start`, and before a machine runs again that shared its
  /// media with a target and has not claimed them since. Done already when they are taken or claimed.
  /// - Throws: `DiskImageError.inUse` naming a medium that another machine holds; then nothing has changed.
  public func lockMedia() throws { try media.take() }

  /// Takes the media, or keeps them, in a way that another machine can share and no writer can come in between.
  /// Everything written before is on stable storage: the next host may reach them another way.
  public func shareMedia() throws {
    media.flush()
    try media.share()
  }

  /// What is shared becomes this machine's alone as soon as nobody else holds it. It may run meanwhile.
  public func claimMedia() { media.claim() }

  /// Brings what was written to the media to stable storage. The guest runs on meanwhile.
  public func flushMedia() { media.flush() }

  /// Gives the media up, everything written before being on stable storage.
  public func unlockMedia() {
    media.flush()
    media.release()
  }

  /// The media that the guest only reads and this machine could not take, each with why, in words of `DiskImageError`. What it
  /// writes is another machine's until that has shared it, and not tried.
  public func mediaObstacles() -> [String] {
    board.media.filter { !$0.slot.isWritten && $0.image.hold == .none }.compactMap { _, image in
      do throws(DiskImageError) {
        try image.share()
        image.unlock()
        return nil
      } catch {
        return error.description
      }
    }
  }

  // MARK: Which media they are

  /// Writes a number into the locks of each medium that the guest writes: what `hardwareDescription` tells of them then is seen
  /// by whoever has opened the same files, and by nobody else.
  public func markMedia() throws {
    for (slot, image) in board.media where slot.isWritten { try image.setMark(UInt64.random(in: 1..<UInt64.max)) }
  }

  /// Takes back what `markMedia` has written.
  public func unmarkMedia() {
    for (_, image) in board.media where image.identity.mark != nil { try? image.setMark(nil) }
  }

  /// Samples of the media that the guest writes. It must not run.
  public func sampleMedia(_ extent: MediumSamples.Extent) throws -> [MediumSample] {
    try board.media.filter(\.slot.isWritten).map { slot, image in
      MediumSample(place: slot.place, samples: try image.samples(extent))
    }
  }

  /// What in the media that the guest writes is not as another process has sampled it, for people; nil when all of it is.
  /// What was written there last is then remembered here.
  /// - Parameter kinds: of the drives that are looked at.
  public func mediaDifference(
    from list: [MediumSample], in kinds: Set<MachineConfiguration.Attachment.Kind>
  ) throws -> String? {
    let media = board.media.filter { $0.slot.isWritten && kinds.contains($0.slot.kind) }
    for (slot, image) in media {
      guard let theirs = list.first(where: { $0.place == slot.place }) else { return "\(image.path) was not sampled" }
      if let offset = try image.firstDifference(from: theirs.samples) {
        return "the content of \(image.path) is another, at byte \(offset) for one"
      }
    }
    for (slot, image) in media {
      guard let theirs = list.first(where: { $0.place == slot.place }) else { continue }
      try image.noteRecent(from: theirs.samples)
    }
    return nil
  }

  /// Puts another disc into a CD-ROM or floppy drive, or takes its disc out, as by hand: the guest is told by a unit attention,
  /// or the change line.
  /// - Parameter force: also when the guest has locked the tray.
  /// - Throws: `MachineError.noDiscDrive`, `MachineError.trayLocked`, `MachineError.floppySize`, or `DiskImageError.inUse`;
  ///   then nothing has changed.
  public func changeDisc(
    at place: HardwareDescription.StorageSlot.Place, to disc: (any DiskImage)?, force: Bool
  ) throws {
    try lock.withLock {
      let drive = try removableDrive(at: place, for: disc)
      // What the guest reads of the old disc, or writes to it, comes before.
      board.disks.drain()
      if case .cdrom(let drive) = drive, drive.isLocked, !force { throw MachineError.trayLocked }
      let image = disc.map { board.prepare($0) }
      try media.exchange(board.media.first { $0.slot.place == place }?.image, for: image)
      switch drive {
      case .cdrom(let drive):
        if let image { drive.insert(image, force: true) } else { drive.eject(force: true) }
      case .floppy(let controller): controller.change(place.device, to: image)
      }
      board.note(image, at: place)
    }
  }

  private enum RemovableDrive {
    case cdrom(IDEDrive)
    case floppy(FloppyController)
  }

  /// - Throws: `MachineError` when there is none, or it takes no disc of this size.
  private func removableDrive(
    at place: HardwareDescription.StorageSlot.Place, for disc: (any DiskImage)?
  ) throws -> RemovableDrive {
    guard place.bus == .floppy else {
      guard let drive = board.drive(at: place), drive.isCDROM else { throw MachineError.noDiscDrive }
      return .cdrom(drive)
    }
    guard let controller = board.floppy, let model = controller.model(of: place.device) else {
      throw MachineError.noDiscDrive
    }
    if let disc, FloppyFormat(bytes: disc.size).map({ model.takes($0) }) != true {
      let sizes = FloppyFormat.all.filter { model.takes($0) }.map(\.label)
      throw MachineError.floppySize(path: disc.path, bytes: disc.size, sizes: sizes)
    }
    return .floppy(controller)
  }

  /// After `loadState`: the discs in these drives are not those that the guest knows, or there are none any more.
  public func discsWereReplaced(in places: [HardwareDescription.StorageSlot.Place]) {
    lock.withLock {
      for place in places {
        if place.bus == .floppy { board.floppy?.diskWasReplaced(place.device) }
        board.drive(at: place)?.discWasReplaced()
      }
    }
  }
}
