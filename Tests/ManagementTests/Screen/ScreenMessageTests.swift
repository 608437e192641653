import Testing

@testable import Management

@Suite struct ScreenMessageTests {
  private static let news: [ScreenNews] = [
    .greeting(version: 1, machine: "a box ü"), .picture(width: 720, height: 400),
    .changes([ScreenRectangle(x: 1, y: 2, width: 300, height: 4), ScreenRectangle(x: 0, y: 399, width: 720, height: 1)]
    ),
    .changes([]), .gone("hostb port 6000"), .gone(""),
  ]
  private static let inputs: [ScreenInput] = [
    .wantsChanges, .keys([0x1E, 0x9E]), .keys([0xE0, 0x48]), .move(dx: -3, dy: 400, wheel: -1, buttons: 5),
    .place(x: 719, y: 65535, wheel: 1, buttons: 0), .text("ls -l\n"), .text("ü"),
  ]

  @Test func whatIsSaidIsUnderstood() {
    for message in Self.news { #expect(ScreenNews(message.encoded) == message) }
    for message in Self.inputs { #expect(ScreenInput(message.encoded) == message) }
    #expect(
      ScreenInput(ScreenInput.move(dx: 1 << 20, dy: -1 << 20, wheel: 0, buttons: 0).encoded)
        == .move(dx: 32767, dy: -32768, wheel: 0, buttons: 0))
  }

  /// What has another meaning when it is cut off says so by its length; texts may be shorter.
  @Test func whatIsCutOffIsNotUnderstoodAsSomethingElse() {
    for message in Self.inputs {
      let bytes = message.encoded
      for count in 0..<bytes.count {
        switch (message, ScreenInput(Array(bytes.prefix(count)))) {
        case (_, nil), (.keys, .keys), (.text, .text): break
        case (_, let other): Issue.record("\(message) becomes \(String(describing: other))")
        }
      }
    }
    for message in Self.news {
      let bytes = message.encoded
      for count in 0..<bytes.count {
        switch (message, ScreenNews(Array(bytes.prefix(count)))) {
        case (_, nil), (.greeting, .greeting), (.changes, .changes), (.gone, .gone): break
        case (_, let other): Issue.record("\(message) becomes \(String(describing: other))")
        }
      }
    }
  }

  @Test func limitsAreKept() {
    #expect(ScreenInput([2] + Array(repeating: 0x1E, count: 65)) == nil)
    #expect(ScreenInput([2]) == nil)
    #expect(ScreenInput([5] + Array(repeating: 0x41, count: 2049)) == nil)
    #expect(ScreenInput([5, 0xC3]) == nil, "half a character")
    #expect(ScreenInput([1, 0]) == nil && ScreenInput([]) == nil && ScreenInput([99]) == nil)
    #expect(ScreenNews([2, 0, 0, 1, 0]) == nil, "a picture without width")
    #expect(ScreenNews([2, 0xFF, 0xFF, 0xFF, 0xFF]) == nil, "a picture of 16 GiB")
    #expect(ScreenNews([3] + Array(repeating: 0, count: 8 * 257)) == nil)
  }

  @Test func randomBytesAreUnderstoodOnlyIfTheyWouldBeSaid() {
    var random = SystemRandomNumberGenerator()
    for _ in 0..<20_000 {
      var bytes = (0..<Int.random(in: 0...20, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      if !bytes.isEmpty { bytes[0] %= 7 }
      if let input = ScreenInput(bytes) { #expect(input.encoded == bytes) }
      if let news = ScreenNews(bytes) { #expect(ScreenNews(news.encoded) == news) }
    }
  }

  @Test func rectanglesCoverAllThatHasChangedAndAreFew() {
    var random = SystemRandomNumberGenerator()
    for round in 0..<200 {
      let (width, height) = (64, 700)
      var changes = ChangedLines(width: width, height: height)
      var changed: Set<[Int]> = []
      for _ in 0..<(round % 2 == 0 ? 5 : 600) {
        let (line, x) = (Int.random(in: 0..<height, using: &random), Int.random(in: 0..<width, using: &random))
        changes.add(line: line, x..<x + 1)
        changed.insert([x, line])
      }
      changes.add(line: height, 0..<1)
      let rectangles = changes.takeRectangles()
      #expect(rectangles.count <= ScreenProtocol.rectangleLimit)
      #expect(changes.isEmpty)
      let none = changes.takeRectangles()
      #expect(none.isEmpty)
      for place in changed {
        let covers = rectangles.contains { part in
          (part.x..<part.x + part.width).contains(place[0]) && (part.y..<part.y + part.height).contains(place[1])
        }
        #expect(covers, "\(place)")
      }
      for part in rectangles { #expect(part.x + part.width <= width && part.y + part.height <= height) }
    }
    var changes = ChangedLines(width: 10, height: 10)
    changes.add(line: 3, 2..<4)
    changes.add(line: 4, 3..<6)
    changes.add(line: 9, 0..<1)
    let rectangles = changes.takeRectangles()
    #expect(
      rectangles == [
        ScreenRectangle(x: 2, y: 3, width: 4, height: 2), ScreenRectangle(x: 0, y: 9, width: 1, height: 1),
      ])
  }

  @Test func keysThatAreDownAreLetGo() throws {
    var keys = HeldKeys()
    func take(_ stroke: [UInt8], canPress: Bool = true) -> Bool { keys.take(stroke, canPress: canPress) }
    for stroke in try #require(HeldKeys.strokes([0x2A, 0xE0, 0x1D, 0x1E, 0x9E])) { #expect(take(stroke)) }
    #expect(keys.releases == [0xAA, 0xE0, 0x9D])
    #expect(!take([0x9E]), "it is not down")
    #expect(!take([0x1F], canPress: false))
    #expect(take([0xAA], canPress: false), "the machine stands still")
    #expect(keys.releases == [0xE0, 0x9D])
    #expect(HeldKeys.strokes([0x1E, 0xE0]) == nil)
    #expect(HeldKeys.strokes([0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5])?.count == 2)
  }
}
