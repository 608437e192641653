import Foundation

/// Joins standard input and output to a console's connection.
public enum ConsoleLink {
  /// Returns when the escape character was typed or the connection ended. When the input ends (a pipe), what the guest
  /// answers is still shown until it has been silent for a while.
  /// - Returns: true when the user left, false when the machine went away.
  public static func join(_ connection: Int32, escape: UInt8?, input: Int32 = 0, output: Int32 = 1) -> Bool {
    var inputIsOpen = true
    // Typed, and not taken by the connection yet: the guest may not read, and the escape character must be seen all the same.
    var typed: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16384)
    while true {
      let reads = inputIsOpen && typed.count < mostTyped
      var entries = [
        pollfd(fd: connection, events: Int16(POLLIN) | (typed.isEmpty ? 0 : Int16(POLLOUT)), revents: 0),
        pollfd(fd: reads ? input : -1, events: Int16(POLLIN), revents: 0),
      ]
      let ready = poll(&entries, 2, inputIsOpen || !typed.isEmpty ? -1 : 1000)
      if ready < 0 && errno == EINTR { continue }
      if ready <= 0 { return true }
      if entries[0].revents & ~Int16(POLLOUT) != 0 {
        let count = read(connection, &chunk, chunk.count)
        guard count > 0, (try? Files.writeAll(output, Array(chunk[..<count]), path: "standard output")) != nil else {
          return false
        }
      }
      if entries[1].revents != 0 {
        let count = read(input, &chunk, chunk.count)
        if count <= 0 { inputIsOpen = false }
        let new = chunk[..<max(count, 0)]
        let end = escape.flatMap { new.firstIndex(of: $0) } ?? new.endIndex
        typed += new[..<end]
        if end != new.endIndex {
          _ = send(connection, &typed)
          return true
        }
      }
      guard send(connection, &typed) else { return false }
    }
  }

  /// Beyond this the input waits where it comes from.
  private static let mostTyped = 1 << 20

  /// Sends what the connection takes now.
  /// - Returns: false when it has ended.
  static func send(_ connection: Int32, _ typed: inout [UInt8]) -> Bool {
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
