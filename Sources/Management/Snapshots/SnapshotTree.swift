import DiskImages
import Foundation
import Machine

/// A machine as it was at a moment: its settings, what its disks held, and its memory where it had one.
public struct Snapshot: Codable, Equatable, Sendable {
  /// A disk that does not change any more: what was written after the snapshot is in images that stand on it.
  public struct Disk: Codable, Equatable, Sendable {
    /// The drive that it was in.
    public var place: HardwareDescription.StorageSlot.Place
    /// Relative to the machine's folder, when it is in there.
    public var path: String
    /// nil: raw, unless it looks otherwise.
    public var format: ImageFormat?
  }

  /// Its identity, in lower case.
  public var uuid: String
  /// What people call it; several may have one name.
  public var name: String
  /// What they say of it.
  public var description: String
  /// When it was taken.
  public var taken: Date
  /// That which it goes on from; nil: it is the first.
  public var parent: String?
  /// There is memory: the machine goes on where it was.
  public var hasState: Bool
  /// The definition's file as it was.
  var definition: String
  /// The machine's folder as it was.
  var folder: String
  /// The disks that the machine wrote.
  public var disks: [Disk]
}

/// The snapshots of a machine, as its folder has them in `snapshots.json`.
public struct SnapshotTree: Codable, Equatable, Sendable {
  private var version = 1
  /// In the order of their making.
  public var snapshots: [Snapshot] = []
  /// That which the machine goes on from now.
  public var current: String?

  init() {}

  /// - Throws: `ManagementError` when the file is there and cannot be read as one.
  init(readFrom file: String) throws {
    guard Files.exists(file) else { return }
    let text = try Files.read(file, limit: 64 << 20)
    let decoder = JSONDecoder()
    decoder.dateDecodingStrategy = .iso8601
    guard let tree = try? decoder.decode(SnapshotTree.self, from: Data(text.utf8)), tree.version == 1, tree.isSound
    else {
      throw ManagementError(
        "\(file) is no list of snapshots that this vmctl knows", remedy: "use the vmctl that wrote it")
    }
    self = tree
  }

  /// Each has another identity, and goes on from one that was there before.
  private var isSound: Bool {
    var known: Set<String> = []
    for snapshot in snapshots {
      guard UUID(uuidString: snapshot.uuid) != nil, snapshot.parent.map(known.contains) ?? true,
        known.insert(snapshot.uuid).inserted
      else { return false }
    }
    return current.map(known.contains) ?? true
  }

  var text: String {
    get throws {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
      encoder.dateEncodingStrategy = .iso8601
      return try String(decoding: encoder.encode(self), as: UTF8.self) + "\n"
    }
  }

  /// The one with this UUID, or else the first of this name.
  /// - Throws: `ManagementError` when there is none.
  public func find(_ name: String, machine: String) throws -> Snapshot {
    if let found = snapshots.first(where: { $0.uuid == name.lowercased() })
      ?? snapshots.first(where: { $0.name == name })
    {
      return found
    }
    throw ManagementError(
      "the machine \"\(machine)\" has no snapshot \"\(name)\"",
      remedy: "see vmctl snapshot \(ShellWord.quote(machine)) list")
  }

  /// Those that go on from one; nil: the first ones.
  public func children(of uuid: String?) -> [Snapshot] { snapshots.filter { $0.parent == uuid } }

  /// Each with its place: how deep it is, and VBoxManage's ending for it ("", "-1", "-1-2"). Parents come first.
  public var places: [(snapshot: Snapshot, depth: Int, ending: String)] {
    var list: [(snapshot: Snapshot, depth: Int, ending: String)] = []
    var next = children(of: nil).enumerated().map { ($1, 0, $0 == 0 ? "" : "-\($0 + 1)") }
    while !next.isEmpty {
      let (snapshot, depth, ending) = next.removeFirst()
      list.append((snapshot, depth, ending))
      next.insert(
        contentsOf: children(of: snapshot.uuid).enumerated().map { ($1, depth + 1, "\(ending)-\($0 + 1)") }, at: 0)
    }
    return list
  }

