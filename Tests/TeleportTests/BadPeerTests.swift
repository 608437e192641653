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
