import Foundation
import Testing

@testable import Machine

@Suite struct SettingTests {
  private static let settings = MachineConfiguration.settings.flatMap(\.settings)

  /// A value other than the default for each setting with an option; a new setting needs a line here.
  private static let others: [String: [String]] = [
    "memory": ["64"], "vram": ["32"], "cpus": ["2"], "cpu-profile": ["i686"], "accel": ["interpreter"],
    "verify-code": ["on"], "deterministic": ["on"], "cpuid-portability-level": ["2"],
    "firmware": ["/rom"], "boot1": ["disk"], "boot2": ["net"], "boot3": ["none"], "boot4": ["dvd"],
    "kernel": ["/kernel"], "initrd": ["/initrd"], "append": ["a b"], "rtc-use-utc": ["off"], "hpet": ["off"],
    "debug-ports": ["on"], "pvpanic": ["on"], "virtio-rng": ["on"], "virtio-console": ["on"],
    "virtio-console-mode": ["server /v"], "test-device": ["on"], "uart-strict": ["on"], "uart1": ["0x2f8", "3"],
    "uart2": ["0x2f8", "3"],
    "uart3": ["0x3e8", "4"],
    "uart4": ["0x2e8", "3"], "uart-mode1": ["tcpserver 2023"], "uart-mode2": ["file /f"],
    "uart-mode3": ["server /s"], "uart-mode4": ["tcpclient h:1"],
  ].merging(ofCards) { $1 }

  /// For each of the eight cards.
  private static let ofCards: [String: [String]] = {
    var result: [String: [String]] = [:]
    for slot in 1...8 {
      for (name, words) in [
        ("nic", ["null"]), ("nic-type", ["virtio"]), ("mac-address", ["02000000000\(slot)"]),
        ("cable-connected", ["off"]),
        ("nat-net", ["192.168.7.0/24"]), ("nat-anchor", ["off"]), ("nic-rom", ["off"]), ("nic-boot-prio", ["2"]),
        ("nat-pf", ["a,tcp,,2222,,22", "b,udp,,53,,53"]),
        ("nic-trace", ["on"]),
        ("nat-tftp-prefix", ["/srv"]), ("nat-tftp-file", ["boot.0"]), ("bridge-adapter", ["tap0"]), ("intnet", ["lab"]),
        ("nic-stream", ["listen:127.0.0.1:4000"]),
        ("nic-trace-file", ["/trace"]),
      ] { result["\(name)\(slot)"] = words }
    }
    return result
  }()

  /// What a setting of a device in a numbered place needs to be there.
  private static func giveDevice(for name: String, _ configuration: inout MachineConfiguration) throws {
    guard let place = name.last, let slot = place.wholeNumberValue else { return }
    if name.hasPrefix("uart-mode") { try set("uart\(place)", ["0x2f8", "3"], &configuration) }
    if ofCards[name] != nil, name != "nic\(place)" {
      configuration.networkAdapters = [.init(slot: slot, network: .nat, macAddress: "020000000000")]
    }
  }

  private static func isOfDevice(_ name: String) -> Bool {
    name.hasPrefix("uart-mode") || ofCards[name] != nil
  }

  @Test func namesAndKeysForProgramsAreThereOnce() {
    #expect(Set(Self.settings.map(\.name)).count == Self.settings.count)
    #expect(Set(Self.settings.map(\.fact)).count == Self.settings.count)
    #expect(Set(MachineConfiguration.settings.map(\.key.name)).count == MachineConfiguration.settings.count)
  }

  @Test func everySettingTakesTheWordsThatItTells() throws {
    for setting in Self.settings where setting.hasOption {
      let words = try #require(Self.others[setting.name], "no other value for \(setting.name)")
      var configuration = MachineConfiguration()
      try Self.giveDevice(for: setting.name, &configuration)
      let before = setting.text(configuration)
      try setting.set(&configuration, words)
      #expect(setting.words(configuration) == words)
      #expect(setting.text(configuration) != before, "\(setting.name)")
      // What it tells is what makes it so again.
      var second = configuration
      try setting.set(&second, setting.words(configuration) ?? [])
      #expect(second == configuration)
    }
  }

  private static func set(_ name: String, _ words: [String], _ configuration: inout MachineConfiguration) throws {
    try #require(settings.first { $0.name == name }).set(&configuration, words)
  }

  @Test func everySettingCrossesTheFile() throws {
    for setting in Self.settings where setting.hasOption {
      var configuration = MachineConfiguration()
      try Self.giveDevice(for: setting.name, &configuration)
      try setting.set(&configuration, Self.others[setting.name] ?? [])
      var read = MachineConfiguration()
      read.uarts = []
      try MachineConfiguration.settings.apply(MachineConfiguration.settings.value(of: configuration), to: &read)
      #expect(read == configuration, "\(setting.name)")
    }
  }

