import DiskImages
import Foundation
import Machine
import Testing

@testable import Management

/// Snapshots of machines that do not run: what disks hold afterwards, and what is left where.
@Suite final class SnapshotTests {
  private let home: String
  private let registry: Registry
  private let disk: String

  init() throws {
    home = NSTemporaryDirectory() + "/vmctl-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: home, withIntermediateDirectories: true)
    registry = Registry(home: home)
    disk = home + "/disk.img"
    try RawImage.createRaw(path: disk, size: 1 << 20)
  }

  deinit { try? FileManager.default.removeItem(atPath: home) }

  private func machine(_ name: String = "box") throws -> VMEntry {
    var definition = VMDefinition(name: name)
    try definition.hardware.addController(name: "IDE", bus: .ide)
    try definition.hardware.attach(
      .init(port: 0, device: 0, kind: .hdd, medium: disk), controller: "IDE", port: 0, device: 0)
    return try registry.create(definition)
  }

  private func now(_ entry: VMEntry) throws -> MachineConfiguration.Attachment {
    let definition = try registry.find(entry.name).folder.readDefinition(checkingHost: false)
    return try #require(definition.hardware.storageControllers.first?.attachments.first)
  }

  private func open(_ entry: VMEntry) throws -> any DiskImage {
    let disk = try now(entry)
    return try ImageChain.open(path: disk.medium ?? "", format: disk.format, readOnly: false)
  }

  /// As a guest would.
  private func write(_ value: UInt8, at sector: UInt64, _ entry: VMEntry) throws {
    let image = try open(entry)
    try image.lock()
    defer { image.unlock() }
    let bytes = [UInt8](repeating: value, count: 512)
    let result = bytes.withUnsafeBytes { bytes in Result { try image.write(at: sector * 512, from: bytes) } }
    try result.get()
  }

  /// What the first sectors hold.
  private func content(_ entry: VMEntry, _ count: Int = 4) throws -> [UInt8] {
    let image = try open(entry)
    var bytes = [UInt8](repeating: 0xEE, count: count * 512)
    let result = bytes.withUnsafeMutableBytes { bytes in Result { try image.read(at: 0, into: bytes) } }
    try result.get()
    return (0..<count).map { bytes[$0 * 512] }
  }

  @discardableResult
  private func take(_ entry: VMEntry, _ name: String) throws -> Snapshot {
    let wish = try SnapshotRequest(name: name, description: "of \(name)")
    try registry.takeSnapshot(entry, wish)
    return try entry.folder.readSnapshots().find(wish.uuid, machine: entry.name)
  }

  private func overlays(_ entry: VMEntry) -> Int {
    ((try? FileManager.default.contentsOfDirectory(atPath: entry.folder.snapshots)) ?? []).count
  }

  @Test func disksComeBackAsATreeAndTheFirstIsNeverWritten() throws {
    let box = try machine()
    try write(1, at: 0, box)
    let first = try take(box, "first")
    #expect(try now(box).format == .qcow2)
    try write(2, at: 1, box)
    let second = try take(box, "second")
    try write(3, at: 2, box)
    #expect(try content(box) == [1, 2, 3, 0])
    try registry.restoreSnapshot(box, "first")
    #expect(try content(box) == [1, 0, 0, 0])
    try write(4, at: 3, box)
    let third = try take(box, "third")
    try registry.restoreSnapshot(box, second.uuid)
    #expect(try content(box) == [1, 2, 0, 0])
    try registry.restoreSnapshot(box, "third")
    #expect(try content(box) == [1, 0, 0, 4])
    let tree = try box.folder.readSnapshots()
    #expect(tree.places.map(\.snapshot.name) == ["first", "second", "third"])
    #expect(tree.places.map(\.ending) == ["", "-1", "-2"])
    #expect(tree.current == third.uuid)
    #expect(tree.facts.map { "\($0.key)=\($0.value)" }.contains("CurrentSnapshotNode=SnapshotName-2"))
    #expect([first, second, third].map(\.parent) == [nil, first.uuid, first.uuid])
    // Overlays that no snapshot has are gone: those of second, third, and the one that is written now.
    #expect(overlays(box) == 3)
    let raw = try RawImage(path: disk, readOnly: true)
    #expect(raw.size == 1 << 20)
    #expect(throws: ManagementError.self) { try self.registry.restoreSnapshot(box, "none") }
  }

