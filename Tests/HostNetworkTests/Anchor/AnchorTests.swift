import Foundation
import Testing

@testable import HostNetwork

/// NAT processes for real whose machine goes from one to the next.
@Suite(.enabled(if: NATBench.program != nil, "needs vmctl beside the tests, or its path in VMCTL"))
struct AnchorTests {
  /// A TCP connection of a guest's that consists of a test.
  private struct Connection {
    var tcp = MiniTCP()
    var next: UInt32 = 1000
    var expects: UInt32 = 0

    /// Opens it to a port of the host's.
    init(_ bench: NATBench, to port: Int, from: UInt16 = 40000) throws {
      tcp.guest.port = from
      tcp.remote.port = UInt16(port)
      bench.send(tcp.frame(.fromGuest, .syn, sequence: next))
      let answer = try wait(bench) { $0.flags == [.syn, .ack] }
      next += 1
      expects = answer.next
      bench.send(tcp.frame(.fromGuest, .ack, sequence: next, acknowledged: expects))
    }

    /// A segment for it.
    func wait(_ bench: NATBench, _ isIt: (TCPHeader) -> Bool) throws -> TCPHeader {
      let port = tcp.guest.port
      return try bench.wait { frame in
        guard case .flow(let key, let header?) = FramePacket(frame, .toGuest), key.guest.port == port, isIt(header)
        else {
          return nil
        }
        return header
      }
    }

    mutating func say(_ bench: NATBench, _ bytes: [UInt8]) {
      bench.send(tcp.frame(.fromGuest, [.ack], sequence: next, acknowledged: expects, bytes))
      next += UInt32(bytes.count)
    }

    mutating func hear(_ bench: NATBench) throws -> Int {
      let header = try wait(bench) { $0.length > 0 }
      #expect(header.sequence == expects)
      expects = header.next
      bench.send(tcp.frame(.fromGuest, .ack, sequence: next, acknowledged: expects))
      return header.length
    }
  }

