import Foundation
import Testing

/// Protection by the operator's menu, between two homes, and what lists and figures say of it.
@Suite struct MenuProtectionTests {
  private static let patient = ["VMCTL_TELEPORT_PATIENCE": "60000"]

  private struct List: Decodable {
    struct Row: Decodable {
      struct Protection: Decodable {
        var state: String
        var side: String
        var peer: String
        var reason: String?
      }
      var protection: Protection?
    }
    var machines: [Row]
  }

  private func protection(_ host: TestHost) throws -> List.Row.Protection? {
    let text = try host.vmctl("service", "list", "--format", "json")
    return try JSONDecoder().decode(List.self, from: Data(text.utf8)).machines.first?.protection
  }

  /// A machine that runs on one host, each with a disk of its own.
  private func hosts() throws -> TwoHosts {
    let hosts = try TwoHosts(guest: "walker-dma32")
    for host in [hosts.a, hosts.b] { try host.attach("box", port: 0, try host.makeDisk("own.img", megabytes: 4)) }
    try hosts.start(hosts.a, Self.patient)
    try hosts.a.waitForHeartbeat("box", atLeast: 2)
    return hosts
  }

  private func menu(_ host: TestHost, type: String = "xterm", columns: Int = 80) throws -> TmuxTerminal {
    try TmuxTerminal(
      host, [TestHost.vmctl, "menu"], type: type, columns: columns,
      environment: ["VMCTL_UNITS": host.folder + "/units"])
  }

  /// Fills the form in.
  private func protect(_ menu: TmuxTerminal, _ hosts: TwoHosts, port: Int) throws {
    try menu.expect("Have a host go on with \"box\"")
    try menu.type("127.0.0.1")
    try menu.press("Enter", "C-u")
    try menu.type(String(port))
    try menu.press("Enter")
    try menu.type("file:\(hosts.shared)/witness")
    try menu.press("Enter", "Enter")
  }

  private func epoch(_ menu: TmuxTerminal) -> Int? {
    menu.screen.firstMatch(of: /Checkpoint: +(\d+)/).flatMap { Int($0.output.1) }
  }

  private func waitUntilNobodyProtects(_ host: TestHost) throws {
    try poll("the end of vmctl remus") { try host.processes("remus").isEmpty ? () : nil }
  }

