import Devices
import DiskImages

/// The IDE controller with its drives, and the thread that does their work.
final class StoragePart: BoardPart {
  let disks: any DiskWorker
  private let attached: [(slot: HardwareDescription.StorageSlot, image: (any DiskImage)?)]
  private let ide: PIIX3IDE

  var devices: [any Device] { [ide] }

  /// Opens the media, without locking them.
  /// - Throws: `MachineError` or `DiskImageError`.
  init(_ bench: Workbench, _ interrupts: InterruptPart, _ pci: PCIPart) throws {
    let worker = ThreadDiskWorker(name: "vmctl.disks") { [lock = bench.lock] body in lock.withLock(body) }
    disks = worker
    var drives: [IDEDrive?] = [nil, nil, nil, nil]
    var attached: [(slot: HardwareDescription.StorageSlot, image: (any DiskImage)?)] = []
    for controller in bench.configuration.storageControllers {
      for attachment in controller.attachments {
        let image = try Self.open(attachment)
        let place = attachment.port * 2 + attachment.device
        guard (0..<4).contains(place), drives[place] == nil else {
          throw MachineError.driveNotPossible(
            controller: controller.name, port: attachment.port, device: attachment.device)
        }
        let serial = "VMCTL\(place)"
        switch attachment.kind {
        case .hdd:
          guard let image else {
            throw MachineError.diskWithoutMedium(
              controller: controller.name, port: attachment.port, device: attachment.device)
          }
          drives[place] = IDEDrive(disk: image, serial: serial)
        case .dvddrive: drives[place] = IDEDrive(cdrom: image, serial: serial)
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
  }

  private static func open(_ attachment: MachineConfiguration.Attachment) throws -> (any DiskImage)? {
    guard let path = attachment.medium else { return nil }
    return try RawImage(
      path: path, readOnly: attachment.kind == .dvddrive || attachment.mode == .readonly,
      insists: attachment.format == .raw)
  }

  var images: [any DiskImage] { attached.compactMap(\.image) }
  var media: [(slot: HardwareDescription.StorageSlot, image: any DiskImage)] {
    attached.compactMap { slot, image in image.map { (slot, $0) } }
  }

  /// Every drive as the guest sees it, with what is in it now.
  var slots: [HardwareDescription.StorageSlot] {
    attached.map { slot, image in
      var slot = slot
      slot.medium = image?.identity
      return slot
    }
  }

  func drive(at place: HardwareDescription.StorageSlot.Place) -> IDEDrive? {
    ide.drive(channel: place.port, device: place.device)
  }
}
