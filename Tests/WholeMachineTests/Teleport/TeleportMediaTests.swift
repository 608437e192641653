import Foundation
import Testing

/// Who gets a disk image while its machine passes from one host to the other.
@Suite struct TeleportMediaTests {
  private func hosts(stopSourceAt step: String) throws -> TwoHosts {
    let hosts = try TwoHosts(guest: "walker32", disk: 1)
    let options = ["--firmware", Guests.bareMetal("walker32.rom"), "--debug-ports", "on"]
    try hosts.a.create("thief", memory: 16, options)
    try hosts.a.attach("thief", port: 0, hosts.shared + "/shared.img")
    try hosts.a.create("reader", memory: 16, options)
    try hosts.a.attach("reader", port: 0, hosts.shared + "/shared.img", mode: "readonly")
    try hosts.start(hosts.a, ["VMCTL_TELEPORT_STOP_AT": step])
    try hosts.a.refused("startvm", "reader", saying: ["shared.img"])
    return hosts
  }

  @Test(
    "a third machine is refused the disk at each step of the hand-over",
    arguments: ["source.released", "source.prepared", "source.committing", "source.commitsent"])
  func thief(_ step: String) throws {
    let hosts = try hosts(stopSourceAt: step)
    let command = try hosts.send(hosts.a, to: try hosts.await(hosts.b))
    try hosts.a.waitUntilStopped("box")
    try hosts.a.refused("startvm", "thief", saying: ["shared.img"])
    try hosts.a.signalMachine("box", SIGCONT)
    #expect(try command.wait() == 0, "\(command.errors)")
    try hosts.expectRunsOnly(hosts.b)
    try hosts.a.refused("startvm", "thief", saying: ["shared.img"])
    try hosts.b.vmctl("controlvm", "box", "poweroff")
    try hosts.a.vmctl("startvm", "thief")
  }

  @Test("a reader that slips in keeps the machine from nothing, and its way out is noticed")
  func reader() throws {
    let hosts = try hosts(stopSourceAt: "source.released")
    let command = try hosts.send(hosts.a, to: try hosts.await(hosts.b))
    try hosts.a.waitUntilStopped("box")
    try hosts.a.vmctl("startvm", "reader")
    try hosts.a.signalMachine("box", SIGCONT)
    #expect(try command.wait() == 0, "\(command.errors)")
    try hosts.expectRunsOnly(hosts.b)
    try hosts.a.refused("startvm", "thief", saying: ["shared.img"])
    try hosts.a.vmctl("controlvm", "reader", "poweroff")
    try poll("the disk to be the machine's alone") { () -> Void? in
      guard try hosts.a.attempt(["startvm", "reader"]).status == 0 else { return () }
      try hosts.a.vmctl("controlvm", "reader", "poweroff")
      return nil
    }
    try hosts.expectRunsOnly(hosts.b)
  }

  @Test("a reader that slips in does not keep the machine from running on when the transfer fails")
  func readerAndFailure() throws {
    let hosts = try hosts(stopSourceAt: "source.released")
    let proxy = try TCPProxy(to: try hosts.await(hosts.b))
    let command = try hosts.send(hosts.a, to: proxy.port)
    try hosts.a.waitUntilStopped("box")
    try hosts.a.vmctl("startvm", "reader")
    proxy.cut()
    try hosts.a.signalMachine("box", SIGCONT)
    try hosts.expectKept(command, on: hosts.a)
    try hosts.a.refused("startvm", "thief", saying: ["shared.img"])
  }

  @Test("a machine that is taken back while the target holds its disk runs nowhere until that lets go")
  func takenBack() throws {
    let hosts = try TwoHosts(guest: "walker32", disk: 1)
    try hosts.start(hosts.a, TwoHosts.impatientTarget)
    let port = try hosts.await(hosts.b, [], ["VMCTL_TELEPORT_STOP_AT": "target.committed"])
    let command = try hosts.send(hosts.a, to: port, TwoHosts.impatientSource)
    try hosts.b.waitUntilStopped("box")
    try poll("doubt") { try hosts.a.fact("box", "teleportphase") == "in doubt" ? () : nil }
    try hosts.a.vmctl("controlvm", "box", "resolveteleport", "takeback")
    try hosts.expectKept(command, on: hosts.a, saying: ["stays paused", "shared.img"], state: "paused")
    try hosts.a.refused("controlvm", "box", "resume", saying: ["shared.img"])
    try hosts.expectKept(
      try hosts.send(hosts.a, to: port, TwoHosts.impatientSource), on: hosts.a, saying: ["shared.img"], state: "paused")
    try hosts.b.killMachine("box")
    try hosts.a.vmctl("controlvm", "box", "resume")
    try hosts.expectRunsOnly(hosts.a)
  }
}
