import Foundation

/// Two hosts, n1 and n2, with a real systemd and Pacemaker each, in namespaces (scripts/lib/cluster-namespaces). What
/// docs/cluster.md says to type is typed there.
final class ClusterLab {
  /// /lab on both hosts.
  let folder: String
  private let child: Child

  /// Why it cannot be had here; nil: it can.
  static let missing: String? = {
    if let missing = SystemdLab.missing { return missing }
    if access(layer, R_OK) != 0 { return "there are no packages for it: run scripts/build-cluster-layer" }
    return nil
  }()
  private static let layer = Guests.folder("cluster-layer") + "/layer.tar"

  /// - Parameter seconds: after which it ends, whatever happens.
  init(seconds: Int) throws {
    folder = try makeTemporaryFolder("cluster")
    child = try Child(
      Guests.root + "/scripts/lib/cluster-namespaces", [folder, Self.layer, String(seconds)],
      environment: ProcessInfo.processInfo.environment, streams: .files(folder: folder, input: nil))
    for host in ["n1", "n2"] { try awaitHost(host) }
  }

  deinit {
    FileManager.default.createFile(atPath: folder + "/end", contents: nil)
    if (try? child.wait(within: 60)) == nil { child.signal(SIGKILL) }
    try? FileManager.default.removeItem(atPath: folder)
  }

  private func awaitHost(_ host: String) throws {
    try poll("the start of \(host)") {
      guard child.isRunning else { throw Failure("the hosts do not start: \(child.errors)") }
      return FileManager.default.fileExists(atPath: "\(folder)/\(host).pid") ? () : nil
    }
    try on(host, "until systemctl is-active --quiet basic.target; do sleep 0.1; done")
  }

  func copy(_ source: String, _ name: String) throws { try makeProgram(path(name), from: source) }
  func path(_ name: String) -> String { folder + "/" + name }
  func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path(name)) }
  func write(_ name: String, _ text: String = "") throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: path(name)))
  }
  func remove(_ name: String) { unlink(path(name)) }

  func text(_ name: String) -> String {
    String(decoding: FileManager.default.contents(atPath: path(name)) ?? Data(), as: UTF8.self)
  }

  // MARK: Typing

  /// Begins a script on a host, as root at its console.
  func begin(_ host: String, _ script: String) throws -> Child {
    let process = text("\(host).pid").trimmingCharacters(in: .newlines)
    let variables = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb"]
    return try Child(
      "nsenter",
      ["-t", process, "-m", "-u", "-i", "-n", "-p", "--", "env", "-i"] + variables
        + ["bash", "-euc", "cd; " + script],
      environment: ProcessInfo.processInfo.environment, streams: .files(folder: folder, input: nil))
  }

  /// Runs a script to its end, whatever that is.
  func attempt(_ host: String, _ script: String) throws -> TestHost.Outcome {
    let child = try begin(host, script)
    let status = try child.wait()
    return .init(status: status, output: child.output, errors: child.errors)
  }

  /// Runs a script that must succeed.
  /// - Returns: its output, without blanks around it.
  @discardableResult
  func on(_ host: String, _ script: String) throws -> String {
    let outcome = try attempt(host, script)
    guard outcome.status == 0 else {
      throw Failure("on \(host): \(script)\nended with \(outcome.status): \(outcome.output)\n\(outcome.errors)")
    }
    return outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  // MARK: Dying

  /// kill -9 of a host's first process, and so of all that runs there. The cluster may ask for the same meanwhile.
  func killHost(_ host: String) throws {
    try write("fence/" + host)
    try awaitDeath(host)
  }

  func awaitDeath(_ host: String) throws { try poll("the death of \(host)") { exists("fenced/" + host) ? () : nil } }

  /// Whether a host's first process lives.
  func isUp(_ host: String) -> Bool {
    access("/proc/" + text("\(host).pid").trimmingCharacters(in: .newlines), F_OK) == 0
  }

  /// Waits until a host that was shut down has ended.
  func awaitEnd(_ host: String) throws {
    try poll("the end of \(host):\n\(text("systemd-\(host).log").suffix(2000))") { isUp(host) ? nil : () }
  }

  /// Starts a dead host again, with the files that it had.
  func restartHost(_ host: String) throws {
    remove(host + ".pid")
    try write("fence/\(host).on")
    try awaitHost(host)
  }
}

/// What docs/cluster.md has its readers type: the indented lines below a line that begins with "On", and where.
struct ClusterDocument {
  struct Step {
    var hosts: [String]
    var heading: String
    var text: String
  }

  let steps: [Step]

  init(_ path: String) throws {
    var steps: [Step] = []
    var heading: String?
    var block: [String] = []
    for line in try String(contentsOfFile: path, encoding: .utf8).components(separatedBy: "\n") + ["end"] {
      if line.hasPrefix("    ") || (line.isEmpty && !block.isEmpty) {
        if heading != nil { block.append(String(line.dropFirst(4))) }
        continue
      }
      if let title = heading, !block.isEmpty {
        let hosts = title.hasPrefix("On both hosts") ? ["n1", "n2"] : [String(title.dropFirst(3).prefix(2))]
        steps.append(Step(hosts: hosts, heading: title, text: block.joined(separator: "\n")))
        block = []
      }
      if !line.isEmpty { heading = line.hasPrefix("On ") && line.hasSuffix(":") ? line : nil }
    }
    self.steps = steps
  }
}
