import Foundation
import GuestMemory
import SavedState

/// What the two NE2000 cards have in common: the controller, its 32 ports, and the wire.
///
/// Ports: 0 to 15 registers, 16 to 23 data, 24 to 31 reset. There is no room for a frame that has not been read yet: it is
/// refused, in place of being lost as an overflow, and comes when software has moved the boundary. Then no frame that comes
/// later would tell of those that a driver has left in the ring, so it is reminded of them.
final class NE2000Board {
  var core: DP8390Core
  var onReceiveRoom: () -> Void = {}
  var wireHasRoom: () -> Bool = { true }
  var onSend: ([UInt8]) -> Void = { _ in }
  /// Sets the interrupt's level.
  var setInterrupt: (Bool) -> Void = { _ in }
  private(set) var hasCarrier: Bool
  private var isPaused = false
  private var isRefusing = false

  private let clock: GuestClock
  private var timer: ClockTimer?
  /// Guest nanoseconds until a driver that has acknowledged frames without reading them is reminded.
  private static let patience: UInt64 = 500_000

  init(address: MACAddress, isRealtek: Bool, hasCarrier: Bool, clock: GuestClock) {
    self.clock = clock
    core = DP8390Core(address: address, isRealtek: isRealtek)
    self.hasCarrier = hasCarrier
    timer = clock.makeTimer { [unowned self] in
      core.remind()
      settle()
    }
  }

  // MARK: Ports

  func readPort(_ offset: Int, size: Int) -> UInt32 {
    defer { settle() }
    switch offset {
    case 0x10...0x17: return core.readData(size: size)
    case 0x18...0x1F:
      core.reset()
      return 0
    default:
      return (0..<size).reduce(0) { $0 | UInt32(core.readRegister((offset + $1) & 15)) << UInt32($1 * 8) }
    }
  }

  func writePort(_ offset: Int, size: Int, value: UInt32) {
    switch offset {
    case 0x10...0x17: core.writeData(size: size, value)
    // The pulse has reset it as it was read.
    case 0x18...0x1F: break
    default:
      for index in 0..<size where offset + index < 16 {
        switch core.writeRegister(offset + index, UInt8(truncatingIfNeeded: value >> UInt32(index * 8))) {
        case .none: break
        case .transmit: transmit()
        case .receiveRoom: roomMade()
        }
      }
    }
    settle()
  }

  private func settle() {
    setInterrupt(core.interruptLevel)
    if core.hasUnreadFrames, let timer, timer.deadline == nil { timer.arm(at: clock.now &+ Self.patience) }
  }

  // MARK: The wire

  func setCarrier(_ isThere: Bool) { hasCarrier = isThere }

  func receive(_ frame: [UInt8]) -> Bool {
    // What comes while the machine stands still is held by who brings it.
    guard !isPaused else {
      isRefusing = true
      return false
    }
    guard hasCarrier else { return true }
    isRefusing = core.receive(frame) == .noRoom
    settle()
    return !isRefusing
  }

  private func roomMade() {
    guard isRefusing, !isPaused else { return }
    isRefusing = false
    onReceiveRoom()
  }

  func wireRoomChanged() {
    transmit()
    settle()
  }

  private func transmit() {
    guard core.isSending, !isPaused, wireHasRoom() else { return }
    if let frame = core.transmit(), hasCarrier { onSend(frame) }
  }

  // MARK: Device

  func reset() {
    core.powerOn()
    timer?.cancel()
    settle()
    roomMade()
  }

  func pause() { isPaused = true }

  func resume() {
    guard isPaused else { return }
    isPaused = false
    transmit()
    settle()
    roomMade()
  }

  struct Saved: Codable {
    var registers: DP8390Core.State
    var hasCarrier: Bool
  }

  var saved: Saved { Saved(registers: core.state, hasCarrier: hasCarrier) }
  var memory: Data { Data(core.memory) }

  func check(_ saved: Saved, memory: Data, in section: StateSection) throws {
    try requireValid(saved.registers.isPlausible, in: section, "registers of the network card")
    try requireValid(memory.count == DP8390Core.memorySize, in: section, "the memory of the network card")
  }

  func restore(_ saved: Saved, memory: Data) {
    timer?.cancel()
    core.restore(saved.registers, memory: Array(memory))
    hasCarrier = saved.hasCarrier
    isPaused = true
    isRefusing = false
  }
}

/// The NE2000 on the ISA bus: 32 ports and an edge-triggered interrupt, which it shares with nobody.
public final class NE2000ISA: NetworkCard, PortIO {
  public let name: String
  public let address: MACAddress
  private let board: NE2000Board
  private let base: UInt16
  private let line: InterruptLine

