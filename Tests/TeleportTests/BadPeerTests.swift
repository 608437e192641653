import Foundation
import SavedState
import Testing

@testable import Machine
@testable import Teleport

/// A plain socket to a target.
private final class RawClient: @unchecked Sendable {
  private let descriptor: Int32
  init(port: Int) {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(port).bigEndian)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    _ = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
    }
  }
  func send(_ bytes: [UInt8]) {
    _ = bytes.withUnsafeBytes { Foundation.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
  }
  /// Everything until the other side ends.
  func readAll() -> [UInt8] {
    var all: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(descriptor, &piece, piece.count, 0)
      if count <= 0 { return all }
      all += piece[..<count]
    }
  }
  /// Whether the other side has ended, and all that it said has been read.
  var isAtEnd: Bool {
    var piece = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(descriptor, &piece, piece.count, Int32(MSG_DONTWAIT))
      if count == 0 || count < 0 && errno != EAGAIN { return true }
      if count < 0 { return false }
    }
  }
  func end() { close(descriptor) }
}

@Suite(.serialized) struct BadPeerTests {
  @Test(arguments: [
    Array("GET / HTTP/1.0\r\n\r\n".utf8), Array(repeating: 0, count: 5000),
    Wire.preface + Array(repeating: 0xff, count: 64),
    Wire.preface + Wire.encode(Wire.Frame(.commit, [1])), Wire.preface + Wire.encode(Wire.Frame(.hello, [1, 2])),
  ])
  func garbageIsTurnedAwayAndTheTargetWaitsOn(bytes: [UInt8]) async throws {
    let pair = try Pair()
    let reply = try await onThread { [port = pair.port] in
      let client = RawClient(port: port)
      defer { client.end() }
      client.send(bytes)
      return client.readAll()
    }
    #expect(reply.starts(with: Wire.preface))
    let source = pair.source()
    _ = try await onThread { try source.run() }
    try await onThread { try pair.target.run() }.powerOff()
    pair.target.stop()
  }

  @Test func silentAndTricklingClientsDoNotKeepOthersOut() async throws {
    let pair = try Pair()
    let silent = (0..<5).map { _ in RawClient(port: pair.port) }
    for client in silent.dropFirst(2) { client.send(Array(Wire.preface.prefix(3))) }
    let source = pair.source()
    _ = try await onThread { try source.run() }
    try await onThread { try pair.target.run() }.powerOff()
    // They are shown the door in time.
    for client in silent {
      _ = try await onThread { client.readAll() }
      client.end()
    }
    pair.target.stop()
  }

  /// A greeting is no right to stay: only who names a transfer of this target, or proves the password, leaves the crowd.
  @Test(arguments: [Message.Intent.settle, .anchor, .teleport], [nil, "right"])
  func greetedStrangersSendEachOtherAway(intent: Message.Intent, password: String?) async throws {
    // So patient that nobody leaves of oneself.
    let pair = try Pair(password: password, patienceMS: 3_600_000)
    let hello = Message.Hello(
      minVersion: 1, maxVersion: 3, build: "1", name: "x", uuid: "x", intent: intent, nonce: Authentication.nonce(),
      password: false, paused: false)
    let greeting = Wire.preface + Wire.encode(Wire.Frame(.hello, Message.encode(hello)))
    let crowd = (0..<StrangerSeats.count * 2).map { _ in RawClient(port: pair.port) }
    defer { crowd.forEach { $0.end() } }
    for client in crowd { client.send(greeting) }
    let sentAway = await eventually { crowd.count(where: { $0.isAtEnd }) >= StrangerSeats.count }
    #expect(sentAway)
    let source = pair.source(password: password)
    _ = try await onThread { try source.run() }
    try await onThread { try pair.target.run() }.powerOff()
    pair.target.stop()
  }

  @Test func aWrongPasswordIsAnsweredOnceAndAnotherVersionByItsName() async throws {
    let pair = try Pair(password: "right")
    let port = pair.port
    for (versions, code) in [(1...3, Message.Refusal.Code.password), (90...99, .version)] {
      let codes = try await onThread { () -> [Message.Refusal.Code] in
        let link = try Connection.connect(host: "127.0.0.1", port: port, timeoutMS: 5000, wake: nil)
        let hello = Message.Hello(
          minVersion: versions.lowerBound, maxVersion: versions.upperBound, build: "1", name: "x", uuid: "x",
          intent: .teleport, nonce: Authentication.nonce(), password: true, paused: false)
        try link.send(.hello, Message.encode(hello), timeoutMS: 5000)
        try? link.send(.proof, [UInt8](repeating: 1, count: 32), timeoutMS: 5000)
        var codes: [Message.Refusal.Code] = []
        while let frame = try? link.receive(timeoutMS: 20_000, "refusal") {
          guard frame.type == .refuse else { continue }
          codes.append(try Message.decode(Message.Refusal.self, frame).code)
        }
        return codes
      }
      #expect(codes == [code])
    }
    pair.target.stop()
  }

  @Test func aSecondSourceIsToldBusy() async throws {
    let second = Log<String>()
    let pair = try Pair()
    let other = try SmallMachine(medium: SharedMedium())
    other.start(paused: false)
    let port = pair.port
    let source = pair.source(
      testPoint: TestPoint {
        guard $0 == .sourceMemory, second.all.isEmpty else { return }
        let options = TeleportSource.Options(host: "127.0.0.1", port: port, name: "x", uuid: "x")
        do { try TeleportSource(vm: other, options: options).run() } catch { second.add("\(error)") }
      })
    _ = try await onThread { try source.run() }
    #expect(second.all.first?.contains("busy") == true)
    #expect(other.teleportState == .running)
    try await onThread { try pair.target.run() }.powerOff()
    other.powerOff()
    pair.target.stop()
  }

  /// A target that answers with nonsense, or not at all.
  @Test(arguments: [[], Array("SSH-2.0-x\r\n".utf8), Wire.preface + Array(repeating: 7, count: 40)])
  func aStrangeTargetLeavesTheSourceRunning(reply: [UInt8]) async throws {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(listener) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = bind(listener, $0, size)
        _ = listen(listener, 4)
        _ = getsockname(listener, $0, &size)
      }
    }
    let port = Int(UInt16(bigEndian: address.sin_port))
    let thread = Thread {
      let peer = accept(listener, nil, nil)
      guard peer >= 0 else { return }
      _ = reply.withUnsafeBytes { send(peer, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      Thread.sleep(forTimeInterval: 4)
      close(peer)
    }
    thread.start()
    let pair = try Pair()
    let source = pair.source(port: port)
    await #expect(throws: TeleportError.self) { _ = try await onThread { try source.run() } }
    await pair.expectKept("strange target")
    pair.target.stop()
  }
}
