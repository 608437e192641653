import Foundation
import Testing

/// kill -9 of either side at every step of docs/teleport-protocol.md: afterwards exactly one machine can run, and the
/// other side is in the state that the failure table says.
@Suite struct TeleportKillTests {
  static let beforeDecision = [
    "connected", "greeted", "agreed", "memory", "paused", "restsent", "devicessent", "proved", "released", "prepared",
    "committing",
  ]

  @Test(
    "a source killed before its decision is out has the machine: it is aborted, and starts again",
    arguments: beforeDecision)
  func sourceBefore(_ step: String) throws {
    let hosts = try TwoHosts(guest: "walker32", disk: 1)
    try hosts.start(hosts.a, ["VMCTL_TELEPORT_STOP_AT": "source." + step])
    let port = try hosts.await(hosts.b)
    let command = try hosts.send(hosts.a, to: port)
    try hosts.a.waitUntilStopped("box")
    try hosts.a.killMachine("box")
    #expect(try command.wait() != 0)
    #expect(try hosts.a.state("box") == "aborted")
    // What was prepared on the target has let go of the medium by then, or lets go as soon as it is asked.
    try poll("host A to start") { (try? hosts.start(hosts.a)) != nil ? () : nil }
    try hosts.expectRunsOnly(hosts.a)
    #expect(try hosts.b.state("box") == "teleportingin")
    // And the target serves the next one.
    try hosts.expectKept(try hosts.send(hosts.a, to: port, ["--password", "x"]), on: hosts.a)
    let again = try hosts.send(hosts.a, to: port)
    #expect(try again.wait() == 0, "\(again.errors)")
    try hosts.expectRunsOnly(hosts.b)
  }

  @Test("a source killed after its decision is out has handed the machine over", arguments: ["commitsent", "answered"])
  func sourceAfter(_ step: String) throws {
    let hosts = try TwoHosts(guest: "walker32", disk: 1)
    try hosts.start(hosts.a, ["VMCTL_TELEPORT_STOP_AT": "source." + step])
    let port = try hosts.await(hosts.b)
    _ = try hosts.send(hosts.a, to: port)
    try hosts.a.waitUntilStopped("box")
    try hosts.b.waitForState("box", "running")
    try hosts.a.killMachine("box")
    if step == "commitsent" {
      #expect(try hosts.a.state("box") == "aborted")
      #expect(try hosts.a.fact("box", "teleportindoubt") == "localhost:\(port)")
      try hosts.a.refused("startvm", "box", saying: ["was handed over", "runs there"])
    }
    #expect(try hosts.a.state("box") == "teleported")
    try hosts.expectRunsOnly(hosts.b)
    try hosts.a.refused("startvm", "box", saying: ["shared.img"])
    #expect(try hosts.a.state("box") == "teleported")
  }

  @Test(
    "a target killed before it has answered leaves the machine with the source",
    arguments: ["greeted", "agreed", "memory", "devices", "verified", "locked", "prepared", "committed", "owned"])
  func targetBefore(_ step: String) throws {
    let hosts = try TwoHosts(guest: "walker32", disk: 1)
    try hosts.start(hosts.a)
    let port = try hosts.await(hosts.b, [], ["VMCTL_TELEPORT_STOP_AT": "target." + step])
    let command = try hosts.send(hosts.a, to: port)
    try hosts.b.waitUntilStopped("box")
    try hosts.b.killMachine("box")
    try hosts.expectKept(command, on: hosts.a)
    #expect(try hosts.b.state("box") == "aborted")
    try hosts.expectRunsOnly(hosts.a)
    try hosts.hop(hosts.a, hosts.b)
    try hosts.expectRunsOnly(hosts.b)
  }

  @Test("a target killed after it has answered had the machine", arguments: ["answered", "running"])
  func targetAfter(_ step: String) throws {
    let hosts = try TwoHosts(guest: "walker32", disk: 1)
    try hosts.start(hosts.a)
    let port = try hosts.await(hosts.b, [], ["VMCTL_TELEPORT_STOP_AT": "target." + step])
    let command = try hosts.send(hosts.a, to: port)
    try hosts.b.waitUntilStopped("box")
    try hosts.a.waitForState("box", "teleported")
    #expect(try command.wait() == 0)
    try hosts.b.killMachine("box")
    #expect(try hosts.b.state("box") == "aborted")
    #expect(try hosts.a.state("box") == "teleported")
    try hosts.b.modify("box", ["--teleporter", "off"])
    try hosts.start(hosts.b)
    try hosts.expectRunsOnly(hosts.b)
  }
}
