import DiskImages
import Foundation
import Machine

/// The end of a snapshot: its disks take over what the images have that stand on them.
struct SnapshotRemoval {
  private let folder: VMFolder
  private var tree: SnapshotTree
  private let snapshot: Snapshot
  private var definition: VMDefinition
  private let progress: (Int) -> Void

  init(
    _ folder: VMFolder, _ tree: SnapshotTree, _ snapshot: Snapshot, _ definition: VMDefinition,
    progress: @escaping (Int) -> Void
  ) {
    (self.folder, self.tree, self.snapshot, self.definition) = (folder, tree, snapshot, definition)
    self.progress = progress
  }

  /// An image that stands on one of the snapshot's disks.
  private struct Upper {
    var path: String
    var base: Snapshot.Disk
  }

  mutating func run() throws {
    let children = tree.children(of: snapshot.uuid)
    let branches = children.count + (tree.current == snapshot.uuid ? 1 : 0)
    guard branches < 2 else {
      throw ManagementError(
        "\(branches) things go on from the snapshot \"\(snapshot.name)\": \(children.map { "\"\($0.name)\"" }.joined(separator: ", "))"
          + (branches > children.count ? " and the machine as it is" : ""),
        remedy: "delete all but one of them first")
    }
    let uppers = try findUppers()
    for (number, upper) in uppers.enumerated() {
      let below = folder.lengthened(upper.base.path)
      let report = progress
      try ImageMerge.merge(upper.path, into: below, upper.base.format) { percent in
        report((number * 100 + percent) / uppers.count)
      }
      // What stood on it stands on the same content one below.
      for path in try images(on: upper.path) {
        let image = try Qcow2Image(path: path)
        try image.lock()
        defer { image.unlock() }
        try image.changeBase(to: folder.baseName(below), upper.base.format ?? .raw)
      }
    }
    try forget(uppers)
    // Nobody names them any more.
    for upper in uppers where upper.path.hasPrefix(folder.snapshots + "/") { unlink(upper.path) }
    if branches == 0 {
      for disk in snapshot.disks {
        let path = folder.lengthened(disk.path)
        if path.hasPrefix(folder.snapshots + "/"), !isNamed(path) { unlink(path) }
      }
    }
    unlink(folder.snapshotState(snapshot.uuid))
  }

  /// Every image of this machine that is written by it, or was.
  private var known: [String] {
    definition.hardware.writtenDisks.compactMap(\.disk.medium)
      + tree.snapshots.flatMap(\.disks).map { folder.lengthened($0.path) }
  }

  private func isNamed(_ path: String) -> Bool { known.contains(path) }

  private func images(on base: String) throws -> [String] {
    let number = try FileNumber(base)
    return Set(known).sorted().filter { path in
      guard path != base else { return false }
      let files = ImageChain.files(of: path, format: path.hasPrefix(folder.snapshots + "/") ? .qcow2 : nil)
      return files.count > 1 && (try? FileNumber(files[1])) == number
    }
  }

  private func findUppers() throws -> [Upper] {
    try snapshot.disks.flatMap { disk in
      try images(on: folder.lengthened(disk.path)).map { Upper(path: $0, base: disk) }
    }
  }

  /// The list and the definition name what has taken over.
  private mutating func forget(_ uppers: [Upper]) throws {
    var changed = definition
    for upper in uppers {
      for (disk, place) in definition.hardware.writtenDisks where disk.medium == upper.path {
        changed.hardware.setMedium(folder.lengthened(upper.base.path), upper.base.format, at: place)
      }
      for index in tree.snapshots.indices {
        for number in tree.snapshots[index].disks.indices
        where folder.lengthened(tree.snapshots[index].disks[number].path) == upper.path {
          tree.snapshots[index].disks[number].path = upper.base.path
          tree.snapshots[index].disks[number].format = upper.base.format
        }
      }
    }
    for index in tree.snapshots.indices where tree.snapshots[index].parent == snapshot.uuid {
      tree.snapshots[index].parent = snapshot.parent
    }
    if tree.current == snapshot.uuid { tree.current = snapshot.parent }
    tree.snapshots.removeAll { $0.uuid == snapshot.uuid }
    try folder.replace(tree) {
      if folder.hasSavedState { try Files.replace(folder.stateOrigin, with: snapshot.uuid + "\n") }
      try folder.change(to: changed)
    }
    definition = changed
  }
}

/// Which file a path leads to.
private struct FileNumber: Equatable {
  var device: dev_t
  var inode: ino_t

  init(_ path: String) throws {
    var status = stat()
    guard stat(path, &status) == 0 else { throw ManagementError.system("cannot find \(path)") }
    (device, inode) = (status.st_dev, status.st_ino)
  }
}

/// Writes what an image has into that which it stands on.
enum ImageMerge {
  /// Until it is done, and afterwards, the upper image has the same content as before.
  static func merge(_ upper: String, into lower: String, _ format: ImageFormat?, progress: (Int) -> Void) throws {
    let from = try Qcow2Image(path: upper, readOnly: true)
    // Nobody has it. Held, it would keep writers away from the lower one.
    try Qcow2Image(path: upper).probe()
    let to = try ImageChain.open(path: lower, format: format, readOnly: false)
    try to.lock()
    defer { to.unlock() }
    let size = min(from.size, to.size)
    guard from.size == to.size else {
      throw ManagementError(
        "\(upper) has another size than \(lower), which it stands on",
        remedy: "make both alike with vmctl modifymedium --resize")
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var position: UInt64 = 0
    while position < size {
      let stretch = try from.ownStretch(at: position, most: UInt64(buffer.count))
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(stretch.count)])
      switch stretch.kind {
      case .below: break
      case .zero: try to.writeZeroes(at: position, count: stretch.count, mayUnmap: true)
      case .data:
        try from.read(at: position, into: part)
        try to.write(at: position, from: UnsafeRawBufferPointer(part))
      }
      position += stretch.count
      progress(Int(position * 100 / size))
    }
    try to.flush()
  }
}
