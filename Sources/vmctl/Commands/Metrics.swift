import ArgumentParser
import Foundation
import Management

struct Metrics: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The machines' figures for Prometheus.",
    discussion: "Without an option they are printed once.")
  @Option(help: ArgumentHelp("Serves them by HTTP, as 127.0.0.1:9177; port 0: a free one.", valueName: "address:port"))
  var listen: String?
  @Option(
    help: ArgumentHelp("Writes them for node_exporter's textfile collector.", valueName: "file"), completion: .file())
  var textfile: String?

  func validate() throws {
    guard listen == nil || textfile == nil else { throw ValidationError("--listen and --textfile exclude each other") }
  }

  func run() throws {
    let services = try ServiceArgument.services
    if let textfile { return try ServiceMetrics(services).write(textfile) }
    guard let listen else { return Terminal.write(1, try ServiceMetrics(services).text) }
    try MetricsServer.serve(listen, ready: { Terminal.line("serving metrics on port \($0)") }) {
      try ServiceMetrics(services).text
    }
  }
}

struct Status: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Prints a machine's state.",
    discussion: """
      With --ocf the exit status is that of a cluster's resource agent: 0 it is here, 7 it is not, 1 it has failed, 5 \
      there is no such machine. One that waits for its teleport is not here; one whose hand-over is in doubt is.
      """)
  @OptionGroup var machine: MachineArgument
  @Flag(help: "Exits as a resource agent's monitor action.") var ocf = false

  func run() throws {
    let entry: VMEntry
    do {
      entry = try machine.entry()
    } catch  where ocf {
      Terminal.error("vmctl: " + ManagementError.text(for: error))
      throw ExitCode(ClusterStatus.noSuchMachine)
    }
    let status = try entry.folder.currentStatus()
    let isInDoubt = entry.isInDoubt(status)
    Terminal.line(isInDoubt ? "indoubt" : status.state.rawValue)
    if ocf { throw ExitCode(ClusterStatus.of(status.state, isInDoubt: isInDoubt)) }
  }
}
