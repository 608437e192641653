import Foundation
import Testing

/// A protected machine whose host's disk is full.
@Suite(.enabled(if: geteuid() == 0, "needs root, for a small file system"))
struct FullDiskProtectionTests {
  /// A boot sector that waits for a key, and then writes 32 KB a tick of the clock, one behind the other, and says through the
  /// exit port how each went: A good, B bad.
  private static let writer: [UInt8] = {
    let code: [UInt8] = [
      0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xC0,  // xor ax, ax; mov ds, ax; mov es, ax
      0x30, 0xE4, 0xCD, 0x16,  // xor ah, ah; int 0x16
      // next: mov ah, 0x43; xor al, al; mov dl, 0x80; mov si, 0x7C80; int 0x13
      0xB4, 0x43, 0x30, 0xC0, 0xB2, 0x80, 0xBE, 0x80, 0x7C, 0xCD, 0x13,
      0x0F, 0x92, 0xC0, 0x04, 0x41, 0xE6, 0xE9, 0xB0, 0x0A, 0xE6, 0xE9,  // setc al; add al, 'A'; out 0xE9, al; newline
      0x83, 0x06, 0x88, 0x7C, 0x40,  // add word [0x7C88], 64
      0x81, 0x26, 0x88, 0x7C, 0xC0, 0x3F,  // and word [0x7C88], 0x3FC0: round and round in 8 MB
      0xF4,  // hlt
      0xEB, 0xDC,  // jmp next
    ]
    var sector = code + [UInt8](repeating: 0, count: 512 - code.count)
    // The packet (Enhanced Disk Drive 3.0, 5.1): 64 sectors from 0xF0000, the BIOS, to sector 64.
    sector.replaceSubrange(0x80..<0x90, with: [16, 0, 64, 0, 0, 0, 0x00, 0xF0, 64, 0, 0, 0, 0, 0, 0, 0])
    sector.replaceSubrange(510..<512, with: [0x55, 0xAA])
    return sector
  }()

  private static let block = 64 * 512

  /// A protected machine on A, one of whose hosts has its disk on a file system of one megabyte.
  private struct Pair {
    let hosts: TwoHosts
    let remus: Child

    init(small: (TwoHosts) -> TestHost) throws {
      hosts = try TwoHosts(["--debug-ports", "on", "--boot1", "disk"])
      let port = try Self.start(hosts.b, hosts, isSmall: small(hosts) === hosts.b, isTarget: true)
      try Self.start(hosts.a, hosts, isSmall: small(hosts) === hosts.a, isTarget: false)
      remus = try hosts.a.begin([
        "remus", "box", "127.0.0.1", "-p", String(port), "-i", "50", "--witness", "file:\(hosts.shared)/witness",
      ])
      try hosts.a.waitUntilProtected("box", by: remus)
      try hosts.a.vmctl("controlvm", "box", "keyboardputstring", "x")
    }

    /// In a mount namespace of the machine's own, where it has to be.
    @discardableResult
    private static func start(_ host: TestHost, _ hosts: TwoHosts, isSmall: Bool, isTarget: Bool) throws -> Int {
      let folder = host.folder + "/disk"
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
      if isTarget { try host.modify("box", ["--teleporter", "on", "--teleporter-port", "0"]) }
      let content =
        isTarget ? "" : "dd if=\(try host.write("sector", writer)) of=\(folder)/own.img conv=notrunc status=none"
      let script = """
        set -e
        \(isSmall ? "mount -t tmpfs -o size=1m tmpfs \(folder)" : "")
        truncate -s 16M \(folder)/own.img
        \(content)
        V=\(TestHost.vmctl)
        $V storagectl box --name IDE --add ide
        $V storageattach box --storagectl IDE --port 0 --device 0 --type hdd --medium \(folder)/own.img
        $V startvm box
        """
      let child = try Child(
        "unshare", ["-m", "sh", "-c", script],
        environment: host.environment.merging(["VMCTL_TELEPORT_PATIENCE": "60000"]) { $1 },
        streams: .files(folder: host.folder, input: nil))
      guard try child.wait() == 0 else { throw Failure(child.errors) }
      return isTarget ? try hosts.port(host) : 0
    }

    /// How many writes the guest has been told of on a host, by their end: "A" or "B".
    func writes(_ host: TestHost, _ end: Character) -> Int {
      host.log("box").split(separator: "\n").count { $0.hasSuffix(" \(end)") }
    }

    func awaitWrites(_ host: TestHost, _ count: Int) throws {
      try poll("\(count) writes on the host; its log ends with \(host.log("box").suffix(800))") {
        writes(host, "A") >= count ? () : nil
      }
    }
  }

  /// All that the guest was told is written is in an image: as many blocks as the first, from the second on.
  private func expectWritten(_ image: String, blocks: Int) throws {
    let data = try Data(contentsOf: URL(fileURLWithPath: image))
    let first = data[FullDiskProtectionTests.block..<2 * FullDiskProtectionTests.block]
    #expect(first.contains { $0 != 0 })
    for index in 1...blocks {
      let start = index * FullDiskProtectionTests.block
      #expect(data[start..<start + FullDiskProtectionTests.block] == first, "block \(index) of \(blocks)")
    }
  }

  @Test("a primary whose disk is full hands the machine over, and no write is lost or refused")
  func primary() throws {
    let pair = try Pair { $0.a }
    let (a, b) = (pair.hosts.a, pair.hosts.b)
    try b.waitForState("box", "running")
    try a.waitForState("box", "teleported")
    let before = pair.writes(b, "A")
    try pair.awaitWrites(b, before + 20)
    #expect(pair.writes(a, "B") == 0 && pair.writes(b, "B") == 0)
    #expect(try pair.remus.wait() == 0, "\(pair.remus.errors)")
    #expect(pair.remus.output.contains("goes on at"), "\(pair.remus.output)")
    try b.vmctl("controlvm", "box", "poweroff")
    // More than fits on the first host's disk.
    try expectWritten(b.folder + "/disk/own.img", blocks: 40)
  }

  @Test("a backup whose disk is full drops its copy, and the machine goes on where it is")
  func backup() throws {
    let pair = try Pair { $0.b }
    let (a, b) = (pair.hosts.a, pair.hosts.b)
    try poll("the loss") { pair.remus.errors.contains("without protection") ? () : nil }
    #expect(pair.remus.errors.contains("no space left"), "\(pair.remus.errors)")
    let before = pair.writes(a, "A")
    try pair.awaitWrites(a, before + 20)
    #expect(pair.writes(a, "B") == 0)
    #expect(try a.state("box") == "running")
    #expect(try b.state("box") != "running")
    pair.remus.signal(SIGTERM)
    #expect(try pair.remus.wait() == 0)
    try a.vmctl("controlvm", "box", "poweroff")
    try expectWritten(a.folder + "/disk/own.img", blocks: 40)
  }
}
