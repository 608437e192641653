import Foundation
import Testing

/// A host: a `$VMCTL_HOME` of its own and the vmctl that was built. When the test ends nothing is left of it, neither
/// processes nor files.
final class TestHost {
  struct Outcome {
    var status: Int32
    var output: String
    var errors: String
  }

  /// Everything of this host: `home`, and room for a test's own files.
  let folder: String
  let home: String
  private let scratch: String
  private var children: [Child] = []

  /// vmctl beside the running test bundle; `VMCTL` names another.
  static let vmctl: String = {
    if let path = ProcessInfo.processInfo.environment["VMCTL"] { return path }
    let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: bundle).deletingLastPathComponent().path + "/vmctl"
  }()

  init() throws {
    folder = try makeTemporaryFolder("vmctl")
    home = folder + "/home"
    scratch = folder + "/outputs"
    try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
  }

  deinit {
    for child in children { child.signal(SIGKILL) }
    for name in (try? FileManager.default.contentsOfDirectory(atPath: home + "/machines")) ?? [] {
      if let pid = processID(name) { kill(pid, SIGKILL) }
    }
    children = []
    expectNoRefusedCode()
    try? FileManager.default.removeItem(atPath: folder)
  }

  // MARK: Commands

  var environment: [String: String] {
    var all = ProcessInfo.processInfo.environment
    all["VMCTL_HOME"] = home
    return all
  }

  /// A command that goes on while the test does other things.
  func begin(_ arguments: [String], input: String? = nil, environment more: [String: String] = [:]) throws -> Child {
    let all = environment.merging(more) { $1 }
    let child = try Child(Self.vmctl, arguments, environment: all, streams: .files(folder: scratch, input: input))
    children.append(child)
    return child
  }

  /// Runs a command to its end, whatever that is.
  func attempt(_ arguments: [String], input: String? = nil, within seconds: Double = patience) throws -> Outcome {
    let child = try begin(arguments, input: input)
    defer { children.removeAll { $0 === child } }
    let status = try child.wait(within: seconds)
    return Outcome(status: status, output: child.output, errors: child.errors)
  }

  /// Runs a command that must succeed.
  /// - Returns: its output.
  @discardableResult
  func vmctl(_ arguments: String..., within seconds: Double = patience) throws -> String {
    let outcome = try attempt(arguments, within: seconds)
    guard outcome.status == 0 else {
      throw Failure("vmctl \(arguments.joined(separator: " ")) ended with \(outcome.status): \(outcome.errors)")
    }
    return outcome.output
  }

  /// Runs a command that must be refused: the status, nothing on standard output, and one line on standard error that
  /// contains all of the texts.
  func refused(
    _ arguments: String..., status: Int32 = 1, saying texts: [String], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try refused(arguments: arguments, status: status, saying: texts, sourceLocation: sourceLocation)
  }

  /// The same with the words in a list.
  func refused(
    arguments: [String], status: Int32 = 1, saying texts: [String], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let outcome = try attempt(arguments)
    let line = arguments.joined(separator: " ")
    #expect(outcome.status == status, "vmctl \(line): \(outcome.errors)", sourceLocation: sourceLocation)
    #expect(outcome.output == "", sourceLocation: sourceLocation)
    let lines = outcome.errors.split(separator: "\n")
    #expect(lines.count == 1, "one clear line: \(outcome.errors)", sourceLocation: sourceLocation)
    for text in texts {
      #expect(outcome.errors.contains(text), "\(text) is in: \(outcome.errors)", sourceLocation: sourceLocation)
    }
  }

  // MARK: Machines

  /// Makes a machine; `options` are modifyvm's. Its host code is proved before it runs.
  func create(_ name: String, memory: Int = 64, _ options: [String] = []) throws {
    try vmctl("createvm", "--name", name, "--memory", String(memory))
    try modify(name, ["--verify-code", "on"] + options)
  }

  /// The verifier proves all that the translator emits, whatever guests of tests have run: what it refuses is a fault of one of
  /// the two.
  private func expectNoRefusedCode() {
    for name in (try? FileManager.default.contentsOfDirectory(atPath: home + "/machines")) ?? [] {
      let machine = home + "/machines/" + name
      let files = (try? FileManager.default.contentsOfDirectory(atPath: machine)) ?? []
      for file in files where file.hasPrefix("log") {
        let text = (try? Data(contentsOf: URL(fileURLWithPath: machine + "/" + file))) ?? Data()
        for line in String(decoding: text, as: UTF8.self).split(separator: "\n") where line.contains("code was refused")
        {
          Issue.record("\(name): \(line)")
        }
      }
    }
  }

  func modify(_ name: String, _ options: [String]) throws {
    let outcome = try attempt(["modifyvm", name] + options)
    guard outcome.status == 0 else { throw Failure("modifyvm \(options): \(outcome.errors)") }
  }

  /// Makes a file of the test's own.
  /// - Returns: its path.
  func write(_ name: String, _ bytes: [UInt8]) throws -> String {
    let path = folder + "/" + name
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    return path
  }

  /// Makes a raw disk image of zeros.
  func makeDisk(_ name: String, megabytes: Int) throws -> String {
    let path = folder + "/" + name
    try vmctl("createmedium", "disk", "--filename", path, "--size", String(megabytes))
    return path
  }

  /// Attaches an image to the controller, which is made when it is not there.
  func attach(
    _ name: String, to bus: String = "ide", port: Int, device: Int = 0, type: String = "hdd", _ medium: String,
    mode: String = "normal"
  ) throws {
    let controller = bus.uppercased()
    _ = try attempt(["storagectl", name, "--name", controller, "--add", bus])
    try vmctl(
      "storageattach", name, "--storagectl", controller, "--port", String(port), "--device", String(device), "--type",
      type,
      "--medium", medium, "--mtype", mode)
  }

  /// A value of `showvminfo --machinereadable`, without its quotes.
  func fact(_ name: String, _ key: String) throws -> String? {
    let lines = try vmctl("showvminfo", name, "--machinereadable").split(separator: "\n")
    guard let line = lines.first(where: { $0.hasPrefix(key + "=") }) else { return nil }
    return line.dropFirst(key.count + 1).trimmingCharacters(in: CharacterSet(charactersIn: "\""))
  }

  func state(_ name: String) throws -> String { try fact(name, "VMState") ?? "" }

  func waitForState(_ name: String, _ wanted: String, within seconds: Double = patience) throws {
    var last = ""
    do {
      try poll(wanted, within: seconds) {
        last = try state(name)
        return last == wanted ? () : nil
      }
    } catch is Failure {
      throw Failure(
        "waited \(seconds) s for \(name) to be \(wanted); it is \(last); its log:\n\(log(name).suffix(2000))")
    }
  }

  func log(_ name: String) -> String {
    String(decoding: FileManager.default.contents(atPath: home + "/machines/\(name)/log") ?? Data(), as: UTF8.self)
  }

  func waitForLog(_ name: String, _ text: String, within seconds: Double = patience) throws {
    do {
      try poll(text, within: seconds) { log(name).contains(text) ? () : nil }
    } catch is Failure {
      throw Failure("waited \(seconds) s for \"\(text)\" in the log of \(name):\n\(log(name).suffix(2000))")
    }
  }

  /// The numbers of the walker's heartbeats in the machine's log, which is new at each start.
  func heartbeats(_ name: String) -> [Int] {
    // The last line may not be whole yet.
    log(name).components(separatedBy: "\n").dropLast().compactMap { line in
      line.range(of: "heartbeat ").flatMap { Int(line[$0.upperBound...]) }
    }
  }

  /// Waits for a heartbeat of this number or a later one: a guest may be further than the test thinks, and lines of before
  /// a start are in another log.
  /// - Returns: all there are.
  @discardableResult
  func waitForHeartbeat(_ name: String, atLeast number: Int = 1) throws -> [Int] {
    do {
      return try poll("heartbeat \(number)") {
        let all = heartbeats(name)
        return all.contains { $0 >= number } ? all : nil
      }
    } catch is Failure {
      throw Failure("waited \(patience) s for heartbeat \(number) of \(name):\n\(log(name).suffix(2000))")
    }
  }

  /// The process that runs the machine, if one does.
  func processID(_ name: String) -> pid_t? {
    let path = home + "/machines/\(name)/status.json"
    guard let data = FileManager.default.contents(atPath: path),
      let record = try? JSONSerialization.jsonObject(with: data) as? [String: Any],
      let pid = record["process"] as? Int,
      let line = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline"),
      String(decoding: line, as: UTF8.self).contains("vmctl")
    else { return nil }
    return pid_t(pid)
  }

  /// Returns when a machine that runs here is protected by a `vmctl remus`, and its backup has some checkpoints.
  /// - Parameter remus: nil: it was started by vmctl itself.
  func waitUntilProtected(_ name: String, by remus: Child? = nil) throws {
    try poll("protection") { () -> Void? in
      if let remus, !remus.isRunning { throw Failure("remus: \(remus.output)\(remus.errors)") }
      return try isProtected(name) ? () : nil
    }
  }

  /// Whether the machine runs here and its backup has some checkpoints.
  func isProtected(_ name: String) throws -> Bool {
    // What it was as the backup stands there until then.
    guard try fact(name, "ReplicationRole") == "primary", try fact(name, "ReplicationState") == "protected" else {
      return false
    }
    return try fact(name, "ReplicationEpoch").flatMap(Int.init) ?? 0 > 3
  }

  /// A machine that another host had goes on here from where it was, memory and disk intact.
  func expectGoesOn(_ name: String, after number: Int, sourceLocation: SourceLocation = #_sourceLocation) throws {
    try waitForState(name, "running")
    try waitForHeartbeat(name, atLeast: number + 2)
    #expect(!log(name).contains("wrong"), "\(log(name).suffix(1000))", sourceLocation: sourceLocation)
  }

  /// The processes of this host that have a word in their command line.
  func processes(_ word: String) throws -> Set<pid_t> {
    let all = try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { pid_t($0) }
    func holds(_ process: pid_t, _ file: String, _ text: String) -> Bool {
      let bytes = FileManager.default.contents(atPath: "/proc/\(process)/\(file)") ?? Data()
      return bytes.split(separator: 0).contains { String(decoding: $0, as: UTF8.self) == text }
    }
    return Set(all.filter { holds($0, "cmdline", word) && holds($0, "environ", "VMCTL_HOME=\(home)") })
  }

  /// kill -9 of the machine's process.
  func killMachine(_ name: String) throws {
    guard let pid = processID(name) else { throw Failure("\(name) has no process") }
    kill(pid, SIGKILL)
    // Its locks go with its last thread, which is later than its command line: it is gone then, or a zombie by itself.
    try poll("the end of process \(pid)") { () -> Void? in
      guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat"), !data.isEmpty else { return () }
      let state = String(decoding: data, as: UTF8.self).split(separator: ")").last?.split(separator: " ").first
      let threads = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task"))?.count ?? 0
      return state == "Z" && threads <= 1 ? () : nil
    }
  }

  /// Connects to a serial port that is a `tcpserver`, as a telnet client that shows what comes.
  func console(_ name: String, uart: Int = 1) throws -> ConsoleClient {
    guard let text = try fact(name, "uartport\(uart)"), let port = UInt16(text) else {
      throw Failure("uart \(uart) of \(name) has no port")
    }
    return try ConsoleClient(port: port)
  }
}
