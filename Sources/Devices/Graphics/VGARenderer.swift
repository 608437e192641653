/// Makes a picture of a VGA's registers and memory.
///
/// A dot is a dot of the monitor: a 320-pixel mode gives 640 wide, and double-scanned lines are there twice, so that a
/// picture has the proportions of the screen.
struct VGARenderer {
  let core: VGACore
  /// Dots of a line and lines of the picture.
  let width: Int
  let height: Int
  private let kind: Kind
  private let timing: VGATiming
  private let blinkOn: Bool
  private let state: VGACore.State
  /// 256 palette entries, and the 16 of the attribute controller, as pixels.
  private let colours: [UInt32]
  private let palette: [UInt32]

  private enum Kind { case off, text, graphics, interface }

  /// - Parameter blinkOn: whether blinking characters and the cursor are in their visible half.
  init(_ core: VGACore, blinkOn: Bool = true) {
    let registers = VGATiming(core.state)
    self.core = core
    self.blinkOn = blinkOn
    state = core.state
    timing = registers
    let colours = Self.colours(core.state)
    self.colours = colours
    palette = (0..<16).map { Self.colour($0, core.state, colours) }
    if core.dispiEnabled {
      kind = .interface
      width = max(Int(state.dispi[VGACore.Dispi.width]), 1)
      height = max(Int(state.dispi[VGACore.Dispi.height]), 1)
    } else {
      // Screen off (sequencer clocking mode bit 5), palette in the CPU's hands, or registers not set up: black.
      let isOff = state.sequencer[1] & 0x20 != 0 || state.attributeIndex & 0x20 == 0 || state.sequencer[0] & 3 != 3
      kind = isOff ? .off : registers.isGraphics ? .graphics : .text
      width = registers.dotsPerLine
      height = registers.pictureLines
    }
  }

  /// The whole picture.
  func render() -> Frame {
    var frame = Frame(width: width, height: height)
    frame.pixels.withUnsafeMutableBytes { bytes in
      let pixels = bytes.bindMemory(to: UInt32.self)
      guard let base = pixels.baseAddress else { return }
      for y in 0..<height { draw(line: y, into: base + y * width) }
    }
    return frame
  }

  /// One line of the picture, in `width` pixels as `Frame` has them.
  func draw(line y: Int, into line: UnsafeMutablePointer<UInt32>) {
    switch kind {
    case .off: line.update(repeating: Self.black, count: width)
    case .text: drawText(y, line)
    case .graphics: drawGraphics(y, line)
    case .interface: drawInterface(y, line)
    }
  }

  /// The bytes of video memory that a line shows, if it shows nothing else; nil: it is not known.
  func bytes(ofLine y: Int) -> Range<Int>? {
    guard case .interface = kind, core.dispiPacked else { return nil }
    let start = interfaceStart(y)
    let end = start + width * interfaceBytes
    return min(start, core.vramSize)..<min(end, core.vramSize)
  }

  /// The bytes of video memory that the picture is made of.
  var shownBytes: Range<Int> {
    guard case .interface = kind else { return 0..<1 << 18 }
    let lineBytes = interfaceDepth == 4 ? width / 2 + 4 : width * interfaceBytes
    let end = interfaceStart(height - 1) + lineBytes
    return min(interfaceStart(0), core.vramSize)..<min(end, core.vramSize)
  }

  /// Whether the picture can change with the blink's halves.
  var blinks: Bool {
    guard case .text = kind else { return false }
    return state.attribute[0x10] & 8 != 0 || state.crtc[0xA] & 0x20 == 0
  }

  private static let black: UInt32 = 0xFF00_0000

  /// A pixel as `Frame` has it, of red, green and blue in this order from bit 16 down.
  @inline(__always)
  private static func pixel(_ colour: UInt32) -> UInt32 {
    black | (colour & 0xFF) << 16 | colour & 0xFF00 | colour >> 16 & 0xFF
  }

  private static func colours(_ state: VGACore.State) -> [UInt32] {
    let eightBits = state.dispi[VGACore.Dispi.enable] & VGACore.Dispi.dac8Bits != 0
    return (0..<256).map { index in
      var colour: UInt32 = 0
      for component in 0..<3 {
        let raw = state.palette[index * 3 + component]
        let value = eightBits ? raw : raw << 2 | (raw & 0x3F) >> 4
        colour = colour << 8 | UInt32(value)
      }
      return pixel(colour)
    }
  }

  /// A 4-bit colour through the attribute controller's palette and the DAC (AR14, AR10 bit 7).
  private static func colour(_ value: Int, _ state: VGACore.State, _ colours: [UInt32]) -> UInt32 {
    // Colour plane enable (AR12). Text modes show all planes when none is enabled: systems that leave the register at 0 are
    // readable on the adapters that guests know.
    let planes = Int(state.attribute[0x12] & 0xF)
    let index = value & (planes == 0 && state.graphics[6] & 1 == 0 ? 0xF : planes)
    var entry = Int(state.attribute[index] & 0x3F)
    if state.attribute[0x10] & 0x80 != 0 {
      entry = entry & 0xF | Int(state.attribute[0x14] & 0xF) << 4
    } else {
      entry |= Int(state.attribute[0x14] & 0xC) << 4
    }
    return colours[entry & Int(state.dacMask)]
  }

