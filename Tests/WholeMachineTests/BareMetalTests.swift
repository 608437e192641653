import Foundation
import Testing

/// The project's own guests, each in both its forms: see firmware/guests/README.md.
@Suite struct BareMetalTests {
  /// NAME.rom starts at the reset vector in place of a BIOS; NAME.elf is started by SeaBIOS and the boot ROM.
  static let files: [String] = {
    let all = (try? FileManager.default.contentsOfDirectory(atPath: Guests.bareMetal(""))) ?? []
    return all.filter { file in
      let isGuest = file.hasSuffix(".rom") || file.hasSuffix(".elf")
      // Walkers end only when the command line tells them so, and multiboot32 tries what only a loader hands over.
      let needsLoader = file.hasPrefix("walker") || file.hasPrefix("multiboot")
      // watch32 never ends.
      return isGuest && !(needsLoader && file.hasSuffix(".rom")) && !file.hasPrefix("watch")
    }.sorted()
  }()

  @Test("there are guests") func thereAreGuests() { #expect(Self.files.count > 40) }

  @Test("every guest finds the hardware as it should be", arguments: files)
  func everyGuest(_ file: String) throws {
    let name = String(file.dropLast(4))
    let host = try TestHost()
    let serial = host.folder + "/serial"
    var options = ["--debug-ports", "on", "--uart1", "0x3F8", "4", "--uart-mode1", "file", serial]
    options += [file.hasSuffix(".rom") ? "--firmware" : "--kernel", Guests.bareMetal(file)]
    if let card = Self.cards.first(where: { name.hasPrefix($0.key) }) {
      options += ["--nic1", "nat", "--nic-type1", card.value]
    }
    if name.hasPrefix("walker") { options += ["--append", "limit=60 pages=3000 beats=4"] }
    if name.hasPrefix("multiboot") {
      let first = try host.write("module", Array("module content".utf8))
      let second = try host.write("module2", Array("another module".utf8))
      options += ["--append", "answer=42", "--initrd", "\(first) one,\(second) two"]
    }
    try host.create("guest", memory: 64, options)
    if ["disk", "walker-dma", "pci"].contains(where: name.hasPrefix) {
      try host.attach("guest", port: 0, try host.makeDisk("disk.img", megabytes: 16))
    }
    if name.hasPrefix("cdrom") {
      let blocks = (0..<64).map { number in
        let text = "block \(number) "
        return String(repeating: " ", count: 2048 - text.count) + text
      }
      try host.attach("guest", port: 1, type: "dvddrive", try host.write("cd.iso", Array(blocks.joined().utf8)))
    }

    let outcome = try host.attempt(["startvm", "guest", "--foreground"])
    let text = try String(contentsOfFile: serial, encoding: .utf8).replacingOccurrences(of: "\r", with: "")
    let expected = try Guests.expected(name)
    #expect(text.hasSuffix(expected), "\(Self.firstDifference(text, expected))\n\(host.log("guest").suffix(1500))")
    #expect(outcome.status == (name.hasPrefix("poweroff") ? 0 : 1), "\(outcome.errors)")
    #expect(try host.state("guest") == "poweroff")
  }

  /// Those with a network card, and which.
  static let cards = [
    "e1000-rings": "82540EM", "virtio-rings": "virtio", "pcnet-rings": "Am79C973", "ne2000-rings": "NE2000PCI",
  ]

  @Test("the rings of network cards are right by the interpreter as well", arguments: cards.keys.sorted())
  func interpretedRings(_ guest: String) throws {
    let host = try TestHost()
    let serial = host.folder + "/serial"
    try host.create(
      "guest", memory: 64,
      [
        "--debug-ports", "on", "--uart1", "0x3F8", "4", "--uart-mode1", "file", serial, "--firmware",
        Guests.bareMetal(guest + "32.rom"), "--nic1", "nat", "--nic-type1", try #require(Self.cards[guest]), "--accel",
        "interpreter",
      ])
    let outcome = try host.attempt(["startvm", "guest", "--foreground"])
    let text = try String(contentsOfFile: serial, encoding: .utf8).replacingOccurrences(of: "\r", with: "")
    #expect(text == (try Guests.expected(guest + "32")))
    #expect(outcome.status == 1, "\(outcome.errors)")
  }

  private static func firstDifference(_ text: String, _ expected: String) -> String {
    let lines = text.split(separator: "\n")
    for line in expected.split(separator: "\n") where !lines.contains(line) {
      return "\"\(line)\" is missing in:\n\(text.suffix(2500))"
    }
    return "other lines than expected:\n\(text.suffix(2500))"
  }
}
