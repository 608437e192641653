import Foundation
import SavedState

/// What a VM's folder says about a transfer, so that the truth survives the process. Written before the step it names is
/// told to the other side.
///
/// What must also survive the host is on the disk before the guest stands still or after it runs again, so that no disk
/// adds to the downtime: `committing` is written durably before the guest rests for its last pages; `owned` is first
/// written for the process's death and then made durable while the guest runs. When the host itself dies in between,
/// the earlier record says that it is of another boot of the host, and then it proves nothing.
public struct TeleportRecord: Codable, Equatable, Sendable {
  /// The side of this host.
  public enum Role: String, Codable, Sendable { case source, target }

  /// How far it was when this was written.
  public enum Step: String, Codable, Sendable {
    /// Source: the decision has fallen, the target's answer is outstanding. A process that died here leaves a question:
    /// `TeleportInquiry` asks the target.
    case committing
    /// Source: the target runs the machine. The VM is `teleported`.
    case handedOver
    /// Source: the teleport failed, the machine stayed here.
    case keptHere
    /// Target: everything is loaded, the media are shared, the source decides.
    case prepared
    /// Target: the machine is this host's.
    case owned
    /// Target: dropped without having run.
    case discarded
  }

  /// The side of this host.
  public var role: Role
  /// How far it was when this was written.
  public var step: Step
  /// The transfer's own name, by which both sides find it again.
  public var transfer: String
  /// Source: where the target listens.
  public var host: String
  /// The other side's TCP port.
  public var port: Int
  /// Source: the transfer was encrypted, and what settles it is to be too.
  public var isSecure: Bool?
  /// Which boot of this host has written it.
  public var hostBoot: String?

  public init(role: Role, step: Step, transfer: String, host: String, port: Int, isSecure: Bool? = nil) {
    hostBoot = Self.thisBoot
    self.role = role
    self.step = step
    self.transfer = transfer
    self.host = host
    self.port = port
    self.isSecure = isSecure
  }

  private static let thisBoot: String = {
    let text = try? String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8)
    return text?.trimmingCharacters(in: .whitespacesAndNewlines) ?? ""
  }()

  /// Whether the host has not been started anew since: then nothing that was written is lost.
  public var isOfThisBoot: Bool { hostBoot == Self.thisBoot }

  /// - Throws: `StateFileError`, with nothing changed.
  public func write(to path: String, durable: Bool = true) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
    let bytes = try encoder.encode(self)
    try StateFile.replace(path, durable: durable) { write in try bytes.withUnsafeBytes { try write($0) } }
  }

  /// nil when there is none or it is not readable as one.
  public static func read(from path: String) -> TeleportRecord? {
    guard let bytes = try? StateFile.contents(of: path, limit: 65535) else { return nil }
    return try? JSONDecoder().decode(TeleportRecord.self, from: Data(bytes))
  }
}
