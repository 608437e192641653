import Foundation
import SavedState
import Testing

@testable import Machine
@testable import Teleport

/// A receiver makes targets of definitions that come with machines.
@Suite(.serialized) struct ReceiverTests {
  /// A receiver on loopback whose targets are a pair's.
  private final class Reception: @unchecked Sendable {
    let receiver: TeleportReceiver
    let port: Int
    let definitions = Log<String>()
    let released = Log<Bool>()
    let wrong = Log<Int>()

    init(_ place: @escaping @Sendable (String) throws -> Int) throws {
      let (definitions, released, wrong) = (definitions, released, wrong)
      receiver = try TeleportReceiver(address: "127.0.0.1", password: "right") { text in
        definitions.add(text)
        return TeleportReceiver.Place(port: try place(text)) {
          released.add(true)
          return true
        }
      }
      receiver.onWrongPassword = { wrong.add($0) }
      port = try receiver.listen(port: 0)
    }

    /// Until a machine has come.
    func run() -> Task<Void, any Error> {
      let receiver = receiver
      return Task { try await onThread { receiver.run(once: true) } }
    }
  }

  private func source(
    _ pair: Pair, _ port: Int, password: String? = "right", definition: String? = "name = \"box\""
  ) -> TeleportSource {
    var options = TeleportSource.Options(host: "127.0.0.1", port: port, name: "source", uuid: "s")
    options.password = password
    options.timeoutMS = 240_000
    options.definition = definition
    let records = pair.sourceRecords
    return TeleportSource(vm: pair.machine, options: options, records: { records.add($0) })
  }

  @Test func theDefinitionGoesAheadAndTheMachineFollows() async throws {
    let pair = try Pair(password: "right")
    let reception = try Reception { _ in pair.port }
    let end = reception.run()
    let target = pair.target
    let arrival = Task { try await onThread { try target.run() } }
    let source = source(pair, reception.port)
    _ = try await onThread { try source.run() }
    let machine = try await arrival.value
    #expect(machine.teleportState == .running)
    #expect(machine.isIntact())
    machine.powerOff()
    // Once means once.
    try await end.value
    #expect(reception.definitions.all == ["name = \"box\""])
    #expect(reception.released.all == [true])
    #expect(pair.sourceRecords.all.allSatisfy { $0.port == pair.port }, "who asks later asks the target")
    #expect(pair.sourceRecords.all.last?.step == .handedOver)
  }

