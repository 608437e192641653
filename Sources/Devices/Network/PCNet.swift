import GuestMemory
import SavedState

/// The Am79C973 as a PCI function (1022:2000): its registers in 32 ports (BAR 0) and in memory (BAR 1). See `PCNetCore`.
///
/// The controller finds descriptors by looking into memory now and then. Here it looks when there is something to do: after
/// a frame was refused until the guest has a buffer, after it has sent, and at its leisure while a driver never demands
/// transmission.
public final class PCNet: PCIDevice, NetworkCard, PortIO, MemoryMappedIO {
  public let name: String
  public let address: MACAddress
  public var onReceiveRoom: () -> Void = {}
  public var wireHasRoom: () -> Bool = { true }
  public var onSend: ([UInt8]) -> Void = { _ in }

  private var core: PCNetCore
  private let memory: PhysicalMemory
  private let clock: GuestClock
  private var timer: ClockTimer?
  private var isPaused = false
  /// A frame was refused and its sender waits.
  private var isRefusing = false
  /// Frames that have been sent in loopback and come back after the access that has sent them.
  private var looped: [[UInt8]] = []

  /// Guest nanoseconds from one look at the ring to the next: for more to send, for a buffer to receive into, for a driver that
  /// does not say when it has something.
  private enum Interval {
    static let breather: UInt64 = 50_000
    static let buffer: UInt64 = 250_000
    static let afterSending: UInt64 = 2_000_000
    static let polling: UInt64 = 10_000_000
  }
  private static let loopedLimit = 16

  /// - Parameter name: "nic1".
  public init(
    name: String, address: MACAddress, hasCarrier: Bool = true, memory: PhysicalMemory, ports: PortBus,
    clock: GuestClock
  ) {
    self.name = name
    self.address = address
    self.memory = memory
    self.clock = clock
    core = PCNetCore(address: address, hasCarrier: hasCarrier)
    super.init(
      name: name,
      identity: PCIIdentity(
        vendor: 0x1022, device: 0x2000, revision: 0x40, classCode: 0x020000, subsystemVendor: 0x1022, subsystem: 0x2000),
      interruptPin: 1)
    addIOBar(0, size: 32, ports: ports) { [unowned self] in self }
    addMemoryBar(1, size: 32, memory: memory) { [unowned self] in self }
    timer = clock.makeTimer { [unowned self] in timerFired() }
  }

  // MARK: Registers

  public func readPort(_ port: UInt16, size: Int) -> UInt32 { read(Int(port & 31), size: size) }
  public func writePort(_ port: UInt16, size: Int, value: UInt32) { write(Int(port & 31), size: size, value) }

  public func readMemory(offset: UInt64, size: Int) -> UInt64 {
    guard size == 8 else { return UInt64(read(Int(offset & 31), size: size)) }
    return UInt64(read(Int(offset & 31), size: 4)) | UInt64(read(Int(offset & 31) + 4, size: 4)) << 32
  }

  public func writeMemory(offset: UInt64, size: Int, value: UInt64) {
    write(Int(offset & 31), size: min(size, 4), UInt32(truncatingIfNeeded: value))
    if size == 8 { write(Int(offset & 31) + 4, size: 4, UInt32(truncatingIfNeeded: value >> 32)) }
  }

  /// Which register an offset behind the PROM is; both layouts have the same four, two or four bytes apart.
  private enum Port: Int { case data, address, reset, configuration }
  private func port(_ offset: Int) -> Port? {
    core.state.usesDoubleWords ? Port(rawValue: (offset - 16) / 4) : Port(rawValue: (offset - 16) / 2)
  }

  private func read(_ offset: Int, size: Int) -> UInt32 {
    if offset < 16 { return (0..<size).reduce(0) { $0 | UInt32(core.readPROM(offset + $1)) << UInt32($1 * 8) } }
    guard let port = port(offset) else { return size == 4 ? .max : (1 << UInt32(size * 8)) - 1 }
    defer { settle() }
    let index = Int(core.state.registerAddress)
    switch port {
    case .data: return UInt32(core.readCSR(index))
    case .address: return UInt32(core.state.registerAddress)
    case .configuration: return UInt32(core.readBCR(index))
    case .reset:
      core.resetController()
      roomMade()
      return 0
    }
  }

