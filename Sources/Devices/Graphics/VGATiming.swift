/// What a VGA's registers say of the picture's shape.
struct VGATiming {
  private let state: VGACore.State

  init(_ state: VGACore.State) { self.state = state }

  var isGraphics: Bool { state.graphics[6] & 1 != 0 }

  /// Character clocks of a line.
  var columns: Int { Int(state.crtc[1]) + 1 }
  var dotRepeat: Int { state.sequencer[1] & 8 != 0 ? 2 : 1 }
  var characterWidth: Int { !isGraphics && state.sequencer[1] & 1 == 0 ? 9 : 8 }

  var dotsPerLine: Int { columns * characterWidth * dotRepeat }

  private var scanLines: Int {
    let overflow = Int(state.crtc[7])
    return (Int(state.crtc[0x12]) | (overflow & 2) << 7 | (overflow & 0x40) << 3) + 1
  }

  /// The scan lines that hold whole rows of characters or pixels: a row that the end of the display cuts is not shown.
  var pictureLines: Int {
    let row = linesPerRow * doubleScan
    return max(scanLines / row, 1) * row
  }

  /// Rows of characters.
  var rows: Int { max(1, scanLines / (linesPerRow * doubleScan)) }

  /// The last line above the split.
  var lineCompare: Int {
    let high = Int(state.crtc[7] & 0x10) << 4 | Int(state.crtc[9] & 0x40) << 3
    return Int(state.crtc[0x18]) | high
  }

  var startAddress: Int { Int(state.crtc[0xC]) << 8 | Int(state.crtc[0xD]) }
  /// Cells from one row to the next.
  var pitch: Int { Int(state.crtc[0x13]) * 2 }
  var doubleScan: Int { state.crtc[9] & 0x80 != 0 ? 2 : 1 }
  var linesPerRow: Int { Int(state.crtc[9] & 0x1F) + 1 }
}
