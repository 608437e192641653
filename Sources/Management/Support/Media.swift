import Devices
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
    /// What it is based on, the nearest first.
    public var bases: [String]?
    /// Snapshots of other programs in it.
    public var internalSnapshots: Int?
  }

  /// Makes a disk image of zeros. Returns its absolute path; throws `ManagementError` when the size is not possible,
  /// `DiskImageError` when the file is there already or cannot be made.
  @discardableResult
  public static func createRaw(_ path: String, megabytes: Int) throws -> String {
    let full = Files.absolute(path)
    try RawImage.createRaw(path: full, size: try bytes(megabytes))
    return full
  }

  /// Makes an empty qcow2 image, or one that has what another image has until it is written.
  /// - Parameters:
  ///   - megabytes: nil: as large as what it is based on.
  ///   - parent: the image that it is based on.
  /// - Returns: its absolute path, and its capacity in bytes.
  /// - Throws: `ManagementError` when the size is not possible, `DiskImageError` when the file is there already or cannot be
  ///   made.
  public static func createQcow2(
    _ path: String, megabytes: Int?, parent: String?
  ) throws -> (path: String, capacity: UInt64) {
    guard megabytes != nil || parent != nil else {
      throw ManagementError("the size is missing", remedy: "give --size in MB, or --diffparent FILE")
    }
    let full = Files.absolute(path)
    let base = try parent.map { parent in
      let place = Files.absolute(parent)
      return (place, try format(of: place, nil) ?? .raw)
    }
    try Qcow2Image.create(path: full, size: try megabytes.map(bytes), base: base)
    return (full, try Qcow2Image(path: full, readOnly: true).size)
  }

  /// Makes a raw image of zeros, of a size in bytes.
  /// - Returns: its absolute path.
  /// - Throws: `DiskImageError` when the file is there already, cannot be made, or the size is no multiple of 512.
  public static func createRaw(_ path: String, bytes: UInt64) throws -> String {
    let full = Files.absolute(path)
    try RawImage.createRaw(path: full, size: bytes)
    return full
  }

  /// Makes an empty floppy disk, to be formatted by a guest.
  /// - Parameter bytes: of one of `FloppyFormat.all`.
  /// - Returns: its absolute path, and what it is called: "1.44 MB".
  /// - Throws: `ManagementError` for another size, `DiskImageError` when the file is there already or cannot be made.
  public static func createFloppy(_ path: String, bytes: UInt64) throws -> (path: String, label: String) {
    guard let format = FloppyFormat(bytes: bytes) else {
      let sizes = FloppyFormat.all.map { "\($0.bytes) (\($0.label))" }.joined(separator: ", ")
      throw ManagementError("a floppy disk of \(bytes) bytes is not possible", remedy: "give --sizebyte \(sizes)")
    }
    return (try createRaw(path, bytes: bytes), format.label)
  }

  private static func bytes(_ megabytes: Int) throws -> UInt64 {
    guard (1...(1 << 31)).contains(megabytes) else {
      throw ManagementError("a disk of \(megabytes) MB is not possible", remedy: "give --size in MB, at least 1")
    }
    return UInt64(megabytes) << 20
  }

  /// The format in which an image is to be taken: as the user says, or qcow2 where both its name and its content say so. Its
  /// content alone does not: in a raw image that is the guest's.
  static func format(
    of path: String, _ wanted: MachineConfiguration.Attachment.Format?
  ) throws -> MachineConfiguration.Attachment.Format? {
    if let wanted { return wanted }
    guard path.lowercased().hasSuffix(".qcow2"), try RawImage.foreignFormat(of: path) == .qcow2 else { return nil }
    return .qcow2
  }

  /// Makes an image larger, or gives the host back what holds zeros. Nobody else may have it.
  /// - Throws: `ManagementError` or `DiskImageError`; then it is as it was.
  public static func modify(
    _ path: String, megabytes: Int?, compacts: Bool, progress: (_ percent: Int) throws -> Void = { _ in }
  ) throws {
    let full = Files.absolute(path)
    let size = try megabytes.map(bytes)
    let format = try RawImage.foreignFormat(of: full)
    guard format == nil || format == .qcow2 else { throw DiskImageError.foreign(path: full, format: format ?? .qcow2) }
    let image = try ImageChain.open(path: full, format: format == nil ? nil : .qcow2, readOnly: false)
    try image.lock()
    defer { image.unlock() }
    if let size, size < image.size {
      throw ManagementError(
        "\(full) has \(image.size >> 20) MB and cannot be made smaller", remedy: "give a larger --resize")
    }
    switch image {
    case let image as Qcow2Image:
      if let size { try image.grow(to: size) }
      let total = max(image.size, 1)
      if compacts { try image.compact { try progress(Int($0 * 100 / total)) } }
    case let image as RawImage:
      if let size { try image.grow(to: size) }
      if compacts { try image.compact { try progress(Int($0 * 100 / max(image.size, 1))) } }
    default: break
    }
  }

  /// Looks at an image, which may be in use. Throws when it cannot be read.
  public static func information(_ path: String) throws -> Information {
    let full = Files.absolute(path)
    let format = try RawImage.foreignFormat(of: full)
    let image: any DiskImage =
      format == .qcow2
      ? try Qcow2Image(path: full, readOnly: true) : try RawImage(path: full, readOnly: true, insists: true)
    let chain = image as? Qcow2Image
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
      inUse: inUse, bases: chain.map { Array($0.files.dropFirst()) }, internalSnapshots: chain?.internalSnapshots)
  }

  /// The words of `storageattach` as an attachment. nil: the place becomes free.
  /// - Throws: `ManagementError` when they do not go together, or the medium cannot be used.
  public static func attachment(
    port: Int, device: Int, kind: MachineConfiguration.Attachment.Kind?, medium: String,
    mode: MachineConfiguration.Attachment.Mode, format: MachineConfiguration.Attachment.Format? = nil
  ) throws -> MachineConfiguration.Attachment? {
    if medium == "none" { return nil }
    guard let kind else {
      throw ManagementError("the kind of drive is missing", remedy: "give --type hdd, --type dvddrive or --type fdd")
    }
    if medium == "emptydrive" {
      guard kind.isRemovable else { throw ManagementError("a hard disk needs a medium", remedy: "give --medium FILE") }
      return .init(port: port, device: device, kind: kind, medium: nil, mode: mode)
    }
    if medium.contains("://") {
      throw ManagementError(
        "\(medium) is not possible as a medium", remedy: "give the file of an image, emptydrive or none")
    }
    let full = Files.absolute(medium)
    if kind.isRemovable, format == .qcow2 {
      throw ManagementError(
        "a \(kind == .fdd ? "floppy disk" : "disc") is a raw image",
        remedy: "\(kind == .fdd ? "" : "attach it as --type hdd, or ")convert it with qemu-img")
    }
    let format = kind.isRemovable ? format : try Self.format(of: full, format)
    let isReadOnly = kind == .dvddrive || mode == .readonly
    let image = try ImageChain.open(path: full, format: format, readOnly: isReadOnly)
    if kind == .fdd, FloppyFormat(bytes: image.size) == nil {
      throw MachineError.floppySize(path: full, bytes: image.size, sizes: FloppyFormat.all.map(\.label))
    }
    return .init(port: port, device: device, kind: kind, medium: full, mode: mode, format: format)
  }

  /// A machine's hardware with those CD-ROM and floppy drives empty whose image cannot be opened.
  /// - Returns: it, and what is missing, for the user.
  static func withoutMissingDiscs(_ hardware: MachineConfiguration) -> (MachineConfiguration, notes: [String]) {
    var hardware = hardware
    var notes: [String] = []
    for index in hardware.storageControllers.indices {
      for number in hardware.storageControllers[index].attachments.indices {
        let attachment = hardware.storageControllers[index].attachments[number]
        guard attachment.kind.isRemovable, let path = attachment.medium else { continue }
        do {
          _ = try RawImage(path: path, readOnly: true, insists: attachment.format == .raw)
        } catch {
          hardware.storageControllers[index].attachments[number].medium = nil
          let what = attachment.kind == .fdd ? "floppy disk" : "CD"
          notes.append("without the \(what) \(path), which cannot be opened: the drive is empty")
        }
      }
    }
    return (hardware, notes)
  }
}
