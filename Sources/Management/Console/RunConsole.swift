import Foundation

/// Finds a text in bytes that come piece by piece (Knuth, Morris and Pratt).
struct TextWatch {
  private let text: [UInt8]
  private let fallbacks: [Int]
  private var matched = 0

  init(_ text: String) {
    self.text = Array(text.utf8)
    var fallbacks = [0]
    var length = 0
    for byte in self.text.dropFirst() {
      while length > 0 && self.text[length] != byte { length = fallbacks[length - 1] }
      if self.text[length] == byte { length += 1 }
      fallbacks.append(length)
    }
    self.fallbacks = fallbacks
  }

  /// Whether the text ends within these bytes. An empty one is never found.
  mutating func isFound(in bytes: some Sequence<UInt8>) -> Bool {
    guard !text.isEmpty else { return false }
    for byte in bytes {
      while matched > 0 && text[matched] != byte { matched = fallbacks[matched - 1] }
      if text[matched] == byte { matched += 1 }
      if matched == text.count {
        matched = fallbacks[matched - 1]
        return true
      }
    }
    return false
  }
}

/// The keys of a terminal that is a guest's, but for those behind ^A: x ends the machine, ^A is one for the guest.
struct PrefixKeys {
  private var isBehind = false

  /// - Returns: what the guest gets, and whether its machine is to end.
  mutating func take(_ keys: some Sequence<UInt8>) -> (guest: [UInt8], ends: Bool) {
    var guest: [UInt8] = []
    for key in keys {
      if !isBehind {
        if key == 1 { isBehind = true } else { guest.append(key) }
        continue
      }
      isBehind = false
      if key == UInt8(ascii: "x") { return (guest, true) }
      guest += key == 1 ? [1] : [1, key]
    }
    return (guest, false)
  }
}

/// The console of a machine that is run once, on standard input and output.
public struct RunConsole {
  /// Why it has ended.
  public enum End: Sendable { case machineEnded, left, found, timedOut }

  private let connection: Int32
  private let stop: Int32
  private let deadline: ContinuousClock.Instant?
  private let hasKeys: Bool
  private var watch: TextWatch?
  private var keys = PrefixKeys()

  /// - Parameters:
  ///   - connection: the console's.
  ///   - stop: becomes readable when the user wants the end.
  ///   - expect: a text of the guest's at which it ends.
  ///   - seconds: for how long; nil: for ever.
  ///   - hasKeys: whether ^A x ends it.
  public init(_ connection: Int32, stop: Int32, expect: String?, seconds: Double?, hasKeys: Bool) {
    self.connection = connection
    self.stop = stop
    self.hasKeys = hasKeys
    deadline = seconds.map { .now + .milliseconds(Int64($0 * 1000)) }
    watch = expect.map(TextWatch.init)
  }

  /// Beyond this the input waits where it comes from.
  private static let mostTyped = 1 << 20

  /// Returns when the machine has ended, or is to.
  public mutating func join(input: Int32 = 0, output: Int32 = 1) -> End {
    var inputIsOpen = true
    var typed: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16384)
    while true {
      let reads = inputIsOpen && typed.count < Self.mostTyped
      var entries = [
        pollfd(fd: connection, events: Int16(POLLIN) | (typed.isEmpty ? 0 : Int16(POLLOUT)), revents: 0),
        pollfd(fd: reads ? input : -1, events: Int16(POLLIN), revents: 0),
        pollfd(fd: stop, events: Int16(POLLIN), revents: 0),
      ]
      let left = deadline.map { max(ContinuousClock.now.duration(to: $0) / .milliseconds(1), 0) }
      let ready = poll(&entries, 3, left.map { Int32(clamping: Int($0.rounded(.up))) } ?? -1)
      if ready < 0 && errno == EINTR { continue }
      if entries[2].revents != 0 { return .left }
      if entries[0].revents & ~Int16(POLLOUT) != 0 {
        let count = read(connection, &chunk, chunk.count)
        guard count > 0 else { return .machineEnded }
        let isFound = watch?.isFound(in: chunk[..<count]) == true
        guard (try? Files.writeAll(output, Array(chunk[..<count]), path: "standard output")) != nil else {
          return .left
        }
        if isFound { return .found }
      }
      if ready == 0 { return .timedOut }
      if entries[1].revents != 0 {
        let count = read(input, &chunk, chunk.count)
        if count <= 0 { inputIsOpen = false }
        let new = chunk[..<max(count, 0)]
        if hasKeys {
          let (guest, ends) = keys.take(new)
          typed += guest
          if ends { return .left }
        } else {
          typed += new
        }
      }
      // What a machine that has ended does not take is nobody's; the end is read above.
      if !ConsoleLink.send(connection, &typed) { typed = [] }
    }
  }
}
