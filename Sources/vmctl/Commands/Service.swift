import ArgumentParser
import Foundation
import Management

extension ServiceSettings.StopMode: ExpressibleByArgument {}
extension OffloadPolicy: ExpressibleByArgument {}
extension LogLevel: ExpressibleByArgument {}

struct Service: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Machines as services: started with the host, stopped cleanly, started again after a failure.",
    discussion: """
      With systemd each machine is a unit, vmctl@NAME.service. Without it, start and stop do the same by themselves.
      $VMCTL_HOME/services has the scripts: "stop" with a case for each machine, "alert" which is told what happens.
      """,
    subcommands: [
      ServiceAdd.self, ServiceRemove.self, ServiceStart.self, ServiceStop.self, ServiceRestart.self, ServiceEnable.self,
      ServiceDisable.self, ServiceStatus.self, ServiceListCommand.self, ServiceAlertCommand.self,
      ServiceEvents.self, ServiceConfig.self,
      ServiceInstallNames.self,
    ])
}

/// The machine that a command is about; without a name the current one.
struct ServiceArgument: ParsableArguments {
  @Argument(
    help: ArgumentHelp(
      "The machine's name or UUID; without it, the one that vmstart started last.", valueName: "machine"),
    completion: .custom(Completion.machines))
  var name: String?

  func entry(_ services: Services) throws -> VMEntry {
    guard let name else { return try services.currentMachine() }
    return try services.registry.find(name)
  }

  static var services: Services { get throws { Services(try Registry.fromEnvironment()) } }
}

struct ServiceAdd: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "add", abstract: "Makes a machine a service, or changes how it is one.")
  @OptionGroup var machine: MachineArgument
  @Option(help: "Whether it starts with the host.") var autoboot: Switch?
  @Option(help: "Whether it starts again 30 s after a failure, twice in 10 minutes at most.") var restart: Switch?
  @Option(
    help: ArgumentHelp(
      "A stop script of its own, in place of its case in the common one; none.", valueName: "file"),
    completion: .file())
  var stopScript: String?
  @Option(
    help: ArgumentHelp("Runs before each start and refuses it with another status than 0; none.", valueName: "file"),
    completion: .file())
  var preStart: String?
  @Option(
    help: ArgumentHelp(
      "Says for the list how the guest is, in its first line; status 255: not booted; none.", valueName: "file"),
    completion: .file())
  var statusScript: String?
  @Option(help: ArgumentHelp("How long the stop may take; then the machine is killed.", valueName: "seconds"))
  var stopTimeout: Int?
  @Option(help: "What stops it where no script does.") var stopMode: ServiceSettings.StopMode?
  @Option(
    help: ArgumentHelp("A machine that starts before it and stops after it; may be repeated.", valueName: "machine"),
    completion: .custom(Completion.machines))
  var after: [String] = []
  @Option(
    help: """
      What the host may leave to the taps of its network cards (segments, checksums; ethtool(8)) while it runs. off: nothing; \
      auto: nothing, but for virtio cards; keep: as it is.
      """) var offloads: OffloadPolicy?
  @Option(
    help: """
      Events of its log that are told by an alert, all of a minute in one: those of this level and above. Without it those \
      that have alerts of their own are (DISKERROR, UNPROTECTED, FAILEDOVER); off: none.
      """)
  var logAlerts: LogLevel?
  @Flag(help: "A service of the host; root's machines are by themselves.") var system = false
  @Flag(help: "A service of the user; others' machines are by themselves.") var user = false

  func validate() throws {
    guard !(system && user) else { throw ValidationError("--system and --user exclude each other") }
    if let stopTimeout, !(1...86400).contains(stopTimeout) {
      throw ValidationError("--stop-timeout is from 1 to 86400 (seconds)")
    }
  }

  func run() throws {
    let services = try ServiceArgument.services
    var changes = Services.Changes()
    changes.scope = system ? .system : user ? .user : nil
    changes.autoboot = autoboot?.isOn
    changes.restart = restart?.isOn
    (changes.stopScript, changes.preStart, changes.statusScript) = (stopScript, preStart, statusScript)
    (changes.stopTimeout, changes.stopMode, changes.after) = (stopTimeout, stopMode, after)
    (changes.offloads, changes.logAlerts) = (offloads, logAlerts)
    for line in try services.add(try machine.entry(), changes) { Terminal.line(line) }
  }
}

struct ServiceRemove: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove", abstract: "Takes a machine's service away; the machine stays.")
  @OptionGroup var machine: MachineArgument

  func run() throws {
    try ServiceArgument.services.remove(try machine.entry())
    Terminal.line("\"\(machine.name)\" is no service any more")
  }
}

