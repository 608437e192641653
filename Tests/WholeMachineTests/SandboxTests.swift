import CHost
import Foundation
import Testing

/// The second wall: a VM process can do nothing but its work, and says so.
@Suite struct SandboxTests {
  private static let guest = [
    "--firmware", Guests.bareMetal("walker32.rom"), "--debug-ports", "on", "--uart1", "0x3F8", "4",
  ]

  /// What `debugvm NAME sandbox` tries, in its words.
  private static let files = ["write to another file", "read another file", "make a file"]
  private static let others = [
    "become another program", "start a program", "signal another process", "listen on a TCP port",
    "connect to a service's socket in the file system", "map memory that is writable and executable",
  ]

  /// On kernels without Landlock files are open, and the process says that.
  private static let abi = vm_landlock_abi()
  private static let whole = abi > 0 ? "on (seccomp, Landlock ABI \(abi))" : "partly (seccomp; no Landlock: "

  private func expectClosed(_ host: TestHost, _ name: String) throws {
    #expect(try host.fact(name, "sandbox")?.hasPrefix(Self.whole) == true)
    let report = try host.vmctl("debugvm", name, "sandbox")
    for attempt in Self.files + Self.others {
      let isClosed = Self.abi > 0 || Self.others.contains(attempt)
      #expect(report.contains("\(attempt): \(isClosed ? "refused (" : "possible")"), "\(report)")
    }
    // The kernel's own word, for each thread.
    let process = try #require(host.processID(name))
    let threads = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/task")
    for thread in threads {
      guard let status = try? String(contentsOfFile: "/proc/\(process)/task/\(thread)/status", encoding: .utf8) else {
        continue
      }
      #expect(
        status.contains("\nNoNewPrivs:\t1\n") && status.contains("\nSeccomp:\t2\n"), "thread \(thread): \(status)")
    }
  }

  @Test("a running machine's process can neither reach a foreign file nor run a program, and says so")
  func running() throws {
    let host = try TestHost()
    try host.create("box", memory: 16, Self.guest)
    try host.vmctl("startvm", "box")
    try expectClosed(host, "box")
    try host.vmctl("controlvm", "box", "poweroff")
    #expect(try host.fact("box", "sandbox") == "on", "what will be, while it does not run")
  }

  @Test(
    "the same holds for a machine that waits for its teleport, one that has arrived, and one that comes from a saved state"
  )
  func otherBeginnings() throws {
    let hosts = try TwoHosts(guest: "walker32")
    try hosts.start(hosts.a)
    let port = try hosts.await(hosts.b)
    try expectClosed(hosts.b, "box")
    #expect(try hosts.send(hosts.a, to: port).wait(within: 60) == 0)
    try hosts.expectRunsOnly(hosts.b)
    try expectClosed(hosts.b, "box")
    try hosts.b.vmctl("controlvm", "box", "savestate")
    try hosts.b.vmctl("startvm", "box")
    try hosts.expectRunsOnly(hosts.b)
    try expectClosed(hosts.b, "box")
  }

  /// What a process beside the VM process is kept from: its part of the report, and what its work needs.
  private func expectBesidesClosed(_ report: String, _ process: String, but work: [String]) throws {
    let parts = report.components(separatedBy: "\n\(process):\n")
    let own = try #require(parts.count == 2 ? parts[1] : nil, "\(report)").split(separator: "\n").prefix(9)
    #expect(own.count == 9)
    for line in own {
      let attempt = line.prefix { $0 != ":" }
      let isClosed = !work.contains(String(attempt)) && (Self.abi > 0 || !Self.files.contains(String(attempt)))
      #expect(line.hasPrefix("\(attempt): \(isClosed ? "refused (" : "possible")"), "\(process): \(line)")
    }
  }

  @Test(
    "the processes beside a machine's network cards can do their work and nothing else, before and after one has died")
  func networks() throws {
    let host = try TestHost()
    try host.create(
      "box", memory: 16,
      Self.guest + ["--nic1", "nat", "--nic2", "stream", "--nic-stream2", host.folder + "/nobody.sock"])
    try host.vmctl("startvm", "box")
    for _ in 0..<2 {
      let report = try host.vmctl("debugvm", "box", "sandbox")
      try expectBesidesClosed(report, "NAT process of network card 1", but: ["listen on a TCP port"])
      // Which programs it starts is Landlock's to say.
      try expectBesidesClosed(
        report, "keeper of network card 1",
        but: ["listen on a TCP port"]
          + (Self.abi > 0 ? [] : ["become another program", "start a program", "signal another process"]))
      try expectBesidesClosed(
        report, "keeper of network card 2", but: ["connect to a service's socket in the file system"])
      let process = try #require(host.natProcess("box"))
      kill(process, SIGKILL)
      try poll("another NAT process") { host.natProcess("box").map { $0 != process } == true ? () : nil }
    }
    try host.vmctl("controlvm", "box", "poweroff")
  }

  @Test("with --sandbox off all of that is possible, which shows that it is the sandbox that forbids it")
  func off() throws {
    let host = try TestHost()
    try host.create("box", memory: 16, Self.guest + ["--sandbox", "off", "--nic1", "nat"])
    #expect(try host.fact("box", "sandbox") == "off")
    try host.vmctl("startvm", "box")
    #expect(try host.fact("box", "sandbox") == "off")
    let report = try host.vmctl("debugvm", "box", "sandbox")
    // Its own, the NAT process's and the keeper's.
    for attempt in Self.files + Self.others {
      #expect(report.components(separatedBy: "\(attempt): possible").count == 4, "\(report)")
    }
  }

  @Test(
    "a console on a socket in another folder works in the sandbox, and the dead socket does not hinder the next start")
  func socketConsole() throws {
    let host = try TestHost()
    let socket = host.folder + "/console.sock"
    try host.create("box", memory: 16, Self.guest + ["--uart-mode1", "server", socket])
    for _ in 0..<2 {
      try host.vmctl("startvm", "box")
      let console = try ConsoleClient(path: socket)
      try console.expect("heartbeat")
      try console.send("x")
      try console.expect("X")
      try host.vmctl("controlvm", "box", "poweroff")
      try poll("the end of its process", within: 30) { host.processID("box") == nil ? () : nil }
    }
  }
}
