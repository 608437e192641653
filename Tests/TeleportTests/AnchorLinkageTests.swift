import Foundation
import Testing

@testable import Machine
@testable import Teleport

/// The connections that both sides make for what the source's host carries on.
@Suite(.serialized) struct AnchorLinkageTests {
  /// The sockets that one side was given, by card.
  private typealias Links = Log<[Int: AnchorSocket]>

  private struct Bench {
    let medium: SharedMedium
    let machine: SmallMachine
    let target: TeleportTarget<SmallMachine>
    let port: Int
    let given = Links()
    let taken = Links()

    init(wanted: [Int], password: String? = nil) throws {
      let medium = try SharedMedium()
      self.medium = medium
      machine = try SmallMachine(medium: medium)
      try machine.lockMedia()
      machine.start(paused: false)
      var options = TeleportTarget<SmallMachine>.Options(port: 0, password: password, name: "target", uuid: "t")
      options.anchors = wanted
      let taken = taken
      target = TeleportTarget(
        options: options, makeMachine: { try SmallMachine(medium: medium) }, arrival: { taken.add($1) })
      port = try target.listen()
    }

    func source(_ cards: [Int], password: String? = nil, testPoint: TestPoint = TestPoint()) -> TeleportSource {
      var options = TeleportSource.Options(host: "127.0.0.1", port: port, name: "source", uuid: "s")
      options.anchors = cards
      options.password = password
      let given = given
      let source = TeleportSource(vm: machine, options: options, anchors: { given.add($0) })
      source.testPoint = testPoint
      return source
    }
  }

  /// What one end says the other hears, and only that.
  private func expectJoined(_ ends: (AnchorSocket, AnchorSocket), isSecret: Bool, _ text: String) {
    #expect(ends.0.key == ends.1.key && ends.0.key?.count == (isSecret ? 32 : nil))
    let (one, other) = (ends.0.descriptor, ends.1.descriptor)
    _ = fcntl(one, F_SETFL, fcntl(one, F_GETFL) & ~O_NONBLOCK)
    #expect(send(other, text, text.utf8.count, 0) == text.utf8.count)
    var buffer = [UInt8](repeating: 0, count: 100)
    let count = recv(one, &buffer, buffer.count, 0)
    #expect(String(decoding: buffer[..<max(0, count)], as: UTF8.self) == text)
    close(one)
    close(other)
  }

  @Test(arguments: [nil, "open sesame"]) func eachCardThatBothSidesWantGetsOne(password: String?) async throws {
    let bench = try Bench(wanted: [1, 2, 4], password: password)
    let source = bench.source([1, 3, 4], password: password)
    _ = try await onThread { try source.run() }
    let machine = try await onThread { try bench.target.run() }
    #expect(await eventually { bench.taken.all.count == 1 })
    let (given, taken) = (try #require(bench.given.all.first), try #require(bench.taken.all.first))
    #expect(given.keys.sorted() == [1, 4] && taken.keys.sorted() == [1, 4])
    for card in [1, 4] {
      expectJoined((try #require(given[card]), try #require(taken[card])), isSecret: password != nil, "card \(card)")
    }
    machine.powerOff()
  }

  @Test(arguments: [([1], []), ([], [1]), ([2], [1])]) func withoutAWishOfBothThereIsNone(wanted: [Int], cards: [Int])
    async throws
  {
    let bench = try Bench(wanted: wanted)
    let source = bench.source(cards)
    _ = try await onThread { try source.run() }
    let machine = try await onThread { try bench.target.run() }
    #expect(await eventually { bench.taken.all.count == 1 })
    #expect(bench.given.all.isEmpty && bench.taken.all == [[:]])
    machine.powerOff()
  }

  @Test func aTransferThatFailsLeavesNoneAndTheNextHasItsOwn() async throws {
    let bench = try Bench(wanted: [1])
    let failing = bench.source([1], testPoint: TestPoint { if $0 == .sourceProved { throw Broken() } })
    await #expect(throws: Broken.self) { try await onThread { try failing.run() } }
    #expect(bench.given.all.isEmpty && bench.taken.all.isEmpty)
    #expect(await eventually { bench.target.anchors.take().isEmpty })
    let source = bench.source([1])
    _ = try await onThread { try source.run() }
    let machine = try await onThread { try bench.target.run() }
    #expect(await eventually { bench.taken.all.count == 1 })
    let (given, taken) = (try #require(bench.given.all.first), try #require(bench.taken.all.first))
    expectJoined((try #require(given[1]), try #require(taken[1])), isSecret: false, "again")
    machine.powerOff()
  }

  @Test func aConnectionForAnotherTransferOrCardFindsNoSeat() throws {
    let seats = AnchorSeats()
    var asked = 0
    func seat(_ card: Int, _ transfer: String) throws -> Bool {
      try seats.seat(card, of: transfer) {
        asked += 1
        return AnchorSocket(descriptor: dup(0))
      }
    }
    #expect(try !seat(1, ""), "none is going on")
    seats.begin("a")
    #expect(try !seat(1, "b"))
    #expect(try seat(1, "a"))
    #expect(try !seat(1, "a"), "it has one")
    #expect(throws: Broken.self) { try seats.seat(2, of: "a") { throw Broken() } }
    #expect(asked == 1)
    let links = seats.take()
    #expect(links.keys.sorted() == [1])
    for socket in links.values { socket.close() }
    #expect(try !seat(1, "a"), "too late")
  }
}
