import ArgumentParser
import Foundation
import Management

/// Protects a machine for as long as its command stays: shows how it stands, starts what asks the witness anew when that has
/// ended, and looks for a backup again that was lost.
final class ProtectionCommand: @unchecked Sendable {
  /// Seconds between two looks for a backup.
  private static let pause = 3.0
  private let entry: VMEntry
  private let place: WitnessPlace
  private let wish: ProtectionRequest
  private let line = ProgressLine()
  /// What was shown last.
  private var shown: String?
  private var hasBeenProtected: Bool

  private let condition = NSCondition()
  // Guarded by `condition`.
  private var isStopped = false
  private var client: ControlClient?

  /// - Parameter isRenewal: the machine was protected before, by another command or at the other host.
  init(_ entry: VMEntry, _ place: WitnessPlace, _ wish: ProtectionRequest, isRenewal: Bool) {
    (self.entry, self.place, self.wish) = (entry, place, wish)
    hasBeenProtected = isRenewal
  }

  /// Ends it. From any thread.
  func stop() {
    condition.withLock {
      isStopped = true
      try? client?.post(ControlRequest(.cancel))
      condition.broadcast()
    }
  }

  /// - Parameter once: a backup that is lost is not looked for.
  /// - Returns: what to tell people.
  /// - Throws: `ManagementError` with why there is no protection any more, or none to begin with.
  func run(once: Bool) throws -> String {
    do {
      let text = try keep(once: once)
      if mayReturn { returnAsBackup() }
      return text
    } catch {
      guard mayReturn else { throw error }
      Terminal.error("vmctl: \(ManagementError.text(for: error))")
      returnAsBackup()
      throw ExitCode.failure
    }
  }

  /// Whether the machine has gone, and is to wait here for its host where it has one.
  private var mayReturn: Bool {
    guard wish.returning != nil, let state = try? entry.folder.currentStatus().state else { return false }
    return state == .teleported || state == .aborted && place.canBeLookedAt
  }

  /// Where the machine is the other host's it waits here to be found from there. Its process cannot do that: it has ended,
  /// and may start none.
  private func returnAsBackup() {
    var problem: String?
    // Somebody else may start it.
    while mayReturn {
      do {
        let hasGone = try entry.folder.currentStatus().state == .teleported
        switch hasGone ? .backup : entry.sideAfterLoss() {
        case .backup:
          for text in try VMLauncher.start(entry, registry: try Registry.fromEnvironment()) { Terminal.line(text) }
          return
        case .primary: return
        case nil: break
        }
      } catch {
        let text = ManagementError.text(for: error)
        if text != problem {
          Terminal.error("\(text)\nthe machine waits here as the backup as soon as it can; ^C ends that")
        }
        problem = text
      }
      if isStopped(withinSeconds: Self.pause) { return }
    }
  }

  private func keep(once: Bool) throws -> String {
    var problem: String?
    while true {
      do {
        return try protect()
      } catch {
        line.finish()
        guard hasBeenProtected, !once else { throw error }
        let state = try entry.folder.currentStatus().state
        guard state.isLive else { throw state == .aborted ? hasDied : error }
        let text = ManagementError.text(for: error)
        if text != problem { Terminal.error("\(text)\nlooking for the backup until it is there again; ^C ends that") }
        problem = text
        shown = nil
        if isStopped(withinSeconds: Self.pause) {
          // Nobody looks for it any more.
          _ = try? ControlClient(entry).request(ControlRequest(.unprotect))
          return "the machine goes on here, without protection"
        }
      }
    }
  }

  private var hasDied: ManagementError {
    ManagementError(
      "the machine's process on this host has ended without a word; the backup at \(wish.target.host) goes on with the machine "
        + "when the witness gives it the machine",
      remedy: "see vmctl showvminfo there")
  }

  private func isStopped(withinSeconds seconds: Double) -> Bool {
    condition.withLock {
      let end = Date(timeIntervalSinceNow: seconds)
      while !isStopped, condition.wait(until: end) {}
      return isStopped
    }
  }

  /// Until there is no protection any more.
  private func protect() throws -> String {
    let client = try ControlClient(entry)
    if place != .none { try entry.passWitness(place) }
    condition.withLock { self.client = client }
    defer { condition.withLock { self.client = nil } }
    var request = ControlRequest(.protect)
    request.protection = wish
    request.protection?.isRenewal = hasBeenProtected
    let reply = try client.request(request) { reply in
      show(reply)
      // Who wanted the end before there was somebody to tell it.
      if condition.withLock({ isStopped }) { try? client.post(ControlRequest(.cancel)) }
    }
    line.finish()
    return reply.text ?? "done"
  }

  private func show(_ reply: ControlReply) {
    guard let protection = reply.protection else { return }
    if protection.hasLostWitness {
      do {
        try entry.passWitness(place)
      } catch {
        line.finish()
        Terminal.error(
          "the process that asks the witness has ended, and no other can be had: \(ManagementError.text(for: error))")
      }
    }
    let state = protection.state.rawValue
    if case .protected = protection.state { hasBeenProtected = true }
    // In a file a line for each change is enough of something that stays for weeks.
    if Terminal.errorIsTerminal || state != shown { line.show(protection.summary, isUrgent: true) }
    shown = state
  }
}
