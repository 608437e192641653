import ArgumentParser
import HostNetwork

/// The process in which a machine's address translation runs; its VM process starts it.
struct NATProcessCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: NATProcess.subcommand, shouldDisplay: false)
  @Argument var network: String

  func run() throws { try NATProcess.run(configuration: network) }
}
