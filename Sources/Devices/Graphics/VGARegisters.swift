/// The VGA's ports 0x3B0 to 0x3DF, and the display interface's at 0x1CE to 0x1D0.
extension VGACore {
  /// Whether the CRTC answers at 0x3D4 (colour) and not at 0x3B4.
  private var isColour: Bool { state.miscOutput & 1 != 0 }

  /// CRTC and input status ports of the other emulation are not decoded.
  private func isHidden(_ port: UInt16) -> Bool {
    isColour ? (0x3B0...0x3BF).contains(port) : (0x3D0...0x3DF).contains(port)
  }

  /// - Parameter inputStatus: bits 0 and 3 of input status register 1, as the beam stands.
  mutating func readPort(_ port: UInt16, inputStatus: UInt8) -> UInt8 {
    guard !isHidden(port) else { return 0xFF }
    switch port {
    case 0x3C0: return state.attributeWantsData ? 0 : state.attributeIndex
    case 0x3C1: return state.attribute[Int(state.attributeIndex & 0x1F)]
    case 0x3C2: return 0x10  // a monitor's sense line
    case 0x3C3: return 1
    case 0x3C4: return state.sequencerIndex
    case 0x3C5: return state.sequencer[Int(state.sequencerIndex)]
    case 0x3C6: return state.dacMask
    case 0x3C7: return state.dacState
    case 0x3C8: return state.dacWriteIndex
    case 0x3C9: return readDAC()
    case 0x3CA: return state.featureControl
    case 0x3CC: return state.miscOutput
    case 0x3CE: return state.graphicsIndex
    case 0x3CF: return state.graphics[Int(state.graphicsIndex)]
    case 0x3B4, 0x3D4: return state.crtcIndex
    case 0x3B5, 0x3D5: return state.crtc[Int(state.crtcIndex)]
    case 0x3BA, 0x3DA:
      state.attributeWantsData = false
      return inputStatus
    default: return 0xFF
    }
  }

  mutating func writePort(_ port: UInt16, _ value: UInt8) {
    guard !isHidden(port) else { return }
    switch port {
    case 0x3C0: writeAttribute(value)
    case 0x3C2:
      state.miscOutput = value & ~0x10
    case 0x3C4: state.sequencerIndex = value & 7
    case 0x3C5:
      let masks: [UInt8] = [0x03, 0x3D, 0x0F, 0x3F, 0x0E, 0, 0, 0xFF]
      state.sequencer[Int(state.sequencerIndex)] = value & masks[Int(state.sequencerIndex)]
      refresh()
    case 0x3C6: state.dacMask = value
    case 0x3C7:
      state.dacReadIndex = value
      state.dacComponent = 0
      state.dacState = 3
    case 0x3C8:
      state.dacWriteIndex = value
      state.dacComponent = 0
      state.dacState = 0
    case 0x3C9: writeDAC(value)
    case 0x3CE: state.graphicsIndex = value & 0xF
    case 0x3CF:
      let masks: [UInt8] = [0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF, 0, 0, 0, 0, 0, 0, 0]
      state.graphics[Int(state.graphicsIndex)] = value & masks[Int(state.graphicsIndex)]
      refresh()
    case 0x3B4, 0x3D4: state.crtcIndex = value & 0x3F
    case 0x3B5, 0x3D5: writeCRTC(value)
    case 0x3BA, 0x3DA: state.featureControl = value & 0x10
    default: break
    }
  }

  private mutating func writeAttribute(_ value: UInt8) {
    defer { state.attributeWantsData.toggle() }
    guard state.attributeWantsData else {
      state.attributeIndex = value & 0x3F
      return
    }
    let index = Int(state.attributeIndex & 0x1F)
    switch index {
    case 0..<16: state.attribute[index] = value & 0x3F
    case 0x10: state.attribute[index] = value & 0xEF
    case 0x12: state.attribute[index] = value & 0x3F
    case 0x13, 0x14: state.attribute[index] = value & 0x0F
    case 0x11: state.attribute[index] = value
    default: break
    }
  }

  /// With protection on, registers 0 to 7 keep their value, but for the line compare's bit 8.
  private mutating func writeCRTC(_ value: UInt8) {
    let index = Int(state.crtcIndex)
    guard index <= 0x18 else { return }
    if state.crtc[0x11] & 0x80 != 0 && index <= 7 {
      if index == 7 { state.crtc[7] = state.crtc[7] & ~0x10 | value & 0x10 }
      return
    }
    state.crtc[index] = value
  }

