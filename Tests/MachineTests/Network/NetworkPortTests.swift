import Devices
import Foundation
import GuestMemory
import HostNetwork
import SavedState
import Testing

@testable import Machine

/// A card that takes as many frames as it is told, and is not to be asked anything while it sends.
private class FakeCard: NetworkCard {
  let name = "nic1"
  let address = MACAddress([2, 0, 0, 0, 0, 1])!
  var onReceiveRoom: () -> Void = {}
  var wireHasRoom: () -> Bool = { true }
  var onSend: ([UInt8]) -> Void = { _ in }
  var room = Int.max
  fileprivate(set) var received: [[UInt8]] = []
  private(set) var roomNotices = 0
  private var isSending = false
  private var carrier = true

  var hasCarrier: Bool {
    precondition(!isSending, "a card is asked in the middle of sending")
    return carrier
  }
  func setCarrier(_ isThere: Bool) { carrier = isThere }

  func receive(_ frame: [UInt8]) -> Bool {
    guard room > 0 else { return false }
    room -= 1
    received.append(frame)
    return true
  }

  func wireRoomChanged() { roomNotices += 1 }

  /// Sends while the wire takes frames.
  /// - Returns: how many it took.
  func send(_ frames: [[UInt8]]) -> Int {
    isSending = true
    defer { isSending = false }
    var count = 0
    for frame in frames {
      guard wireHasRoom() else { break }
      onSend(frame)
      count += 1
    }
    return count
  }

  func reset() {}
  func save() throws -> StateSection { try StateSection(name: name, kind: "fake", version: 1, state: 0) }
  func load(_ section: StateSection) throws {}
  func pause() {}
  func resume() {}
}

/// One that gives and takes packets with work left to do, if its driver does.
private final class LargeCard: FakeCard, OffloadingCard {
  var onSendPacket: (([UInt8]) -> Void)?
  var isWilling = true
  func takes(_ offload: FrameOffload) -> Bool { isWilling || offload.isDone }
  func receive(packet: [UInt8], _ offload: FrameOffload) -> Bool { receive(packet) }
}

@Suite struct NetworkPortTests {
  private let card = FakeCard()
  private let lock = MachineLock()
  private let time = HostTime()
  private let clock: GuestClock

  init() {
    clock = GuestClock { [time] in time.now }
    clock.start()
  }

  /// The host's clock, which goes when a test says so.
  private final class HostTime: @unchecked Sendable {
    var now: UInt64 = 0
  }

  private func port() -> NetworkPort { NetworkPort(slot: 1, card: card, lock: lock, clock: clock) }
  private static func frames(_ numbers: Range<Int>) -> [[UInt8]] { numbers.map { [UInt8($0 & 0xFF), UInt8($0 >> 8)] } }

  @Test func aCableThatLeadsNowhereTakesEverythingAndKeepsWhatItCan() {
    let port = port()
    lock.withLock { port.resume() }
    #expect(lock.withLock { card.send(Self.frames(0..<1000)) } == 1000)
    #expect(port.counters.framesSent == 1000 && port.counters.sendDrops == 744)
  }

  @Test func aNetworkThatDoesNotTakeHoldsTheGuestUpAndLosesNothing() {
    let port = port()
    port.connect()
    lock.withLock { port.resume() }
    #expect(lock.withLock { card.send(Self.frames(0..<1000)) } == 255, "there must be room for two")
    #expect(port.pipe.toHost.take() == Self.frames(0..<255))
    #expect(card.roomNotices == 1)
    #expect(port.counters.sendDrops == 0)
  }

  @Test func nothingLeavesAMachineThatStandsStill() {
    let port = port()
    port.connect()
    lock.withLock { port.resume() }
    _ = lock.withLock { card.send(Self.frames(0..<3)) }
    port.close()
    lock.withLock { port.pause() }
    #expect(port.pipe.toHost.take() == [])
    #expect(port.pipe.toHost.whileOpen { true } == nil)
    lock.withLock { port.resume() }
    #expect(port.pipe.toHost.take() == Self.frames(0..<3))
  }

  @Test func whatTheCardDoesNotTakeWaitsInOrder() {
    let port = port()
    lock.withLock { port.resume() }
    card.room = 5
    #expect(port.pipe.toDevice.offer(Self.frames(0..<300)) == 256)
    #expect(card.received == Self.frames(0..<5))
    card.room = .max
    lock.withLock { card.onReceiveRoom() }
    #expect(card.received == Self.frames(0..<256))
    #expect(port.counters.framesReceived == 256)
  }

