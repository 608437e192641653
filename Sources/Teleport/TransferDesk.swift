import Foundation
import SavedState

/// What a target process knows of the transfers it has seen: one is served at a time, and each ends exactly once.
final class TransferDesk: @unchecked Sendable {
  enum Fate: Equatable { case loading, prepared, running, discarded }

  /// What the source says about a transfer that is prepared.
  enum Verdict { case commit, abort }

  private let condition = NSCondition()
  private var current: String?
  private var fates: [String: Fate] = [:]
  private var verdict: Verdict?
  private var stopping = false
  private var answersDue = 0
  private var isSettled = false

  /// - Parameter previous: what the VM's folder says of an earlier process's transfer.
  init(previous: TeleportRecord?) {
    guard let previous, previous.role == .target else { return }
    // A process that died before it owned the machine never ran it. When the whole host died, the last record may be
    // missing, and then nothing is known.
    if previous.step == .owned {
      fates[previous.transfer] = .running
    } else if previous.step == .discarded || previous.isOfThisBoot {
      fates[previous.transfer] = .discarded
    }
  }

  /// Takes the seat. False: somebody else has it, or the machine has arrived.
  func claim(_ transfer: String) -> Bool {
    condition.withLock {
      guard current == nil, !stopping else { return false }
      current = transfer
      verdict = nil
      fates[transfer] = .loading
      return true
    }
  }

  /// Ends one that was none: a question.
  func forget(_ transfer: String) {
    condition.withLock {
      fates[transfer] = nil
      if current == transfer { current = nil }
    }
  }

  /// How many transfers it remembers.
  var transferCount: Int { condition.withLock { fates.count } }

  var isStopping: Bool { condition.withLock { stopping } }

  func stop() {
    condition.withLock {
      stopping = true
      condition.broadcast()
    }
  }

  func prepared(_ transfer: String) { condition.withLock { fates[transfer] = .prepared } }

  /// The name of the transfer with this alias, if it is known here.
  func name(of alias: String) -> String? {
    condition.withLock {
      fates.keys.first { HMAC256.equal(Array(SettlementKey.alias(of: $0).utf8), Array(alias.utf8)) }
    }
  }

  func fate(_ transfer: String) -> Fate? { condition.withLock { fates[transfer] } }

  /// A verdict that came on another connection; the session acts on it. Waits until it has. The caller sends its answer
  /// and then calls `answered`.
  func judge(_ transfer: String, _ new: Verdict, timeoutMS: Int, wake: () -> Void) -> Fate? {
    condition.lock()
    defer { condition.unlock() }
    answersDue += 1
    guard current == transfer, fates[transfer] == .prepared || (fates[transfer] == .loading && new == .abort) else {
      return fates[transfer]
    }
    if verdict == nil { verdict = new }
    condition.broadcast()
    wake()
    let end = Date(timeIntervalSinceNow: Double(timeoutMS) / 1000)
    while fates[transfer] == .prepared || fates[transfer] == .loading {
      if !condition.wait(until: end) { break }
    }
    return fates[transfer]
  }

  func answered() {
    condition.withLock {
      answersDue -= 1
      condition.broadcast()
    }
  }

  /// Waits until what was decided has been told on every connection that asked.
  func awaitAnswers(timeoutMS: Int) {
    condition.lock()
    defer { condition.unlock() }
    let end = Date(timeIntervalSinceNow: Double(timeoutMS) / 1000)
    while answersDue > 0 {
      if !condition.wait(until: end) { return }
    }
  }

  /// The machine that runs here is in its keeper's hands.
  func settled() {
    condition.withLock {
      isSettled = true
      condition.broadcast()
    }
  }

  func awaitSettled(timeoutMS: Int) {
    condition.lock()
    defer { condition.unlock() }
    let end = Date(timeIntervalSinceNow: Double(timeoutMS) / 1000)
    while !isSettled {
      if !condition.wait(until: end) { return }
    }
  }

  /// Waits for a verdict from another connection; nil when none came in time or the target is being stopped.
  func awaitVerdict(graceMS: Int) -> Verdict? {
    condition.lock()
    defer { condition.unlock() }
    let end = Date(timeIntervalSinceNow: Double(graceMS) / 1000)
    while verdict == nil && !stopping {
      if !condition.wait(until: end) { break }
    }
    return verdict
  }

  var currentVerdict: Verdict? { condition.withLock { verdict } }

  /// Ends the transfer. The seat is free again unless the machine runs.
  func settle(_ transfer: String, _ fate: Fate) {
    condition.withLock {
      fates[transfer] = fate
      if fate == .discarded { current = nil }
      condition.broadcast()
    }
  }
}
