import Foundation
import Testing

/// Protection between two hosts, with their processes killed, stopped and asked.
@Suite struct ProtectionSystemTests {
  /// How long one side may be silent where a test waits for that, and where it must not be taken for lost.
  private static let impatient = ["VMCTL_TELEPORT_PATIENCE": "3000"]
  private static let patient = ["VMCTL_TELEPORT_PATIENCE": "60000"]

  private static func witness(_ hosts: TwoHosts) -> String { "file:\(hosts.shared)/witness" }

  /// A machine that checks its memory and its disk, each host with a disk of its own.
  private func hosts(_ variables: [String: String] = patient) throws -> TwoHosts {
    let hosts = try TwoHosts(guest: "walker-dma32")
    for host in [hosts.a, hosts.b] { try host.attach("box", port: 0, try host.makeDisk("own.img", megabytes: 4)) }
    try hosts.start(hosts.a, variables)
    try hosts.a.waitForHeartbeat("box", atLeast: 2)
    return hosts
  }

  /// Begins to protect the machine, and waits until it is.
  private func protect(
    _ from: TestHost, to port: Int, _ witness: String, _ options: [String] = ["-i", "50"]
  ) throws -> Child {
    let child = try from.begin(["remus", "box", "127.0.0.1", "-p", String(port), "--witness", witness] + options)
    try from.waitUntilProtected("box", by: child)
    return child
  }

  @Test("when the process of a protected machine is killed the other host goes on, memory and disk intact")
  func kill() throws {
    let hosts = try hosts()
    let port = try hosts.await(hosts.b, [], Self.patient)
    let child = try protect(hosts.a, to: port, Self.witness(hosts))
    #expect(try hosts.b.state("box") == "standby")
    #expect(try hosts.b.fact("box", "ReplicationRole") == "backup")
    let seen = try #require(hosts.a.heartbeats("box").last)
    try hosts.a.killMachine("box")
    try hosts.b.expectGoesOn("box", after: seen)
    #expect(try child.wait() != 0)
    #expect(try hosts.a.state("box") == "aborted")
    #expect(hosts.b.log("box").contains("failed over: "))
    let record = try String(contentsOfFile: hosts.shared + "/witness", encoding: .utf8)
    #expect(record.contains("\"holder\":\"backup\""))
    // A host that comes back, as by a service, does not start it a second time.
    try hosts.a.refused("startvm", "box", saying: ["has taken the machine", "--force"])
    #expect(try hosts.b.state("box") == "running")
    // But it may be the backup: the witness knows that its disk is an old copy.
    let back = try protect(hosts.b, to: try hosts.await(hosts.a, [], Self.patient), Self.witness(hosts))
    let then = try #require(hosts.b.heartbeats("box").last)
    try hosts.b.killMachine("box")
    try hosts.a.expectGoesOn("box", after: then)
    #expect(try back.wait() != 0)
  }

  @Test("a host that stands still loses the machine, and finds that out when it goes on")
  func stop() throws {
    let hosts = try hosts(Self.impatient)
    let port = try hosts.await(hosts.b, [], Self.impatient)
    let child = try protect(hosts.a, to: port, Self.witness(hosts))
    let seen = try #require(hosts.a.heartbeats("box").last)
    let process = try #require(hosts.a.processID("box"))
    Glibc.kill(process, SIGSTOP)
    try hosts.b.expectGoesOn("box", after: seen)
    Glibc.kill(process, SIGCONT)
    try hosts.a.waitForState("box", "teleported")
    #expect(try child.wait() == 1)
    #expect(child.errors.contains("has taken the machine over"))
    #expect(try hosts.b.state("box") == "running")
  }

