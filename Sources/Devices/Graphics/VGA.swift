import Foundation
import GuestMemory
import SavedState

/// The display adapter: a VGA with Bochs's display interface, as PCI function 1234:1111 the way QEMU's `-vga std` is one,
/// so that its VGA BIOS and Linux's bochs-drm drive it.
///
/// BAR 0 is the frame buffer, BAR 2 the registers as memory, and the VGA BIOS is the expansion ROM.
public final class VGA: PCIDevice, Device, PortIO, MemoryMappedIO {
  public let name: String
  /// Video memory in bytes when the definition says nothing.
  public static let defaultVideoMemory = 16 << 20

  private var core: VGACore
  private let clock: GuestClock
  private let vram: UnsafeMutablePointer<UInt8>
  private let changedPages: UnsafeMutablePointer<UInt8>
  private let vramSize: Int
  private var lfb: LinearFrameBuffer!
  private var registers: RegisterWindow!

  /// - Parameters:
  ///   - vramSize: bytes of video memory, a power of two from 1 MiB to 256 MiB.
  ///   - rom: the VGA BIOS, or nothing.
  public init(
    name: String = "vga", vramSize: Int = VGA.defaultVideoMemory, rom: [UInt8] = [], memory: PhysicalMemory,
    ports: PortBus, clock: GuestClock
  ) {
    precondition(vramSize >= 1 << 20 && vramSize <= 256 << 20 && vramSize.nonzeroBitCount == 1)
    self.name = name
    self.clock = clock
    self.vramSize = vramSize
    // Zeros that the host has not had to make yet: most of it is never used.
    guard let zeros = calloc(vramSize, 1) else { preconditionFailure("out of memory") }
    vram = zeros.bindMemory(to: UInt8.self, capacity: vramSize)
    changedPages = .allocate(capacity: vramSize >> VGACore.pageBits)
    changedPages.initialize(repeating: 1, count: vramSize >> VGACore.pageBits)
    core = VGACore(vram: vram, vramSize: vramSize, changedPages: changedPages)
    super.init(name: name, identity: PCIIdentity(vendor: 0x1234, device: 0x1111, revision: 2, classCode: 0x030000))
    lfb = LinearFrameBuffer(vram, vramSize, changedPages)
    registers = RegisterWindow(self)
    addMemoryBar(0, .memory32(prefetchable: true), size: UInt64(vramSize), memory: memory) { [unowned self] in lfb }
    addMemoryBar(2, size: 4096, memory: memory) { [unowned self] in registers }
    setExpansionROM(rom, memory: memory)
    memory.mapIO(self, name: "\(name).window", start: 0xA0000, length: 0x20000)
    for range: ClosedRange<UInt16> in [0x3B4...0x3B5, 0x3BA...0x3BA, 0x3C0...0x3CF, 0x3D4...0x3D5, 0x3DA...0x3DA] {
      ports.map(self, range)
    }
    ports.map(self, 0x1CE...0x1D0)
  }

  deinit {
    free(vram)
    changedPages.deallocate()
  }

  // MARK: The picture

  /// A picture of the screen as it stands. Machine lock held.
  /// - Parameter blinkOn: whether blinking text and the cursor show; nil: as the clock has it.
  public func renderFrame(blinkOn: Bool? = nil) -> Frame {
    VGARenderer(core, blinkOn: blinkOn ?? isBlinkOn).render()
  }

  private var isBlinkOn: Bool { clock.now / Self.blinkHalfPeriod & 1 == 0 }

  /// A copy of the screen, of which nothing is taken yet. There is one at a time: an earlier one is not to be used any more.
  /// Machine lock held.
  public func makeScreenCopy() -> ScreenCopy {
    core.markChanged(0, count: vramSize)
    return ScreenCopy(vramSize: vramSize)
  }

  /// Takes what has changed on the screen into its copy, or as much of it as takes a moment. Machine lock held.
  /// - Returns: whether that was all; if not, it is to be called again.
  public func take(into copy: ScreenCopy) -> Bool { copy.take(core, blinkOn: isBlinkOn) }

