import Foundation
import Testing

/// What can be wrong with the other side or the way to it: the source runs on with its console, the target waits on.
@Suite struct TeleportFailureTests {
  private func running() throws -> TwoHosts {
    let hosts = try TwoHosts(guest: "walker32", disk: 1)
    try hosts.start(hosts.a)
    return hosts
  }

  // MARK: The connection

  @Test(
    "a connection cut before the decision leaves the machine where it is",
    arguments: [
      "source.greeted", "source.agreed", "source.memory", "source.paused", "source.restsent", "source.devicessent",
      "source.proved", "source.released",
    ])
  func cutBefore(_ step: String) throws {
    let hosts = try TwoHosts(guest: "walker32", disk: 1)
    try hosts.start(hosts.a, ["VMCTL_TELEPORT_STOP_AT": step])
    let port = try hosts.await(hosts.b)
    let proxy = try TCPProxy(to: port)
    let command = try hosts.send(hosts.a, to: proxy.port)
    try hosts.a.waitUntilStopped("box")
    proxy.cut()
    try hosts.a.signalMachine("box", SIGCONT)
    try hosts.expectKept(command, on: hosts.a)
    #expect(try hosts.b.state("box") == "teleportingin")
  }

  @Test(
    "a decision that a cut connection lost is delivered on the next",
    arguments: ["target.prepared", "target.committed", "target.owned"])
  func cutAfter(_ step: String) throws {
    let hosts = try running()
    let port = try hosts.await(hosts.b, [], ["VMCTL_TELEPORT_STOP_AT": step])
    let proxy = try TCPProxy(to: port)
    let command = try hosts.send(hosts.a, to: proxy.port)
    try hosts.b.waitUntilStopped("box")
    // Before it has decided the source keeps the machine: what the target said last may still be on its way.
    let record = hosts.a.home + "/machines/box/teleport.json"
    try poll("the source's decision") {
      (try? String(contentsOfFile: record, encoding: .utf8))?.contains("committing") == true ? () : nil
    }
    proxy.cut()
    try hosts.b.signalMachine("box", SIGCONT)
    #expect(try command.wait() == 0, "\(command.errors)")
    #expect(try hosts.a.state("box") == "teleported")
    try hosts.expectRunsOnly(hosts.b)
  }

  @Test("a way that falls silent ends the transfer after the time-out")
  func silentWay() throws {
    let hosts = try running()
    let port = try hosts.await(hosts.b, [], TwoHosts.impatientTarget)
    let proxy = try TCPProxy(to: port, bytesPerSecond: 2_000_000)
    let command = try hosts.send(hosts.a, to: proxy.port, TwoHosts.impatientSource)
    try hosts.b.waitForLog("box", "receiving from")
    proxy.fallSilent()
    try hosts.expectKept(command, on: hosts.a, saying: ["time-out"])
    try hosts.b.waitForLog("box", "dropped")
    #expect(try hosts.b.state("box") == "teleportingin")
  }

  @Test(
    "a target that stands still is given up, and drops what it had when it wakes",
    arguments: ["greeted", "memory", "verified"])
  func stoppedTarget(_ step: String) throws {
    let hosts = try running()
    let port = try hosts.await(hosts.b, [], ["VMCTL_TELEPORT_STOP_AT": "target." + step])
    let command = try hosts.send(hosts.a, to: port, TwoHosts.impatientSource)
    try hosts.b.waitUntilStopped("box")
    try hosts.expectKept(command, on: hosts.a, saying: ["silent"])
    try hosts.b.signalMachine("box", SIGCONT)
    try hosts.b.waitForLog("box", "dropped")
    #expect(try hosts.b.state("box") == "teleportingin")
    #expect(try hosts.a.state("box") == "running")
  }

  // MARK: The peer

  @Test("nobody there, and a target whose teleporter is off, are told")
  func nobody() throws {
    let hosts = try running()
    try hosts.expectKept(
      try hosts.send(hosts.a, to: 1), on: hosts.a, saying: ["nothing listens on localhost port 1", "--teleporter on"])
    let child = try hosts.a.begin(["controlvm", "box", "teleport", "--host", "no-such-host.invalid", "--port", "6000"])
    try hosts.expectKept(child, on: hosts.a, saying: ["cannot reach no-such-host.invalid"])
  }

  @Test("another protocol, garbage and silence are told apart from a target")
  func strangers() throws {
    let hosts = try running()
    let web = try StrangePeer(answer: Array("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".utf8))
    try hosts.expectKept(try hosts.send(hosts.a, to: web.port), on: hosts.a, saying: ["another protocol"])
    let noise = try StrangePeer(
      answer: Array("VMCTL-TELEPORT\r\n".utf8) + (0..<4000).map { UInt8(truncatingIfNeeded: $0 &* 197) })
    try hosts.expectKept(try hosts.send(hosts.a, to: noise.port), on: hosts.a, saying: ["damaged"])
    let nothing = try StrangePeer(answer: nil)
    try hosts.expectKept(
      try hosts.send(hosts.a, to: nothing.port, TwoHosts.impatientSource), on: hosts.a, saying: ["time-out", "silent"])
  }

