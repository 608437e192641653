import Foundation
import Testing

@testable import HostNetwork

/// The NAT process for real: vmctl's own, with frames written by hand.
@Suite(.enabled(if: NATBench.program != nil, "needs vmctl beside the tests, or its path in VMCTL"))
struct NATHelperTests {
  @Test func dhcpOffersTheFirstAddressAndTheGatewayAnswers() throws {
    let bench = try NATBench()
    defer { bench.helper.stop() }
    bench.send(bench.guest.discover())
    let offer = try bench.wait { MiniGuest.datagram($0, to: 68) }
    #expect(Array(offer[16..<20]) == [10, 0, 2, 15], "yiaddr")
    #expect(offer[242] == 2, "DHCPOFFER")
    let guest = try bench.findGateway()
    bench.send(guest.ping([10, 0, 2, 2], 7))
    let echo = try bench.wait { MiniGuest.type($0) == 0x0800 && $0[23] == 1 ? $0 : nil }
    #expect(Array(echo[34..<36]) == [0, 0] && echo[41] == 7, "an echo reply to the seventh")
  }

  @Test func theGatewayLeadsToTheHostsLoopback() throws {
    let bench = try NATBench()
    defer { bench.helper.stop() }
    let guest = try bench.findGateway()
    let echo = try HostSocket(SOCK_DGRAM)
    bench.send(guest.udp(to: [10, 0, 2, 2], port: echo.port, Array("hello".utf8)))
    let (text, sender) = try echo.receive()
    #expect(text == Array("hello".utf8))
    try echo.send(Array("and back".utf8), to: sender)
    #expect(try bench.wait { MiniGuest.datagram($0, to: 4000) } == Array("and back".utf8))
  }

  @Test func aPortForwardLeadsInFromTheStartAndWhileItRuns() throws {
    let first = try HostSocket.freePort(SOCK_STREAM)
    let bench = try NATBench(["web,tcp,,\(first),,80"])
    defer { bench.helper.stop() }
    _ = try bench.findGateway()
    let second = try HostSocket.freePort(SOCK_STREAM)
    try bench.helper.add(try PortForward("late,tcp,127.0.0.1,\(second),,8080"))
    for (port, inside) in [(first, 80), (second, 8080)] {
      let client = try HostSocket(SOCK_STREAM, bound: false)
      client.connect(port)
      let syn = try bench.wait {
        MiniGuest.type($0) == 0x0800 && $0[23] == 6 && Int($0[36]) << 8 | Int($0[37]) == inside ? $0 : nil
      }
      #expect(syn[47] & 0x12 == 0x02, "SYN without ACK")
      #expect(Array(syn[26..<30]) == [10, 0, 2, 2], "from the gateway")
    }
    try bench.helper.removeForward(named: "late")
    let client = try HostSocket(SOCK_STREAM, bound: false)
    #expect(client.connect(second) == ECONNREFUSED)
  }

