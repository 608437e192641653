import GuestMemory
import SavedState

/// The registers behind one BAR of the test device: a header that says which access is to be tried, and the place where it is
/// to be tried. Little-endian.
///
/// | offset | bytes | |
/// |---|---|---|
/// | 0 | 1 | write: begins the test of this number |
/// | 1 | 1 | width of the access in bytes: 1, 2 or 4; 0: there is no such test |
/// | 4 | 4 | where in the BAR |
/// | 8 | 4 | the value to write |
/// | 12 | 4 | how many such writes have arrived since the test began |
/// | 16 | up to 16 | the test's name, ended by 0 |
struct PCITestCore {
  struct State: Codable, Equatable, Sendable {
    var test: UInt8 = 0
    var count: UInt32 = 0
  }

  static let widths = [1, 2, 4]
  static let data: UInt32 = 0x1234_56FA
  let name: String
  /// Where the tests' writes go.
  let place: Int
  var state = State()

  private var width: Int { Int(state.test) < Self.widths.count ? Self.widths[Int(state.test)] : 0 }

  private var header: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 32)
    bytes[0] = state.test
    bytes[1] = UInt8(width)
    for (offset, value) in [(4, UInt32(place)), (8, Self.data), (12, state.count)] {
      for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(index * 8)) }
    }
    if width != 0 { bytes.replaceSubrange(16..., with: Array("\(name)-\(width)".utf8.prefix(15)) + [0]) }
    return bytes
  }

  /// - Parameter size: 1, 2, 4 or 8. Beyond the header everything reads as zero.
  func read(_ offset: Int, size: Int) -> UInt64 {
    let bytes = header
    return (0..<size).reduce(0) { value, index in
      let place = offset + index
      return place < bytes.count ? value | UInt64(bytes[place]) << UInt64(index * 8) : value
    }
  }

  mutating func write(_ offset: Int, size: Int, _ value: UInt64) {
    if offset == 0 {
      state = State(test: UInt8(truncatingIfNeeded: value), count: 0)
    } else if offset == place && size == width {
      let mask = UInt64.max >> UInt64(64 - size * 8)
      if value == UInt64(Self.data) & mask { state.count &+= 1 }
    }
  }
}

/// A PCI device on which a test guest tries accesses: BAR 0 in memory (4 KiB), BAR 1 in ports (256), each with the same
/// registers (`PCITestCore`). Off unless the definition says `test-device on`.
///
/// Source: QEMU, docs/specs/pci-testdev.rst; ids and header are its own, so that guests made for it (kvm-unit-tests) find it.
public final class PCITestDevice: PCIDevice, Device, PortIO, MemoryMappedIO {
  /// Configuration space and the two sets of registers, as a saved state holds them.
  public struct State: Codable, Equatable, Sendable {
    var pci: PCIConfiguration.State
    var memory: PCITestCore.State
    var ports: PCITestCore.State
  }

  public let name = "test-device"
  private var memoryCore = PCITestCore(name: "mmio", place: 2048)
  private var portCore = PCITestCore(name: "portio", place: 128)

  /// Puts itself on the bus.
  public init(memory: PhysicalMemory, ports: PortBus, on bus: PCIBus, slot: Int) {
    super.init(
      name: "test-device", identity: PCIIdentity(vendor: 0x1B36, device: 0x0005, revision: 0, classCode: 0x00FF00))
    addMemoryBar(0, size: 4096, memory: memory) { [unowned self] in self }
    addIOBar(1, size: 256, ports: ports) { [unowned self] in self }
    bus.attach(self, slot: slot)
  }

  // MARK: Accesses

  public func readMemory(offset: UInt64, size: Int) -> UInt64 { memoryCore.read(Int(offset), size: size) }

  public func writeMemory(offset: UInt64, size: Int, value: UInt64) {
    memoryCore.write(Int(offset), size: size, value)
  }

  public func readPort(_ port: UInt16, size: Int) -> UInt32 {
    UInt32(truncatingIfNeeded: portCore.read(offset(of: port), size: size))
  }

  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    portCore.write(offset(of: port), size: size, UInt64(value))
  }

  /// The BAR's size is 256 and its base a multiple of that.
  private func offset(of port: UInt16) -> Int { Int(port & 0xFF) }

  // MARK: Device

  public func reset() {
    resetPCI()
    memoryCore.state = PCITestCore.State()
    portCore.state = PCITestCore.State()
  }

  public func save() throws -> StateSection {
    try StateSection(
      name: name, kind: "pci-test-device", version: 1,
      state: State(pci: pciState, memory: memoryCore.state, ports: portCore.state))
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "pci-test-device", upTo: 1)
    try checkPCI(loaded.pci, in: section)
    memoryCore.state = loaded.memory
    portCore.state = loaded.ports
    restorePCI(loaded.pci)
  }

  public func pause() {}
  public func resume() {}
}
