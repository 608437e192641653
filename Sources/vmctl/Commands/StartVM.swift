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
  @Option(help: "headless: no window. The other kinds start without one too, as there is none yet.") var type: Kind =
    .headless
  @Flag(help: "Runs the machine in this process. ^C powers it off.") var foreground = false
  @Flag(
    help: """
      Goes on from a saved state though a disk has changed since: the guest, which still has the old content in its \
      memory, can then destroy the disk's file systems.
      """) var force = false

  func run() throws {
    let registry = try Registry.fromEnvironment()
    let entry = try registry.find(machine.name, checkingHost: true)
    if type != .headless {
      Terminal.error(
        "there is no window yet: \"\(entry.name)\" starts headless; see its screen with vmctl controlvm "
          + "\"\(entry.name)\" screenshotpng FILE")
    }
    for line in registry.networkNotes(of: entry) { Terminal.error("note: \(line)") }
    if foreground { try runHere(entry) }
    for line in try VMLauncher.start(entry, registry: registry, options: StartOptions(force: force)) {
      Terminal.line(line)
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
  @Argument var name: String

  func run() throws {
    var options = StartOptions(force: force)
    options.isPaused = paused
    options.endsAtReset = endsAtReset
    options.isOwned = owned
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
