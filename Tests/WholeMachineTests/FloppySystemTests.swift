import Foundation
import GuestAssembly
import Testing

/// Floppy disks, as guests and users have them.
@Suite struct FloppySystemTests {
  private static let size = 1_474_560

  /// The guest floppy.S on a disk of 1.44 MB.
  private static func walker() throws -> [UInt8] {
    let code = [UInt8](try Data(contentsOf: URL(fileURLWithPath: Guests.bareMetal("floppy.bin"))))
    return code + [UInt8](repeating: 0, count: size - code.count)
  }

  /// What it has made of its disk after so many passes.
  private static func walked(_ passes: Int) throws -> [UInt8] {
    var bytes = try walker()
    func track(_ cylinder: Int, _ head: Int) -> Int { (cylinder * 2 + head) * 18 * 512 }
    for cylinder in 1...20 {
      for head in 0..<2 {
        let seed = UInt16(passes & 0xFF) << 8 | UInt16(cylinder * 2 + head)
        for index in 0..<18 * 256 {
          let word = seed &+ UInt16(index * 3)
          bytes[track(cylinder, head) + index * 2] = UInt8(truncatingIfNeeded: word)
          bytes[track(cylinder, head) + index * 2 + 1] = UInt8(word >> 8)
        }
      }
    }
    let formatted = track(79, 1)
    bytes.replaceSubrange(formatted..<formatted + 18 * 512, with: [UInt8](repeating: 0xF6, count: 18 * 512))
    return bytes
  }

  private func attach(_ host: TestHost, _ medium: String, device: Int = 0, mode: String = "normal") throws {
    _ = try host.attempt(["storagectl", "box", "--name", "Floppy", "--add", "floppy"])
    try host.vmctl(
      "storageattach", "box", "--storagectl", "Floppy", "--port", "0", "--device", String(device), "--type", "fdd",
      "--medium", medium, "--mtype", mode)
  }

  private func passes(_ host: TestHost, _ word: String = "pass") -> Int {
    host.log("box").components(separatedBy: " \(word) ").dropFirst().compactMap { Int($0.prefix(2), radix: 16) }.max()
      ?? 0
  }

  private func expectWalked(_ host: TestHost, _ image: String) throws {
    let last = passes(host, "done")
    #expect(host.log("box").contains(" done "), "\(host.log("box").suffix(500))")
    #expect(try [UInt8](Data(contentsOf: URL(fileURLWithPath: image))) == Self.walked(last))
    #expect(!host.log("box").contains("fail "))
  }

  @Test("a floppy boots by SeaBIOS, is formatted, written and read, and travels in the middle of it")
  func travels() throws {
    let hosts = try TwoHosts(memory: 32, ["--debug-ports", "on", "--boot1", "floppy"])
    let image = try hosts.a.write("floppy.img", try Self.walker())
    for host in [hosts.a, hosts.b] { try attach(host, image) }
    try hosts.start(hosts.a)
    try hosts.a.waitForLog("box", "formatted 4f")
    for (from, to) in [(hosts.a, hosts.b), (hosts.b, hosts.a)] {
      let before = passes(from)
      try poll("a pass") { passes(from) > before || before > 1 ? () : nil }
      try hosts.hop(from, to)
      try poll("a pass after the hop") { passes(to) > 0 ? () : nil }
      try from.refused("startvm", "box", saying: [image, "in use"])
    }
    // Asleep in the middle, and on.
    try hosts.a.modify("box", ["--teleporter", "off"])
    try hosts.a.vmctl("controlvm", "box", "savestate")
    try hosts.start(hosts.a)
    try poll("a pass after the sleep") { passes(hosts.a) > 0 ? () : nil }
    try hosts.a.vmctl("controlvm", "box", "keyboardputstring", "x")
    try hosts.a.waitForState("box", "poweroff")
    try expectWalked(hosts.a, image)
  }

