import Foundation
import GuestMemory
import SavedState
import Testing

@testable import Devices

/// A display adapter with ports and memory, set up as a BIOS does.
final class VGABoard {
  let ports = PortBus()
  let memory: PhysicalMemory
  let time = ManualClock()
  let vga: VGA

  init() throws {
    memory = try PhysicalMemory(size: 4 << 20)
    vga = VGA(vramSize: 4 << 20, memory: memory, ports: ports, clock: time.clock)
  }

  func out(_ port: UInt16, _ value: UInt8) { ports.write(port, size: 1, value: UInt32(value)) }
  func inb(_ port: UInt16) -> UInt8 { UInt8(truncatingIfNeeded: ports.read(port, size: 1)) }
  func sequencer(_ index: UInt8, _ value: UInt8) {
    ports.write(0x3C4, size: 2, value: UInt32(value) << 8 | UInt32(index))
  }
  func graphics(_ index: UInt8, _ value: UInt8) {
    ports.write(0x3CE, size: 2, value: UInt32(value) << 8 | UInt32(index))
  }
  func crtc(_ index: UInt8, _ value: UInt8) { ports.write(0x3D4, size: 2, value: UInt32(value) << 8 | UInt32(index)) }
  func attribute(_ index: UInt8, _ value: UInt8) {
    _ = inb(0x3DA)
    out(0x3C0, index)
    out(0x3C0, value)
  }
  func dispi(_ index: UInt16, _ value: UInt16) {
    ports.write(0x1CE, size: 2, value: UInt32(index))
    ports.write(0x1CF, size: 2, value: UInt32(value))
  }
  func dispi(_ index: UInt16) -> UInt16 {
    ports.write(0x1CE, size: 2, value: UInt32(index))
    return UInt16(truncatingIfNeeded: ports.read(0x1CF, size: 2))
  }
  func poke(_ address: UInt64, _ value: UInt8) { memory.writeIO(address, size: 1, value: UInt64(value)) }
  func peek(_ address: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: memory.readIO(address, size: 1)) }

  /// The first 16 colours as the BIOS sets them, both as palette and as DAC entries.
  func setColours() {
    out(0x3C8, 0)
    for index in 0..<256 {
      let bright: UInt8 = index & 8 != 0 ? 0x15 : 0
      for bit in [2, 1, 0] { out(0x3C9, (index >> bit & 1 != 0 ? 0x2A : 0) + bright) }
    }
    for index: UInt8 in 0..<16 { attribute(index, index) }
    attribute(0x12, 0x0F)
    _ = inb(0x3DA)
    out(0x3C0, 0x20)
  }

  /// Mode 3: 80 by 25, 9 by 16 dots.
  func setTextMode() {
    out(0x3C2, 0x67)
    for (index, value) in [(0, 3), (1, 0), (2, 3), (3, 0), (4, 2)] { sequencer(UInt8(index), UInt8(value)) }
    for (index, value) in [(5, 0x10), (6, 0x0E), (8, 0xFF)] { graphics(UInt8(index), UInt8(value)) }
    setCRTC(columns: 80, lines: 400, cellHeight: 16, offset: 40)
    attribute(0x10, 0x0C)
    setColours()
  }

  func setCRTC(columns: Int, lines: Int, cellHeight: Int, offset: UInt8) {
    crtc(0x11, 0)
    crtc(1, UInt8(columns - 1))
    let end = lines - 1
    crtc(0x12, UInt8(truncatingIfNeeded: end))
    crtc(7, UInt8((end >> 7 & 2) | (end >> 3 & 0x40)) | 0x10)
    crtc(9, 0x40 | UInt8(cellHeight - 1))
    crtc(0x13, offset)
    crtc(0x17, 0xA3)
    crtc(0x18, 0xFF)
    crtc(0xA, 0x20)
  }

  func write(_ text: String, attribute: UInt8, row: Int, column: Int) {
    for (index, byte) in text.utf8.enumerated() {
      let address = 0xB8000 + UInt64(row * 80 + column + index) * 2
      memory.writeIO(address, size: 2, value: UInt64(byte) | UInt64(attribute) << 8)
    }
  }

  /// Loads one character's 16 rows into font 0, the way a BIOS does through 0xA0000.
  func loadGlyph(_ code: UInt8, _ rows: [UInt8]) {
    sequencer(2, 4)
    sequencer(4, 7)
    graphics(5, 0)
    graphics(6, 4)
    for (index, row) in rows.enumerated() { poke(0xA0000 + UInt64(code) * 32 + UInt64(index), row) }
    sequencer(2, 3)
    sequencer(4, 3)
    graphics(5, 0x10)
    graphics(6, 0x0E)
  }

  /// Mode 12h: 640 by 480, 16 colours.
  func setPlanarMode() {
    out(0x3C2, 0xE3)
    for (index, value) in [(0, 3), (1, 1), (2, 15), (4, 6)] { sequencer(UInt8(index), UInt8(value)) }
    for (index, value) in [(0, 0), (1, 0), (3, 0), (4, 0), (5, 0), (6, 5), (7, 15), (8, 0xFF)] {
      graphics(UInt8(index), UInt8(value))
    }
    setCRTC(columns: 80, lines: 480, cellHeight: 1, offset: 40)
    crtc(0x17, 0xE3)
    attribute(0x10, 1)
    setColours()
  }

  /// The four planes' bytes of a cell.
  func planes(_ cell: UInt64) -> [UInt8] {
    (0..<4).map { plane in
      graphics(4, UInt8(plane))
      return peek(0xA0000 + cell)
    }
  }
}

