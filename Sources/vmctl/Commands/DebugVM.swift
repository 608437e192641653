import ArgumentParser
import Foundation
import Management

struct DebugVM: ParsableCommand {
  enum Verb: String, ExpressibleByArgument, CaseIterable { case getregisters, info, log, statistics, block, sandbox }
  static let configuration = CommandConfiguration(
    commandName: "debugvm", abstract: "Looks into a running machine.",
    discussion: """
      debugvm NAME getregisters      all registers of all CPUs
      debugvm NAME info WHAT         a device's or the memory's inside; a wrong WHAT lists what there is
      debugvm NAME log               its log
      debugvm NAME statistics        what it costs the host
      debugvm NAME block [ADDRESS]   guest code at ADDRESS (hexadecimal; else where each CPU is) and its host code
      debugvm NAME sandbox           what its process is kept from, tried from within
      """)
  @OptionGroup var machine: MachineArgument
  @Argument(help: "What to show.") var verb: Verb
  @Argument(help: "For info: of what. For block: the address.") var what: String?

  func run() throws {
    let entry = try machine.entry()
    switch verb {
    case .log: print(entry.folder.readLog(0) ?? "", terminator: "")
    case .getregisters: try show(entry, .getregisters)
    case .info: try show(entry, .info)
    case .statistics: try show(entry, .statistics)
    case .block: try show(entry, .block)
    case .sandbox: try probe(entry)
    }
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
