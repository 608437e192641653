import Foundation
import GuestAssembly
import Testing

/// SeaBIOS on the machine's screen, keyboard and drives.
@Suite struct FirmwareTests {
  /// A boot sector that ends the VM process with `(value << 1) | 1`.
  private static func bootSector(exitingWith value: UInt8) throws -> [UInt8] {
    try bootSector("mov al, \(value); out 0xF4, al; cli; hlt")
  }

  private static func bootSector(_ text: String) throws -> [UInt8] {
    let code = try GuestCode.assemble(text, bits: 16, origin: 0x7C00)
    return code + Array(repeating: 0, count: 510 - code.count) + [0x55, 0xAA]
  }

  /// Prints "go" and the end of a line on the debug port.
  private static let go = "mov al, 'g'; out 0xE9, al; mov al, 'o'; out 0xE9, al; mov al, 10; out 0xE9, al;"

  /// A CD-ROM image with a boot sector, by El Torito without emulation.
  private static func makeISO(_ host: TestHost, exitingWith value: UInt8) throws -> String {
    let tree = host.folder + "/tree"
    try FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: true)
    _ = try host.write("tree/boot.bin", try bootSector(exitingWith: value) + Array(repeating: 0, count: 1536))
    let iso = host.folder + "/boot.iso"
    let words = ["-as", "mkisofs", "-quiet", "-o", iso, "-b", "boot.bin", "-c", "boot.cat", "-no-emul-boot"]
    let child = try Child(
      "xorriso", words + ["-boot-load-size", "4", tree], environment: host.environment,
      streams: .files(folder: host.folder, input: nil))
    guard try child.wait() == 0 else { throw Failure("xorriso: \(child.errors)") }
    return iso
  }

  private func waitForScreen(_ host: TestHost, _ text: String) throws -> String {
    try poll("\"\(text)\" on the screen") {
      let outcome = try host.attempt(["debugvm", "box", "info", "screen"])
      return outcome.output.contains(text) ? outcome.output : nil
    }
  }

  @Test("SeaBIOS finds no bootable device and says so, also in a picture of the screen")
  func noBootableDevice() throws {
    let host = try TestHost()
    try host.create("box")
    try host.vmctl("startvm", "box")
    #expect(try waitForScreen(host, "No bootable device").contains("SeaBIOS"))
    let file = host.folder + "/screen.png"
    try host.vmctl("controlvm", "box", "screenshotpng", file)
    let picture = try Picture(png: try Data(contentsOf: URL(fileURLWithPath: file)))
    #expect(picture.width == 720 && picture.height == 400, "text mode has 720 x 400 pixels")
    #expect(picture.litBytes > 1000, "letters are not black")
    #expect(picture.litBytes < picture.bytes / 2, "and stand on black")
  }

  @Test(
    "the first bootable device of the boot order boots",
    arguments: [
      (["disk", "dvd"], true, UInt8(5)), (["dvd", "disk"], true, 6), (["dvd", "none"], true, 6),
      (["disk", "dvd"], false, 6),
    ])
  func bootOrder(_ order: [String], _ isDiskBootable: Bool, _ expected: UInt8) throws {
    let host = try TestHost()
    try host.create("box", ["--debug-ports", "on", "--boot1", order[0], "--boot2", order[1]])
    let sector = isDiskBootable ? try Self.bootSector(exitingWith: 5) : Array(repeating: 0, count: 512)
    let disk = try host.write("disk.img", sector + Array(repeating: 0, count: (1 << 20) - 512))
    try host.attach("box", port: 0, disk)
    try host.attach("box", port: 1, type: "dvddrive", try Self.makeISO(host, exitingWith: 6))
    let outcome = try host.attempt(["startvm", "box", "--foreground"])
    #expect(outcome.status == Int32(expected) * 2 + 1, "\(outcome.errors)")
  }

  @Test(
    "a machine boots from the network, by the card of the first priority or else the first, and by the next where that fails",
    arguments: [
      ("82540EM", "virtio", 0, true, UInt8(5)), ("82540EM", "virtio", 1, true, 6), ("virtio", "82540EM", 0, false, 6),
    ])
  func networkBoot(_ first: String, _ second: String, _ priority: Int, _ hasFirstFile: Bool, _ expected: UInt8) throws {
    let host = try TestHost()
    var options = ["--debug-ports", "on", "--boot1", "net", "--boot2", "none", "--nic-boot-prio2", "\(priority)"]
    for (card, type) in [(1, first), (2, second)] {
      let folder = host.folder + "/tftp\(card)"
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      if card == 2 || hasFirstFile {
        _ = try host.write("tftp\(card)/loader", try Self.bootSector(exitingWith: UInt8(4 + card)))
      }
      options += [
        "--nic\(card)", "nat", "--nic-type\(card)", type, "--nat-tftp-prefix\(card)", folder, "--nat-tftp-file\(card)",
        "loader",
      ]
    }
    try host.create("box", options)
    let outcome = try host.attempt(["startvm", "box", "--foreground"])
    #expect(outcome.status == Int32(expected) * 2 + 1, "\(outcome.errors)")
  }

  @Test("what is typed with controlvm reaches the guest's keyboard, as text and as scan codes")
  func typing() throws {
    let host = try TestHost()
    try host.create("box", ["--debug-ports", "on", "--boot1", "disk"])
    // Prints "go" and then, by INT 16h, each key up to Return.
    let code =
      Self.go + "key: xor ax, ax; int 0x16; out 0xE9, al; cmp al, 13; jne key; mov al, 10; out 0xE9, al; jmp key"
    let disk = try host.write("disk.img", try Self.bootSector(code) + Array(repeating: 0, count: (1 << 20) - 512))
    try host.attach("box", port: 0, disk)
    try host.vmctl("startvm", "box")
    try host.waitForLog("box", " go\n")
    try host.vmctl("controlvm", "box", "keyboardputstring", "Hello, {World} #42!\n")
    try host.waitForLog("box", "Hello, {World} #42!\n")
    try host.vmctl("controlvm", "box", "keyboardputscancode", "2d", "ad", "2a", "2d", "ad", "aa", "1c", "9c")
    try host.waitForLog("box", " xX\n")
    try host.refused("controlvm", "box", "keyboardputscancode", "zz", saying: ["zz", "hexadecimal"])
    // Much more than the fifteen keys that the BIOS keeps.
    let long = (0..<25).map { "word\($0)" }.joined(separator: " ")
    try host.vmctl("controlvm", "box", "keyboardputstring", long + "\n")
    try host.waitForLog("box", long + "\n")
  }

  /// A screen mode, what a boot sector draws in it, and what the picture then is.
  struct ScreenMode: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var code: String
    var width: Int
    var height: Int
    /// Percent of the picture's bytes that cannot be 0.
    var lit: Int
  }

  private static let screenModes: [ScreenMode] = {
    func window(_ count: UInt16) -> String {
      "mov ax, 0xA000; mov es, ax; xor di, di; mov cx, \(count);"
    }
    let ramp = "1: mov ax, di; stosb; loop 1b;"
    let stripes = "mov al, 0xAA; rep stosb;"
    return [
      ScreenMode(
        testDescription: "text, 80 x 50", code: "mov ax, 0x1112; xor bx, bx; int 0x10;", width: 720, height: 400, lit: 0
      ),
      ScreenMode(
        testDescription: "16 colours, planar", code: "mov ax, 0x12; int 0x10;" + window(38_400) + stripes, width: 640,
        height: 480, lit: 90),
      ScreenMode(
        testDescription: "256 colours", code: "mov ax, 0x13; int 0x10;" + window(64_000) + ramp, width: 640,
        height: 400,
        lit: 15),
      ScreenMode(
        testDescription: "VBE, true colour, through its window",
        code: "mov ax, 0x4F02; mov bx, 0x115; int 0x10;" + window(65_535) + ramp, width: 800, height: 600, lit: 2),
    ]
  }()

  @Test("a picture of the screen shows text and graphics modes as the VGA BIOS sets them", arguments: screenModes)
  func pictures(_ mode: ScreenMode) throws {
    let host = try TestHost()
    try host.create("box", ["--debug-ports", "on", "--boot1", "disk"])
    // Then "go", and nothing more.
    let end = Self.go + "1: hlt; jmp 1b"
    let disk = try host.write(
      "disk.img", try Self.bootSector(mode.code + end) + Array(repeating: 0, count: (1 << 20) - 512))
    try host.attach("box", port: 0, disk)
    try host.vmctl("startvm", "box")
    try host.waitForLog("box", " go\n")
    let file = host.folder + "/screen.png"
    try host.vmctl("controlvm", "box", "screenshotpng", file)
    let picture = try Picture(png: try Data(contentsOf: URL(fileURLWithPath: file)))
    #expect(picture.width == mode.width && picture.height == mode.height, "\(picture.width) x \(picture.height)")
    #expect(picture.litBytes > 0 && picture.litBytes * 100 >= picture.bytes * mode.lit, "\(picture.litBytes) are lit")
    if mode.lit == 0 {
      let lines = try host.vmctl("debugvm", "box", "info", "screen").split(
        separator: "\n", omittingEmptySubsequences: false)
      #expect(lines.count >= 50, "\(lines.count) lines of text")
    }
  }
}
