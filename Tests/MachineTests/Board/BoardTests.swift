import Devices
import Testing

@testable import Machine

@Suite struct BoardTests {
  private func board(_ change: (inout MachineConfiguration) -> Void = { _ in }) throws -> Board {
    var configuration = MachineConfiguration()
    configuration.memoryMB = 4
    configuration.vramMB = 1
    configuration.firmware = BareMetalMachine.file("hello.rom")
    change(&configuration)
    return try Board(configuration, identity: MachineIdentity(), lock: MachineLock())
  }

  @Test func everyDeviceHasANameOfItsOwn() throws {
    let names = try board {
      $0.cpus = 3
      $0.debugPorts = true
      $0.testDevice = true
      $0.uarts = (1...4).map { .init(slot: $0, ioBase: UInt16(0x200 + $0 * 8), irq: 3 + $0 % 2) }
    }.devices.map(\.name)
    #expect(Set(names).count == names.count)
    #expect(names.contains("uart4") && names.contains("debug-ports") && names.contains("test-device"))
  }

  @Test func aSettingPutsADeviceThereAndTakesItAway() throws {
    let settings: [(WritableKeyPath<MachineConfiguration, Bool>, String)] = [
      (\.hpet, "hpet"), (\.debugPorts, "debug-ports"), (\.testDevice, "test-device"),
    ]
    for (path, name) in settings {
      for isOn in [false, true] {
        let names = try board { $0[keyPath: path] = isOn }.devices.map(\.name)
        #expect(names.contains(name) == isOn, "\(name)")
      }
    }
  }

  @Test func theTestDeviceIsOnTheBusWhenItIsWanted() throws {
    #expect(try board { $0.testDevice = true }.pciDescription.contains("00:30.0 test-device id 51b36"))
    #expect(try !board().pciDescription.contains("test-device"))
  }

  @Test func whatAGuestCanNoticeShowsInTheHardwaresDescription() throws {
    let plain = try BareMetalMachine("hello", memoryMB: 4).vm.hardwareDescription()
    let other = try BareMetalMachine("hello", memoryMB: 4) { $0.testDevice = true }.vm.hardwareDescription()
    #expect(plain.settings["test-device"] == "off")
    #expect(other.settings["test-device"] == "on")
    #expect(other.devices.map(\.name).contains("test-device"))
    #expect(plain.devices == other.devices.filter { $0.name != "test-device" })
  }

  @Test func aResetBringsEveryDeviceToWhereItStarted() throws {
    let board = try board { $0.testDevice = true }
    let first = try board.devices.map { try $0.save() }
    board.reset()
    #expect(try board.devices.map { try $0.save() } == first)
  }
}
