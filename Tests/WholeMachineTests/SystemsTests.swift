import Foundation
import Testing

/// A Debian 12 on a disk, and the machine it runs in.
struct System: CustomTestStringConvertible, Sendable {
  var architecture: String
  var cpus: Int
  var accelerator = "translator"
  var testDescription: String { "Debian 12 \(architecture), \(cpus) CPUs, \(accelerator)" }

  var folder: String { Guests.folder("debian-\(architecture)") }
  var isThere: Bool { access(folder + "/expected", R_OK) == 0 && access(folder + "/disk.img", R_OK) == 0 }
  /// How long a wait may take that must succeed, in seconds: the whole test takes two minutes on a computer that has nothing
  /// else to do, and the interpreter some forty times as long.
  var patience: Double { accelerator == "interpreter" ? 40_000 : 1800 }

  /// Those of `VMCTL_TEST_SYSTEMS` (scripts/test-systems), as "amd64/2/translator i386/1/interpreter"; by default one of each
  /// architecture. Only those whose images are there.
  static let wanted: [System] = {
    let wish = ProcessInfo.processInfo.environment["VMCTL_TEST_SYSTEMS"] ?? "amd64/2/translator i386/1/translator"
    return wish.split(separator: " ").compactMap { entry in
      let words = entry.split(separator: "/").map(String.init)
      guard words.count == 3, let cpus = Int(words[1]) else { return nil }
      let system = System(architecture: words[0], cpus: cpus, accelerator: words[2])
      return system.isThere ? system : nil
    }
  }()
}

/// Debian 12 as people install it (scripts/build-system), from its IDE disk to a login, at work, travelling, to its power-off.
@Suite(
  .enabled(if: !System.wanted.isEmpty, "needs the disk images of Debian: run scripts/build-system as root"),
  .serialized)
struct SystemsTests {
  @Test(
    "a whole distribution boots from its disk, works as on the host while it travels twice, and powers off",
    arguments: System.wanted)
  func system(_ system: System) throws {
    let patience = system.patience
    let hosts = try TwoHosts(
      memory: 512,
      [
        "--cpus", String(system.cpus), "--accel", system.accelerator, "--boot1", "disk",
        "--uart1", "0x3F8", "4",
        "--uart-mode1",
        "tcpserver", "0",
      ])
    // A copy: the guest writes to its disk.
    let disk = hosts.shared + "/disk.img"
    try hosts.run("cp", ["--sparse=always", system.folder + "/disk.img", disk])
    for host in [hosts.a, hosts.b] { try host.attach("box", port: 0, disk) }

    let clock = ContinuousClock()
    let start = clock.now
    func note(_ what: String) {
      print("systems: \(system.testDescription): \(what) after \((clock.now - start).formatted())")
    }
    try hosts.start(hosts.a)
    var console = try hosts.a.console("box")
    try console.logIn(within: patience)
    note("login")
    let running = try console.shell("systemctl is-system-running --wait", within: patience)
    let failed =
      running == "running\n" ? "" : try console.shell("systemctl --failed --no-pager", within: patience)
    #expect(running == "running\n", "\(failed)")
    #expect(try console.shell("nproc") == "\(system.cpus)\n")
    #expect(try console.shell("uname -m") == (system.architecture == "amd64" ? "x86_64\n" : "i686\n"))
    note("running")

    // Two loads at a time keep two CPUs busy, and one a scheduler.
    let parts = ["gzip gcc python3 openssl", "find tar spawns"]
    for (index, names) in parts.enumerated() {
      try console.shell("system-load \(names) >/tmp/output\(index) 2>&1 &", within: patience)
    }
    func output() throws -> String { try console.shell("cat /tmp/output?", within: patience) }
    var (here, there) = (hosts.a, hosts.b)
    for part in [nil, "gzip "] {
      if let part { try poll("\(part)of the load", within: patience) { try output().contains(part) ? () : nil } }
      let figures = try hosts.hop(here, there)
      note("teleport, \(figures.seconds) s, down \(figures.downtimeMS) ms")
      (here, there) = (there, here)
      console = try here.console("box")
      try console.send("\n")
      try console.expect("guest# ", within: patience)
    }
    #expect(try !output().contains("end"), "the load has travelled while it was at work")
    let whole = try poll("the end of the load", within: patience) {
      let output = try output()
      guard !output.contains("failed") else { throw Failure("the load has failed:\n\(output)") }
      return output.components(separatedBy: "system-load-end\n").count > parts.count ? output : nil
    }
    note("the load")
    let expected = try String(contentsOfFile: system.folder + "/expected", encoding: .utf8)
    func lines(_ text: String) -> [Substring] {
      text.split(separator: "\n").filter { $0 != "system-load-end" }.sorted()
    }
    #expect(lines(whole) == lines(expected), "what the guest computes is what the host computes of the same files")
    #expect(try console.shell("systemctl is-system-running", within: patience) == "running\n")
    let troubles =
      "BUG|Oops|lockup|[^n]stall|unstable|Call Trace|segfault|general protection|trap |hung|panic|blocked for|I/O error"
    #expect(
      try console.shell("dmesg | grep -E '\(troubles)'", within: patience) == "",
      "no trouble in the kernel's log")

    try console.send("systemctl poweroff\n")
    try console.expect("reboot: Power down", within: patience)
    try here.waitForState("box", "poweroff")
    note("power-off")
    // Nothing to repair, and no journal to be played back.
    try hosts.run("e2fsck", ["-fn", disk + "?offset=1048576"])
  }
}

extension TextStream {
  /// Logs in as root on Debian's console and leaves a plain shell with the prompt "guest# ".
  func logIn(within seconds: Double) throws {
    try expect("debian login: ", within: seconds)
    try send("root\n")
    try expect("Password: ", within: seconds)
    try send("debian\n")
    try expect("root@debian:~# ", within: seconds)
    // bash asks the terminal for this and that at each prompt.
    try send("PS1='guest''# ' exec dash\n")
    try expect("guest# ", within: seconds)
  }
}

extension TwoHosts {
  /// Runs one of the host's programs, which must succeed.
  func run(_ program: String, _ arguments: [String]) throws {
    let child = try Child(program, arguments, environment: a.environment, streams: .files(folder: shared, input: nil))
    let status = try child.wait(within: 300)
    guard status == 0 else { throw Failure("\(program) ended with \(status): \(child.output)\(child.errors)") }
  }
}
