import Devices
import Foundation
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
      (\.hpet, "hpet"), (\.debugPorts, "debug-ports"), (\.testDevice, "test-device"), (\.pvpanic, "pvpanic"),
      (\.virtioEntropy, "rng"), (\.virtioConsole, "console"),
    ]
    for (path, name) in settings {
      for isOn in [false, true] {
        let names = try board { $0[keyPath: path] = isOn }.devices.map(\.name)
        #expect(names.contains(name) == isOn, "\(name)")
      }
    }
  }

  @Test func eachModelOfNetworkCardIsOnItsBus() throws {
    let models = MachineConfiguration.NetworkAdapter.Model.allCases
    let board = try board { configuration in
      configuration.networkAdapters = models.enumerated().map { index, model in
        var adapter = MachineConfiguration.NetworkAdapter(
          slot: index + 1, network: .null, macAddress: "02000000000\(index)")
        adapter.model = model
        return adapter
      }
    }
    let cards = board.devices.compactMap { $0 as? any NetworkCard }
    #expect(cards.map(\.name) == models.indices.map { "nic\($0 + 1)" })
    #expect(cards.map(\.address.digits) == models.indices.map { "02000000000\($0)" })
    for (index, id) in ["100e8086", "10001af4", "20001022", "802910ec"].enumerated() {
      #expect(board.pciDescription.contains("00:\(index + 3).0 nic\(index + 1) id \(id) class 20000"))
    }
    #expect(!board.pciDescription.contains("nic5"), "it is on the ISA bus")
  }

  @Test func cardsHaveBootROMsWhereAMachineBootsFromTheNetworkButThoseThatAreToHaveNone() throws {
    func roms(from place: MachineConfiguration.BootDevice, without: Int?) throws -> Int {
      try board { configuration in
        configuration.bootOrder = [place]
        configuration.networkAdapters = [(1, .e1000), (2, .virtio)].map { slot, model in
          var adapter = MachineConfiguration.NetworkAdapter(
            slot: slot, network: .null, macAddress: "02000000000\(slot)")
          adapter.model = model
          adapter.hasBootROM = slot != without
          return adapter
        }
      }.roms.count
    }
    let others = try roms(from: .disk, without: nil)
    #expect(try roms(from: .net, without: nil) == others + 2)
    #expect(try roms(from: .net, without: 2) == others + 1)
  }

  @Test func cardsAreTriedByTheirBootPriorityAndThenByTheirNumber() {
    var configuration = MachineConfiguration()
    configuration.networkAdapters = [(1, 0), (2, 4), (3, 0), (4, 1), (5, 4)].map { slot, priority in
      var adapter = MachineConfiguration.NetworkAdapter(slot: slot, network: .null, macAddress: "02000000000\(slot)")
      adapter.bootPriority = priority
      return adapter
    }
    // Card 1 is in slot 3.
    #expect(
      BootItems.paths(of: .net, configuration)
        == [6, 4, 7, 3, 5].map { "/pci@i0cf8/ethernet@\($0)/ethernet-phy@0" })
  }

  @Test func theVirtioConsoleIsASerialPortBehindTheOthers() throws {
    let board = try board { $0.virtioConsole = true }
    #expect(board.serialPorts.keys.sorted() == [1, 5])
    #expect(
      board.pciDescription.contains("00:28.0 console id 10031af4")
        || board.pciDescription.contains("00:1c.0 console id 10031af4"))
  }

  @Test func virtioDisksAreDevicesOfTheirOwn() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let disks = try (0..<2).map { index in
      let path = folder.appendingPathComponent("\(index).img").path
      try Data(repeating: 1, count: 1 << 16).write(to: URL(fileURLWithPath: path))
      return MachineConfiguration.Attachment(port: index * 15, device: 0, kind: .hdd, medium: path)
    }
    let board = try board {
      $0.storageControllers = [.init(name: "V", bus: .virtio, attachments: disks)]
      $0.virtioEntropy = true
    }
    #expect(board.pciDescription.contains("00:11.0 virtio-disk0 id 10011af4 class 10000"))
    #expect(board.pciDescription.contains("00:26.0 virtio-disk15 id 10011af4 class 10000"))
    #expect(board.pciDescription.contains("00:27.0 rng id 10051af4"))
    #expect(board.storageSlots.map(\.port) == [0, 15])
    #expect(board.drive(at: board.storageSlots[0].place) == nil, "a disk is no drive to change discs in")
    let disc = MachineConfiguration.Attachment(port: 1, device: 0, kind: .dvddrive, medium: nil)
    #expect(throws: MachineError.driveNotPossible(controller: "V", bus: .virtio, port: 1, device: 0)) {
      try self.board { $0.storageControllers = [.init(name: "V", bus: .virtio, attachments: [disc])] }
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
