import Machine
import Testing

@testable import Management

/// What a user wrote into a definition file is still there after an edit.
@Suite struct DefinitionEditTests {
  private static let text = """
    # My build machine.
    name = "box"     # its name
    uuid = "216741d7-2754-4fcd-b25f-734d66fbff49"

    [hardware]  # all of it
    # Enough for a compiler.
    memory = 0x40   # MB
    kernel = '/boot/k'  # the good one
    boot-order = [
      "dvd",  # first
      "disk",
    ]

    # The console.
    [[hardware.uart]]
    slot = 1
    io-base = 0x3f8
    irq = 4
    mode = "tcpserver 2023"  # telnet

    # A log.
    [[hardware.uart]]
    slot = 2
    io-base = 0x2f8
    irq = 3
    mode = "file /tmp/log"

    [[hardware.storage]]
    name = "IDE"
    bus = "ide"

    # The system disk.
    [[hardware.storage.attachment]]
    port = 0
    device = 0
    type = "hdd"
    medium = "/d.img"

    [teleporter]
    # Off for now.
    enabled = false

    """

  private func edit(_ text: String = text, _ change: (inout VMDefinition) throws -> Void) throws -> String {
    var definition = try VMDefinition(toml: text, file: "f", checkingHost: false)
    try change(&definition)
    let new = try definition.toml(changing: text, file: "f")
    #expect(try VMDefinition(toml: new, file: "f", checkingHost: false) == definition)
    return new
  }

  /// The lines that the edit took away and those that it added.
  private func difference(_ new: String, from old: String = text) -> (gone: [String], come: [String]) {
    func lines(_ text: String) -> [String] { text.split(separator: "\n").map(String.init) }
    var gone: [String] = []
    var come: [String] = []
    for change in lines(new).difference(from: lines(old)) {
      switch change {
      case .remove(_, let line, _): gone.append(line)
      case .insert(_, let line, _): come.append(line)
      }
    }
    return (gone, come)
  }

  private func expect(
    _ gone: [String], _ come: [String], in text: String = text, sourceLocation: SourceLocation = #_sourceLocation,
    _ change: (inout VMDefinition) throws -> Void
  ) throws {
    let found = difference(try edit(text, change), from: text)
    #expect(Set(found.gone) == Set(gone), sourceLocation: sourceLocation)
    #expect(Set(found.come) == Set(come), sourceLocation: sourceLocation)
    #expect(found.come.count == come.count, sourceLocation: sourceLocation)
  }

