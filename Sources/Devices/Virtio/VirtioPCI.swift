import Foundation
import GuestMemory
import SavedState

/// A virtio device as a PCI function: registers, queues, interrupts, and when what is in the queues is looked at. What a
/// device does with it is its subclass's.
///
/// It is transitional: drivers of version 1 find its registers in BAR 4 by capabilities (virtio 1.2, 4.1.4), those from
/// before it in the ports of BAR 0 (4.1.4.10). BAR 1 holds the table of MSI-X; without that, interrupts come by INTA#.
///
/// The machine lock is held for a bounded time whatever is in the rings: a subclass stops after a share of work and calls
/// `goOnLater`.
public class VirtioPCI: PCIDevice {
  /// What the device is (5).
  struct Kind {
    /// 1 network, 2 block, 3 console, 4 entropy.
    var type: UInt16
    /// As a transitional device.
    var deviceID: UInt16
    var classCode: UInt32
    var features: VirtioFeatures
    var queueSizes: [UInt16]
    /// Bytes of its configuration.
    var configurationBytes: Int
  }

  let memory: PhysicalMemory
  let clock: GuestClock
  private(set) var transport: VirtioTransportCore
  private var msix: MSIXCore
  private let fabric: InterruptFabric
  private let kind: Kind
  private(set) var isPaused = false
  private var timer: ClockTimer?
  private var windows: [Window] = []

  /// Parts of BAR 4.
  private enum Part {
    static let common = 0x0000
    static let interrupts = 0x1000
    static let device = 0x2000
    static let notify = 0x3000
    static let size = 0x4000
  }
  /// Places of the capabilities in configuration space.
  private enum Capability {
    static let msix = 0x40
    static let common = 0x50
    static let interrupts = 0x60
    static let device = 0x70
    static let notify = 0x80
    /// With BAR, offset and length at 4, 8 and 12, and the data at 16.
    static let access = 0xA0
  }
  /// Legacy ports, with the device's configuration behind them.
  private static let legacyPorts: UInt64 = 128

  init(
    name: String, _ kind: Kind, memory: PhysicalMemory, ports: PortBus, clock: GuestClock, fabric: InterruptFabric
  ) {
    precondition(kind.configurationBytes + VirtioTransportCore.Legacy.deviceStart(hasVectors: true) <= 128)
    self.kind = kind
    self.memory = memory
    self.clock = clock
    self.fabric = fabric
    let vectors = kind.queueSizes.count + 1
    transport = VirtioTransportCore(offered: kind.features, queueSizes: kind.queueSizes, vectors: vectors)
    msix = MSIXCore(vectors: vectors)
    super.init(
      name: name,
      identity: PCIIdentity(
        vendor: 0x1AF4, device: kind.deviceID, revision: 0, classCode: kind.classCode, subsystemVendor: 0x1AF4,
        subsystem: kind.type), interruptPin: 1)
    addCapabilities(vectors: vectors)
    let legacy = Window(
      read: { [unowned self] in UInt64(readLegacy($0, size: $1)) },
      write: { [unowned self] in writeLegacy($0, size: $1, UInt32(truncatingIfNeeded: $2)) })
    let table = Window(
      read: { [unowned self] in readTable($0, size: $1) }, write: { [unowned self] in writeTable($0, size: $1, $2) })
    let modern = Window(
      read: { [unowned self] in readPart($0, size: $1) }, write: { [unowned self] in writePart($0, size: $1, $2) })
    windows = [legacy, table, modern]
    addIOBar(0, size: Self.legacyPorts, ports: ports) { legacy }
    addMemoryBar(1, size: 0x1000, memory: memory) { table }
    addMemoryBar(4, size: UInt64(Part.size), memory: memory) { modern }
    timer = clock.makeTimer { [unowned self] in serveAll() }
  }

