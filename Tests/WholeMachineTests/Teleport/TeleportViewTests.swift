import Foundation
import Testing

/// What people see of a teleport while it runs, and how they end a doubt.
@Suite struct TeleportViewTests {
  @Test(
    "the terminal shows one changing line with phase, bytes, rate, remaining and dirty rate, and at the end the figures"
  )
  func terminal() throws {
    let hosts = try TwoHosts(guest: "walker32")
    try hosts.start(hosts.a)
    try hosts.expectAlive(hosts.a)
    let port = try hosts.await(hosts.b)
    let proxy = try TCPProxy(to: port, bytesPerSecond: 8_000_000)
    let screen = try TerminalSession(
      TestHost.vmctl,
      ["controlvm", "box", "teleport", "--host", "localhost", "--port", String(proxy.port), "--timeout", "120000"],
      environment: hosts.a.environment)
    let shown = try screen.expect("pages/s dirtied")
    for word in ["memory ", " %", " MB at ", " MB/s, ", " MB remaining, ", "\r\u{1B}[K"] {
      #expect(shown.contains(word), "\(word) is in: \(shown)")
    }
    #expect(!shown.contains("\n"))
    // Meanwhile, from elsewhere, and it lasts as long as it takes to look:
    proxy.fallSilent()
    #expect(try hosts.a.state("box") == "teleporting")
    #expect(try hosts.b.state("box") == "teleportingin")
    for host in [hosts.a, hosts.b] {
      #expect(try host.fact("box", "teleportphase") == "memory")
      #expect(try host.fact("box", "teleportprogress")?.contains(" MB/s") == true)
      #expect((Int(try host.fact("box", "teleportbytes") ?? "") ?? 0) > 0)
    }
    proxy.setRate(nil)
    proxy.speakAgain()
    try screen.expect("done: ")
    let end = try screen.expect("\n")
    for word in [" MB in ", " s, down ", " ms (stop ", "last pages ", "device state ", "proof ", "hand-over "] {
      #expect(end.contains(word), "\(word) is in: \(end)")
    }
    #expect(try screen.child.wait() == 0)
    #expect(try hosts.a.fact("box", "VMStateReason")?.contains("it runs at localhost") == true)
  }

  @Test("a target in the foreground shows the wait and the incoming machine")
  func foreground() throws {
    let hosts = try TwoHosts(guest: "walker32")
    try hosts.start(hosts.a)
    try hosts.b.modify("box", ["--teleporter", "on", "--teleporter-port", "0"])
    let screen = try TerminalSession(
      TestHost.vmctl, ["startvm", "box", "--type", "headless", "--foreground"], environment: hosts.b.environment)
    try screen.expect("is waiting for its teleport on 127.0.0.1 port")
    try hosts.b.waitForState("box", "teleportingin")
    let command = try hosts.send(hosts.a, to: try hosts.port(hosts.b))
    #expect(try command.wait() == 0, "\(command.errors)")
    try screen.expect("receiving the machine from box")
    try screen.expect("the machine has arrived")
    try hosts.expectRunsOnly(hosts.b)
    try screen.send([3])
    #expect(try screen.child.wait() == 0)
    #expect(try hosts.b.state("box") == "poweroff")
  }

  /// A target that has taken the decision in and stands still, so that the source cannot know.
  private func doubt() throws -> TwoHosts {
    let hosts = try TwoHosts(guest: "walker32")
    try hosts.start(hosts.a)
    try hosts.a.refused("controlvm", "box", "resolveteleport", "takeback", saying: ["in doubt"])
    let port = try hosts.await(hosts.b, [], ["VMCTL_TELEPORT_STOP_AT": "target.committed"])
    command = try hosts.send(hosts.a, to: port, TwoHosts.impatientSource)
    try hosts.b.waitUntilStopped("box")
    try poll("doubt") { try hosts.a.fact("box", "teleportphase") == "in doubt" ? () : nil }
    return hosts
  }
  private var command: Child! {
    get { holder.child }
    nonmutating set { holder.child = newValue }
  }
  private final class Holder { var child: Child? }
  private let holder = Holder()

  @Test("a doubt ends by itself when the target answers")
  func answered() throws {
    let hosts = try doubt()
    try hosts.b.signalMachine("box", SIGCONT)
    #expect(try command.wait() == 0, "\(command.errors)")
    #expect(command.errors.contains("resolveteleport takeback|giveup"))
    #expect(try hosts.a.state("box") == "teleported")
    try hosts.expectRunsOnly(hosts.b)
  }

  @Test("a doubt ends by giving the machine up")
  func givenUp() throws {
    let hosts = try doubt()
    try hosts.a.vmctl("controlvm", "box", "resolveteleport", "giveup")
    #expect(try command.wait() == 0, "\(command.errors)")
    #expect(try hosts.a.state("box") == "teleported")
    try hosts.b.signalMachine("box", SIGCONT)
    try hosts.b.waitForState("box", "running")
    try hosts.expectRunsOnly(hosts.b)
  }

  @Test("a doubt ends by taking the machine back from a target that is gone")
  func takenBack() throws {
    let hosts = try doubt()
    try hosts.a.vmctl("controlvm", "box", "resolveteleport", "takeback")
    #expect(try command.wait() == 1)
    #expect(command.errors.contains("given up by the user"))
    try hosts.b.killMachine("box")
    try hosts.expectRunsOnly(hosts.a)
  }

  @Test("a source that died in doubt starts only when its target can be asked, or when the user vouches for it")
  func diedInDoubt() throws {
    let hosts = try doubt()
    try hosts.a.killMachine("box")
    #expect(try hosts.a.state("box") == "aborted")
    try hosts.a.refused("startvm", "box", saying: ["may run there", "resolveteleport takeback"])
    try hosts.b.killMachine("box")
    try hosts.a.vmctl("controlvm", "box", "resolveteleport", "takeback")
    try hosts.start(hosts.a)
    try hosts.expectRunsOnly(hosts.a)
  }
}
