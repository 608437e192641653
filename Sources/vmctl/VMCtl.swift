import ArgumentParser
import Foundation
import Management
import SavedState

/// The command line: parses, calls Management, prints.
@main
struct VMCtl: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vmctl",
    abstract: "Runs x86 PCs in software and moves them between hosts while they run.",
    discussion: """
      Machines live in $VMCTL_HOME (default $XDG_DATA_HOME/vmctl, else ~/.local/share/vmctl) and are named by name or UUID.
      Exit status: 0 done, 1 failed, 64 wrong usage.
      """,
    version: Release.name,
    groupedSubcommands: [
      CommandGroup(
        name: "Machines",
        subcommands: [
          CreateVM.self, CloneVM.self, RegisterVM.self, UnregisterVM.self, ModifyVM.self, List.self, ShowVMInfo.self,
          SnapshotCommand.self,
        ]),
      CommandGroup(
        name: "Media",
        subcommands: [CreateMedium.self, ShowMediumInfo.self, ModifyMedium.self, StorageCtl.self, StorageAttach.self]),
      CommandGroup(
        name: "Running",
        subcommands: [
          StartVM.self, Run.self, ControlVM.self, Receive.self, DiscardState.self, AdoptState.self, Console.self,
          Remus.self,
          View.self,
          Events.self, DebugVM.self,
        ]),
      CommandGroup(name: "Services", subcommands: [Service.self, Menu.self, Top.self, Status.self, Metrics.self]),
      CommandGroup(
        name: "Internal",
        subcommands: [
          VMProcessCommand.self, NATProcessCommand.self, NATKeeperCommand.self, WitnessProcessCommand.self,
          ServiceProcessCommand.self,
          ServiceStopCommand.self, ServiceStartedCommand.self, ServiceEndedCommand.self, ServiceFailedCommand.self,
        ]),
    ])

  static func main() {
    Terminal.openMissing()
    // Writing where nobody reads, or over a limit on the size of files, fails with an error: nobody dies of it.
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    let typed = Array(CommandLine.arguments.dropFirst())
    let called = ServiceNames.words(calledAs: CommandLine.arguments.first ?? "")
    let words = CommandWords.normalized((called ?? []) + typed)
    if called == ["service", "start"] { ServiceStart.marksCurrent = true }
    let known = configuration.subcommands.map { $0.configuration.commandName ?? $0._commandName }
    if let complaint = CommandWords.complaint(about: words, known: known + ["help"]) {
      Terminal.error("vmctl: \(complaint); see vmctl --help")
      Foundation.exit(ExitCode.validationFailure.rawValue)
    }
    do {
      var command = try parseAsRoot(words)
      try command.run()
    } catch let status as ExitCode {
      Foundation.exit(status.rawValue)
    } catch {
      switch exitCode(for: error) {
      case .success: exit(withError: error)
      case .validationFailure:
        Terminal.error("vmctl: \(usage(error, words))")
        Foundation.exit(ExitCode.validationFailure.rawValue)
      default:
        Terminal.error("vmctl: \(ManagementError.text(for: error))")
        Foundation.exit(1)
      }
    }
  }

  /// The parser's complaint as one line.
  private static func usage(_ error: any Error, _ words: [String]) -> String {
    let lines = message(for: error).split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
    let known = lines.filter { !$0.hasPrefix("Help:") && !$0.hasPrefix("Usage:") && !$0.isEmpty }
    let command = words.first { word in
      configuration.subcommands.contains { $0.configuration.commandName ?? $0._commandName == word }
    }
    var complaint = known.joined(separator: " ")
    if complaint.hasPrefix("Error: ") { complaint.removeFirst("Error: ".count) }
    if complaint.hasSuffix(".") { complaint.removeLast() }
    let verbs = command == "debugvm" ? DebugVM.Verb.allCases.map(\.rawValue) : ControlVM.Verb.allValueStrings
    if let hint = CommandWords.hint(about: words, complaint: complaint, verbs: verbs) { complaint += "; " + hint }
    return complaint + "; see vmctl \(command.map { "\($0) " } ?? "")--help"
  }
}

/// The machine that a command is about.
struct MachineArgument: ParsableArguments {
  @Argument(
    help: ArgumentHelp("The machine's name or UUID.", valueName: "machine"), completion: .custom(Completion.machines))
  var name: String

  func entry() throws -> VMEntry { try Registry.fromEnvironment().find(name) }
}

enum Completion {
  @Sendable static func machines(_ words: [String], _ index: Int, _ prefix: String) -> [String] {
    guard let list = try? Registry.fromEnvironment().list() else { return [] }
    return list.entries.map(\.name)
  }
}

/// "on" and "off", as the options of modifyvm take them.
enum Switch: String, ExpressibleByArgument, CaseIterable {
  case on, off
  var isOn: Bool { self == .on }
}

enum OutputFormat: String, ExpressibleByArgument, CaseIterable { case table, json }