  /// - Parameters: name: "nic1". base: a multiple of 32: 0x300 is usual. line: IRQ 9 or 10, as a rule.
  public init(
    name: String, address: MACAddress, hasCarrier: Bool = true, base: UInt16 = 0x300, line: InterruptLine,
    ports: PortBus, clock: GuestClock
  ) {
    precondition(base & 31 == 0)
    self.name = name
    self.address = address
    self.base = base
    self.line = line
    board = NE2000Board(address: address, isRealtek: false, hasCarrier: hasCarrier, clock: clock)
    board.setInterrupt = { line.set($0) }
    ports.map(self, base...base + 31)
  }

  public func readPort(_ port: UInt16, size: Int) -> UInt32 { board.readPort(Int(port & 31), size: size) }
  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    board.writePort(Int(port & 31), size: size, value: value)
  }

  public var hasCarrier: Bool { board.hasCarrier }
  public func setCarrier(_ isThere: Bool) { board.setCarrier(isThere) }
  public func receive(_ frame: [UInt8]) -> Bool { board.receive(frame) }
  public func wireRoomChanged() { board.wireRoomChanged() }
  public var onReceiveRoom: () -> Void {
    get { board.onReceiveRoom }
    set { board.onReceiveRoom = newValue }
  }
  public var wireHasRoom: () -> Bool {
    get { board.wireHasRoom }
    set { board.wireHasRoom = newValue }
  }
  public var onSend: ([UInt8]) -> Void {
    get { board.onSend }
    set { board.onSend = newValue }
  }

  public func reset() { board.reset() }
  public func pause() { board.pause() }
  public func resume() { board.resume() }

  private static let kind = "ne2000-isa"
  private static let version = 1

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: Self.kind, version: Self.version, state: board.saved, blob: board.memory)
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(NE2000Board.Saved.self, kind: Self.kind, upTo: Self.version)
    try board.check(saved, memory: section.blob, in: section)
    board.restore(saved, memory: section.blob)
    line.restore(board.core.interruptLevel)
  }
}

/// The NE2000 as a PCI function: Realtek's RTL8029AS (10EC:8029), with its ports in BAR 0.
public final class NE2000PCI: PCIDevice, NetworkCard, PortIO {
  public let name: String
  public let address: MACAddress
  private let board: NE2000Board

  /// - Parameter name: "nic1".
  public init(name: String, address: MACAddress, hasCarrier: Bool = true, ports: PortBus, clock: GuestClock) {
    self.name = name
    self.address = address
    board = NE2000Board(address: address, isRealtek: true, hasCarrier: hasCarrier, clock: clock)
    super.init(
      name: name,
      identity: PCIIdentity(
        vendor: 0x10EC, device: 0x8029, revision: 0, classCode: 0x020000, subsystemVendor: 0x10EC, subsystem: 0x8029),
      interruptPin: 1)
    addIOBar(0, size: 32, ports: ports) { [unowned self] in self }
    board.setInterrupt = { [unowned self] in setInterrupt($0) }
  }

  public func readPort(_ port: UInt16, size: Int) -> UInt32 { board.readPort(Int(port & 31), size: size) }
  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    board.writePort(Int(port & 31), size: size, value: value)
  }

  public var hasCarrier: Bool { board.hasCarrier }
  public func setCarrier(_ isThere: Bool) { board.setCarrier(isThere) }
  public func receive(_ frame: [UInt8]) -> Bool { board.receive(frame) }
  public func wireRoomChanged() { board.wireRoomChanged() }
  public var onReceiveRoom: () -> Void {
    get { board.onReceiveRoom }
    set { board.onReceiveRoom = newValue }
  }
  public var wireHasRoom: () -> Bool {
    get { board.wireHasRoom }
    set { board.wireHasRoom = newValue }
  }
  public var onSend: ([UInt8]) -> Void {
    get { board.onSend }
    set { board.onSend = newValue }
  }

  public func reset() {
    resetPCI()
    board.reset()
  }
  public func pause() { board.pause() }
  public func resume() { board.resume() }

  private struct Saved: Codable {
    var pci: PCIConfiguration.State
    var board: NE2000Board.Saved
  }
  private static let kind = "ne2000-pci"
  private static let version = 1

  public func save() throws -> StateSection {
    try StateSection(
      name: name, kind: Self.kind, version: Self.version, state: Saved(pci: pciState, board: board.saved),
      blob: board.memory)
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: Self.kind, upTo: Self.version)
    try checkPCI(saved.pci, in: section)
    try board.check(saved.board, memory: section.blob, in: section)
    restorePCI(saved.pci)
    board.restore(saved.board, memory: section.blob)
  }
}
