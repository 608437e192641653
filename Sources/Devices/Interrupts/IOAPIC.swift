import GuestMemory
import SavedState

/// The I/O APIC 82093AA with 24 pins, at 0xFEC00000; version 0x20, whose EOI register later chipsets have.
///
/// Source: Intel 82093AA data sheet (290566), 3.0; the EOI register: Intel ICH data sheets, "EOI Register".
public struct IOAPICCore: Sendable {
  /// Inputs, each with an entry of the redirection table.
  public static let pinCount = 24
  /// What a guest may write of a redirection entry: not delivery status (12) and remote IRR (14).
  static let writableMask: UInt64 = 0xFF00_0000_0001_AFFF
  static let remoteIRR: UInt64 = 1 << 14
  static let levelTriggered: UInt64 = 1 << 15
  static let masked: UInt64 = 1 << 16

  /// Its registers and the levels of its pins.
  public struct State: Codable, Equatable, Sendable {
    var id: UInt32 = 0
    var select: UInt8 = 0
    var pins: UInt32 = 0
    /// Edges that arrived and have not been sent: pins masked or level-triggered ones asserted.
    var irr: UInt32 = 0
    var redirection: [UInt64] = Array(repeating: IOAPICCore.masked, count: IOAPICCore.pinCount)
  }

  /// What a saved state holds of it.
  public internal(set) var state = State()

  mutating func setPin(_ pin: Int, _ level: Bool) -> InterruptMessage? {
    let bit = 1 as UInt32 &<< UInt32(pin)
    let entry = state.redirection[pin]
    let was = state.pins & bit != 0
    if level { state.pins |= bit } else { state.pins &= ~bit }
    if entry & Self.levelTriggered != 0 {
      if level { state.irr |= bit } else { state.irr &= ~bit }
      return level ? service(pin) : nil
    }
    guard level && !was else { return nil }
    // An edge on a masked pin is lost (3.2.4, interrupt mask).
    guard entry & Self.masked == 0 else { return nil }
    state.irr |= bit
    return service(pin)
  }

  /// The message pin `pin` is due to send now, if any.
  mutating func service(_ pin: Int) -> InterruptMessage? {
    let bit = 1 as UInt32 &<< UInt32(pin)
    let entry = state.redirection[pin]
    guard state.irr & bit != 0, entry & Self.masked == 0 else { return nil }
    let isLevel = entry & Self.levelTriggered != 0
    if isLevel && entry & Self.remoteIRR != 0 { return nil }
    guard let mode = DeliveryMode(rawValue: UInt8(entry >> 8 & 7)) else { return nil }
    let handshakes = mode == .fixed || mode == .lowestPriority
    if isLevel && handshakes {
      state.redirection[pin] |= Self.remoteIRR
    } else if !isLevel {
      state.irr &= ~bit
    }
    return InterruptMessage(
      destination: UInt32(entry >> 56), logical: entry & 1 << 11 != 0, mode: mode,
      vector: UInt8(truncatingIfNeeded: entry), level: isLevel)
  }

  /// End of interrupt for `vector`: the pins whose remote IRR it clears, as a bit mask.
  mutating func endOfInterrupt(_ vector: UInt8) -> UInt32 {
    var pins: UInt32 = 0
    for pin in 0..<Self.pinCount {
      let entry = state.redirection[pin]
      guard UInt8(truncatingIfNeeded: entry) == vector, entry & Self.remoteIRR != 0 else { continue }
      state.redirection[pin] = entry & ~Self.remoteIRR
      pins |= 1 << UInt32(pin)
    }
    return pins
  }

  func readRegister() -> UInt32 {
    switch state.select {
    case 0, 2: return state.id
    case 1: return 0x20 | UInt32(Self.pinCount - 1) << 16
    case 0x10..<0x40:
      let entry = state.redirection[Int(state.select - 0x10) / 2]
      return UInt32(truncatingIfNeeded: state.select & 1 == 0 ? entry : entry >> 32)
    default: return 0
    }
  }

