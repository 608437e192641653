import SavedState

/// The reset control register at 0xCF9 (PIIX3 data sheet, 2.5.9) and the fast A20 and reset port 0x92.
public final class ResetPorts: Device, BytePortIO {
  /// The bytes last written to the two ports.
  public struct State: Codable, Equatable, Sendable {
    var control: UInt8 = 0
    var fast: UInt8 = 0x02
  }

  public let name = "reset-ports"
  private var state = State()
  /// The guest asks for a reset of the machine.
  public var onReset: () -> Void = {}
  /// A20 by port 0x92.
  public var onA20: (Bool) -> Void = { _ in }

  /// At ports 92H and CF9H.
  public init(ports: PortBus) {
    ports.map(self, 0xCF9...0xCF9)
    ports.map(self, 0x92...0x92)
  }

  /// The 8042 switched A20: port 0x92 reads it back.
  public func a20Changed(_ on: Bool) {
    if on { state.fast |= 2 } else { state.fast &= ~2 }
  }

  public func readByte(_ port: UInt16) -> UInt8 { port == 0x92 ? state.fast : state.control }

  public func writeByte(_ port: UInt16, _ value: UInt8) {
    if port == 0x92 {
      let old = state.fast
      state.fast = value & 0x03 & ~1
      if (old ^ state.fast) & 2 != 0 { onA20(state.fast & 2 != 0) }
      if value & 1 != 0 && old & 1 == 0 { onReset() }
      return
    }
    // RCPU resets when it goes from 0 to 1.
    let rises = value & 4 != 0 && state.control & 4 == 0
    state.control = value & 0x02
    if rises { onReset() }
  }

  public func reset() { state = State() }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "reset-ports", version: 1, state: state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "reset-ports", upTo: 1)
    try requireValid(loaded.control & ~2 == 0 && loaded.fast & ~2 == 0, in: section, "reserved bits are set")
    state = loaded
  }

  public func pause() {}
  public func resume() {}
}
