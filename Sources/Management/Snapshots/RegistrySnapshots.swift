import DiskImages
import Foundation
import Machine

extension Registry {
  /// Takes a snapshot of a machine, running or not: it goes on as before, and writes to other images from then on.
  /// - Parameter progress: is told what is done, for people.
  /// - Throws: `ManagementError` or `DiskImageError`; then there is no snapshot, and the machine is as it was.
  public func takeSnapshot(
    _ entry: VMEntry, _ wish: SnapshotRequest, progress: (String) -> Void = { _ in }
  ) throws {
    if try entry.folder.currentStatus().state.isLive {
      // The machine's process may make files in there.
      try Files.makeDirectory(entry.folder.snapshots)
      var request = ControlRequest(.snapshot)
      request.snapshot = wish
      try ControlClient(entry).request(request) { progress($0.progress ?? "") }
      return
    }
    let folder = entry.folder
    try folder.whileEditing {
      let state = try folder.currentStatus().state
      guard [.poweroff, .saved, .aborted].contains(state) else {
        throw ManagementError(
          "the machine \"\(entry.name)\" is \(state.rawValue) and no snapshot can be taken of it",
          remedy: "it must be running, paused, saved or off")
      }
      var work = try SnapshotWork(folder, wish, hasState: state == .saved)
      do {
        // Nobody else may be writing to them just now.
        var images: [any DiskImage] = []
        defer { for image in images { image.unlock() } }
        for (disk, _) in work.definition.hardware.writtenDisks {
          let image = try ImageChain.open(path: disk.medium ?? "", format: disk.format, readOnly: true)
          try image.lock()
          images.append(image)
        }
        try work.makeOverlays()
        if state == .saved {
          try Self.link(folder.state, to: folder.snapshotState(wish.uuid))
          try Files.replace(folder.stateOrigin, with: wish.uuid + "\n")
        }
        try work.commit()
      } catch {
        work.drop()
        throw error
      }
    }
  }

  /// A file under a second name, or a copy of it where the file system has no such names.
  private static func link(_ file: String, to other: String) throws {
    if Glibc.link(file, other) == 0 { return }
    guard errno != EEXIST else { throw ManagementError.system("cannot make \(other)") }
    try SparseCopy.make(of: file, at: other)
  }