  /// - Returns: the pin whose entry changed.
  mutating func writeRegister(_ value: UInt32) -> Int? {
    switch state.select {
    case 0:
      state.id = value & 0x0F00_0000
      return nil
    case 0x10..<0x40:
      let pin = Int(state.select - 0x10) / 2
      let old = state.redirection[pin]
      let high = state.select & 1 != 0
      let new = high ? old & 0xFFFF_FFFF | UInt64(value) << 32 : old & ~0xFFFF_FFFF | UInt64(value)
      var entry = new & Self.writableMask | old & ~Self.writableMask
      // Software clears a stuck remote IRR by making the pin edge-triggered for a moment.
      if entry & Self.levelTriggered == 0 { entry &= ~Self.remoteIRR }
      state.redirection[pin] = entry
      let bit = (1 as UInt32) << UInt32(pin)
      if entry & Self.levelTriggered != 0 {
        state.irr = state.pins & bit != 0 ? state.irr | bit : state.irr & ~bit
      } else if old & Self.levelTriggered != 0 {
        state.irr &= ~bit
      }
      return pin
    default: return nil
    }
  }
}

/// The I/O APIC on the board: memory window, pins, and the APIC bus.
public final class IOAPIC: Device, MemoryMappedIO {
  /// The physical address of its registers.
  public static let base: UInt64 = 0xFEC0_0000

  public let name = "ioapic"
  private var core = IOAPICCore()
  private let fabric: InterruptFabric

  /// Maps its registers into the address space; messages go to `fabric`.
  public init(memory: PhysicalMemory, fabric: InterruptFabric) {
    self.fabric = fabric
    fabric.connect(self)
    memory.mapIO(self, name: "ioapic", start: Self.base, length: 0x1000)
  }

  /// Sets an input's level; `pin` is below `pinCount`.
  public func setPin(_ pin: Int, _ level: Bool) {
    guard (0..<IOAPICCore.pinCount).contains(pin) else { return }
    if let message = core.setPin(pin, level) { fabric.deliver(message) }
  }

  /// The broadcast EOI of a level-triggered vector. A pin that is asserted still sends again.
  public func endOfInterrupt(_ vector: UInt8) {
    var pins = core.endOfInterrupt(vector)
    while pins != 0 {
      let pin = pins.trailingZeroBitCount
      pins &= pins &- 1
      if let message = core.service(pin) { fabric.deliver(message) }
    }
  }

  public func readMemory(offset: UInt64, size: Int) -> UInt64 {
    switch offset {
    case 0x00: UInt64(core.state.select)
    case 0x10: UInt64(core.readRegister())
    default: 0
    }
  }

  public func writeMemory(offset: UInt64, size: Int, value: UInt64) {
    switch offset {
    case 0x00: core.state.select = UInt8(truncatingIfNeeded: value)
    case 0x10:
      if let pin = core.writeRegister(UInt32(truncatingIfNeeded: value)), let message = core.service(pin) {
        fabric.deliver(message)
      }
    case 0x40: endOfInterrupt(UInt8(truncatingIfNeeded: value))
    default: break
    }
  }

  public func reset() {
    let pins = core.state.pins
    core.state = IOAPICCore.State()
    core.state.pins = pins
  }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "ioapic", version: 1, state: core.state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(IOAPICCore.State.self, kind: "ioapic", upTo: 1)
    try requireValid(loaded.redirection.count == IOAPICCore.pinCount, in: section, "it has 24 redirection entries")
    try requireValid(loaded.pins >> 24 == 0 && loaded.irr >> 24 == 0, in: section, "it has 24 pins")
    try requireValid(loaded.id & ~0x0F00_0000 == 0, in: section, "an id has four bits")
    core.state = loaded
  }

  public func pause() {}
  public func resume() {}
}
