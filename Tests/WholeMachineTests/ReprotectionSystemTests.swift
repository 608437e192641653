import Foundation
import Testing

/// Two hosts that change places by themselves, as often as one of them fails.
@Suite struct ReprotectionSystemTests {
  private static let patient = ["VMCTL_TELEPORT_PATIENCE": "60000"]

  /// A machine that checks its memory and its disk, on A, protected by B.
  private struct Pair {
    let hosts: TwoHosts
    let remus: Child
    var a: TestHost { hosts.a }
    var b: TestHost { hosts.b }

    init() throws {
      hosts = try TwoHosts(guest: "walker-dma32")
      let (a, b) = (hosts.a, hosts.b)
      for host in [a, b] { try host.attach("box", port: 0, try host.makeDisk("own.img", megabytes: 4)) }
      try hosts.start(a, patient)
      try a.waitForHeartbeat("box", atLeast: 2)
      let secrets = try [a, b].map { try $0.write("secret", Array("secret\n".utf8)) }
      let port = try hosts.await(b, ["--teleporter-password-file", secrets[1]], patient)
      remus = try a.begin(
        [
          "remus", "box", "127.0.0.1", "-p", String(port), "-i", "50", "--witness", "file:\(hosts.shared)/witness",
          "--passwordfile", secrets[0], "--reprotect", "127.0.0.1:\(try a.freePort())",
        ], environment: patient)
      try a.waitUntilProtected("box", by: remus)
    }

    /// As the power's end ends a host: what protects the machine goes with it.
    func crash(_ host: TestHost) throws {
      let commands = try host.processes("remus")
      for process in commands { Glibc.kill(process, SIGSTOP) }
      try host.killMachine("box")
      for process in commands { Glibc.kill(process, SIGKILL) }
      try waitUntilNobodyProtects(host)
    }

    func waitUntilNobodyProtects(_ host: TestHost) throws {
      try poll("the end of vmctl remus") { try host.processes("remus").isEmpty ? () : nil }
    }

    /// The host is there again, as a service would have it.
    func comeBack(_ host: TestHost) throws {
      let child = try host.begin(["startvm", "box"], environment: patient)
      #expect(try child.wait() == 0, "\(child.errors)")
      #expect(child.output.contains("has taken the machine \"box\" over: it waits here to be the backup now"))
    }

    /// One host runs the machine, and the other one has its copy.
    func expectProtected(_ primary: TestHost, by backup: TestHost) throws {
      try primary.waitUntilProtected("box")
      #expect(try backup.state("box") == "standby" && backup.fact("box", "ReplicationRole") == "backup")
      #expect(try primary.vmctl("service", "list").contains("protected by 127.0.0.1"))
    }

    func isUnprotected(_ host: TestHost) throws -> Bool {
      try host.vmctl("service", "list").contains("UNPROTECTED")
    }
  }

  @Test("hosts that crash in turn come back as each other's backup, and the machine is at the first one again")
  func crashes() throws {
    let pair = try Pair()
    let (a, b) = (pair.a, pair.b)
    var seen = try #require(a.heartbeats("box").last)
    try pair.crash(a)
    try b.expectGoesOn("box", after: seen)
    // It is looked for, and not there.
    try poll("looking") { () -> Void? in
      let said = FileManager.default.contents(atPath: b.home + "/machines/box/protection.log") ?? Data()
      return String(decoding: said, as: UTF8.self).contains("looking for the backup") ? () : nil
    }
    #expect(try pair.isUnprotected(b))
    try pair.comeBack(a)
    try pair.expectProtected(b, by: a)
    #expect(try !pair.isUnprotected(b))
    seen = try #require(b.heartbeats("box").last)
    try pair.crash(b)
    try a.expectGoesOn("box", after: seen)
    #expect(try a.fact("box", "teleporterenabled") == "off")
    try pair.comeBack(b)
    try pair.expectProtected(a, by: b)
    // With the machine everything ends.
    try a.vmctl("controlvm", "box", "poweroff")
    #expect(try a.state("box") == "poweroff")
    try b.waitForState("box", "teleported")
    for host in [a, b] { try pair.waitUntilNobodyProtects(host) }
    // It is an ordinary machine again.
    try pair.hosts.start(a, Self.patient)
    try a.waitForHeartbeat("box")
    #expect(!a.log("box").contains("wrong"))
  }

