import GuestMemory
import SavedState

/// The Intel 82540EM as a PCI function (8086:100E): registers in BAR 0, and through an address and a data port in BAR 2.
///
/// Source: Intel's manual (317453), 4.1 (configuration space), 13.2.3 (access by I/O). See `E1000Core` for the registers.
public final class E1000: PCIDevice, NetworkCard, MemoryMappedIO, PortIO {
  public let name: String
  public let address: MACAddress
  public var onReceiveRoom: () -> Void = {}
  public var wireHasRoom: () -> Bool = { true }
  public var onSend: ([UInt8]) -> Void = { _ in }

  private var core: E1000Core
  private let memory: PhysicalMemory
  private let clock: GuestClock
  private var timer: ClockTimer?
  private var isPaused = false
  /// Register that the data port reaches (IOADDR).
  private var portAddress: UInt32 = 0
  /// A frame was refused and its sender waits.
  private var isRefusing = false
  /// There is more to send than one turn does.
  private var isSending = false

  /// - Parameter name: "nic1".
  public init(
    name: String, address: MACAddress, hasCarrier: Bool = true, memory: PhysicalMemory, ports: PortBus,
    clock: GuestClock
  ) {
    self.name = name
    self.address = address
    self.memory = memory
    self.clock = clock
    core = E1000Core(address: address, hasCarrier: hasCarrier)
    super.init(
      name: name,
      identity: PCIIdentity(
        vendor: 0x8086, device: E1000Core.deviceID, revision: 2, classCode: 0x020000, subsystemVendor: 0x8086,
        subsystem: 0x001E), interruptPin: 1)
    addMemoryBar(0, size: 0x20000, memory: memory) { [unowned self] in self }
    addIOBar(2, size: 64, ports: ports) { [unowned self] in self }
    timer = clock.makeTimer { [unowned self] in timerFired() }
  }

  // MARK: Registers

  /// Registers are 32 bits wide; a narrower read gets a part of one.
  public func readMemory(offset: UInt64, size: Int) -> UInt64 {
    if size == 8 { return readMemory(offset: offset, size: 4) | readMemory(offset: offset &+ 4, size: 4) << 32 }
    let value = UInt64(core.read(Int(offset & 0x1_FFFC), now: clock.now))
    settle()
    return value >> ((offset & 3) &* 8)
  }

  /// Narrower writes are not the controller's (13.2.1): they are dropped.
  public func writeMemory(offset: UInt64, size: Int, value: UInt64) {
    guard offset & 3 == 0, size >= 4 else { return }
    write(Int(offset), UInt32(truncatingIfNeeded: value))
    if size == 8 { write(Int(offset) + 4, UInt32(truncatingIfNeeded: value >> 32)) }
  }

  public func readPort(_ port: UInt16, size: Int) -> UInt32 {
    switch port & 0x3F {
    case 0: return portAddress
    case 4 where portAddress < 0x20000:
      return UInt32(truncatingIfNeeded: readMemory(offset: UInt64(portAddress), size: 4))
    default: return size == 4 ? .max : (1 << UInt32(size * 8)) - 1
    }
  }

  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    guard size == 4 else { return }
    switch port & 0x3F {
    case 0: portAddress = value
    case 4 where portAddress < 0x20000: writeMemory(offset: UInt64(portAddress), size: 4, value: UInt64(value))
    default: break
    }
  }

  private func write(_ offset: Int, _ value: UInt32) {
    let effect = core.write(offset, value, now: clock.now)
    if effect.contains(.transmit) { transmit() }
    settle()
    if effect.contains(.receiveRoom) { roomMade() }
  }

  // MARK: Frames

  public var hasCarrier: Bool { core.state.phy.hasCarrier }

  public func setCarrier(_ isThere: Bool) {
    core.setCarrier(isThere, now: clock.now)
    settle()
  }

  public func receive(_ frame: [UInt8]) -> Bool {
    // What comes while the machine stands still is held by who brings it.
    guard !isPaused else {
      isRefusing = true
      return false
    }
    guard !core.isLoopback, command.contains(.busMaster) else { return true }
    let reception = core.receive(frame, memory: memory, now: clock.now, isRepeated: isRefusing)
    isRefusing = reception == .noRoom
    settle()
    return !isRefusing
  }

  private func roomMade() {
    guard isRefusing, !isPaused else { return }
    onReceiveRoom()
  }

  public func wireRoomChanged() {
    guard isSending else { return }
    transmit()
    settle()
  }

  /// Frames leave only while the card may read memory (PCI 3.0, 6.2.2) and the machine runs.
  private func transmit() {
    guard !isPaused, command.contains(.busMaster) else {
      isSending = true
      return
    }
    var looped: [[UInt8]] = []
    let isLoopback = core.isLoopback
    let result = core.transmit(
      memory: memory, now: clock.now, hasRoom: isLoopback ? { looped.count < 64 } : wireHasRoom
    ) {
      if isLoopback { looped.append($0) } else { onSend($0) }
    }
    for frame in looped { _ = core.receive(frame, memory: memory, now: clock.now) }
    isSending = result != .idle
    if result == .unfinished || (isLoopback && result == .stalled) { continuesAt = clock.now &+ Self.breather }
  }

  public override func configurationWritten(_ offset: Int, size: Int) {
    super.configurationWritten(offset, size: size)
    // Sending waits for the bus mastering bit.
    if isSending { transmit() }
    settle()
  }

  // MARK: Time

  /// Nanoseconds between two shares of sending: the machine lock is others' meanwhile.
  private static let breather: UInt64 = 50_000
  /// When sending goes on.
  private var continuesAt: UInt64?

  private func timerFired() {
    if continuesAt != nil {
      continuesAt = nil
      transmit()
    }
    core.timePassed(now: clock.now)
    settle()
  }

  /// Brings pin and timer in line with the core.
  private func settle() {
    setInterrupt(core.interruptLevel)
    guard let timer else { return }
    let deadline = min(core.nextDeadline ?? .max, continuesAt ?? .max)
    if deadline != .max { timer.arm(at: deadline) } else { timer.cancel() }
  }

  // MARK: Device

  public func reset() {
    resetPCI()
    core.reset()
    portAddress = 0
    isSending = false
    continuesAt = nil
    settle()
    roomMade()
  }

  public func pause() { isPaused = true }

  public func resume() {
    guard isPaused else { return }
    isPaused = false
    if isSending { transmit() }
    settle()
    roomMade()
  }

  private struct Saved: Codable {
    var pci: PCIConfiguration.State
    var registers: E1000Core.State
    var portAddress: UInt32
  }
  private static let kind = "e1000"
  private static let version = 1

  public func save() throws -> StateSection {
    let saved = Saved(pci: pciState, registers: core.state, portAddress: portAddress)
    return try StateSection(name: name, kind: Self.kind, version: Self.version, state: saved)
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: Self.kind, upTo: Self.version)
    try checkPCI(saved.pci, in: section)
    try requireValid(saved.registers.isPlausible, in: section, "registers of the network card")
    try requireValid(saved.registers.interrupts.pin == saved.pci.interrupt, in: section, "the interrupt pin")
    restorePCI(saved.pci)
    core.state = saved.registers
    portAddress = saved.portAddress
    // Whatever waits in the ring is looked at when the machine goes on, which need not have been paused before.
    isSending = true
    isPaused = true
    continuesAt = nil
    settle()
  }
}
