/// The registers and memory paths of a VGA (IBM VGA Technical Reference) with Bochs's display interface (DISPI 0xB0C5),
/// without ports' decoding, clock or host.
///
/// Video memory holds the four planes interleaved: byte `address * 4 + plane`. Chain-4 modes and the linear frame buffer
/// then are the memory as it lies, and in odd/even modes a character and its attribute share a cell, which is where the
/// CRTC's word mode looks for them.
struct VGACore {
  struct State: Codable, Equatable, Sendable {
    var miscOutput: UInt8 = 0x67
    var featureControl: UInt8 = 0
    var sequencerIndex: UInt8 = 0
    var sequencer: [UInt8] = Array(repeating: 0, count: 8)
    var graphicsIndex: UInt8 = 0
    var graphics: [UInt8] = Array(repeating: 0, count: 16)
    var crtcIndex: UInt8 = 0
    var crtc: [UInt8] = Array(repeating: 0, count: 64)
    /// Bit 5: palette address source.
    var attributeIndex: UInt8 = 0
    var attributeWantsData = false
    var attribute: [UInt8] = Array(repeating: 0, count: 32)
    var dacMask: UInt8 = 0xFF
    var dacReadIndex: UInt8 = 0
    var dacWriteIndex: UInt8 = 0
    var dacComponent = 0
    /// 3 while reading, 0 while writing.
    var dacState: UInt8 = 0
    var dacCache: [UInt8] = [0, 0, 0]
    /// 256 times red, green, blue.
    var palette: [UInt8] = Array(repeating: 0, count: 768)
    var latches: UInt32 = 0
    var dispiIndex: UInt16 = 0
    /// Identity, x, y, bits per pixel, enable, bank, virtual width and height, x and y offset.
    var dispi: [UInt16] = [0xB0C5, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  }

  enum Dispi {
    static let id = 0
    static let width = 1
    static let height = 2
    static let depth = 3
    static let enable = 4
    static let bank = 5
    static let virtualWidth = 6
    static let virtualHeight = 7
    static let xOffset = 8
    static let yOffset = 9
    static let memory = 10

    static let enabled: UInt16 = 0x01
    static let getCapabilities: UInt16 = 0x02
    static let dac8Bits: UInt16 = 0x20
    static let linear: UInt16 = 0x40
    static let keepMemory: UInt16 = 0x80

    static let maximumWidth: UInt16 = 16_000
    static let maximumHeight: UInt16 = 12_000
    static let maximumDepth: UInt16 = 32
  }

  let vram: UnsafeMutablePointer<UInt8>
  /// Bytes, a power of two of at least 256 KiB.
  let vramSize: Int
  /// A byte for each page of video memory, which is not 0 when the page has been written since a copy of it was taken
  /// (`ScreenCopy`).
  let changedPages: UnsafeMutablePointer<UInt8>
  /// Bits of an address within a page.
  static let pageBits = 12
  var state = State()
  /// What the memory path needs of the registers, worked out when they change.
  private(set) var path = MemoryPath()

  struct MemoryPath {
    var windowStart = 0  // offsets from 0xA0000
    var windowEnd = 0x20000
    var isLinear = false  // chain-4 or a packed DISPI mode with all planes written
    var bank = 0
    var oddEven = false
    var chain4 = false
    var planeMask: UInt32 = 0
    var writeMode = 0
    var readMode = 0
    var readPlane = 0
    var rotate = 0
    var function = 0
    var setReset: UInt32 = 0
    var setResetEnable: UInt32 = 0
    var bitMask: UInt32 = 0
    var compare: UInt32 = 0
    var careMask: UInt32 = 0
    var oddEvenRead = false
  }

  init(vram: UnsafeMutablePointer<UInt8>, vramSize: Int, changedPages: UnsafeMutablePointer<UInt8>) {
    self.vram = vram
    self.vramSize = vramSize
    self.changedPages = changedPages
    refresh()
  }

  mutating func reset() {
    state = State()
    refresh()
  }

  var dispiEnabled: Bool { state.dispi[Dispi.enable] & Dispi.enabled != 0 }
  var dispiPacked: Bool { dispiEnabled && state.dispi[Dispi.depth] > 4 }

  // MARK: Derived

  /// Four copies of a bit pattern: bit n spread over byte n.
  static func spread(_ bits: UInt8) -> UInt32 {
    var mask: UInt32 = 0
    for plane in 0..<4 where bits >> UInt8(plane) & 1 != 0 { mask |= 0xFF << UInt32(plane * 8) }
    return mask
  }

  mutating func refresh() {
    let graphics = state.graphics
    var path = MemoryPath()
    switch graphics[6] >> 2 & 3 {
    case 0: (path.windowStart, path.windowEnd) = (0, 0x20000)
    case 1: (path.windowStart, path.windowEnd) = (0, 0x10000)
    case 2: (path.windowStart, path.windowEnd) = (0x10000, 0x18000)
    default: (path.windowStart, path.windowEnd) = (0x18000, 0x20000)
    }
    path.planeMask = Self.spread(state.sequencer[2] & 0xF)
    path.chain4 = state.sequencer[4] & 8 != 0
    path.oddEven = state.sequencer[4] & 4 == 0
    path.oddEvenRead = graphics[5] & 0x10 != 0
    if dispiEnabled { path.bank = Int(state.dispi[Dispi.bank]) << 16 }
    path.isLinear = dispiPacked || (path.chain4 && path.planeMask == .max)
    path.writeMode = Int(graphics[5] & 3)
    path.readMode = Int(graphics[5] >> 3 & 1)
    path.readPlane = Int(graphics[4] & 3)
    path.rotate = Int(graphics[3] & 7)
    path.function = Int(graphics[3] >> 3 & 3)
    path.setReset = Self.spread(graphics[0] & 0xF)
    path.setResetEnable = Self.spread(graphics[1] & 0xF)
    path.bitMask = UInt32(graphics[8]) &* 0x0101_0101
    path.compare = Self.spread(graphics[2] & 0xF)
    path.careMask = Self.spread(graphics[7] & 0xF)
    self.path = path
  }