  private func addCapabilities(vectors: Int) {
    configuration.set(PCIRegister.status, 0x10)
    configuration.set(PCIRegister.capabilities, UInt8(Capability.msix))
    // MSI-X: table and pending bits in BAR 1 (PCI 3.0, 6.8.2).
    configuration.set32(Capability.msix, 0x11 | UInt32(Capability.common) << 8 | UInt32(vectors - 1) << 16)
    configuration.allow(Capability.msix + 3, mask: 0xC0)
    configuration.set32(Capability.msix + 4, 1)
    configuration.set32(Capability.msix + 8, UInt32(MSIXCore.pendingOffset) | 1)
    // Type 1 to 5: where the parts of BAR 4 are.
    add(Capability.common, 1, next: Capability.interrupts, at: Part.common, length: 0x38)
    // A part of no length is none: drivers refuse the device for it.
    let device = kind.configurationBytes > 0 ? Capability.device : Capability.notify
    add(Capability.interrupts, 3, next: device, at: Part.interrupts, length: 1)
    if kind.configurationBytes > 0 {
      add(Capability.device, 4, next: Capability.notify, at: Part.device, length: kind.configurationBytes)
    }
    add(Capability.notify, 2, next: Capability.access, at: Part.notify, length: 4 * kind.queueSizes.count, bytes: 20)
    configuration.set32(Capability.notify + 16, 4)  // bytes from one queue's place to the next one's
    add(Capability.access, 5, next: 0, at: 0, length: 0, bytes: 20)
    configuration.allow(Capability.access + 4, mask: 0xFF)
    configuration.allow32(Capability.access + 8, mask: .max)
    configuration.allow32(Capability.access + 12, mask: .max)
  }

  private func add(_ place: Int, _ type: UInt32, next: Int, at offset: Int, length: Int, bytes: UInt32 = 16) {
    configuration.set32(place, 0x09 | UInt32(next) << 8 | bytes << 16 | type << 24)
    configuration.set32(place + 4, type == 5 ? 0 : 4)
    configuration.set32(place + 8, UInt32(offset))
    configuration.set32(place + 12, UInt32(length))
  }

  // MARK: What a subclass is

  /// The device's configuration, as long as `Kind.configurationBytes`.
  var deviceConfiguration: [UInt8] { [] }
  /// The driver writes a byte of it.
  func writeDeviceConfiguration(_ offset: Int, _ value: UInt8) {}
  /// Looks into a queue. Called only while `canServe`.
  func serve(_ queue: Int) {}
  /// The driver has reset the device.
  func resetDevice() {}
  /// The device needs a reset.
  func brokeDown() {}

  // MARK: Queues

  /// The driver is ready, the machine runs, and the device may reach memory (PCI 3.0, 6.2.2).
  var canServe: Bool { transport.isReady && !isPaused && command.contains(.busMaster) }

  var features: VirtioFeatures { transport.features }

  func isEnabled(_ queue: Int) -> Bool { transport.queues[queue].state.isEnabled }

  /// The next chain of a queue; nil when there is none. A ring that cannot be makes the device need a reset.
  func take(_ queue: Int) -> VirtioChain? {
    guard transport.isReady, isEnabled(queue) else { return nil }
    do {
      return try transport.withQueue(queue) { try $0.take(memory, $1) }
    } catch {
      breakDown()
      return nil
    }
  }

  /// As `take`; where there is none, the driver is asked to say when there is one.
  func next(_ queue: Int) -> VirtioChain? {
    if let chain = take(queue) { return chain }
    setWantsNotices(queue, true)
    // The driver may have put something there before it saw that.
    return take(queue)
  }

  /// How many chains wait.
  func waiting(_ queue: Int) -> Int {
    guard transport.isReady, isEnabled(queue) else { return 0 }
    do {
      return try transport.withQueue(queue) { queue, _ in try queue.waiting(memory) }
    } catch {
      breakDown()
      return 0
    }
  }

  func untake(_ queue: Int, _ count: Int) { transport.withQueue(queue) { queue, _ in queue.untake(count) } }

  /// Gives a chain back to the driver. `tell` says so afterwards.
  func give(_ queue: Int, _ head: UInt16, written: Int) { give(queue, [(head, written)]) }

  /// Gives chains back that the driver sees all at once.
  func give(_ queue: Int, _ chains: [(head: UInt16, written: Int)]) {
    transport.withQueue(queue) { queue, _ in
      for (index, chain) in chains.enumerated() {
        queue.put(chain.head, written: chain.written, ahead: index, memory)
      }
      queue.publish(chains.count, memory)
    }
  }

  /// Raises the queue's interrupt, if the driver wants one for what was given back.
  func tell(_ queue: Int) {
    guard transport.withQueue(queue, { $0.driverWantsInterrupt(memory, $1) }) else { return }
    interrupt(vector: transport.queues[queue].state.vector, status: 1)
  }

  func setWantsNotices(_ queue: Int, _ isWanted: Bool) {
    guard transport.isReady, isEnabled(queue) else { return }
    transport.withQueue(queue) { $0.setWantsNotices(isWanted, memory, $1) }
  }