  @Test("strangers who call on a target do not keep it from its source")
  func strangersAtTheTarget() throws {
    let hosts = try running()
    let port = try hosts.await(hosts.b)
    let silent = try (0..<3).map { _ in try ConsoleClient(port: UInt16(port)) }
    let talker = try ConsoleClient(port: UInt16(port))
    try talker.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    let command = try hosts.send(hosts.a, to: port)
    #expect(try command.wait() == 0, "\(command.errors)")
    try hosts.expectRunsOnly(hosts.b)
    _ = silent
  }

  @Test("the password: wrong, missing, not asked for, right")
  func password() throws {
    let hosts = try running()
    let secret = try hosts.b.write("secret", Array("open sesame\n".utf8))
    let port = try hosts.await(hosts.b, ["--teleporter-password-file", secret])
    try hosts.expectKept(
      try hosts.send(hosts.a, to: port, ["--password", "wrong"]), on: hosts.a,
      saying: ["the password is not the target's"])
    try hosts.expectKept(try hosts.send(hosts.a, to: port), on: hosts.a, saying: ["asks for a password", "--password"])
    #expect(try hosts.b.state("box") == "teleportingin")
    let right = try hosts.send(hosts.a, to: port, ["--passwordfile", secret])
    #expect(try right.wait() == 0, "\(right.errors)")
    try hosts.expectRunsOnly(hosts.b)
    let back = try hosts.await(hosts.a)
    try hosts.expectKept(
      try hosts.send(hosts.b, to: back, ["--password", "x"]), on: hosts.b, saying: ["asks for no password"])
  }

  @Test("without a password the target listens on loopback only, and says so")
  func address() throws {
    let hosts = try TwoHosts(guest: "walker32")
    try hosts.b.refused(
      "modifyvm", "box", "--teleporter", "on", "--teleporter-address", "0.0.0.0", saying: ["0.0.0.0", "password"])
    try hosts.b.modify("box", ["--teleporter", "on", "--teleporter-port", "0"])
    let said = try hosts.b.vmctl("startvm", "box")
    #expect(said.contains("on 127.0.0.1 port"))
    #expect(said.contains("this host only, as there is no password"))
    #expect(try hosts.b.fact("box", "teleporteraddress") == "127.0.0.1")
    try hosts.b.vmctl("controlvm", "box", "poweroff")
    try hosts.b.modify("box", ["--teleporter-address", "0.0.0.0", "--teleporter-password", "x"])
    #expect(try hosts.b.vmctl("startvm", "box").contains("on 0.0.0.0 port"))
  }

  @Test("a teleporter's port that is taken is told when the target starts, and nothing is left")
  func portInUse() throws {
    let hosts = try TwoHosts(guest: "walker32")
    let peer = try StrangePeer(answer: nil)
    try hosts.b.modify("box", ["--teleporter", "on", "--teleporter-port", String(peer.port)])
    try hosts.b.refused("startvm", "box", saying: [String(peer.port), "--teleporter-port"])
    #expect(try hosts.b.state("box") == "poweroff")
  }

  // MARK: The hardware

  @Test("every difference is told at once, and the printed commands remove them all")
  func hardware() throws {
    let hosts = try TwoHosts(guest: "walker32")
    let disk = try hosts.a.makeDisk("disk.img", megabytes: 1)
    let other = try hosts.a.makeDisk("other.img", megabytes: 2)
    try hosts.a.attach("box", port: 0, disk)
    try hosts.a.attach("box", port: 1, type: "dvddrive", "emptydrive")
    try hosts.a.modify("box", ["--cpuid-set", "0x40000000", "1", "2", "3", "4", "--boot1", "dvd"])
    try hosts.start(hosts.a)
    try hosts.b.modify(
      "box",
      [
        "--memory", "24", "--vram", "8", "--cpu-profile", "i686", "--firmware", "bios", "--hpet", "off",
        "--debug-ports", "off", "--rtc-use-utc", "on", "--uart1", "0x2F8", "3", "--uart2", "0x3E8", "4", "--boot1",
        "disk",
        "--kernel", Guests.bareMetal("walker32.elf"), "--append", "pages=3", "--name", "it's another",
      ])
    try hosts.b.vmctl("storagectl", "it's another", "--name", "Other", "--add", "ide")
    try hosts.b.vmctl(
      "storageattach", "it's another", "--storagectl", "Other", "--port", "0", "--device", "1", "--type", "hdd",
      "--medium", other)
    func wait() throws -> Int {
      try hosts.b.modify("it's another", ["--teleporter", "on", "--teleporter-port", "0"])
      try hosts.b.vmctl("startvm", "it's another")
      return Int(try hosts.b.fact("it's another", "teleporterport") ?? "") ?? 0
    }
    let refused = try hosts.send(hosts.a, to: try wait())
    try hosts.expectKept(
      refused, on: hosts.a,
      saying: [
        "Memory", "Video memory", "CPU profile", "CPUID 0x40000000", "firmware", "kernel", "command line",
        "Debug ports", "HPET", "Boot device 1", "Serial port 1", "Serial port 2", "disk.img", "other.img", "dvddrive",
      ])
    #expect(try hosts.b.state("it's another") == "teleportingin")
    try hosts.b.vmctl("controlvm", "it's another", "poweroff")

    let mark = "on the target: "
    let lines = refused.errors.split(separator: "\n").compactMap { line in
      line.range(of: mark).map { String(line[$0.upperBound...]) }
    }
    #expect(lines.count >= 15)
    for line in lines {
      #expect(line.hasPrefix("vmctl "))
      var variables = hosts.b.environment
      variables["VMCTL_BINARY"] = TestHost.vmctl
      let shell = try Child(
        "/bin/sh", ["-ec", "vmctl() { \"$VMCTL_BINARY\" \"$@\"; }\n\(line)"], environment: variables,
        streams: .files(folder: hosts.b.folder, input: nil))
      #expect(try shell.wait() == 0, "\(line): \(shell.errors)")
    }
    let again = try hosts.send(hosts.a, to: try wait())
    #expect(try again.wait() == 0, "\(again.errors)")
    #expect(try hosts.b.state("it's another") == "running")
    #expect(try hosts.a.state("box") == "teleported")
  }