  @Test("a machine is handed over, comes back and survives its process's death, protected each time with nobody's hand")
  func handOvers() throws {
    let pair = try Pair()
    let (a, b) = (pair.a, pair.b)
    var seen = try #require(a.heartbeats("box").last)
    try a.vmctl("controlvm", "box", "failover")
    #expect(try pair.remus.wait() == 0, "\(pair.remus.errors)")
    #expect(pair.remus.output.contains("it waits here to be the backup now"), "\(pair.remus.output)")
    try b.expectGoesOn("box", after: seen)
    try pair.expectProtected(b, by: a)
    seen = try #require(b.heartbeats("box").last)
    try b.vmctl("controlvm", "box", "failover")
    try a.expectGoesOn("box", after: seen)
    try pair.expectProtected(a, by: b)
    // Only the machine's process dies: what has protected it lives.
    seen = try #require(a.heartbeats("box").last)
    try a.killMachine("box")
    try b.expectGoesOn("box", after: seen)
    try pair.expectProtected(b, by: a)
    // Whoever wants no protection has none, on either side.
    try b.vmctl("controlvm", "box", "unprotect")
    try a.waitForState("box", "teleported")
    for host in [a, b] { try pair.waitUntilNobodyProtects(host) }
    #expect(try b.state("box") == "running" && !pair.isUnprotected(b))
  }

  @Test("a survivor that is to have no backup any more looks for none")
  func givenUp() throws {
    let pair = try Pair()
    let (a, b) = (pair.a, pair.b)
    let seen = try #require(a.heartbeats("box").last)
    try pair.crash(a)
    try b.expectGoesOn("box", after: seen)
    try poll("looking") { try b.processes("remus").isEmpty ? nil : () }
    #expect(try pair.isUnprotected(b))
    try b.vmctl("controlvm", "box", "unprotect")
    try pair.waitUntilNobodyProtects(b)
    #expect(try b.state("box") == "running" && !pair.isUnprotected(b))
  }

  @Test("a protected machine is switched off at once, with a witness that says nothing, with its backup and without")
  func poweroff() throws {
    for isBackupThere in [true, false] {
      let pair = try Pair()
      let (a, b) = (pair.a, pair.b)
      try Data().write(to: URL(fileURLWithPath: pair.hosts.shared + "/witness"))
      if !isBackupThere {
        try pair.crash(b)
        try poll("the question") { try a.fact("box", "ReplicationState") == "deciding" ? () : nil }
      }
      let off = try a.attempt(["controlvm", "box", "poweroff"])
      #expect(off.status == 0, "\(off.errors)")
      #expect(try a.state("box") == "poweroff")
      try pair.waitUntilNobodyProtects(a)
      if isBackupThere {
        #expect(off.errors == "")
        try b.waitForState("box", "teleportingin")
        try pair.hosts.start(a, Self.patient)
        try a.waitForHeartbeat("box")
        #expect(!a.log("box").contains("wrong"))
      } else {
        // What it waits for is told, and what is left open.
        #expect(off.errors.contains("the machine stands still"), "\(off.errors)")
        #expect(off.errors.contains("has lost its record"), "\(off.errors)")
        #expect(off.errors.contains("note: the witness"), "\(off.errors)")
        #expect(try a.vmctl("service", "list").contains("may run at 127.0.0.1"))
        try a.refused("startvm", "box", saying: ["cannot be asked", "--force"])
      }
    }
  }

  @Test("addresses at which nobody could be found are told in one line")
  func refusals() throws {
    let host = try TestHost()
    try host.create("box")
    let secret = try host.write("secret", Array("secret\n".utf8))
    func refused(_ words: [String], _ texts: [String]) throws {
      try host.refused(arguments: ["remus", "box", "b"] + words, status: 64, saying: texts)
    }
    let usual = ["--witness", "file:/w", "--passwordfile", secret, "--reprotect"]
    for bad in [":7", "a:0", "a:65536", "a b", "[fe80::1", "[a]:7", "--force"] {
      try refused(usual.dropLast() + ["--reprotect=\(bad)"], ["--reprotect", "ADDRESS"])
    }
    try refused(["--witness", "none", "--reprotect", "a"], ["needs a witness"])
    try refused(["--witness", "file:/w", "-F", "-d", "--reprotect", "a"], ["-b, -n or -d"])
    try refused(["--witness", "file:/w", "--reprotect", "10.0.0.1"], ["needs --passwordfile"])
    try refused(["--witness", "file:/w", "--passwordfile", "-", "--reprotect", "a"], ["in a file"])
  }
}