  @Test func aConflictIsToldWhenTheRuleIsSet() throws {
    let taken = try HostSocket(SOCK_STREAM, listening: true)
    let bench = try NATBench(["early,tcp,,\(taken.port),,22"])
    defer { bench.helper.stop() }
    let other = try HostSocket(SOCK_STREAM, listening: true)
    let rule = try PortForward("ssh,tcp,,\(other.port),,22")
    let error = #expect(throws: HostNetworkError.self) { try bench.helper.add(rule) }
    #expect(error?.description.contains("127.0.0.1:\(other.port)/tcp is in use") == true)
    #expect(
      bench.log.contains { $0.contains("early") && $0.contains("in use") }, "the rule from the start is told in the log"
    )
    let free = try HostSocket.freePort(SOCK_STREAM)
    try bench.helper.add(try PortForward("ssh,tcp,,\(free),,22"))
    #expect(throws: HostNetworkError.self, "one name, one rule") {
      try bench.helper.add(try PortForward("ssh,tcp,,\(free),,23"))
    }
    #expect(throws: HostNetworkError.self) { try bench.helper.removeForward(named: "nobody") }
  }

  @Test(arguments: [false, true]) func itIsStartedAgainWhenItDiesAndKeepsItsRules(keeper: Bool) throws {
    let bench = try NATBench(keeper: keeper)
    defer { bench.helper.stop() }
    let port = try HostSocket.freePort(SOCK_STREAM)
    try bench.helper.add(try PortForward("web,tcp,,\(port),,80"))
    _ = try bench.findGateway()
    let old = bench.helper.process
    kill(old, SIGKILL)
    try bench.until { bench.helper.counters.restarts == 1 }
    #expect(bench.helper.process != old && bench.helper.process != 0)
    #expect(bench.log.contains { $0.contains("ended by signal 9") && $0.contains("started again") })
    _ = try bench.findGateway()
    let client = try HostSocket(SOCK_STREAM, bound: false)
    client.connect(port)
    _ = try bench.wait { MiniGuest.type($0) == 0x0800 && $0[23] == 6 ? $0 : nil }
  }

  @Test func connectionsOfAProcessThatIsGoneAreResetWhereTheGuestExpectsIt() throws {
    let port = try HostSocket.freePort(SOCK_STREAM)
    var connections = Data()
    do {
      let bench = try NATBench(["web,tcp,,\(port),,80"])
      defer { bench.helper.stop() }
      _ = try bench.findGateway()
      #expect(try bench.helper.connections() == Data("[]".utf8))
      let client = try HostSocket(SOCK_STREAM, bound: false)
      client.connect(port)
      let syn = try bench.wait { MiniGuest.type($0) == 0x0800 && $0[23] == 6 ? $0 : nil }
      #expect(syn[47] & 0x12 == 0x02, "SYN without ACK")
      connections = try bench.helper.connections()
    }
    let bench = try NATBench()
    defer { bench.helper.stop() }
    _ = try bench.findGateway()
    #expect(throws: HostNetworkError.self) { try bench.helper.reset(Data("nothing".utf8)) }
    #expect(try bench.helper.reset(Data("[]".utf8)) == 0)
    #expect(try bench.helper.reset(connections) == 1)
    let segment = try bench.wait { MiniGuest.type($0) == 0x0800 && $0[23] == 6 ? $0 : nil }
    #expect(segment[47] & 0x04 != 0, "RST")
    #expect(Array(segment[26..<34]) == [10, 0, 2, 2, 10, 0, 2, 15])
    #expect(Array(segment[36..<38]) == [0, 80])
    #expect(bench.helper.report()?.resets == 1)
  }

  @Test func randomFramesDoNotEndIt() throws {
    let bench = try NATBench()
    defer { bench.helper.stop() }
    var random = SystemRandomNumberGenerator()
    var guest = try bench.findGateway()
    for _ in 0..<2000 {
      var frame = guest.udp(to: [10, 0, 2, UInt8(random.next() % 5)], port: Int(random.next() % 100), [1, 2, 3])
      for _ in 0..<random.next() % 8 { frame[Int(random.next() % UInt64(frame.count))] = UInt8(random.next() & 0xFF) }
      bench.send(Array(frame.prefix(Int(random.next() % 60) + 1)))
      _ = bench.pipe.toDevice.take()
    }
    guest = try bench.findGateway()
    #expect(bench.helper.counters.restarts == 0)
  }

  @Test func whoDoesNotReadHoldsTheWorldUpAndLosesNothing() throws {
    let bench = try NATBench()
    defer { bench.helper.stop() }
    let guest = try bench.findGateway()
    let echo = try HostSocket(SOCK_DGRAM)
    bench.send(guest.udp(to: [10, 0, 2, 2], port: echo.port, [0]))
    let (_, sender) = try echo.receive()
    // More than the pipe takes.
    for index in 1...20 as ClosedRange<UInt8> { try echo.send([index], to: sender) }
    try bench.until { bench.pipe.toDevice.counters.refusals > 0 }
    var found: [UInt8] = []
    while found.count < 20 { found += try bench.wait { MiniGuest.datagram($0, to: 4000) } }
    #expect(found == Array(1...20))
  }

  @Test func nothingLeavesAMachineThatStandsStill() throws {
    let bench = try NATBench()
    defer { bench.helper.stop() }
    let guest = try bench.findGateway()
    let echo = try HostSocket(SOCK_DGRAM)
    bench.pipe.toHost.close()
    bench.send(guest.udp(to: [10, 0, 2, 2], port: echo.port, [1]))
    // It is alive, and takes nothing.
    try bench.helper.add(try PortForward("web,tcp,,\(try HostSocket.freePort(SOCK_STREAM)),,80"))
    #expect(bench.pipe.toHost.count == 1)
    bench.pipe.toHost.open()
    #expect(try echo.receive().0 == [1])
  }

  @Test func aPortForwardThatIsThereAlreadyIsNotMadeTwice() throws {
    let one = try PortForward("a,tcp,,2222,,22")
    #expect(one.conflict(with: try PortForward("a,tcp,,2223,,22"))?.message.contains("already") == true, "its name")
    #expect(one.conflict(with: try PortForward("b,tcp,0.0.0.0,2222,,22"))?.message.contains("2222/tcp") == true)
    #expect(one.conflict(with: try PortForward("b,udp,,2222,,22")) == nil)
    #expect(one.conflict(with: try PortForward("b,tcp,127.0.0.2,2222,,22")) == nil)
  }

  @Test(arguments: [false, true]) func itEndsWithTheMachine(keeper: Bool) throws {
    let bench = try NATBench(keeper: keeper)
    let process = bench.helper.process
    bench.helper.stop()
    #expect(kill(process, 0) == -1 && errno == ESRCH)
  }
}
