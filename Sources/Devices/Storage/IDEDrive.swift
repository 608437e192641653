import DiskImages

/// A drive with its medium: the core, its buffer and the image on the host.
public final class IDEDrive {
  var core: IDEDriveCore
  private(set) var image: (any DiskImage)?
  private let buffer: UnsafeMutablePointer<UInt8>
  /// A request is with the worker.
  var isBusy = false

  /// An ATAPI CD-ROM drive; otherwise an ATA disk.
  public var isCDROM: Bool { core.kind == .cdrom }

  /// A hard disk.
  public init(disk image: any DiskImage, serial: String) {
    buffer = Self.makeBuffer()
    core = IDEDriveCore(kind: .disk, serial: serial, model: "VMCTL HARDDISK", buffer: buffer)
    setImage(image)
  }

  /// A CD-ROM drive, empty or not.
  public init(cdrom image: (any DiskImage)?, serial: String) {
    buffer = Self.makeBuffer()
    core = IDEDriveCore(kind: .cdrom, serial: serial, model: "VMCTL DVD-ROM", buffer: buffer)
    setImage(image)
  }

  deinit { buffer.deallocate() }

  private static func makeBuffer() -> UnsafeMutablePointer<UInt8> {
    let count = IDEDriveCore.bufferSize + IDEDriveCore.bufferSlack
    let buffer = UnsafeMutablePointer<UInt8>.allocate(capacity: count)
    buffer.initialize(repeating: 0, count: count)
    return buffer
  }

  private func setImage(_ image: (any DiskImage)?) {
    self.image = image
    core.medium = image.map { .init(sectors: $0.sectorCount, isReadOnly: $0.isReadOnly) }
  }

  // MARK: Changing the medium of a CD-ROM drive (machine lock held)

  /// Whether the guest has locked the tray.
  public var isLocked: Bool { core.state.isLocked }
  /// Of a CD-ROM drive: its tray is out.
  public var isTrayOpen: Bool { core.state.trayOpen }

  /// Takes the disc out, if the guest has not locked the tray or `force` says so.
  /// - Returns: false when it is locked.
  @discardableResult
  public func eject(force: Bool = false) -> Bool {
    guard isCDROM, !core.state.isLocked || force else { return false }
    if core.medium != nil { core.state.mediaEvent = 3 }
    setImage(nil)
    core.state.isLocked = false
    return true
  }

  /// Puts a disc in and closes the tray; the guest learns of it by a unit attention.
  @discardableResult
  public func insert(_ image: any DiskImage, force: Bool = false) -> Bool {
    guard eject(force: force) else { return false }
    setImage(image)
    core.state.trayOpen = false
    core.mediumArrived()
    return true
  }

  /// After a load: the disc in the drive, if there is one, is not the one that was in it when the state was saved. The guest
  /// learns of it as of a change by hand; a read that was under way fails.
  public func discWasReplaced() {
    guard isCDROM else { return }
    core.state.isLocked = false
    core.state.trayOpen = false
    core.complete(success: false)
    // What is left of a read whose first part has come lies on no disc.
    core.state.position = 1 << 50
    core.state.mediaEvent = 3
    core.mediumArrived()
  }

  // MARK: Host I/O

  /// Where the worker leaves how it went; read after it is done.
  private final class Outcome: @unchecked Sendable {
    var succeeded = false
  }

  private struct BufferReference: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<UInt8>
  }

  /// Hands the core's request to the worker, if there is one.
  /// - Parameter completion: called after the core knows the outcome.
  func submitRequest(to worker: any DiskWorker, completion: @escaping () -> Void) {
    guard let request = core.state.request, !isBusy else { return }
    guard let image else {
      core.complete(success: false)
      return completion()
    }
    isBusy = true
    let outcome = Outcome()
    let reference = BufferReference(pointer: buffer)
    worker.submit {
      outcome.succeeded = Self.perform(request, on: image, reference.pointer)
    } completion: { [self] in
      isBusy = false
      // A reset may have dropped the request meanwhile.
      if core.state.request == request { core.complete(success: outcome.succeeded) }
      completion()
    }
  }

  private static func perform(
    _ request: IDEDriveCore.Request, on image: any DiskImage, _ buffer: UnsafeMutablePointer<UInt8>
  ) -> Bool {
    do throws(DiskImageError) {
      switch request.operation {
      case .read:
        try image.read(at: request.offset, into: UnsafeMutableRawBufferPointer(start: buffer, count: request.length))
      case .write:
        try image.write(at: request.offset, from: UnsafeRawBufferPointer(start: buffer, count: request.length))
      case .flush: try image.flush()
      }
      return true
    } catch {
      image.note(failure: error)
      return false
    }
  }
}