  @Test func aCableThatIsOutLosesWhatIsSentBothWays() {
    let port = port()
    lock.withLock { port.resume() }
    port.setCarrier(false)
    _ = lock.withLock { card.send(Self.frames(0..<2)) }
    _ = port.pipe.toDevice.offer(Self.frames(0..<3))
    #expect(port.pipe.toHost.count == 0 && card.received == [])
    #expect(port.counters.sendDrops == 2 && port.counters.receiveDrops == 3 && port.counters.framesSent == 0)
    port.setCarrier(true)
    _ = port.pipe.toDevice.offer(Self.frames(7..<8))
    #expect(card.received == Self.frames(7..<8))
  }

  @Test func whatWaitsCrossesWithTheMachineInBothDirections() throws {
    let old = port()
    old.connect()
    lock.withLock { old.resume() }
    card.room = 1
    _ = old.pipe.toDevice.offer(Self.frames(10..<40))
    _ = lock.withLock { card.send(Self.frames(0..<4)) }
    old.close()
    lock.withLock { old.pause() }
    let section = try lock.withLock { try old.save() }

    let newCard = FakeCard()
    let new = NetworkPort(slot: 1, card: newCard, lock: lock, clock: clock)
    try lock.withLock { try new.load(section) }
    #expect(new.pipe.toHost.take() == [] && newCard.received == [], "it does not run yet")
    #expect(try lock.withLock { try new.save() } == section)
    new.connect()
    lock.withLock { new.resume() }
    #expect(new.pipe.toHost.take().prefix(4) == Self.frames(0..<4)[...])
    #expect(card.received + newCard.received == Self.frames(10..<40))
  }

  @Test func aDamagedStateIsRefusedAndChangesNothing() throws {
    let old = port()
    lock.withLock { old.resume() }
    _ = lock.withLock { card.send(Self.frames(0..<4)) }
    let good = try lock.withLock { try old.save() }
    struct Fields: Codable {
      var sent, received: Data
      var station = GuestStation()
    }
    let fields = try good.decode(Fields.self, kind: "network-cable", upTo: 2)
    for length in 1..<fields.sent.count where length % 6 != 0 {
      let cut = Fields(sent: fields.sent.prefix(length), received: fields.received)
      let bad = try StateSection(name: "nic1-cable", kind: "network-cable", version: 1, state: cut)
      #expect(throws: SavedStateError.self) { try lock.withLock { try old.load(bad) } }
    }
    var many = Data()
    for _ in 0..<600 { many += [0, 0, 0, 1, 7] }
    let bad = try StateSection(
      name: "nic1-cable", kind: "network-cable", version: 1, state: Fields(sent: many, received: Data()))
    #expect(throws: SavedStateError.self) { try lock.withLock { try old.load(bad) } }
    #expect(try lock.withLock { try old.save() } == good)
  }

  // MARK: Packets with headers

  /// A packet of TCP that is to be cut in `count` segments, with its header.
  private static func large(_ count: Int, segment: Int = 1000) -> [UInt8] {
    var offload = FrameOffload()
    offload.needsChecksum = true
    offload.segmentation = .tcp4
    offload.segmentSize = UInt16(segment)
    offload.checksumStart = 34
    offload.checksumOffset = 16
    let ip: [UInt8] = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
    let tcp: [UInt8] = [0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]
    let frame = guest + [2, 0, 0, 0, 0, 9, 8, 0] + ip + tcp + [UInt8](repeating: 5, count: count * segment)
    return offload.header + [0, 0] + frame
  }

  private func largePort(_ card: LargeCard) -> NetworkPort {
    NetworkPort(slot: 1, card: card, lock: lock, clock: clock)
  }

  @Test func packetsGoWholeToANetworkThatTakesHeadersAndBoundedInBytes() throws {
    let card = LargeCard()
    let port = largePort(card)
    port.connect(withHeaders: true)
    lock.withLock { port.resume() }
    let packet = Self.large(50)
    var sent = 0
    lock.withLock {
      while card.wireHasRoom(), sent < 100 {
        card.onSendPacket?(packet)
        sent += 1
      }
    }
    #expect(sent == (NetworkPort.byteLimit + packet.count - 1) / packet.count)
    #expect(port.pipe.toHost.take() == Array(repeating: packet, count: sent))
    #expect(card.roomNotices == 1 && port.counters.sendDrops == 0)
    #expect(port.counters.bytesSent == UInt64(sent * (packet.count - 12)))
    // A plain frame has an empty header there.
    _ = lock.withLock { card.send([Self.arp]) }
    #expect(port.pipe.toHost.take() == [[UInt8](repeating: 0, count: 12) + Self.arp])
  }

