import DiskImages
import Foundation
import Machine

/// Disk images as users handle them.
public enum Media {
  public struct Information: Codable, Sendable {
    public var path: String
    public var format: String
    /// What the guest sees, in bytes.
    public var capacity: UInt64
    /// What the file takes on the host's disk, in bytes.
    public var allocated: UInt64
    /// A running machine holds it writable.
    public var inUse: Bool
  }

  @discardableResult
  public static func createRaw(_ path: String, megabytes: Int) throws -> String {
    guard (1...(1 << 31)).contains(megabytes) else {
      throw ManagementError("a disk of \(megabytes) MB is not possible", remedy: "give --size in MB, at least 1")
    }
    let full = Files.absolute(path)
    try RawImage.createRaw(path: full, size: UInt64(megabytes) << 20)
    return full
  }

  public static func information(_ path: String) throws -> Information {
    let full = Files.absolute(path)
    let image = try RawImage(path: full, readOnly: true)
    var status = stat()
    guard stat(full, &status) == 0 else { throw ManagementError.system("cannot look at \(full)") }
    var inUse = false
    if let writable = try? RawImage(path: full) {
      do {
        try writable.lock()
        writable.unlock()
      } catch DiskImageError.inUse {
        inUse = true
      }
    }
    return Information(
      path: full, format: "raw", capacity: image.size, allocated: UInt64(status.st_blocks) * 512, inUse: inUse)
  }

  /// The words of `storageattach` as an attachment. nil: the place becomes free.
  public static func attachment(
    port: Int, device: Int, kind: MachineConfiguration.Attachment.Kind?, medium: String,
    mode: MachineConfiguration.Attachment.Mode
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
    _ = try RawImage(path: full, readOnly: isReadOnly)
    return .init(port: port, device: device, kind: kind, medium: full, mode: mode)
  }
}