  /// A file for an anchor's status.
  private final class StatusFile {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("anchor-\(UUID().uuidString)").path
    let descriptor: Int32
    init() { descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600) }
    deinit { unlink(path) }
    var status: AnchorStatus? {
      let decoder = JSONDecoder()
      decoder.dateDecodingStrategy = .iso8601
      return FileManager.default.contents(atPath: path).flatMap { try? decoder.decode(AnchorStatus.self, from: $0) }
    }
  }

  /// The machine goes from one to the other.
  private func move(_ from: NATBench, _ to: NATBench, _ file: StatusFile = StatusFile()) throws -> pid_t {
    let process = from.helper.process
    let (one, other) = try Descriptors.pair()
    from.pipe.toHost.close()
    let key = (0..<32).map { _ in UInt8.random(in: 0...255) }
    try to.helper.join(other, key: key)
    try from.helper.leave(
      one, key: key, file: dup(file.descriptor), status: AnchorStatus(process: process, card: 1, towards: "there"))
    #expect(from.helper.process == 0)
    return process
  }

  private func awaitEnd(_ process: pid_t) throws {
    var status: Int32 = 0
    for _ in 0..<30_000 {
      if waitpid(process, &status, WNOHANG) == process { return }
      usleep(2000)
    }
    throw HostNetworkError("process \(process) has not ended")
  }

  private func accepted(_ server: HostSocket) -> HostSocket {
    HostSocket(descriptor: accept(server.descriptor, nil, nil))
  }

  @Test func connectionsGoOnThroughAChainOfHostsAndTheHostsEndWithThem() throws {
    let benches = try (0..<3).map { _ in try NATBench() }
    defer { for bench in benches { bench.helper.stop() } }
    _ = try benches[0].findGateway()
    let server = try HostSocket(SOCK_STREAM, listening: true)
    var connection = try Connection(benches[0], to: server.port)
    let peer = accepted(server)
    let files = [StatusFile(), StatusFile()]
    var anchors: [pid_t] = []
    for step in 0..<3 {
      if step > 0 {
        anchors.append(try move(benches[step - 1], benches[step], files[step - 1]))
        // So that its own stack knows where the guest is.
        _ = try benches[step].findGateway()
      }
      connection.say(benches[step], [UInt8](repeating: 7, count: 100 + step))
      #expect(try peer.read() == [UInt8](repeating: 7, count: 100 + step))
      try peer.write([UInt8](repeating: 8, count: 50 + step))
      #expect(try connection.hear(benches[step]) == 50 + step)
    }
    let report = try #require(benches[2].helper.report())
    #expect(report.hosts.map(\.counts) == ["1 TCP"] && report.hosts.first?.name != nil)
    #expect(report.flows.map(\.name) == ["tcp 10.0.2.15:40000 10.0.2.2:\(server.port)"])
    try benches[2].until { files.allSatisfy { $0.status?.report?.count == 1 } }
    #expect(files.compactMap { $0.status?.process } == anchors)

    // A new one has nothing to do with them.
    var own = try Connection(benches[2], to: server.port, from: 40001)
    let ownPeer = accepted(server)
    own.say(benches[2], [1])
    #expect(try ownPeer.read() == [1])
    #expect(benches[2].helper.report()?.hosts.map { $0.name == nil } == [true, false])

    benches[2].send(
      connection.tcp.frame(.fromGuest, [.rst, .ack], sequence: connection.next, acknowledged: connection.expects))
    #expect(try peer.read() == [])
    for process in anchors { try awaitEnd(process) }
    #expect(files.allSatisfy { FileManager.default.contents(atPath: $0.path) == Data() })
    try benches[2].until { benches[2].helper.report()?.hosts.count == 1 }
    own.say(benches[2], [2])
    #expect(try ownPeer.read() == [2])
    #expect(benches[2].log.isEmpty, "an end is no loss")
  }

  @Test func nothingIsLostOrDoubledOnTheWay() throws {
    let (old, new) = (try NATBench(), try NATBench())
    defer { for bench in [old, new] { bench.helper.stop() } }
    let guest = try old.findGateway()
    let echo = try HostSocket(SOCK_DGRAM)
    old.send(guest.udp(to: [10, 0, 2, 2], port: echo.port, [0]))
    let (_, sender) = try echo.receive()
    // More than the machine takes: four are in its hands, the others on the way in three processes.
    for index in 1...40 as ClosedRange<UInt8> { try echo.send([index], to: sender) }
    try old.until { old.pipe.toDevice.counters.refusals > 0 }
    _ = try move(old, new)
    for index in 41...50 as ClosedRange<UInt8> { try echo.send([index], to: sender) }
    var found = old.pipe.toDevice.take().compactMap { MiniGuest.datagram($0, to: 4000) }.flatMap { $0 }
    #expect(found.count == 4)
    while found.count < 50 { found += try new.wait { MiniGuest.datagram($0, to: 4000) } }
    #expect(found == Array(1...50))
    // And back the same way.
    new.send(guest.udp(to: [10, 0, 2, 2], port: echo.port, [99]))
    #expect(try echo.receive().0 == [99])
  }

  @Test func aHostThatIsLostIsToldToTheGuestAtOnce() throws {
    let (old, new) = (try NATBench(), try NATBench())
    defer { for bench in [old, new] { bench.helper.stop() } }
    _ = try old.findGateway()
    let server = try HostSocket(SOCK_STREAM, listening: true)
    var connection = try Connection(old, to: server.port)
    let peer = accepted(server)
    let anchor = try move(old, new)
    _ = try new.findGateway()
    connection.say(new, [1])
    #expect(try peer.read() == [1])
    kill(anchor, SIGKILL)
    try awaitEnd(anchor)
    let reset = try connection.wait(new) { $0.flags.contains(.rst) }
    #expect(reset.sequence == connection.expects && reset.acknowledged == connection.next)
    try new.until { new.log.contains { $0.contains("1 connection is reset") } }
    #expect(new.helper.report()?.resets == 1 && new.helper.report()?.count == 0)
    connection.say(new, [2])
    _ = try connection.wait(new) { $0.flags.contains(.rst) }
  }

  @Test func anAnchorEndsWithTheHostThatItServes() throws {
    let (old, new) = (try NATBench(), try NATBench())
    defer { old.helper.stop() }
    _ = try old.findGateway()
    let server = try HostSocket(SOCK_STREAM, listening: true)
    let connection = try Connection(old, to: server.port)
    let peer = accepted(server)
    let anchor = try move(old, new)
    #expect(connection.expects != 0)
    new.helper.stop()
    try awaitEnd(anchor)
    #expect(try peer.read() == [])
  }

  @Test func aPortForwardIsTakenOverWhenTheOldHostsIsGone() throws {
    let (old, new) = (try NATBench(), try NATBench())
    defer { for bench in [old, new] { bench.helper.stop() } }
    _ = try old.findGateway()
    let rule = try PortForward("web,tcp,,\(try HostSocket.freePort(SOCK_STREAM)),,80")
    try old.helper.add(rule)
    let server = try HostSocket(SOCK_STREAM, listening: true)
    let connection = try Connection(old, to: server.port)
    let peer = accepted(server)
    let anchor = try move(old, new)
    #expect(throws: HostNetworkError.self) { try new.helper.add(rule) }
    new.helper.insist(on: rule)
    // It still leads to the machine.
    let client = try HostSocket(SOCK_STREAM, bound: false)
    #expect(client.connect(rule.hostPort) == 0)
    _ = try new.wait { frame -> [UInt8]? in
      guard case .flow(let key, let header?) = FramePacket(frame, .toGuest), key.guest.port == 80, header.opens else {
        return nil
      }
      return frame
    }
    new.send(
      connection.tcp.frame(.fromGuest, [.rst, .ack], sequence: connection.next, acknowledged: connection.expects))
    #expect(try peer.read() == [])
    kill(anchor, SIGTERM)
    try awaitEnd(anchor)
    try new.until { new.helper.forwards == [rule] }
    #expect(new.log.contains { $0.contains("port forward web holds now") })
  }
}

extension HostSocket {
  /// What comes next; empty: nothing more does.
  func read() throws -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = recv(descriptor, &buffer, buffer.count, 0)
    guard count >= 0 || errno == ECONNRESET else { throw HostNetworkError("nothing came") }
    return Array(buffer[..<max(0, count)])
  }

  func write(_ bytes: [UInt8]) throws {
    guard Foundation.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
      throw HostNetworkError("cannot send")
    }
  }
}