  @Test("a copy of another host's disk is no target for a teleport")
  func otherDisk() throws {
    let hosts = try TwoHosts(memory: 32, ["--debug-ports", "on", "--boot1", "floppy"])
    let image = try hosts.a.write("floppy.img", try Self.walker())
    try attach(hosts.a, image)
    let copy = try hosts.b.write("floppy.img", try Self.walker())
    try attach(hosts.b, copy)
    try hosts.start(hosts.a)
    try hosts.a.waitForLog("box", "pass 01")
    let child = try hosts.send(hosts.a, to: try hosts.await(hosts.b))
    #expect(try child.wait() == 1)
    #expect(child.errors.contains("Floppy port 0 device 0"), "\(child.errors)")
    try hosts.a.vmctl("controlvm", "box", "keyboardputstring", "x")
    try hosts.a.waitForState("box", "poweroff")
    try expectWalked(hosts.a, image)
    #expect(try [UInt8](Data(contentsOf: URL(fileURLWithPath: copy))) == Self.walker())
  }

  /// A boot sector that prints, whenever it is another than before, the first byte of its disk's second sector, and then w
  /// when it could write that sector or the BIOS's status as a digit.
  private static func watcher(_ mark: Character) throws -> [UInt8] {
    let code = try GuestCode.assemble(
      """
      xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x7c00; xor bp, bp
      1: mov ax, 0x0201; mov bx, 0x8000; mov cx, 2; xor dx, dx; int 0x13; jnc 2f
      xor ax, ax; xor dx, dx; int 0x13; jmp 1b
      2: mov al, [0x8000]; mov ah, 0; cmp ax, bp; je 1b
      mov bp, ax; out 0xE9, al
      mov ax, 0x0301; mov bx, 0x8000; mov cx, 2; xor dx, dx; int 0x13; mov al, 'w'; jnc 3f
      mov al, ah; add al, '0'
      3: out 0xE9, al; mov al, 10; out 0xE9, al; jmp 1b
      """, bits: 16, origin: 0x7C00)
    return code + [UInt8](repeating: 0, count: 510 - code.count) + [0x55, 0xAA, mark.asciiValue ?? 0]
      + [UInt8](repeating: 0, count: size - 513)
  }

  @Test("disks are changed while the machine runs; a protected one is not written; the definition has the new one")
  func changes() throws {
    let host = try TestHost()
    try host.create("box", memory: 32, ["--debug-ports", "on", "--boot1", "floppy"])
    let first = try host.write("first.img", try Self.watcher("A"))
    let second = try host.write("second.img", try Self.watcher("B"))
    let third = try host.write("third.img", try Self.watcher("C"))
    try attach(host, first)
    #expect(try host.fact("box", "\"Floppy-0-0\"") == first)
    #expect(try host.fact("box", "\"Floppy-type-0-0\"") == "fdd")
    #expect(try host.vmctl("list", "floppies").contains(first))
    try host.vmctl("startvm", "box")
    try host.waitForLog("box", " Aw\n")
    try attach(host, second, mode: "readonly")
    try host.waitForLog("box", " B3\n")
    #expect(try host.fact("box", "\"Floppy-0-0\"") == second)
    #expect(try host.fact("box", "\"Floppy-mode-0-0\"") == "readonly")
    try attach(host, "emptydrive")
    #expect(try host.fact("box", "\"Floppy-0-0\"") == "emptydrive")
    try attach(host, third)
    try host.waitForLog("box", " Cw\n")
    // A disk that another machine writes does not come in.
    try host.vmctl("createvm", "--name", "thief", "--memory", "16")
    try host.vmctl("storagectl", "thief", "--name", "F", "--add", "floppy")
    try host.vmctl("storageattach", "thief", "--storagectl", "F", "--type", "fdd", "--medium", first)
    try host.vmctl("startvm", "thief")
    let words = ["storageattach", "box", "--storagectl", "Floppy", "--type", "fdd", "--medium"]
    try host.refused(arguments: words + [first], saying: [first, "in use"])
    let other = try host.write("large.img", [UInt8](repeating: 0, count: 368_640))
    try host.refused(arguments: words + [other], saying: [other, "720 KB, 1.44 MB and 1.68 MB"])
    #expect(try host.fact("box", "\"Floppy-0-0\"") == third)
    try host.refused(arguments: words + ["none"], saying: ["running"])
    try host.vmctl("controlvm", "thief", "poweroff")
    // Asleep, its disk is changed: it is told so, and the guest sees it.
    try host.vmctl("controlvm", "box", "savestate")
    try attach(host, first)
    let wake = try host.attempt(["startvm", "box"])
    #expect(wake.status == 0 && (wake.output + wake.errors).contains("floppy drive A has \(first) now"), "\(wake)")
    try host.waitForLog("box", " Aw\n")
    try host.vmctl("controlvm", "box", "poweroff")
  }