@Suite struct VGATests {
  let board: VGABoard
  init() throws { board = try VGABoard() }

  @Test func textIsReadBackFromTheScreen() throws {
    board.setTextMode()
    for cell in 0..<2000 { board.memory.writeIO(0xB8000 + UInt64(cell) * 2, size: 2, value: 0x0720) }
    board.write("Booting from", attribute: 7, row: 3, column: 2)
    board.poke(0xB8000, 0xC9)
    let screen = try #require(board.vga.textScreen())
    #expect(screen.count == 25)
    #expect(screen[3] == "  Booting from")
    #expect(screen[0] == "╔")
    #expect(screen[24] == "")
    #expect(board.peek(0xB8000 + (3 * 80 + 2) * 2) == UInt8(ascii: "B"))
    #expect(board.peek(0xB8000 + (3 * 80 + 2) * 2 + 1) == 7)
  }

  @Test func aCharacterIsDrawnFromItsFontInItsColours() {
    board.setTextMode()
    board.loadGlyph(0x41, [0x81] + Array(repeating: 0, count: 14) + [0xFF])
    board.write("A", attribute: 0x1E, row: 1, column: 2)
    let frame = board.vga.renderFrame(blinkOn: true)
    #expect(frame.width == 720 && frame.height == 400)
    let yellow: UInt32 = 0xFFFF55
    let blue: UInt32 = 0x0000AA
    #expect(frame.pixel(18, 16) == yellow)
    #expect(frame.pixel(19, 16) == blue)
    #expect(frame.pixel(25, 16) == yellow)
    #expect(frame.pixel(26, 16) == blue)
    #expect(frame.pixel(18, 31) == yellow)
    #expect(frame.pixel(18, 30) == blue)
    #expect(frame.pixel(17, 16) == 0)
  }

  /// Firmware and small systems leave the colour plane enable register at 0.
  @Test func textShowsWithoutEnabledColourPlanes() {
    board.setTextMode()
    board.loadGlyph(0x41, [0x80])
    board.write("A", attribute: 0x0C, row: 0, column: 0)
    let enabled = board.vga.renderFrame()
    board.attribute(0x12, 0)
    _ = board.inb(0x3DA)
    board.out(0x3C0, 0x20)
    #expect(board.vga.renderFrame().pixels == enabled.pixels)
    #expect(enabled.pixel(0, 0) == 0xFF5555)
  }

  /// A display that ends one line into a row of characters is as high as its rows.
  @Test func aPictureIsAsHighAsItsRows() {
    board.setTextMode()
    board.setCRTC(columns: 80, lines: 401, cellHeight: 16, offset: 40)
    #expect(board.vga.renderFrame().height == 400)
  }

  @Test func theNinthDotGoesOnForLinesOnly() {
    board.setTextMode()
    board.loadGlyph(0xC4, Array(repeating: 0xFF, count: 16))
    board.loadGlyph(0x41, Array(repeating: 0xFF, count: 16))
    board.poke(0xB8000, 0xC4)
    board.poke(0xB8001, 7)
    board.poke(0xB8002, 0x41)
    board.poke(0xB8003, 7)
    let frame = board.vga.renderFrame(blinkOn: true)
    #expect(frame.pixel(8, 0) == 0xAAAAAA)
    #expect(frame.pixel(17, 0) == 0)
  }

