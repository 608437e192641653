import Foundation

/// A question to a witness that may take its time: who asks does other things meanwhile.
final class WitnessClaim: @unchecked Sendable {
  private let condition = NSCondition()
  // Guarded by `condition`.
  private var heard: WitnessAnswer?

  /// - Parameter onAnswer: called on another thread.
  init(_ witness: Witness, _ session: String, _ side: ProtectionSide, onAnswer: @escaping @Sendable () -> Void = {}) {
    let thread = Thread { [self] in
      let said = witness.claim(session, side)
      condition.withLock {
        heard = said
        condition.broadcast()
      }
      onAnswer()
    }
    thread.name = "witness"
    thread.start()
  }

  /// What the witness has said so far.
  var answer: WitnessAnswer? { condition.withLock { heard } }

  /// Returns when it has answered, or so many milliseconds are over.
  func wait(milliseconds: Double) {
    let end = Date(timeIntervalSinceNow: milliseconds / 1000)
    condition.withLock { while heard == nil, condition.wait(until: end) {} }
  }
}
