import ArgumentParser
import HostNetwork
import Management

/// The process in which a machine's address translation runs; its VM process or that one's keeper starts it.
struct NATProcessCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: NATProcess.subcommand, shouldDisplay: false)

  /// "tftp FOLDER".
  @Argument var words: [String] = []

  func run() throws { try NetworkProcesses.runNAT(words) }
}

/// The process that starts those for a VM process in its sandbox.
struct NATKeeperCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: NATKeeper.subcommand, shouldDisplay: false)
  /// "tftp FOLDER", "connect PATH".
  @Argument var words: [String] = []

  func run() throws { NetworkProcesses.runKeeper(words) }
}