  /// A byte of video memory; addresses wrap at the VGA's 256 KiB.
  private func memory(_ cell: Int, _ plane: Int) -> UInt8 { core.vram[(cell & 0xFFFF) * 4 + plane] }

  /// A cell's four planes, plane 0 in the lowest byte.
  private func planes(_ cell: Int) -> UInt32 {
    UnsafeRawPointer(core.vram + (cell & 0xFFFF) * 4).loadUnaligned(as: UInt32.self)
  }

  // MARK: Text

  /// Character and attribute at a place on the screen.
  func textCell(column: Int, row: Int) -> (character: UInt8, attribute: UInt8) {
    let cell = timing.startAddress + row * timing.pitch + column
    return (memory(cell, 0), memory(cell, 1))
  }

  /// Where the two fonts lie in plane 2 (sequencer register 3): bits 5, 3, 2 for attribute bit 3 set, 4, 1, 0 for clear.
  private var fontOffsets: (plain: Int, alternate: Int) {
    let select = Int(state.sequencer[3])
    let alternate = (select >> 2 & 3) * 0x4000 + (select >> 5 & 1) * 0x2000
    let plain = (select & 3) * 0x4000 + (select >> 4 & 1) * 0x2000
    return (plain, alternate)
  }

  private func drawText(_ y: Int, _ out: UnsafeMutablePointer<UInt32>) {
    let fonts = fontOffsets
    let rowHeight = timing.linesPerRow * timing.doubleScan
    let blinks = state.attribute[0x10] & 8 != 0
    let repeatsNinth = state.attribute[0x10] & 4 != 0
    let isMonochrome = state.attribute[0x10] & 2 != 0
    let underline = Int(state.crtc[0x14] & 0x1F)
    let cursorCell = Int(state.crtc[0xE]) << 8 | Int(state.crtc[0xF])
    let (cursorStart, cursorEnd) = (Int(state.crtc[0xA] & 0x1F), Int(state.crtc[0xB] & 0x1F))
    let split = timing.lineCompare
    let isBelowSplit = y > split
    let line = isBelowSplit ? y - split - 1 : y + Int(state.crtc[8] & 0x1F)
    let scan = line % rowHeight / timing.doubleScan
    let start = (isBelowSplit ? 0 : timing.startAddress) + line / rowHeight * timing.pitch
    let showsCursor = state.crtc[0xA] & 0x20 == 0 && blinkOn && cursorStart <= scan && scan <= cursorEnd
    let (characterWidth, dotRepeat) = (timing.characterWidth, timing.dotRepeat)
    var x = 0
    for column in 0..<timing.columns {
      let cell = start + column
      let character = memory(cell, 0)
      let attribute = Int(memory(cell, 1))
      let font = attribute & 8 != 0 ? fonts.alternate : fonts.plain
      var bits = Int(memory(font + Int(character) * 32 + scan, 2)) << 1
      // The ninth dot repeats the eighth for the line drawing characters (AR10 bit 2).
      if repeatsNinth && (0xC0...0xDF).contains(character) { bits |= bits >> 1 & 1 }
      var background = attribute >> 4
      if blinks {
        background &= 7
        if attribute & 0x80 != 0 && !blinkOn { bits = 0 }
      }
      // Underline: monochrome attributes of foreground 1 and background 0.
      if attribute & 0x77 == 0x01 && scan == underline && isMonochrome { bits = 0x1FF }
      if showsCursor && cell & 0xFFFF == cursorCell { bits = 0x1FF }
      let colours = (palette[background], palette[attribute & 0xF])
      for dot in 0..<characterWidth {
        let colour = bits >> (8 - dot) & 1 != 0 ? colours.1 : colours.0
        for _ in 0..<dotRepeat {
          out[x] = colour
          x += 1
        }
      }
    }
  }

  // MARK: Graphics

  /// The cell a character clock reads, with the CGA's and Hercules's interleaved rows (CR17 bits 0 and 1).
  private func graphicsCell(_ cell: Int, scan: Int) -> Int {
    var address = cell
    // Address bit 13 counts bytes in byte mode, and words, two of them to a cell's pair of planes, in word mode.
    let bit = state.crtc[0x17] & 0x40 != 0 ? 13 : 12
    if state.crtc[0x17] & 1 == 0 { address = address & ~(1 << bit) | (scan & 1) << bit }
    if state.crtc[0x17] & 2 == 0 { address = address & ~0x2000 | (scan >> 1 & 1) << 13 }
    return address
  }

