import CZlib
import Foundation
import Testing

/// SeaBIOS on the machine's screen, keyboard and drives.
@Suite struct FirmwareTests {
  /// A boot sector that ends the VM process with `(value << 1) | 1`.
  private static func bootSector(exitingWith value: UInt8) -> [UInt8] {
    padded([0xB0, value, 0xE6, 0xF4, 0xFA, 0xF4])  // mov al, value; out 0xF4, al; cli; hlt
  }

  private static func padded(_ code: [UInt8]) -> [UInt8] {
    code + Array(repeating: 0, count: 510 - code.count) + [0x55, 0xAA]
  }

  /// A CD-ROM image with a boot sector, by El Torito without emulation.
  private static func makeISO(_ host: TestHost, exitingWith value: UInt8) throws -> String {
    let tree = host.folder + "/tree"
    try FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: true)
    _ = try host.write("tree/boot.bin", bootSector(exitingWith: value) + Array(repeating: 0, count: 1536))
    let iso = host.folder + "/boot.iso"
    let words = ["-as", "mkisofs", "-quiet", "-o", iso, "-b", "boot.bin", "-c", "boot.cat", "-no-emul-boot"]
    let child = try Child(
      "xorriso", words + ["-boot-load-size", "4", tree], environment: host.environment,
      streams: .files(folder: host.folder, input: nil))
    guard try child.wait(within: 60) == 0 else { throw Failure("xorriso: \(child.errors)") }
    return iso
  }

  private func waitForScreen(_ host: TestHost, _ text: String) throws -> String {
    try poll("\"\(text)\" on the screen", within: 120) {
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
    let sector = isDiskBootable ? Self.bootSector(exitingWith: 5) : Array(repeating: 0, count: 512)
    let disk = try host.write("disk.img", sector + Array(repeating: 0, count: (1 << 20) - 512))
    try host.attach("box", port: 0, disk)
    try host.attach("box", port: 1, type: "dvddrive", try Self.makeISO(host, exitingWith: 6))
    let outcome = try host.attempt(["startvm", "box", "--foreground"], within: 120)
    #expect(outcome.status == Int32(expected) * 2 + 1, "\(outcome.errors)")
  }

  @Test("what is typed with controlvm reaches the guest's keyboard, as text and as scan codes")
  func typing() throws {
    let host = try TestHost()
    try host.create("box", ["--debug-ports", "on", "--boot1", "disk"])
    // Prints "go" and then, by INT 16h, each key up to Return.
    let code: [UInt8] = [
      0xB0, 0x67, 0xE6, 0xE9, 0xB0, 0x6F, 0xE6, 0xE9, 0xB0, 0x0A, 0xE6, 0xE9,
      0x31, 0xC0, 0xCD, 0x16, 0xE6, 0xE9, 0x3C, 0x0D, 0x75, 0xF6, 0xB0, 0x0A, 0xE6, 0xE9, 0xEB, 0xF0,
    ]
    let disk = try host.write("disk.img", Self.padded(code) + Array(repeating: 0, count: (1 << 20) - 512))
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
    var code: [UInt8]
    var width: Int
    var height: Int
    /// Percent of the picture's bytes that cannot be 0.
    var lit: Int
  }

  private static let screenModes: [ScreenMode] = {
    // mov ax, 0xA000; mov es, ax; xor di, di; mov cx, count
    func window(_ count: UInt16) -> [UInt8] {
      [0xB8, 0x00, 0xA0, 0x8E, 0xC0, 0x31, 0xFF, 0xB9, UInt8(count & 0xFF), UInt8(count >> 8)]
    }
    let ramp: [UInt8] = [0x89, 0xF8, 0xAA, 0xE2, 0xFB]  // l: mov ax, di; stosb; loop l
    let stripes: [UInt8] = [0xB0, 0xAA, 0xF3, 0xAA]  // mov al, 0xAA; rep stosb
    let int10: [UInt8] = [0xCD, 0x10]
    return [
      ScreenMode(
        testDescription: "text, 80 x 50", code: [0xB8, 0x12, 0x11, 0x31, 0xDB] + int10, width: 720, height: 400, lit: 0),
      ScreenMode(
        testDescription: "16 colours, planar", code: [0xB8, 0x12, 0] + int10 + window(38_400) + stripes, width: 640,
        height: 480, lit: 90),
      ScreenMode(
        testDescription: "256 colours", code: [0xB8, 0x13, 0] + int10 + window(64_000) + ramp, width: 640, height: 400,
        lit: 15),
      ScreenMode(
        testDescription: "VBE, true colour, through its window",
        code: [0xB8, 0x02, 0x4F, 0xBB, 0x15, 0x01] + int10 + window(65_535) + ramp, width: 800, height: 600, lit: 2),
    ]
  }()

  @Test("a picture of the screen shows text and graphics modes as the VGA BIOS sets them", arguments: screenModes)
  func pictures(_ mode: ScreenMode) throws {
    let host = try TestHost()
    try host.create("box", ["--debug-ports", "on", "--boot1", "disk"])
    // Then "go", and nothing more.
    let end: [UInt8] = [0xB0, 0x67, 0xE6, 0xE9, 0xB0, 0x6F, 0xE6, 0xE9, 0xB0, 0x0A, 0xE6, 0xE9, 0xF4, 0xEB, 0xFD]
    let disk = try host.write("disk.img", Self.padded(mode.code + end) + Array(repeating: 0, count: (1 << 20) - 512))
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

/// As much of a PNG file as tells whether anything is to be seen on it.
private struct Picture {
  var width = 0
  var height = 0
  /// Bytes of pixels, and those of them that are not 0 before or after filtering: black pictures have none.
  var bytes = 0
  var litBytes = 0

  init(png: Data) throws {
    let file = [UInt8](png)
    guard file.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) else { throw Failure("no PNG file") }
    var compressed: [UInt8] = []
    var bitsPerPixel = 0
    var at = 8
    func number(_ offset: Int) -> Int { file[offset..<offset + 4].reduce(0) { $0 << 8 | Int($1) } }
    while at + 12 <= file.count {
      let length = number(at)
      let data = at + 8..<at + 8 + length
      guard data.upperBound + 4 <= file.count else { throw Failure("the PNG file is cut off") }
      switch String(decoding: file[at + 4..<at + 8], as: UTF8.self) {
      case "IHDR":
        (width, height) = (number(at + 8), number(at + 12))
        let channels = [0: 1, 2: 3, 3: 1, 4: 2, 6: 4][Int(file[at + 17])] ?? 0
        bitsPerPixel = Int(file[at + 16]) * channels
      case "IDAT": compressed += file[data]
      default: break
      }
      at = data.upperBound + 4
    }
    let stride = 1 + (width * bitsPerPixel + 7) / 8
    var raw = [UInt8](repeating: 0, count: stride * height)
    var size = uLong(raw.count)
    guard uncompress(&raw, &size, compressed, uLong(compressed.count)) == Z_OK, size == raw.count else {
      throw Failure("the PNG file's pixels cannot be read")
    }
    bytes = (stride - 1) * height
    for (index, byte) in raw.enumerated() where index % stride != 0 && byte != 0 { litBytes += 1 }
  }
}
