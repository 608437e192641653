import Foundation
import Machine
import SavedState
import Teleport
import Testing

@testable import Management

/// A registry in a folder of its own, gone afterwards.
final class TemporaryRegistry {
  let registry: Registry
  init(deep: Bool = false) throws {
    var home = FileManager.default.temporaryDirectory.path + "/vmctl-test-" + UUID().uuidString
    if deep { home += "/" + String(repeating: "long-folder-name/", count: 10) + "home" }
    registry = Registry(home: home)
  }
  deinit {
    let first = registry.home.components(separatedBy: "/long-folder-name")[0]
    try? FileManager.default.removeItem(atPath: first)
  }
}

@Suite struct RegistryTests {
  private let temporary: TemporaryRegistry
  private var registry: Registry { temporary.registry }
  init() throws { temporary = try TemporaryRegistry() }

  private func make(_ name: String) throws -> VMEntry {
    var definition = VMDefinition(name: name)
    definition.hardware.memoryMB = 4
    return try registry.create(definition)
  }

  @Test func aMachineIsMadeFoundChangedAndDeleted() throws {
    let entry = try make("box")
    #expect(try registry.list().entries.map(\.name) == ["box"])
    #expect(try registry.find("box").definition == entry.definition)
    #expect(try registry.find(entry.definition.uuid.uuidString).name == "box")
    try registry.modify(entry) { $0.hardware.memoryMB = 8 }
    #expect(try registry.find("box").definition.hardware.memoryMB == 8)
    try registry.modify(try registry.find("box")) { $0.name = "crate" }
    #expect(try registry.find("crate").definition.uuid == entry.definition.uuid)
    #expect(throws: ManagementError.self) { try registry.find("box") }
    try registry.unregister(try registry.find("crate"), delete: true)
    #expect(try registry.list().entries.isEmpty)
  }

  @Test func aPanicThatNobodyCouldTellIsTold() throws {
    let entry = try make("box")
    let notes = try registry.modify(entry) { $0.onPanic = .reset }
    #expect(notes.first?.hasSuffix("vmctl modifyvm box --pvpanic on") == true && notes.count == 1)
    #expect(try registry.modify(entry) { $0.description = "may change" } == [], "said once")
    #expect(try registry.modify(entry) { $0.hardware.pvpanic = true } == [])
    #expect(try registry.modify(entry) { $0.hardware.pvpanic = false }.count == 1)
  }

