import Foundation
import Machine
import Testing

@testable import Management

@Suite struct DefinitionTests {
  private static let opening = "name = \"box\"\nuuid = \"216741d7-2754-4fcd-b25f-734d66fbff49\"\n"

  @Test func aChangedLeafIsGivenBackAndOneOfTheModelsIsTaken() throws {
    var hardware = MachineConfiguration()
    try hardware.setCPUID(["7:1", "1", "2", "3", "0x4"])
    try hardware.removeCPUID("7:1")
    #expect(hardware.cpuidOverrides.isEmpty)
    try hardware.removeCPUID("0x15")
    try hardware.removeCPUID("0x15")
    #expect(hardware.cpuidOverrides == [.init(leaf: 0x15, subleaf: 0, registers: nil)])
    try hardware.setCPUID(["0x15", "1", "1", "1", "1"])
    #expect(hardware.cpuidOverrides == [.init(leaf: 0x15, subleaf: 0, registers: [1, 1, 1, 1])])
    hardware.removeAllCPUID()
    #expect(hardware == MachineConfiguration())
    #expect(throws: ManagementError.self) { try hardware.removeCPUID("x") }
  }

  @Test func whatIsWrittenIsReadBack() throws {
    var definition = VMDefinition(name: "a box")
    definition.description = "says \"hello\"\nand 'more'"
    definition.hardware.memoryMB = 64
    definition.hardware.append = "console=ttyS0 quiet"
    definition.hardware.kernel = "/boot/vmlinuz"
    definition.hardware.bootOrder = [.dvd, .disk]
    definition.hardware.uarts = [
      .init(slot: 1, ioBase: 0x3F8, irq: 4, mode: .tcpServer(host: "::1", port: 2023)),
      .init(slot: 2, ioBase: 0x2F8, irq: 3, mode: .file(path: "/tmp/a b")),
    ]
    definition.hardware.cpuidOverrides = [.init(leaf: 0x8000_0001, subleaf: 0, registers: [1, 2, 3, 0xFFFF_FFFF])]
    definition.hardware.storageControllers = [
      .init(name: "IDE", bus: .ide, attachments: [.init(port: 0, device: 1, kind: .dvddrive, medium: nil)])
    ]
    definition.screen.enabled = true
    definition.screen.port = 0
    definition.screen.address = "127.0.0.2"
    definition.screen.passwordFile = "/secret"
    definition.screen.web = true
    definition.teleporter.enabled = true
    definition.teleporter.port = 6000
    definition.teleporter.password = "p"
    let text = definition.toml()
    #expect(try VMDefinition(toml: text, file: "f") == definition)
  }

  @Test(arguments: [
    (
      "memori = 4\n", 3,
      "unknown key \"memori\"; allowed are name, uuid, description, sandbox, console-record, on-panic, hardware, vrde, teleporter"
    ),
    ("\n[hardware]\n# comment\nmemory = \"256\"\n", 6, "\"memory\" must be a number from 1 to 16777216"),
    ("[hardware]\nvram = 3\n", 4, "\"vram\" must be one of 1, 2, 4"),
    ("[hardware]\nmemory = 0\n", 4, "\"memory\" must be a number"),
    ("[hardware]\nmemory = 16777216\n", 4, "that this host has"),
    ("[hardware]\ncpu-profile = \"z80\"\n", 4, "\"cpu-profile\" must be one of \"x86-64-v2\""),
    ("[hardware]\nboot-order = [\n  \"dvd\",\n  \"moon\",\n]\n", 6, "must be one of \"none\", \"floppy\""),
    ("[hardware]\nhpet = 1\n", 4, "\"hpet\" must be true or false"),
    (
      "[[hardware.uart]]\nslot = 1\nio-base = 0x3f8\nirq = 4\n[[hardware.uart]]\nslot = 2\nio-base = 0x2f8\nirq = 99\n",
      10,
      "\"irq\" must be a number from 0 to 15"
    ),
    (
      "[[hardware.uart]]\nslot = 1\nio-base = 0x3f8\nirq = 4\nmode = \"telnet 3\"\n", 7,
      "is not of the form disconnected | tcpserver"
    ),
    ("[[hardware.uart]]\nslot = 1\nio-base = 0x3f8\nirq = 4\nmode = \"tcpserver 70000\"\n", 7, "port from 0 to 65535"),
    ("[[hardware.uart]]\nslot = 1\nirq = 4\n", 3, "the key \"io-base\" is missing in hardware.uart"),
    (
      "[[hardware.storage]]\nname = \"a\"\nbus = \"ide\"\n[[hardware.storage.attachment]]\nport = 0\ndevice = 0\ntype = \"tape\"\n",
      9,
      "must be one of \"hdd\", \"dvddrive\""
    ),
    ("[teleporter]\nport = 70000\n", 4, "\"port\" must be a number from 0 to 65535"),
    ("teleporter = { prot = 1 }\n", 3, "unknown key \"prot\" in teleporter"),
    (
      "description = \"\"\"\n[hardware]\n\"\"\"\n[hardware]\nram = 1\n", 7,
      "unknown key \"ram\" in hardware; allowed are memory"
    ),
    ("[hardware\n", 3, "this is no TOML: ] is missing"), ("[ ?\n", 3, "a key is expected where \"?\" stands"),
    ("a = [1,,2]\n", 3, "a value is expected"), ("\na = \"x\n", 4, "does not end"),
    ("a = 1.5\n", 3, "neither a text"), ("a = 012\n", 3, "neither"), ("a = \"\\q\"\n", 3, "no escape"),
    ("a = 1 2\n", 3, "the line's end is expected"), ("[hardware]\r\n\r\nx = 1\r\n", 5, "unknown key"),
    ("a = 1\u{1}\n", 3, "this is no TOML"),
  ])
  func anErrorNamesItsLineAndWhatIsAllowed(_ body: String, _ line: Int, _ message: String) {
    do {
      _ = try VMDefinition(toml: Self.opening + body, file: "box.toml")
      Issue.record("accepted: \(body)")
    } catch {
      let text = String(describing: error)
      #expect(text.hasPrefix("box.toml:\(line): "), "\(text)")
      #expect(text.contains(message), "\(text)")
      #expect(!text.contains("\n"))
    }
  }

