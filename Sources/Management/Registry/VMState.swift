import Foundation

/// What a VM is doing, as `showvminfo --machinereadable` prints it.
public enum VMState: String, Codable, CaseIterable, Sendable {
  case poweroff, saved, teleported, aborted, running, paused, gurumeditation
  case teleporting, teleportingpausedvm, teleportingin
  /// It has a copy of a machine that runs on another host, and goes on with it when that one is lost.
  case standby
  case starting, stopping, saving, restoring

  /// Whether a process keeps the VM in this state.
  public var isLive: Bool {
    switch self {
    case .poweroff, .saved, .teleported, .aborted: false
    default: true
    }
  }

  /// The state of a VM whose last record is `recorded`.
  /// - Parameters: isLocked: a process holds the VM's lock. hasStateFile: a saved state is in its folder.
  static func actual(recorded: VMState?, isLocked: Bool, hasStateFile: Bool) -> VMState {
    guard let recorded else { return isLocked ? .starting : .poweroff }
    if isLocked { return recorded.isLive ? recorded : .starting }
    switch recorded {
    case .poweroff, .teleported, .aborted: return recorded
    case .saved, .saving, .restoring: return hasStateFile ? .saved : .aborted
    default: return .aborted
    }
  }
}

/// A VM's status record: written at each change of state, by the VM process as long as there is one.
public struct StatusRecord: Codable, Equatable, Sendable {
  /// What it does.
  public var state: VMState
  /// Since when.
  public var since: Date
  /// The VM process's number, while there is one.
  public var process: Int32?
  /// Why it is in this state, where there is something to say.
  public var reason: String?
  /// Port of the telnet server, by the console's slot.
  public var consolePorts: [Int: Int]
  /// Where it waits for its teleport.
  public var teleporterPort: Int?
  /// The address to that port.
  public var teleporterAddress: String?
  /// Where its screen is served by VNC.
  public var vncPort: Int?
  /// What the process has given up (`Sandbox.description`).
  public var sandbox: String?
  /// How its protection stands, while it has one or should have.
  public var protection: ProtectionStatus?

  /// A record of a state that begins.
  public init(state: VMState, since: Date = Date()) {
    self.state = state
    self.since = since
    consolePorts = [:]
  }
}