  private func write(_ offset: Int, size: Int, _ value: UInt32) {
    // The first access of 32 bits to the data register chooses the wide layout.
    if offset == 16, size == 4 { core.state.usesDoubleWords = true }
    guard offset >= 16, size >= 2, let port = port(offset) else { return }
    let index = Int(core.state.registerAddress)
    let word = UInt16(truncatingIfNeeded: value)
    switch port {
    case .data:
      let effect = core.writeCSR(index, word, memory)
      if effect.contains(.transmit) { transmit() }
      settle()
      if effect.contains(.receiveRoom) { roomMade() }
      return
    case .address: core.state.registerAddress = word & 0x7F
    case .configuration: core.writeBCR(index, word)
    case .reset: break
    }
    settle()
  }

  // MARK: Frames

  public var hasCarrier: Bool { core.state.hasCarrier }
  public func setCarrier(_ isThere: Bool) { core.setCarrier(isThere) }

  public func receive(_ frame: [UInt8]) -> Bool {
    // What comes while the machine stands still is held by who brings it.
    guard !isPaused else {
      isRefusing = true
      return false
    }
    guard core.state.hasCarrier, !core.isLoopback, command.contains(.busMaster) else { return true }
    isRefusing = core.receive(frame, memory) == .noRoom
    if isRefusing { look(after: Interval.buffer) }
    settle()
    return !isRefusing
  }

  private func roomMade() {
    guard isRefusing, !isPaused else { return }
    isRefusing = false
    onReceiveRoom()
  }

  public func wireRoomChanged() {
    transmit()
    settle()
  }

  private func transmit() {
    guard !isPaused, command.contains(.busMaster) else { return }
    var hasSent = false
    let isLoopback = core.isLoopback
    let result = core.transmit(
      memory, hasRoom: isLoopback ? { [self] in looped.count < Self.loopedLimit } : wireHasRoom
    ) {
      hasSent = true
      if isLoopback { looped.append($0) } else { onSend($0) }
    }
    for frame in looped { _ = core.receive(frame, memory) }
    looped = []
    if result == .unfinished || (isLoopback && result == .stalled) {
      look(after: Interval.breather)
    } else if hasSent {
      look(after: Interval.afterSending)
    }
  }

  // MARK: Time

  private func look(after interval: UInt64) {
    let time = clock.now &+ interval
    guard let timer, time < timer.deadline ?? .max else { return }
    timer.arm(at: time)
  }

  private func timerFired() {
    transmit()
    if isRefusing {
      if core.hasReceiveBuffer(memory) { roomMade() } else { look(after: Interval.buffer) }
    }
    settle()
  }

  private func settle() {
    setInterrupt(core.interruptLevel)
    if core.isPolling { look(after: Interval.polling) }
  }

  public override func configurationWritten(_ offset: Int, size: Int) {
    super.configurationWritten(offset, size: size)
    guard offset < PCIRegister.command + 2, offset + size > PCIRegister.command else { return }
    transmit()
    settle()
  }

  // MARK: Device

  public func reset() {
    resetPCI()
    core.reset()
    timer?.cancel()
    settle()
    roomMade()
  }

  public func pause() { isPaused = true }

  public func resume() {
    guard isPaused else { return }
    isPaused = false
    transmit()
    settle()
    roomMade()
  }

  private struct Saved: Codable {
    var pci: PCIConfiguration.State
    var registers: PCNetCore.State
  }
  private static let kind = "pcnet"
  private static let version = 1

  public func save() throws -> StateSection {
    let saved = Saved(pci: pciState, registers: core.state)
    return try StateSection(name: name, kind: Self.kind, version: Self.version, state: saved)
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: Self.kind, upTo: Self.version)
    try checkPCI(saved.pci, in: section)
    try requireValid(saved.registers.isPlausible, in: section, "registers of the network card")
    restorePCI(saved.pci)
    core.state = saved.registers
    timer?.cancel()
    isPaused = true
    isRefusing = false
  }
}
