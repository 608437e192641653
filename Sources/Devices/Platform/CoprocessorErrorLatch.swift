import SavedState

/// The AT's latch between FERR# and IRQ 13: set by an unmasked x87 error, cleared by any write to port 0xF0 (PIIX3 data
/// sheet, 2.5.5: coprocessor error register).
public final class CoprocessorErrorLatch: Device, PortIO {
  /// Whether IRQ 13 is asserted.
  public struct State: Codable, Equatable, Sendable {
    var line = false
  }

  public let name = "coprocessor-error"
  private let irq: InterruptLine

  /// At port F0H; `irq` is the line of interrupt 13.
  public init(ports: PortBus, irq: InterruptLine) {
    self.irq = irq
    ports.map(self, 0xF0...0xF1)
  }

  /// FERR# was asserted.
  public func raise() { irq.set(true) }

  public func readPort(_ port: UInt16, size: Int) -> UInt32 { size == 4 ? .max : (1 << UInt32(size * 8)) - 1 }
  public func writePort(_ port: UInt16, size: Int, value: UInt32) { irq.set(false) }

  public func reset() { irq.set(false) }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "coprocessor-error", version: 1, state: State(line: irq.level))
  }

  public func load(_ section: StateSection) throws {
    irq.restore(try section.decode(State.self, kind: "coprocessor-error", upTo: 1).line)
  }

  public func pause() {}
  public func resume() {}
}
