import Foundation
import Teleport

/// A note in a VM's folder that outlives its process.
protocol FolderRecord: Codable {
  /// The file.
  static func path(in folder: VMFolder) -> String
}

extension FolderRecord {
  /// Nil: there is none that can be read.
  static func read(_ folder: VMFolder) -> Self? {
    guard let text = try? Files.read(path(in: folder)) else { return nil }
    return try? JSONDecoder().decode(Self.self, from: Data(text.utf8))
  }

  func write(_ folder: VMFolder) throws {
    let text = String(decoding: try JSONEncoder().encode(self), as: UTF8.self)
    try Files.replace(Self.path(in: folder), with: text + "\n")
  }

  static func remove(_ folder: VMFolder) { unlink(path(in: folder)) }
}

/// Says in a VM's folder that its disks are copies of a machine's that runs, or ran last, on another host: they may be written
/// over with that one's. It goes when the machine runs here.
struct ReplicaRecord: FolderRecord {
  var machine: String

  static func path(in folder: VMFolder) -> String { folder.replica }

  /// Of what a machine's disks hold here.
  init(_ entry: VMEntry) { machine = entry.definition.uuid.uuidString.lowercased() }
}

/// Says in a VM's folder that the machine was protected from here and its end was not seen: its backup may have it. It goes
/// when the protection has ended with the machine here.
struct ProtectionRecord: FolderRecord {
  var witness: String
  var session: String
  var peer: String
  /// How the machine waits here when the backup has it; nil: it does not.
  var returning: ReturningMachine?
  /// Whether the witness knows of the protection: before it does, no backup takes the machine.
  var isEstablished: Bool?

  static func path(in folder: VMFolder) -> String { folder.protection }

  /// Of a protection under which the backup may have the machine.
  static func left(_ folder: VMFolder) -> ProtectionRecord? {
    read(folder).flatMap { $0.isEstablished == false ? nil : $0 }
  }

  fileprivate func request(_ verb: WitnessRequest.Verb, _ entry: VMEntry) -> WitnessRequest {
    WitnessRequest(
      verb: verb, place: witness, uuid: entry.definition.uuid.uuidString.lowercased(), name: entry.name,
      session: session, side: .primary)
  }

  /// Before the machine is started from power-off: asks the witness whose it is. To be called while files can be opened.
  /// - Returns: a record by which the machine is the backup's, and is to be its backup here.
  /// - Throws: `ManagementError` when it is the backup's, or nobody can say.
  static func settle(_ entry: VMEntry, force: Bool) throws -> ProtectionRecord? {
    guard !force, let record = left(entry.folder) else { return nil }
    let remedy =
      "if you want it to start here, from what its disks hold here: vmctl startvm \(entry.name) --force; to have it as the "
      + "backup: modifyvm --teleporter on, --teleporter-port, --teleporter-address and a password, startvm, and vmctl remus from "
      + "there"
    // Without a witness nobody knows.
    let answer =
      record.witness == WitnessPlace.none.text
      ? .unreachable("there was none") : WitnessProcess.serve(record.request(.claim, entry), isTrusted: true)
    switch answer {
    case .won:
      remove(entry.folder)
      return nil
    case .lost where record.returning != nil:
      // What its disks hold is older than what the other host has.
      try ReplicaRecord(entry).write(entry.folder)
      return record
    case .lost:
      throw ManagementError("the backup at \(record.peer) has taken the machine \"\(entry.name)\" over", remedy: remedy)
    case .unreachable(let why):
      throw ManagementError(
        "the machine \"\(entry.name)\" was protected when it ended here, and the backup at \(record.peer) may have it; the "
          + "witness (\(record.witness)) cannot be asked: \(why)", remedy: remedy)
    }
  }
}

extension VMEntry {
  /// Before a machine waits for its teleport that was protected here, and whose process has ended without a word: if the
  /// witness says that the backup has it, the disks here are old copies of it.
  func noteLoss() {
    guard sideAfterLoss() == .backup else { return }
    // Without the note its disks are not written over, which is told then.
    try? ReplicaRecord(self).write(folder)
  }

  /// Whose a machine is that was protected here and whose process has ended without a word, as far as the witness says so
  /// without deciding anything.
  /// - Returns: the primary, also where there is no such machine; nil: it says nothing, or that both may have it yet.
  public func sideAfterLoss() -> ProtectionSide? {
    guard let record = ProtectionRecord.left(folder) else { return .primary }
    switch WitnessProcess.serve(record.request(.look, self), isTrusted: true) {
    case .won: return .primary
    case .lost: return .backup
    case .unreachable: return nil
    }
  }
}
