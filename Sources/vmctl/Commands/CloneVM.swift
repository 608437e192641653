import ArgumentParser
import Foundation
import Management
import Synchronization

struct CloneVM: ParsableCommand {
  enum Mode: String, ExpressibleByArgument, CaseIterable { case machine, machinechildren, all }

  /// Words of VBoxManage's `--options`, in its spelling or in lower case.
  enum Wish: String, CaseIterable {
    case keepAllMACs = "KeepAllMACs"
    case keepNATMACs = "KeepNATMACs"
    case keepDiskNames = "KeepDiskNames"
  }

  static let configuration = CommandConfiguration(
    commandName: "clonevm", abstract: "Makes a copy of a machine that does not run, with copies of its disks.",
    discussion: """
      The copy has a UUID and network addresses of its own. Copies of the disks that the machine writes are made in its folder;
      CDs and disks that it only reads stay where they are. ^C leaves nothing behind.
      """)
  @OptionGroup var machine: MachineArgument
  @Option(help: "The copy's name; else that of the machine with \" Clone\" behind it.") var name: String?
  @Option(help: "The folder in which its folder is made.", completion: .directory) var basefolder: String?
  @Option(help: "Its UUID, instead of a new one.") var uuid: String?
  @Flag(help: "As VBoxManage has it; a machine is always registered.") var register = false
  @Option(help: "As VBoxManage has it; the copy is the machine as it is, without its snapshots.") var mode: Mode?
  @Option(help: ArgumentHelp("As VBoxManage has it; there are no groups.", valueName: "group")) var groups: String?
  @Option(
    help: ArgumentHelp(
      "Of \(Wish.allCases.map(\.rawValue).joined(separator: ", ")), with commas between them.", valueName: "list"))
  var options: String?

  private func wishes() throws -> Set<Wish> {
    let words = (options ?? "").split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
    return Set(
      try words.map { word in
        if let wish = Wish.allCases.first(where: { $0.rawValue.lowercased() == word.lowercased() }) { return wish }
        let known = Wish.allCases.map(\.rawValue).joined(separator: ", ")
        throw ValidationError("--options \(word) is not possible; there is \(known)")
      })
  }

  func validate() throws {
    let wishes = try wishes()
    guard !wishes.isSuperset(of: [.keepAllMACs, .keepNATMACs]) else {
      throw ValidationError("--options KeepAllMACs and KeepNATMACs exclude each other")
    }
    if let uuid, UUID(uuidString: uuid) == nil { throw ValidationError("\"\(uuid)\" is no UUID") }
  }

  private struct Interrupted: Error, CustomStringConvertible {
    var description: String { "cancelled; there is no copy" }
  }

  func run() throws {
    let registry = try Registry.fromEnvironment()
    let entry = try registry.find(machine.name)
    var wish = CloneOptions(name: name ?? entry.name + " Clone")
    if let uuid = uuid.flatMap(UUID.init(uuidString:)) { wish.uuid = uuid }
    wish.baseFolder = basefolder
    let wishes = try wishes()
    if wishes.contains(.keepAllMACs) { wish.addresses = .same }
    if wishes.contains(.keepNATMACs) { wish.addresses = .newButForNAT }
    wish.keepsDiskNames = wishes.contains(.keepDiskNames)
    let interruption = Interruption()
    let signals = SignalWatch([SIGINT, SIGTERM, SIGHUP]) { interruption.set() }
    defer { withExtendedLifetime(signals) {} }
    let line = ProgressLine()
    defer { line.finish(erases: true) }
    let made = try registry.clone(entry, wish) { percent in
      if interruption.isSet { throw Interrupted() }
      line.show("copying the disks \(percent) %")
    }
    line.finish(erases: true)
    Terminal.line("the machine \"\(made.entry.name)\" is made, a copy of \"\(entry.name)\"")
    Terminal.line("UUID: \(made.entry.definition.uuid.uuidString.lowercased())")
    for note in made.notes { Terminal.error("note: \(note)") }
  }

  /// Set by the thread that waits for signals.
  private final class Interruption: Sendable {
    private let value = Atomic(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
  }
}
