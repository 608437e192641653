import DiskImages
import Foundation
import Machine

extension VMFolder {
  /// Takes away, or finishes, what was half done when a process was killed that took, restored or deleted a snapshot. For who
  /// holds the VM's lock.
  func removeSnapshotLeftovers() {
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: snapshots),
      let definition = try? readDefinition(checkingHost: false)
    else { return }
    let media = definition.hardware.writtenDisks.compactMap(\.disk.medium)
    finishList(media)
    unlink(state + ".part")
    guard let tree = try? readSnapshots() else { return }
    // What an image stands on is needed, whoever names it.
    let disks = media + tree.snapshots.flatMap(\.disks).map { lengthened($0.path) }
    let isOurs = { (path: String) in path.hasPrefix(self.snapshots + "/") }
    let needed = Set(disks.flatMap { ImageChain.files(of: $0, format: isOurs($0) ? .qcow2 : nil) }.map(normalized))
    let states = Set(tree.snapshots.map { snapshotState($0.uuid) })
    for name in names {
      let path = snapshots + "/" + name
      // Files of others are theirs.
      guard UUID(uuidString: String(name.prefix(36))) != nil,
        [".qcow2", ".state", ".part"].contains(where: name.hasSuffix)
      else { continue }
      if !needed.contains(normalized(path)) && !states.contains(path) { unlink(path) }
    }
  }

  /// The definition of a new snapshot holds when it is written; its list may not be in its place yet.
  private func finishList(_ media: [String]) {
    let part = snapshotTree + ".part"
    guard Files.exists(part) else { return }
    if let tree = try? SnapshotTree(readFrom: part), let taken = tree.current,
      media.contains(where: { $0.hasPrefix("\(snapshots)/\(taken)-") })
    {
      rename(part, snapshotTree)
    } else {
      unlink(part)
    }
  }

  private func normalized(_ path: String) -> String { URL(fileURLWithPath: path).standardizedFileURL.path }
}
