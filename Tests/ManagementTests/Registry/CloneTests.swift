import DiskImages
import Foundation
import Machine
import Testing

@testable import Management

@Suite struct CloneTests {
  private let temporary: TemporaryRegistry
  private var registry: Registry { temporary.registry }
  init() throws { temporary = try TemporaryRegistry() }

  private struct Stopped: Error {}

  /// A machine with a disk of its own with holes, one that it only reads, and a CD.
  private func make(_ name: String = "box") throws -> VMEntry {
    try FileManager.default.createDirectory(atPath: registry.home, withIntermediateDirectories: true)
    for file in ["own.img", "shared.img", "disc.iso"] {
      try RawImage.createRaw(path: registry.home + "/" + file, size: 32 << 20)
    }
    let image = try RawImage(path: registry.home + "/own.img")
    for offset in [0, 5 << 20, (32 << 20) - 512] as [UInt64] {
      try content(offset).withUnsafeBytes { bytes in Result { try image.write(at: offset, from: bytes) } }.get()
    }
    var definition = VMDefinition(name: name)
    definition.hardware.memoryMB = 4
    try definition.hardware.addController(name: "IDE", bus: .ide)
    func attach(
      _ port: Int, _ device: Int, _ kind: MachineConfiguration.Attachment.Kind, _ file: String, readOnly: Bool
    ) throws {
      try definition.hardware.attach(
        .init(
          port: port, device: device, kind: kind, medium: registry.home + "/" + file,
          mode: readOnly ? .readonly : .normal),
        controller: "IDE", port: port, device: device)
    }
    try attach(0, 0, .hdd, "own.img", readOnly: false)
    try attach(0, 1, .hdd, "shared.img", readOnly: true)
    try attach(1, 0, .dvddrive, "disc.iso", readOnly: true)
    try definition.set("nic1", ["nat"])
    try definition.set("nic2", ["intnet"])
    try definition.set("uart-mode1", ["tcpserver 2023"])
    try definition.set("nat-pf1", ["ssh,tcp,,2222,,22"])
    return try registry.create(definition)
  }

  private func content(_ offset: UInt64) -> [UInt8] {
    (0..<512).map { UInt8(truncatingIfNeeded: offset >> 16 &+ $0 + 1) }
  }

  private func media(_ definition: VMDefinition) -> [String?] {
    definition.hardware.storageControllers.flatMap(\.attachments).map(\.medium)
  }

  private var leftovers: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: registry.home + "/machines")) ?? [])
      .filter { $0.hasPrefix(".cloning-") }
  }

  @Test func aCopyHasAllOfTheMachineAndDisksAndAddressesOfItsOwn() throws {
    let entry = try make()
    let made = try registry.clone(entry, CloneOptions(name: "copy"))
    let copy = try registry.find("copy")
    #expect(made.entry.definition == copy.definition)
    #expect(copy.definition.uuid != entry.definition.uuid)
    let folder = registry.home + "/machines/copy"
    #expect(
      media(copy.definition) == [
        folder + "/copy-disk1.img", registry.home + "/shared.img", registry.home + "/disc.iso",
      ])
    let (old, new) = (entry.definition.hardware.networkAdapters, copy.definition.hardware.networkAdapters)
    #expect(Set((old + new).map(\.macAddress)).count == 4)
    // Nothing else is different.
    var same = copy.definition
    (same.name, same.uuid) = (entry.definition.name, entry.definition.uuid)
    for index in old.indices { same.hardware.networkAdapters[index].macAddress = old[index].macAddress }
    same.hardware.storageControllers[0].attachments[0].medium = registry.home + "/own.img"
    #expect(same == entry.definition)
    let bytes = try Data(contentsOf: URL(fileURLWithPath: folder + "/copy-disk1.img"))
    #expect(try bytes == Data(contentsOf: URL(fileURLWithPath: registry.home + "/own.img")))
    var status = stat()
    #expect(stat(folder + "/copy-disk1.img", &status) == 0 && status.st_blocks * 512 < 4 << 20, "its holes are none")
    // What cannot be both machines' at one time is told.
    #expect(made.notes.count == 2)
    #expect(made.notes[0].contains("--uart-mode1 tcpserver 0"))
    #expect(made.notes[1].contains("2222"))
    #expect(leftovers.isEmpty)
  }

  @Test func addressesAndNamesOfDisksStayWhereThatIsWanted() throws {
    let entry = try make()
    var options = CloneOptions(name: "a")
    options.addresses = .newButForNAT
    options.keepsDiskNames = true
    options.baseFolder = registry.home + "/elsewhere"
    let old = entry.definition.hardware.networkAdapters
    let first = try registry.clone(entry, options).entry
    #expect(
      first.definition.hardware.networkAdapters.map { card in old.contains { $0.macAddress == card.macAddress } } == [
        true, false,
      ])
    #expect(media(first.definition)[0] == registry.home + "/elsewhere/a/own.img")
    #expect(try registry.find("a").definition == first.definition)
    options = CloneOptions(name: "b")
    options.addresses = .same
    #expect(
      try registry.clone(entry, options).entry.definition.hardware.networkAdapters.map(\.macAddress)
        == old.map(\.macAddress))
  }

  @Test func twoDisksOfOneNameBecomeTwoFiles() throws {
    var hardware = try make().definition.hardware
    hardware.storageControllers[0].attachments[1].mode = .normal
    hardware.storageControllers[0].attachments[1].medium = "/other/own.img"
    let moved = hardware.moveWrittenDisks(to: "/new", named: nil)
    #expect(moved.map(\.name) == ["own.img", "own-2.img"])
  }

  @Test func whatFailsOrIsInterruptedLeavesNothing() throws {
    let entry = try make()
    #expect(throws: Stopped.self) { try registry.clone(entry, CloneOptions(name: "copy")) { _ in throw Stopped() } }
    #expect(throws: ManagementError.self) { try registry.clone(entry, CloneOptions(name: "box")) }
    #expect(throws: ManagementError.self) { try registry.clone(entry, CloneOptions(name: "a/b")) }
    // A running machine writes the disk.
    let writer = try RawImage(path: registry.home + "/own.img")
    try writer.lock()
    #expect(throws: DiskImageError.self) { _ = try registry.clone(entry, CloneOptions(name: "copy")) }
    writer.unlock()
    #expect(leftovers.isEmpty)
    #expect(try registry.list().entries.map(\.name) == ["box"])
    // One that was killed has left its folder, and nobody holds its lock.
    let left = registry.home + "/machines/.cloning-x"
    try FileManager.default.createDirectory(atPath: left, withIntermediateDirectories: false)
    try Data().write(to: URL(fileURLWithPath: left + "/lock"))
    _ = try registry.clone(entry, CloneOptions(name: "copy"))
    #expect(leftovers.isEmpty)
  }

  @Test func theDisksInAMachinesFolderGoWithItsName() throws {
    let entry = try make()
    let copy = try registry.clone(entry, CloneOptions(name: "copy")).entry
    try registry.modify(copy) { $0.name = "renamed" }
    let renamed = try registry.find("renamed")
    let path = try #require(media(renamed.definition)[0])
    #expect(path == registry.home + "/machines/renamed/copy-disk1.img")
    #expect(FileManager.default.fileExists(atPath: path))
    #expect(media(renamed.definition)[1] == registry.home + "/shared.img")
  }
}
