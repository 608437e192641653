import SavedState

/// PCI bus 0 behind configuration mechanism #1 (PCI 3.0, 3.2.2.3.2): CONFADD at 0xCF8, CONFDATA at 0xCFC.
///
/// Port 0xCF9 belongs to the reset control register, so byte accesses there never reach this device.
public final class PCIBus: Device, PortIO {
  /// The address register as a saved state holds it.
  public struct State: Codable, Equatable, Sendable {
    var address: UInt32 = 0
  }

  public let name = "pci"
  private var state = State()
  private var functions: [PCIDevice?] = Array(repeating: nil, count: 256)
  private var attached: [PCIDevice] = []
  /// Called when a function's INTx level or its masking changed: bit n is PIRQ n (A is 0).
  public var onPIRQ: (UInt8) -> Void = { _ in }

  /// An empty bus behind the ports CF8H to CFFH.
  public init(ports: PortBus) {
    ports.map(self, 0xCF8...0xCF8)
    ports.map(self, 0xCFA...0xCFF)
  }

  /// Puts a function on the bus. A taken place is a mistake of the board's, not the guest's.
  public func attach(_ device: PCIDevice, slot: Int, function: Int = 0) {
    precondition((0..<32).contains(slot) && (0..<8).contains(function))
    precondition(functions[slot << 3 | function] == nil, "PCI \(slot).\(function) is taken")
    functions[slot << 3 | function] = device
    attached.append(device)
    device.bus = self
    device.slot = slot
    device.function = function
  }

  /// The function there, if there is one.
  public func device(slot: Int, function: Int) -> PCIDevice? { functions[(slot & 31) << 3 | (function & 7)] }

  /// Recomputes the four PIRQ wires. A slot's INTA# goes to PIRQ (slot - 1) modulo 4, the next pins to the next
  /// wires, as SeaBIOS's and Linux's tables for this board have it.
  public func interruptsChanged() {
    var wires: UInt8 = 0
    for device in attached where device.drivesInterrupt && device.interruptPin != 0 {
      let wire = (device.slot - 1 + Int(device.interruptPin) - 1) & 3
      wires |= 1 << UInt8(wire)
    }
    onPIRQ(wires)
  }

  // MARK: Ports

  public func readPort(_ port: UInt16, size: Int) -> UInt32 {
    if port < 0xCFC {
      return port == 0xCF8 && size == 4 ? state.address : ones(size)
    }
    let offset = Int(state.address & 0xFC) | Int(port & 3)
    guard let device = selected, Int(port & 3) + size <= 4 else { return ones(size) }
    return device.readConfiguration(offset, size: size)
  }

  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    if port < 0xCFC {
      // Only a double word reaches the address register.
      if port == 0xCF8 && size == 4 { state.address = value & 0x80FF_FFFC }
      return
    }
    guard let device = selected, Int(port & 3) + size <= 4 else { return }
    device.writeConfiguration(Int(state.address & 0xFC) | Int(port & 3), size: size, value: value)
  }

  private func ones(_ size: Int) -> UInt32 { size == 4 ? .max : (1 &<< UInt32(size &* 8)) &- 1 }

  private var selected: PCIDevice? {
    guard state.address >> 31 == 1, state.address >> 16 & 0xFF == 0 else { return nil }
    return functions[Int(state.address >> 8 & 0xFF)]
  }

  // MARK: Device

  public func reset() { state = State() }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "pci-bus", version: 1, state: state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "pci-bus", upTo: 1)
    try requireValid(loaded.address & ~0x80FF_FFFC == 0, in: section, "the address register has reserved bits")
    state = loaded
  }

  public func pause() {}
  public func resume() {}
}
