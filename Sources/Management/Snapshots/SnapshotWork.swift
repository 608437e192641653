import DiskImages
import Foundation
import Machine

/// What taking a snapshot makes: images on top of the disks, the new list, the new definition. Nothing of it holds until
/// `commit`.
struct SnapshotWork {
  let folder: VMFolder
  private(set) var snapshot: Snapshot
  private(set) var definition: VMDefinition
  private var tree: SnapshotTree
  /// The new images, by their drives.
  private(set) var overlays: [(place: HardwareDescription.StorageSlot.Place, path: String)] = []

  /// Reads what there is, and names what is to be made.
  /// - Throws: `ManagementError` when the definition or the list cannot be read.
  init(_ folder: VMFolder, _ wish: SnapshotRequest, hasState: Bool) throws {
    self.folder = folder
    definition = try folder.readDefinition(checkingHost: false)
    tree = try folder.readSnapshots()
    guard tree.snapshots.count < 1000 else {
      throw ManagementError("the machine has 1000 snapshots", remedy: "delete some with vmctl snapshot NAME delete")
    }
    snapshot = Snapshot(
      uuid: wish.uuid, name: wish.name, description: wish.description, taken: Date(), parent: tree.current,
      hasState: hasState, definition: try Files.read(folder.definition), folder: folder.path, disks: [])
    for (disk, place) in definition.hardware.writtenDisks {
      snapshot.disks.append(
        .init(place: place, path: folder.shortened(disk.medium ?? ""), format: disk.format))
      overlays.append((place, folder.overlay(wish.uuid, place)))
    }
    tree.snapshots.append(snapshot)
    tree.current = snapshot.uuid
  }

  /// Makes the images, which are on stable storage then.
  func makeOverlays() throws {
    try Files.makeDirectory(folder.snapshots)
    for (disk, overlay) in zip(snapshot.disks, overlays) {
      try Self.makeOverlay(overlay.path, on: folder.lengthened(disk.path), disk.format, folder)
    }
    Files.syncDirectory(of: folder.snapshots + "/.")
  }

  static func makeOverlay(_ path: String, on base: String, _ format: ImageFormat?, _ folder: VMFolder) throws {
    // Without a format it is raw: it would have been refused otherwise.
    try Qcow2Image.create(path: path, size: nil, base: (folder.baseName(base), format ?? .raw))
    // Whether it can be opened is seen before it is needed: a tower of images has a limit.
    _ = try Qcow2Image(path: path)
  }

  /// From here on the machine writes to the new images. Killed at any point before, it goes on with what it has; at any point
  /// afterwards, with an image on top of that.
  mutating func commit() throws {
    for overlay in overlays { definition.hardware.setMedium(overlay.path, .qcow2, at: overlay.place) }
    try folder.replace(tree) { try folder.change(to: definition) }
  }

  /// Takes away what was made, when it came to nothing.
  func drop() {
    for overlay in overlays { unlink(overlay.path) }
    unlink(folder.snapshotState(snapshot.uuid))
  }
}

/// What a snapshot is to be called.
public struct SnapshotRequest: Codable, Equatable, Sendable {
  /// Its identity, in lower case.
  public var uuid: String
  /// Its name.
  public var name: String
  /// What there is to say of it.
  public var description: String

  /// A new one.
  /// - Throws: `ManagementError` when it cannot have that name.
  public init(name: String, description: String = "") throws {
    try Self.check(name, description)
    uuid = UUID().uuidString.lowercased()
    self.name = name
    self.description = description
  }

  static func check(_ name: String, _ description: String) throws {
    let isPlain = name.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 127 }
    guard !name.isEmpty, name.utf8.count <= 200, isPlain, description.utf8.count <= 10_000 else {
      throw ManagementError(
        "\"\(name.prefix(40))\" cannot be a snapshot's name", remedy: "use up to 200 characters of one line")
    }
  }
}

extension MachineConfiguration {
  /// The disks that the guest writes, with their drives.
  var writtenDisks: [(disk: Attachment, place: HardwareDescription.StorageSlot.Place)] {
    storageControllers.flatMap { controller in
      controller.attachments.filter { $0.kind == .hdd && $0.isWritten && $0.medium != nil }.map {
        ($0, .init(bus: controller.bus, port: $0.port, device: $0.device))
      }
    }
  }

  /// Another image in a drive that is there.
  mutating func setMedium(
    _ path: String, _ format: ImageFormat?, at place: HardwareDescription.StorageSlot.Place
  ) {
    for index in storageControllers.indices where storageControllers[index].bus == place.bus {
      for number in storageControllers[index].attachments.indices {
        let attachment = storageControllers[index].attachments[number]
        guard attachment.port == place.port, attachment.device == place.device else { continue }
        storageControllers[index].attachments[number].medium = path
        storageControllers[index].attachments[number].format = format
      }
    }
  }
}
