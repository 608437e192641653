import Foundation
import Testing

/// Machines on qcow2 images: alone, on a base, on their way to another host.
@Suite struct DiskFormatTests {
  /// A folder with a base of 8 MB and an overlay on it by a relative name, and two hosts whose guest writes the latter.
  private func hosts() throws -> (hosts: TwoHosts, base: String, overlay: String) {
    let hosts = try TwoHosts(
      memory: 32, ["--firmware", Guests.bareMetal("walker-dma32.rom"), "--debug-ports", "on"])
    let base = try hosts.a.write("base.img", [UInt8](repeating: 0x5A, count: 8 << 20))
    let overlay = hosts.shared + "/overlay.qcow2"
    try hosts.run("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.img", overlay])
    for host in [hosts.a, hosts.b] { try host.attach("box", port: 0, overlay) }
    return (hosts, base, overlay)
  }

  private func content(_ hosts: TwoHosts, _ image: String) throws -> Data {
    let plain = hosts.shared + "/plain-\(UUID().uuidString).img"
    try hosts.run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", image, plain])
    defer { try? FileManager.default.removeItem(atPath: plain) }
    return try Data(contentsOf: URL(fileURLWithPath: plain))
  }

  @Test("a machine travels with an image and its base, sleeps, and leaves both sound")
  func chain() throws {
    let (hosts, base, overlay) = try hosts()
    #expect(try hosts.a.vmctl("showmediuminfo", overlay).contains("Based on: \(base)"))
    try hosts.start(hosts.a)
    try hosts.a.waitForHeartbeat("box", atLeast: 2)
    // Nobody writes what it stands on, or has it besides.
    try hosts.b.create("thief", memory: 16, ["--firmware", Guests.bareMetal("walker32.rom"), "--debug-ports", "on"])
    try hosts.b.attach("thief", port: 0, base)
    try hosts.b.refused("startvm", "thief", saying: [base, "in use"])
    try hosts.b.attach("thief", port: 0, overlay)
    try hosts.b.refused("startvm", "thief", saying: [overlay, "in use"])
    for (from, to) in [(hosts.a, hosts.b), (hosts.b, hosts.a)] {
      try hosts.hop(from, to)
      let last = try #require(try to.waitForHeartbeat("box").last)
      try to.waitForHeartbeat("box", atLeast: last + 1)
    }
    try hosts.a.vmctl("controlvm", "box", "savestate")
    try hosts.run("qemu-img", ["check", "-q", "-f", "qcow2", overlay])
    let saved = try content(hosts, overlay)
    #expect(saved != Data(repeating: 0x5A, count: 8 << 20))
    // A base that has changed is noticed.
    let before = try Data(contentsOf: URL(fileURLWithPath: base))
    var times = stat()
    #expect(stat(base, &times) == 0)
    try Data(before.dropLast(4096) + [UInt8](repeating: 1, count: 4096)).write(to: URL(fileURLWithPath: base))
    try hosts.a.refused("startvm", "box", saying: ["box", "base.img", "is kept"])
    try before.write(to: URL(fileURLWithPath: base))
    #expect(utimensat(AT_FDCWD, base, [times.st_atim, times.st_mtim], 0) == 0)
    try hosts.a.modify("box", ["--teleporter", "off"])
    try hosts.a.vmctl("startvm", "box")
    try hosts.a.waitForHeartbeat("box")
    try hosts.a.vmctl("controlvm", "box", "poweroff")
    try hosts.run("qemu-img", ["check", "-q", "-f", "qcow2", overlay])
    #expect(try Data(contentsOf: URL(fileURLWithPath: base)) == before)
  }

  @Test("a copy stands for itself, and what run writes to a snapshot goes with it")
  func copies() throws {
    let (hosts, _, overlay) = try hosts()
    let host = hosts.a
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
    try host.vmctl("controlvm", "box", "poweroff")
    let before = try content(hosts, overlay)
    try host.vmctl("clonevm", "box", "--name", "copy")
    let copy = host.home + "/machines/copy/copy-disk1.qcow2"
    #expect(try !host.vmctl("showmediuminfo", copy).contains("Based on"))
    #expect(try content(hosts, copy) == before)
    try host.vmctl("startvm", "copy")
    try host.waitForHeartbeat("copy")
    try host.vmctl("controlvm", "copy", "poweroff")
    let bytes = try Data(contentsOf: URL(fileURLWithPath: overlay))
    let run = try host.attempt(
      [
        "run", "--memory", "32", "--firmware", Guests.bareMetal("walker-dma32.rom"), "--disk", overlay + ":snapshot",
        "--timeout", "3",
      ])
    #expect(run.status == 124, "\(run.errors)")
    #expect(try Data(contentsOf: URL(fileURLWithPath: overlay)) == bytes)
  }

  @Test("images are made, grow, shrink on the host, and are told apart")
  func commands() throws {
    let host = try TestHost()
    let (a, b) = (host.folder + "/a.qcow2", host.folder + "/b.qcow2")
    #expect(
      try host.vmctl("createmedium", "disk", "--filename", a, "--size", "100", "--format", "qcow2").contains("100 MB"))
    try host.vmctl("createmedium", "disk", "--filename", b, "--diffparent", a)
    let shown = try host.vmctl("showmediuminfo", b)
    for line in ["Format: qcow2", "Capacity: 100 MBytes", "Based on: \(a)", "In use: no"] {
      #expect(shown.contains(line))
    }
    try host.vmctl("modifymedium", "disk", b, "--resize", "200", "--compact")
    #expect(try host.vmctl("showmediuminfo", b).contains("Capacity: 200 MBytes"))
    try host.refused("modifymedium", b, "--resize", "150", saying: ["smaller"])
    let raw = try host.makeDisk("raw.img", megabytes: 3)
    try host.vmctl("modifymedium", raw, "--resize", "5")
    #expect(try host.vmctl("showmediuminfo", raw).contains("Capacity: 5 MBytes"))
    try host.refused(
      "createmedium", "disk", "--filename", b, "--size", "1", "--format", "qcow2", saying: [b, "exists"])
    try host.refused(
      "createmedium", "disk", "--filename", host.folder + "/c", "--format", "qcow2", status: 64, saying: ["--size"])
    try host.refused(
      "createmedium", "disk", "--filename", host.folder + "/c", "--diffparent", host.folder + "/none", saying: ["none"])
  }

  @Test(
    "Debian on an overlay: what is synced outlives the loss of its process, and it travels",
    .enabled(if: access(Guests.folder("debian-amd64") + "/disk.img", R_OK) == 0, "needs Debian: scripts/build-system"))
  func debian() throws {
    let patience = 1800.0
    let hosts = try TwoHosts(
      memory: 512, ["--boot1", "disk", "--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0"])
    let overlay = hosts.shared + "/debian.qcow2"
    let base = Guests.folder("debian-amd64") + "/disk.img"
    try hosts.run("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, overlay])
    for host in [hosts.a, hosts.b] { try host.attach("box", port: 0, overlay) }
    try hosts.start(hosts.a)
    var console = try hosts.a.console("box")
    try console.logIn(within: patience)
    let work = "seq 1 200 | while read n; do head -c 20000 /dev/urandom >/root/f$n; sync /root/f$n; done"
    try console.send("(\(work); sha256sum /root/f* >/root/sums; sync; echo w''ork-done) &\n")
    try hosts.hop(hosts.a, hosts.b)
    console = try hosts.b.console("box")
    try console.expect("work-done", within: patience)
    let sums = try console.shell("sha256sum /root/sums", within: patience)
    try hosts.b.killMachine("box")
    try hosts.run("qemu-img", ["check", "-q", "-f", "qcow2", overlay])
    try hosts.b.modify("box", ["--teleporter", "off"])
    try hosts.start(hosts.b)
    console = try hosts.b.console("box")
    try console.logIn(within: patience)
    #expect(try console.shell("sha256sum /root/sums", within: patience) == sums)
    #expect(try console.shell("sha256sum --quiet -c /root/sums && echo right", within: patience) == "right\n")
    try console.send("systemctl poweroff\n")
    try hosts.b.waitForState("box", "poweroff")
    try hosts.run("qemu-img", ["check", "-q", "-f", "qcow2", overlay])
    let plain = hosts.shared + "/plain.img"
    try hosts.run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", overlay, plain])
    try hosts.run("e2fsck", ["-fn", plain + "?offset=1048576"])
  }
}