  @Test func whatAGuestNoticesIsInTheHardwaresDescriptionAndNothingElse() throws {
    for setting in Self.settings where setting.hasOption && !Self.isOfDevice(setting.name) {
      var configuration = MachineConfiguration()
      try setting.set(&configuration, Self.others[setting.name] ?? [])
      let differs = configuration.noticeable != MachineConfiguration().noticeable
      #expect(differs == (setting.notice == .value), "\(setting.name)")
      #expect((setting.change == .whenOff) == (setting.notice != .none), "\(setting.name)")
    }
  }

  @Test(arguments: [
    ("memory", ["much"]), ("memory", ["-1"]), ("memory", ["0x"]), ("memory", []), ("memory", ["1", "2"]),
    ("memory", ["0"]), ("vram", ["3"]), ("cpus", ["0"]), ("cpus", ["99"]), ("cpu-profile", ["z80"]),
    ("cpuid-portability-level", ["4"]), ("cpuid-portability-level", ["-1"]),
    ("accel", ["magic"]), ("boot1", ["moon"]), ("hpet", ["yes"]), ("uart1", ["0x3f8"]), ("uart1", ["0x3f8", "16"]),
    ("uart1", ["0x10000", "4"]), ("uart1", ["on"]), ("uart-mode1", ["pipe", "/x"]), ("uart-mode1", []),
    ("uart-mode2", ["disconnected"]), ("nic1", ["wifi"]), ("nic-type1", ["82540EM"]),
    ("mac-address1", ["auto"]), ("cable-connected1", ["on"]), ("uart-mode1", ["tcpserver", "65536"]),
    ("uart-mode1", ["tcpclient", "1"]),
  ])
  func otherWordsAreRefusedAndChangeNothing(_ name: String, _ words: [String]) throws {
    let setting = try #require(Self.settings.first { $0.name == name })
    var configuration = MachineConfiguration()
    #expect(throws: SettingFailure.self) { try setting.set(&configuration, words) }
    #expect(configuration == MachineConfiguration())
  }

  @Test func takingTheKernelAwayTakesWhatBelongsToIt() throws {
    var configuration = MachineConfiguration()
    try Self.set("kernel", ["/k"], &configuration)
    try Self.set("initrd", ["/i"], &configuration)
    try Self.set("append", ["a"], &configuration)
    try Self.set("kernel", ["/other"], &configuration)
    #expect(configuration.initrd == "/i")
    try Self.set("kernel", ["none"], &configuration)
    #expect(configuration == MachineConfiguration())
  }

  @Test func placesOfUartsAreInOrderAndOffTakesOneAway() throws {
    var configuration = MachineConfiguration()
    try Self.set("uart3", ["0x3e8", "4"], &configuration)
    try Self.set("uart2", ["0x2f8", "3"], &configuration)
    #expect(configuration.uarts.map(\.slot) == [1, 2, 3])
    try Self.set("uart1", ["off"], &configuration)
    try Self.set("uart1", ["off"], &configuration)
    #expect(configuration.uarts.map(\.slot) == [2, 3])
    #expect(configuration.noticeable["uart1"] == "off")
    #expect(configuration.noticeable["uart3"] == "0x3e8 4")
  }

  @Test(arguments: [
    ("nic-type1", ["none"]), ("nic-type1", ["rtl8139"]), ("mac-address1", ["01005E000001"]),
    ("mac-address1", ["FFFFFFFFFFFF"]), ("mac-address1", ["000000000000"]), ("mac-address1", ["52540012345"]),
    ("mac-address1", ["52:54:00:12:34"]), ("cable-connected1", ["yes"]), ("nat-net1", ["10.0.2.1/24"]),
    ("nat-net1", ["10.0.2.0"]), ("nat-pf1", ["ssh"]), ("nat-pf1", ["a,tcp,,2222,,0"]), ("nat-pf1", ["delete"]),
    ("nat-pf1", ["a,tcp,,1,10.0.3.15,1"]), ("nat-pf1", ["a,tcp,,1,10.0.2.2,1"]), ("nat-pf1", ["a,tcp,,1,10.0.2.255,1"]),
    ("nat-pf1", ["delete", "nobody"]), ("nat-pf1", ["a,tcp,,1,,1", "a,tcp,,2,,2"]),
    ("nat-pf1", ["a,tcp,,1,,1", "b,tcp,,1,,2"]), ("nic-trace1", ["maybe"]),
    ("bridge-adapter1", ["a/b"]), ("bridge-adapter1", ["much-too-long-a-name"]), ("bridge-adapter1", [""]),
    ("intnet1", ["../x"]), ("intnet1", [""]), ("intnet1", ["a b"]), ("nic-stream1", ["host"]), ("nic-stream1", ["h:0"]),
    ("nic-stream1", [":1"]), ("nic-stream1", ["listen:h:65536"]),
  ])
  func wordsThatNoCardKnowsAreRefusedAndChangeNothing(_ name: String, _ words: [String]) throws {
    let setting = try #require(Self.settings.first { $0.name == name })
    var configuration = MachineConfiguration()
    try Self.giveDevice(for: name, &configuration)
    let before = configuration
    #expect(throws: SettingFailure.self) { try setting.set(&configuration, words) }
    #expect(configuration == before)
  }

