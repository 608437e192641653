import Foundation
import Teleport

/// How a machine's protection stands, for lists: no more than what changes seldom, so that it is written down in the machine's
/// record and read without asking its process.
public struct ProtectionStatus: Codable, Equatable, Sendable {
  /// What it is.
  public enum State: String, Codable, Sendable {
    /// The backup gets its first copy.
    case synchronizing
    /// Another host goes on with the machine when this one fails.
    case protected
    /// This host has the copy.
    case standby
    /// The other host is not to be reached, and the witness is asked whose the machine is.
    case deciding
    /// It runs here without the backup that it was to have.
    case unprotected
    /// It ended here while it was protected, and its backup may have it.
    case indoubt
    /// Its backup has it.
    case takenover
  }

  /// What it is.
  public var state: State
  /// Which of the two this host is, or was.
  public var side: ProtectionSide
  /// The other host.
  public var peer: String
  /// Why it is so, where there is something to say.
  public var reason: String?

  init(_ state: State, _ side: ProtectionSide, peer: String, reason: String? = nil) {
    (self.state, self.side, self.peer, self.reason) = (state, side, peer, reason)
  }

  /// - Returns: nil: nothing is protected by it, and nobody believes so.
  init?(_ progress: ProtectionProgress) {
    guard !progress.isNowhere else { return nil }
    let state: State =
      switch progress.state {
      case .synchronizing: .synchronizing
      case .protected: progress.role == .primary ? .protected : .standby
      case .deciding: .deciding
      case .unprotected: .unprotected
      case .takenover: progress.role == .primary ? .takenover : .unprotected
      }
    self.init(state, progress.role, peer: progress.peer, reason: progress.reason)
    if state == .unprotected && side == .backup { reason = "taken over from \(peer)" }
  }

  /// What is known of a machine with this record, also when it does not run.
  static func of(_ record: StatusRecord, _ folder: VMFolder) -> ProtectionStatus? {
    if record.state.isLive { return record.protection }
    guard let left = ProtectionRecord.left(folder) else { return nil }
    return ProtectionStatus(record.state == .teleported ? .takenover : .indoubt, .primary, peer: left.peer)
  }

  /// Whether another host goes on when this one fails; nil: the machine is not this host's.
  public var isProtected: Bool? {
    switch (state, side) {
    case (.indoubt, _), (.takenover, _), (.standby, _), (.synchronizing, .backup), (.deciding, .backup): nil
    default: state == .protected
    }
  }

  /// Whether this host has a copy with which it can go on; nil: it is no backup.
  public var isStandby: Bool? {
    guard side == .backup, state != .unprotected else { return nil }
    return state != .synchronizing
  }

  /// The other host, without its port.
  private var host: String { peer.firstRange(of: " port ").map { String(peer[..<$0.lowerBound]) } ?? peer }

  /// In a few words, for a column.
  public var words: String {
    switch (state, side) {
    case (.synchronizing, .primary): "begins: \(host)"
    case (.synchronizing, .backup): "begins, of \(host)"
    case (.protected, _): "protected by \(host)"
    case (.standby, _): "standby of \(host)"
    case (.deciding, _): "asks the witness"
    case (.unprotected, _): "UNPROTECTED"
    case (.indoubt, _): "may run at \(host)"
    case (.takenover, _): "went to \(host)"
    }
  }

  /// In a sentence.
  public var line: String {
    let text =
      switch (state, side) {
      case (.synchronizing, .primary): "begins: \(peer) gets its first copy"
      case (.synchronizing, .backup): "begins: the first copy of the machine of \(peer) comes"
      case (.protected, _): "protected by \(peer)"
      case (.standby, _): "standby of \(peer)"
      case (.deciding, _): "\(peer) is not to be reached, and the witness is asked whose the machine is"
      case (.unprotected, _): "UNPROTECTED, though it was to be protected"
      case (.indoubt, _): "it was protected when it ended here, and may run at \(peer): the next start asks the witness"
      case (.takenover, _): "taken over by \(peer)"
      }
    return text + (reason.map { ": \($0)" } ?? "")
  }
}

extension VMEntry {
  /// Ends the machine's protection, and waits until it has.
  /// - Parameters:
  ///   - force: somebody knows that the backup does not run, whatever the witness says.
  ///   - seconds: that it may take.
  ///   - progress: is told how it stands.
  /// - Returns: the machine's state then.
  /// - Throws: `ManagementError` when there is none, or whose the machine is has not been decided yet.
  @discardableResult
  func endProtection(force: Bool = false, within seconds: Double, progress: (ProtectionStatus) -> Void = { _ in })
    throws
    -> VMState
  {
    var request = ControlRequest(.unprotect)
    request.text = force ? "force" : nil
    try ControlClient(self).request(request)
    let end = Date(timeIntervalSinceNow: seconds)
    while true {
      let record = try folder.currentStatus()
      guard record.state.isLive, let protection = record.protection else { return record.state }
      guard Date() < end else {
        throw ManagementError(
          "the protection of \"\(name)\" has not ended yet: \(protection.line)",
          remedy: "it ends when the witness has answered")
      }
      progress(protection)
      usleep(50_000)
    }
  }
}