  private func drawGraphics(_ y: Int, _ out: UnsafeMutablePointer<UInt32>) {
    let split = timing.lineCompare
    let is256 = state.graphics[5] & 0x40 != 0
    let isInterleaved = state.graphics[5] & 0x20 != 0
    let (dotRepeat, doubleScan, mask) = (timing.dotRepeat, timing.doubleScan, Int(state.dacMask))
    // Panning counts dots, or half dots in the 256-colour modes; below the split it stops if AR10 bit 5 says so.
    let panning = Int(state.attribute[0x13] & (is256 ? 6 : 7))
    let isBelowSplit = y > split
    let line = isBelowSplit ? y - split - 1 : y
    let scan = line / doubleScan % timing.linesPerRow
    let start =
      (isBelowSplit ? 0 : timing.startAddress) + line / (timing.linesPerRow * doubleScan) * timing.pitch
    let shift = isBelowSplit && state.attribute[0x10] & 0x20 != 0 ? 0 : panning
    var x = -shift * (is256 ? 1 : dotRepeat)
    for column in 0...timing.columns {
      let cell = planes(graphicsCell(start + column, scan: scan))
      for dot in 0..<8 {
        let colour: UInt32
        if is256 {
          colour = colours[Int(cell >> UInt32(dot >> 1 * 8) & 0xFF) & mask]
        } else {
          colour = palette[isInterleaved ? Self.interleavedPixel(cell, dot) : Self.planarPixel(cell, dot)]
        }
        for _ in 0..<dotRepeat {
          if x >= 0 && x < width { out[x] = colour }
          x += 1
        }
      }
    }
  }

  private static func planarPixel(_ cell: UInt32, _ dot: Int) -> Int {
    let bits = cell >> UInt32(7 - dot) & 0x0101_0101
    return Int((bits | bits >> 7 | bits >> 14 | bits >> 21) & 0xF)
  }

  /// CGA's two bits a pixel: planes 0 and 2 give the first four pixels, planes 1 and 3 the next.
  private static func interleavedPixel(_ cell: UInt32, _ dot: Int) -> Int {
    let shift = UInt32(dot >> 2 * 8 + 6 - (dot & 3) * 2)
    return Int(cell >> shift & 3 | (cell >> (shift + 16) & 3) << 2)
  }

  // MARK: Display interface modes

  private var interfaceDepth: Int { Int(state.dispi[VGACore.Dispi.depth]) }
  private var interfaceBytes: Int { (interfaceDepth + 7) / 8 }

  /// The address of a line's first pixel; in a planar mode of the eight pixels that it is among.
  private func interfaceStart(_ y: Int) -> Int {
    let left = Int(state.dispi[VGACore.Dispi.xOffset])
    let row = (Int(state.dispi[VGACore.Dispi.yOffset]) + y) * core.dispiPitch
    return row + (interfaceDepth == 4 ? left / 8 * 4 : left * interfaceBytes)
  }

  private func drawInterface(_ y: Int, _ out: UnsafeMutablePointer<UInt32>) {
    let start = interfaceStart(y)
    guard interfaceDepth != 4 else { return drawInterfacePlanes(start, out) }
    // Beyond the memory the picture is black.
    let room = max(0, core.vramSize - start) / interfaceBytes
    let count = min(width, room)
    let from = UnsafeRawPointer(core.vram + min(start, core.vramSize))
    switch interfaceDepth {
    case 8:
      let mask = Int(state.dacMask)
      for x in 0..<count { out[x] = colours[Int(from.load(fromByteOffset: x, as: UInt8.self)) & mask] }
    case 15, 16:
      let greenBits: UInt32 = interfaceDepth == 15 ? 5 : 6
      for x in 0..<count {
        let value = UInt32(from.loadUnaligned(fromByteOffset: x &* 2, as: UInt16.self))
        let blue = Self.widen(value & 0x1F, 5)
        let green = Self.widen(value >> 5 & ((1 << greenBits) - 1), greenBits)
        let red = Self.widen(value >> (5 + greenBits) & 0x1F, 5)
        out[x] = Self.pixel(red << 16 | green << 8 | blue)
      }
    case 24:
      for x in 0..<count {
        let at = x &* 3
        let low = UInt32(from.loadUnaligned(fromByteOffset: at, as: UInt16.self))
        out[x] = Self.pixel(low | UInt32(from.load(fromByteOffset: at &+ 2, as: UInt8.self)) << 16)
      }
    default:
      for x in 0..<count { out[x] = Self.pixel(from.loadUnaligned(fromByteOffset: x &* 4, as: UInt32.self)) }
    }
    if count < width { (out + count).update(repeating: Self.black, count: width - count) }
  }

  private func drawInterfacePlanes(_ start: Int, _ out: UnsafeMutablePointer<UInt32>) {
    let left = Int(state.dispi[VGACore.Dispi.xOffset]) & 7
    for x in 0..<width {
      let at = start + (left + x) / 8 * 4
      guard at + 4 <= core.vramSize else {
        out[x] = Self.black
        continue
      }
      let cell = UnsafeRawPointer(core.vram + at).loadUnaligned(as: UInt32.self)
      out[x] = palette[Self.planarPixel(cell, (left + x) & 7)]
    }
  }

  private static func widen(_ value: UInt32, _ bits: UInt32) -> UInt32 {
    value << (8 - bits) | value >> (2 * bits - 8)
  }
}
