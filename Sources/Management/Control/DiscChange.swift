import DiskImages
import Foundation
import Machine

/// A change of the disc in a running machine's CD-ROM or floppy drive. The disc comes along as an open file: the VM process
/// may open none.
struct DiscRequest: Codable, Sendable {
  var controller: String
  /// The drive with its new disc, or empty.
  var attachment: MachineConfiguration.Attachment
  /// Also when the guest has locked the tray.
  var force: Bool

  var place: HardwareDescription.StorageSlot.Place {
    .init(
      bus: attachment.kind == .fdd ? .floppy : .ide, port: attachment.port, device: attachment.device)
  }
}

extension VMEntry {
  /// Puts a disc into a CD-ROM or floppy drive of this machine while it runs, or takes it out; its definition has it then.
  /// - Parameter attachment: the drive with its new disc, as `Media.attachment` makes it.
  /// - Throws: `ManagementError` with what the VM process has to say against it.
  public func changeDisc(
    controller: String, to attachment: MachineConfiguration.Attachment, force: Bool
  ) throws {
    let request = DiscRequest(controller: controller, attachment: attachment, force: force)
    var descriptor: Int32?
    defer { if let descriptor { close(descriptor) } }
    if let path = attachment.medium {
      let access = attachment.isWritten ? O_RDWR : O_RDONLY
      let file = open(path, access | O_CLOEXEC | O_NONBLOCK)
      guard file >= 0 else { throw ManagementError.system("cannot open \(path)") }
      descriptor = file
    }
    try pass(PassedRequest(disc: request), descriptor)
  }
}

extension VMProcess {
  /// The machine first, then its definition, which the next start is made of.
  func changeDisc(_ request: DiscRequest, _ descriptor: Int32?) throws {
    let attachment = request.attachment
    // Another host has the disks that its copy of the machine began with, and what is written to them since.
    guard attachment.kind != .fdd || lock.withLock({ inner.protection == nil }) else {
      throw ManagementError(
        "the machine is protected, with the floppy disks that it has",
        remedy: "end the protection first, with controlvm unprotect")
    }
    var disc: RawImage?
    if let descriptor {
      disc = try RawImage(
        descriptor: descriptor, path: attachment.medium ?? "", readOnly: !attachment.isWritten,
        insists: attachment.format == .raw)
    }
    try step("given another disc", from: [.running, .paused], to: nil) {
      try $0.changeDisc(at: request.place, to: disc, force: request.force)
    }
    let told = "\(request.controller) \(attachment.port) \(attachment.device): \(attachment.medium ?? "none")"
    logger.info("the disc in \(told)")
    news.publish(MachineNews(.disc, machine: entry.name, text: told))
    do {
      try folder.whileEditing {
        var definition = try folder.readDefinition(checkingHost: false)
        try definition.hardware.attach(
          attachment, controller: request.controller, port: attachment.port, device: attachment.device)
        try folder.change(to: definition)
      }
    } catch {
      throw ManagementError(
        "the machine has the disc, but its definition could not be changed: \(ManagementError.line(for: error))",
        remedy: "do it again with storageattach")
    }
  }
}
