/// Makes a picture of a VGA's registers and memory.
///
/// A dot is a dot of the monitor: a 320-pixel mode gives 640 wide, and double-scanned lines are there twice, so that a
/// picture has the proportions of the screen.
struct VGARenderer {
  let core: VGACore
  private let state: VGACore.State
  private let colours: [UInt32]  // 256 palette entries as 0xRRGGBB

  init(_ core: VGACore) {
    self.core = core
    state = core.state
    colours = Self.colours(core.state)
  }

  /// - Parameter blinkOn: whether blinking characters and the cursor are in their visible half.
  func render(blinkOn: Bool) -> Frame {
    if core.dispiEnabled { return renderDispi() }
    let width = dotsPerLine
    let height = pictureLines
    // Screen off (sequencer clocking mode bit 5), palette in the CPU's hands, or registers not set up: black.
    let isOff = state.sequencer[1] & 0x20 != 0 || state.attributeIndex & 0x20 == 0
    guard !isOff, state.sequencer[0] & 3 == 3 else { return Frame(width: width, height: height) }
    if !isGraphics { return renderText(blinkOn: blinkOn) }
    return renderGraphics()
  }

  // MARK: Registers

  var isGraphics: Bool { state.graphics[6] & 1 != 0 }

  private var characterColumns: Int { Int(state.crtc[1]) + 1 }
  private var dotRepeat: Int { state.sequencer[1] & 8 != 0 ? 2 : 1 }
  private var characterWidth: Int { !isGraphics && state.sequencer[1] & 1 == 0 ? 9 : 8 }

  private var dotsPerLine: Int { characterColumns * characterWidth * dotRepeat }

  private var scanLines: Int {
    let overflow = Int(state.crtc[7])
    return (Int(state.crtc[0x12]) | (overflow & 2) << 7 | (overflow & 0x40) << 3) + 1
  }

  /// The scan lines that hold whole rows of characters or pixels: a row that the end of the display cuts is not shown.
  private var pictureLines: Int {
    let row = linesPerRow * doubleScan
    return max(scanLines / row, 1) * row
  }

  private var lineCompare: Int {
    let high = Int(state.crtc[7] & 0x10) << 4 | Int(state.crtc[9] & 0x40) << 3
    return Int(state.crtc[0x18]) | high
  }

  private var startAddress: Int { Int(state.crtc[0xC]) << 8 | Int(state.crtc[0xD]) }
  /// Cells from one row to the next.
  private var pitch: Int { Int(state.crtc[0x13]) * 2 }
  private var doubleScan: Int { state.crtc[9] & 0x80 != 0 ? 2 : 1 }
  private var linesPerRow: Int { Int(state.crtc[9] & 0x1F) + 1 }

  private static func colours(_ state: VGACore.State) -> [UInt32] {
    let eightBits = state.dispi[VGACore.Dispi.enable] & VGACore.Dispi.dac8Bits != 0
    return (0..<256).map { index in
      var colour: UInt32 = 0
      for component in 0..<3 {
        let raw = state.palette[index * 3 + component]
        let value = eightBits ? raw : raw << 2 | (raw & 0x3F) >> 4
        colour = colour << 8 | UInt32(value)
      }
      return colour
    }
  }

  /// A 4-bit colour through the attribute controller's palette and the DAC (AR14, AR10 bit 7).
  private func colour(_ value: Int) -> UInt32 {
    let index = value & enabledPlanes
    var entry = Int(state.attribute[index] & 0x3F)
    if state.attribute[0x10] & 0x80 != 0 {
      entry = entry & 0xF | Int(state.attribute[0x14] & 0xF) << 4
    } else {
      entry |= Int(state.attribute[0x14] & 0xC) << 4
    }
    return colours[entry & Int(state.dacMask)]
  }

  /// Colour plane enable (AR12). Text modes show all planes when none is enabled: systems that leave the register at 0 are
  /// readable on the adapters that guests know.
  private var enabledPlanes: Int {
    let planes = Int(state.attribute[0x12] & 0xF)
    return planes == 0 && !isGraphics ? 0xF : planes
  }

  private var palette16: [UInt32] { (0..<16).map { colour($0) } }

  /// A byte of video memory; addresses wrap at the VGA's 256 KiB.
  private func memory(_ cell: Int, _ plane: Int) -> UInt8 { core.vram[(cell & 0xFFFF) * 4 + plane] }