  /// A ring holds what cannot be, or a driver has broken a rule: nothing goes on until a reset (2.1.2).
  func breakDown() {
    guard !transport.state.status.contains(.needsReset) else { return }
    let wasReady = transport.isReady
    transport.setNeedsReset()
    if wasReady { interrupt(vector: transport.state.configurationVector, status: 2) }
    brokeDown()
  }

  /// The device's configuration has changed by itself.
  func configurationChanged() {
    transport.configurationChanged()
    if transport.isReady { interrupt(vector: transport.state.configurationVector, status: 2) }
  }

  /// Nanoseconds between two shares of work: the machine lock is others' meanwhile.
  static let breather: UInt64 = 50_000

  /// Has `serve` called for all queues when others have had their turn.
  func goOnLater() { timer?.arm(at: clock.now &+ Self.breather) }

  /// Looks into every queue.
  func serveAll() {
    for queue in kind.queueSizes.indices where canServe && isEnabled(queue) { serve(queue) }
  }

  private func notified(_ queue: Int) {
    guard canServe, isEnabled(queue) else { return }
    serve(queue)
  }

  // MARK: Interrupts

  private var usesMSIX: Bool { msixControl & MSIXCore.enable != 0 }
  private var msixControl: UInt16 { configuration.word(Capability.msix + 2) }

  private func interrupt(vector: UInt16, status: UInt8) {
    if usesMSIX {
      if let message = msix.raise(Int(vector), control: msixControl) { send(message) }
    } else {
      transport.raise(status)
      setInterrupt(true)
    }
  }

  private func send(_ message: MSIXCore.Message) {
    // A message is a write like any other; interrupts are what lies in the APICs' window (SDM vol. 3A, 11.11.1).
    if message.address >> 20 == 0xFEE {
      fabric.messageSignalled(address: message.address, data: message.data)
    } else if command.contains(.busMaster) {
      memory.write(message.address, message.data)
    }
  }

  private func sendReleased() { for message in msix.released(control: msixControl) { send(message) } }

  // MARK: Registers

  private func perform(_ effect: VirtioTransportCore.Effect) {
    switch effect {
    case .none: break
    case .reset:
      timer?.cancel()
      setInterrupt(false)
      resetDevice()
    case .notify(let queue): notified(queue)
    case .ready: serveAll()
    }
  }

  private func readDevice(_ offset: Int, size: Int) -> UInt64 {
    let bytes = deviceConfiguration
    return (0..<size).reduce(0) {
      let place = offset + $1
      return place < bytes.count ? $0 | UInt64(bytes[place]) << UInt64($1 * 8) : $0
    }
  }

  private func writeDevice(_ offset: Int, size: Int, _ value: UInt64) {
    for index in 0..<size where offset + index < kind.configurationBytes {
      writeDeviceConfiguration(offset + index, UInt8(truncatingIfNeeded: value >> UInt64(index * 8)))
    }
  }

  private func readInterrupts() -> UInt64 {
    let value = transport.takeInterrupts()
    setInterrupt(false)
    return UInt64(value)
  }

  private func readPart(_ offset: Int, size: Int) -> UInt64 {
    switch offset & ~0xFFF {
    case Part.common: transport.readCommon(offset, size: size)
    case Part.interrupts: offset == Part.interrupts ? readInterrupts() : 0
    case Part.device: readDevice(offset - Part.device, size: size)
    default: 0
    }
  }

  private func writePart(_ offset: Int, size: Int, _ value: UInt64) {
    switch offset & ~0xFFF {
    case Part.common: perform(transport.writeCommon(offset, size: size, value))
    case Part.device: writeDevice(offset - Part.device, size: size, value)
    case Part.notify:
      let queue = (offset - Part.notify) / 4
      if queue < kind.queueSizes.count { notified(queue) }
    default: break
    }
  }

  private func readLegacy(_ port: Int, size: Int) -> UInt32 {
    let offset = port & Int(Self.legacyPorts - 1)
    let start = VirtioTransportCore.Legacy.deviceStart(hasVectors: usesMSIX)
    guard offset < start else { return UInt32(truncatingIfNeeded: readDevice(offset - start, size: size)) }
    if offset == VirtioTransportCore.Legacy.interrupts { return UInt32(readInterrupts()) }
    return transport.readLegacy(offset, size: size)
  }

  private func writeLegacy(_ port: Int, size: Int, _ value: UInt32) {
    let offset = port & Int(Self.legacyPorts - 1)
    let start = VirtioTransportCore.Legacy.deviceStart(hasVectors: usesMSIX)
    if offset < start {
      perform(transport.writeLegacy(offset, size: size, value))
    } else {
      writeDevice(offset - start, size: size, UInt64(value))
    }
  }

