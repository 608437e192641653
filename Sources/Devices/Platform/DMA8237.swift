import GuestMemory
import SavedState

/// What a device on an ISA DMA channel does, as the floppy controller.
public protocol DMAChannelPeer: AnyObject {
  /// Device to memory: fills the buffer and says how many bytes it had.
  func dmaRead(into buffer: UnsafeMutableRawBufferPointer) -> Int
  /// Memory to device: takes bytes and says how many.
  func dmaWrite(from buffer: UnsafeRawBufferPointer) -> Int
  /// The channel's count has run out (TC).
  func dmaTerminalCount()
  /// The channel may have been opened: a device that waits for it asks for `DMA8237.service` now.
  func dmaChannelOpened()
}

/// One 8237A without its bus.
///
/// Source: Intel 8237A data sheet (231466).
public struct DMA8237Core: Sendable {
  /// One channel's registers.
  public struct Channel: Codable, Equatable, Sendable {
    var baseAddress: UInt16 = 0
    var baseCount: UInt16 = 0
    var address: UInt16 = 0
    var count: UInt16 = 0
    var mode: UInt8 = 0
    /// Bits 16 to 23 of the address.
    var page: UInt8 = 0
  }

  /// The registers, as a saved state holds them.
  public struct State: Codable, Equatable, Sendable {
    var channels = [Channel(), Channel(), Channel(), Channel()]
    var command: UInt8 = 0
    /// Terminal counts reached, bits 0 to 3.
    var terminal: UInt8 = 0
    var requests: UInt8 = 0
    var mask: UInt8 = 0x0F
    var flipFlop = false
    var temporary: UInt8 = 0
  }

  /// What a saved state holds of it.
  public internal(set) var state = State()

  mutating func masterClear() {
    state.command = 0
    state.terminal = 0
    state.requests = 0
    state.temporary = 0
    state.flipFlop = false
    state.mask = 0x0F
  }

  mutating func read(_ register: Int) -> UInt8 {
    switch register {
    case 0..<8:
      let channel = state.channels[register >> 1]
      let value = register & 1 == 0 ? channel.address : channel.count
      defer { state.flipFlop.toggle() }
      return state.flipFlop ? UInt8(value >> 8) : UInt8(truncatingIfNeeded: value)
    case 8:
      defer { state.terminal = 0 }
      return state.terminal | state.requests << 4
    case 13: return state.temporary
    case 15: return state.mask | 0xF0
    default: return 0xFF
    }
  }

  mutating func write(_ register: Int, _ value: UInt8) {
    let channel = Int(value & 3)
    switch register {
    case 0..<8: writeHalf(register >> 1, isCount: register & 1 != 0, value)
    case 8: state.command = value
    case 9:
      let bit = (1 as UInt8) << UInt8(channel)
      state.requests = value & 4 != 0 ? state.requests | bit : state.requests & ~bit
    case 10:
      let bit = (1 as UInt8) << UInt8(channel)
      state.mask = value & 4 != 0 ? state.mask | bit : state.mask & ~bit
    case 11: state.channels[channel].mode = value
    case 12: state.flipFlop = false
    case 13: masterClear()
    case 14: state.mask = 0
    default: state.mask = value & 15
    }
  }

  private mutating func writeHalf(_ channel: Int, isCount: Bool, _ value: UInt8) {
    let old = isCount ? state.channels[channel].baseCount : state.channels[channel].baseAddress
    let new = state.flipFlop ? old & 0x00FF | UInt16(value) << 8 : old & 0xFF00 | UInt16(value)
    state.flipFlop.toggle()
    if isCount {
      state.channels[channel].baseCount = new
      state.channels[channel].count = new
    } else {
      state.channels[channel].baseAddress = new
      state.channels[channel].address = new
    }
  }
}

/// The PC's two 8237As: channels 0 to 3 move bytes, 5 to 7 words; channel 4 is the cascade. Ports 0x00 to 0x0F, 0xC0 to 0xDF
/// and the page registers 0x81 to 0x8F.
public final class DMA8237: Device, BytePortIO {
  /// The registers, as a saved state holds them.
  public struct State: Codable, Equatable, Sendable {
    var low: DMA8237Core.State
    var high: DMA8237Core.State
    /// Page registers that no channel uses: plain memory.
    var spare: [UInt8]
  }

  public let name = "dma"
  private var low = DMA8237Core()
  private var high = DMA8237Core()
  private var spare = [UInt8](repeating: 0, count: 16)
  private let memory: PhysicalMemory
  private var peers: [(any DMAChannelPeer)?] = Array(repeating: nil, count: 8)

  /// Both controllers and the page registers, at their ports of the PC.
  public init(ports: PortBus, memory: PhysicalMemory) {
    self.memory = memory
    ports.map(self, 0x00...0x0F)
    ports.map(self, 0xC0...0xDF)
    ports.map(self, 0x81...0x8F)
  }

  /// Joins a device to a channel, 0 to 7; 4 is the cascade's.
  public func connect(_ peer: any DMAChannelPeer, channel: Int) { peers[channel & 7] = peer }

