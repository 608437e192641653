import Foundation
import NIOCore
import NIOPosix
import Testing

@testable import Management

/// A control server at a path longer than a socket address holds, with a service that echoes.
private final class Server {
  let temporary: TemporaryRegistry
  let path: String
  let server: ControlServer
  let console: SerialConsole
  static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

  init() throws {
    temporary = try TemporaryRegistry(deep: true)
    try Files.makeDirectory(temporary.registry.home)
    path = temporary.registry.home + "/control.sock"
    let console = SerialConsole(slot: 1, eventLoop: Self.group.next())
    self.console = console
    server = try ControlServer(path: path, group: Self.group) { slot in
      guard slot ?? 1 == 1 else { throw ManagementError("no uart \(slot ?? 0)") }
      return console
    } service: { request, session in
      if request.command == .pause { throw ManagementError("cannot be paused") }
      if request.command == .savestate {
        let semaphore = DispatchSemaphore(value: 0)
        session.whenCancelled { semaphore.signal() }
        session.sendProgress(.progress("half"))
        semaphore.wait()
        throw ManagementError("cancelled")
      }
      return .done(request.text)
    }
  }

  deinit { server.close() }

  func connect() throws -> Int32 {
    let descriptor = try UnixSocket.connect(path: path)
    var limit = timeval(tv_sec: 300, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    return descriptor
  }

  static func line(_ descriptor: Int32) -> String? {
    var line: [UInt8] = []
    var byte: UInt8 = 0
    while read(descriptor, &byte, 1) == 1 {
      if byte == 10 { return String(decoding: line, as: UTF8.self) }
      line.append(byte)
    }
    return nil
  }

  static func reply(_ descriptor: Int32) throws -> ControlReply {
    try JSONDecoder().decode(ControlReply.self, from: Data((try #require(line(descriptor))).utf8))
  }

  static func send(_ descriptor: Int32, _ text: String) throws {
    try Files.writeAll(descriptor, Array(text.utf8), path: "socket")
  }
}

@Suite struct ControlTests {
  @Test func requestsAreAnsweredAndOnlyTheOwnerMayAsk() throws {
    let server = try Server()
    #expect(server.path.utf8.count > 108)
    var information = stat()
    #expect(stat(server.path, &information) == 0 && information.st_mode & 0o777 == 0o600)
    let socket = try server.connect()
    defer { close(socket) }
    try Server.send(socket, "{\"command\":\"info\",\"text\":\"pic\"}\n")
    #expect(try Server.reply(socket).text == "pic")
    try Server.send(socket, "{\"command\":\"pause\"}\n")
    #expect(try Server.reply(socket).error == "cannot be paused")
  }

  @Test func requestsMayArriveInAnyPieces() throws {
    let server = try Server()
    let socket = try server.connect()
    defer { close(socket) }
    for byte in Array("{\"command\":\"info\",\"text\":\"x\"}\n".utf8) {
      try Files.writeAll(socket, [byte], path: "socket")
    }
    #expect(try Server.reply(socket).text == "x")
  }

  @Test(arguments: [
    "hello\n", "{}\n", "{\"command\":\"explode\"}\n", "{\"command\":3}\n", "[1,2]\n",
    "{\"command\":\"info\",\"text\":{}}\n",
    "\u{0}\u{1}\u{FFFD}\n", "{\"command\":\"keyboardputscancode\",\"scancodes\":[999]}\n",
  ])
  func garbageIsAnsweredAndTheConnectionGoesOn(_ garbage: String) throws {
    let server = try Server()
    let socket = try server.connect()
    defer { close(socket) }
    try Server.send(socket, garbage)
    #expect(try Server.reply(socket).error?.hasPrefix("this is no request; send JSON") == true)
    try Server.send(socket, "{\"command\":\"info\",\"text\":\"y\"}\n")
    #expect(try Server.reply(socket).text == "y")
  }

  @Test func anEndlessLineEndsTheConnectionAndNothingElse() throws {
    let server = try Server()
    signal(SIGPIPE, SIG_IGN)
    let socket = try server.connect()
    defer { close(socket) }
    try? Server.send(socket, String(repeating: "a", count: LineFramer.limit * 2))
    #expect(try Server.reply(socket).error?.contains("65536 bytes") == true)
    let other = try server.connect()
    defer { close(other) }
    try Server.send(other, "{\"command\":\"info\",\"text\":\"z\"}\n")
    #expect(try Server.reply(other).text == "z")
  }

  @Test func aLongRequestIsCancelledByWordAndByGoingAway() throws {
    let server = try Server()
    let socket = try server.connect()
    defer { close(socket) }
    try Server.send(socket, "{\"command\":\"savestate\"}\n")
    #expect(try Server.reply(socket).progress == "half")
    try Server.send(socket, "{\"command\":\"info\"}\n")
    #expect(try Server.reply(socket).error == "a request is under way already")
    try Server.send(socket, "{\"command\":\"cancel\"}\n")
    #expect(try Server.reply(socket).error == "cancelled")
    let other = try server.connect()
    try Server.send(other, "{\"command\":\"savestate\"}\n")
    close(other)
  }

  @Test func aConsoleShowsWhatWasAndTakesWhatIsTyped() throws {
    let server = try Server()
    server.console.output(Array("before\n".utf8))
    let typed = DispatchSemaphore(value: 0)
    server.console.connect { bytes in
      if bytes == Array("keys".utf8) { typed.signal() }
      return bytes.count
    }
    let socket = try server.connect()
    defer { close(socket) }
    try Server.send(socket, "{\"command\":\"console\",\"uart\":7}\n")
    #expect(try Server.reply(socket).error == "no uart 7")
    try Server.send(socket, "{\"command\":\"console\"}\n")
    #expect(try Server.reply(socket).error == nil)
    #expect(Server.line(socket) == "before")
    server.console.output(Array("after\n".utf8))
    #expect(Server.line(socket) == "after")
    try Server.send(socket, "keys")
    #expect(typed.wait(timeout: .now() + 300) == .success)
  }

  @Test func aClientThatDoesNotReadHoldsNobodyUp() throws {
    let server = try Server()
    let socket = try server.connect()
    defer { close(socket) }
    try Server.send(socket, "{\"command\":\"console\"}\n")
    #expect(try Server.reply(socket).error == nil)
    server.console.output(Array("hello\n".utf8))
    #expect(Server.line(socket) == "hello")
    // Far more than the sockets and the buffer hold.
    let block = [UInt8](repeating: 120, count: 65536)
    for _ in 0..<200 { server.console.output(block) }
    server.console.output(Array("\nthe end\n".utf8))
    var last: String?
    var sawMark = false
    while let line = Server.line(socket) {
      if line.contains("bytes of output are lost") { sawMark = true }
      last = line
      if line == "the end" { break }
    }
    #expect(last == "the end")
    #expect(sawMark)
  }

  @Test func typingBeforeTheMachineIsThereIsKept() throws {
    let console = SerialConsole(slot: 1, eventLoop: Server.group.next())
    #expect(console.type(Array("early".utf8), ObjectIdentifier(console), onRoom: {}) == 5)
    let arrived = DispatchSemaphore(value: 0)
    console.connect { bytes in
      if bytes == Array("early".utf8) { arrived.signal() }
      return bytes.count
    }
    #expect(arrived.wait(timeout: .now() + 300) == .success)
  }
}
