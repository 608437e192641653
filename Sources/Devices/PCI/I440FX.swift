import GuestMemory
import SavedState

/// The host bridge 82441FX (PMC), at 00:00.0: programmable attribute map and system management RAM control.
///
/// Source: Intel 82440FX PCIset data sheet (290549), 3.2. Its subsystem ids are those by which SeaBIOS knows a virtual
/// board of this type.
public final class I440FX: PCIDevice, Device {
  /// Its configuration space.
  public struct State: Codable, Equatable, Sendable {
    var pci: PCIConfiguration.State
  }

  /// Programmable attribute map registers, 3.2.12.
  private static let pam = 0x59
  /// System management RAM control, 3.2.15.
  private static let smramControl = 0x72

  public let name = "i440fx"
  private let memory: PhysicalMemory

  /// Its PAM and SMRAM registers change the map of `memory`.
  public init(memory: PhysicalMemory, bus: PCIBus) {
    self.memory = memory
    super.init(
      name: "i440fx", identity: PCIIdentity(vendor: 0x8086, device: 0x1237, revision: 2, classCode: 0x060000))
    for register in 0..<7 { configuration.allow(Self.pam + register, mask: register == 0 ? 0x30 : 0x33) }
    configuration.allow(Self.smramControl, mask: 0x78)
    // PMCCFG, DRB and the like have no effect here; SeaBIOS and Linux only read them.
    configuration.allow(0x50, mask: 0xFF)
    configuration.allow(0x51, mask: 0xFF)
    setDefaults()
    bus.attach(self, slot: 0)
  }

  private func setDefaults() {
    configuration.set(PCIRegister.command, 0x06)
    configuration.set(PCIRegister.status, 0x80)
    configuration.set(PCIRegister.status + 1, 0x02)
    for register in 0..<7 { configuration.set(Self.pam + register, 0) }
    // C_BASE_SEG is hard-wired to A0000 (010).
    configuration.set(Self.smramControl, 0x02)
  }

  public override func writeConfiguration(_ offset: Int, size: Int, value: UInt32) {
    let old = configuration[Self.smramControl]
    configuration.write(offset, size: size, value: value)
    if old & 0x10 != 0 {
      // D_LCK: the register is fixed until reset, and D_OPEN is clear.
      configuration.set(Self.smramControl, old)
    } else if configuration[Self.smramControl] & 0x10 != 0 {
      configuration.set(Self.smramControl, configuration[Self.smramControl] & ~0x40)
    }
    configurationWritten(offset, size: size)
    if offset < Self.pam + 7 && offset + size > Self.pam
      || offset <= Self.smramControl && offset + size > Self.smramControl
    {
      applyMemoryMap()
    }
  }

  /// The pages a PAM nibble governs. Register 0's high nibble has the BIOS area, the others 16 KiB a nibble.
  private func pages(register: Int, high: Bool) -> Range<Int> {
    if register == 0 { return 0xF0..<0x100 }
    let first = 0xC0 + ((register - 1) * 2 + (high ? 1 : 0)) * 4
    return first..<(first + 4)
  }

  private func applyMemoryMap() {
    for register in 0..<7 {
      let value = configuration[Self.pam + register]
      for high in [false, true] where register != 0 || high {
        let bits = high ? value >> 4 : value
        let page = PhysicalMemory.LowPage(readRAM: bits & 1 != 0, writeRAM: bits & 2 != 0)
        memory.setLowPages(pages(register: register, high: high), page)
      }
    }
    // D_OPEN with G_SMRAME shows the RAM under the VGA window to everybody.
    let open = configuration[Self.smramControl] & 0x48 == 0x48
    memory.setLowPages(0xA0..<0xC0, PhysicalMemory.LowPage(readRAM: open, writeRAM: open))
  }

  public func reset() {
    resetPCI()
    setDefaults()
    applyMemoryMap()
  }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "i440fx", version: 1, state: State(pci: pciState))
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "i440fx", upTo: 1)
    try checkPCI(loaded.pci, in: section)
    restorePCI(loaded.pci)
    applyMemoryMap()
  }

  public func pause() {}
  public func resume() {}
}