  @Test func namesAndUUIDsAreThereOnce() throws {
    let entry = try make("box")
    #expect(throws: ManagementError.self) { try make("box") }
    #expect(throws: ManagementError.self) {
      try registry.create(VMDefinition(name: "other", uuid: entry.definition.uuid))
    }
    for name in ["", ".x", "a/b", "-x", "a\nb", String(repeating: "x", count: 101)] {
      #expect(throws: ManagementError.self) { try make(name) }
    }
  }

  @Test func anUnregisteredMachineCanBeRegisteredAgain() throws {
    let entry = try make("box")
    let place = registry.restingPlace(of: entry)
    try registry.unregister(entry, delete: false)
    #expect(try registry.list().entries.isEmpty)
    try registry.register(definitionFile: place + "/definition.toml")
    #expect(try registry.find("box").definition == entry.definition)
    try registry.unregister(try registry.find("box"), delete: true)
    #expect(!FileManager.default.fileExists(atPath: place))
  }

  @Test func aBaseFolderHoldsTheMachine() throws {
    let base = registry.home + "/elsewhere"
    try registry.create(VMDefinition(name: "far", hardware: small), baseFolder: base)
    #expect(FileManager.default.fileExists(atPath: base + "/far/definition.toml"))
    #expect(try registry.find("far").name == "far")
    try registry.unregister(try registry.find("far"), delete: true)
    #expect(!FileManager.default.fileExists(atPath: base + "/far"))
  }

  private var small: MachineConfiguration {
    var hardware = MachineConfiguration()
    hardware.memoryMB = 4
    return hardware
  }

  @Test func aBadChangeLeavesTheDefinitionAsItWas() throws {
    let entry = try make("box")
    for change: (inout VMDefinition) throws -> Void in [
      { $0.hardware.memoryMB = 0 }, { $0.hardware.memoryMB = 1 << 40 }, { $0.hardware.cpuProfile = "z80" },
      { $0.hardware.initrd = "/x" }, { $0.teleporter.address = "0.0.0.0" },
      { try $0.set("uart1", ["0x3f8", "99"]) },
      { try $0.set("uart-mode2", ["disconnected"]) },
    ] {
      #expect(throws: ManagementError.self) { try registry.modify(entry, change) }
    }
    #expect(try registry.find("box").definition == entry.definition)
  }

  @Test func aRunningMachineIsNeitherChangedNorUnregistered() throws {
    let entry = try make("box")
    let lock = try FileLock(path: entry.folder.lock)
    #expect(lock.tryLock(.running))
    try entry.folder.write(StatusRecord(state: .running))
    #expect(try entry.folder.currentStatus().state == .running)
    #expect(throws: ManagementError.self) { try registry.modify(entry) { $0.hardware.memoryMB = 8 } }
    #expect(throws: ManagementError.self) { try registry.unregister(entry, delete: true) }
    #expect(throws: ManagementError.self) { try VMProcess(entry, detached: false) }
    #expect(throws: Never.self) { try registry.modify(entry) { $0.description = "may change" } }
    lock.unlock(.running)
    #expect(try entry.folder.currentStatus().state == .aborted)
    #expect(throws: Never.self) { try registry.modify(entry) { $0.hardware.memoryMB = 8 } }
  }

  @Test func aSavedMachineKeepsItsHardwareUntilTheStateIsDropped() throws {
    let entry = try make("box")
    try Files.replace(entry.folder.state, with: "state")
    try entry.folder.write(StatusRecord(state: .saved))
    #expect(throws: ManagementError.self) { try registry.modify(entry) { $0.hardware.memoryMB = 8 } }
    #expect(throws: Never.self) {
      try registry.modify(entry) { try $0.set("uart-mode1", ["tcpserver", "0"]) }
    }
    try registry.discardState(entry)
    #expect(try entry.folder.currentStatus().state == .poweroff)
    #expect(throws: ManagementError.self) { try registry.discardState(entry) }
  }

  @Test func aMachineAdoptsWhatIsASavedStateAndNothingElse() throws {
    let entry = try make("box")
    let file = entry.folder.path + "/elsewhere"
    try Files.replace(file, with: "no state at all, but longer than the header of one")
    for path in [file, entry.folder.path, file + "-none"] {
      #expect(throws: ManagementError.self) { try registry.adoptState(entry, file: path) }
      #expect(try entry.folder.currentStatus().state == .poweroff)
      #expect(!entry.folder.hasSavedState)
    }
    var bytes: [UInt8] = []
    let writer = try StateWriter { bytes += $0 }
    try writer.finish()
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    try registry.adoptState(entry, file: file)
    #expect(try entry.folder.currentStatus().state == .saved)
    #expect(FileManager.default.contents(atPath: entry.folder.state) == Data(bytes))
    #expect(Files.exists(file), "a copy is taken")
    #expect(throws: ManagementError.self, "it has one") { try registry.adoptState(entry, file: file) }
    try registry.discardState(entry)
    let lock = try FileLock(path: entry.folder.lock)
    #expect(lock.tryLock(.running))
    try entry.folder.write(StatusRecord(state: .running))
    #expect(throws: ManagementError.self, "it runs") { try registry.adoptState(entry, file: file) }
  }

  @Test func aHandOverIsInDoubtWhereItsProcessDiedInThisBootOfTheHost() throws {
    let entry = try make("box")
    let aborted = StatusRecord(state: .aborted)
    #expect(!entry.isInDoubt(aborted))
    var record = TeleportRecord(role: .source, step: .committing, transfer: "t", host: "h", port: 1)
    try record.write(to: entry.folder.teleport)
    #expect(entry.isInDoubt(aborted))
    #expect(!entry.isInDoubt(StatusRecord(state: .running)), "it is here")
    record.step = .keptHere
    try record.write(to: entry.folder.teleport)
    #expect(!entry.isInDoubt(aborted))
    record.step = .committing
    record.hostBoot = "another"
    try record.write(to: entry.folder.teleport)
    #expect(!entry.isInDoubt(aborted), "who starts it knows that it is nowhere else")
  }

  @Test func oneUnreadableDefinitionHidesNoOtherMachine() throws {
    _ = try make("good")
    let bad = try make("bad")
    try Files.replace(bad.folder.definition, with: "name = 3\n")
    let list = try registry.list()
    #expect(list.entries.map(\.name) == ["good"])
    #expect(list.inaccessible.map(\.name) == ["bad"])
    #expect(list.inaccessible[0].reason.contains("definition.toml"))
    #expect(try registry.find("good").name == "good")
  }
}

@Suite struct VMStateTests {
  @Test(
    arguments: [
      (nil, false, false, VMState.poweroff), (nil, true, false, .starting), (.running, true, false, .running),
      (.running, false, false, .aborted), (.paused, false, false, .aborted), (.gurumeditation, false, false, .aborted),
      (.teleporting, false, false, .aborted), (.teleportingin, false, false, .aborted),
      (.standby, false, false, .aborted),
      (.starting, false, false, .aborted),
      (.saved, false, true, .saved), (.saved, false, false, .aborted), (.saving, false, false, .aborted),
      (.saving, false, true, .saved), (.restoring, false, true, .saved), (.running, false, true, .aborted),
      (.teleported, false, false, .teleported), (.poweroff, true, false, .starting),
      (.poweroff, false, true, .poweroff),
    ] as [(VMState?, Bool, Bool, VMState)])
  func theLockDecidesWhatARecordMeans(_ recorded: VMState?, _ locked: Bool, _ file: Bool, _ state: VMState) {
    #expect(VMState.actual(recorded: recorded, isLocked: locked, hasStateFile: file) == state)
  }
}

@Suite struct FileTests {
  @Test func logsAreNewAtEachStartAndThreeAreKept() throws {
    let temporary = try TemporaryRegistry()
    try Files.makeDirectory(temporary.registry.home)
    let folder = VMFolder(path: temporary.registry.home)
    for number in 0..<6 {
      let log = try LogFile(folder: folder)
      log.write("start \(number)")
    }
    #expect((0...4).map { folder.readLog($0) } == ["start 5\n", "start 4\n", "start 3\n", "start 2\n", nil])
  }

  @Test func aLogThatGrowsIsRotated() throws {
    let temporary = try TemporaryRegistry()
    try Files.makeDirectory(temporary.registry.home)
    let folder = VMFolder(path: temporary.registry.home)
    let log = try LogFile(folder: folder, limit: 100)
    for _ in 0..<9 { log.write(String(repeating: "x", count: 39)) }
    #expect(folder.readLog(0)?.utf8.count == 40)
    #expect(folder.readLog(3)?.utf8.count == 80)
  }
}