  // MARK: Text

  var textColumns: Int { characterColumns }
  var textRows: Int { max(1, scanLines / (linesPerRow * doubleScan)) }

  /// Character and attribute at a place on the screen.
  func textCell(column: Int, row: Int) -> (character: UInt8, attribute: UInt8) {
    let cell = startAddress + row * pitch + column
    return (memory(cell, 0), memory(cell, 1))
  }

  /// Where the two fonts lie in plane 2 (sequencer register 3): bits 5, 3, 2 for attribute bit 3 set, 4, 1, 0 for clear.
  private var fontOffsets: (plain: Int, alternate: Int) {
    let select = Int(state.sequencer[3])
    let alternate = (select >> 2 & 3) * 0x4000 + (select >> 5 & 1) * 0x2000
    let plain = (select & 3) * 0x4000 + (select >> 4 & 1) * 0x2000
    return (plain, alternate)
  }

  private func renderText(blinkOn: Bool) -> Frame {
    var canvas = Canvas(width: dotsPerLine, height: pictureLines)
    let colours = palette16
    let fonts = fontOffsets
    let rowHeight = linesPerRow * doubleScan
    let blinks = state.attribute[0x10] & 8 != 0
    let cursorCell = Int(state.crtc[0xE]) << 8 | Int(state.crtc[0xF])
    let cursorLines = Int(state.crtc[0xA] & 0x1F)...max(Int(state.crtc[0xA] & 0x1F), Int(state.crtc[0xB] & 0x1F))
    let showsCursor = state.crtc[0xA] & 0x20 == 0 && blinkOn && state.crtc[0xB] & 0x1F >= state.crtc[0xA] & 0x1F
    let split = lineCompare
    for y in 0..<pictureLines {
      let isBelowSplit = y > split
      let line = isBelowSplit ? y - split - 1 : y + Int(state.crtc[8] & 0x1F)
      let row = line / rowHeight
      let scan = line % rowHeight / doubleScan
      let start = (isBelowSplit ? 0 : startAddress) + row * pitch
      for column in 0..<characterColumns {
        let cell = start + column
        let character = memory(cell, 0)
        let attribute = Int(memory(cell, 1))
        let font = attribute & 8 != 0 ? fonts.alternate : fonts.plain
        var bits = Int(memory(font + Int(character) * 32 + scan, 2)) << 1
        // The ninth dot repeats the eighth for the line drawing characters (AR10 bit 2).
        if state.attribute[0x10] & 4 != 0 && (0xC0...0xDF).contains(character) { bits |= bits >> 1 & 1 }
        var background = attribute >> 4
        if blinks {
          background &= 7
          if attribute & 0x80 != 0 && !blinkOn { bits = 0 }
        }
        // Underline: monochrome attributes of foreground 1 and background 0.
        if attribute & 0x77 == 0x01 && scan == Int(state.crtc[0x14] & 0x1F) && state.attribute[0x10] & 2 != 0 {
          bits = 0x1FF
        }
        if showsCursor && cell & 0xFFFF == cursorCell && cursorLines.contains(scan) { bits = 0x1FF }
        let foreground = colours[attribute & 0xF]
        for dot in 0..<characterWidth {
          let colour = bits >> (8 - dot) & 1 != 0 ? foreground : colours[background]
          for copy in 0..<dotRepeat { canvas.set((column * characterWidth + dot) * dotRepeat + copy, y, colour) }
        }
      }
    }
    return canvas.frame
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

  private func renderGraphics() -> Frame {
    var canvas = Canvas(width: dotsPerLine, height: pictureLines)
    let colours = palette16
    let split = lineCompare
    let is256 = state.graphics[5] & 0x40 != 0
    let isInterleaved = state.graphics[5] & 0x20 != 0
    let rowHeight = linesPerRow * doubleScan
    // Panning counts dots, or half dots in the 256-colour modes; below the split it stops if AR10 bit 5 says so.
    let panning = Int(state.attribute[0x13] & (is256 ? 6 : 7))
    for y in 0..<pictureLines {
      let isBelowSplit = y > split
      let line = isBelowSplit ? y - split - 1 : y
      let scan = line / doubleScan % linesPerRow
      let start = (isBelowSplit ? 0 : startAddress) + line / rowHeight * pitch
      let shift = isBelowSplit && state.attribute[0x10] & 0x20 != 0 ? 0 : panning
      var x = -shift * (is256 ? 1 : dotRepeat)
      for column in 0...characterColumns {
        let cell = graphicsCell(start + column, scan: scan)
        for dot in 0..<8 {
          let value: Int
          if is256 {
            value = Int(memory(cell, dot >> 1))
          } else if isInterleaved {
            value = interleavedPixel(cell, dot)
          } else {
            value = planarPixel(cell, dot)
          }
          let colour = is256 ? self.colours[value & Int(state.dacMask)] : colours[value]
          for _ in 0..<dotRepeat {
            if x >= 0 && x < canvas.width { canvas.set(x, y, colour) }
            x += 1
          }
        }
      }
    }
    return canvas.frame
  }

  private func planarPixel(_ cell: Int, _ dot: Int) -> Int {
    let bit = 7 - dot
    var value = 0
    for plane in 0..<4 { value |= Int(memory(cell, plane) >> UInt8(bit) & 1) << plane }
    return value
  }

  /// CGA's two bits a pixel: planes 0 and 2 give the first four pixels, planes 1 and 3 the next.
  private func interleavedPixel(_ cell: Int, _ dot: Int) -> Int {
    let plane = dot >> 2
    let shift = UInt8(6 - (dot & 3) * 2)
    let low = Int(memory(cell, plane) >> shift & 3)
    let high = Int(memory(cell, plane + 2) >> shift & 3)
    return low | high << 2
  }

  // MARK: Display interface modes

  private func renderDispi() -> Frame {
    let width = Int(state.dispi[VGACore.Dispi.width])
    let height = Int(state.dispi[VGACore.Dispi.height])
    let depth = Int(state.dispi[VGACore.Dispi.depth])
    let pitch = core.dispiPitch
    let bytes = (depth + 7) / 8
    let left = Int(state.dispi[VGACore.Dispi.xOffset])
    let top = Int(state.dispi[VGACore.Dispi.yOffset])
    var canvas = Canvas(width: max(width, 1), height: max(height, 1))
    let palette = palette16
    for y in 0..<height {
      let row = (top + y) * pitch
      for x in 0..<width {
        if depth == 4 {
          let pixel = left + x
          let at = row + pixel / 8 * 4
          guard at + 4 <= core.vramSize else { continue }
          var value = 0
          for plane in 0..<4 { value |= Int(core.vram[at + plane] >> UInt8(7 - pixel & 7) & 1) << plane }
          canvas.set(x, y, palette[value])
          continue
        }
        let at = row + (left + x) * bytes
        guard at + bytes <= core.vramSize else { continue }
        canvas.set(x, y, packedColour(core.vram + at, depth))
      }
    }
    return canvas.frame
  }

  private func packedColour(_ pointer: UnsafeMutablePointer<UInt8>, _ depth: Int) -> UInt32 {
    switch depth {
    case 8: return colours[Int(pointer[0] & state.dacMask)]
    case 15, 16:
      let value = UInt32(pointer[0]) | UInt32(pointer[1]) << 8
      let greenBits: UInt32 = depth == 15 ? 5 : 6
      let blue = Self.widen(value & 0x1F, 5)
      let green = Self.widen(value >> 5 & ((1 << greenBits) - 1), greenBits)
      let red = Self.widen(value >> (5 + greenBits) & 0x1F, 5)
      return red << 16 | green << 8 | blue
    default: return UInt32(pointer[2]) << 16 | UInt32(pointer[1]) << 8 | UInt32(pointer[0])
    }
  }

  private static func widen(_ value: UInt32, _ bits: UInt32) -> UInt32 {
    value << (8 - bits) | value >> (2 * bits - 8)
  }

  /// A frame being drawn.
  private struct Canvas {
    var frame: Frame
    var width: Int { frame.width }

    init(width: Int, height: Int) { frame = Frame(width: width, height: height) }

    @inline(__always)
    mutating func set(_ x: Int, _ y: Int, _ colour: UInt32) {
      let at = (y &* frame.width &+ x) &* 4
      frame.pixels[at] = UInt8(truncatingIfNeeded: colour >> 16)
      frame.pixels[at + 1] = UInt8(truncatingIfNeeded: colour >> 8)
      frame.pixels[at + 2] = UInt8(truncatingIfNeeded: colour)
    }
  }
}