  /// Makes a machine what it was when a snapshot was taken: settings, disks, memory. What its disks have had since is lost.
  /// - Returns: what the user should know.
  /// - Throws: `ManagementError` when it runs, or something of the snapshot is missing; then nothing has changed.
  @discardableResult
  public func restoreSnapshot(_ entry: VMEntry, _ name: String?) throws -> (snapshot: Snapshot, notes: [String]) {
    let folder = entry.folder
    return try folder.whileEditing {
      try Self.refuse(folder, name: entry.name, doing: "given a snapshot's state", whileSaved: false)
      var tree = try folder.readSnapshots()
      let snapshot = try tree.pick(name, machine: entry.name)
      let now = try folder.readDefinition(checkingHost: false)
      var then = try VMDefinition(toml: snapshot.definition, file: folder.snapshotTree, checkingHost: false)
      (then.name, then.uuid) = (now.name, now.uuid)
      if snapshot.folder != folder.path { then.hardware.moveFiles(from: snapshot.folder, to: folder.path) }
      let mark = UUID().uuidString.lowercased()
      var made: [String] = []
      do {
        try Files.makeDirectory(folder.snapshots)
        for disk in snapshot.disks {
          let path = folder.overlay(mark, disk.place)
          made.append(path)
          try SnapshotWork.makeOverlay(path, on: folder.lengthened(disk.path), disk.format, folder)
          then.hardware.setMedium(path, .qcow2, at: disk.place)
        }
        Files.syncDirectory(of: folder.snapshots + "/.")
        guard !snapshot.hasState || Files.exists(folder.snapshotState(snapshot.uuid)) else {
          throw ManagementError("the memory of the snapshot \"\(snapshot.name)\" is not there any more")
        }
        try HardwareLimits.check(then.hardware)
        tree.current = snapshot.uuid
        try folder.replace(tree) {
          if snapshot.hasState {
            unlink(folder.state + ".part")
            try Self.link(folder.snapshotState(snapshot.uuid), to: folder.state + ".part")
          }
          // From here on the present state is given up.
          try folder.write(StatusRecord(state: .poweroff))
          folder.dropState()
          try folder.change(to: then)
          guard snapshot.hasState else { return }
          try Files.replace(folder.stateOrigin, with: snapshot.uuid + "\n")
          guard rename(folder.state + ".part", folder.state) == 0 else {
            throw ManagementError.system("cannot make \(folder.state)")
          }
          try folder.write(StatusRecord(state: .saved))
        }
      } catch {
        let isUsed = (try? folder.readDefinition(checkingHost: false))?.hardware.writtenDisks.contains { disk, _ in
          made.contains(disk.medium ?? "")
        }
        if isUsed == false { for path in made { unlink(path) } }
        unlink(folder.state + ".part")
        throw error
      }
      // What the machine has written since belongs to nothing any more.
      let kept = Set(tree.snapshots.flatMap(\.disks).map { folder.lengthened($0.path) })
      for (disk, _) in now.hardware.writtenDisks {
        guard let path = disk.medium, path.hasPrefix(folder.snapshots + "/"), !kept.contains(path) else { continue }
        unlink(path)
      }
      let notes = now.hardware.writtenDisks.compactMap { disk, place in
        snapshot.disks.contains { $0.place == place } ? nil : "the disk \(disk.medium ?? "") is not attached any more"
      }
      return (snapshot, notes)
    }
  }

  /// Changes what a snapshot is called, or what is said of it. Nil stays.
  /// - Throws: `ManagementError` when there is none.
  public func editSnapshot(_ entry: VMEntry, _ name: String?, to newName: String?, description: String?) throws {
    let folder = entry.folder
    try folder.whileEditing {
      var tree = try folder.readSnapshots()
      let found = try tree.pick(name, machine: entry.name)
      guard let index = tree.snapshots.firstIndex(of: found) else { return }
      if let newName { tree.snapshots[index].name = newName }
      if let description { tree.snapshots[index].description = description }
      try SnapshotRequest.check(tree.snapshots[index].name, tree.snapshots[index].description)
      try Files.replace(folder.snapshotTree, with: try tree.text)
    }
  }

  /// Deletes a snapshot of a machine that does not run: what was written after it goes into its disks, which the one after it
  /// then has. Killed at any point, nothing is lost, and it can be deleted again.
  /// - Parameter progress: is told how far it is, in per cent.
  /// - Throws: `ManagementError` or `DiskImageError`, when several go on from it, or a disk cannot be written.
  @discardableResult
  public func deleteSnapshot(
    _ entry: VMEntry, _ name: String, progress: @escaping (_ percent: Int) -> Void = { _ in }
  ) throws -> Snapshot {
    let folder = entry.folder
    return try folder.whileEditing {
      try Self.refuse(folder, name: entry.name, doing: "freed of a snapshot", whileSaved: false)
      let tree = try folder.readSnapshots()
      let snapshot = try tree.find(name, machine: entry.name)
      var removal = SnapshotRemoval(
        folder, tree, snapshot, try folder.readDefinition(checkingHost: false), progress: progress)
      try removal.run()
      return snapshot
    }
  }
}

extension SnapshotTree {
  /// By name or UUID; nil: the current one.
  func pick(_ name: String?, machine: String) throws -> Snapshot {
    if let name { return try find(name, machine: machine) }
    guard let current, let found = snapshots.first(where: { $0.uuid == current }) else {
      throw ManagementError("the machine \"\(machine)\" has no current snapshot", remedy: "name one")
    }
    return found
  }
}