  @Test func cursorAndBlinkingTextShowInOneHalfOfTheBlink() {
    board.setTextMode()
    board.loadGlyph(0x41, Array(repeating: 0xF0, count: 16))
    board.write("A", attribute: 0x87, row: 0, column: 0)
    board.write(" ", attribute: 0x07, row: 0, column: 1)
    board.crtc(0xA, 14)
    board.crtc(0xB, 15)
    board.crtc(0xE, 0)
    board.crtc(0xF, 1)
    let on = board.vga.renderFrame(blinkOn: true)
    let off = board.vga.renderFrame(blinkOn: false)
    #expect(on.pixel(0, 0) == 0xAAAAAA && off.pixel(0, 0) == 0)
    #expect(on.pixel(9, 14) == 0xAAAAAA && off.pixel(9, 14) == 0)
    #expect(on.pixel(9, 13) == 0)
    #expect(board.vga.renderFrame() == on)
    board.time.advance(milliseconds: 300)
    #expect(board.vga.renderFrame() == off)
  }

  @Test func theStartAddressScrolls() throws {
    board.setTextMode()
    board.write("second", attribute: 7, row: 1, column: 0)
    board.crtc(0xD, 80)
    #expect(try #require(board.vga.textScreen())[0].hasPrefix("second"))
  }

  @Test func writeMode0SetsResetsRotatesAndCombines() {
    board.setPlanarMode()
    board.poke(0xA0000, 0x3C)
    #expect(board.planes(0) == [0x3C, 0x3C, 0x3C, 0x3C])
    board.sequencer(2, 5)
    board.poke(0xA0000, 0xFF)
    #expect(board.planes(0) == [0xFF, 0x3C, 0xFF, 0x3C])
    board.sequencer(2, 15)
    board.graphics(0, 0x6)
    board.graphics(1, 0xF)
    board.poke(0xA0001, 0x12)
    #expect(board.planes(1) == [0, 0xFF, 0xFF, 0])
    board.graphics(1, 0)
    board.graphics(3, 4)
    board.poke(0xA0002, 0x12)
    #expect(board.planes(2) == [0x21, 0x21, 0x21, 0x21])
    board.graphics(3, 0x18)
    _ = board.peek(0xA0002)
    board.poke(0xA0002, 0xFF)
    #expect(board.planes(2) == [0xDE, 0xDE, 0xDE, 0xDE])
  }

  @Test func theBitMaskKeepsTheLatches() {
    board.setPlanarMode()
    board.poke(0xA0000, 0xAA)
    _ = board.peek(0xA0000)
    board.graphics(8, 0x0F)
    board.poke(0xA0000, 0x55)
    #expect(board.planes(0) == [0xA5, 0xA5, 0xA5, 0xA5])
  }

  @Test func writeMode1CopiesTheLatches() {
    board.setPlanarMode()
    for plane: UInt8 in 0..<4 {
      board.sequencer(2, 1 << plane)
      board.poke(0xA0000, 0x10 + plane)
    }
    board.sequencer(2, 15)
    board.graphics(5, 1)
    _ = board.peek(0xA0000)
    board.poke(0xA0100, 0)
    board.graphics(5, 0)
    #expect(board.planes(0x100) == [0x10, 0x11, 0x12, 0x13])
  }

  @Test func writeMode2ExpandsAColour() {
    board.setPlanarMode()
    board.graphics(5, 2)
    board.poke(0xA0000, 0x09)
    board.graphics(5, 0)
    #expect(board.planes(0) == [0xFF, 0, 0, 0xFF])
  }

  @Test func writeMode3MasksSetReset() {
    board.setPlanarMode()
    board.graphics(0, 0x5)
    board.graphics(5, 3)
    _ = board.peek(0xA0000)
    board.poke(0xA0000, 0x0F)
    board.graphics(5, 0)
    #expect(board.planes(0) == [0x0F, 0, 0x0F, 0])
  }

  @Test func readMode1ComparesColours() {
    board.setPlanarMode()
    board.graphics(5, 2)
    board.graphics(8, 0xF0)
    board.poke(0xA0000, 0x0C)
    board.graphics(5, 8)
    board.graphics(2, 0x0C)
    board.graphics(7, 0x0F)
    #expect(board.peek(0xA0000) == 0xF0)
    board.graphics(7, 0)
    #expect(board.peek(0xA0000) == 0xFF)
  }

