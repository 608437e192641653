import ArgumentParser
import Foundation
import Management

struct DebugVM: ParsableCommand {
  enum Verb: String, ExpressibleByArgument, CaseIterable {
    case getregisters, info, log, statistics, block, sandbox, gdbserver, state, trace
  }
  static let configuration = CommandConfiguration(
    commandName: "debugvm", abstract: "Looks into a running machine.",
    discussion: """
      debugvm NAME getregisters      all registers of all CPUs
      debugvm NAME info WHAT         a device's or the memory's inside; a wrong WHAT lists what there is
      debugvm NAME log               its log
      debugvm NAME statistics        what it costs the host
      debugvm NAME block [ADDRESS]   guest code at ADDRESS (hexadecimal; else where each CPU is) and its host code
      debugvm NAME sandbox           what its process is kept from, tried from within
      debugvm NAME state show [FILE]       the state of each device: the running machine's, the saved one's or that in FILE
      debugvm NAME state diff FILE [FILE]  what of a saved state is otherwise in another one, or in that of the machine now, and
                                     which pages of memory; status 1 when something is. The machine stands still meanwhile.
      debugvm NAME gdbserver         has it serve GDB, with --port or --socket: "target remote" connects, and stops it.
                                     Each CPU is a thread; the machine goes on where it was when GDB detaches.
      debugvm NAME trace FILE        writes what its CPUs do into a new file, a line an event; FILE.zst: compressed
      debugvm NAME trace off         ends that
      """)
  @OptionGroup var machine: MachineArgument
  @Argument(help: "What to show.") var verb: Verb
  @Argument(
    help: "For info: of what. For block: the address. For state: show or diff. For trace: the file, or off.",
    completion: .file()) var what: String?
  @Argument(help: "For state: saved states.", completion: .file()) var files: [String] = []
  @Option(help: "For state: how to print it.") var format: OutputFormat?
  @OptionGroup var debugger: DebuggerOptions
  @Option(help: "trace: \(TraceWords.events); without it the first three.") var events: String?
  @Option(help: ArgumentHelp("trace: \(TraceWords.rangeHelp).", valueName: "first-last")) var range: String?
  @Option(help: ArgumentHelp("trace: it ends after so many.", valueName: "lines")) var limit: Int?

  private var trace: TraceWords { TraceWords(events: events, range: range, limit: limit) }

  func validate() throws {
    guard verb == .gdbserver || debugger.isEmpty else {
      throw ValidationError("--port, --socket and --architecture are for gdbserver")
    }
    guard verb == .state || (files.isEmpty && format == nil) else {
      throw ValidationError(files.first.map { "\(verb.rawValue) takes no \"\($0)\"" } ?? "--format is for state")
    }
    if verb == .state {
      switch (what, files.count) {
      case ("show", 0...1), ("diff", 1...2): break
      case ("show", _): throw ValidationError("state show takes one file, or none for the machine's own state")
      case ("diff", _):
        throw ValidationError("state diff takes one file, to compare with the machine's own state, or two")
      default: throw ValidationError("state needs show or diff")
      }
    }
    guard verb == .trace || trace.isEmpty else { throw ValidationError("--events, --range and --limit are for trace") }
    guard verb != .trace || (what != nil && what != "" && what != "on") else {
      throw ValidationError("trace needs a file, or off")
    }
    if verb == .trace { _ = try trace.request() }
    guard verb != .gdbserver || what == nil else { throw ValidationError("gdbserver takes no \"\(what ?? "")\"") }
  }

  func run() throws {
    let entry = try machine.entry()
    switch verb {
    case .log: print(entry.folder.readLog(0) ?? "", terminator: "")
    case .getregisters: try show(entry, .getregisters)
    case .info: try show(entry, .info)
    case .statistics: try show(entry, .statistics)
    case .block: try show(entry, .block)
    case .sandbox: try probe(entry)
    case .state: try showState(entry)
    case .trace where what == "off":
      _ = try ControlClient(entry)
      try entry.stopTrace()
    case .trace:
      _ = try ControlClient(entry)
      try entry.startTrace(try trace.request(), to: what ?? "")
    case .gdbserver:
      _ = try ControlClient(entry)
      let place = try entry.serveDebuggers(
        at: debugger.place ?? .port(1234), architecture: debugger.architecture?.rawValue)
      Terminal.line("the machine \"\(entry.name)\" serves GDB: target remote \(place)")
    }
  }

  private func showState(_ entry: VMEntry) throws {
    let isDiff = what == "diff"
    let first = try entry.state(file: files.first, withMemory: isDiff)
    guard isDiff else {
      let report = StateReport(first)
      return format == .json ? try Terminal.json(report) : Terminal.line(report.text)
    }
    let second = try entry.state(file: files.count == 2 ? files[1] : nil, withMemory: true)
    let difference = StateDifference(first, second)
    if format == .json { try Terminal.json(difference) } else { Terminal.line(difference.text) }
    if !difference.isEmpty { throw ExitCode(1) }
  }

  /// The process tries itself on a file and on this command, which it could reach if it were not in its sandbox.
  private func probe(_ entry: VMEntry) throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("vmctl-sandbox-\(UUID().uuidString)")
    try FileManager.default.createDirectory(
      at: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
    defer { try? FileManager.default.removeItem(at: folder) }
    var request = ControlRequest(.sandbox)
    let file = folder.appendingPathComponent("another")
    request.path = file.path
    request.process = getpid()
    try Data("another's".utf8).write(to: file)
    Terminal.line(try ControlClient(entry).request(request).text ?? "")
  }

  private func show(_ entry: VMEntry, _ command: ControlRequest.Command) throws {
    var request = ControlRequest(command)
    request.text = what
    Terminal.line(try ControlClient(entry).request(request).text ?? "")
  }
}
