import Foundation
import Testing

/// Two hosts with the same machine, "box", and what a person types to teleport it between them.
final class TwoHosts {
  let a: TestHost
  let b: TestHost
  /// A folder both hosts see.
  var shared: String { a.folder }

  /// - Parameters: options: modifyvm's, for both. disk: megabytes of a shared disk image.
  init(memory: Int = 16, _ options: [String], disk: Int? = nil) throws {
    a = try TestHost()
    b = try TestHost()
    let image = try disk.map { try a.makeDisk("shared.img", megabytes: $0) }
    for host in [a, b] {
      try host.create("box", memory: memory, options)
      if let image { try host.attach("box", port: 0, image) }
    }
  }

  /// With a bare-metal guest in place of the firmware, which starts at once and says on its console when memory is wrong.
  convenience init(guest: String, memory: Int = 16, disk: Int? = nil) throws {
    let options = [
      "--firmware", Guests.bareMetal(guest + ".rom"), "--debug-ports", "on", "--uart1", "0x3F8", "4", "--uart-mode1",
      "tcpserver", "0",
    ]
    try self.init(memory: memory, options, disk: disk)
  }

  /// Starts the machine on a host, with some variables for its process.
  func start(_ host: TestHost, _ variables: [String: String] = [:]) throws {
    let child = try host.begin(["startvm", "box"], environment: variables)
    guard try child.wait() == 0 else { throw Failure("startvm: \(child.errors)") }
  }

  /// Makes the machine on `host` wait for its teleport.
  /// - Returns: the port.
  @discardableResult
  func await(_ host: TestHost, _ options: [String] = [], _ variables: [String: String] = [:]) throws -> Int {
    try host.modify("box", ["--teleporter", "on", "--teleporter-port", "0"] + options)
    try start(host, ["VMCTL_TELEPORT_PATIENCE": Self.patience].merging(variables) { $1 })
    return try port(host)
  }

  func port(_ host: TestHost) throws -> Int {
    guard let text = try host.fact("box", "teleporterport"), let port = Int(text), port > 0 else {
      throw Failure("the machine does not say its teleporter's port")
    }
    return port
  }

  /// Begins to send the machine from a host.
  func send(_ from: TestHost, to port: Int, _ options: [String] = []) throws -> Child {
    try from.begin(
      ["controlvm", "box", "teleport", "--host", "localhost", "--port", String(port), "--timeout", Self.patience]
        + options)
  }

  /// How long the two sides wait for each other, in milliseconds: a transfer that must succeed does so however busy the
  /// computer is.
  private static let patience = "120000"

  /// The target's variables and the source's options where a test waits for a time-out.
  static let impatientTarget = ["VMCTL_TELEPORT_PATIENCE": "5000"]
  static let impatientSource = ["--timeout", "5000"]

  /// One teleport that must succeed.
  /// - Returns: the figures.
  @discardableResult
  func hop(_ from: TestHost, _ to: TestHost, _ options: [String] = []) throws -> Figures {
    let port = try self.await(to)
    let child = try send(from, to: port, options)
    guard try child.wait() == 0 else {
      throw Failure("teleport: \(child.errors)\n\(to.log("box").suffix(1500))")
    }
    guard let figures = Figures(child.output) else { throw Failure("no figures in: \(child.output)") }
    return figures
  }

  /// A teleport that must fail with an error that contains the texts, and leave the machine running where it is.
  func expectKept(
    _ child: Child, on host: TestHost, saying texts: [String] = [], state: String = "running",
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    #expect(try child.wait() == 1, "\(child.output)", sourceLocation: sourceLocation)
    for text in texts {
      #expect(child.errors.contains(text), "\(text) is in: \(child.errors)", sourceLocation: sourceLocation)
    }
    #expect(try host.state("box") == state, sourceLocation: sourceLocation)
    if state == "running" { try expectAlive(host) }
  }

  /// The walker's heart beats on the host's console, which takes what is typed.
  func expectAlive(_ host: TestHost, beats: Int = 1) throws {
    let console = try host.console("box")
    // Before its first heartbeat the guest has not set its UART up.
    try console.expect("heartbeat")
    try console.send("x")
    try console.expect("X")
    for _ in 1..<max(beats, 1) { try console.expect("heartbeat") }
  }

  /// Exactly one of the hosts runs the machine.
  func expectRunsOnly(_ host: TestHost, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let other = host === a ? b : a
    #expect(try host.state("box") == "running", sourceLocation: sourceLocation)
    #expect(try other.state("box") != "running", sourceLocation: sourceLocation)
    try expectAlive(host)
  }
}

/// What `controlvm teleport` says at the end.
struct Figures {
  var seconds: Double
  var downtimeMS: Double

  init?(_ text: String) {
    let words = text.split(whereSeparator: { " \n".contains($0) })
    guard let inWord = words.firstIndex(of: "in"), let down = words.firstIndex(of: "down"), down + 1 < words.count,
      let seconds = Double(words[inWord + 1]), let downtime = Double(words[down + 1])
    else { return nil }
    self.seconds = seconds
    downtimeMS = downtime
  }
}

extension TestHost {
  /// Waits until the machine's process has stopped itself (VMCTL_TELEPORT_STOP_AT).
  func waitUntilStopped(_ name: String) throws {
    try poll("the stop of \(name)") { () -> Void? in
      guard let pid = processID(name), let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else {
        return nil
      }
      let text = String(decoding: data, as: UTF8.self)
      return text.split(separator: ")").last?.split(separator: " ").first == "T" ? () : nil
    }
  }

  func signalMachine(_ name: String, _ number: Int32) throws {
    guard let pid = processID(name) else { throw Failure("\(name) has no process") }
    kill(pid, number)
  }
}