  @Test("what is no floppy disk is refused in one line that lists the sizes")
  func sizes() throws {
    let host = try TestHost()
    try host.create("box", memory: 16)
    try host.vmctl("storagectl", "box", "--name", "Floppy", "--add", "floppy")
    let words = ["storageattach", "box", "--storagectl", "Floppy", "--type"]
    let odd = try host.write("odd.img", [UInt8](repeating: 0, count: 1_000_000))
    try host.refused(
      arguments: words + ["fdd", "--medium", odd], saying: [odd, "1000448 bytes", "160 KB, 180 KB", "2.88 MB"])
    try host.refused(arguments: words + ["hdd", "--medium", odd], saying: ["floppy drives only"])
    try host.refused(
      arguments: words + ["fdd", "--device", "2", "--medium", "emptydrive"], saying: ["devices 0 and 1"])
    try host.refused("storagectl", "box", "--name", "Other", "--add", "floppy", saying: ["one floppy controller"])
    for (bytes, label) in [("163840", "160 KB"), ("2949120", "2.88 MB")] {
      let file = host.folder + "/made-\(bytes)"
      #expect(
        try host.vmctl("createmedium", "floppy", "--filename", file, "--sizebyte", bytes).contains("made, \(label)"))
      #expect(try Data(contentsOf: URL(fileURLWithPath: file)).count == Int(bytes))
    }
    let plain = host.folder + "/plain.img"
    #expect(try host.vmctl("createmedium", "floppy", "--filename", plain).contains("1.44 MB"))
    try host.refused("createmedium", "floppy", "--filename", plain, saying: ["exists"])
    try host.refused(
      "createmedium", "floppy", "--filename", plain + "2", "--sizebyte", "5120", saying: ["5120", "1474560 (1.44 MB)"])
    try host.refused(
      "createmedium", "floppy", "--filename", plain + "2", "--size", "1", status: 64, saying: ["--sizebyte"])
    try host.refused("modifyvm", "box", "--uart1", "0x3f0", "4", saying: ["floppy controller", "uart 1"])
    try host.vmctl("storageattach", "box", "--storagectl", "Floppy", "--type", "fdd", "--medium", plain)
    try FileManager.default.removeItem(atPath: plain)
    try host.refused("startvm", "box", saying: ["no medium at \(plain)"])
  }

  /// A boot sector that writes itself back, to the second sector.
  @Test("run boots a floppy once, written, read only or as a snapshot")
  func run() throws {
    let host = try TestHost()
    let code = try GuestCode.assemble(
      """
      xor ax, ax; mov ds, ax; mov es, ax; mov ax, 0x301; mov bx, 0x7C00; mov cx, 2; xor dx, dx; int 0x13
      setc al; out 0xF4, al; hlt
      """, bits: 16, origin: 0x7C00)
    let sector = code + [UInt8](repeating: 0, count: 510 - code.count) + [0x55, 0xAA]
    let image = sector + [UInt8](repeating: 0, count: 737_280 - 512)
    let path = try host.write("disk.img", image)
    func second() throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))[512..<1024]) }
    func run(_ file: String) throws -> Int32 { try host.attempt(["run", "--memory", "32", "--fda", file]).status }
    #expect(try run(path + ":snapshot") == 1)
    #expect(try second() == [UInt8](repeating: 0, count: 512))
    #expect(try run(path + ":ro") == 3)
    #expect(try second() == [UInt8](repeating: 0, count: 512))
    #expect(try run(path) == 1)
    #expect(try second() == sector)
  }

  @Test(
    "memtest86+ starts from a floppy by syslinux", arguments: [1_474_560, 2_949_120, 1_228_800])
  func memtest(_ bytes: Int) throws {
    let host = try TestHost()
    let path = try host.write("boot.img", [UInt8](repeating: 0, count: bytes))
    let names = [1_474_560: "1440", 2_949_120: "2880", 1_228_800: "1200"]
    let config = try host.write("syslinux.cfg", Array("DEFAULT memtest\nLABEL memtest\nLINUX memtest.bin\n".utf8))
    for (tool, words) in [
      ("mformat", ["-i", path, "-f", names[bytes] ?? "", "::"]), ("syslinux", ["--install", path]),
      ("mcopy", ["-i", path, config, "::syslinux.cfg"]),
      ("mcopy", ["-i", path, "/boot/memtest86+x64.bin", "::memtest.bin"]),
    ] {
      let child = try Child(
        tool, words, environment: host.environment, streams: .files(folder: host.folder, input: nil))
      #expect(try child.wait() == 0, "\(tool): \(child.errors)")
    }
    try expectMemtest(host, path)
  }

  @Test("memtest86+ starts from a floppy by its own boot sector")
  func memtestAlone() throws {
    let host = try TestHost()
    let program = [UInt8](try Data(contentsOf: URL(fileURLWithPath: "/boot/memtest86+x64.bin")))
    try expectMemtest(
      host, try host.write("boot.img", program + [UInt8](repeating: 0, count: Self.size - program.count)))
  }

  private func expectMemtest(_ host: TestHost, _ path: String) throws {
    try host.create("box", memory: 64, ["--boot1", "floppy"])
    try attach(host, path)
    try host.vmctl("startvm", "box")
    try poll("memtest86+ on the screen") {
      let screen = try host.attempt(["debugvm", "box", "info", "screen"]).output
      return screen.contains("Memtest86+") && screen.contains("Pass") ? () : nil
    }
  }

  @Test(
    "Linux's driver reads and writes disks of both drives, sees another disk, and goes on after a teleport",
    .enabled(
      if: access(Guests.folder("floppy-amd64") + "/initrd.cpio", R_OK) == 0, "needs scripts/fetch-guest floppy-amd64"))
  func linux() throws {
    let folder = Guests.folder("floppy-amd64")
    let hosts = try TwoHosts(
      memory: 256,
      [
        "--kernel", folder + "/vmlinuz", "--initrd", folder + "/initrd.cpio", "--append",
        "console=ttyS0 quiet workload=0", "--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0",
      ])
    var random = SystemRandomNumberGenerator()
    func disk(_ name: String, _ bytes: Int) throws -> String {
      try hosts.a.write(name, (0..<bytes).map { _ in UInt8.random(in: 0...255, using: &random) })
    }
    func sum(_ path: String) throws -> String {
      let child = try Child(
        "sha256sum", [path], environment: hosts.a.environment, streams: .files(folder: hosts.a.folder, input: nil))
      #expect(try child.wait() == 0)
      return String(child.output.prefix(64))
    }
    let (first, second, third) = (
      try disk("a.img", Self.size), try disk("b.img", 737_280), try disk("c.img", Self.size)
    )
    for host in [hosts.a, hosts.b] {
      try attach(host, first)
      try attach(host, second, device: 1)
    }
    try hosts.start(hosts.a)
    var console = try hosts.a.console("box")
    try console.expect("VMCTL-BOOT-DONE", within: 240)
    try console.expect("guest# ")
    try console.shell("insmod /floppy.ko; sleep 1")
    func guestSum(_ device: String) throws -> String {
      String(try console.shell("sha256sum \(device)", within: 240).prefix(64))
    }
    #expect(try guestSum("/dev/fd0") == sum(first))
    #expect(try guestSum("/dev/fd1") == sum(second))
    // Written from here to there.
    try console.send("(n=0; while [ $n -lt 20 ]; do dd if=/dev/urandom of=/dev/fd0 bs=18k seek=$n count=4 conv=notrunc")
    try console.send(" 2>/dev/null; n=$((n + 1)); done; sync; echo w''ritten) &\n")
    try hosts.hop(hosts.a, hosts.b)
    console = try hosts.b.console("box")
    try console.expect("written", within: 240)
    try console.send("\n")
    try console.expect("guest# ")
    try console.shell("echo 3 >/proc/sys/vm/drop_caches")
    let written = try sum(first)
    #expect(try guestSum("/dev/fd0") == written)
    try attach(hosts.b, third)
    #expect(try guestSum("/dev/fd0") == sum(third))
    try console.send("poweroff -f\n")
    try hosts.b.waitForState("box", "poweroff")
    #expect(try sum(first) == written)
  }
}
