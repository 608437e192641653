import Foundation
import Testing

/// Machines as services where no service manager runs, as in containers.
@Suite struct ServiceWithoutSystemdTests {
  static let hasSystemd = access("/run/systemd/system", F_OK) == 0

  /// A host whose units are files of the test's own.
  private struct Place {
    let host: TestHost
    init() throws {
      host = try TestHost()
      try host.create("box", memory: 32, ["--firmware", Guests.bareMetal("walker32.rom"), "--debug-ports", "on"])
    }

    /// Runs vmctl, or a link to it, to its end.
    func run(_ words: [String], as program: String? = nil, units: String? = nil) throws -> TestHost.Outcome {
      let child = try begin(words, as: program, units: units)
      let status = try child.wait()
      return .init(status: status, output: child.output, errors: child.errors)
    }

    func begin(_ words: [String], as program: String? = nil, units: String? = nil) throws -> Child {
      var environment = host.environment
      environment["VMCTL_UNITS"] = units ?? host.folder + "/units"
      return try Child(
        program ?? TestHost.vmctl, words, environment: environment, streams: .files(folder: host.folder, input: nil))
    }

    func script(_ name: String, _ text: String, runs: Bool = true) throws -> String {
      let written = try host.write(name + ".text", Array("#!/bin/sh\n\(text)\n".utf8))
      let path = String(written.dropLast(".text".count))
      try makeProgram(path, from: written)
      if !runs { chmod(path, 0o600) }
      return path
    }

    func refused(_ words: [String], units: String? = nil, _ text: String, at: SourceLocation = #_sourceLocation) throws
    {
      let outcome = try run(words, units: units)
      #expect(outcome.status == 1, sourceLocation: at)
      #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)", sourceLocation: at)
      #expect(outcome.errors.contains(text), "\(text) in \(outcome.errors)", sourceLocation: at)
    }
  }

  @Test(.enabled(if: !hasSystemd, "systemd runs here"))
  func machinesStartAndStopByThemselvesAndByOperatorsNames() throws {
    let place = try Place()
    let host = place.host
    try place.refused(["service", "start", "box"], "make it one with vmctl service add \"box\"")
    let added = try place.run(["service", "add", "box", "--autoboot", "on"])
    #expect(added.status == 0 && added.output.contains("not started again after a failure, nor with the host"))
    let alert = try place.script("alert", "echo \"$1 $2\" >>\(host.folder)/alerts")
    try FileManager.default.removeItem(atPath: host.home + "/services/alert")
    try makeProgram(host.home + "/services/alert", from: alert)

    let names = host.folder + "/bin"
    try FileManager.default.createDirectory(atPath: names, withIntermediateDirectories: true)
    #expect(try place.run(["service", "install-names", names]).output.contains(names + "/vmlist"))
    let none = try place.run([], as: names + "/vmstop")
    #expect(none.errors.contains("no machine is the current one"))
    #expect(try place.run(["box"], as: names + "/vmstart").status == 0)
    #expect(try host.state("box") == "running")
    let list = try place.run([], as: names + "/vmlist")
    #expect(
      list.output.split(separator: "\n").contains { $0.hasPrefix("*") && $0.contains("box") && $0.contains("ACTIVE") })
    let metrics = try place.run(["metrics"]).output
    #expect(metrics.contains("vmctl_machine_state{machine=\"box\",state=\"running\"} 1"))
    #expect(metrics.contains("# TYPE vmctl_machine_cpu_seconds_total counter"))
    #expect(try place.run(["metrics", "--textfile", host.folder + "/m.prom"]).status == 0)
    #expect(
      try String(contentsOfFile: host.folder + "/m.prom", encoding: .utf8).contains(
        "vmctl_machine_up{machine=\"box\"} 1"))
    #expect(try place.run(["status", "box", "--ocf"]).status == 0)
    #expect(try place.run([], as: names + "/vmstop").status == 0)
    #expect(try host.state("box") == "saved")
    #expect(try place.run(["status", "box", "--ocf"]).status == 7)
    #expect(try String(contentsOfFile: host.folder + "/alerts", encoding: .utf8) == "STARTED box\nSTOPPED box\n")
    #expect(try place.run(["service", "remove", "box"]).status == 0)
    #expect(!FileManager.default.fileExists(atPath: host.folder + "/units/vmctl@box.service.d"))
  }

  @Test(.enabled(if: !hasSystemd, "systemd runs here"))
  func whatCannotBeIsRefusedInOneLine() throws {
    let place = try Place()
    let host = place.host
    try place.refused(["service", "add", "nobody"], "there is no machine \"nobody\"")
    try place.refused(["service", "add", "box"], units: "/proc/none", "cannot write the unit /proc/none/")
    let idle = try place.script("idle", "exit 0", runs: false)
    try place.refused(["service", "add", "box", "--stop-script", idle], "give it its run bit: chmod +x \(idle)")
    try place.refused(["service", "add", "box", "--pre-start", host.folder + "/nothing"], "is not there")
    try place.refused(["service", "add", "box", "--after", "box"], "cannot start after itself")
    // A stop script that hangs: nothing else goes on meanwhile, and the time-out ends it.
    let hang = try place.script("hang", "touch \(host.folder)/hangs; sleep 1000")
    #expect(try place.run(["service", "add", "box", "--stop-script", hang, "--stop-timeout", "3"]).status == 0)
    #expect(try place.run(["service", "start", "box"]).status == 0)
    try place.refused(["service", "start", "box"], "runs already")
    try place.refused(["service", "remove", "box"], "stop it first with vmctl service stop \"box\"")
    let stop = try place.begin(["service", "stop", "box"])
    try poll("the script") { FileManager.default.fileExists(atPath: host.folder + "/hangs") ? () : nil }
    try place.refused(["service", "start", "box"], "another command works on the service of \"box\"")
    #expect(try stop.wait() == 1)
    #expect(stop.errors.contains("the stop script \(hang) hung for 3 s"))
    #expect(try host.state("box") == "poweroff")
  }

  @Test func aPortInUseIsToldAndAFreeOneServes() throws {
    let place = try Place()
    let server = try place.begin(["metrics", "--listen", "127.0.0.1:0"])
    defer { server.signal(SIGKILL) }
    let port = try poll("the port") { () -> String? in
      guard server.output.hasSuffix("\n") else { return nil }
      return server.output.split(separator: " ").last.map { $0.trimmingCharacters(in: .newlines) }
    }
    try place.refused(["metrics", "--listen", "127.0.0.1:\(port)"], "choose another --listen")
    try place.refused(["metrics", "--listen", "somewhere"], "is no place to listen")
    let client = try ConsoleClient(port: try #require(UInt16(port)))
    try client.send(Array("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
    try client.expect("vmctl_machine_up{machine=\"box\"} 0")
  }
}
