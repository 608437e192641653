import DiskImages
import Foundation
import HostNetwork
import Machine

/// A change of the disc in a running machine's CD-ROM drive. The disc comes along as an open file: the VM process may open
/// none.
struct DiscRequest: Codable, Sendable {
  var controller: String
  var port: Int
  var device: Int
  /// Of the disc; nil: the drive becomes empty.
  var path: String?
  var isRaw: Bool
  /// Also when the guest has locked the tray.
  var force: Bool

  var place: HardwareDescription.StorageSlot.Place { .init(bus: .ide, port: port, device: device) }
}

/// What is answered: why it failed, or nothing.
private struct DiscReply: Codable { var error: String? }

/// Takes discs for a VM, one client at a time.
final class DiscService: @unchecked Sendable {
  private let listener: Int32
  private let path: String

  /// - Parameter change: gets the request, and the descriptor of the disc's file, which is then its own.
  init(path: String, change: @escaping @Sendable (DiscRequest, Int32?) throws -> Void) throws {
    self.path = path
    listener = try UnixSocket.listen(path: path)
    let thread = Thread { [listener] in
      while true {
        let client = accept(listener, nil, nil)
        if client < 0 {
          if errno == EINTR || errno == ECONNABORTED { continue }
          if errno == EMFILE || errno == ENFILE { usleep(100_000); continue }
          break
        }
        Self.serve(client, change)
        Glibc.close(client)
      }
      Glibc.close(listener)
    }
    thread.name = "discs"
    thread.start()
  }

  private static func serve(_ client: Int32, _ change: (DiscRequest, Int32?) throws -> Void) {
    _ = fcntl(client, F_SETFD, FD_CLOEXEC)
    UnixSocket.setPatience(client, seconds: 5)
    guard let (bytes, descriptors) = DescriptorPassing.receive(client) else { return }
    for extra in descriptors.dropFirst() { Glibc.close(extra) }
    var reply = DiscReply()
    do {
      guard let request = try? JSONDecoder().decode(DiscRequest.self, from: Data(bytes)) else {
        if let descriptor = descriptors.first { Glibc.close(descriptor) }
        throw ManagementError("this is no request for a disc", remedy: "use one version of vmctl")
      }
      try change(request, descriptors.first)
    } catch {
      reply.error = ManagementError.text(for: error)
    }
    if let answer = try? JSONEncoder().encode(reply) { _ = DescriptorPassing.send(client, Array(answer), []) }
  }

  /// Nobody can connect any more.
  func close() {
    unlink(path)
    shutdown(listener, Int32(SHUT_RDWR))
  }
}

extension VMEntry {
  /// Puts a disc into a CD-ROM drive of this machine while it runs, or takes it out; its definition has it then.
  /// - Parameter attachment: the drive with its new disc, as `Media.attachment` makes it.
  /// - Throws: `ManagementError` with what the VM process has to say against it.
  public func changeDisc(
    controller: String, to attachment: MachineConfiguration.Attachment, force: Bool
  ) throws {
    let request = DiscRequest(
      controller: controller, port: attachment.port, device: attachment.device, path: attachment.medium,
      isRaw: attachment.format == .raw, force: force)
    var descriptors: [Int32] = []
    defer { for descriptor in descriptors { close(descriptor) } }
    if let path = attachment.medium {
      let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
      guard descriptor >= 0 else { throw ManagementError.system("cannot open \(path)") }
      descriptors.append(descriptor)
    }
    let socket = try UnixSocket.connect(path: folder.mediaSocket, patience: 30)
    defer { close(socket) }
    guard DescriptorPassing.send(socket, Array(try JSONEncoder().encode(request)), descriptors),
      let (bytes, _) = DescriptorPassing.receive(socket),
      let reply = try? JSONDecoder().decode(DiscReply.self, from: Data(bytes))
    else {
      throw ManagementError(
        "the machine \"\(name)\" does not answer", remedy: "try again in a moment; is its process stopped?")
    }
    if let error = reply.error { throw ManagementError(error) }
  }
}

extension VMProcess {
  /// The machine first, then its definition, which the next start is made of.
  func changeDisc(_ request: DiscRequest, _ descriptor: Int32?) throws {
    var disc: RawImage?
    if let descriptor {
      disc = try RawImage(descriptor: descriptor, path: request.path ?? "", readOnly: true, insists: request.isRaw)
    }
    try step("given another disc", from: [.running, .paused], to: nil) {
      try $0.changeDisc(at: request.place, to: disc, force: request.force)
    }
    logger.info("the disc in \(request.controller) \(request.port) \(request.device): \(request.path ?? "none")")
    let attachment = MachineConfiguration.Attachment(
      port: request.port, device: request.device, kind: .dvddrive, medium: request.path,
      format: request.isRaw ? .raw : nil)
    do {
      try folder.whileEditing {
        var definition = try folder.readDefinition(checkingHost: false)
        try definition.hardware.attach(
          attachment, controller: request.controller, port: request.port, device: request.device)
        try folder.change(to: definition)
      }
    } catch {
      throw ManagementError(
        "the machine has the disc, but its definition could not be changed: \(ManagementError.line(for: error))",
        remedy: "do it again with storageattach")
    }
  }
}
