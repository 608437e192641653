import Foundation

/// Says in a VM's folder that its disks are copies of a machine's that runs, or ran last, on another host: they may be written
/// over with that one's. It goes when the machine runs here.
struct ReplicaRecord: Codable {
  var machine: String

  static func write(_ folder: VMFolder, machine: String) throws {
    let text = String(decoding: try JSONEncoder().encode(ReplicaRecord(machine: machine)), as: UTF8.self)
    try Files.replace(folder.replica, with: text + "\n")
  }

  static func isThere(_ folder: VMFolder, machine: String) -> Bool {
    guard let text = try? Files.read(folder.replica) else { return false }
    return (try? JSONDecoder().decode(ReplicaRecord.self, from: Data(text.utf8)))?.machine == machine
  }

  static func remove(_ folder: VMFolder) { unlink(folder.replica) }
}

/// Says in a VM's folder that the machine was protected from here and its end was not seen: its backup may have it. It goes
/// when the protection has ended with the machine here.
struct ProtectionRecord: Codable {
  var witness: String
  var session: String
  var peer: String

  func write(_ folder: VMFolder) throws {
    try Files.replace(folder.protection, with: String(decoding: try JSONEncoder().encode(self), as: UTF8.self) + "\n")
  }

  static func remove(_ folder: VMFolder) { unlink(folder.protection) }

  /// Before the machine is started from power-off: asks the witness whose it is. To be called while files can be opened.
  /// - Throws: `ManagementError` when it is the backup's, or nobody can say.
  static func settle(_ entry: VMEntry, force: Bool) throws {
    guard let text = try? Files.read(entry.folder.protection),
      let record = try? JSONDecoder().decode(ProtectionRecord.self, from: Data(text.utf8)), !force
    else { return }
    let request = WitnessRequest(
      verb: .claim, place: record.witness, uuid: entry.definition.uuid.uuidString.lowercased(), name: entry.name,
      session: record.session, side: .primary)
    let remedy =
      "if you want it to start here, from what its disks hold here: vmctl startvm \(entry.name) --force; to have it as the backup: "
      + "modifyvm --teleporter on, and vmctl remus from there"
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
