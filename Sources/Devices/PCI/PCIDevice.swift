import Foundation
import GuestMemory
import SavedState

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a base address register asks for (PCI 3.0, 6.2.5.1).
public enum PCIBarKind: Equatable, Sendable {
  case io
  case memory32(prefetchable: Bool)
  case memory64(prefetchable: Bool)
}

/// One PCI function. A device on the bus inherits from it, declares its BARs in its initialiser, and calls
/// `PCIBus.attach`. It is not itself a `Device`: the subclass conforms, and puts `pciState` into its own state.
///
/// Loading is in two steps, so that a refused state changes nothing: `checkPCI` first, `restorePCI` when all else has
/// been checked.
open class PCIDevice {
  /// What it is called in dumps and logs.
  public let pciName: String
  /// Its configuration space.
  public internal(set) var configuration: PCIConfiguration
  /// INTA# is 1; 0: none.
  public let interruptPin: UInt8
  /// The bus that it has been put on.
  public internal(set) weak var bus: PCIBus?
  /// Its device number on the bus, 0 to 31.
  public internal(set) var slot = 0
  /// Its function number, 0 to 7.
  public internal(set) var function = 0
  /// The pin's level as the device drives it; the command register's interrupt disable bit gates it.
  public private(set) var interruptLevel = false
  private var bars: [Bar] = []
  private var romBytes: UnsafeMutableRawPointer?

  private struct Bar {
    var index: Int  // 6: the expansion ROM
    var kind: PCIBarKind
    var size: UInt64
    var onMap: (UInt64) -> Void
    var onUnmap: (UInt64) -> Void
    var mapped: UInt64?
    var register: Int { index == 6 ? PCIRegister.expansionROM : PCIRegister.bar0 + index * 4 }
  }

  public init(name: String, identity: PCIIdentity, interruptPin: UInt8 = 0, multifunction: Bool = false) {
    pciName = name
    self.interruptPin = interruptPin
    configuration = PCIConfiguration(identity, interruptPin: interruptPin, multifunction: multifunction)
  }

  deinit { free(romBytes) }

  // MARK: What a subclass may refine

  /// After a guest's write to configuration space; `offset` and `size` are as written. Call super first.
  open func configurationWritten(_ offset: Int, size: Int) {
    let end = offset + size
    let touchesHeader = offset < PCIRegister.command + 2 && end > PCIRegister.command
    let touchesBars = offset < PCIRegister.expansionROM + 4 && end > PCIRegister.bar0
    if touchesHeader || touchesBars { updateMappings() }
    if touchesHeader { bus?.interruptsChanged() }
  }

  /// A guest's read of configuration space. The default answers from `configuration`.
  open func readConfiguration(_ offset: Int, size: Int) -> UInt32 { configuration.read(offset, size: size) }

  /// The guest writes 1, 2 or 4 bytes. What the write moves (BARs, the interrupt) moves at once.
  open func writeConfiguration(_ offset: Int, size: Int, value: UInt32) {
    configuration.write(offset, size: size, value: value)
    configurationWritten(offset, size: size)
  }

  // MARK: BARs

  /// Declares a BAR. `size` is a power of two. The callbacks get the address at which the guest mapped it.
  public func addBar(
    _ index: Int, _ kind: PCIBarKind, size: UInt64, onMap: @escaping (UInt64) -> Void,
    onUnmap: @escaping (UInt64) -> Void
  ) {
    precondition((0...5).contains(index) && size >= 4 && size & (size - 1) == 0)
    bars.append(Bar(index: index, kind: kind, size: size, onMap: onMap, onUnmap: onUnmap, mapped: nil))
    let register = PCIRegister.bar0 + index * 4
    switch kind {
    case .io:
      configuration.set32(register, 1)
      configuration.allow32(register, mask: UInt32(truncatingIfNeeded: ~(size - 1)) & 0xFFFF_FFFC)
    case .memory32(let prefetchable):
      configuration.set32(register, prefetchable ? 8 : 0)
      configuration.allow32(register, mask: UInt32(truncatingIfNeeded: ~(size - 1)) & 0xFFFF_FFF0)
    case .memory64(let prefetchable):
      configuration.set32(register, prefetchable ? 0xC : 4)
      configuration.allow32(register, mask: UInt32(truncatingIfNeeded: ~(size - 1)) & 0xFFFF_FFF0)
      configuration.allow32(register + 4, mask: UInt32(truncatingIfNeeded: ~(size - 1) >> 32))
    }
  }

  /// Declares an I/O BAR whose ports `device` answers; it finds its base with `barAddress`.
  public func addIOBar(_ index: Int, size: UInt64, ports: PortBus, device: @escaping () -> any PortIO) {
    addBar(
      index, .io, size: size,
      onMap: { base in
        let first = UInt16(truncatingIfNeeded: base)
        ports.map(device(), first...(first &+ UInt16(size - 1)))
      },
      onUnmap: { base in
        let first = UInt16(truncatingIfNeeded: base)
        ports.unmap(device(), first...(first &+ UInt16(size - 1)))
      })
  }

