import Foundation
import Testing

@testable import Teleport

/// What strangers on the network may take up, and what they may make a person see.
@Suite struct StrangerTests {
  private func pair() -> (Int32, Int32) {
    var ends: [Int32] = [-1, -1]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    return (ends[0], ends[1])
  }

  /// Whether the other side has been shut down: a read ends at once.
  private func isSentAway(_ descriptor: Int32) -> Bool {
    var byte: UInt8 = 0
    return recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT)) == 0
  }

  @Test func aCrowdOfOneAddressSendsItsOwnAway() {
    let seats = StrangerSeats()
    var ends: [(Int32, Int32)] = []
    var taken: [StrangerSeats.Seat] = []
    defer { for (a, b) in ends { _ = (close(a), close(b)) } }
    func come(_ address: UInt8) -> Int {
      ends.append(pair())
      taken.append(seats.take(ends[ends.count - 1].0, address: [address]))
      return ends.count - 1
    }
    let source = come(1)
    for _ in 0..<(StrangerSeats.count * 3) { _ = come(2) }
    #expect(!isSentAway(ends[source].1))
    #expect(ends.count(where: { isSentAway($0.1) }) == StrangerSeats.count * 3 + 1 - StrangerSeats.count)
    // Among themselves who has said nothing goes first.
    let polite = ends.count - 1
    taken[polite].hasGreeted()
    for _ in 0..<(StrangerSeats.count - 2) { _ = come(2) }
    #expect(!isSentAway(ends[polite].1))
    // A seat that has been left is free.
    taken[source].leave()
    let before = ends.count(where: { isSentAway($0.1) })
    _ = come(3)
    #expect(ends.count(where: { isSentAway($0.1) }) == before)
  }

  // MARK: Guesses

  @Test func eachGuessFromWhereWrongOnesCameIsLookedAtLater() throws {
    let guesses = GuessTurns()
    let (guesser, holder): ([UInt8], [UInt8]) = ([1], [2])
    #expect(try #require(guesses.begin(guesser, now: 100)).seconds == 0)
    #expect(guesses.wasWrong(guesser, now: 100) == 1)
    var turns: [GuessTurns.Turn] = []
    for _ in 0..<GuessTurns.waiting { turns.append(try #require(guesses.begin(guesser, now: 100))) }
    for (turn, seconds) in zip(turns, [0.3, 0.6, 0.9, 1.2]) { #expect(abs(turn.seconds - seconds) < 1e-6) }
    // More are sent away before anything is looked at; who comes from elsewhere waits for nobody.
    #expect(guesses.begin(guesser, now: 100) == nil)
    #expect(try #require(guesses.begin(holder, now: 100)).seconds == 0)
    turns.forEach(guesses.end)
    for index in 2...50 { #expect(guesses.wasWrong(guesser, now: 100) == index) }
    let late = try #require(guesses.begin(guesser, now: 200))
    #expect(late.seconds == 0)
    guesses.end(late)
    #expect(try #require(guesses.begin(guesser, now: 200)).seconds == GuessTurns.pauses.most)
    guesses.wasRight(guesser)
    #expect(try #require(guesses.begin(guesser, now: 200)).seconds == 0)
  }

  @Test func manyGuessersAreForgottenBeforeTheyFillMemory() throws {
    let guesses = GuessTurns()
    for index in 0...GuessTurns.addresses {
      _ = guesses.wasWrong([UInt8(index >> 8), UInt8(index & 0xFF)], now: Double(index))
    }
    // The first is, the second is not.
    let end = Double(GuessTurns.addresses)
    for _ in 0..<2 { #expect(try #require(guesses.begin([0, 0], now: 0)).seconds == 0) }
    #expect(try #require(guesses.begin([0, 1], now: 0)).seconds > 1)
    #expect(try #require(guesses.begin([UInt8(GuessTurns.addresses >> 8), 0], now: end)).seconds > 0)
  }

  @Test func whoHasOneAddressOfANetworkHasAllOfThem() {
    let mine = (0..<16).map { UInt8($0 + 32) }
    #expect(StrangerSeats.whoHas(mine) == Array(32..<40))
    #expect(StrangerSeats.whoHas(Array(repeating: 0, count: 10) + [0xFF, 0xFF, 10, 0, 0, 7]) == [10, 0, 0, 7])
    #expect(StrangerSeats.whoHas(Array(repeating: 0, count: 15) + [1]) == Array(repeating: 0, count: 8))
  }

  private static let texts = [
    ["plain", "plain"], ["a\u{1b}[2Jb\nc\td", "a [2Jb c d"], ["\u{9b}31m\u{85}\u{7f}x", " 31m  x"],
    ["\u{202e}evil\u{2028}line", " evil line"], ["Grüße, 世界 \u{1f600}", "Grüße, 世界 \u{1f600}"],
    ["a\\\"b\\\\n", "a\\\"b\\\\n"],
  ]

  @Test func whatATerminalWouldObeyBecomesSpaces() throws {
    for pair in Self.texts { try check(pair[0], pair[1]) }
  }

  private func check(_ text: String, _ clean: String) throws {
    #expect(ForeignText.clean(text) == clean)
    let refusal = Message.Refusal(code: .other, message: text, differences: nil, machine: nil)
    let frame = Wire.Frame(.refuse, Message.encode(refusal))
    #expect(try Message.decodeText(Message.Refusal.self, frame).message == clean)
    // As another encoder would write it, too.
    let escaped = text.utf16.map { "\\u" + String(UInt32($0) + 0x10000, radix: 16).suffix(4) }.joined()
    let other = Wire.Frame(.refuse, Array("{\"code\":\"other\",\"message\":\"\(escaped)\"}".utf8))
    #expect(try Message.decodeText(Message.Refusal.self, other).message == clean)
  }

  @Test func jsonThatEndsWithinAnEscapeIsDamagedAndNoMore() {
    for text in ["{\"a\":\"\\", "{\"a\":\"\\u12", "\u{2028}", "\\"] {
      #expect(throws: TeleportError.self) {
        try Message.decodeText(Message.Refusal.self, Wire.Frame(.refuse, Array(text.utf8)))
      }
    }
    #expect(ForeignText.clean(json: [0xe2]) == [0xe2] && ForeignText.clean(json: [0x5c]) == [0x5c])
  }
}
