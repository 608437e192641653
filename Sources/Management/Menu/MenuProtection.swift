import Foundation
import Teleport

/// What the menu does about a second host that goes on with a machine.
extension MenuActions {
  /// Milliseconds between two looks.
  private static let pause: UInt32 = 200
  /// Seconds for which the end of a protection is waited for.
  private static let patience = 20.0

  /// Returns when the machine is protected. What protects it stays, with the menu and without.
  func protect(_ entry: VMEntry, _ wish: MenuOperation.Protection, _ progress: (String) -> Void) throws -> String {
    let process = try ProtectionProcess(entry, wish, home: services.registry.home)
    let isUnwanted = Flag()
    whileCancellable({ isUnwanted.set() }) {
      while process.ended() == nil {
        if isUnwanted.isSet { process.interrupt() }
        let reply = Self.ask(entry)
        if reply?.status?.protection?.state == .protected, !isUnwanted.isSet { return }
        if let standing = reply?.protection, standing.state == .synchronizing { progress(standing.summary) }
        usleep(Self.pause * 1000)
      }
    }
    guard process.ended() != nil else {
      process.release()
      return "\"\(entry.name)\" is protected by \(wish.host)"
    }
    if isUnwanted.isSet { return "\"\(entry.name)\" is not protected" }
    throw ManagementError(process.lastWord)
  }

  /// A process that does not answer has its own line in the list.
  private static func ask(_ entry: VMEntry) -> ControlReply? {
    try? ControlClient(entry, patience: 1).request(ControlRequest(.status))
  }

  /// - Parameter force: somebody knows that the backup does not run.
  func unprotect(_ entry: VMEntry, force: Bool, _ progress: (String) -> Void) throws -> String {
    let state = try entry.endProtection(force: force, within: Self.patience) { progress($0.line) }
    return "\"\(entry.name)\" " + (state.isLive ? "goes on here, without protection" : "is \(state.rawValue)")
  }

  /// The machine goes on at the other host, or, where this one has the copy, here.
  func handOver(_ entry: VMEntry) throws -> String {
    let reply = try ControlClient(entry).request(ControlRequest(.failover))
    return "\"\(entry.name)\": \(reply.text ?? "done")"
  }

  /// How a protection stands just now.
  func standing(_ entry: VMEntry) throws -> [String] {
    let reply = try ControlClient(entry, patience: 1).request(ControlRequest(.status))
    var facts: [(String, String)] = [
      ("Machine", reply.status?.state.rawValue ?? "unknown"), ("Protection", reply.status?.protection?.line ?? "none"),
    ]
    if let standing = reply.protection, reply.status?.protection != nil {
      facts += [
        ("Now", standing.summary), ("Other host", standing.peer), ("Witness", standing.witness),
        ("Checkpoint", "\(standing.epoch), of \(standing.pages) pages"),
      ]
      if standing.role == .primary {
        facts += [
          ("Lag", "\(standing.lagMS.tenths) ms"),
          ("Pause", "\(standing.pauseMS.tenths) ms, at most \(standing.longestPauseMS.tenths) ms lately"),
          ("Output held", "\(standing.heldBytes >> 10) KB"),
        ]
      }
      facts.append(("Crossed", MachineRates.amount(Double(standing.bytes)) + (standing.bytes < 1000 ? " bytes" : "")))
    }
    var lines = facts.map { ServiceText.fact($0, $1) }
    let said = ProtectionProcess.lines(entry.folder.protectionLog)
    if !said.isEmpty { lines += ["", "What vmctl remus has said (\(entry.folder.protectionLog)):"] + said.suffix(50) }
    return lines
  }
}

/// Set from another thread.
private final class Flag: @unchecked Sendable {
  private let lock = NSLock()
  private var value = false
  var isSet: Bool { lock.withLock { value } }
  func set() { lock.withLock { value = true } }
}

extension MenuQuestion {
  /// What can be done about a protection that there is, or was.
  static func protection(_ name: String, _ status: ProtectionStatus) -> MenuQuestion {
    var question = MenuQuestion(
      text: "\"\(name)\": \(status.line).", choices: ["Nothing", "Show how it stands"],
      effects: [nil, .read(.protection(name))])
    func offer(_ choice: String, _ effect: MenuEffect) {
      question.choices.append(choice)
      question.effects.append(effect)
    }
    switch (status.state, status.side) {
    case (.standby, _):
      offer("Take it over: it ends there, with what it has not sent yet", .run(.handOver(name)))
    case (.synchronizing, .primary): offer("End it: nothing takes over then", .run(.unprotect(name, force: false)))
    case (.protected, _):
      offer("Hand it over: it ends here and goes on there", .run(.handOver(name)))
      offer("End it: nothing takes over then", .run(.unprotect(name, force: false)))
    case (.deciding, .primary):
      offer("End it without the witness: the other host does NOT run it", .run(.unprotect(name, force: true)))
    case (.unprotected, _):
      question.forms[question.choices.count] = .protect(name)
      offer("Protect it", .refresh)
      offer("It needs none: no backup is looked for", .run(.unprotect(name, force: false)))
    default: break
    }
    return question
  }
}