  @Test func whatTheDriverDoesNotDoIsDoneForIt() throws {
    let card = LargeCard()
    let port = largePort(card)
    port.connect(withHeaders: true)
    lock.withLock { port.resume() }
    let packet = Self.large(3)
    #expect(port.pipe.toDevice.offer([packet]) == 1)
    #expect(card.received == [packet])
    card.received = []
    card.isWilling = false
    card.room = 2
    let bad: [UInt8] = [0, 3] + packet.dropFirst(2)
    #expect(port.pipe.toDevice.offer([bad, packet]) == 2)
    #expect(card.received.count == 2 && card.received.allSatisfy { $0.count == 1054 })
    card.room = .max
    lock.withLock { card.onReceiveRoom() }
    #expect(card.received == FrameOffload.frames(ofPacket: packet))
    #expect(port.counters.receiveDrops == 1, "a header that means nothing")
  }

  @Test func aNetworkWithoutMTUGetsLargePacketsInOnePieceWithTheirChecksum() throws {
    let card = LargeCard()
    let port = largePort(card)
    port.connect(withLongFrames: true)
    lock.withLock { port.resume() }
    var packet = Self.large(3)
    // The sum of the pseudo header, as a driver leaves it: addresses, TCP, length.
    let sum: UInt32 = 0x1403 + 6 + 3020
    (packet[12 + 50], packet[12 + 51]) = (UInt8(sum >> 8), UInt8(sum & 0xFF))
    lock.withLock { card.onSendPacket?(packet) }
    let frame = try #require(port.pipe.toHost.take().first)
    #expect(frame.count == packet.count - 12 && frame[..<50] == packet[12..<62])
    var total = sum
    for index in stride(from: 34, to: frame.count, by: 2) {
      let (high, low) = (UInt32(frame[index]), UInt32(frame[index + 1]))
      total += high * 256 + low
    }
    while total >> 16 != 0 { total = (total & 0xFFFF) + (total >> 16) }
    #expect(total == 0xFFFF, "TCP's checksum with its pseudo header")
    // What cannot be is dropped.
    packet[0] = 0
    lock.withLock { card.onSendPacket?(packet) }
    #expect(port.pipe.toHost.count == 0 && port.counters.sendDrops == 1)
  }

  @Test func aCardThatKnowsNothingOfHeadersGetsFramesAndGivesThem() throws {
    let port = port()
    port.connect(withHeaders: true)
    lock.withLock { port.resume() }
    _ = port.pipe.toDevice.offer([FrameOffload.packet(Self.arp), Self.large(3)])
    #expect(card.received == [Self.arp] + FrameOffload.frames(ofPacket: Self.large(3)))
    _ = lock.withLock { card.send([Self.arp]) }
    #expect(port.pipe.toHost.take() == [FrameOffload.packet(Self.arp)])
  }

  @Test(arguments: [true, false]) func packetsCrossWithTheMachineToAnyNetwork(_ takesHeaders: Bool) throws {
    let card = LargeCard()
    let old = largePort(card)
    old.connect(withHeaders: true)
    lock.withLock { old.resume() }
    card.room = 0
    let packets = [Self.large(3), Self.large(40)]
    _ = old.pipe.toDevice.offer(packets)
    lock.withLock { card.onSendPacket?(packets[1]) }
    old.close()
    lock.withLock { old.pause() }
    let section = try lock.withLock { try old.save() }

    let newCard = LargeCard()
    let new = largePort(newCard)
    try lock.withLock { try new.load(section) }
    #expect(try lock.withLock { try new.save() } == section)
    new.connect(withHeaders: takesHeaders)
    lock.withLock { new.resume() }
    let cut = packets.map(FrameOffload.frames)
    #expect(cut.map(\.count) == [3, 40])
    let sent = new.pipe.toHost.take()
    #expect(sent.starts(with: takesHeaders ? [packets[1]] : cut[1]))
    #expect(newCard.received == (takesHeaders ? packets : cut[0] + cut[1]))
  }

