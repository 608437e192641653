import SavedState

/// The ISA bridge 82371SB (PIIX3), function 0, at 00:01.0: it steers the four PCI interrupt wires to ISA interrupts.
///
/// Source: Intel 82371FB/82371SB data sheet (290550), 2.2.9 (PIRQRC). The reset control register is `ResetPorts`, the
/// edge/level control registers are the `InterruptControllerPair`'s.
public final class PIIX3: PCIDevice, Device {
  /// Its configuration space.
  public struct State: Codable, Equatable, Sendable {
    var pci: PCIConfiguration.State
    /// PIRQ A to D as bits 0 to 3.
    var wires: UInt8
  }

  private static let routeControl = 0x60

  public let name = "piix3"
  private let interrupts: InterruptWires
  private var wires: UInt8 = 0

  /// At slot 1 of the bus; it routes PCI's interrupts to ISA's.
  public init(bus: PCIBus, interrupts: InterruptWires) {
    self.interrupts = interrupts
    super.init(
      name: "piix3", identity: PCIIdentity(vendor: 0x8086, device: 0x7000, revision: 0, classCode: 0x060100),
      multifunction: true)
    for register in 0..<4 { configuration.allow(Self.routeControl + register, mask: 0x8F) }
    // ISA controller recovery, XBCS, top of memory, miscellaneous status, APIC base, DMA type and the like: kept for
    // whoever reads them back.
    for register in [0x4C, 0x4E, 0x4F, 0x69, 0x6A, 0x6B, 0x70, 0x76, 0x77, 0x78, 0x79, 0x80, 0x82] {
      configuration.allow(register, mask: 0xFF)
    }
    for register in 0xA0...0xAE { configuration.allow(register, mask: 0xFF) }
    setDefaults()
    bus.attach(self, slot: 1)
    bus.onPIRQ = { [unowned self] in self.setWires($0) }
  }

  private func setDefaults() {
    configuration.set(PCIRegister.command, 0x07)
    configuration.set(PCIRegister.status + 1, 0x02)
    configuration.set(0x4C, 0x4D)
    configuration.set(0x4E, 0x03)
    for register in 0..<4 { configuration.set(Self.routeControl + register, 0x80) }
    configuration.set(0x69, 0x02)
    configuration.set(0x70, 0x80)
    configuration.set(0x76, 0x0C)
    configuration.set(0x77, 0x0C)
    configuration.set(0x78, 0x02)
    configuration.set(0xA0, 0x08)
    configuration.set(0xA8, 0x0F)
  }

  private func setWires(_ value: UInt8) {
    guard value != wires else { return }
    wires = value
    route()
  }

  /// Drives each ISA interrupt with the OR of the wires steered to it.
  private func route() {
    var levels: UInt16 = 0
    for wire in 0..<4 where wires >> UInt8(wire) & 1 != 0 {
      let control = configuration[Self.routeControl + wire]
      if control & 0x80 == 0 { levels |= 1 << UInt16(control & 15) }
    }
    interrupts.setPCILevels(levels)
  }

  public override func configurationWritten(_ offset: Int, size: Int) {
    super.configurationWritten(offset, size: size)
    if offset < Self.routeControl + 4 && offset + size > Self.routeControl { route() }
  }

  public func reset() {
    resetPCI()
    setDefaults()
    route()
  }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "piix3", version: 1, state: State(pci: pciState, wires: wires))
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "piix3", upTo: 1)
    try checkPCI(loaded.pci, in: section)
    try requireValid(loaded.wires < 16, in: section, "there are four interrupt wires")
    restorePCI(loaded.pci)
    wires = loaded.wires
  }

  public func pause() {}
  public func resume() {}
}
