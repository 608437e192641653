import Foundation

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
}

/// Says in a VM's folder that the machine was protected from here and its end was not seen: its backup may have it. It goes
/// when the protection has ended with the machine here.
struct ProtectionRecord: FolderRecord {
  var witness: String
  var session: String
  var peer: String

  static func path(in folder: VMFolder) -> String { folder.protection }

  /// Before the machine is started from power-off: asks the witness whose it is. To be called while files can be opened.
  /// - Throws: `ManagementError` when it is the backup's, or nobody can say.
  static func settle(_ entry: VMEntry, force: Bool) throws {
    guard !force, let record = read(entry.folder) else { return }
    let request = WitnessRequest(
      verb: .claim, place: record.witness, uuid: entry.definition.uuid.uuidString.lowercased(), name: entry.name,
      session: record.session, side: .primary)
    let remedy =
      "if you want it to start here, from what its disks hold here: vmctl startvm \(entry.name) --force; to have it as the "
      + "backup: modifyvm --teleporter on, --teleporter-port, --teleporter-address and a password, startvm, and vmctl remus from "
      + "there"
    // Without a witness nobody knows.
    let answer =
      record.witness == WitnessPlace.none.text
      ? .unreachable("there was none") : WitnessProcess.serve(request, isTrusted: true)
    switch answer {
    case .won: remove(entry.folder)
    case .lost:
      throw ManagementError("the backup at \(record.peer) has taken the machine \"\(entry.name)\" over", remedy: remedy)
    case .unreachable(let why):
      throw ManagementError(
        "the machine \"\(entry.name)\" was protected when it ended here, and the backup at \(record.peer) may have it; the "
          + "witness (\(record.witness)) cannot be asked: \(why)", remedy: remedy)
    }
  }
}