  /// Declares a memory BAR that `device` answers, under the region name "<pciName>.bar<index>".
  public func addMemoryBar(
    _ index: Int, _ kind: PCIBarKind = .memory32(prefetchable: false), size: UInt64, memory: PhysicalMemory,
    device: @escaping () -> any MemoryMappedIO
  ) {
    let region = "\(pciName).bar\(index)"
    addBar(
      index, kind, size: size,
      onMap: { base in memory.mapIO(device(), name: region, start: base, length: size) },
      onUnmap: { _ in memory.unmap(name: region) })
  }

  /// Declares the expansion ROM (PCI 3.0, 6.2.5.2), padded to a power of two of at least 2 KiB. It is made to name this device.
  public func setExpansionROM(_ image: [UInt8], memory: PhysicalMemory) {
    guard !image.isEmpty, romBytes == nil, image.count <= 16 << 20 else { return }
    let image = ExpansionROM.image(
      image, vendor: configuration.word(PCIRegister.vendorID), device: configuration.word(PCIRegister.deviceID))
    var size = 4096
    while size < image.count { size *= 2 }
    var bytes: UnsafeMutableRawPointer?
    guard posix_memalign(&bytes, 4096, size) == 0, let bytes else { return }
    memset(bytes, 0xFF, size)
    image.withUnsafeBytes { bytes.copyMemory(from: $0.baseAddress!, byteCount: image.count) }
    romBytes = bytes
    let region = "\(pciName).rom"
    bars.append(
      Bar(
        index: 6, kind: .memory32(prefetchable: false), size: UInt64(size),
        onMap: { base in memory.mapROM(bytes, name: region, start: base, length: UInt64(size)) },
        onUnmap: { _ in memory.unmap(name: region) }, mapped: nil))
    configuration.allow32(PCIRegister.expansionROM, mask: ~UInt32(size - 1) | 1)
  }

  /// Where the guest has mapped a BAR, or nil while it is not decoded.
  public func barAddress(_ index: Int) -> UInt64? { bars.first { $0.index == index }?.mapped }

  /// The command register.
  public var command: PCICommand { PCICommand(rawValue: configuration.word(PCIRegister.command)) }

  /// Brings the decoders in line with BARs and command register.
  public func updateMappings() {
    for index in bars.indices {
      let wanted = decodedAddress(bars[index])
      guard wanted != bars[index].mapped else { continue }
      if let old = bars[index].mapped {
        bars[index].mapped = nil
        bars[index].onUnmap(old)
      }
      if let wanted {
        bars[index].mapped = wanted
        bars[index].onMap(wanted)
      }
    }
  }

  /// The address a BAR decodes, or nil: decoding off, address 0, or one that still holds the sizing pattern.
  private func decodedAddress(_ bar: Bar) -> UInt64? {
    let low = configuration.long(bar.register)
    switch bar.kind {
    case .io:
      guard command.contains(.ioSpace) else { return nil }
      let base = UInt64(low & ~3) & ~(bar.size - 1)
      guard base != 0, base + bar.size <= 0x10000 else { return nil }
      return base
    case .memory32, .memory64:
      guard command.contains(.memorySpace) else { return nil }
      if bar.index == 6 && low & 1 == 0 { return nil }
      var base = UInt64(low & ~0xF) & ~(bar.size - 1)
      var limit: UInt64 = 1 << 32
      if case .memory64 = bar.kind {
        base |= UInt64(configuration.long(bar.register + 4)) << 32
        limit = 1 << 46
      }
      // An all-ones address, which would end at the top of the space, is the middle of a sizing.
      guard base != 0, base < limit, base + bar.size < limit else { return nil }
      return base
    }
  }

  // MARK: Interrupt

  /// Drives the function's INTx pin (level-triggered, shared).
  public func setInterrupt(_ level: Bool) {
    guard level != interruptLevel else { return }
    interruptLevel = level
    var status = configuration[PCIRegister.status]
    if level { status |= 8 } else { status &= ~8 }
    configuration.set(PCIRegister.status, status)
    bus?.interruptsChanged()
  }

  /// What the pin shows the bus.
  public var drivesInterrupt: Bool { interruptLevel && !command.contains(.interruptDisable) }

  // MARK: State

  /// Clears the header and unmaps the BARs. A subclass calls it from its `reset`.
  public func resetPCI() {
    configuration.reset()
    updateMappings()
    setInterrupt(false)
  }

  /// The configuration space, as the device's saved state holds it.
  public var pciState: PCIConfiguration.State {
    PCIConfiguration.State(bytes: Data(configuration.bytes), interrupt: interruptLevel)
  }

  /// Throws when `state` cannot be this function's; changes nothing.
  public func checkPCI(_ state: PCIConfiguration.State, in section: StateSection) throws(SavedStateError) {
    guard configuration.accepts(state.bytes) else {
      throw .corrupt("section \(section.name): its PCI configuration space is not this device's")
    }
  }

  /// Takes a checked state over and maps the BARs where it has them. The pin gets its level without an edge.
  public func restorePCI(_ state: PCIConfiguration.State) {
    configuration.replace(state.bytes)
    interruptLevel = state.interrupt
    updateMappings()
  }
}
