import ArgumentParser
import Management

/// What systemd's units call.
struct ServiceProcessCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: ServiceWords.process, shouldDisplay: false)
  @Argument var name: String

  func run() throws { throw ExitCode(try Services.runProcess(name)) }
}

struct ServiceStopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: ServiceWords.stop, shouldDisplay: false)
  @Argument var name: String

  func run() throws { throw ExitCode(try Services.runStop(name)) }
}

struct ServiceStartedCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: ServiceWords.started, shouldDisplay: false)
  @Argument var name: String

  func run() throws { try Services.runStarted(name) }
}

struct ServiceEndedCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: ServiceWords.ended, shouldDisplay: false)
  @Argument var name: String

  func run() throws { try Services.runEnded(name) }
}

struct ServiceFailedCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: ServiceWords.failed, shouldDisplay: false)
  @Argument var name: String

  func run() throws { try Services.runFailed(name) }
}
