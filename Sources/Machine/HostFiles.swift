import DiskImages

/// A file of the host's that a machine opens while it is built.
public struct HostFile: Equatable, Sendable {
  /// A file, or a folder in which several may be.
  public var path: String
  /// Whether the machine writes it.
  public var isWritten: Bool

  /// A file that the machine opens.
  public init(_ path: String, isWritten: Bool = false) {
    self.path = path
    self.isWritten = isWritten
  }
}

extension MachineConfiguration {
  /// What `VirtualMachine.init` opens of the host's: firmware, kernel, initial RAM disk, media. Not what a uart is
  /// connected to.
  public var hostFiles: [HostFile] {
    let modules = initrd.map { BootModule.list($0).map(\.path) } ?? []
    let read = FirmwareImages.folders + [FirmwareImages.cardFolder] + [firmware, kernel].compactMap { $0 } + modules
    let media = storageControllers.flatMap(\.attachments).flatMap { attachment -> [HostFile] in
      guard let medium = attachment.medium else { return [] }
      // What an image is based on is only read.
      let files = ImageChain.files(of: medium, format: attachment.format)
      return [HostFile(medium, isWritten: attachment.isWritten)] + files.dropFirst().map { HostFile($0) }
    }
    return read.map { HostFile($0) } + media
  }
}
