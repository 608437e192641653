import Foundation
import Testing

@testable import Machine

@Suite struct SettingTests {
  private static let settings = MachineConfiguration.settings.flatMap(\.settings)

  /// A value other than the default for each setting with an option; a new setting needs a line here.
  private static let others: [String: [String]] = [
    "memory": ["64"], "vram": ["32"], "cpus": ["2"], "cpu-profile": ["i686"], "accel": ["interpreter"],
    "firmware": ["/rom"], "boot1": ["disk"], "boot2": ["net"], "boot3": ["none"], "boot4": ["dvd"],
    "kernel": ["/kernel"], "initrd": ["/initrd"], "append": ["a b"], "rtc-use-utc": ["off"], "hpet": ["off"],
    "debug-ports": ["on"], "test-device": ["on"], "uart-strict": ["on"], "uart1": ["0x2f8", "3"],
    "uart2": ["0x2f8", "3"],
    "uart3": ["0x3e8", "4"],
    "uart4": ["0x2e8", "3"], "uart-mode1": ["tcpserver 2023"], "uart-mode2": ["file /f"],
    "uart-mode3": ["server /s"], "uart-mode4": ["tcpclient h:1"],
  ]

  @Test func namesAndKeysForProgramsAreThereOnce() {
    #expect(Set(Self.settings.map(\.name)).count == Self.settings.count)
    #expect(Set(Self.settings.map(\.fact)).count == Self.settings.count)
    #expect(Set(MachineConfiguration.settings.map(\.key.name)).count == MachineConfiguration.settings.count)
  }

  @Test func everySettingTakesTheWordsThatItTells() throws {
    for setting in Self.settings where setting.hasOption {
      let words = try #require(Self.others[setting.name], "no other value for \(setting.name)")
      var configuration = MachineConfiguration()
      // A mode needs its uart.
      if let place = setting.name.last, setting.name.hasPrefix("uart-mode") {
        try Self.set("uart\(place)", ["0x2f8", "3"], &configuration)
      }
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
    for setting in Self.settings where setting.hasOption && !setting.name.hasPrefix("uart-mode") {
      var configuration = MachineConfiguration()
      try setting.set(&configuration, Self.others[setting.name] ?? [])
      var read = MachineConfiguration()
      read.uarts = []
      try MachineConfiguration.settings.apply(MachineConfiguration.settings.value(of: configuration), to: &read)
      #expect(read == configuration, "\(setting.name)")
    }
  }

  @Test func whatAGuestNoticesIsInTheHardwaresDescriptionAndNothingElse() throws {
    for setting in Self.settings where setting.hasOption && !setting.name.hasPrefix("uart-mode") {
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
    ("accel", ["magic"]), ("boot1", ["moon"]), ("hpet", ["yes"]), ("uart1", ["0x3f8"]), ("uart1", ["0x3f8", "16"]),
    ("uart1", ["0x10000", "4"]), ("uart1", ["on"]), ("uart-mode1", ["pipe", "/x"]), ("uart-mode1", []),
    ("uart-mode2", ["disconnected"]), ("uart-mode1", ["tcpserver", "65536"]), ("uart-mode1", ["tcpclient", "1"]),
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
    #expect(
      read.settings == [
        "memory": "64", "vram": "8", "cpus": "2", "cpu-profile": "i686", "boot1": "dvd", "boot2": "disk",
        "boot3": "none", "boot4": "none", "rtc-use-utc": "off", "hpet": "off", "debug-ports": "on",
        "test-device": "off", "uart-strict": "off", "uart1": "off",
        "uart2": "0x2f8 3", "uart3": "off", "uart4": "off",
      ])
    #expect(read.boot.first?.setting == "kernel")
    #expect(read.roms.first?.setting == "")
    let again = try JSONDecoder().decode(HardwareDescription.self, from: JSONEncoder().encode(read))
    #expect(again == read)
  }
}