  @Test func sixteenColoursAreDrawnFromFourPlanes() {
    board.setPlanarMode()
    board.graphics(5, 2)
    board.graphics(8, 0x40)
    board.poke(0xA0000 + 80 * 2 + 1, 0x0C)
    let frame = board.vga.renderFrame()
    #expect(frame.width == 640 && frame.height == 480)
    #expect(frame.pixel(9, 2) == 0xFF5555)
    #expect(frame.pixel(8, 2) == 0 && frame.pixel(10, 2) == 0)
  }

  @Test func mode13hIsOneByteAPixel() {
    board.setPlanarMode()
    board.sequencer(4, 0x0E)
    board.graphics(5, 0x40)
    board.setCRTC(columns: 80, lines: 400, cellHeight: 2, offset: 40)
    board.poke(0xA0000 + 320 * 3 + 5, 12)
    #expect(board.peek(0xA0000 + 320 * 3 + 5) == 12)
    let frame = board.vga.renderFrame()
    #expect(frame.width == 640 && frame.height == 400)
    for (x, y) in [(10, 6), (11, 7)] { #expect(frame.pixel(x, y) == 0xFF5555) }
    for (x, y) in [(9, 6), (12, 6), (10, 5), (10, 8)] { #expect(frame.pixel(x, y) == 0) }
  }

  @Test func cgaFourColoursInterleaveTheirRows() {
    board.setPlanarMode()
    board.sequencer(1, 9)
    board.sequencer(2, 3)
    board.sequencer(4, 2)
    board.graphics(5, 0x30)
    board.graphics(6, 0x0F)
    board.setCRTC(columns: 40, lines: 400, cellHeight: 2, offset: 20)
    board.crtc(9, 0x80 | 0x40 | 1)
    board.crtc(0x17, 0xA2)
    board.poke(0xB8000, 0x1B)
    board.poke(0xB8001, 0xC0)
    board.poke(0xBA000, 0xFF)
    let frame = board.vga.renderFrame()
    #expect(frame.width == 640 && frame.height == 400)
    #expect([0, 2, 4, 6, 8, 10].map { frame.pixel($0, 0) } == [0, 0x0000AA, 0x00AA00, 0x00AAAA, 0x00AAAA, 0])
    #expect(frame.pixel(0, 2) == 0x00AAAA)
  }

  @Test func theWindowIsWhereTheGraphicsControllerPutsIt() {
    board.setTextMode()
    board.poke(0xA0000, 1)
    #expect(board.peek(0xA0000) == 0xFF)
    #expect(board.peek(0xB0000) == 0xFF)
    board.graphics(6, 0x0A)
    board.poke(0xB0000, 0x42)
    #expect(board.peek(0xB0000) == 0x42)
    #expect(board.peek(0xB8000) == 0xFF)
  }

  @Test func retraceTogglesWithTheClock() {
    var seen: Set<UInt8> = []
    for _ in 0..<2000 {
      seen.insert(board.inb(0x3DA) & 9)
      board.time.advance(microseconds: 9)
    }
    #expect(seen == [0, 1, 9])
  }

  @Test func theDACReadsBackWhatWasWritten() {
    board.out(0x3C8, 16)
    for value: UInt8 in [1, 2, 3, 0xFF, 5, 6] { board.out(0x3C9, value) }
    board.out(0x3C7, 16)
    #expect(board.inb(0x3C7) == 3)
    #expect((0..<6).map { _ in board.inb(0x3C9) } == [1, 2, 3, 0x3F, 5, 6])
  }

  @Test func protectionKeepsTheFirstCRTCRegisters() {
    board.setTextMode()
    board.crtc(0x11, 0x80)
    board.crtc(1, 0)
    board.out(0x3D4, 1)
    #expect(board.inb(0x3D5) == 79)
  }

  @Test func theDisplayInterfaceIsDetected() {
    #expect(board.dispi(0) == 0xB0C5)
    board.dispi(0, 0xB0C2)
    #expect(board.dispi(0) == 0xB0C2)
    #expect(board.dispi(10) == 64)
    board.dispi(4, 2)
    #expect(board.dispi(3) == 32)
  }

  @Test(arguments: [
    (UInt16(8), [UInt8(0x0C)], UInt32(0xFF5555)), (15, [0xE0, 0x03], 0x00FF00), (16, [0x1F, 0xF8], 0xFF00FF),
    (24, [1, 2, 3], 0x030201), (32, [0x10, 0x20, 0x30, 0], 0x302010),
  ])
  func everyDepthIsDrawn(depth: UInt16, bytes: [UInt8], colour: UInt32) {
    board.setColours()
    board.dispi(1, 640)
    board.dispi(2, 480)
    board.dispi(3, depth)
    board.dispi(4, 0x41)
    let size = (Int(depth) + 7) / 8
    board.vga.writeConfiguration(0x10, size: 4, value: 0xE000_0000)
    board.vga.writeConfiguration(4, size: 2, value: 3)
    let address = 0xE000_0000 + UInt64((100 * 640 + 33) * size)
    for (index, byte) in bytes.enumerated() { board.poke(address + UInt64(index), byte) }
    #expect(board.peek(address) == bytes[0])
    let frame = board.vga.renderFrame()
    #expect(frame.width == 640 && frame.height == 480)
    #expect(frame.pixel(33, 100) == colour)
    #expect(frame.pixel(34, 100) == 0 && frame.pixel(32, 100) == 0)
    #expect(board.vga.textScreen() == nil)
  }

  @Test func theBankedWindowShowsTheLinearMemory() {
    board.dispi(1, 640)
    board.dispi(2, 480)
    board.dispi(3, 8)
    board.dispi(4, 1)
    board.graphics(6, 5)
    board.dispi(5, 2)
    board.poke(0xA0010, 0x77)
    board.vga.writeConfiguration(0x10, size: 4, value: 0xE000_0000)
    board.vga.writeConfiguration(4, size: 2, value: 3)
    #expect(board.peek(0xE002_0010) == 0x77)
    #expect(board.memory.readIO(0xE002_0010, size: 4) == 0x77)
  }

  @Test func aModeThatDoesNotFitTheMemoryIsNotEntered() {
    board.dispi(1, 4096)
    board.dispi(2, 4096)
    board.dispi(3, 32)
    board.dispi(4, 0x41)
    #expect(board.dispi(4) & 1 == 0)
  }

  @Test func theRegistersAnswerAsMemoryToo() {
    board.vga.writeConfiguration(0x18, size: 4, value: 0xE100_0000)
    board.vga.writeConfiguration(4, size: 2, value: 3)
    #expect(board.memory.readIO(0xE100_0500, size: 2) == 0xB0C5)
    board.memory.writeIO(0xE100_0502, size: 2, value: 800)
    #expect(board.dispi(1) == 800)
    #expect(board.memory.readIO(0xE100_0600, size: 4) == 8)
    board.memory.writeIO(0xE100_0408, size: 1, value: 7)
    #expect(board.inb(0x3C8) == 7)
  }

  @Test func randomAccessNeverTraps() {
    var random = SplitMix64(seed: 11)
    for round in 0..<50_000 {
      let value = random.next()
      let size = [1, 2, 4][Int(value >> 8 & 0xFF) % 3]
      switch value & 7 {
      case 0: board.memory.writeIO(0xA0000 + (value >> 16 & 0x1FFF8), size: size, value: value >> 32)
      case 1: _ = board.memory.readIO(0xA0000 + (value >> 16 & 0x1FFF8), size: size)
      case 2: board.dispi(UInt16(value >> 16 & 15), UInt16(truncatingIfNeeded: value >> 32) & 0x3FF)
      case 3: _ = board.ports.read(UInt16(0x3C0 + (value >> 16 & 0x1F)), size: size)
      default: board.ports.write(UInt16(0x3C0 + (value >> 16 & 0x1F)), size: size, value: UInt32(value >> 32))
      }
      if round % 25_000 == 24_999 {
        _ = board.vga.renderFrame()
        _ = board.vga.textScreen()
      }
    }
  }

  @Test func itPassesTheSuiteOfAllDevices() throws {
    let device = DeviceUnderTest("vga") {
      let memory = try PhysicalMemory(size: 2 << 20)
      return VGA(vramSize: 1 << 20, memory: memory, ports: PortBus(), clock: ManualClock().clock)
    } disturb: { vga in
      vga.writePort(0x3C4, size: 2, value: 0x0F02)
      vga.writePort(0x3CE, size: 2, value: 0x0506)
      for index in 0..<300 { vga.writeMemory(offset: UInt64(index), size: 1, value: UInt64(index & 0xFF)) }
      for (index, value) in [(1, 640), (2, 480), (3, 16), (4, 0xC1), (9, 12)] {
        vga.writePort(0x1CE, size: 2, value: UInt32(index))
        vga.writePort(0x1D0, size: 2, value: UInt32(value))
      }
      vga.writeConfiguration(0x10, size: 4, value: 0xE000_0000)
    }
    try device.run()
  }
}
