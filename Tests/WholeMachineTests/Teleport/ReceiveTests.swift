import Foundation
import Testing

/// `vmctl receive`: a machine comes to a host that has never heard of it.
@Suite struct ReceiveTests {
  /// A host with a running machine that checks its memory, and one that waits for machines.
  private final class Journey {
    let a: TestHost
    let b: TestHost
    let secret: String

    init(_ variables: [String: String] = [:]) throws {
      a = try TestHost()
      b = try TestHost()
      secret = try a.write("secret", Array("let it in\n".utf8))
      try a.create("box", memory: 32, ["--firmware", Guests.bareMetal("walker32.rom"), "--debug-ports", "on"])
      try a.modify("box", ["--description", "an old friend"])
      let start = try a.begin(["startvm", "box"], environment: variables)
      #expect(try start.wait() == 0, "\(start.errors)")
    }

    func receive(_ host: TestHost, _ words: [String] = []) throws -> (child: Child, port: Int) {
      let child = try host.begin(["receive", "--address", "127.0.0.1", "--passwordfile", secret] + words)
      let port = try poll("the receiver's port") { () -> Int? in
        guard child.isRunning else { throw Failure("receive: \(child.errors)") }
        return child.output.split(separator: "\n").first.flatMap { Int($0.split(separator: " ").last ?? "") }
      }
      return (child, port)
    }

    func send(_ host: TestHost, to port: Int, password: String? = nil) throws -> Child {
      let way = password.map { ["--password", $0] } ?? ["--passwordfile", secret]
      return try host.begin(["controlvm", "box", "teleport", "--host", "localhost", "--port", String(port)] + way)
    }
  }

  @Test func aMachineTravelsWithItsDefinitionThereAndBack() throws {
    let journey = try Journey()
    let (a, b) = (journey.a, journey.b)
    var last = try #require(try a.waitForHeartbeat("box", atLeast: 2).last)
    for (from, to) in [(a, b), (b, a), (a, b)] {
      let (receiver, port) = try journey.receive(to, ["--once"])
      let command = try journey.send(from, to: port)
      #expect(try command.wait() == 0, "\(command.errors)\n\(to.log("box").suffix(1000))")
      #expect(try receiver.wait() == 0, "\(receiver.errors)")
      #expect(receiver.output.contains("a machine has come"))
      #expect(try from.state("box") == "teleported")
      #expect(try to.state("box") == "running")
      let beats = try to.waitForHeartbeat("box", atLeast: last + 2)
      #expect(beats.first.map { $0 > last } == true)
      #expect(!to.log("box").contains("FAIL"))
      last = try #require(beats.last)
    }
    #expect(try b.fact("box", "UUID") == a.fact("box", "UUID"))
    #expect(try b.fact("box", "description") == "an old friend")
    #expect(try b.fact("box", "teleporterenabled") == "off")
  }

  @Test func whatThisHostCannotHaveIsRefusedAndLeavesNothing() throws {
    let journey = try Journey()
    let (a, b) = (journey.a, journey.b)
    let (receiver, port) = try journey.receive(b)
    defer { receiver.signal(SIGTERM) }
    func refused(_ text: String, password: String? = nil, at: SourceLocation = #_sourceLocation) throws {
      let command = try journey.send(a, to: port, password: password)
      #expect(try command.wait() == 1, sourceLocation: at)
      #expect(command.errors.contains(text), "\(text) in \(command.errors)", sourceLocation: at)
      #expect(try a.state("box") == "running", sourceLocation: at)
    }
    try refused("the password is not the target's", password: "guess")
    #expect(try b.vmctl("list", "vms") == "")
    // Another machine has the name.
    try b.create("box", memory: 16)
    try refused("there is a machine \"box\" already")
    try b.vmctl("unregistervm", "box", "--delete")
    // This one runs there.
    let own = try journey.receive(a)
    let circle = try journey.send(a, to: own.port)
    #expect(try circle.wait() == 1)
    #expect(circle.errors.contains("is teleporting"), "\(circle.errors)")
    own.child.signal(SIGTERM)
    // No password, no receiver.
    try b.refused("receive", status: 64, saying: ["passwordfile"])
    try b.refused("receive", "--passwordfile", "/dev/null", saying: ["has no password"])
    try b.refused("receive", "--passwordfile", journey.secret, "--systemd", saying: ["socket unit"])
    try b.refused(
      "receive", "--address", "127.0.0.1", "--port", String(port), "--passwordfile", journey.secret,
      saying: ["\(port)"])
    let command = try journey.send(a, to: port)
    #expect(try command.wait() == 0, "\(command.errors)")
    #expect(try b.state("box") == "running")
  }

  @Test func aMachineThatDoesNotComeLeavesNothing() throws {
    let journey = try Journey(["VMCTL_TELEPORT_STOP_AT": "source.memory"])
    let (a, b) = (journey.a, journey.b)
    let (receiver, port) = try journey.receive(b)
    defer { receiver.signal(SIGTERM) }
    let command = try journey.send(a, to: port)
    try a.waitUntilStopped("box")
    #expect(try b.state("box") == "teleportingin")
    try a.killMachine("box")
    #expect(try command.wait() != 0)
    try poll("the end of what waited") { try b.vmctl("list", "vms").isEmpty ? () : nil }
    #expect(receiver.output.contains("a machine has not come"))
    // What stayed may start and go.
    try a.vmctl("startvm", "box")
    let again = try journey.send(a, to: port)
    #expect(try again.wait() == 0, "\(again.errors)")
    #expect(try b.state("box") == "running")
  }
}
