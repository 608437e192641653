import Foundation
import Testing

@testable import Management

/// The definitions that come with machines (`vmctl receive`), up to the process that is started.
@Suite struct ReceptionTests {
  private let temporary: TemporaryRegistry
  private var registry: Registry { temporary.registry }
  private let reception: MachineReception
  init() throws {
    temporary = try TemporaryRegistry()
    reception = MachineReception(temporary.registry, address: "127.0.0.1", passwordFile: "/secret")
  }

  private func theirs(_ name: String = "box") -> VMDefinition {
    var definition = VMDefinition(name: name)
    definition.hardware.memoryMB = 4
    definition.teleporter.password = "theirs"
    definition.teleporter.port = 7
    definition.sandbox = false
    return definition
  }

  @Test func howAMachineWaitsAndIsKeptInIsThisHostsToSay() throws {
    let definition = try reception.arriving(theirs().toml())
    #expect(definition.sandbox)
    #expect(definition.teleporter.enabled)
    #expect(definition.teleporter.address == "127.0.0.1")
    #expect(definition.teleporter.passwordFile == "/secret")
    #expect(definition.teleporter.password == nil && definition.teleporter.port == 0)
    #expect(!MachineReception.portable(definition).contains("secret"), "nothing of it travels on")
  }

  @Test(arguments: ["../box", "/box", ".box", "a/b", "", "-x"])
  func aNameThatLeadsElsewhereIsRefused(name: String) {
    #expect(throws: ManagementError.self) { try reception.arriving(theirs(name).toml()) }
  }

  @Test func damagedOnesAreRefusedOrAreMachinesOfTheRegistry() throws {
    let whole = Array(theirs().toml().utf8)
    var state: UInt64 = 5
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
    var taken = 0
    for _ in 0..<400 {
      var bytes = whole
      for _ in 0...random(3) { bytes[random(bytes.count)] = UInt8(truncatingIfNeeded: random(256)) }
      guard let definition = try? reception.arriving(String(decoding: bytes, as: UTF8.self)),
        let entry = try? registry.create(definition)
      else { continue }
      taken += 1
      #expect(try registry.list().entries.map(\.definition) == [definition])
      #expect(try FileManager.default.contentsOfDirectory(atPath: registry.home + "/machines") == [definition.name])
      #expect(try reception.arriving(MachineReception.portable(definition)) == definition)
      try registry.unregister(entry, delete: true)
    }
    #expect(taken > 0)
  }
}
