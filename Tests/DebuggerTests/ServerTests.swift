import Foundation
import Machine
import Testing

@testable import Debugger

@Suite struct ServerTests {
  /// A server of the bench, and a debugger's connection to it.
  private func connect(_ bench: Bench) throws -> (server: GDBServer, client: Int32) {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("gdb-\(UUID().uuidString.prefix(8))").path
    func address<T>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> T) -> T {
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
      return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
      }
    }
    let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    try #require(address { bind(listener, $0, $1) } == 0 && listen(listener, 1) == 0)
    let server = try GDBServer(listener: listener, machine: bench, architecture: .i8086) { _ in }
    let client = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    try #require(address { Glibc.connect(client, $0, $1) } == 0)
    unlink(path)
    return (server, client)
  }

  private func send(_ client: Int32, _ payload: String) {
    let bytes = GDBFramer.packet(payload.utf8)
    _ = Glibc.send(client, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }

  /// What comes until a text has come or the connection has ended.
  private func hear(_ client: Int32, until text: String) -> String {
    var heard = ""
    var byte: UInt8 = 0
    while !heard.contains(text), read(client, &byte, 1) == 1 { heard.unicodeScalars.append(UnicodeScalar(byte)) }
    return heard
  }

  private static let loop = "top: inc cx; jmp top"

  @Test func aStepThatNeverEndsKeepsNobodyFromTheMachine() throws {
    let bench = try Bench(Self.loop)
    let (server, client) = try connect(bench)
    defer { close(client) }
    send(client, "?")
    #expect(hear(client, until: "#").contains("T05"))
    send(client, "vCont;r0,ffffffffffffffff:1")
    while bench.vm.inspect({ $0[0].debuggerRead(.general(1))[0] }) == 0 { usleep(1000) }
    server.dismiss("enough", ends: true)
    #expect(!server.holdsMachine)
    #expect(hear(client, until: "never said").contains("$O" + Hex.text("enough\n".utf8)))
  }

  @Test func whoDoesNotReadIsCutOff() throws {
    let bench = try Bench(Self.loop)
    let (server, client) = try connect(bench)
    defer { close(client) }
    _ = fcntl(client, F_SETFL, O_NONBLOCK)
    let wish = GDBFramer.packet("mff000,1f00".utf8)
    var stuck = 0
    while stuck < 100 {
      if Glibc.send(client, wish, wish.count, Int32(MSG_NOSIGNAL)) < 0 {
        stuck += 1
        usleep(1000)
      }
    }
    server.dismiss("enough", ends: true)
    #expect(!server.holdsMachine)
  }
}