  @Test("one hop's media cannot be taken twice: a third machine is refused the disk before, during and after")
  func media() throws {
    let hosts = try running()
    try hosts.a.create("thief")
    try hosts.a.attach("thief", port: 0, hosts.shared + "/shared.img")
    try hosts.a.refused("startvm", "thief", saying: ["shared.img"])
    let port = try hosts.await(hosts.b)
    let proxy = try TCPProxy(to: port, bytesPerSecond: 200_000)
    let command = try hosts.send(hosts.a, to: proxy.port)
    try hosts.b.waitForLog("box", "receiving from")
    proxy.fallSilent()
    try hosts.a.refused("startvm", "thief", saying: ["shared.img"])
    proxy.setRate(nil)
    proxy.speakAgain()
    #expect(try command.wait() == 0, "\(command.errors)")
    try hosts.a.refused("startvm", "thief", saying: ["shared.img"])
    try hosts.expectRunsOnly(hosts.b)
  }

  // MARK: The user

  @Test("^C cancels: the machine runs on, the target waits on, and the next attempt succeeds")
  func interrupt() throws {
    let hosts = try running()
    let port = try hosts.await(hosts.b)
    let proxy = try TCPProxy(to: port, bytesPerSecond: 200_000)
    let command = try hosts.send(hosts.a, to: proxy.port)
    try hosts.b.waitForLog("box", "receiving from")
    command.signal(SIGINT)
    try hosts.expectKept(command, on: hosts.a, saying: ["cancelled"])
    try hosts.b.waitForLog("box", "dropped")
    proxy.setRate(nil)
    let again = try hosts.send(hosts.a, to: proxy.port)
    #expect(try again.wait() == 0, "\(again.errors)")
    try hosts.expectRunsOnly(hosts.b)
  }

  @Test("a command that is killed cancels as well")
  func killedCommand() throws {
    let hosts = try running()
    let port = try hosts.await(hosts.b)
    let proxy = try TCPProxy(to: port, bytesPerSecond: 200_000)
    let command = try hosts.send(hosts.a, to: proxy.port)
    try hosts.b.waitForLog("box", "receiving from")
    command.signal(SIGKILL)
    try hosts.a.waitForState("box", "running")
    try hosts.expectAlive(hosts.a)
    try hosts.b.waitForLog("box", "dropped")
  }

  @Test("what would cross a teleport is refused while it runs")
  func refusedMeanwhile() throws {
    let hosts = try running()
    let port = try hosts.await(hosts.b)
    let proxy = try TCPProxy(to: port, bytesPerSecond: 200_000)
    let command = try hosts.send(hosts.a, to: proxy.port)
    try hosts.b.waitForLog("box", "receiving from")
    proxy.fallSilent()
    for verb in ["pause", "savestate", "reset", "poweroff"] {
      try hosts.a.refused("controlvm", "box", verb, saying: ["teleport"])
    }
    try hosts.a.refused("controlvm", "box", "teleport", "--host", "localhost", "--port", "1", saying: ["teleporting"])
    let second = try TwoHosts(guest: "walker32")
    try second.start(second.a)
    try second.expectKept(try second.send(second.a, to: port), on: second.a, saying: ["busy"])
    proxy.setRate(nil)
    proxy.speakAgain()
    #expect(try command.wait() == 0, "\(command.errors)")
  }
}
