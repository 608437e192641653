import Foundation
import SavedState

/// What a VM's folder says about a transfer, so that the truth survives the process. Written durably before the step
/// it names is told to the other side.
public struct TeleportRecord: Codable, Equatable, Sendable {
  public enum Role: String, Codable, Sendable { case source, target }

  public enum Step: String, Codable, Sendable {
    /// Source: the decision has fallen, the target's answer is outstanding. A process that died here leaves a question:
    /// `TeleportInquiry` asks the target.
    case committing
    /// Source: the target runs the machine. The VM is `teleported`.
    case handedOver
    /// Source: the teleport failed, the machine stayed here.
    case keptHere
    /// Target: everything is loaded and locked, the source decides.
    case prepared
    /// Target: the machine is this host's.
    case owned
    /// Target: dropped without having run.
    case discarded
  }

  public var role: Role
  public var step: Step
  public var transfer: String
  /// Source: where the target listens.
  public var host: String
  public var port: Int

  public init(role: Role, step: Step, transfer: String, host: String, port: Int) {
    self.role = role
    self.step = step
    self.transfer = transfer
    self.host = host
    self.port = port
  }

  /// - Throws: `StateFileError`, with nothing changed.
  public func write(to path: String) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
    let bytes = try encoder.encode(self)
    try StateFile.replace(path) { write in try bytes.withUnsafeBytes { try write($0) } }
  }

  /// nil when there is none or it is not readable as one.
  public static func read(from path: String) -> TeleportRecord? {
    guard let bytes = try? Data(contentsOf: URL(fileURLWithPath: path)), bytes.count < 65536 else { return nil }
    return try? JSONDecoder().decode(TeleportRecord.self, from: bytes)
  }
}