  @Test("the machine is handed over, protected again from there, and comes back")
  func thereAndBack() throws {
    let hosts = try hosts()
    var child = try protect(hosts.a, to: try hosts.await(hosts.b, [], Self.patient), Self.witness(hosts))
    let seen = try #require(hosts.a.heartbeats("box").last)
    try hosts.a.vmctl("controlvm", "box", "failover")
    #expect(try child.wait() == 0)
    #expect(try hosts.a.state("box") == "teleported")
    try hosts.b.expectGoesOn("box", after: seen)
    // The disk here is an old copy now, and may be written over.
    child = try protect(hosts.b, to: try hosts.await(hosts.a, [], Self.patient), Self.witness(hosts))
    let then = try #require(hosts.b.heartbeats("box").last)
    try hosts.a.vmctl("controlvm", "box", "failover")
    try hosts.a.expectGoesOn("box", after: then)
    #expect(try child.wait() == 1)
    try hosts.b.waitForState("box", "teleported")
  }

  @Test("a lost backup, an end that is asked for, and a machine that is switched off")
  func ends() throws {
    let hosts = try hosts()
    var child = try protect(
      hosts.a, to: try hosts.await(hosts.b, [], Self.patient), Self.witness(hosts), ["-i", "50", "--once"])
    for verb in ["pause", "savestate"] {
      try hosts.a.refused("controlvm", "box", verb, saying: ["is protected", "unprotect"])
    }
    try hosts.b.killMachine("box")
    #expect(try child.wait() == 1)
    #expect(child.errors.contains("the machine goes on here, without protection"))
    let seen = try #require(hosts.a.heartbeats("box").last)
    try hosts.a.expectGoesOn("box", after: seen)
    #expect(hosts.a.log("box").contains("unprotected: "))

    child = try protect(hosts.a, to: try hosts.await(hosts.b, [], Self.patient), Self.witness(hosts))
    child.signal(SIGINT)
    #expect(try child.wait() == 0)
    #expect(child.output.contains("without protection"))
    try hosts.b.waitForState("box", "teleportingin")
    #expect(try hosts.a.state("box") == "running")

    child = try protect(hosts.a, to: try hosts.port(hosts.b), Self.witness(hosts))
    try hosts.a.vmctl("controlvm", "box", "poweroff")
    #expect(try child.wait() == 0)
    #expect(try hosts.a.state("box") == "poweroff")
    try hosts.b.waitForState("box", "teleportingin")
  }

