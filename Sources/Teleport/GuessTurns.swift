import Foundation
import Synchronization

/// Slows down who guesses passwords: where wrong ones came from, the next is looked at only when its turn has come, each later
/// than the last. Few wait for theirs; more are sent away before anything is looked at, so that nothing is learned by asking
/// often. Who comes from elsewhere waits for none of it.
final class GuessTurns: Sendable {
  /// Whether a wrong password is worth a word, by how many there were: the first ones each, then powers of two. So a guesser
  /// does not fill the disk.
  static func isTold(_ count: Int) -> Bool { count <= 4 || count & (count - 1) == 0 }

  /// How many of one address wait at a time.
  static let waiting = 4
  /// How many addresses are remembered; then who guessed longest ago is forgotten.
  static let addresses = 1024
  /// Seconds between two guesses: longer by the first with each, up to the second. All who wait have their turn within the
  /// ten seconds of a greeting.
  static let pauses = (step: 0.3, most: 2.0)

  /// One guess, which is looked at after some seconds.
  struct Turn {
    fileprivate var address: [UInt8]
    var seconds: Double
    fileprivate var isCounted: Bool
  }

  private struct Guesser {
    var wrong = 0
    var waiting = 0
    /// Seconds of the caller's clock.
    var free = 0.0
  }

  private struct State {
    var guessers: [[UInt8]: Guesser] = [:]
    var wrong = 0
  }

  private let state = Mutex(State())

  /// Takes a turn, which `end` gives back.
  /// - Parameter now: seconds of a clock that does not go back.
  /// - Returns: nil: too many wait.
  func begin(_ address: [UInt8], now: Double) -> Turn? {
    state.withLock { state in
      guard var guesser = state.guessers[address] else { return Turn(address: address, seconds: 0, isCounted: false) }
      guard guesser.waiting < Self.waiting else { return nil }
      guesser.waiting += 1
      let turn = max(guesser.free, now)
      guesser.free = turn + Self.pause(guesser.wrong)
      state.guessers[address] = guesser
      return Turn(address: address, seconds: turn - now, isCounted: true)
    }
  }

  func end(_ turn: Turn) {
    guard turn.isCounted else { return }
    state.withLock { state in
      // It may have been forgotten, and have come anew.
      guard let waiting = state.guessers[turn.address]?.waiting, waiting > 0 else { return }
      state.guessers[turn.address]?.waiting = waiting - 1
    }
  }

  /// - Returns: how many wrong ones there have been from anywhere.
  func wasWrong(_ address: [UInt8], now: Double) -> Int {
    state.withLock { state in
      if state.guessers[address] == nil, state.guessers.count >= Self.addresses,
        let oldest = state.guessers.filter({ $0.value.waiting == 0 }).min(by: { $0.value.free < $1.value.free })
      {
        state.guessers[oldest.key] = nil
      }
      var guesser = state.guessers[address] ?? Guesser()
      guesser.wrong += 1
      guesser.free = max(guesser.free, now + Self.pause(guesser.wrong))
      state.guessers[address] = guesser
      state.wrong += 1
      return state.wrong
    }
  }

  func wasRight(_ address: [UInt8]) { state.withLock { $0.guessers[address] = nil } }

  private static func pause(_ wrong: Int) -> Double { min(pauses.step * Double(wrong), pauses.most) }
}
