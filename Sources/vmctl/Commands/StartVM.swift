import ArgumentParser
import Foundation
import Management

struct StartVM: ParsableCommand {
  enum Kind: String, ExpressibleByArgument, CaseIterable { case headless, gui, sdl, separate }
  static let configuration = CommandConfiguration(
    commandName: "startvm", abstract: "Starts a machine.",
    discussion: """
      With a saved state, the machine goes on from it. With its teleporter on, the machine does not boot: it waits for its \
      teleport and says so, with the port.
      """)
  @OptionGroup var machine: MachineArgument
  @Option(help: "headless: no window; gui, sdl or separate: a window, as vmctl view opens it.") var type: Kind =
    .headless
  @Flag(help: "Runs the machine in this process. ^C powers it off.") var foreground = false
  @Flag(
    help: """
      Goes on from a saved state though a disk has changed since: the guest, which still has the old content in its \
      memory, can then destroy the disk's file systems. Starts a machine that was protected though its backup may have it: \
      it can then run twice.
      """) var force = false

  @Option(
    help: ArgumentHelp(
      """
      Comes back when the machine runs (ready), when a kernel does (kernel: it has switched paging on), or when its first \
      serial console has shown a text (console:TEXT); status 1 when that cannot come any more, 124 when it took too long.
      """, valueName: "ready|kernel|console:text")) var wait: StartMark?
  @Option(help: ArgumentHelp("For --wait: how long at most; 300 without it.", valueName: "seconds")) var timeout:
    Double?

  func validate() throws {
    guard timeout == nil || wait != nil else { throw ValidationError("--timeout is for --wait") }
    if let timeout, !(timeout > 0 && timeout <= 1e9) { throw ValidationError("--timeout is a number of seconds") }
    guard type == .headless || !foreground else {
      throw ValidationError("a machine in the foreground has no window of its own; open one with vmctl view")
    }
    guard wait == nil || !foreground else { throw ValidationError("--wait is for a machine in the background") }
  }

  func run() throws {
    let registry = try Registry.fromEnvironment()
    let entry = try registry.find(machine.name, checkingHost: true)
    // What stands against a window is said before the machine starts.
    if type != .headless { try View.check() }
    for line in registry.networkNotes(of: entry) { Terminal.error("note: \(line)") }
    if foreground { try runHere(entry) }
    for line in try VMLauncher.start(entry, registry: registry, options: StartOptions(force: force)) {
      Terminal.line(line)
    }
    if type != .headless { try View.open(entry) }
    guard let wait else { return }
    switch try entry.waitUntil(wait, within: timeout ?? 300) {
    case .seen: break
    case .ended(let why):
      throw ManagementError("\(wait) has not come: \(why)", remedy: "see vmctl showvminfo \"\(entry.name)\" --log 0")
    case .timedOut:
      Terminal.error("vmctl: \(wait) has not come in \(timeout ?? 300) seconds; the machine runs on")
      throw ExitCode(124)
    }
  }

  private func runHere(_ entry: VMEntry) throws {
    let process = try VMProcess(entry, detached: false, options: StartOptions(force: force))
    let signals = SignalWatch([SIGINT, SIGTERM, SIGHUP]) { process.terminate() }
    let line = IncomingProgress()
    process.onProgress = { line.show($0.summary, isLast: $0.phase == .done) }
    process.onMessage = { line.message($0) }
    for text in try process.start() { Terminal.line(text) }
    let status = process.waitUntilEnd()
    withExtendedLifetime(signals) {}
    throw ExitCode(status)
  }
}

extension StartMark: ExpressibleByArgument {
  /// For the help and for completions.
  public static var allValueStrings: [String] { ["ready", "kernel", "console:"] }
}

/// The progress of an incoming machine, told from threads of the teleport.
private final class IncomingProgress: @unchecked Sendable {
  private let lock = NSLock()
  private let line = ProgressLine()

  func show(_ text: String, isLast: Bool) {
    lock.withLock {
      line.show(text, isUrgent: isLast)
      if isLast { line.finish() }
    }
  }

  func message(_ text: String) {
    lock.withLock {
      line.finish()
      Terminal.line(text)
    }
  }
}

/// The process of a detached machine; `startvm` starts it.
struct VMProcessCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: VMLauncher.subcommand, shouldDisplay: false)
  @Flag var force = false
  @Flag var paused = false
  @Flag var endsAtReset = false
  @Flag var owned = false
  @Flag var recordsConsoles = false
  @Option var offloads: OffloadPolicy?
  @Argument var name: String

  func run() throws {
    var options = StartOptions(force: force)
    options.isPaused = paused
    options.endsAtReset = endsAtReset
    options.isOwned = owned
    options.recordsConsoles = recordsConsoles
    options.offloads = offloads
    throw ExitCode(VMLauncher.runDetached(name, registry: try Registry.fromEnvironment(), options: options))
  }
}

struct DiscardState: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "discardstate", abstract: "Drops a machine's saved state.")
  @OptionGroup var machine: MachineArgument

  func run() throws {
    let registry = try Registry.fromEnvironment()
    try registry.discardState(try registry.find(machine.name))
  }
}

struct AdoptState: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "adoptstate", abstract: "Makes a copy of a saved state a machine's, which then goes on from it.")
  @OptionGroup var machine: MachineArgument
  @Argument(help: "The file, as another host's machine of the same definition has written it.", completion: .file())
  var file: String

  func run() throws {
    let registry = try Registry.fromEnvironment()
    try registry.adoptState(try registry.find(machine.name), file: Paths.absolute(file))
  }
}