  @Test("what cannot be is told in one line, and the machine goes on")
  func refusals() throws {
    let hosts = try hosts()
    let a = hosts.a
    let port = String(try hosts.await(hosts.b, [], Self.patient))
    func refused(_ words: [String], _ texts: [String], status: Int32 = 1) throws {
      let outcome = try a.attempt(["remus", "box"] + words)
      let last = outcome.errors.split(separator: "\n").last.map(String.init) ?? ""
      #expect(outcome.status == status, "\(words): \(outcome.errors)")
      #expect(texts.allSatisfy { last.contains($0) }, "\(words): \(outcome.errors)")
      #expect(try a.state("box") == "running")
    }
    let usual = ["127.0.0.1", "-p", port]
    try refused(usual, ["--witness"], status: 64)
    try refused(usual + ["--witness", "none", "-n"], ["-F"], status: 64)
    try refused(usual + ["--witness", "none", "-i", "5"], ["25"], status: 64)
    try refused(usual + ["--witness", "zookeeper:x"], ["is no witness"])
    try refused(usual + ["--witness", "file:/nowhere/witness"], ["cannot be asked", "/nowhere/witness"])
    let letter = try a.write("letter", Array("dear reader\n".utf8))
    try refused(usual + ["--witness", "file:\(letter)"], ["holds something else"])
    try refused(["127.0.0.1", "-p", "1", "--witness", Self.witness(hosts)], ["nothing listens"])
    // A disk with something on it is not written over.
    let precious = hosts.b.folder + "/own.img"
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: precious))
    try file.seek(toOffset: 1 << 20)
    try file.write(contentsOf: Data("precious".utf8))
    try file.close()
    let before = try Data(contentsOf: URL(fileURLWithPath: precious))
    try refused(usual + ["--witness", Self.witness(hosts)], ["holds something", "written over"])
    #expect(try Data(contentsOf: URL(fileURLWithPath: precious)) == before)
    try a.refused("controlvm", "box", "unprotect", saying: ["is not protected"])
    try hosts.b.refused("controlvm", "box", "failover", saying: ["is not protected"])
    // And with none of these it works.
    try hosts.b.vmctl("controlvm", "box", "poweroff")
    try FileManager.default.removeItem(atPath: precious)
    _ = try hosts.b.makeDisk("own.img", megabytes: 4)
    let child = try protect(a, to: try hosts.await(hosts.b, [], Self.patient), Self.witness(hosts))
    child.signal(SIGTERM)
    #expect(try child.wait() == 0)
  }

  @Test("a backup that was lost is looked for, and gets of the disk what it lacks when it is back")
  func again() throws {
    let hosts = try hosts()
    let port = try hosts.await(hosts.b, [], Self.patient)
    let child = try protect(hosts.a, to: port, Self.witness(hosts))
    try hosts.b.killMachine("box")
    try poll("the loss") { child.errors.contains("looking for the backup") ? () : nil }
    #expect(try hosts.a.state("box") == "running" && child.isRunning)
    try hosts.b.modify("box", ["--teleporter-port", String(port)])
    try hosts.start(hosts.b, Self.patient)
    try hosts.a.waitUntilProtected("box", by: child)
    let seen = try #require(hosts.a.heartbeats("box").last)
    try hosts.a.killMachine("box")
    try hosts.b.expectGoesOn("box", after: seen)
    #expect(try child.wait() == 1)
    #expect(child.errors.contains("has ended without a word"))
  }

  @Test("a process that asks the witness may be killed: the primary gets another, a backup that has none is none")
  func witnessProcesses() throws {
    let hosts = try hosts()
    let port = try hosts.await(hosts.b, [], Self.patient)
    let backups = try witnessProcesses(hosts)
    let child = try protect(hosts.a, to: port, Self.witness(hosts))
    let primaries = try witnessProcesses(hosts).subtracting(backups)
    #expect(backups.count == 1 && primaries.count == 1)
    for process in primaries { Glibc.kill(process, SIGKILL) }
    try poll("another") { try witnessProcesses(hosts).subtracting(backups).subtracting(primaries).isEmpty ? nil : () }
    #expect(try hosts.a.fact("box", "ReplicationState") == "protected")
    // It is asked when the other one has gone.
    for process in backups { Glibc.kill(process, SIGKILL) }
    try poll("the loss") { child.errors.contains("process that asks the witness has ended") ? () : nil }
    let record = try String(contentsOfFile: hosts.shared + "/witness", encoding: .utf8)
    #expect(record.contains("\"holder\":\"primary\""))
    try hosts.b.waitForState("box", "teleportingin")
    let seen = try #require(hosts.a.heartbeats("box").last)
    try hosts.a.expectGoesOn("box", after: seen)
    child.signal(SIGTERM)
    #expect(try child.wait() == 0)
  }

  private func witnessProcesses(_ hosts: TwoHosts) throws -> Set<pid_t> {
    try hosts.a.processes("witness-process").union(hosts.b.processes("witness-process"))
  }

  @Test("a failover that cannot be is told as such")
  func failover() throws {
    let hosts = try hosts()
    let child = try protect(hosts.a, to: try hosts.await(hosts.b, [], Self.patient), Self.witness(hosts))
    // Nobody can say whose it is.
    let record = hosts.shared + "/witness"
    let text = try Data(contentsOf: URL(fileURLWithPath: record))
    try Data().write(to: URL(fileURLWithPath: record))
    try hosts.b.refused("controlvm", "box", "failover", saying: ["cannot be decided yet", "lost its record"])
    #expect(try hosts.b.state("box") == "standby")
    try text.write(to: URL(fileURLWithPath: record))
    try hosts.b.waitForState("box", "running")
    #expect(try child.wait() == 1)
    try hosts.a.waitForState("box", "teleported")
  }

  @Test("a disk that both hosts share is written when the backup has the checkpoint, and both see the same")
  func sharedDisk() throws {
    let hosts = try TwoHosts(guest: "walker-dma32", disk: 4)
    try hosts.start(hosts.a, Self.patient)
    try hosts.a.waitForHeartbeat("box", atLeast: 2)
    let child = try protect(hosts.a, to: try hosts.await(hosts.b, [], Self.patient), Self.witness(hosts))
    let seen = try #require(hosts.a.heartbeats("box").last)
    try hosts.a.killMachine("box")
    try hosts.b.expectGoesOn("box", after: seen)
    #expect(try child.wait() != 0)
  }
}