  /// The channel of a page register port (the AT's wiring), or nil.
  private func pageChannel(_ port: UInt16) -> Int? {
    switch port {
    case 0x87: 0
    case 0x83: 1
    case 0x81: 2
    case 0x82: 3
    case 0x8B: 5
    case 0x89: 6
    case 0x8A: 7
    default: nil
    }
  }

  public func readByte(_ port: UInt16) -> UInt8 {
    switch port {
    case 0x00...0x0F: return low.read(Int(port))
    case 0xC0...0xDF: return high.read(Int(port - 0xC0) >> 1)
    default:
      guard let channel = pageChannel(port) else { return spare[Int(port & 15)] }
      return channel < 4 ? low.state.channels[channel].page : high.state.channels[channel - 4].page
    }
  }

  public func writeByte(_ port: UInt16, _ value: UInt8) {
    switch port {
    case 0x00...0x0F:
      low.write(Int(port), value)
      tellPeers(0..<4, register: Int(port))
    case 0xC0...0xDF:
      high.write(Int(port - 0xC0) >> 1, value)
      tellPeers(4..<8, register: Int(port - 0xC0) >> 1)
    default:
      guard let channel = pageChannel(port) else {
        spare[Int(port & 15)] = value
        return
      }
      if channel < 4 { low.state.channels[channel].page = value } else { high.state.channels[channel - 4].page = value }
    }
  }

  /// After a write to the command register or to one of the masks.
  private func tellPeers(_ channels: Range<Int>, register: Int) {
    guard [8, 10, 14, 15].contains(register) else { return }
    for channel in channels { peers[channel]?.dmaChannelOpened() }
  }

  /// DREQ: the device on `channel` is ready. Moves what it has, up to the channel's count; nothing while masked.
  public func service(_ channel: Int) {
    guard (0..<8).contains(channel), channel != 4, let peer = peers[channel] else { return }
    if channel < 4 {
      Self.run(&low, channel, shift: 0, peer, memory)
    } else {
      Self.run(&high, channel - 4, shift: 1, peer, memory)
    }
  }

  private static func run(
    _ chip: inout DMA8237Core, _ index: Int, shift: Int, _ peer: any DMAChannelPeer, _ memory: PhysicalMemory
  ) {
    let bit = (1 as UInt8) << UInt8(index)
    guard chip.state.mask & bit == 0, chip.state.command & 4 == 0 else { return }
    var channel = chip.state.channels[index]
    let down = channel.mode & 0x20 != 0
    let units = Int(channel.count) + 1
    var buffer = [UInt8](repeating: 0, count: units << shift)
    let unit = 1 << shift
    func address(_ done: Int) -> UInt64 {
      let step = UInt16(truncatingIfNeeded: done)
      let low = down ? channel.address &- step : channel.address &+ step
      let page = UInt64(shift == 0 ? channel.page : channel.page & 0xFE) << 16
      return page | UInt64(low) << UInt64(shift)
    }
    var moved = 0
    switch channel.mode >> 2 & 3 {
    case 1:  // write transfer: device to memory
      moved = min(max(buffer.withUnsafeMutableBytes { peer.dmaRead(into: $0) }, 0), buffer.count) >> shift
      for done in 0..<moved {
        buffer.withUnsafeBytes {
          memory.write(address(done), from: UnsafeRawBufferPointer(rebasing: $0[(done * unit)..<((done + 1) * unit)]))
        }
      }
    case 2:  // read transfer: memory to device
      for done in 0..<units {
        buffer.withUnsafeMutableBytes {
          memory.read(
            address(done), into: UnsafeMutableRawBufferPointer(rebasing: $0[(done * unit)..<((done + 1) * unit)]))
        }
      }
      moved = min(max(buffer.withUnsafeBytes { peer.dmaWrite(from: $0) }, 0), buffer.count) >> shift
    default:  // verify: addresses run, nothing moves
      moved = min(max(buffer.withUnsafeMutableBytes { peer.dmaRead(into: $0) }, 0), buffer.count) >> shift
    }
    let step = UInt16(truncatingIfNeeded: moved)
    channel.address = down ? channel.address &- step : channel.address &+ step
    channel.count = channel.count &- step
    if moved == units {
      chip.state.terminal |= bit
      if channel.mode & 0x10 != 0 {
        channel.address = channel.baseAddress
        channel.count = channel.baseCount
      } else {
        chip.state.mask |= bit
      }
    }
    chip.state.channels[index] = channel
    if moved == units { peer.dmaTerminalCount() }
  }

  public func reset() {
    low.masterClear()
    high.masterClear()
  }

  public func save() throws -> StateSection {
    let state = State(low: low.state, high: high.state, spare: spare)
    return try StateSection(name: name, kind: "dma8237", version: 1, state: state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "dma8237", upTo: 1)
    for chip in [loaded.low, loaded.high] {
      try requireValid(chip.channels.count == 4, in: section, "a controller has four channels")
      try requireValid(chip.mask < 16 && chip.terminal < 16 && chip.requests < 16, in: section, "bits out of range")
    }
    try requireValid(loaded.spare.count == 16, in: section, "there are sixteen page registers")
    low.state = loaded.low
    high.state = loaded.high
    spare = loaded.spare
  }

  public func pause() {}
  public func resume() {}
}
