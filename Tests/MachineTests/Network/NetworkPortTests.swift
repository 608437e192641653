import Devices
import Foundation
import GuestMemory
import HostNetwork
import SavedState
import Testing

@testable import Machine

/// A card that takes as many frames as it is told, and is not to be asked anything while it sends.
private final class FakeCard: NetworkCard {
  let name = "nic1"
  let address = MACAddress([2, 0, 0, 0, 0, 1])!
  var onReceiveRoom: () -> Void = {}
  var wireHasRoom: () -> Bool = { true }
  var onSend: ([UInt8]) -> Void = { _ in }
  var room = Int.max
  private(set) var received: [[UInt8]] = []
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

@Suite struct NetworkPortTests {
  private let card = FakeCard()
  private let lock = MachineLock()
  private func port() -> NetworkPort { NetworkPort(slot: 1, card: card, lock: lock) }
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
    let new = NetworkPort(slot: 1, card: newCard, lock: lock)
    try lock.withLock { try new.load(section) }
    #expect(new.pipe.toHost.take() == [] && newCard.received == [], "it does not run yet")
    #expect(try lock.withLock { try new.save() } == section)
    new.connect()
    lock.withLock { new.resume() }
    #expect(new.pipe.toHost.take() == Self.frames(0..<4))
    #expect(card.received + newCard.received == Self.frames(10..<40))
  }

  @Test func aDamagedStateIsRefusedAndChangesNothing() throws {
    let old = port()
    lock.withLock { old.resume() }
    _ = lock.withLock { card.send(Self.frames(0..<4)) }
    let good = try lock.withLock { try old.save() }
    struct Fields: Codable { var sent, received: Data }
    let fields = try good.decode(Fields.self, kind: "network-cable", upTo: 1)
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
}