  /// As VBoxManage has them for programs.
  public var facts: [VMFact] {
    var facts: [VMFact] = []
    func add(_ key: String, _ label: String, _ value: String) {
      facts.append(VMFact(key: key, label: label, value: value))
    }
    for (snapshot, depth, ending) in places {
      let margin = String(repeating: "  ", count: depth)
      add("SnapshotName\(ending)", "\(margin)Snapshot", snapshot.name)
      add("SnapshotUUID\(ending)", "\(margin)Snapshot's UUID", snapshot.uuid)
      if !snapshot.description.isEmpty {
        add("SnapshotDescription\(ending)", "\(margin)Snapshot's description", snapshot.description)
      }
    }
    if let place = places.first(where: { $0.snapshot.uuid == current }) {
      add("CurrentSnapshotName", "Current snapshot", place.snapshot.name)
      add("CurrentSnapshotUUID", "Current snapshot's UUID", place.snapshot.uuid)
      add("CurrentSnapshotNode", "Current snapshot's place", "SnapshotName\(place.ending)")
    }
    return facts
  }
}

extension Snapshot {
  /// What there is to say of it.
  public var facts: [(label: String, value: String)] {
    [
      ("Name", name), ("UUID", uuid), ("Taken", taken.ISO8601Format()), ("Memory", hasState ? "yes" : "no"),
    ] + (description.isEmpty ? [] : [("Description", description)])
      + disks.map { ("Disk", "\($0.place.bus.rawValue) port \($0.place.port) device \($0.place.device): \($0.path)") }
  }
}

extension VMFolder {
  /// The snapshots' list.
  var snapshotTree: String { path + "/snapshots.json" }
  /// Their memory, and the disks that are written since.
  var snapshots: String { path + "/snapshots" }
  func snapshotState(_ uuid: String) -> String { "\(snapshots)/\(uuid).state" }
  /// The saved state comes from a snapshot: its disks are other files by now, with the same content.
  var stateOrigin: String { path + "/saved.from-snapshot" }

  /// - Throws: `ManagementError` when the list cannot be read.
  public func readSnapshots() throws -> SnapshotTree { try SnapshotTree(readFrom: snapshotTree) }

  /// Puts a new list in the old one's place once `body` has changed what it belongs to. What needs room comes first: when this
  /// throws, the list is what it was.
  func replace(_ tree: SnapshotTree, after body: () throws -> Void) throws {
    let list = snapshotTree + ".part"
    try Files.replace(list, with: try tree.text)
    do {
      try body()
    } catch {
      unlink(list)
      throw error
    }
    guard rename(list, snapshotTree) == 0 else { throw ManagementError.system("cannot write \(snapshotTree)") }
    Files.syncDirectory(of: snapshotTree)
  }

  /// The image that a drive writes to after the snapshot, or the return to one, that has this mark.
  func overlay(_ mark: String, _ place: HardwareDescription.StorageSlot.Place) -> String {
    "\(snapshots)/\(mark)-\(place.bus.rawValue)-\(place.port)-\(place.device).qcow2"
  }

  /// A path as lists have it, so that a folder that moves takes its disks along.
  func shortened(_ path: String) -> String {
    path.hasPrefix(self.path + "/") ? String(path.dropFirst(self.path.count + 1)) : path
  }
  func lengthened(_ path: String) -> String { path.hasPrefix("/") ? path : "\(self.path)/\(path)" }

  /// A path as an image in `snapshots` names what it stands on.
  func baseName(_ path: String) -> String {
    if path.hasPrefix(snapshots + "/") { return String(path.dropFirst(snapshots.count + 1)) }
    return path.hasPrefix(self.path + "/") ? "../" + path.dropFirst(self.path.count + 1) : path
  }
}
