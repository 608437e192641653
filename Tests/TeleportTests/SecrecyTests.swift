import Foundation
import SavedState
import Testing

@testable import Machine
@testable import Teleport

/// What a password gives: nobody between the two hosts reads or changes anything, or learns what could be tried elsewhere.
@Suite(.serialized) struct SecrecyTests {
  private static func bytes(_ hexadecimal: String) -> [UInt8] {
    let digits = hexadecimal.filter { !$0.isWhitespace }.map { UInt8($0.hexDigitValue!) }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
  }

  // MARK: CPace

  /// The vectors of draft-irtf-cfrg-cpace, appendix "ristretto255 and hash SHA-512".
  @Test func theDraftsVectorsComeOut() throws {
    let password = Array("Password".utf8)
    let channel = CPace.prefixed(Array("A_initiator".utf8)) + CPace.prefixed(Array("B_responder".utf8))
    let session = Self.bytes("7e4b4791d6a8ef019b936c79fb7f2c57")
    #expect(
      CPace.generator(password: password, channel: channel, session: session)
        == Self.bytes("222b6b195fe84b1652badb6f6a3ae3d24341e7306967f0b8115b40d5698c7e56"))
    let a = try #require(
      CPace(
        password: password, channel: channel, session: session,
        scalar: Self.bytes("da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08")))
    let b = try #require(
      CPace(
        password: password, channel: channel, session: session,
        scalar: Self.bytes("d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d")))
    #expect(a.share == Self.bytes("d6bac480f2c386c394efc7c47adb9925dcd2630b64f240c50f8d0eec482b9157"))
    #expect(b.share == Self.bytes("3ea7e0b19560d7c0b0f5734f63b955286dfa8232b5ebe63324e2d9e7433f7258"))
    let (first, second) = ((a.share, Array("ADa".utf8)), (b.share, Array("ADb".utf8)))
    let key = Self.bytes(
      """
      b69effbf61b51d56401c0f65601abe428de8206feaaf0e32198896dcae7b35cd
      2b38950a39dfd5d4a79164614c2984f7daa460b588c1e80c3fa2068af7900447
      """)
    #expect(a.key(initiator: first, responder: second, peer: b.share) == key)
    #expect(b.key(initiator: first, responder: second, peer: a.share) == key)
  }

  @Test func lengthsAreInLEB128() {
    #expect(CPace.prefixed([]) == [0])
    #expect(CPace.prefixed(Array(repeating: 7, count: 127)).prefix(2) == [0x7F, 7])
    #expect(CPace.prefixed(Array(repeating: 7, count: 128)).prefix(3) == [0x80, 0x01, 7])
  }

  @Test func anotherPasswordOrAnotherGreetingLeadsToAnotherKey() throws {
    func keys(_ password: [UInt8], _ hello: [UInt8]) throws -> (PasswordExchange.Keys, PasswordExchange.Keys) {
      let source = try PasswordExchange(.source, password: [1, 2, 3], sourceHello: [1], targetHello: [2])
      let target = try PasswordExchange(.target, password: password, sourceHello: [1], targetHello: hello)
      return (try source.keys(target.share), try target.keys(source.share))
    }
    let right = try keys([1, 2, 3], [2])
    #expect(right.0.check(right.1.proof(of: .target), of: .target))
    #expect(right.1.check(right.0.proof(of: .source), of: .source))
    #expect(right.0.channel == right.1.channel && right.0.channel.count == 32)
    #expect(right.0.proof(of: .source) != right.0.proof(of: .target))
    for wrong in [try keys([1, 2, 4], [2]), try keys([1, 2, 3], [3])] {
      #expect(!wrong.0.check(wrong.1.proof(of: .target), of: .target))
      #expect(wrong.0.channel != wrong.1.channel)
    }
  }

  /// The neutral element would make every password's key the same, and what is no point has no key.
  @Test(arguments: [
    [UInt8](repeating: 0, count: 32), [UInt8](repeating: 0xFF, count: 32), [], [UInt8](repeating: 1, count: 31),
  ])
  func aShareThatIsNoneIsRefused(share: [UInt8]) throws {
    let exchange = try PasswordExchange(.target, password: [1], sourceHello: [1], targetHello: [2])
    #expect(throws: TeleportError.self) { _ = try exchange.keys(share) }
  }

  // MARK: TLS

  private func connections() -> (Connection, Connection) {
    var ends: [Int32] = [-1, -1]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    return (
      Connection(descriptor: ends[0], peer: "the target", wake: nil),
      Connection(descriptor: ends[1], peer: "the source", wake: nil)
    )
  }

  @Test func twoWithOneKeyUnderstandEachOtherAndTwoWithTwoDoNot() async throws {
    for isSame in [true, false] {
      let (client, server) = connections()
      let box = UncheckedBox(server)
      // As greetings do, which come before any key.
      try client.send(.done, timeoutMS: 240_000)
      try server.send(.done, timeoutMS: 240_000)
      for each in [client, server] { _ = try each.receive(timeoutMS: 240_000, "greeting").expect(.done) }
      let other = Task {
        try await onThread { () -> [UInt8] in
          try box.value.secure(key: Array(repeating: isSame ? 7 : 8, count: 32), isClient: false, timeoutMS: 240_000)
          let frame = try box.value.receive(timeoutMS: 240_000, "test").expect(.pages)
          try box.value.send(.done, timeoutMS: 240_000)
          return frame.payload
        }
      }
      // More than the socket takes at once.
      let payload = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
      let mine = Result {
        try client.secure(key: Array(repeating: 7, count: 32), isClient: true, timeoutMS: 240_000)
        try client.send(.pages, payload, timeoutMS: 240_000)
        _ = try client.receive(timeoutMS: 240_000, "test").expect(.done)
      }
      let theirs = await other.result
      if isSame {
        try mine.get()
        #expect(try theirs.get() == payload)
      } else {
        #expect(throws: TeleportError.tampered) { try mine.get() }
        #expect(throws: (any Error).self) { try theirs.get() }
      }
    }
  }

  // MARK: Teleports

  private static let secret = Array("correct horse battery staple".utf8)

  private func hold(_ secret: [UInt8], in machine: SmallMachine) {
    // Behind the pages that it writes to.
    secret.withUnsafeBytes {
      (machine.memory.ram + machine.memory.pageCount * 4096 - 4096).copyMemory(
        from: $0.baseAddress!, byteCount: $0.count)
    }
  }

  /// The last page is not written by the machine's own working set in so short a time, or it is and has other contents.
  @Test func whoListensHearsNeitherMemoryNorWhatSettlesTheTransfer() async throws {
    for password in ["right", nil] {
      let pair = try Pair(paused: true, password: password)
      hold(Self.secret, in: pair.machine)
      let relay = Relay(to: pair.port)
      defer { relay.end() }
      let source = pair.source(password: password, port: relay.port)
      _ = try await onThread { try source.run() }
      let arrived = try await onThread { [target = pair.target] in try target.run() }
      let transfer = try #require(pair.sourceRecords.all.first?.transfer)
      #expect(pair.sourceRecords.all.first?.isSecure == (password == nil ? nil : true))
      // The counterproof: without a password both are heard.
      #expect(relay.hasHeard(Array(transfer.utf8)) == (password == nil))
      #expect(relay.hasHeard(Array("small-cpu".utf8)) == (password == nil))
      #expect(!relay.hasHeard(Array("right".utf8)))
      arrived.powerOff()
      pair.target.stop()
    }
  }

  @Test func anInquiryAboutAnEncryptedTransferIsEncryptedToo() async throws {
    struct Broken: Error {}
    let pair = try Pair(password: "right")
    let source = pair.source(password: "right", testPoint: TestPoint { if $0 == .sourceAnswered { throw Broken() } })
    _ = try await onThread { try source.run() }
    let arrived = try await onThread { [target = pair.target] in try target.run() }
    let record = try #require(pair.sourceRecords.all.first)
    pair.target.stop()
    arrived.powerOff()
    var options = TeleportTarget<SmallMachine>.Options(port: 0, password: "right", name: "t", uuid: "t")
    options.previous = pair.targetRecords.all.last
    let medium = pair.medium
    let next = TeleportTarget<SmallMachine>(options: options, makeMachine: { try SmallMachine(medium: medium) })
    let relay = Relay(to: try next.listen())
    defer { relay.end() }
    var known = record
    known.port = relay.port
    var strange = known
    strange.transfer = "00"
    let answers = try await onThread { [known, strange] in (TeleportInquiry.ask(known), TeleportInquiry.ask(strange)) }
    #expect(answers.0 == .runs)
    #expect(answers.1 == .unknown)
    #expect(!relay.hasHeard(Array(record.transfer.utf8)))
    next.stop()
  }

  /// Somewhere in the middle of memory a bit is another.
  @Test func whatIsChangedOnTheWayIsNoticedAndTheMachineStays() async throws {
    let pair = try Pair(password: "right")
    let relay = Relay(to: pair.port) { way, before, bytes in
      let place = 300_000 - before
      if way == .toTarget, bytes.indices.contains(place) { bytes[place] ^= 0x10 }
    }
    defer { relay.end() }
    let source = pair.source(password: "right", port: relay.port)
    await #expect(throws: (any Error).self) { _ = try await onThread { try source.run() } }
    await pair.expectKept("changed")
    pair.target.stop()
  }

  /// A relay that makes each side believe that the other is of version 3 does not get the source to do as version 3 did.
  @Test func nobodyTalksTheTwoDownToAnOlderVersion() async throws {
    let pair = try Pair(password: "right")
    let relay = Relay(to: pair.port) { way, before, bytes in
      // The first frame is the greeting, whose checksum is no secret.
      var decoder = Wire.Decoder()
      decoder.feed(bytes)
      guard before == 0, let frame = try? decoder.next(), frame.type == .hello else { return }
      let old = String(decoding: frame.payload, as: UTF8.self)
        .replacingOccurrences(of: "\"maxVersion\":4", with: "\"maxVersion\":3")
        .replacingOccurrences(of: "\"minVersion\":4", with: "\"minVersion\":1")
      let length = Wire.preface.count + Wire.headerBytes + frame.payload.count
      bytes = Wire.preface + Wire.encode(Wire.Frame(.hello, Array(old.utf8))) + bytes[length...]
    }
    defer { relay.end() }
    let source = pair.source(password: "right", port: relay.port)
    let result = await Task { try await onThread { _ = try source.run() } }.result
    #expect { try result.get() } throws: { if case TeleportError.version = $0 { true } else { false } }
    #expect(relay.heard(.toTarget).count < 2000, "nothing but the greeting, and the farewell")
    await pair.expectKept("talked down")
    pair.target.stop()
  }

  /// A source of version 3 may come, and the target says that it was one.
  @Test func anOlderSourceIsLetInAndToldOf() async throws {
    let pair = try Pair(password: "right")
    let told = Log<Bool>()
    pair.target.onOldSource = { told.add(true) }
    for password in ["wrong", "right"] {
      let port = pair.port
      let answer = try await onThread { () -> Wire.FrameType in
        let link = try Connection.connect(host: "127.0.0.1", port: port, timeoutMS: 5000, wake: nil)
        let hello = Message.encode(
          Message.Hello(
            minVersion: 1, maxVersion: 3, build: "1", name: "old", uuid: "o", intent: .teleport,
            nonce: Authentication.nonce(), password: true, paused: false))
        try link.send(.hello, hello, timeoutMS: 5000)
        let theirs = try link.receive(timeoutMS: 5000, "greeting").expect(.hello)
        let proof = Authentication(password: password, sourceHello: hello, targetHello: theirs.payload)
        try link.send(.proof, proof.proof(of: .source), timeoutMS: 5000)
        let frame = try link.receive(timeoutMS: 20_000, "password")
        #expect(frame.type != .proof || proof.check(frame.payload, of: .target))
        return frame.type
      }
      #expect(answer == (password == "right" ? .proof : .refuse))
    }
    #expect(await eventually { told.all.count == 1 })
    pair.target.stop()
  }
}
