import Foundation
import NIOConcurrencyHelpers

/// A file that is new at each start, at a size and at an age, with those before it kept by number: "log", "log.1", "log.2".
final class RotatingFile: Sendable {
  /// How many of before are kept.
  static let kept = 3
  /// The size, in bytes, at which a file is put by.
  static let largest = 4 << 20
  /// The age, in seconds, at which it is: a week.
  static let oldest: TimeInterval = 7 * 86400

  let path: String
  private let limit: Int
  private let age: TimeInterval
  private let now: @Sendable () -> Date
  private let state: NIOLockedValueBox<State>
  /// Whether standard output and error go into it as well.
  private let takesOutput: Bool

  private struct State {
    var descriptor: Int32
    var size: Int
    var began: Date
  }

  /// - Parameter now: the time, for tests.
  init(
    _ path: String, takesOutput: Bool = false, limit: Int = RotatingFile.largest,
    age: TimeInterval = RotatingFile.oldest, now: @escaping @Sendable () -> Date = { Date() }
  ) throws {
    self.path = path
    self.limit = limit
    self.age = age
    self.now = now
    self.takesOutput = takesOutput
    state = NIOLockedValueBox(State(descriptor: try Self.openNew(path, takesOutput), size: 0, began: now()))
  }

  deinit { state.withLockedValue { _ = close($0.descriptor) } }

  /// File number `index`: 0 is the present one.
  static func numbered(_ path: String, _ index: Int) -> String { index == 0 ? path : "\(path).\(index)" }

  private static func openNew(_ path: String, _ takesOutput: Bool) throws -> Int32 {
    for index in stride(from: kept, to: 0, by: -1) where Files.exists(numbered(path, index - 1)) {
      rename(numbered(path, index - 1), numbered(path, index))
    }
    let descriptor = try Files.openFile(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, "write the log")
    if takesOutput {
      dup2(descriptor, 1)
      dup2(descriptor, 2)
    }
    return descriptor
  }

  /// A full disk loses what is written, not the machine.
  func write(_ bytes: [UInt8]) {
    state.withLockedValue { state in
      let isFull = state.size + bytes.count > limit || now().timeIntervalSince(state.began) > age
      // An empty one is not put by: it would push out one that is not.
      if isFull, state.size > 0, let next = try? Self.openNew(path, takesOutput) {
        close(state.descriptor)
        state = State(descriptor: next, size: 0, began: now())
      }
      try? Files.writeAll(state.descriptor, bytes, path: path)
      state.size += bytes.count
    }
  }
}
