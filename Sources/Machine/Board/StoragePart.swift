import Devices
import DiskImages
import Foundation

/// The IDE controller with its drives, the virtio disks, the floppy controller, and the thread that does their work.
final class StoragePart: BoardPart {
  let disks: any DiskWorker
  private let lock = NSLock()
  /// Guarded by `lock`: a CD-ROM or floppy drive gets another disc.
  private var attached: [(slot: HardwareDescription.StorageSlot, image: (any DiskImage)?)]
  private let ide: PIIX3IDE
  private let virtio: [VirtioBlock]
  /// nil: the machine has none.
  let floppy: FloppyController?
  private let requests: RequestRelay

  /// The slot of the PCI bus in which the first virtio disk is.
  static let firstVirtioSlot = 11

  var devices: [any Device] { [ide] + virtio + [floppy].compactMap { $0 } }

  /// Opens the media, without locking them.
  /// - Throws: `MachineError` or `DiskImageError`.
  init(_ bench: Workbench, _ interrupts: InterruptPart, _ pci: PCIPart, _ platform: PlatformPart) throws {
    let worker: any DiskWorker =
      bench.configuration.deterministic
      ? InlineDiskWorker()
      : ThreadDiskWorker(name: "vmctl.disks") { [lock = bench.lock] body in lock.withLock(body) }
    disks = worker
    requests = bench.requests
    var drives: [IDEDrive?] = [nil, nil, nil, nil]
    var attached: [(slot: HardwareDescription.StorageSlot, image: (any DiskImage)?)] = []
    var virtio: [Int: VirtioBlock] = [:]
    var floppies: [FloppyController.Drive?] = [nil, nil]
    for controller in bench.configuration.storageControllers {
      for attachment in controller.attachments {
        let image = try Self.open(attachment).map { Self.prepared($0, bench.requests) }
        let (port, device) = (attachment.port, attachment.device)
        let place = port * 2 + device
        let isTaken = attached.contains { $0.slot.place == .init(bus: controller.bus, port: port, device: device) }
        guard controller.bus.has(port: port, device: device), !isTaken else {
          throw MachineError.driveNotPossible(
            controller: controller.name, bus: controller.bus, port: port, device: device)
        }
        if attachment.kind == .hdd, image == nil {
          throw MachineError.diskWithoutMedium(controller: controller.name, port: port, device: device)
        }
        switch (controller.bus, attachment.kind, image) {
        case (.ide, .dvddrive, _): drives[place] = IDEDrive(cdrom: image, serial: "VMCTL\(place)")
        case (.ide, .hdd, let image?): drives[place] = IDEDrive(disk: image, serial: "VMCTL\(place)")
        case (.virtio, .hdd, let image?):
          virtio[port] = VirtioBlock(
            name: "virtio-disk\(port)", image: image, serial: "VMCTL\(port)", memory: bench.memory, ports: bench.ports,
            clock: bench.clock, fabric: interrupts.fabric, worker: worker)
        case (.floppy, .fdd, _):
          if let image, FloppyFormat(bytes: image.size) == nil {
            throw MachineError.floppySize(path: image.path, bytes: image.size, sizes: FloppyFormat.all.map(\.label))
          }
          floppies[device] = .init(image: image)
        default:
          throw MachineError.driveNotPossible(
            controller: controller.name, bus: controller.bus, port: port, device: device)
        }
        let slot = HardwareDescription.StorageSlot(
          controller: controller.name, bus: controller.bus, port: attachment.port, device: attachment.device,
          kind: attachment.kind, mode: attachment.mode, medium: nil)
        attached.append((slot, image))
      }
    }
    self.attached = attached
    ide = PIIX3IDE(
      drives: drives, lines: (interrupts.wires.line(14), interrupts.wires.line(15)), memory: bench.memory,
      ports: bench.ports, worker: worker)
    pci.bus.attach(ide, slot: 1, function: 1)
    let disks = virtio.sorted { $0.key < $1.key }
    self.virtio = disks.map(\.value)
    for (port, disk) in disks { pci.bus.attach(disk, slot: Self.firstVirtioSlot + port) }
    floppy =
      bench.configuration.hasFloppyController
      ? FloppyController(
        drives: floppies, ports: bench.ports, dma: platform.dma, line: interrupts.wires.line(6), worker: worker) : nil
  }

  /// An image with what stands between it and a drive: its failures are told, and what is written may have to wait.
  private static func prepared(_ image: any DiskImage, _ requests: RequestRelay) -> any DiskImage {
    let failures = DiskFailures(requests)
    image.onFailure { failures.tell($0) }
    return image.isReadOnly ? image : WriteGate(image)
  }

  /// The same for an image that a drive gets while the machine runs.
  func prepare(_ image: any DiskImage) -> any DiskImage { Self.prepared(image, requests) }

  /// What the floppy drives A and B are; nil: there is none.
  var floppyModels: [FloppyDriveModel?] { (0...1).map { floppy?.model(of: $0) } }

  private static func open(_ attachment: MachineConfiguration.Attachment) throws -> (any DiskImage)? {
    guard let path = attachment.medium else { return nil }
    let image = try ImageChain.open(path: path, format: attachment.format, readOnly: !attachment.isWritten)
    // A snapshot puts another on top of it.
    return attachment.isWritten && attachment.kind == .hdd ? SwitchableImage(image) : image
  }

  var images: [any DiskImage] { lock.withLock { attached.compactMap(\.image) } }
  var media: [(slot: HardwareDescription.StorageSlot, image: any DiskImage)] {
    lock.withLock { attached.compactMap { slot, image in image.map { (slot, $0) } } }
  }

  /// Every drive as the guest sees it, with what is in it now.
  var slots: [HardwareDescription.StorageSlot] {
    lock.withLock { attached }.map { slot, image in
      var slot = slot
      slot.medium = image?.identity
      return slot
    }
  }

  /// What is in a drive from now on.
  func note(_ image: (any DiskImage)?, at place: HardwareDescription.StorageSlot.Place) {
    lock.withLock {
      for index in attached.indices where attached[index].slot.place == place { attached[index].image = image }
    }
  }

  func drive(at place: HardwareDescription.StorageSlot.Place) -> IDEDrive? {
    place.bus == .ide ? ide.drive(channel: place.port, device: place.device) : nil
  }
}

/// Tells of a medium's failures: the first of a minute, so that a guest that tries again and again fills no log.
private final class DiskFailures: @unchecked Sendable {
  private let requests: RequestRelay
  private let lock = NSLock()
  private var last: Date?
  private var untold = 0

  init(_ requests: RequestRelay) { self.requests = requests }

  func tell(_ error: DiskImageError) {
    let more: Int? = lock.withLock {
      if let last, Date().timeIntervalSince(last) < 60 {
        untold += 1
        return nil
      }
      defer { untold = 0 }
      last = Date()
      return untold
    }
    guard let more else { return }
    requests.onDiskFailure(error, more)
  }
}