  @Test func aDefinitionWithoutNameOrWithABadUUIDIsRefused() {
    #expect(throws: ManagementError.self) { try VMDefinition(toml: "", file: "f") }
    #expect(throws: ManagementError.self) { try VMDefinition(toml: "name = \"a\"\nuuid = \"b\"\n", file: "f") }
    #expect(throws: ManagementError.self) {
      try VMDefinition(toml: "name = \"../a\"\nuuid = \"216741d7-2754-4fcd-b25f-734d66fbff49\"\n", file: "f")
    }
  }

  @Test func randomAndTruncatedFilesAreErrorsAndNothingWorse() throws {
    var generator = SystemRandomNumberGenerator()
    let whole = Array(VMDefinition(name: "box").toml().utf8)
    for length in 0..<whole.count {
      _ = try? VMDefinition(toml: String(decoding: whole[..<length], as: UTF8.self), file: "f")
    }
    for _ in 0..<1000 {
      var bytes = whole
      for _ in 0..<6 {
        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 1...255, using: &generator)
      }
      _ = try? VMDefinition(toml: String(decoding: bytes, as: UTF8.self), file: "f")
    }
  }

  @Test(arguments: [
    (["disconnected"], "disconnected"), (["tcpserver", "2023"], "tcpserver 2023"),
    (["tcpserver", "0.0.0.0:23"], "tcpserver 0.0.0.0:23"),
    (["tcpclient", "[::1]:5"], "tcpclient [::1]:5"), (["file", "/a b"], "file /a b"), (["server", "/s"], "server /s"),
  ])
  func uartModesAreTheWordsOfModifyvm(_ words: [String], _ text: String) throws {
    let mode = try MachineConfiguration.UartMode(words: words)
    #expect(mode.text == text)
    #expect(try MachineConfiguration.UartMode(text: mode.text) == mode)
  }

  @Test(arguments: [
    [], ["tcpserver"], ["tcpserver", "x"], ["tcpserver", "65536"], ["tcpclient", "23"], ["disconnected", "x"],
    ["pipe", "/x"],
  ])
  func otherUartModesAreRefused(_ words: [String]) {
    #expect(throws: SettingFailure.self) { try MachineConfiguration.UartMode(words: words) }
  }

  @Test func disksOnVirtioHaveSixteenPortsAndNoDiscs() throws {
    var hardware = MachineConfiguration()
    try hardware.addController(name: "V", bus: .virtio)
    func attach(_ kind: MachineConfiguration.Attachment.Kind, _ port: Int, _ device: Int = 0) throws {
      let disk = MachineConfiguration.Attachment(port: port, device: device, kind: kind, medium: "/d\(port)")
      try hardware.attach(disk, controller: "V", port: port, device: device)
    }
    try attach(.hdd, 15)
    try attach(.hdd, 0)
    #expect(HardwareLimits.problems(hardware).isEmpty)
    #expect(throws: ManagementError.self) { try attach(.hdd, 16) }
    #expect(throws: ManagementError.self) { try attach(.hdd, 1, 1) }
    #expect(throws: ManagementError.self) { try attach(.dvddrive, 1) }
    #expect(hardware.storageControllers[0].attachments.map(\.port) == [0, 15])
    hardware.storageControllers[0].attachments = [.init(port: 1, device: 1, kind: .dvddrive, medium: nil)]
    #expect(HardwareLimits.problems(hardware).count == 2)
  }

  @Test func theISABusHasPlaceForThreeCardsAndNobodyElseThere() {
    var hardware = MachineConfiguration()
    for slot in 1...4 {
      var card = MachineConfiguration.NetworkAdapter(slot: slot, network: .null, macAddress: "02000000000\(slot)")
      card.model = .ne2000ISA
      hardware.networkAdapters.append(card)
    }
    #expect(HardwareLimits.problems(hardware).map(\.path) == [["hardware", "nic", "3", "type"]])
    hardware.networkAdapters.removeLast()
    #expect(HardwareLimits.problems(hardware).isEmpty)
    for (uart, isPossible) in [
      (MachineConfiguration.Uart(ioBase: 0x318, irq: 4), false), (.init(ioBase: 0x2F8, irq: 10), false),
      (.init(ioBase: 0x2F8, irq: 4), true), (.init(ioBase: 0x360, irq: 4), true),
    ] {
      hardware.uarts = [uart]
      #expect(HardwareLimits.problems(hardware).isEmpty == isPossible, "\(uart)")
    }
  }

  @Test func withoutAPasswordOnlyThisHostMayTeleport() throws {
    var teleporter = VMDefinition.Teleporter()
    #expect(try teleporter.listenAddress(hasPassword: false) == "127.0.0.1")
    #expect(try teleporter.listenAddress(hasPassword: true) == "0.0.0.0")
    teleporter.address = "192.0.2.1"
    #expect(try teleporter.listenAddress(hasPassword: true) == "192.0.2.1")
    #expect(throws: ManagementError.self) { try teleporter.listenAddress(hasPassword: false) }
  }
}
