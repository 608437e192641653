import ArgumentParser
import DiskImages
import Foundation
import Management
import Teleport

struct Remus: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Protects a running machine: a second host goes on with it when this one fails.",
    discussion: """
      The backup is a machine on HOST that waits with its teleporter on (modifyvm --teleporter on, startvm), or vmctl receive. \
      It gets a checkpoint of memory, devices and disks many times a second, and what the guest has sent leaves only when the \
      backup has all that it depends on: whoever takes over knows everything that was ever seen. The command stays, and shows \
      how it stands; when the backup is lost it looks for it until it is there again. ^C ends the protection, and the machine \
      goes on here. With --reprotect the hosts change places by themselves after a takeover. docs/protection.md has the \
      whole of it.

      Status: 0 the guest has ended, or the end was asked for; 1 it could not begin, the backup has the machine, or with \
      --once the backup was lost.
      """)
  @OptionGroup var machine: MachineArgument
  @Argument(help: "The backup's host.") var target: String?
  @Option(
    name: [.customShort("i"), .long], help: ArgumentHelp("The longest time between checkpoints.", valueName: "ms"))
  var interval = 200
  @Flag(name: [.customShort("u"), .long], help: "Memory crosses as it is, not compressed.") var noCompression = false
  @Option(
    name: .customShort("s"),
    help: ArgumentHelp(
      "A command that starts the backup through a shell: it gets HOST and then vmctl startvm NAME; empty: HOST is the command.",
      valueName: "command"))
  var start: String?
  @Flag(name: .customShort("e"), help: "As xl remus has it; no process of the backup's waits in any case.") var noWait =
    false
  @Option(
    name: .customShort("N"),
    help: ArgumentHelp(
      "A script that is run with setup before and teardown after, with VMCTL_NAME and VMCTL_HOST.", valueName: "script"),
    completion: .file())
  var script: String?
  @Flag(name: .customShort("F"), help: "Allows -b, -n and -d, with which a failure loses something.") var unsafe = false
  @Flag(name: [.customShort("b"), .long], help: "There is no backup: shows what protection costs.") var blackhole =
    false
  @Flag(name: [.customShort("n"), .long], help: "Output does not wait for its checkpoint.") var noNet = false
  @Flag(name: .customShort("d"), help: "Leaves disks alone.") var noDisks = false
  @Flag(help: .hidden) var timer = false
  @Flag(help: "Ends when the backup is lost; else it is looked for until it is there again.") var once = false
  @Option(name: [.customShort("p"), .long], help: "The port that the backup waits on.") var port = 6000
  @Option(
    help: ArgumentHelp(
      "Who decides when the hosts lose each other: file:PATH on storage that both reach, etcd:http://HOST:PORT, command:PROGRAM, or none: then a broken line has both go on.",
      valueName: "place"))
  var witness: String?
  @Option(help: "A file with the backup's password in its first line, or stdin.", completion: .file())
  var passwordfile: String?
  @Option(
    help: ArgumentHelp(
      "After a takeover the hosts change places: the survivor looks for its backup at this address of this host, where the machine waits as soon as it can. The port is -p's when none is given; an IPv6 address with a port stands in brackets.",
      valueName: "address[:port]"))
  var reprotect: String?
  /// For a survivor: the backup is looked for until it is there.
  @Flag(help: .hidden) var renewal = false
  /// For a survivor: the password is the one in the machine's definition.
  @Flag(help: .hidden) var ownPassword = false

  func validate() throws {
    guard unsafe || !(blackhole || noNet || noDisks) else {
      throw ValidationError("-b, -n and -d lose something in a failure; give -F with them if that is meant")
    }
    guard Reprotection.intervals.contains(interval) else { throw ValidationError("-i is from 25 to 10000 (ms)") }
    guard (1...65535).contains(port) else { throw ValidationError("-p is from 1 to 65535") }
    guard blackhole || target != nil else { throw ValidationError("remus needs the backup's HOST") }
    guard blackhole || witness != nil else {
      throw ValidationError(
        "say with --witness who decides when the hosts lose each other: file:PATH, etcd:URL, command:PROGRAM, or none")
    }
    if let reprotect { try validate(reprotect: reprotect) }
  }

  private func validate(reprotect text: String) throws {
    guard !blackhole, !noNet, !noDisks else { throw ValidationError("--reprotect does not go with -b, -n or -d") }
    guard witness != "none" else {
      throw ValidationError("--reprotect needs a witness: without one nobody knows when the hosts change places")
    }
    guard let place = HostPlace(text, port: port) else {
      throw ValidationError(
        "--reprotect \"\(text)\" is no address: give ADDRESS or ADDRESS:PORT, an IPv6 address as in [fe80::1]:6000")
    }
    guard HostPlace(target ?? "", port: port) != nil else {
      throw ValidationError("\"\(target ?? "")\" is no host")
    }
    guard !renewal else { return }
    guard passwordfile != "-", passwordfile != "stdin" else {
      throw ValidationError("--reprotect needs the password in a file: the machine that waits here asks for it, too")
    }
    guard passwordfile != nil || NetworkAddress.isLoopback(place.host) else {
      throw ValidationError(
        "--reprotect \(text) needs --passwordfile: without a password a machine waits for its own host only")
    }
  }

  /// How the machine waits here for the survivor.
  private var returning: ReturningMachine? {
    reprotect.flatMap { HostPlace($0, port: port) }.map {
      ReturningMachine(place: $0, passwordFile: passwordfile, usesOwnPassword: ownPassword)
    }
  }

  func run() throws {
    let entry = try machine.entry()
    let place = try WitnessPlace(witness ?? "none")
    var wish = ProtectionRequest(
      target: TeleportRequest(host: target ?? "", port: port), witness: place.text)
    wish.target.password =
      try ownPassword ? entry.definition.teleporter.password : passwordfile.map { try PasswordFile.read($0) }
    wish.returning = returning
    wish.intervalMS = interval
    wish.compresses = !noCompression
    wish.isBlackhole = blackhole
    wish.holdsOutput = !noNet
    wish.replicatesDisks = !noDisks
    if place == .none && !blackhole {
      Terminal.error(
        "note: without a witness both hosts go on when they lose each other, and the machine runs twice; see --witness")
    }
    _ = try ControlClient(entry)
    let protection = ProtectionCommand(entry, place, wish, isRenewal: renewal)
    if let start, let target { try startBackup(start, target, entry.name) }
    if let script { try runScript(script, "setup", entry.name) }
    defer { if let script { try? runScript(script, "teardown", entry.name) } }
    let signals = SignalWatch([SIGINT, SIGTERM]) { protection.stop() }
    defer { withExtendedLifetime(signals) {} }
    Terminal.line(try protection.run(once: once || blackhole))
  }

  private func startBackup(_ command: String, _ host: String, _ name: String) throws {
    let words = "\(ShellWord.quote(host)) vmctl startvm \(ShellWord.quote(name))"
    try HostShell.run(command.isEmpty ? host : "exec \(command) \(words)", what: "the command that starts the backup")
  }

  private func runScript(_ script: String, _ word: String, _ name: String) throws {
    try HostShell.run(
      "exec \(ShellWord.quote(script)) \(word)", environment: ["VMCTL_NAME": name, "VMCTL_HOST": target ?? ""],
      what: "the script \(script) \(word)")
  }
}

/// The process that asks a witness.
struct WitnessProcessCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: WitnessProcess.subcommand, shouldDisplay: false)
  /// "trusted".
  @Argument var words: [String] = []

  func run() throws { WitnessProcess.run(words) }
}