  private mutating func readDAC() -> UInt8 {
    let value = state.palette[Int(state.dacReadIndex) * 3 + state.dacComponent]
    state.dacComponent += 1
    if state.dacComponent == 3 {
      state.dacComponent = 0
      state.dacReadIndex &+= 1
    }
    return value
  }

  /// A colour changes when its third component has been written.
  private mutating func writeDAC(_ value: UInt8) {
    let eightBits = state.dispi[Dispi.enable] & Dispi.dac8Bits != 0
    state.dacCache[state.dacComponent] = eightBits ? value : value & 0x3F
    state.dacComponent += 1
    guard state.dacComponent == 3 else { return }
    for component in 0..<3 { state.palette[Int(state.dacWriteIndex) * 3 + component] = state.dacCache[component] }
    state.dacComponent = 0
    state.dacWriteIndex &+= 1
  }

  // MARK: The display interface

  func readDispi(_ index: Int) -> UInt16 {
    let asksLimits = state.dispi[Dispi.enable] & Dispi.getCapabilities != 0
    switch index {
    case Dispi.width where asksLimits: return Dispi.maximumWidth
    case Dispi.height where asksLimits: return Dispi.maximumHeight
    case Dispi.depth where asksLimits: return Dispi.maximumDepth
    case Dispi.memory: return UInt16(truncatingIfNeeded: vramSize >> 16)
    default: return state.dispi.indices.contains(index) ? state.dispi[index] : 0
    }
  }

  mutating func writeDispi(_ index: Int, _ value: UInt16) {
    switch index {
    case Dispi.id:
      if (0xB0C0...0xB0C5).contains(value) { state.dispi[index] = value }
    case Dispi.width:
      if value <= Dispi.maximumWidth && value & 7 == 0 && !dispiEnabled { state.dispi[index] = value }
    case Dispi.height:
      if value <= Dispi.maximumHeight && !dispiEnabled { state.dispi[index] = value }
    case Dispi.depth:
      let depth = value == 0 ? 8 : value
      if [4, 8, 15, 16, 24, 32].contains(depth) && !dispiEnabled { state.dispi[index] = depth }
    case Dispi.enable: writeDispiEnable(value)
    case Dispi.bank:
      if Int(value) << 16 < vramSize { state.dispi[index] = value }
    case Dispi.virtualWidth:
      setVirtualWidth(max(value, state.dispi[Dispi.width]))
    case Dispi.xOffset, Dispi.yOffset:
      state.dispi[index] = value
    default: break
    }
    refresh()
  }

  /// Bytes of a line of the virtual screen. A 4-bit mode is planar: eight pixels are four interleaved bytes.
  var dispiPitch: Int { Self.pitch(width: Int(state.dispi[Dispi.virtualWidth]), depth: state.dispi[Dispi.depth]) }

  static func pitch(width: Int, depth: UInt16) -> Int {
    depth == 4 ? width / 2 : width * ((Int(depth) + 7) / 8)
  }

  private mutating func setVirtualWidth(_ width: UInt16) {
    let pitch = Self.pitch(width: Int(width), depth: state.dispi[Dispi.depth])
    guard pitch > 0, pitch * Int(state.dispi[Dispi.height]) <= vramSize else { return }
    state.dispi[Dispi.virtualWidth] = width
    state.dispi[Dispi.virtualHeight] = UInt16(min(vramSize / pitch, 0xFFFF))
  }

  private mutating func writeDispiEnable(_ value: UInt16) {
    let wasEnabled = dispiEnabled
    if value & Dispi.enabled == 0 || wasEnabled {
      state.dispi[Dispi.enable] = value
      if value & Dispi.enabled == 0 { state.dispi[Dispi.bank] = 0 }
      return
    }
    let width = state.dispi[Dispi.width]
    let height = state.dispi[Dispi.height]
    let pitch = Self.pitch(width: Int(width), depth: state.dispi[Dispi.depth])
    // A mode that the memory cannot hold is not entered.
    guard width > 0, height > 0, pitch * Int(height) <= vramSize else {
      state.dispi[Dispi.enable] = value & ~Dispi.enabled
      return
    }
    state.dispi[Dispi.enable] = value
    state.dispi[Dispi.bank] = 0
    state.dispi[Dispi.xOffset] = 0
    state.dispi[Dispi.yOffset] = 0
    setVirtualWidth(width)
    if value & Dispi.keepMemory == 0 {
      vram.update(repeating: 0, count: pitch * Int(height))
      markChanged(0, count: pitch * Int(height))
    }
  }
}
