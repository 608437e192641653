import Foundation

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

  public init(target: TeleportRequest, witness: String) {
    self.target = target
    self.witness = witness
  }
}

/// The process that asks the witness comes as a socket.
struct WitnessPassed: Codable, Sendable { var place: String }

extension VMEntry {
  /// Starts the witness's process, asks it whether the witness is there, and passes it to the machine's process, in place of
  /// one that was passed before.
  /// - Throws: `ManagementError` when it is not, or holds something else.
  public func passWitness(_ place: WitnessPlace) throws {
    let client = WitnessClient(try WitnessProcess.start(isTrusted: true), self)
    _ = try client.witness(place.text)
    try client.pass { try pass(PassedRequest(witness: WitnessPassed(place: place.text)), $0) }
  }
}