  /// The screen's lines in a text mode, without trailing blanks, or nil in a graphics mode. Machine lock held.
  public func textScreen() -> [String]? {
    let renderer = VGARenderer(core)
    let timing = VGATiming(core.state)
    guard !core.dispiEnabled, !timing.isGraphics else { return nil }
    return (0..<timing.rows).map { row in
      var line = ""
      for column in 0..<timing.columns {
        line.append(CodePage437.character(renderer.textCell(column: column, row: row).character))
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }

  /// Sixteen frames at 70 Hz.
  private static let blinkHalfPeriod: UInt64 = 228_571_428

  // MARK: Ports

  /// The beam at 25.175 MHz: 449 lines of 800 dots, of which 400 and 640 are visible. Bit 0: outside of the picture, bit
  /// 3: in the vertical retrace.
  private var inputStatus: UInt8 {
    let line: UInt64 = 31_777
    let position = clock.now % (line * 449)
    let isBelow = position >= line * 400
    let isRetrace = position >= line * 412 && position < line * 414
    let isBeside = position % line >= line * 640 / 800
    return (isBelow || isBeside ? 1 : 0) | (isRetrace ? 8 : 0)
  }

  public func readPort(_ port: UInt16, size: Int) -> UInt32 {
    if port <= 0x1D0 { return readDispi(port, size: size) }
    var value: UInt32 = 0
    for index in 0..<size {
      let byte = core.readPort(port &+ UInt16(index), inputStatus: inputStatus)
      value |= UInt32(byte) << UInt32(index * 8)
    }
    return value
  }

  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    if port <= 0x1D0 { return writeDispi(port, size: size, value: value) }
    for index in 0..<size {
      core.writePort(port &+ UInt16(index), UInt8(truncatingIfNeeded: value >> UInt32(index * 8)))
    }
  }

  /// Words only: the index at 0x1CE, data at 0x1CF and, aligned, at 0x1D0.
  private func readDispi(_ port: UInt16, size: Int) -> UInt32 {
    let value = port == 0x1CE ? core.state.dispiIndex : core.readDispi(Int(core.state.dispiIndex))
    return size == 1 ? UInt32(value & 0xFF) : UInt32(value)
  }

  private func writeDispi(_ port: UInt16, size: Int, value: UInt32) {
    guard size >= 2 else { return }
    let word = UInt16(truncatingIfNeeded: value)
    if port == 0x1CE { core.state.dispiIndex = word } else { core.writeDispi(Int(core.state.dispiIndex), word) }
  }

  // MARK: Memory

  /// The window at 0xA0000.
  public func readMemory(offset: UInt64, size: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<size {
      value |= UInt64(core.readWindow(Int(offset) &+ index)) &<< UInt64(index &* 8)
    }
    return value
  }

  public func writeMemory(offset: UInt64, size: Int, value: UInt64) {
    for index in 0..<size {
      core.writeWindow(Int(offset) &+ index, UInt8(truncatingIfNeeded: value &>> UInt64(index &* 8)))
    }
  }

  /// Video memory as it lies.
  private final class LinearFrameBuffer: MemoryMappedIO {
    private let bytes: UnsafeMutablePointer<UInt8>
    private let count: Int
    private let changedPages: UnsafeMutablePointer<UInt8>

    init(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int, _ changedPages: UnsafeMutablePointer<UInt8>) {
      self.bytes = bytes
      self.count = count
      self.changedPages = changedPages
    }

    func readMemory(offset: UInt64, size: Int) -> UInt64 {
      let at = Int(offset)
      guard at &+ size <= count else { return .max }
      let pointer = UnsafeRawPointer(bytes + at)
      switch size {
      case 1: return UInt64(pointer.load(as: UInt8.self))
      case 2: return UInt64(pointer.loadUnaligned(as: UInt16.self))
      case 4: return UInt64(pointer.loadUnaligned(as: UInt32.self))
      case 8: return pointer.loadUnaligned(as: UInt64.self)
      default:
        var value: UInt64 = 0
        for index in 0..<min(size, 8) { value |= UInt64(bytes[at &+ index]) &<< UInt64(index &* 8) }
        return value
      }
    }

    func writeMemory(offset: UInt64, size: Int, value: UInt64) {
      let at = Int(offset)
      guard at &+ size <= count else { return }
      changedPages[at &>> VGACore.pageBits] = 1
      // Where it crosses into another page.
      changedPages[(at &+ size &- 1) &>> VGACore.pageBits] = 1
      let pointer = UnsafeMutableRawPointer(bytes + at)
      switch size {
      case 4: pointer.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
      case 8: pointer.storeBytes(of: value, as: UInt64.self)
      default:
        for index in 0..<min(size, 8) { bytes[at &+ index] = UInt8(truncatingIfNeeded: value &>> UInt64(index &* 8)) }
      }
    }
  }

  /// BAR 2 (QEMU's docs/specs/standard-vga): ports 0x3C0 to 0x3DF at 0x400, the display interface's registers as words at
  /// 0x500, and QEMU's extension, of eight bytes with the byte order, at 0x600. There is no EDID: 0 to 0x3FF read as ones.
  private final class RegisterWindow: MemoryMappedIO {
    private unowned let vga: VGA
    init(_ vga: VGA) { self.vga = vga }

    func readMemory(offset: UInt64, size: Int) -> UInt64 {
      switch offset {
      case 0x400..<0x420: return UInt64(vga.readPort(UInt16(offset - 0x400 + 0x3C0), size: min(size, 4)))
      case 0x500..<0x516: return UInt64(vga.core.readDispi(Int(offset - 0x500) / 2))
      case 0x600: return 8
      case 0x604: return 0x1E1E_1E1E  // little endian
      default: return .max
      }
    }

    func writeMemory(offset: UInt64, size: Int, value: UInt64) {
      switch offset {
      case 0x400..<0x420:
        vga.writePort(UInt16(offset - 0x400 + 0x3C0), size: min(size, 4), value: UInt32(truncatingIfNeeded: value))
      case 0x500..<0x516:
        vga.core.writeDispi(Int(offset - 0x500) / 2, UInt16(truncatingIfNeeded: value))
      default: break
      }
    }
  }

  // MARK: Device

  /// Registers fall back; video memory keeps what it holds.
  public func reset() {
    resetPCI()
    core.reset()
  }

  public func pause() {}
  public func resume() {}

  private struct Saved: Codable {
    var pci: PCIConfiguration.State
    var vga: VGACore.State
  }
  private static let kind = "vga"
  private static let version = 1

  public func save() throws -> StateSection {
    let saved = Saved(pci: pciState, vga: core.state)
    let blob = Data(bytes: vram, count: usedVideoMemory)
    return try StateSection(name: name, kind: Self.kind, version: Self.version, state: saved, blob: blob)
  }

  /// Bytes of video memory up to the last that is not zero, in whole pages.
  private var usedVideoMemory: Int {
    let page = 4096
    var end = vramSize
    while end > 0 {
      guard UnsafeRawBufferPointer(start: vram + (end - page), count: page).isZero else { break }
      end -= page
    }
    return end
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: Self.kind, upTo: Self.version)
    guard section.blob.count <= vramSize else {
      throw SavedStateError.mismatch(
        "section \(section.name): \(section.blob.count) bytes of video memory, and this machine has \(vramSize)")
    }
    try requireValid(saved.vga.isPlausible(vramSize: vramSize), in: section, "display registers")
    try checkPCI(saved.pci, in: section)
    restorePCI(saved.pci)
    core.state = saved.vga
    core.refresh()
    let (used, before) = (section.blob.count, usedVideoMemory)
    section.blob.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      UnsafeMutableRawPointer(vram).copyMemory(from: base, byteCount: used)
    }
    if before > used { memset(vram + used, 0, before - used) }
    core.markChanged(0, count: vramSize)
  }
}
