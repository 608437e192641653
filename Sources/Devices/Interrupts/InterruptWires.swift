import SavedState

/// The sixteen ISA interrupt wires: where devices and the PCI interrupt router meet the two controllers.
///
/// Wire n goes to 8259A input n and to I/O APIC pin n, but wire 0 to pin 2, as the firmware's tables say (the
/// interrupt source override for IRQ 0).
public final class InterruptWires: Device {
  /// The levels of the wires.
  public struct State: Codable, Equatable, Sendable {
    /// Driven by ISA devices, a bit a wire.
    var isa: UInt16 = 0
    /// Driven by the PCI interrupt router.
    var pci: UInt16 = 0
  }

  public let name = "interrupt-wires"
  private var state = State()
  private let pic: PIC8259
  private let ioapic: IOAPIC?

  public init(pic: PIC8259, ioapic: IOAPIC?) {
    self.pic = pic
    self.ioapic = ioapic
  }

  /// The end of wire `irq` that an ISA device holds. One device a wire: ISA interrupts are not shared.
  public func line(_ irq: Int) -> InterruptLine {
    precondition((0..<16).contains(irq))
    return InterruptLine { [unowned self] level in self.setISA(irq, level) }
  }

  /// Sets the level of an ISA interrupt, 0 to 15.
  public func setISA(_ irq: Int, _ level: Bool) {
    let bit = 1 as UInt16 &<< UInt16(irq)
    let old = state.isa | state.pci
    if level { state.isa |= bit } else { state.isa &= ~bit }
    changed(from: old)
  }

  /// Sets what PCI drives of the ISA interrupts: a bit for each of the sixteen.
  public func setPCILevels(_ levels: UInt16) {
    let old = state.isa | state.pci
    state.pci = levels
    changed(from: old)
  }

  private func changed(from old: UInt16) {
    let new = state.isa | state.pci
    var difference = old ^ new
    while difference != 0 {
      let irq = difference.trailingZeroBitCount
      difference &= difference &- 1
      let level = new &>> UInt16(irq) & 1 != 0
      if irq != 2 { pic.setInput(irq, level) }
      if irq != 2 { ioapic?.setPin(irq == 0 ? 2 : irq, level) }
    }
  }

  /// Every wire falls; the devices' own resets leave their lines low too.
  public func reset() {
    let old = state.isa | state.pci
    state = State()
    changed(from: old)
  }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "interrupt-wires", version: 1, state: state)
  }

  public func load(_ section: StateSection) throws {
    state = try section.decode(State.self, kind: "interrupt-wires", upTo: 1)
  }

  public func pause() {}
  public func resume() {}
}