  private func readTable(_ offset: Int, size: Int) -> UInt64 {
    if size == 8 { return UInt64(msix.read(offset)) | UInt64(msix.read(offset + 4)) << 32 }
    return UInt64(msix.read(offset & ~3)) >> UInt64((offset & 3) * 8)
  }

  private func writeTable(_ offset: Int, size: Int, _ value: UInt64) {
    guard size >= 4 else { return }
    msix.write(offset, UInt32(truncatingIfNeeded: value))
    if size == 8 { msix.write(offset + 4, UInt32(truncatingIfNeeded: value >> 32)) }
    sendReleased()
  }

  // MARK: Configuration space

  public override func configurationWritten(_ offset: Int, size: Int) {
    super.configurationWritten(offset, size: size)
    if offset & ~3 == Capability.msix {
      // With MSI-X the pin is out of use.
      if usesMSIX { setInterrupt(false) }
      sendReleased()
    }
    // What was put into the rings before the device might reach memory.
    if offset < PCIRegister.command + 2, offset + size > PCIRegister.command { serveAll() }
    if offset & ~3 == Capability.access + 16 { access { writePart($0, size: $1, UInt64($2)) } }
  }

  public override func readConfiguration(_ offset: Int, size: Int) -> UInt32 {
    if offset & ~3 == Capability.access + 16 {
      access { place, size, _ in
        configuration.set32(Capability.access + 16, UInt32(truncatingIfNeeded: readPart(place, size: size)))
      }
    }
    return super.readConfiguration(offset, size: size)
  }

  public override func writeConfiguration(_ offset: Int, size: Int, value: UInt32) {
    if offset == Capability.access + 16 { configuration.set32(offset, value) }
    super.writeConfiguration(offset, size: size, value: value)
  }

  /// An access to BAR 4 by way of configuration space (4.1.4.9), for who cannot reach memory yet.
  private func access(_ body: (Int, Int, UInt32) -> Void) {
    let (place, size) = (configuration.long(Capability.access + 8), configuration.long(Capability.access + 12))
    guard configuration[Capability.access + 4] == 4, [1, 2, 4].contains(size), place & (size - 1) == 0,
      place < UInt32(Part.size)
    else { return }
    body(Int(place), Int(size), configuration.long(Capability.access + 16))
  }

  // MARK: Device

  /// Power-on and the system's reset; a subclass's `reset` calls it.
  func resetFunction() {
    resetPCI()
    transport.reset()
    msix.reset()
    timer?.cancel()
    resetDevice()
  }

  public func pause() { isPaused = true }

  public func resume() {
    guard isPaused else { return }
    isPaused = false
    serveAll()
  }

  struct FunctionState: Codable {
    var pci: PCIConfiguration.State
    var transport: VirtioTransportCore.State
    var msix: MSIXCore.State
  }

  var functionState: FunctionState {
    FunctionState(pci: pciState, transport: transport.saved, msix: msix.state)
  }

  /// Throws when `state` cannot be this function's; changes nothing.
  func check(_ state: FunctionState, in section: StateSection) throws {
    try checkPCI(state.pci, in: section)
    try requireValid(transport.accepts(state.transport), in: section, "the registers of a virtio device")
    try requireValid(msix.accepts(state.msix), in: section, "the table of MSI-X")
  }

  /// Takes a checked state over. The machine stands still; what waits in the rings is looked at when it goes on.
  func restore(_ state: FunctionState) {
    restorePCI(state.pci)
    transport.restore(state.transport)
    msix.state = state.msix
    timer?.cancel()
    isPaused = true
  }
}

/// What answers a BAR: ports and memory alike.
private final class Window: MemoryMappedIO, PortIO {
  private let read: (Int, Int) -> UInt64
  private let write: (Int, Int, UInt64) -> Void

  /// - Parameters: read: of offset and size. write: of offset, size and value.
  init(read: @escaping (Int, Int) -> UInt64, write: @escaping (Int, Int, UInt64) -> Void) {
    self.read = read
    self.write = write
  }

  func readMemory(offset: UInt64, size: Int) -> UInt64 { read(Int(offset), size) }
  func writeMemory(offset: UInt64, size: Int, value: UInt64) { write(Int(offset), size, value) }
  /// The offset is the port: a BAR's base is a multiple of its size.
  func readPort(_ port: UInt16, size: Int) -> UInt32 { UInt32(truncatingIfNeeded: read(Int(port), size)) }
  func writePort(_ port: UInt16, size: Int, value: UInt32) { write(Int(port), size, UInt64(value)) }
}
