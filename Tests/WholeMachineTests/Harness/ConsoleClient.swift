import Foundation

/// What a test sees of a terminal: text comes, keys go.
protocol TextStream: AnyObject {
  /// What has come and was not awaited yet.
  var pending: [UInt8] { get set }
  /// Waits for more, at most `milliseconds`.
  /// - Returns: false when nothing will come any more.
  func receive(_ milliseconds: Int32) throws -> Bool
  func send(_ bytes: [UInt8]) throws
}

extension TextStream {
  func send(_ text: String) throws { try send(Array(text.utf8)) }

  /// Waits until the text has come.
  /// - Returns: what came before it. What comes after it is there for the next call.
  @discardableResult
  func expect(_ text: String, within seconds: Double = patience) throws -> String {
    let wanted = Array(text.utf8)
    let end = ContinuousClock.now + .seconds(seconds)
    while true {
      if let range = pending.firstRange(of: wanted) {
        let before = String(decoding: pending[..<range.lowerBound], as: UTF8.self)
        pending.removeSubrange(..<range.upperBound)
        return before
      }
      let isOpen = try receive(100)
      if !isOpen && pending.firstRange(of: wanted) == nil {
        throw Failure("the console closed before \"\(text)\" came; it ended with:\n\(tail)")
      }
      if ContinuousClock.now > end { throw Failure("waited \(seconds) s for \"\(text)\" on the console:\n\(tail)") }
    }
  }

  /// Types a line at a shell's prompt and gives back what it answered. What was there before, prompts too, is passed
  /// over: the answer ends with a mark of its own, and begins behind the last echo of it.
  @discardableResult
  func shell(_ line: String, prompt: String = "guest# ", within seconds: Double = patience) throws -> String {
    let mark = String(UInt32.random(in: 100_000..<1_000_000))
    try send("\(line)\(line.hasSuffix("&") ? "" : ";") printf '<%s>' \(mark)\n")
    let all = try expect("<\(mark)>", within: seconds)
    try expect(prompt, within: seconds)
    let echo = all.range(of: "\(mark)\r\n", options: .backwards)?.upperBound ?? all.startIndex
    return all[echo...].replacingOccurrences(of: "\r\n", with: "\n")
  }

  /// Escape in BusyBox's vi: waits for the status line of its command mode, since what follows an escape too soon is one key
  /// with it.
  func leaveInsertMode(_ file: String) throws {
    try send("\u{1B}")
    try expect("- \(file) [Modified]")
  }

  /// How long the Linux guest says it has been running, in seconds.
  func uptime() throws -> Double {
    let text = try shell("cut -d ' ' -f 1 /proc/uptime")
    // A line of a program in the background may stand beside it.
    guard let seconds = text.split(separator: "\n").compactMap({ Double($0) }).last else {
      throw Failure("no uptime: \(text)")
    }
    return seconds
  }

  private var tail: String { String(decoding: pending.suffix(2000), as: UTF8.self) }
}

/// A telnet client on a TCP socket that agrees to nothing and shows the data.
final class ConsoleClient: TextStream {
  var pending: [UInt8] = []
  private let socket: Int32
  private var telnet = TelnetFilter()

  init(port: UInt16) throws {
    socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else {
      close(socket)
      throw Failure("cannot connect to console port \(port): \(String(cString: strerror(errno)))")
    }
  }

  /// Connects to a console that is a socket in the file system; it speaks no telnet, and none is needed.
  init(path: String) throws {
    socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8).prefix($0.count - 1)) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0 else {
      close(socket)
      throw Failure("cannot connect to \(path): \(String(cString: strerror(errno)))")
    }
  }

  deinit { close(socket) }

  func receive(_ milliseconds: Int32) throws -> Bool {
    var wish = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
    guard Glibc.poll(&wish, 1, milliseconds) > 0 else { return true }
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = recv(socket, &bytes, bytes.count, 0)
    guard count > 0 else { return false }
    pending += telnet.data(bytes[..<count])
    return true
  }

  func send(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard count > 0 else {
        throw Failure("the console does not take what is typed: \(String(cString: strerror(errno)))")
      }
      rest = rest.dropFirst(count)
    }
  }
}

/// Takes the commands out of what a telnet server sends (RFC 854).
private struct TelnetFilter {
  private enum State { case data, command, option, subnegotiation, subnegotiationCommand }
  private var state = State.data

  mutating func data(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    var result: [UInt8] = []
    for byte in bytes {
      switch state {
      case .data: if byte == 255 { state = .command } else { result.append(byte) }
      case .command:
        switch byte {
        case 255:
          result.append(255)
          state = .data
        case 251...254: state = .option
        case 250: state = .subnegotiation
        default: state = .data
        }
      case .option: state = .data
      case .subnegotiation: if byte == 255 { state = .subnegotiationCommand }
      case .subnegotiationCommand: state = byte == 240 ? .data : .subnegotiation
      }
    }
    return result
  }
}

/// A terminal with a program on it, as a person would use it.
final class TerminalSession: TextStream {
  var pending: [UInt8] = []
  let child: Child
  private let master: Int32

  init(_ program: String, _ arguments: [String], environment: [String: String]) throws {
    master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
    let lockRequest: UInt = 0x4004_5431  // TIOCSPTLCK
    let numberRequest: UInt = 0x8004_5430  // TIOCGPTN
    var locked: Int32 = 0
    var number: Int32 = 0
    guard master >= 0, ioctl(master, lockRequest, &locked) == 0, ioctl(master, numberRequest, &number) == 0 else {
      throw Failure("no pseudo terminal: \(String(cString: strerror(errno)))")
    }
    var variables = environment
    variables["TERM"] = "vt100"
    child = try Child(program, arguments, environment: variables, streams: .terminal("/dev/pts/\(number)"))
  }

  deinit { close(master) }

  func receive(_ milliseconds: Int32) throws -> Bool {
    var wish = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
    guard Glibc.poll(&wish, 1, milliseconds) > 0 else { return true }
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = read(master, &bytes, bytes.count)
    guard count > 0 else { return false }
    pending += bytes[..<count]
    return true
  }

  /// Whether the terminal shows what is typed.
  var echoes: Bool {
    var settings = termios()
    return tcgetattr(master, &settings) == 0 && settings.c_lflag & tcflag_t(ECHO) != 0
  }

  func send(_ bytes: [UInt8]) throws {
    guard write(master, bytes, bytes.count) == bytes.count else { throw Failure("the terminal takes nothing") }
  }
}