struct ServiceStart: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "start", abstract: "Starts a machine's service.")
  @OptionGroup var machine: ServiceArgument
  /// Called as vmstart: the machine becomes the current one. Set before the command runs.
  nonisolated(unsafe) static var marksCurrent = false

  func run() throws {
    let services = try ServiceArgument.services
    let entry = try machine.entry(services)
    for line in try services.start(entry) { Terminal.line(line) }
    if Self.marksCurrent { try services.setCurrent(entry) }
  }
}

struct ServiceStop: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stop", abstract: "Stops a machine by its stop script, or as --stop-mode says.")
  @OptionGroup var machine: ServiceArgument

  func run() throws {
    let services = try ServiceArgument.services
    for line in try services.stop(try machine.entry(services)) { Terminal.line(line) }
  }
}

struct ServiceRestart: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restart", abstract: "Stops a machine and starts it again.")
  @OptionGroup var machine: ServiceArgument

  func run() throws {
    let services = try ServiceArgument.services
    let entry = try machine.entry(services)
    _ = try services.stop(entry)
    for line in try services.start(entry) { Terminal.line(line) }
  }
}

struct ServiceEnable: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "enable", abstract: "Starts a machine with the host.")
  @OptionGroup var machine: ServiceArgument

  func run() throws {
    let services = try ServiceArgument.services
    for line in try services.enable(try machine.entry(services), true) { Terminal.error("note: \(line)") }
  }
}

struct ServiceDisable: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "disable", abstract: "Starts a machine with the host no longer.")
  @OptionGroup var machine: ServiceArgument

  func run() throws {
    let services = try ServiceArgument.services
    _ = try services.enable(try machine.entry(services), false)
  }
}

struct ServiceStatus: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Says all there is to say of a machine as a service.")
  @OptionGroup var machine: ServiceArgument
  @Option(help: "How to print it.") var format: OutputFormat?

  func run() throws {
    let services = try ServiceArgument.services
    let entry = try machine.entry(services)
    guard let row = try services.list(asksGuests: true, only: entry.name).machines.first else {
      throw ManagementError("\"\(entry.name)\" cannot be read", remedy: "see vmctl list vms")
    }
    if format == .json { return try Terminal.json(row) }
    for line in ServiceText.details(row) { Terminal.line(line) }
  }
}

struct ServiceListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Lists all machines as services; a star marks the one that vmstart started last.")
  @Option(help: "How to print it.") var format: OutputFormat?
  @Flag(name: [.customShort("l"), .long], help: "Says everything of each machine.") var long = false

  func run() throws {
    let list = try ServiceArgument.services.list(asksGuests: true)
    if format == .json { return try Terminal.json(list) }
    Terminal.line(ServiceText.header(list.host))
    if long {
      for row in list.machines {
        Terminal.line("")
        for line in ServiceText.details(row) { Terminal.line(line) }
      }
    } else {
      Terminal.table(ServiceText.headings, list.machines.map(ServiceText.row))
    }
    for problem in list.problems { Terminal.error("vmctl: \(problem)") }
    if !list.problems.isEmpty { throw ExitCode(1) }
  }
}

struct ServiceAlertCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "alert", abstract: "Calls the alert script, as for a test of it.")
  @Argument(help: "ABORTED, FAILED, STARTED, STOPPED, ...") var code: String
  @Argument(help: "The machine.", completion: .custom(Completion.machines)) var name: String
  @Argument(help: "What has happened.") var text: String

  func run() throws { try ServiceArgument.services.alert(code, name, text) }
}

struct ServiceEvents: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "events",
    abstract: "Raises one alert for each machine whose log has new events of the level that is told.",
    discussion: """
      service add --log-alerts says the level. Where systemd runs, a timer calls this every minute; elsewhere cron may.
      """)

  func run() throws {
    for line in try ServiceArgument.services.tellLogEvents() { Terminal.line(line) }
  }
}

struct ServiceConfig: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config", abstract: "Opens a machine's definition in $VISUAL or $EDITOR, and keeps it if it is right.")
  @OptionGroup var machine: ServiceArgument

  func run() throws {
    let services = try ServiceArgument.services
    let entry = try machine.entry(services)
    let changed = try services.edit(entry, Editor.run)
    Terminal.line(changed ? "the definition of \"\(entry.name)\" is changed" : "nothing is changed")
  }
}

struct ServiceInstallNames: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "install-names",
    abstract: "Links vmlist, vmstart, vmstop, vmcfg, vmconsole and vmmenu to this command.")
  @Argument(help: "The folder for the links, as /usr/local/bin.", completion: .directory) var folder: String

  func run() throws {
    for line in try ServiceNames.install(folder) { Terminal.line(line) }
  }
}
