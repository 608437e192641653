import Testing

@testable import Management

@Suite struct ConsoleBufferTests {
  @Test func aLateReaderGetsWhatIsKept() {
    var buffer = ConsoleBuffer(capacity: 8)
    buffer.append(Array(1...5))
    #expect(buffer.read(from: 0, limit: 100) == (0, [1, 2, 3, 4, 5], 5))
    buffer.append(Array(6...11))
    #expect(buffer.start == 3)
    #expect(buffer.read(from: buffer.start, limit: 100) == (0, Array(4...11), 11))
  }

  @Test func aSlowReaderLearnsWhatItMissed() {
    var buffer = ConsoleBuffer(capacity: 4)
    buffer.append(Array(1...10))
    #expect(buffer.read(from: 2, limit: 3) == (4, [7, 8, 9], 9))
    #expect(buffer.read(from: 9, limit: 3) == (0, [10], 10))
    #expect(buffer.read(from: 10, limit: 3) == (0, [], 10))
  }

  @Test func aLateReaderBeginsWithTheLast64KiB() {
    var buffer = ConsoleBuffer()
    buffer.append(Array(repeating: 1, count: 1000))
    #expect(buffer.recent == 0)
    buffer.append(Array(repeating: 2, count: 200_000))
    #expect(buffer.recent == 201_000 - 65536)
    #expect(buffer.read(from: 0, limit: 10).lost == 0, "who watches may be that far behind")
  }

  @Test func anyPiecesGiveTheSameStream() {
    var expected: [UInt8] = []
    var buffer = ConsoleBuffer(capacity: 64)
    for round in 0..<300 {
      let piece = (0..<(round * 7 % 90)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ round) }
      buffer.append(piece)
      expected += piece
      #expect(buffer.end == expected.count)
      #expect(buffer.read(from: buffer.start, limit: .max >> 1).bytes == Array(expected.suffix(64)))
    }
  }
}
