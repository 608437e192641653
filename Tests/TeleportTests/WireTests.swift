import Foundation
import SavedState
import Testing

@testable import Teleport

private let frames: [Wire.Frame] = [
  Wire.Frame(.hello, Array("{}".utf8)), Wire.Frame(.roundEnd),
  Wire.Frame(.pages, PageChunk.encodeZeroRun(first: 0, count: 5)),
  Wire.Frame(.devices, Array(repeating: 9, count: 5000)), Wire.Frame(.commit, [1, 2, 3]),
]
private var stream: [UInt8] { Wire.preface + frames.flatMap(Wire.encode) }

@Suite struct WireTests {
  @Test(arguments: [1, 2, 3, 7, 16, 17, 1000, 100_000])
  func anySplitYieldsTheSameFrames(step: Int) throws {
    var decoder = Wire.Decoder()
    var seen: [Wire.Frame] = []
    for start in stride(from: 0, to: stream.count, by: step) {
      decoder.feed(stream[start..<min(start + step, stream.count)])
      while let frame = try decoder.next() { seen.append(frame) }
    }
    #expect(seen == frames)
    #expect(!decoder.isWithinFrame)
  }

  /// A decoder that is given its bytes in pieces of a size: what belongs to large payloads goes into its place where `fills`.
  private func decode(_ stream: [UInt8], step: Int, fills: Bool) throws -> [Wire.Frame] {
    struct Never: Error {}
    var decoder = Wire.Decoder()
    var seen: [Wire.Frame] = []
    var position = 0
    while position < stream.count {
      let piece = stream[position..<min(position + step, stream.count)]
      let filled: Result<Int, Never>? =
        fills
        ? decoder.fill { room in
          let count = min(room.count, piece.count)
          room.copyBytes(from: piece.prefix(count))
          return .success(count)
        } : nil
      if case .success(let count)? = filled {
        position += count
      } else {
        decoder.feed(piece)
        position += piece.count
      }
      while let frame = try decoder.next() { seen.append(frame) }
    }
    #expect(!decoder.isWithinFrame)
    return seen
  }

  @Test(arguments: [1, 16, 999, 16384, 100_000], [true, false])
  func memoryIsReadIntoItsPlaceOrNotAndIsTheSame(step: Int, fills: Bool) throws {
    func pages(_ count: Int) -> Wire.Frame {
      Wire.Frame(.pages, (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ count) })
    }
    let frames = [pages(16 << 10), pages((16 << 10) - 1), Wire.Frame(.roundEnd), pages(70_000), pages(70_001)]
    let stream = Wire.preface + frames.flatMap(Wire.encode)
    #expect(try decode(stream, step: step, fills: fills) == frames)
    // A byte of the last payload is another.
    var damaged = stream
    damaged[damaged.count - 9] ^= 1
    #expect(throws: TeleportError.damaged("a frame pages whose checksum does not match")) {
      try decode(damaged, step: step, fills: fills)
    }
  }

  @Test func everyTruncationYieldsAPrefixAndWaits() throws {
    for length in 0..<stream.count {
      var decoder = Wire.Decoder()
      decoder.feed(stream[..<length])
      var seen: [Wire.Frame] = []
      while let frame = try decoder.next() { seen.append(frame) }
      #expect(seen == Array(frames.prefix(seen.count)) && seen.count < frames.count)
    }
  }

  @Test func everyFlippedBitIsNoticedOrWaitsForMore() {
    for position in stream.indices {
      var damaged = stream
      damaged[position] ^= 1 << UInt8(position & 7)
      var decoder = Wire.Decoder()
      decoder.feed(damaged)
      var seen: [Wire.Frame] = []
      while let frame = try? decoder.next() { seen.append(frame) }
      #expect(seen.count < frames.count && seen == Array(frames.prefix(seen.count)), "at \(position)")
    }
  }

  @Test(arguments: ["GET / HTTP/1.1\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "VirtualBox-Teleporter-1.0\n", "\u{16}\u{3}\u{1}"])
  func anotherProtocolIsCalledSo(opening: String) {
    var decoder = Wire.Decoder()
    decoder.feed(Array(opening.utf8))
    #expect { try decoder.next() } throws: { "\($0)".contains("another protocol") }
    // It stays so.
    decoder.feed(stream)
    #expect(throws: TeleportError.self) { try decoder.next() }
  }

  @Test func randomBytesNeverYieldAFrame() {
    var random = SystemRandomNumberGenerator()
    for round in 0..<3000 {
      var decoder = Wire.Decoder()
      if round % 2 == 0 { decoder.feed(Wire.preface) }
      decoder.feed((0..<Int.random(in: 0...200)).map { _ in UInt8.random(in: 0...255, using: &random) })
      #expect((try? decoder.next()) == nil)
    }
  }

  @Test func aLengthBeyondTheTypesLimitIsRefusedAtOnce() {
    for type in Wire.FrameType.allCases {
      var writer = ByteWriter()
      writer.put(bytes: Wire.preface)
      writer.put(UInt32(type.rawValue))
      writer.put(UInt32(type.maxPayload + 1))
      writer.put(0 as UInt64)
      var decoder = Wire.Decoder()
      decoder.feed(writer.bytes)
      #expect(throws: TeleportError.self) { try decoder.next() }
    }
  }

  @Test(arguments: [(1, 1, true), (1, 5, true), (2, 3, false), (0, 0, false), (3, 1, false)])
  func versionsAreAgreedOrTheErrorNamesBoth(min: Int, max: Int, fits: Bool) {
    let hello = Message.Hello(
      minVersion: min, maxVersion: max, build: "vmctl 9", name: "n", uuid: "u", intent: .teleport, nonce: "",
      password: false, paused: false)
    #expect(((try? Message.agree(1...1, hello, who: "target")) != nil) == fits)
  }

  /// A target of version 1 cannot share the media, one of version 2 takes any file for them; one of this build shares them
  /// with a source of version 1 as well.
  @Test func aSourceWantsATargetThatSharesTheMedia() {
    let old = Message.Hello(
      minVersion: 1, maxVersion: 1, build: "vmctl 0", name: "n", uuid: "u", intent: .teleport, nonce: "",
      password: false, paused: false)
    var second = old
    second.maxVersion = 2
    for target in [old, second] {
      #expect((try? Message.agree(Wire.sourceVersions(withPassword: false), target, who: "target")) == nil)
    }
    #expect((try? Message.agree(Wire.versions, old, who: "source")) == 1)
  }

  @Test func proofsDependOnPasswordRoleAndBothGreetings() {
    let one = Authentication(password: "secret", sourceHello: [1], targetHello: [2])
    let same = Authentication(password: "secret", sourceHello: [1], targetHello: [2])
    #expect(same.check(one.proof(of: .source), of: .source))
    #expect(!same.check(one.proof(of: .source), of: .target))
    for other in [
      Authentication(password: "other", sourceHello: [1], targetHello: [2]),
      Authentication(password: "secret", sourceHello: [9], targetHello: [2]),
      Authentication(password: "secret", sourceHello: [1], targetHello: [9]),
    ] { #expect(!other.check(one.proof(of: .source), of: .source)) }
  }
}