  // MARK: Video memory through 0xA0000

  /// - Parameter offset: from 0xA0000.
  @inline(__always)
  mutating func readWindow(_ offset: Int) -> UInt8 {
    guard offset >= path.windowStart, offset < path.windowEnd else { return 0xFF }
    let address = offset &- path.windowStart &+ path.bank
    if path.isLinear || path.chain4 {
      return address < vramSize ? vram[address] : 0xFF
    }
    return readPlanar(address)
  }

  @inline(__always)
  mutating func writeWindow(_ offset: Int, _ value: UInt8) {
    guard offset >= path.windowStart, offset < path.windowEnd else { return }
    let address = offset &- path.windowStart &+ path.bank
    if path.isLinear {
      if address < vramSize { store(address, value) }
    } else if path.chain4 {
      if address < vramSize, path.planeMask &>> UInt32((address & 3) &* 8) & 1 != 0 { store(address, value) }
    } else {
      writePlanar(address, value)
    }
  }

  @inline(__always)
  private func store(_ address: Int, _ value: UInt8) {
    vram[address] = value
    changedPages[address &>> Self.pageBits] = 1
  }

  /// Says that `count` bytes from `address` on, all of them within the memory, have been written.
  func markChanged(_ address: Int, count: Int) {
    guard count > 0 else { return }
    let (first, last) = (address >> Self.pageBits, (address + count - 1) >> Self.pageBits)
    (changedPages + first).update(repeating: 1, count: last - first + 1)
  }

  private mutating func readPlanar(_ address: Int) -> UInt8 {
    var plane = path.readPlane
    var cell = address
    if path.oddEvenRead {
      plane = path.readPlane & ~1 | address & 1
      cell = address &>> 1
    }
    guard cell &* 4 < vramSize else { return 0xFF }
    let latches = loadCell(cell)
    state.latches = latches
    if path.readMode == 0 { return UInt8(truncatingIfNeeded: latches &>> UInt32(plane &* 8)) }
    // Read mode 1: a bit for each pixel whose cared-for planes have the colour compared.
    let different = (latches ^ path.compare) & path.careMask
    let folded = different | different &>> 16
    return ~UInt8(truncatingIfNeeded: folded | folded &>> 8)
  }

  private func loadCell(_ cell: Int) -> UInt32 {
    UnsafeRawPointer(vram + cell &* 4).loadUnaligned(as: UInt32.self)
  }

  private mutating func writePlanar(_ address: Int, _ value: UInt8) {
    var mask = path.planeMask
    var cell = address
    if path.oddEven {
      mask &= address & 1 == 0 ? 0x00FF_00FF : 0xFF00_FF00
      cell = address &>> 1
    }
    guard cell &* 4 < vramSize else { return }
    var bits = path.bitMask
    var data: UInt32
    switch path.writeMode {
    case 0:
      data = UInt32(rotated(value)) &* 0x0101_0101
      data = data & ~path.setResetEnable | path.setReset & path.setResetEnable
    case 1:
      return storeCell(cell, state.latches, mask)
    case 2:
      data = Self.spread(value & 0xF)
    default:
      bits &= UInt32(rotated(value)) &* 0x0101_0101
      data = path.setReset
    }
    let latches = state.latches
    switch path.function {
    case 1: data &= latches
    case 2: data |= latches
    case 3: data ^= latches
    default: break
    }
    storeCell(cell, data & bits | latches & ~bits, mask)
  }

  private func rotated(_ value: UInt8) -> UInt8 {
    value &>> UInt8(path.rotate) | value &<< UInt8(8 &- path.rotate & 7)
  }

  private func storeCell(_ cell: Int, _ value: UInt32, _ mask: UInt32) {
    let kept = loadCell(cell) & ~mask
    UnsafeMutableRawPointer(vram + cell &* 4).storeBytes(of: kept | value & mask, as: UInt32.self)
    changedPages[(cell &* 4) &>> Self.pageBits] = 1
  }
}

extension VGACore.State {
  /// Whether the fields can have come from an adapter with that much memory.
  func isPlausible(vramSize: Int) -> Bool {
    guard sequencer.count == 8, graphics.count == 16, crtc.count == 64, attribute.count == 32 else { return false }
    guard dacCache.count == 3, palette.count == 768, dispi.count == 10 else { return false }
    guard (0...2).contains(dacComponent), sequencerIndex < 8, graphicsIndex < 16, crtcIndex < 64 else { return false }
    guard dispi[1] <= VGACore.Dispi.maximumWidth, dispi[2] <= VGACore.Dispi.maximumHeight else { return false }
    guard [0, 4, 8, 15, 16, 24, 32].contains(dispi[3]), attributeIndex < 64 else { return false }
    let isEnabled = dispi[VGACore.Dispi.enable] & VGACore.Dispi.enabled != 0
    let pitch = VGACore.pitch(width: Int(dispi[VGACore.Dispi.virtualWidth]), depth: dispi[VGACore.Dispi.depth])
    return !isEnabled
      || (pitch > 0 && pitch * Int(dispi[VGACore.Dispi.height]) <= vramSize
        && dispi[VGACore.Dispi.virtualWidth] >= dispi[VGACore.Dispi.width])
  }
}