  @Test func aCardIsMadeByItsNetworkWithAnAddressOfItsOwnAndKeepsIt() throws {
    var configuration = MachineConfiguration()
    try Self.set("nic2", ["nat"], &configuration)
    try Self.set("nic1", ["nat"], &configuration)
    let made = configuration.networkAdapters
    #expect(made.map(\.slot) == [1, 2])
    #expect(made[0].macAddress != made[1].macAddress)
    #expect(made.allSatisfy { $0.address?.bytes[0] == 0x52 }, "of local administration, no group's")
    try Self.set("nic1", ["null"], &configuration)
    #expect(configuration.networkAdapters[0].macAddress == made[0].macAddress, "another network, the same card")
    try Self.set("mac-address1", ["52:54:00:ab:cd:ef"], &configuration)
    #expect(configuration.noticeable["mac-address1"] == "525400ABCDEF")
    try Self.set("mac-address1", ["auto"], &configuration)
    #expect(configuration.noticeable["mac-address1"] != "525400ABCDEF")
    try Self.set("nic1", ["none"], &configuration)
    #expect(configuration.networkAdapters.map(\.slot) == [2])
    #expect(configuration.noticeable["nic-type1"] == "none" && configuration.noticeable["mac-address1"] == "none")
  }

  @Test func theKindOfNetworkIsNotTheGuestsAffair() throws {
    var one = MachineConfiguration()
    one.networkAdapters = [.init(slot: 1, network: .nat, macAddress: "525400000001")]
    var other = one
    other.networkAdapters[0].network = .null
    other.networkAdapters[0].forwards = ["a,tcp,,1,,1"]
    #expect(one.noticeable == other.noticeable)
    other.networkAdapters[0].macAddress = "525400000002"
    #expect(one.noticeable != other.noticeable)
  }

  @Test(arguments: [
    ("10", 10), ("0x1F", 31), ("0XA", 10), ("", nil), ("-1", nil), ("+1", nil), ("0x-1", nil), ("ten", nil),
  ])
  func numbersAreDecimalOrHexadecimal(_ text: String, _ number: Int?) {
    #expect(Number.parse(text) == number)
  }
}

@Suite struct HardwareDescriptionTests {
  /// As a build of version 1 wrote it.
  static let version1 = """
    {"boot":[{"digest":"bb","name":"kernel","option":"--kernel","path":"/k","size":9}],
     "bootOrder":["dvd","disk"],"cpuProfile":"i686","cpuidLeaves":[],"cpus":2,"debugPorts":true,"devices":[],
     "hpet":false,"memoryMB":64,"roms":[{"digest":"aa","name":"SeaBIOS","option":"","size":1}],"rtcUseUTC":false,
     "storage":[],"uarts":[{"ioBase":760,"irq":3,"slot":2}],"vramMB":8}
    """

  @Test func oneOfVersion1IsRead() throws {
    let read = try JSONDecoder().decode(HardwareDescription.self, from: Data(Self.version1.utf8))
    var settings = read.settings
    for slot in 1...8 {
      #expect(settings.removeValue(forKey: "nic-type\(slot)") == "none")
      #expect(settings.removeValue(forKey: "mac-address\(slot)") == "none")
    }
    #expect(
      settings == [
        "memory": "64", "vram": "8", "cpus": "2", "cpu-profile": "i686", "cpuid-portability-level": "0",
        "boot1": "dvd", "boot2": "disk", "boot3": "none", "boot4": "none", "rtc-use-utc": "off", "hpet": "off",
        "debug-ports": "on", "deterministic": "off",
        "test-device": "off", "pvpanic": "off",
        "virtio-rng": "off", "virtio-console": "off", "uart-strict": "off", "uart1": "off",
        "uart2": "0x2f8 3", "uart3": "off", "uart4": "off",
      ])
    #expect(read.boot.first?.setting == "kernel")
    #expect(read.roms.first?.setting == "")
    let again = try JSONDecoder().decode(HardwareDescription.self, from: JSONEncoder().encode(read))
    #expect(again == read)
  }
}