  @Test func anEditThatChangesNothingChangesNothing() throws { #expect(try edit { _ in } == Self.text) }

  @Test func aValueIsReplacedWhereItStands() throws {
    try expect(["memory = 0x40   # MB"], ["memory = 32   # MB"]) { try $0.set("memory", ["32"]) }
    try expect(["name = \"box\"     # its name"], ["name = \"crate\"     # its name"]) { $0.name = "crate" }
    try expect(["mode = \"file /tmp/log\""], ["mode = \"disconnected\""]) { try $0.set("uart-mode2", ["disconnected"]) }
    try expect(["enabled = false"], ["enabled = true"]) { try $0.set("teleporter", ["on"]) }
    try expect(["  \"dvd\",  # first", "boot-order = [", "  \"disk\",", "]"], ["boot-order = [\"net\", \"disk\"]"]) {
      try $0.set("boot1", ["net"])
    }
  }

  @Test func aNewKeyGetsALineInItsSection() throws {
    try expect([], ["hpet = false"]) { try $0.set("hpet", ["off"]) }
    let new = try edit { try $0.set("hpet", ["off"]) }
    #expect(new.contains("]\nhpet = false\n\n# The console."))
    try expect([], ["port = 6000"]) { try $0.set("teleporter-port", ["6000"]) }
    try expect([], ["description = \"a\\nb\""]) { $0.description = "a\nb" }
  }

  @Test func aKeyThatGoesLeavesItsComment() throws {
    try expect(["kernel = '/boot/k'  # the good one"], ["# the good one"]) { try $0.set("kernel", ["none"]) }
  }

  @Test func devicesComeAndGoAsSections() throws {
    try expect([], ["[[hardware.uart]]", "slot = 3", "io-base = 0x3e8", "irq = 4", "mode = \"disconnected\""]) {
      try $0.set("uart3", ["0x3e8", "4"])
    }
    try expect(["slot = 2", "[[hardware.uart]]", "io-base = 0x2f8", "irq = 3", "mode = \"file /tmp/log\""], []) {
      try $0.set("uart2", ["off"])
    }
    let none = try edit {
      try $0.set("uart1", ["off"])
      try $0.set("uart2", ["off"])
    }
    #expect(none.contains("uart = []\n"))
    #expect(none.contains("# The console.\n") && none.contains("# A log.\n"))
    let again = try edit(none) { try $0.set("uart1", ["0x3f8", "4"]) }
    #expect(!again.contains("uart = []") && again.contains("[[hardware.uart]]\nslot = 1\n"))
  }

  @Test func drivesComeAndGoBelowTheirController() throws {
    let added = try edit {
      let drive = MachineConfiguration.Attachment(port: 1, device: 0, kind: .dvddrive, medium: nil)
      try $0.hardware.attach(drive, controller: "IDE", port: 1, device: 0)
    }
    #expect(added.contains("medium = \"/d.img\"\n\n[[hardware.storage.attachment]]\nport = 1\n"))
    try expect(
      ["[[hardware.storage.attachment]]", "port = 0", "device = 0", "type = \"hdd\"", "medium = \"/d.img\""], []
    ) { try $0.hardware.attach(nil, controller: "IDE", port: 0, device: 0) }
    let bare = try edit { try $0.hardware.removeController(name: "IDE") }
    #expect(!bare.contains("hardware.storage") && bare.contains("# The system disk."))
    _ = try edit(bare) { try $0.hardware.addController(name: "New", bus: .ide) }
  }

  private static let head = "uuid = \"216741d7-2754-4fcd-b25f-734d66fbff49\"\nname = \"box\"\n"

  @Test(arguments: [
    "name = \"box\"\nuuid = \"216741d7-2754-4fcd-b25f-734d66fbff49\"",
    head + "hardware.memory = 64 # MB\nhardware.cpus = 1\n",
    head
      + "hardware = { memory = 64, uart = [{ slot = 1, io-base = 1016, irq = 4 }] } # x\nteleporter = {}\n",
    head + "# u\n[[hardware.uart]]\nslot = 2 # two\nio-base = 0x2f8\nirq = 3\n[teleporter]\n",
    "name = \"box\"\r\nuuid = \"216741d7-2754-4fcd-b25f-734d66fbff49\"\r\n[hardware]\r\nmemory = 64 # MB\r\n",
    head + "[teleporter]\n[hardware]\nuart = []\n[[hardware.cpuid]]\nleaf = 1\nremove = true\n",
  ])
  func everyFormOfFileCanBeEdited(_ text: String) throws {
    let comments = text.split(whereSeparator: \.isNewline).compactMap { line in
      line.firstIndex(of: "#").map { String(line[$0...]) }
    }
    for (name, words) in [
      ("memory", ["32"]), ("hpet", ["off"]), ("description", ["x"]), ("teleporter-port", ["7"]), ("boot2", ["net"]),
      ("uart3", ["0x3e8", "4"]), ("uart1", ["off"]), ("uart2", ["0x2e8", "5"]), ("uart4", ["off"]), ("append", [""]),
    ] {
      let new = try edit(text) { try $0.set(name, words) }
      for comment in comments { #expect(new.contains(comment), "\(name): \(new)") }
      #expect(!new.contains("written in another form"), "\(name): \(new)")
    }
    let all = try edit(text) {
      $0.hardware.cpuidOverrides.append(.init(leaf: 7, subleaf: 1, registers: [1, 2, 3, 4]))
      $0.hardware.storageControllers = [
        .init(name: "I", bus: .ide, attachments: [.init(port: 0, device: 0, kind: .hdd, medium: "/d")])
      ]
      try $0.set("uart4", ["0x2e8", "3"])
      $0.teleporter.enabled = true
    }
    #expect(!all.contains("written in another form"), "\(all)")
  }

  /// Hundreds of edits in a row, each of which must read back as what was asked for, keep all comments, and stay in place.
  @Test func manyEditsInARowKeepTheFileTrue() throws {
    var generator = SystemRandomNumberGenerator()
    var text = Self.text
    let choices: [(String, [[String]])] = [
      ("memory", [["64"], ["32"]]), ("hpet", [["on"], ["off"]]), ("kernel", [["none"]]), ("append", [["x"], [""]]),
      ("uart1", [["off"], ["0x3f8", "4"]]), ("uart2", [["off"], ["0x2f8", "3"]]),
      ("uart3", [["off"], ["0x3e8", "4"]]),
      ("boot1", [["dvd"], ["disk"]]), ("teleporter", [["on"], ["off"]]), ("teleporter-address", [[""], ["::1"]]),
      ("description", [[""], ["text"]]),
    ]
    for _ in 0..<300 {
      let (name, values) = choices[Int.random(in: 0..<choices.count, using: &generator)]
      let words = values[Int.random(in: 0..<values.count, using: &generator)]
      text = try edit(text) { definition in
        switch Int.random(in: 0..<8, using: &generator) {
        case 0: definition.hardware.storageControllers = []
        case 1:
          guard definition.hardware.storageControllers.isEmpty else { return }
          try definition.hardware.addController(name: "IDE", bus: .ide)
        case 2:
          guard !definition.hardware.storageControllers.isEmpty else { return }
          let port = Int.random(in: 0...1, using: &generator)
          let drive = MachineConfiguration.Attachment(port: port, device: 1, kind: .dvddrive, medium: nil)
          try definition.hardware.attach(Bool.random() ? drive : nil, controller: "IDE", port: port, device: 1)
        default: try definition.set(name, words)
        }
      }
      #expect(!text.contains("written in another form"), "\(text)")
      for comment in [
        "# My build machine.", "# Enough for a compiler.", "# The console.", "# A log.", "# Off for now.",
      ] {
        #expect(text.contains(comment), "\(text)")
      }
      if text.contains("written in another form") { break }
    }
  }
}
