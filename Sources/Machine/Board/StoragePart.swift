import Devices
import DiskImages
import Foundation

/// The IDE controller with its drives, the virtio disks, and the thread that does their work.
final class StoragePart: BoardPart {
  let disks: any DiskWorker
  private let lock = NSLock()
  /// Guarded by `lock`: a CD-ROM drive gets another disc.
  private var attached: [(slot: HardwareDescription.StorageSlot, image: (any DiskImage)?)]
  private let ide: PIIX3IDE
  private let virtio: [VirtioBlock]

  /// The slot of the PCI bus in which the first virtio disk is.
  static let firstVirtioSlot = 11

  var devices: [any Device] { [ide] + virtio }

  /// Opens the media, without locking them.
  /// - Throws: `MachineError` or `DiskImageError`.
  init(_ bench: Workbench, _ interrupts: InterruptPart, _ pci: PCIPart) throws {
    let worker: any DiskWorker =
      bench.configuration.deterministic
      ? InlineDiskWorker()
      : ThreadDiskWorker(name: "vmctl.disks") { [lock = bench.lock] body in lock.withLock(body) }
    disks = worker
    var drives: [IDEDrive?] = [nil, nil, nil, nil]
    var attached: [(slot: HardwareDescription.StorageSlot, image: (any DiskImage)?)] = []
    var virtio: [Int: VirtioBlock] = [:]
    for controller in bench.configuration.storageControllers {
      for attachment in controller.attachments {
        let opened = try Self.open(attachment)
        let failures = DiskFailures(bench.requests)
        opened?.onFailure { failures.tell($0) }
        // What is written may have to wait.
        let image: (any DiskImage)? = opened.map { $0.isReadOnly ? $0 as any DiskImage : WriteGate($0) }
        let (port, device) = (attachment.port, attachment.device)
        let place = port * 2 + device
        let isTaken =
          controller.bus == .ide ? drives.indices.contains(place) && drives[place] != nil : virtio[port] != nil
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
  }

  private static func open(_ attachment: MachineConfiguration.Attachment) throws -> (any DiskImage)? {
    guard let path = attachment.medium else { return nil }
    let isWritten = attachment.kind == .hdd && attachment.mode == .normal
    let image = try ImageChain.open(path: path, format: attachment.format, readOnly: !isWritten)
    // A snapshot puts another on top of it.
    return isWritten ? SwitchableImage(image) : image
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
