import Testing

@testable import Devices

/// What viewers get of the screen is what a picture of it shows, and only what has changed is looked at.
@Suite struct ScreenCopyTests {
  let board: VGABoard
  let copy: ScreenCopy

  init() throws {
    board = try VGABoard()
    copy = board.vga.makeScreenCopy()
  }

  /// A viewer's picture, which is brought up to date by the lines that it is given.
  private final class Viewer {
    var pixels: [[UInt32]] = []

    func look(_ board: VGABoard, _ copy: ScreenCopy) -> [Int] {
      while !board.vga.take(into: copy) {}
      if pixels.count != copy.height || pixels.first?.count != copy.width {
        pixels = Array(repeating: Array(repeating: 0, count: copy.width), count: copy.height)
      }
      guard copy.isFresh else { return [] }
      var lines: [Int] = []
      copy.draw(all: false) { y, line in
        pixels[y] = Array(line)
        lines.append(y)
      }
      return lines
    }

    func equals(_ frame: Frame) -> Bool {
      frame.pixels == pixels.joined().flatMap { pixel in (0..<4).map { UInt8(truncatingIfNeeded: pixel >> ($0 * 8)) } }
    }
  }

  private func setInterface(_ width: UInt16, _ height: UInt16, _ depth: UInt16) {
    board.dispi(4, 0)
    for (index, value) in [(1, width), (2, height), (3, depth), (4, 0x41)] { board.dispi(UInt16(index), value) }
  }

  @Test func aViewerSeesWhatAPictureShowsInEachMode() {
    var random = SystemRandomNumberGenerator()
    let viewer = Viewer()
    let modes: [(String, () -> Void)] = [
      ("text", board.setTextMode), ("planar", board.setPlanarMode),
      (
        "256 colours",
        {
          board.setPlanarMode()
          board.sequencer(4, 0x0E)
          board.graphics(5, 0x40)
          board.setCRTC(columns: 80, lines: 400, cellHeight: 2, offset: 40)
        }
      ),
      ("8 bits", { setInterface(320, 200, 8) }), ("16 bits", { setInterface(640, 480, 16) }),
      ("24 bits", { setInterface(320, 200, 24) }), ("32 bits", { setInterface(800, 600, 32) }),
      ("4 bits", { setInterface(800, 600, 4) }), ("text again", { board.dispi(4, 0) }),
    ]
    for (name, set) in modes {
      set()
      for round in 0..<4 {
        for _ in 0..<200 {
          board.poke(0xA0000 + UInt64.random(in: 0..<0x20000, using: &random), .random(in: 0...255, using: &random))
        }
        if round == 2 { board.dispi(8, 8) }
        if round == 3 { board.dispi(9, 3) }
        _ = viewer.look(board, copy)
        #expect(viewer.equals(board.vga.renderFrame()), "\(name), round \(round)")
      }
    }
  }

  @Test func whereNothingHasChangedNothingIsDrawn() {
    let viewer = Viewer()
    board.setTextMode()
    #expect(viewer.look(board, copy).count == 400)
    #expect(viewer.look(board, copy).isEmpty)
    // Reading and pointing at registers changes nothing.
    _ = board.peek(0xB8000)
    _ = board.inb(0x3DA)
    board.out(0x3D4, 5)
    board.out(0x3C4, 4)
    #expect(viewer.look(board, copy).isEmpty)
    board.write("A", attribute: 7, row: 1, column: 0)
    #expect(!viewer.look(board, copy).isEmpty)
  }

  @Test func ofAFrameBufferOnlyLinesOfChangedPagesAreDrawn() {
    let viewer = Viewer()
    setInterface(1024, 768, 32)
    #expect(viewer.look(board, copy).count == 768)
    // 1024 pixels are a page.
    board.dispi(5, 3)
    board.poke(0xA0000 + 4096 * 2 + 17, 0xFF)
    let lines = viewer.look(board, copy)
    #expect(lines == [48 + 2])
    #expect(viewer.equals(board.vga.renderFrame()))
  }

  @Test func blinkingIsDrawnWhereSomethingBlinks() {
    let viewer = Viewer()
    board.setTextMode()
    _ = viewer.look(board, copy)
    board.time.advance(milliseconds: 300)
    #expect(!viewer.look(board, copy).isEmpty, "attributes may blink")
    setInterface(640, 480, 8)
    _ = viewer.look(board, copy)
    board.time.advance(milliseconds: 300)
    #expect(viewer.look(board, copy).isEmpty)
  }

  @Test func aStateThatIsLoadedIsSeen() throws {
    let viewer = Viewer()
    setInterface(640, 480, 32)
    for offset: UInt64 in 0..<5000 { board.poke(0xA0000 + offset, UInt8(truncatingIfNeeded: offset)) }
    _ = viewer.look(board, copy)
    let saved = try board.vga.save()
    let before = board.vga.renderFrame()
    for offset: UInt64 in 0..<9000 { board.poke(0xA0000 + offset, 0xEE) }
    _ = viewer.look(board, copy)
    try board.vga.load(saved)
    _ = viewer.look(board, copy)
    #expect(viewer.equals(before))
    board.vga.reset()
    _ = viewer.look(board, copy)
    #expect(viewer.equals(board.vga.renderFrame()))
  }

  @Test func aGuestThatWritesAllTheTimeDoesNotHoldACopyUp() {
    setInterface(1024, 768, 32)
    var turns = 1
    while !board.vga.take(into: copy) {
      turns += 1
      board.poke(0xA0000, UInt8(truncatingIfNeeded: turns))
    }
    #expect(turns == 3, "768 pages, 256 in one go")
  }
}
