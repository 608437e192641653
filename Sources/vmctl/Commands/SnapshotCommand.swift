import ArgumentParser
import Foundation
import Management

/// `snapshot NAME VERB ...`: the machine's name comes before the verb, as VBoxManage's users type it.
struct SnapshotCommand: ParsableCommand {
  enum Verb: String, ExpressibleByArgument, CaseIterable {
    case take, restore, restorecurrent, delete, list, edit, showvminfo
  }
  static let configuration = CommandConfiguration(
    commandName: "snapshot", abstract: "Keeps what a machine is at a moment, and brings it back.",
    discussion: """
      snapshot NAME take SNAPSHOT [--description TEXT]    settings, disks and memory; a running machine stands still meanwhile
      snapshot NAME restore SNAPSHOT | restorecurrent     of a machine that does not run: its present state is lost
      snapshot NAME delete SNAPSHOT                       of a machine that does not run: what came after it stays
      snapshot NAME edit SNAPSHOT | --current [--name NEW] [--description TEXT]
      snapshot NAME list [--details | --machinereadable]
      snapshot NAME showvminfo SNAPSHOT

      SNAPSHOT is a name or a UUID. From a snapshot on the disks that the machine writes are qcow2 images in its folder, on \
      top of what they were; docs/disks.md has more.
      """)
  @OptionGroup var machine: MachineArgument
  @Argument(help: "What to do.") var verb: Verb
  @Argument(help: "The snapshot's name or UUID.") var snapshot: String?
  @Option(help: "take, edit: what there is to say of it.") var description: String?
  @Option(help: "edit: its new name.") var name: String?
  @Flag(help: "edit: the snapshot that the machine goes on from.") var current = false
  @Flag(help: "list: with dates and descriptions.") var details = false
  @Flag(help: "list: for programs, with VBoxManage's keys.") var machinereadable = false
  @Flag(help: "As VBoxManage has it; the machine stands still all the same.") var live = false
  @Option(help: "list: how to print it.") var format: OutputFormat?

  func validate() throws {
    let needsName = [.take, .restore, .delete, .showvminfo].contains(verb) || (verb == .edit && !current)
    guard needsName == (snapshot != nil) else {
      throw ValidationError(needsName ? "\(verb.rawValue) needs a snapshot's name" : "\(verb.rawValue) takes no name")
    }
    guard [.take, .edit].contains(verb) || description == nil else {
      throw ValidationError("--description is for take and edit")
    }
    guard verb == .edit || (name == nil && !current) else { throw ValidationError("--name and --current are for edit") }
    if verb == .edit, name == nil, description == nil { throw ValidationError("give --name or --description") }
  }

  func run() throws {
    let registry = try Registry.fromEnvironment()
    let entry = try registry.find(machine.name)
    let line = ProgressLine()
    defer { line.finish(erases: true) }
    switch verb {
    case .take:
      let wish = try SnapshotRequest(name: snapshot ?? "", description: description ?? "")
      try registry.takeSnapshot(entry, wish) { line.show($0) }
      line.finish(erases: true)
      Terminal.line("Snapshot taken. UUID: \(wish.uuid)")
    case .restore, .restorecurrent:
      let (found, notes) = try registry.restoreSnapshot(entry, snapshot)
      Terminal.line("Restoring snapshot '\(found.name)' (\(found.uuid))")
      for note in notes { Terminal.error("note: \(note)") }
    case .delete:
      let found = try registry.deleteSnapshot(entry, snapshot ?? "") { line.show("deleting \($0) %") }
      line.finish(erases: true)
      Terminal.line("Deleting snapshot '\(found.name)' (\(found.uuid))")
    case .edit: try registry.editSnapshot(entry, snapshot, to: name, description: description)
    case .list: try list(try entry.folder.readSnapshots())
    case .showvminfo:
      let found = try entry.folder.readSnapshots().find(snapshot ?? "", machine: entry.name)
      for fact in found.facts { Terminal.line("\(fact.label): \(fact.value)") }
    }
  }

  private func list(_ tree: SnapshotTree) throws {
    if format == .json { return try Terminal.json(tree) }
    guard !tree.snapshots.isEmpty else {
      Terminal.line("This machine does not have any snapshots")
      throw ExitCode(1)
    }
    if machinereadable {
      for fact in tree.facts { Terminal.line("\(fact.quotedKey)=\(fact.quoted)") }
      return
    }
    for (snapshot, depth, _) in tree.places {
      let margin = String(repeating: " ", count: 3 * (depth + 1))
      Terminal.line(
        "\(margin)Name: \(snapshot.name) (UUID: \(snapshot.uuid))\(snapshot.uuid == tree.current ? " *" : "")")
      if details {
        Terminal.line(
          "\(margin)Taken: \(snapshot.taken.ISO8601Format()), \(snapshot.hasState ? "with" : "without") memory")
      }
      if !snapshot.description.isEmpty { Terminal.line("\(margin)Description:\n\(snapshot.description)") }
    }
  }
}
