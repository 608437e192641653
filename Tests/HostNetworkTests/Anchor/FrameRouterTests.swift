import Testing

@testable import HostNetwork

/// Where frames go when some flows have their sockets on a host that the machine has left.
struct FrameRouterTests {
  private let tcp = MiniTCP()
  private let guest = MiniGuest(gatewayMAC: MiniTCP.gatewayMAC)

  /// A router in whose machine a connection is open by this host.
  private func open(_ tcp: MiniTCP, _ router: inout FrameRouter, from carrier: FlowCarrier = .stack, now: Int64 = 0) {
    _ = router.route(tcp.frame(.fromGuest, .syn, sequence: 100), now: now)
    _ = router.judge(tcp.frame(.toGuest, [.syn, .ack], sequence: 500, acknowledged: 101), from: carrier, now: now)
    _ = router.route(tcp.frame(.fromGuest, .ack, sequence: 101, acknowledged: 501), now: now)
  }

  /// What one process tells another of its flows.
  private func notices(_ router: FrameRouter, now: Int64 = 0) -> [Flow] {
    router.table.all.compactMap { FlowNotice($0.flow, host: nil, now: now).flow(now: now) }
  }

  /// A router to whose host the machine has come with the flows of another's.
  private func arrived(_ old: FrameRouter) -> FrameRouter {
    var router = FrameRouter()
    router.add(anchor: 1)
    for flow in notices(old) { router.add(flow, of: 1, now: 0) }
    router.isListed(1)
    return router
  }