  @Test func whoHasNoPasswordOrNoDefinitionOrIsRefusedKeepsItsMachine() async throws {
    struct NoRoom: Error, CustomStringConvertible { var description: String { "no room for it here" } }
    let pair = try Pair(password: "right")
    let reception = try Reception { _ in throw NoRoom() }
    let end = reception.run()
    let cases: [(TeleportSource, (TeleportError?) -> Bool)] = [
      (source(pair, reception.port, password: "wrong"), { $0 == .password("the password is not the target's") }),
      (source(pair, reception.port, password: nil), { $0 == .passwordNeeded }),
      (source(pair, reception.port, definition: nil), { "\($0!)".contains("definition") }),
      (source(pair, reception.port), { "\($0!)".contains("no room for it here") }),
    ]
    for (source, isRight) in cases {
      do {
        _ = try await onThread { try source.run() }
        Issue.record("it was taken")
      } catch { #expect(isRight(error as? TeleportError), "\(error)") }
      await pair.expectKept("\(reception.definitions.all)")
    }
    #expect(reception.definitions.all.count == 1)
    #expect(reception.wrong.all == [1])
    #expect(reception.released.all.isEmpty)
    pair.target.stop()
    pair.machine.powerOff()
    reception.receiver.stop()
    try await end.value
  }

  @Test func aSourceThatGoesGivesItsPlaceBack() async throws {
    let reception = try Reception { _ in 1 }
    let end = reception.run()
    let port = reception.port
    try await onThread {
      let link = try Self.admitted(port)
      try link.send(.definition, Array("a machine".utf8), timeoutMS: 240_000)
      let place = try Message.decode(
        Message.Place.self, try link.receive(timeoutMS: 240_000, "place").expect(.place))
      #expect(place.port == 1)
      #expect(reception.released.all.isEmpty)
      link.close()
    }
    try await end.value
    #expect(reception.released.all == [true])
  }

  /// What a source says first, to where it is let in.
  private static func admitted(_ port: Int) throws -> Connection {
    let link = try Connection.connect(host: "127.0.0.1", port: port, timeoutMS: 240_000, wake: nil)
    let mine = Message.encode(
      Message.Hello(
        minVersion: 4, maxVersion: 4, build: "b", name: "source", uuid: "s", intent: .teleport,
        nonce: Authentication.nonce(), password: true, paused: false))
    try link.send(.hello, mine, timeoutMS: 240_000)
    let theirs = try link.receive(timeoutMS: 240_000, "greeting").expect(.hello)
    #expect(try Message.decode(Message.Hello.self, theirs).receives == true)
    let exchange = try PasswordExchange(
      .source, password: try PasswordExchange.stretched("right"), sourceHello: mine, targetHello: theirs.payload)
    try link.send(.proof, exchange.share, timeoutMS: 240_000)
    let keys = try exchange.keys(try link.receive(timeoutMS: 240_000, "password").expect(.proof).payload)
    try link.send(.proof, keys.proof(of: .source), timeoutMS: 240_000)
    _ = try link.receive(timeoutMS: 240_000, "password").expect(.proof)
    try link.secure(key: keys.channel, isClient: true, timeoutMS: 240_000)
    return link
  }

  @Test func strangersAndOlderSourcesAreToldAndChangeNothing() async throws {
    let reception = try Reception { _ in 1 }
    let end = reception.run()
    let port = reception.port
    try await onThread {
      // An older source sends what the target would compare.
      let older = try Self.admitted(port)
      try older.send(.hardware, Array("{}".utf8), timeoutMS: 240_000)
      let refusal = try Message.decode(
        Message.Refusal.self, try older.receive(timeoutMS: 240_000, "refusal").expect(.refuse))
      #expect(refusal.code == .version && refusal.message.contains("the same vmctl"))
      // One that settles a transfer knows none of here.
      let settling = try Connection.connect(host: "127.0.0.1", port: port, timeoutMS: 240_000, wake: nil)
      let record = TeleportRecord(
        role: .source, step: .committing, transfer: "t", host: "127.0.0.1", port: port, isSecure: true)
      #expect(throws: Settlement.Unknown.self) {
        try Settlement.open(settling, record, name: "inquiry", uuid: "", timeoutMS: 240_000)
      }
      for bytes in [Array("GET / HTTP/1.0\r\n\r\n".utf8), Wire.preface + Array(repeating: 0xFF, count: 64)] {
        let plain = try Connection.connect(host: "127.0.0.1", port: port, timeoutMS: 240_000, wake: nil).release()
        defer { close(plain) }
        _ = bytes.withUnsafeBytes { send(plain, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        var wish = pollfd(fd: plain, events: Int16(POLLIN), revents: 0)
        #expect(poll(&wish, 1, 20_000) == 1)
      }
      // More than a definition may have is not taken in.
      let greedy = try Self.admitted(port)
      try? greedy.send(.definition, Array(repeating: 32, count: 257 << 10), timeoutMS: 240_000)
      #expect(throws: (any Error).self) { _ = try greedy.receive(timeoutMS: 240_000, "refusal").expect(.place) }
      #expect(reception.definitions.all.isEmpty)
      let link = try Self.admitted(port)
      try link.send(.definition, [65], timeoutMS: 240_000)
      _ = try link.receive(timeoutMS: 240_000, "place").expect(.place)
      link.close()
    }
    try await end.value
    #expect(reception.definitions.all == ["A"])
  }
}
