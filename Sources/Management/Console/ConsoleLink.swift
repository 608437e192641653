import Foundation

/// Joins standard input and output to a console's connection.
public struct ConsoleLink {
  /// Which of the keys are not the guest's.
  public enum Keys: Sendable {
    /// None.
    case none
    /// One, which leaves.
    case escape(UInt8)
    /// Those behind ^A: x leaves, b is a break, ^A is one for the guest.
    case prefixed
  }

  /// Why it has ended.
  public enum End: Equatable, Sendable {
    /// The user has left.
    case left
    /// `stop` has become readable.
    case stopped
    /// The output cannot be written: nobody reads it, or there is no room.
    case outputFailed(Int32)
    /// The connection has ended.
    case machineEnded
    /// The guest has said what was expected.
    case found
    /// The guest has said what must not be.
    case alarmed
    case timedOut
  }

  private let connection: Int32
  private let keys: Keys
  /// Becomes readable when the user wants the end; -1: never.
  public var stop: Int32 = -1
  /// Sends a break.
  public var onBreak: () -> Void = {}
  /// A text of the guest's at which it ends.
  public var expect: String?
  /// A text of the guest's at which it ends, too: something has gone wrong.
  public var alarm: String?
  /// Seconds; nil: for ever.
  public var timeout: Double?
  /// When the input has ended (a pipe), what the guest answers is still shown until it has been silent for a second.
  public var endsWithInput = true

  /// A console's connection, and which keys are not for it.
  public init(_ connection: Int32, keys: Keys) {
    self.connection = connection
    self.keys = keys
  }

  /// Beyond this the input waits where it comes from.
  private static let mostTyped = 1 << 20

  /// Returns when there is a reason to.
  public func join(input: Int32 = 0, output: Int32 = 1) -> End {
    var deadline = timeout.map { ContinuousClock.now + .milliseconds(Int64($0 * 1000)) }
    var (watch, alarms) = (expect.map(TextWatch.init), alarm.map(TextWatch.init))
    var hasAlarm = false
    var prefix = PrefixKeys()
    var inputIsOpen = true
    // Typed, and not taken by the connection yet: the guest may not read, and what leaves must be seen all the same.
    var typed: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16384)
    while true {
      let reads = inputIsOpen && typed.count < Self.mostTyped
      var entries = [
        pollfd(fd: connection, events: Int16(POLLIN) | (typed.isEmpty ? 0 : Int16(POLLOUT)), revents: 0),
        pollfd(fd: reads ? input : -1, events: Int16(POLLIN), revents: 0),
        pollfd(fd: stop, events: Int16(POLLIN), revents: 0),
      ]
      let left = deadline.map { max(ContinuousClock.now.duration(to: $0) / .milliseconds(1), 0).rounded(.up) }
      let silence = endsWithInput && !inputIsOpen && typed.isEmpty ? 1000.0 : nil
      let patience = [left, silence].compactMap { $0 }.min()
      let ready = poll(&entries, 3, patience.map { Int32(clamping: Int($0)) } ?? -1)
      if ready < 0 && errno == EINTR { continue }
      if ready < 0 || entries[2].revents != 0 { return .stopped }
      if ready == 0 { return hasAlarm ? .alarmed : patience == left ? .timedOut : .left }
      if entries[0].revents & ~Int16(POLLOUT) != 0 {
        let count = read(connection, &chunk, chunk.count)
        guard count > 0 else { return .machineEnded }
        let isFound = watch?.isFound(in: chunk[..<count]) == true
        let isAlarmed = alarms?.isFound(in: chunk[..<count]) == true
        errno = 0
        guard (try? Files.writeAll(output, Array(chunk[..<count]), path: "standard output")) != nil else {
          return .outputFailed(errno)
        }
        if isFound { return .found }
        // Its line is shown to the end, which may still be on its way.
        if isAlarmed || hasAlarm {
          if chunk[..<count].contains(10) && (hasAlarm || chunk[count - 1] == 10) { return .alarmed }
          hasAlarm = true
          deadline = min(deadline ?? .now + .seconds(1), .now + .seconds(1))
        }
      }
      // A guest that never pauses has no more time than others.
      if left == 0 { return hasAlarm ? .alarmed : .timedOut }
      if entries[1].revents != 0 {
        let count = read(input, &chunk, chunk.count)
        if count <= 0 { inputIsOpen = false }
        let (guest, leaves) = sort(chunk[..<max(count, 0)], &prefix)
        for _ in 0..<prefix.takeBreaks() { onBreak() }
        typed += guest
        if leaves {
          _ = send(&typed)
          return .left
        }
      }
      // The last words of a connection that takes no more are read above, and then its end.
      if !send(&typed) { typed = [] }
    }
  }

  private func sort(_ new: ArraySlice<UInt8>, _ prefix: inout PrefixKeys) -> (guest: [UInt8], leaves: Bool) {
    switch keys {
    case .none: return (Array(new), false)
    case .escape(let key):
      let end = new.firstIndex(of: key)
      return (Array(new[..<(end ?? new.endIndex)]), end != nil)
    case .prefixed: return prefix.take(new)
    }
  }

  /// Sends what the connection takes now.
  /// - Returns: false when it has ended.
  private func send(_ typed: inout [UInt8]) -> Bool {
    while !typed.isEmpty {
      let count = Glibc.send(connection, typed, typed.count, Int32(MSG_DONTWAIT))
      if count < 0 {
        if errno == EINTR { continue }
        return errno == EAGAIN
      }
      typed.removeFirst(count)
    }
    return true
  }
}