/// A protected machine on a bridge, with connections to a client that knows nothing of its hosts.
@Suite(
  .enabled(if: Guests.hasNetworkGuest, "needs the network guest: run scripts/build-network-guest"),
  .enabled(if: NetworkLab.obstacle == nil, "\(NetworkLab.obstacle ?? "")"), .serialized)
struct ProtectedConnectionTests {
  /// Protects the machine, which runs on one host, by the other.
  private func protect(
    _ machine: BridgedMachine, from: Int, to: Int, _ variables: [String: String]
  ) throws -> Child {
    try machine.await(on: to, variables)
    let child = try machine.remus(from: from, to: to)
    try machine.places[from].host.waitUntilProtected("box", by: child)
    return child
  }

  @Test("connections of a protected machine, echoing all the time, live on when its host is killed, byte by byte")
  func connections() throws {
    let patience = ["VMCTL_TELEPORT_PATIENCE": "60000"]
    let machine = try BridgedMachine(card: "virtio", driver: "virtio_net", patience)
    defer { machine.end() }
    let (hosts, places, session, bulk) = (machine.hosts, machine.places, machine.session, machine.bulk)
    try session.exchange("unprotected")
    for (round, from) in [0, 1].enumerated() {
      let to = 1 - from
      let child = try protect(machine, from: from, to: to, patience)
      try session.exchange("protected \(round)")
      try machine.awaitStream(100_000)
      let died = bulk.received
      try places[from].host.killMachine("box")
      try places[to].host.waitForState("box", "running")
      try session.exchange("taken over \(round)")
      try poll("more of the stream after it", within: 240) { bulk.received >= died + 100_000 ? () : nil }
      _ = try child.wait()
    }
    #expect(try bulk.finish() > 400_000)
    try hosts.a.vmctl("controlvm", "box", "poweroff")
  }

  @Test(
    "when the hosts do not hear each other, or one not the other, one goes on, and connections live on, byte by byte",
    arguments: [[0], [1], [0, 1]])
  func cuts(_ deaf: [Int]) throws {
    let patience = ["VMCTL_TELEPORT_PATIENCE": "5000"]
    let machine = try BridgedMachine(card: "virtio", driver: "virtio_net", patience)
    defer { machine.end() }
    let hosts = machine.hosts
    let child = try protect(machine, from: 0, to: 1, patience)
    try machine.awaitStream(100_000)
    try machine.cut(from: deaf, true)
    let survivor = try poll("one that goes on alone") {
      switch (try hosts.a.state("box"), try hosts.b.state("box")) {
      case ("running", "teleportingin"): hosts.a
      case ("teleported", "running"): hosts.b
      default: nil
      }
    }
    try machine.session.exchange("alone")
    try machine.awaitStream(100_000)
    try machine.cut(from: deaf, false)
    if survivor === hosts.a {
      // It has looked for its backup all the time.
      try hosts.a.waitUntilProtected("box", by: child)
      try machine.session.exchange("protected again")
      child.signal(SIGTERM)
    }
    #expect(try child.wait() == (survivor === hosts.a ? 0 : 1), "\(child.errors)")
    try machine.awaitStream(100_000)
    #expect(try [hosts.a, hosts.b].filter { try $0.state("box") == "running" }.count == 1)
    #expect(try machine.bulk.finish() > 300_000)
    try survivor.vmctl("controlvm", "box", "poweroff")
  }
}
