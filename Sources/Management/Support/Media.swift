import DiskImages
import Foundation
import Machine

/// Disk images as users handle them.
public enum Media {
  /// What there is to say of an image.
  public struct Information: Codable, Sendable {
    /// Its absolute path.
    public var path: String
    /// Its format, by its content.
    public var format: String
    /// What the guest sees, in bytes.
    public var capacity: UInt64
    /// What the file takes on the host's disk, in bytes.
    public var allocated: UInt64
    /// A running machine holds it writable.
    public var inUse: Bool
  }

  /// Makes a disk image of zeros. Returns its absolute path; throws `ManagementError` when the size is not possible,
  /// `DiskImageError` when the file is there already or cannot be made.
  @discardableResult
  public static func createRaw(_ path: String, megabytes: Int) throws -> String {
    guard (1...(1 << 31)).contains(megabytes) else {
      throw ManagementError("a disk of \(megabytes) MB is not possible", remedy: "give --size in MB, at least 1")
    }
    let full = Files.absolute(path)
    try RawImage.createRaw(path: full, size: UInt64(megabytes) << 20)
    return full
  }

  /// Looks at an image, which may be in use. Throws when it cannot be read.
  public static func information(_ path: String) throws -> Information {
    let full = Files.absolute(path)
    let format = try RawImage.foreignFormat(of: full)
    let image = try RawImage(path: full, readOnly: true, insists: true)
    var status = stat()
    guard stat(full, &status) == 0 else { throw ManagementError.system("cannot look at \(full)") }
    var inUse = false
    if let writable = try? RawImage(path: full, insists: true) {
      do {
        try writable.lock()
        writable.unlock()
      } catch {
        guard case .inUse = error else { throw error }
        inUse = true
      }
    }
    return Information(
      path: full, format: format?.name ?? "raw", capacity: image.size, allocated: UInt64(status.st_blocks) * 512,
      inUse: inUse)
  }

  /// The words of `storageattach` as an attachment. nil: the place becomes free.
  /// - Throws: `ManagementError` when they do not go together, or the medium cannot be used.
  public static func attachment(
    port: Int, device: Int, kind: MachineConfiguration.Attachment.Kind?, medium: String,
    mode: MachineConfiguration.Attachment.Mode, format: MachineConfiguration.Attachment.Format? = nil
  ) throws -> MachineConfiguration.Attachment? {
    if medium == "none" { return nil }
    guard let kind else {
      throw ManagementError("the kind of drive is missing", remedy: "give --type hdd or --type dvddrive")
    }
    if medium == "emptydrive" {
      guard kind == .dvddrive else { throw ManagementError("a hard disk needs a medium", remedy: "give --medium FILE") }
      return .init(port: port, device: device, kind: kind, medium: nil, mode: mode)
    }
    if medium.contains("://") {
      throw ManagementError(
        "\(medium) is not possible as a medium", remedy: "give the file of a raw image, emptydrive or none")
    }
    let full = Files.absolute(medium)
    let isReadOnly = kind == .dvddrive || mode == .readonly
    _ = try RawImage(path: full, readOnly: isReadOnly, insists: format == .raw)
    return .init(port: port, device: device, kind: kind, medium: full, mode: mode, format: format)
  }

  /// A machine's hardware with those CD-ROM drives empty whose image cannot be opened.
  /// - Returns: it, and what is missing, for the user.
  static func withoutMissingDiscs(_ hardware: MachineConfiguration) -> (MachineConfiguration, notes: [String]) {
    var hardware = hardware
    var notes: [String] = []
    for index in hardware.storageControllers.indices {
      for number in hardware.storageControllers[index].attachments.indices {
        let attachment = hardware.storageControllers[index].attachments[number]
        guard attachment.kind == .dvddrive, let path = attachment.medium else { continue }
        do {
          _ = try RawImage(path: path, readOnly: true, insists: attachment.format == .raw)
        } catch {
          hardware.storageControllers[index].attachments[number].medium = nil
          notes.append("without the CD \(path), which cannot be opened: the drive is empty")
        }
      }
    }
    return (hardware, notes)
  }
}