  @Test(arguments: [false, true]) func aConnectionThatAnAnchorHasGoesToItAndANewOneToTheStack(isIPv6: Bool) {
    var tcp = tcp
    if isIPv6 {
      tcp.guest.ip = [0xFE, 0xC0] + [UInt8](repeating: 0, count: 13) + [15]
      tcp.remote.ip = [0xFE, 0xC0] + [UInt8](repeating: 0, count: 13) + [2]
    }
    var old = FrameRouter()
    open(tcp, &old)
    var router = arrived(old)
    #expect(router.route(tcp.frame(.fromGuest, .ack, sequence: 101, acknowledged: 501, [1]), now: 1) == .to(.anchor(1)))
    #expect(
      router.judge(tcp.frame(.toGuest, .ack, sequence: 501, acknowledged: 102), from: .anchor(1), now: 1) == .deliver)
    var other = tcp
    other.guest.port += 1
    #expect(router.route(other.frame(.fromGuest, .syn), now: 1) == .to(.stack))
    #expect(router.judge(other.frame(.toGuest, [.syn, .ack]), from: .stack, now: 1) == .deliver)
    #expect(router.route(other.frame(.fromGuest, .ack), now: 1) == .to(.stack))
  }

  @Test func aSegmentThatNobodyKnowsGoesToTheNewestAnchor() {
    var router = FrameRouter()
    #expect(router.route(tcp.frame(.fromGuest, .ack), now: 0) == .to(.stack), "who is no anchor's resets it")
    router = FrameRouter()
    router.add(anchor: 1)
    router.add(anchor: 2)
    #expect(router.route(tcp.frame(.fromGuest, .ack), now: 0) == .to(.anchor(2)), "also before it has told its flows")
    #expect(router.judge(tcp.frame(.toGuest, .rst), from: .anchor(2), now: 0) == .deliver)
    #expect(router.table.count == 0, "a reset is an answer, no flow")
    #expect(router.judge(tcp.frame(.toGuest, .ack), from: .anchor(1), now: 0) == .deliver)
    #expect(router.route(tcp.frame(.fromGuest, .ack), now: 0) == .to(.anchor(1)), "learned from what came")
  }

  @Test func datagramsWaitUntilTheAnchorHasToldWhichAreIts() {
    var router = FrameRouter()
    router.add(anchor: 1)
    let datagram = guest.udp(to: [10, 0, 2, 2], port: 9000, [1])
    #expect(router.route(datagram, now: 0) == .wait)
    #expect(router.route(guest.udp(to: [10, 0, 2, 3], port: 53, [1]), now: 0) == .to(.stack), "answered one by one")
    var old = FrameRouter()
    _ = old.route(datagram, now: 0)
    for flow in notices(old) { router.add(flow, of: 1, now: 0) }
    router.isListed(1)
    #expect(router.route(datagram, now: 0) == .to(.anchor(1)))
    #expect(router.route(guest.udp(to: [10, 0, 2, 2], port: 9001, [1]), now: 0) == .to(.stack))
    #expect(router.route(datagram, now: 31_000) == .to(.stack), "one that was never answered is over after a while")
  }

  @Test func whatFindsAndConfiguresAddressesIsThisHosts() {
    var router = FrameRouter()
    router.add(anchor: 1)
    #expect(router.route(guest.arp(asking: [10, 0, 2, 2]), now: 0) == .to(.stack))
    #expect(router.route(guest.arp(asking: guest.ip), now: 0) == .everyone, "an announcement")
    #expect(router.route(guest.arpReply(to: MiniTCP.gatewayMAC, [10, 0, 2, 2]), now: 0) == .everyone)
    #expect(router.route(guest.discover(), now: 0) == .to(.stack))
    #expect(router.route(guest.ping([10, 0, 2, 2], 1), now: 0) == .to(.stack))
    #expect(router.judge(guest.arp(asking: guest.ip), from: .anchor(1), now: 0) == .drop)
    #expect(
      router.judge(guest.arp(asking: [10, 0, 2, 9]), from: .anchor(1), now: 0) == .deliver,
      "an anchor looks for the guest")
    #expect(router.judge(guest.arpReply(to: MiniTCP.guestMAC, [10, 0, 2, 2]), from: .anchor(1), now: 0) == .drop)
    #expect(router.judge(guest.ping([10, 0, 2, 2], 1), from: .anchor(1), now: 0) == .deliver)
    #expect(router.table.count == 0)
  }

  @Test func aLostAnchorsConnectionsAreResetWhereTheGuestExpectsIt() throws {
    var old = FrameRouter()
    open(tcp, &old)
    var router = arrived(old)
    // Two bytes that the guest has acknowledged, and three that it may not have seen yet.
    _ = router.judge(tcp.frame(.toGuest, .ack, sequence: 501, [1, 2]), from: .anchor(1), now: 1)
    _ = router.route(tcp.frame(.fromGuest, .ack, sequence: 101, acknowledged: 503, [9]), now: 1)
    _ = router.judge(tcp.frame(.toGuest, .ack, sequence: 503, [1, 2, 3]), from: .anchor(1), now: 1)
    _ = router.route(guest.udp(to: [10, 0, 2, 2], port: 9000, [1]), now: 1)
    let lost = router.lose(anchor: 1)
    #expect(lost.map(\.key.transport) == [.tcp], "the datagrams are this host's")
    let frames = lost.flatMap(ResetSegment.forGuest)
    #expect(frames.allSatisfy(MiniTCP.isIntact))
    #expect(frames.allSatisfy { Array($0[0..<6]) == MiniTCP.guestMAC && Array($0[6..<12]) == MiniTCP.gatewayMAC })
    let headers = frames.compactMap { MiniTCP.header($0, .toGuest) }
    #expect(headers.map(\.sequence) == [503, 506])
    #expect(headers.allSatisfy { $0.flags == [.rst, .ack] && $0.acknowledged == 102 })
    guard case .flow(let key, _) = FramePacket(frames[0], .toGuest) else { throw HostNetworkError("no flow") }
    #expect(key == lost[0].key, "the same connection, from its other end")
    #expect(router.route(tcp.frame(.fromGuest, .ack), now: 2) == .to(.stack), "which answers what is still sent")
  }

  @Test func resetsOfIPv6AreIntact() {
    var tcp = tcp
    tcp.guest.ip = [0xFE, 0xC0] + (2...15)
    tcp.remote.ip = [0x20, 0x01] + (20...33)
    var router = FrameRouter()
    router.add(anchor: 1)
    router.isListed(1)
    _ = router.judge(tcp.frame(.toGuest, .syn, sequence: 7), from: .anchor(1), now: 0)
    let frames = router.lose(anchor: 1).flatMap(ResetSegment.forGuest)
    #expect(frames.count == 1 && frames.allSatisfy(MiniTCP.isIntact))
    #expect(MiniTCP.isIntact(tcp.frame(.fromGuest, .ack)), "the test knows what that is")
  }

  @Test func aGuestThatHasForgottenAConnectionOpensItsNameAnew() {
    var old = FrameRouter()
    open(tcp, &old)
    var router = arrived(old)
    guard case .anew(let number, let reset) = router.route(tcp.frame(.fromGuest, .syn, sequence: 9000), now: 1) else {
      Issue.record("not anew")
      return
    }
    #expect(number == 1 && MiniTCP.isIntact(reset))
    let header = MiniTCP.header(reset, .fromGuest)
    #expect(header?.flags.contains(.rst) == true && header?.sequence == 101)
    #expect(router.route(tcp.frame(.fromGuest, .ack, sequence: 9001), now: 1) == .to(.stack))
    #expect(router.judge(tcp.frame(.toGuest, .ack, sequence: 501), from: .anchor(1), now: 1) == .drop, "of the old one")
  }

  @Test func anAnchorOpensNothingForTheHostThatItServes() {
    var router = FrameRouter()
    open(tcp, &router)
    _ = router.route(guest.udp(to: [10, 0, 2, 2], port: 9000, [1]), now: 0)
    router.opensNothing = true
    var other = tcp
    other.remote.port += 1
    #expect(router.route(other.frame(.fromGuest, .syn), now: 1) == .nowhere)
    #expect(router.route(tcp.frame(.fromGuest, .syn, sequence: 9000), now: 1) == .nowhere, "nor anew")
    #expect(router.route(guest.udp(to: [10, 0, 2, 2], port: 9001, [1]), now: 1) == .nowhere)
    #expect(router.route(guest.udp(to: [10, 0, 2, 3], port: 53, [1]), now: 1) == .nowhere)
    #expect(router.route(guest.ping([10, 0, 2, 2], 1), now: 1) == .nowhere)
    #expect(router.route(tcp.frame(.fromGuest, .ack), now: 1) == .to(.stack))
    #expect(router.route(guest.udp(to: [10, 0, 2, 2], port: 9000, [1]), now: 1) == .to(.stack))
    #expect(router.judge(other.frame(.toGuest, .syn), from: .stack, now: 1) == .deliver, "a port forward leads in")
    #expect(router.route(other.frame(.fromGuest, [.syn, .ack]), now: 1) == .to(.stack))
    #expect(router.route(guest.arp(asking: guest.ip), now: 1) == .to(.stack))
  }

  @Test func aRepeatedSYNStaysWithWhoHasTheFirst() {
    var old = FrameRouter()
    _ = old.route(tcp.frame(.fromGuest, .syn, sequence: 100), now: 0)
    var router = arrived(old)
    #expect(router.route(tcp.frame(.fromGuest, .syn, sequence: 100), now: 1) == .to(.anchor(1)))
  }

  @Test func clientsOfOneNameOnTwoHostsAreKeptApart() {
    var router = FrameRouter()
    router.add(anchor: 1)
    router.isListed(1)
    #expect(router.judge(tcp.frame(.toGuest, .syn, sequence: 1), from: .anchor(1), now: 0) == .deliver)
    guard case .refuse(let answer) = router.judge(tcp.frame(.toGuest, .syn, sequence: 40), from: .stack, now: 0) else {
      Issue.record("not refused")
      return
    }
    let header = MiniTCP.header(answer, .fromGuest)
    #expect(header?.flags == [.rst, .ack] && header?.acknowledged == 41)
    _ = router.judge(tcp.frame(.toGuest, .rst, sequence: 2), from: .anchor(1), now: 1)
    #expect(
      router.judge(tcp.frame(.toGuest, .syn, sequence: 40), from: .stack, now: 2) == .deliver, "when that is over")
    #expect(router.table.all.map(\.carrier) == [.stack])
  }

  @Test func aConnectionEndsByAResetOrByBothSidesEnds() {
    var router = FrameRouter()
    open(tcp, &router)
    router.expire(now: 86_400_000)
    #expect(router.table.count == 1, "a day of silence is no end")
    _ = router.route(tcp.frame(.fromGuest, [.fin, .ack], sequence: 101, acknowledged: 501), now: 86_400_000)
    router.expire(now: 86_500_000)
    #expect(router.table.count == 1, "the other side may have much to say")
    _ = router.judge(
      tcp.frame(.toGuest, [.fin, .ack], sequence: 501, acknowledged: 102), from: .stack, now: 86_500_000)
    router.expire(now: 86_509_000)
    #expect(router.table.count == 1, "the last acknowledgement may be lost")
    router.expire(now: 86_510_000)
    #expect(router.table.count == 0)
    open(tcp, &router)
    _ = router.judge(tcp.frame(.toGuest, .rst, sequence: 501), from: .stack, now: 0)
    router.expire(now: 1_000)
    #expect(router.table.count == 0)
  }

  @Test func theTableIsBoundedAndTheSilentLeaveFirst() {
    var router = FrameRouter()
    var one = tcp
    for index in 0..<3 * FlowTable.limit {
      one.guest.port = UInt16(index % 50_000)
      one.remote.port = UInt16(index / 50_000 + 1)
      open(one, &router, now: Int64(index))
      #expect(router.table.count <= FlowTable.limit)
    }
    #expect(router.table.all.contains { $0.flow.key.guest.port == one.guest.port }, "the newest is there")
    #expect(!router.table.all.contains { $0.flow.lastUse < Int64(FlowTable.limit) }, "the oldest are not")
  }

  @Test func randomFramesAreNoHarm() {
    var random = SystemRandomNumberGenerator()
    var router = FrameRouter()
    router.add(anchor: 1)
    router.isListed(1)
    var seeds = [tcp.frame(.fromGuest, .syn), guest.udp(to: [10, 0, 2, 2], port: 9000, [1, 2, 3]), guest.discover()]
    var six = tcp
    six.guest.ip = [UInt8](repeating: 1, count: 16)
    six.remote.ip = [UInt8](repeating: 2, count: 16)
    seeds.append(six.frame(.fromGuest, .ack, [1, 2, 3]))
    for now in 0..<20_000 as Range<Int64> {
      var frame = seeds[Int(random.next() % UInt64(seeds.count))]
      for _ in 0..<random.next() % 6 { frame[Int(random.next() % UInt64(frame.count))] = UInt8(random.next() & 0xFF) }
      if random.next() % 4 == 0 { frame = Array(frame.prefix(Int(random.next() % UInt64(frame.count + 1)))) }
      _ = router.route(frame, now: now)
      _ = router.judge(frame, from: random.next() % 2 == 0 ? .stack : .anchor(1), now: now)
    }
    #expect(router.lose(anchor: 1).flatMap(ResetSegment.forGuest).allSatisfy(MiniTCP.isIntact))
    #expect(router.table.count <= FlowTable.limit)
  }

  @Test func fragmentsAndOddPacketsAreTheStacks() {
    var router = FrameRouter()
    router.add(anchor: 1)
    var frame = tcp.frame(.fromGuest, .ack)
    frame[20] = 0x20
    #expect(FramePacket(frame, .fromGuest) == .fragment)
    #expect(router.route(frame, now: 0) == .to(.stack))
    #expect(router.judge(frame, from: .anchor(1), now: 0) == .deliver)
    for odd in [[], [UInt8](repeating: 0, count: 14), Array(tcp.frame(.fromGuest, .ack).prefix(40))] {
      #expect(FramePacket(odd, .fromGuest) == .other)
      #expect(router.route(odd, now: 0) == .to(.stack))
    }
  }
}
