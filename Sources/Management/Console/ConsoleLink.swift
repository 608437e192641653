import Foundation

/// Joins standard input and output to a console's connection.
public enum ConsoleLink {
  /// Returns when the escape character was typed or the connection ended. When the input ends (a pipe), what the guest
  /// answers is still shown until it has been silent for a while.
  /// - Returns: true when the user left, false when the machine went away.
  public static func join(_ connection: Int32, escape: UInt8?, input: Int32 = 0, output: Int32 = 1) -> Bool {
    var inputIsOpen = true
    while true {
      var entries = [
        pollfd(fd: connection, events: Int16(POLLIN), revents: 0),
        pollfd(fd: inputIsOpen ? input : -1, events: Int16(POLLIN), revents: 0),
      ]
      let ready = poll(&entries, 2, inputIsOpen ? -1 : 1000)
      if ready < 0 && errno == EINTR { continue }
      if ready <= 0 { return true }
      var chunk = [UInt8](repeating: 0, count: 16384)
      if entries[0].revents != 0 {
        let count = read(connection, &chunk, chunk.count)
        guard count > 0, (try? Files.writeAll(output, Array(chunk[..<count]), path: "standard output")) != nil else {
          return false
        }
      }
      if entries[1].revents != 0 {
        let count = read(input, &chunk, chunk.count)
        guard count > 0 else {
          inputIsOpen = false
          continue
        }
        let typed = chunk[..<count]
        let end = escape.flatMap { typed.firstIndex(of: $0) } ?? typed.endIndex
        guard (try? Files.writeAll(connection, Array(typed[..<end]), path: "the console")) != nil else { return false }
        if end != typed.endIndex { return true }
      }
    }
  }
}