  @Test(.enabled(if: MenuTests.why == nil, "\(MenuTests.why ?? "")"), arguments: ["xterm", "vt100"])
  func itIsBegunShownLiveKeptWithoutTheMenuAndEnded(type: String) throws {
    let hosts = try hosts()
    let (a, b) = (hosts.a, hosts.b)
    let port = try hosts.await(b, [], Self.patient)
    let menu = try menu(a, type: type)
    try menu.expect("box", "ACTIVE", "OTHER HOST", "b protect", "q leave")
    // What it cannot begin with is told in its one line, and nothing is left of it.
    try menu.press("b")
    try protect(menu, hosts, port: 1)
    try menu.expect("no protection, the machine is running here as before", "nothing listens")
    try waitUntilNobodyProtects(a)
    #expect(try a.state("box") == "running" && protection(a) == nil)
    try menu.press("b")
    try protect(menu, hosts, port: port)
    try menu.expect("\"box\" is protected by 127.0.0.1")
    try menu.expect("protected by 127.0.0.1  1 ")
    // Live.
    try menu.press("b")
    try menu.expect("Nothing", "Show how it stands", "Hand it over", "End it: nothing takes over then")
    try menu.press("2")
    try menu.expect("Protection of \"box\"", "Lag:", "Pause:", "Output held:", "Witness:", "What vmctl remus has said")
    let first = try poll("a checkpoint") { epoch(menu) }
    try poll("another one") { epoch(menu).flatMap { $0 > first ? () : nil } }
    try menu.press("q", "q")
    try menu.expect("ended with 0")
    // It is a process of its own, and so is still there.
    let seen = try a.processes("remus")
    #expect(seen.count == 1)
    let beat = try #require(a.heartbeats("box").last)
    try a.waitForHeartbeat("box", atLeast: beat + 2)
    #expect(try a.processes("remus") == seen && a.fact("box", "ReplicationState") == "protected")
    // Both hosts' lists and figures say so.
    let (primary, backup) = (try #require(try protection(a)), try #require(try protection(b)))
    #expect(primary.state == "protected" && primary.side == "primary" && primary.peer == "127.0.0.1 port \(port)")
    #expect(backup.state == "standby" && backup.side == "backup" && backup.peer == "127.0.0.1")
    #expect(try a.vmctl("service", "list").contains("protected by 127.0.0.1"))
    #expect(try b.vmctl("service", "list").contains("standby of 127.0.0.1"))
    #expect(try a.vmctl("service", "status", "box").contains("Protection:      protected by 127.0.0.1 port \(port)"))
    let figures = try a.vmctl("metrics")
    for text in ["protected{machine=\"box\"} 1"]
      + [
        "epoch", "bytes_total", "lag_seconds", "pause_seconds", "longest_pause_seconds", "checkpoint_pages",
        "held_bytes",
      ].map({ "protection_\($0){machine=\"box\"} " })
    {
      #expect(figures.contains("\nvmctl_machine_" + text), "\(text)")
    }
    try TopTests.check(figures, a)
    let others = try b.vmctl("metrics")
    #expect(others.contains("vmctl_machine_standby{machine=\"box\"} 1") && !others.contains("machine_protected{"))
    try TopTests.check(others, b)
    // Another menu ends it; Enter alone does not.
    let second = try self.menu(a, type: type)
    try second.expect("protected by 127.0.0.1")
    try second.press("b", "Enter")
    try second.expect("a add", without: "Hand it over")
    #expect(try protection(a)?.state == "protected")
    try second.press("b", "4")
    try second.expect("\"box\" goes on here, without protection")
    try waitUntilNobodyProtects(a)
    try b.waitForState("box", "teleportingin")
    #expect(try a.state("box") == "running" && protection(a) == nil && protection(b) == nil)
    #expect(!a.log("box").contains("error unprotected: "), "what somebody wants is no alert")
    #expect(try !a.vmctl("metrics").contains("vmctl_machine_protect"))
  }

  @Test(.enabled(if: MenuTests.why == nil, "\(MenuTests.why ?? "")"))
  func aLossIsSeenAndGivenUpAndTheMachineIsHandedOver() throws {
    let hosts = try hosts()
    let (a, b) = (hosts.a, hosts.b)
    let menu = try menu(a, columns: 120)
    try menu.expect("box", "ACTIVE")
    try menu.press("b")
    try protect(menu, hosts, port: try hosts.await(b, [], Self.patient))
    try menu.expect("\"box\" is protected by 127.0.0.1")
    try b.killMachine("box")
    try menu.expect("UNPROTECTED")
    let lost = try #require(try protection(a))
    #expect(lost.state == "unprotected" && lost.reason?.contains("the backup is lost") == true)
    #expect(try a.vmctl("metrics").contains("vmctl_machine_protected{machine=\"box\"} 0"))
    // While it is looked for it is said all the time.
    try poll("looking") { () -> Void? in
      let said = FileManager.default.contents(atPath: a.home + "/machines/box/protection.log") ?? Data()
      return String(decoding: said, as: UTF8.self).contains("looking for the backup") ? () : nil
    }
    #expect(try a.processes("remus").count == 1)
    try menu.press("b")
    try menu.expect("though it was to be protected: the backup is lost", "It needs none")
    try menu.press("4")
    try menu.expect("\"box\" goes on here, without protection", without: "UNPROTECTED")
    try waitUntilNobodyProtects(a)
    #expect(try protection(a) == nil && a.state("box") == "running")
    try a.refused("controlvm", "box", "unprotect", saying: ["is not protected"])
    // Protected again, and handed over.
    try menu.press("b")
    try protect(menu, hosts, port: try hosts.await(b, [], Self.patient))
    try menu.expect("\"box\" is protected by 127.0.0.1")
    let seen = try #require(a.heartbeats("box").last)
    try menu.press("b", "3")
    try menu.expect("the machine goes on at 127.0.0.1", "INACTIVE", "went to 127.0.0.1")
    try waitUntilNobodyProtects(a)
    #expect(try a.state("box") == "teleported" && b.state("box") == "running")
    try b.waitForHeartbeat("box", atLeast: seen + 2)
    // The survivor has no backup, until somebody says that it needs none.
    #expect(try protection(b)?.state == "unprotected" && protection(a)?.state == "takenover")
    #expect(try b.vmctl("metrics").contains("vmctl_machine_protected{machine=\"box\"} 0"))
    try b.vmctl("controlvm", "box", "unprotect")
    #expect(try protection(b) == nil)
  }

  @Test(
    "a service that is protected is saved after its protection, one that waits is switched off",
    .enabled(if: !ServiceWithoutSystemdTests.hasSystemd, "systemd runs here"))
  func stops() throws {
    let hosts = try hosts()
    let port = try hosts.await(hosts.b, [], Self.patient)
    let child = try hosts.a.begin([
      "remus", "box", "127.0.0.1", "-p", String(port), "--witness", "file:\(hosts.shared)/witness",
    ])
    try poll("protection") { try protection(hosts.a)?.state == "protected" ? () : nil }
    func service(_ host: TestHost, _ verb: String) throws {
      let service = try host.begin(["service", verb, "box"], environment: ["VMCTL_UNITS": host.folder + "/units"])
      #expect(try service.wait() == 0, "\(service.errors)")
    }
    for host in [hosts.a, hosts.b] { try service(host, "add") }
    try service(hosts.a, "stop")
    #expect(try hosts.a.state("box") == "saved" && child.wait() == 0)
    try hosts.b.waitForState("box", "teleportingin")
    try service(hosts.b, "stop")
    #expect(try hosts.b.state("box") == "poweroff")
  }

  @Test("a machine whose vmctl remus was killed is said to be unprotected, with an alert")
  func abandoned() throws {
    let hosts = try hosts()
    let port = try hosts.await(hosts.b, [], Self.patient)
    let child = try hosts.a.begin([
      "remus", "box", "127.0.0.1", "-p", String(port), "--witness", "file:\(hosts.shared)/witness",
    ])
    try poll("protection") { try protection(hosts.a)?.state == "protected" ? () : nil }
    child.signal(SIGKILL)
    try poll("its end") { try protection(hosts.a)?.state == "unprotected" ? () : nil }
    #expect(try protection(hosts.a)?.reason == "the command that protected it has ended without a word")
    try hosts.a.waitForLog("box", "unprotected: the command that protected it has ended without a word")
    try hosts.b.waitForState("box", "teleportingin")
    #expect(try hosts.a.state("box") == "running")
    // The other way round: a machine that died here may run at its backup.
    let again = try hosts.a.begin([
      "remus", "box", "127.0.0.1", "-p", String(port), "--witness", "file:\(hosts.shared)/witness",
    ])
    try poll("protection") { try protection(hosts.a)?.state == "protected" ? () : nil }
    try hosts.a.killMachine("box")
    try hosts.b.waitForState("box", "running")
    #expect(try again.wait() == 1)
    #expect(try protection(hosts.a)?.state == "indoubt")
    #expect(try protection(hosts.b)?.reason?.hasPrefix("taken over from ") == true)
  }
}