  @Test func aDamagedStateWithHeadersIsRefused() throws {
    let card = LargeCard()
    let port = largePort(card)
    struct Fields: Codable {
      var sent, received: Data
      var station = GuestStation()
      var hasHeaders = true
    }
    func stream(_ frames: [[UInt8]]) -> Data {
      var bytes: [UInt8] = []
      for frame in frames { FrameStream.encode(frame, to: &bytes) }
      return Data(bytes)
    }
    func load(_ frames: [[UInt8]]) throws {
      let fields = Fields(sent: stream(frames), received: Data())
      let section = try StateSection(name: "nic1-cable", kind: "network-cable", version: 2, state: fields)
      try lock.withLock { try port.load(section) }
    }
    let (header, frame) = ([UInt8](repeating: 0, count: 12), [UInt8](repeating: 1, count: 60))
    try load([header, frame])
    for wrong in [[header], [frame, header], [header, frame, frame], [[0, 9] + header.dropFirst(2), frame]] {
      #expect(throws: SavedStateError.self) { try load(wrong) }
    }
    let huge = [UInt8](repeating: 1, count: 65_000)
    #expect(throws: SavedStateError.self) { try load((0..<140).map { $0 & 1 == 0 ? header : huge }) }
  }

  // MARK: After a journey

  private static let guest: [UInt8] = [2, 0, 0, 0, 0, 1]
  private static let arp: [UInt8] =
    [255, 255, 255, 255, 255, 255] + guest + [8, 6, 0, 1, 8, 0, 6, 4, 0, 1] + guest + [10, 0, 2, 15, 0, 0, 0, 0, 0, 0]
    + [10, 0, 2, 2]

  /// A port whose guest has used an address and has come from elsewhere.
  private func arrived() throws -> NetworkPort {
    let old = port()
    lock.withLock { old.resume() }
    _ = lock.withLock { card.send([Self.arp]) }
    old.close()
    _ = old.pipe.toHost.take()
    lock.withLock { old.pause() }
    let section = try lock.withLock { try old.save() }
    let new = port()
    try lock.withLock { try new.load(section) }
    #expect(new.pipe.toHost.take() == [], "not a frame before the machine is its own")
    new.connect()
    lock.withLock { new.resume() }
    #expect(new.pipe.toHost.take(1) == [Self.arp], "what was on its way")
    return new
  }

  private func run(until milliseconds: UInt64) {
    while let next = clock.nextDeadline, next <= milliseconds * 1_000_000 {
      time.now = next
      lock.withLock { clock.runDueTimers() }
    }
    time.now = milliseconds * 1_000_000
  }

  @Test func aGuestThatHasComeIsAnnouncedAtOnceAndAgainForAMinute() throws {
    let port = try arrived()
    let first = port.pipe.toHost.take()
    #expect(first.map { Array($0[12..<14]) } == [[0x80, 0x35], [8, 6]], "RARP, gratuitous ARP")
    var times: [UInt64] = []
    while let next = clock.nextDeadline {
      run(until: next / 1_000_000)
      if port.pipe.toHost.take() == first { times.append(next / 1_000_000) }
    }
    #expect(times.prefix(8) == [50, 200, 550, 1300, 2850, 6000, 11000, 16000])
    #expect(times.last == 61000 || times.last == 56000)
    #expect(port.counters.framesSent == 0, "they are not the guest's")
  }

  @Test func itIsNotAnnouncedAnyMoreWhenTrafficHasComeBothWays() throws {
    let port = try arrived()
    _ = port.pipe.toHost.take()
    _ = lock.withLock { card.send([Self.arp]) }
    run(until: 50)
    #expect(port.pipe.toHost.take().count == 3, "one way is not enough")
    _ = port.pipe.toDevice.offer([[255, 255, 255, 255, 255, 255] + Self.guest])
    run(until: 200)
    #expect(port.pipe.toHost.take().count == 2, "nor is what is for everybody")
    _ = port.pipe.toDevice.offer([Self.guest + Self.guest])
    run(until: 100_000)
    #expect(port.pipe.toHost.take() == [])
    #expect(clock.nextDeadline == nil)
  }

  @Test func aMachineThatStaysWhereItIsAnnouncesNothing() {
    let port = port()
    lock.withLock { port.resume() }
    _ = lock.withLock { card.send([Self.arp]) }
    port.close()
    lock.withLock {
      port.pause()
      port.resume()
    }
    #expect(port.pipe.toHost.take() == [Self.arp])
    #expect(clock.nextDeadline == nil)
  }
}