  @Test func deletingASnapshotKeepsWhatCameAfterIt() throws {
    let box = try machine()
    try write(1, at: 0, box)
    try take(box, "a")
    try write(2, at: 1, box)
    try take(box, "b")
    try write(3, at: 2, box)
    try write(9, at: 0, box)
    try take(box, "c")
    try write(4, at: 3, box)
    // In the middle: c's disk goes into b's, and what stands on it is told.
    try registry.deleteSnapshot(box, "b")
    #expect(try content(box) == [9, 2, 3, 4])
    try registry.deleteSnapshot(box, "a")
    #expect(try content(box) == [9, 2, 3, 4])
    let c = try #require(try box.folder.readSnapshots().snapshots.first)
    #expect(c.parent == nil && c.disks[0].path == disk)
    try registry.restoreSnapshot(box, "c")
    #expect(try content(box) == [9, 2, 3, 0])
    try write(5, at: 3, box)
    try registry.deleteSnapshot(box, "c")
    // All of it is in the raw image again.
    #expect(try now(box).medium == disk && now(box).format == nil)
    #expect(try content(box) == [9, 2, 3, 5])
    #expect(overlays(box) == 0)
    #expect(try box.folder.readSnapshots() == SnapshotTree())
  }

  @Test func whatSeveralGoOnFromStays() throws {
    let box = try machine()
    try take(box, "a")
    try write(2, at: 1, box)
    try take(box, "b")
    try registry.restoreSnapshot(box, "a")
    try write(7, at: 1, box)
    #expect(throws: ManagementError.self) { try self.registry.deleteSnapshot(box, "a") }
    try registry.deleteSnapshot(box, "b")
    #expect(try content(box) == [0, 7, 0, 0])
    try registry.deleteSnapshot(box, "a")
    #expect(try content(box) == [0, 7, 0, 0])
    #expect(overlays(box) == 0)
  }

  @Test func settingsComeBackAndNamesStay() throws {
    let box = try machine()
    try take(box, "a")
    try registry.modify(box) {
      $0.hardware.memoryMB = 77
      $0.name = "other"
    }
    let other = try registry.find("other")
    try write(6, at: 0, other)
    #expect(try content(other) == [6, 0, 0, 0])
    try registry.restoreSnapshot(other, nil)
    let after = try registry.find("other")
    #expect(after.definition.hardware.memoryMB == VMDefinition(name: "x").hardware.memoryMB)
    #expect(after.definition.uuid == box.definition.uuid)
    #expect(try content(after) == [0, 0, 0, 0])
    try registry.editSnapshot(after, nil, to: "new name", description: "text")
    #expect(try after.folder.readSnapshots().find("new name", machine: "other").description == "text")
    #expect(throws: ManagementError.self) {
      try self.registry.editSnapshot(after, "new name", to: "two\nlines", description: nil)
    }
  }

  @Test func aDiskThatSomebodyWritesHasNoSnapshot() throws {
    let box = try machine()
    let writer = try RawImage(path: disk)
    try writer.lock()
    #expect(throws: DiskImageError.inUse(path: disk)) { try self.take(box, "a") }
    writer.unlock()
    #expect(overlays(box) == 0)
    #expect(try box.folder.readSnapshots() == SnapshotTree())
    #expect(try now(box).medium == disk)
    try take(box, "a")
  }

  /// Killed after the definition was written and before the list; and what a killed process has left.
  @Test func whatIsHalfDoneIsFinishedOrRemoved() throws {
    let box = try machine()
    try write(1, at: 0, box)
    try take(box, "a")
    let before = try Files.read(box.folder.snapshotTree)
    try write(2, at: 1, box)
    try take(box, "b")
    try FileManager.default.moveItem(atPath: box.folder.snapshotTree, toPath: box.folder.snapshotTree + ".part")
    try Files.replace(box.folder.snapshotTree, with: before)
    let orphans = [".state", ".state.77.part", "-ide-0-0.qcow2"].map {
      box.folder.snapshots + "/" + UUID().uuidString.lowercased() + $0
    }
    for orphan in orphans { try Files.replace(orphan, with: "x") }
    try Files.replace(box.folder.snapshots + "/mine.qcow2", with: "x")
    box.folder.removeSnapshotLeftovers()
    #expect(try box.folder.readSnapshots().snapshots.map(\.name) == ["a", "b"])
    #expect(!orphans.contains(where: Files.exists))
    #expect(Files.exists(box.folder.snapshots + "/mine.qcow2"))
    #expect(try content(box) == [1, 2, 0, 0])
    // A list that nothing stands for is none.
    try Files.replace(box.folder.snapshotTree + ".part", with: before)
    box.folder.removeSnapshotLeftovers()
    #expect(try box.folder.readSnapshots().snapshots.count == 2)
    #expect(!Files.exists(box.folder.snapshotTree + ".part"))
    try registry.restoreSnapshot(box, "a")
    #expect(try content(box) == [1, 0, 0, 0])
  }

  @Test func aListThatIsNoneIsRefused() throws {
    let box = try machine()
    try take(box, "a")
    let text = try Files.read(box.folder.snapshotTree)
    for wrong in ["", "{", text.replacingOccurrences(of: "\"version\" : 1", with: "\"version\" : 9")] {
      try Files.replace(box.folder.snapshotTree, with: wrong)
      #expect(throws: ManagementError.self) { _ = try box.folder.readSnapshots() }
      #expect(throws: ManagementError.self) { try self.take(box, "b") }
    }
  }
}
