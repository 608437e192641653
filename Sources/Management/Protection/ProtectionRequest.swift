import Foundation
import Teleport

/// How a machine is to be protected.
public struct ProtectionRequest: Codable, Equatable, Sendable {
  /// Where the backup waits; unused for a black hole.
  public var target: TeleportRequest
  /// The longest time between two checkpoints, in milliseconds.
  public var intervalMS = 200
  /// Memory is compressed.
  public var compresses = true
  /// There is no backup.
  public var isBlackhole = false
  /// Output waits for its checkpoint.
  public var holdsOutput = true
  /// Disks are protected, too.
  public var replicatesDisks = true
  /// A backup that was lost is looked for: refused by nobody, but nothing is done when the protection is not wanted any more.
  public var isRenewal: Bool?
  /// As users write it (`WitnessPlace`).
  public var witness: String
  /// How this host's machine waits when it is the survivor's backup; nil: it does not.
  public var returning: ReturningMachine?

  public init(target: TeleportRequest, witness: String) {
    self.target = target
    self.witness = witness
  }
}

/// How a machine that was protected here waits for the host that has taken it over, to be the backup of that one.
public struct ReturningMachine: Codable, Equatable, Sendable {
  /// Where the other host looks for it.
  public var place: HostPlace
  /// Whose first line is the password that it asks for.
  public var passwordFile: String?
  /// The password is that of the machine's own teleporter.
  public var usesOwnPassword: Bool

  /// One that waits there.
  public init(place: HostPlace, passwordFile: String?, usesOwnPassword: Bool = false) {
    self.place = place
    self.passwordFile = passwordFile.map { Files.absolute($0) }
    self.usesOwnPassword = usesOwnPassword
  }

  /// The machine's teleporter for as long as it waits.
  /// - Parameter witness: the protection's, as users write it.
  func teleporter(_ own: VMDefinition.Teleporter, witness: String) -> VMDefinition.Teleporter {
    var teleporter = own
    teleporter.enabled = true
    teleporter.port = place.port
    if !usesOwnPassword { (teleporter.password, teleporter.passwordFile) = (nil, passwordFile) }
    if teleporter.address?.isEmpty ?? true, place.host.contains(":") {
      let asksForNone = teleporter.password == nil && teleporter.passwordFile == nil
      teleporter.address = asksForNone ? place.host : "::"
    }
    // This host's user has named that program.
    if teleporter.witnessCommand == nil, case .command(let line)? = try? WitnessPlace(witness) {
      teleporter.witnessCommand = line
    }
    return teleporter
  }
}

/// The process that asks the witness comes as a socket.
struct WitnessPassed: Codable, Sendable { var place: String }

extension VMEntry {
  /// Starts the witness's process, asks it whether the witness is there, and passes it to the machine's process, in place of
  /// one that was passed before.
  /// - Throws: `ManagementError` when it is not, or holds something else.
  public func passWitness(_ place: WitnessPlace) throws {
    let client = WitnessClient(try WitnessProcess.start(for: nil), self)
    _ = try client.witness(place.text)
    try client.pass { try pass(PassedRequest(witness: WitnessPassed(place: place.text)), $0) }
  }
}
