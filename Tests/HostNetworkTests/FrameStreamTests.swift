import Testing

@testable import HostNetwork

@Suite struct FrameStreamTests {
  @Test func framesComeOutAsTheyWentInWhateverThePieces() throws {
    let frames: [[UInt8]] = [[1], [UInt8](repeating: 2, count: 1514), [3, 4], [UInt8](repeating: 5, count: 65_553)]
    var stream: [UInt8] = []
    for frame in frames { FrameStream.encode(frame, to: &stream) }
    #expect(Array(stream[0..<5]) == [0, 0, 0, 1, 1])
    for piece in [1, 3, 4, 1000, stream.count] {
      var decoder = FrameStream.Decoder()
      var found: [[UInt8]] = []
      for start in stride(from: 0, to: stream.count, by: piece) {
        decoder.append(stream[start..<min(start + piece, stream.count)])
        while let frame = try decoder.next() { found.append(frame) }
      }
      #expect(found == frames, "pieces of \(piece)")
      #expect(decoder.pending == 0)
    }
  }

  @Test func aStreamThatEndsTooEarlyGivesNoFrame() throws {
    var stream: [UInt8] = []
    FrameStream.encode([UInt8](repeating: 9, count: 60), to: &stream)
    for length in 0..<stream.count {
      var decoder = FrameStream.Decoder()
      decoder.append(stream[..<length])
      #expect(try decoder.next() == nil)
      #expect(decoder.pending == length)
    }
  }

  @Test(arguments: [[0, 0, 0, 0], [0, 1, 0, 18], [0xFF, 0xFF, 0xFF, 0xFF]] as [[UInt8]])
  func aLengthThatNoFrameHasIsRefused(_ bytes: [UInt8]) {
    var decoder = FrameStream.Decoder()
    decoder.append(bytes)
    #expect(throws: HostNetworkError.self) { try decoder.next() }
  }
}
