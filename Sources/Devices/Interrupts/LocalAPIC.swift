import SavedState

/// One CPU's local APIC. It knows the CPU by four closures, the 8259A by one, and others by the fabric.
///
/// Source: Intel SDM vol. 3A, chapter 11. The timer counts a bus clock of 1 GHz, so that a tick is a guest nanosecond.
public final class LocalAPIC: Device {
  /// Ticks a second of the timer's clock, in Hz.
  public static let busFrequency: UInt64 = 1_000_000_000

  public let name: String
  /// The CPU's number, which is its APIC ID after a reset.
  public let index: Int
  private var core: LocalAPICCore
  private let fabric: InterruptFabric
  private let clock: GuestClock
  private var timer: ClockTimer?
  private var isPaused = false

  /// The CPU's interrupt request: the level of the output.
  public var onInterrupt: (Bool) -> Void = { _ in }
  /// Called when a message asks for a non-maskable interrupt.
  public var onNMI: () -> Void = {}
  /// Called when a message asks for INIT.
  public var onINIT: () -> Void = {}
  /// Called when a start-up message comes, with its vector: the page to start at.
  public var onSIPI: (UInt8) -> Void = { _ in }
  /// Called when a message asks for a system management interrupt.
  public var onSMI: () -> Void = {}
  /// The acknowledge cycle of an ExtINT: the 8259A's `acknowledge`.
  public var acknowledgeExternal: () -> UInt8 = { 0xFF }

  /// The APIC of CPU `index`; CPU 0 is the bootstrap processor.
  public init(index: Int, fabric: InterruptFabric, clock: GuestClock) {
    self.index = index
    self.fabric = fabric
    self.clock = clock
    name = "lapic\(index)"
    core = LocalAPICCore(index: index)
    timer = clock.makeTimer { [unowned self] in self.timerFired() }
    fabric.connect(self)
  }

  // MARK: The CPU's side

  /// The interrupt acknowledge cycle: the vector, or nil when the request went away.
  public func acknowledge() -> UInt8? {
    defer { update() }
    // An ExtINT bypasses the priority logic, and goes first as it has no priority to lose by waiting.
    if core.externalRequest {
      core.state.externalPending = false
      return acknowledgeExternal()
    }
    return core.acknowledge()
  }

  /// CR8: the upper four bits of the task priority.
  public var taskPriority: UInt8 {
    get { core.state.taskPriority >> 4 }
    set {
      core.state.taskPriority = newValue << 4
      update()
    }
  }

  /// IA32_APIC_BASE.
  public var base: UInt64 { core.state.base }
  /// By its MSR and by its spurious-interrupt register.
  public var isEnabled: Bool { core.isHardwareEnabled && core.isSoftwareEnabled }
  /// The PPR: interrupts of this class and below wait (Intel SDM vol. 3A, 10.8.3.1).
  public var processorPriority: UInt8 { core.processorPriority }

  /// IA32_APIC_BASE was written. Moves the window, and changes between off, xAPIC and x2APIC.
  public func setBase(_ value: UInt64) {
    let old = core.state.base
    let wasEnabled = core.isHardwareEnabled
    core.state.base = value & 0x000F_FFFF_FFFF_FC00 | old & 0x100
    if wasEnabled && !core.isHardwareEnabled {
      core.disable()
      timer?.cancel()
    }
    if core.isX2APIC && old & LocalAPICCore.baseX2APIC == 0 {
      core.state.logicalDestination = core.x2LogicalID
    }
    if value & 0x000F_FFFF_FFFF_F000 != old & 0x000F_FFFF_FFFF_F000 {
      fabric.windowMoved(to: value & 0x000F_FFFF_FFFF_F000)
    }
    update()
  }

  // MARK: Pins

  /// LINT0, from the 8259A's output.
  public func setLINT0(_ level: Bool) {
    let rose = level && !core.state.lint0
    core.state.lint0 = level
    if rose && core.isHardwareEnabled { deliverLocal(.lint0, external: false) }
    update()
  }

  /// LINT1, the board's NMI.
  public func setLINT1(_ level: Bool) {
    let rose = level && !core.state.lint1
    core.state.lint1 = level
    guard rose else { return }
    if core.isHardwareEnabled { deliverLocal(.lint1, external: false) } else { onNMI() }
    update()
  }

  private func deliverLocal(_ local: LocalAPICCore.Local, external: Bool) {
    let entry = core.localVector(local)
    guard entry & LocalAPICCore.lvtMasked == 0 else { return }
    switch DeliveryMode(rawValue: UInt8(entry >> 8 & 7)) {
    case .fixed: request(UInt8(entry & 0xFF), level: false)
    case .nmi: onNMI()
    case .smi: onSMI()
    case .initialise: receiveINIT()
    default: break  // ExtINT follows the pin's level; the rest is reserved
    }
  }

  // MARK: Messages

  func matches(_ destination: UInt32, logical: Bool) -> Bool {
    core.isHardwareEnabled && core.matches(destination, logical: logical)
  }

  func accept(_ message: InterruptMessage) {
    guard core.isHardwareEnabled else { return }
    switch message.mode {
    case .fixed, .lowestPriority:
      // A software-disabled APIC takes only INIT, NMI, SMI and SIPI (11.4.7.2).
      guard core.isSoftwareEnabled else { return }
      request(message.vector, level: message.level)
      update()
    case .nmi: onNMI()
    case .smi: onSMI()
    case .initialise: receiveINIT()
    case .startUp: onSIPI(message.vector)
    case .external:
      core.state.externalPending = true
      update()
    }
  }

  private func receiveINIT() {
    core.initialise()
    timer?.cancel()
    update()
    onINIT()
  }

  private func request(_ vector: UInt8, level: Bool) {
    core.request(vector, level: level)
    if vector < 16 { reportError() }
  }

  private func reportError() {
    let entry = core.localVector(.error)
    if entry & LocalAPICCore.lvtMasked == 0 && entry & 0xFF >= 16 {
      core.request(UInt8(entry & 0xFF), level: false)
    }
    update()
  }

  @inline(__always)
  private func update() {
    let level = core.wantsCPU
    guard level != core.state.output else { return }
    core.state.output = level
    onInterrupt(level)
  }

  // MARK: Registers

  /// Whether the page of registers is there: neither when IA32_APIC_BASE disables it nor in x2APIC mode (11.4.3, 11.12.2).
  var answersMemory: Bool { core.isHardwareEnabled && !core.isX2APIC }

  func read(_ offset: Int) -> UInt32 {
    switch offset {
    case 0x20: return core.isX2APIC ? core.x2ID : core.state.id
    case 0x30: return 0x0005_0014  // version 0x14, six local vectors
    case 0x80: return UInt32(core.state.taskPriority)
    case 0x90: return 0
    case 0xA0: return UInt32(core.processorPriority)
    case 0xD0: return core.state.logicalDestination
    case 0xE0: return core.state.destinationFormat
    case 0xF0: return core.state.spurious
    case 0x100..<0x180: return core.state.inService.register((offset - 0x100) >> 4)
    case 0x180..<0x200: return core.state.triggerMode.register((offset - 0x180) >> 4)
    case 0x200..<0x280: return core.state.requests.register((offset - 0x200) >> 4)
    case 0x280: return core.state.errorStatus
    case 0x300: return core.state.commandLow
    case 0x310: return core.state.commandHigh
    case 0x320...0x370: return core.state.localVectors[(offset - 0x320) >> 4]
    case 0x380: return core.state.initialCount
    case 0x390: return currentCount
    case 0x3E0: return core.state.divideConfiguration
    case 0xB0, 0xC0: return 0
    default:
      core.state.errors |= LocalAPICCore.ErrorBit.illegalRegister
      reportError()
      return 0
    }
  }

  func write(_ offset: Int, _ value: UInt32) {
    switch offset {
    case 0x20: core.state.id = value & 0xFF00_0000
    case 0x80:
      core.state.taskPriority = UInt8(truncatingIfNeeded: value)
      update()
    case 0xB0:
      if let vector = core.endOfInterrupt() { fabric.endOfInterrupt(vector) }
      update()
    case 0xD0: core.state.logicalDestination = value & 0xFF00_0000
    case 0xE0: core.state.destinationFormat = value | 0x0FFF_FFFF
    case 0xF0: writeSpurious(value)
    case 0x280:
      core.state.errorStatus = core.state.errors
      core.state.errors = 0
    case 0x300:
      core.state.commandLow = value & 0x000C_CFFF
      sendCommand()
    case 0x310: core.state.commandHigh = value & 0xFF00_0000
    case 0x320...0x370: writeLocalVector(offset, value)
    case 0x380:
      core.state.initialCount = value
      startTimer(value)
    case 0x3E0: writeDivider(value)
    case 0x30, 0x90, 0xA0, 0xC0, 0x100..<0x280, 0x390: break  // read-only
    default:
      core.state.errors |= LocalAPICCore.ErrorBit.illegalRegister
      reportError()
    }
  }

  private func writeSpurious(_ value: UInt32) {
    let was = core.isSoftwareEnabled
    core.state.spurious = value & 0x3FF
    if was && !core.isSoftwareEnabled {
      for local in core.state.localVectors.indices { core.state.localVectors[local] |= LocalAPICCore.lvtMasked }
      armTimer()
    }
    update()
  }

  private func writeLocalVector(_ offset: Int, _ value: UInt32) {
    guard let local = LocalAPICCore.Local(rawValue: (offset - 0x320) >> 4) else { return }
    var entry = value & LocalAPICCore.writableBits(local)
    let old = core.localVector(local)
    // While software-disabled, mask bits stay set (11.4.7.2) once the guest has touched them.
    if !core.isSoftwareEnabled && local != .lint0 { entry |= LocalAPICCore.lvtMasked }
    if local == .timer { settleTimer() }
    core.state.localVectors[local.rawValue] = entry
    if local == .timer && old != entry { armTimer() }
    update()
  }

  // MARK: Interrupt command register, 11.6.1

  private func sendCommand() {
    let low = core.state.commandLow
    guard let mode = DeliveryMode(rawValue: UInt8(low >> 8 & 7)) else { return }
    let vector = UInt8(low & 0xFF)
    // INIT level de-assert only synchronises arbitration ids, which no longer exist.
    if mode == .initialise && low & 0xC000 == 0x8000 { return }
    if (mode == .fixed || mode == .lowestPriority) && vector < 16 {
      core.state.errors |= LocalAPICCore.ErrorBit.sendIllegalVector
      reportError()
      return
    }
    let destination = core.isX2APIC ? core.state.commandHigh : core.state.commandHigh >> 24
    let message = InterruptMessage(
      destination: destination, logical: low & 0x800 != 0, mode: mode, vector: vector, level: false)
    switch low >> 18 & 3 {
    case 0: fabric.deliver(message)
    case 1: accept(message)
    case 2: fabric.broadcast(message, except: nil)
    default: fabric.broadcast(message, except: self)
    }
  }

  // MARK: Timer, 11.5.4

  private var isPeriodic: Bool { core.localVector(.timer) >> 17 & 3 == 1 }
  private var period: UInt64 { UInt64(core.state.initialCount) * core.divider }

  private func startTimer(_ count: UInt32) {
    core.state.timerDeadline = count == 0 ? 0 : clock.now &+ UInt64(count) &* core.divider
    armTimer()
  }

  /// Moves a deadline that has passed: to the next period, or to nothing.
  private func settleTimer() {
    let deadline = core.state.timerDeadline
    let now = clock.now
    guard deadline != 0, now >= deadline else { return }
    guard isPeriodic, period > 0 else {
      core.state.timerDeadline = 0
      return
    }
    core.state.timerDeadline = deadline &+ ((now &- deadline) / period &+ 1) &* period
  }

  /// A masked timer counts on without an alarm of the host's.
  private func armTimer() {
    let masked = core.localVector(.timer) & LocalAPICCore.lvtMasked != 0
    if masked || core.state.timerDeadline == 0 || isPaused {
      timer?.cancel()
    } else {
      timer?.arm(at: core.state.timerDeadline)
    }
  }

  private func timerFired() {
    let entry = core.localVector(.timer)
    // The clock may have been set back by a load; an alarm before its time is armed again.
    if core.state.timerDeadline > clock.now { return armTimer() }
    settleTimer()
    armTimer()
    guard entry & LocalAPICCore.lvtMasked == 0 else { return }
    request(UInt8(entry & 0xFF), level: false)
    update()
  }

  private var currentCount: UInt32 {
    let deadline = core.state.timerDeadline
    guard deadline != 0 else { return 0 }
    let now = clock.now
    if now < deadline { return UInt32(clamping: (deadline &- now &+ core.divider &- 1) / core.divider) }
    guard isPeriodic, period > 0 else { return 0 }
    let late = (now &- deadline) % period
    return UInt32(clamping: (period &- late &+ core.divider &- 1) / core.divider)
  }

  private func writeDivider(_ value: UInt32) {
    settleTimer()
    let rest = currentCount
    core.state.divideConfiguration = value & 0xB
    if core.state.timerDeadline != 0 { startTimer(rest) }
  }

  // MARK: x2APIC, 11.12

  /// MSR 0x800 to 0x8FF; nil is a general protection fault.
  public func readMSR(_ msr: UInt32) -> UInt64? {
    guard core.isX2APIC, core.isHardwareEnabled else { return nil }
    switch msr {
    case 0x830: return UInt64(core.state.commandHigh) << 32 | UInt64(core.state.commandLow)
    case 0x802, 0x803, 0x808, 0x80A, 0x80D, 0x80F, 0x810...0x828, 0x832...0x839, 0x83E:
      return UInt64(read(Int(msr & 0xFF) << 4))
    default: return nil
    }
  }

  /// Writes an MSR of the x2APIC. False: the guest gets a general-protection fault.
  public func writeMSR(_ msr: UInt32, _ value: UInt64) -> Bool {
    guard core.isX2APIC, core.isHardwareEnabled else { return false }
    let low = UInt32(truncatingIfNeeded: value)
    switch msr {
    case 0x830:
      core.state.commandHigh = UInt32(truncatingIfNeeded: value >> 32)
      core.state.commandLow = low & 0x000C_CFFF
      sendCommand()
    case 0x80B, 0x828:
      guard value == 0 else { return false }
      write(Int(msr & 0xFF) << 4, low)
    case 0x808, 0x80F, 0x832...0x838, 0x83E:
      guard value >> 32 == 0 else { return false }
      write(Int(msr & 0xFF) << 4, low)
    case 0x83F:  // SELF IPI
      guard value >> 8 == 0 else { return false }
      core.state.commandLow = 0x0004_0000 | low
      sendCommand()
    default: return false
    }
    return true
  }

  // MARK: Device

  public func reset() {
    let lint0 = core.state.lint0
    let lint1 = core.state.lint1
    let wasOutput = core.state.output
    core.powerOn()
    core.state.lint0 = lint0
    core.state.lint1 = lint1
    core.state.output = wasOutput
    timer?.cancel()
    fabric.windowMoved(to: core.state.base & ~0xFFF)
    update()
  }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "lapic", version: 1, state: core.state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(LocalAPICCore.State.self, kind: "lapic", upTo: 1)
    try requireValid(loaded.localVectors.count == 6, in: section, "it has six local vectors")
    for local in LocalAPICCore.Local.allCases {
      let reserved = loaded.localVectors[local.rawValue] & ~LocalAPICCore.writableBits(local)
      try requireValid(reserved == 0, in: section, "a local vector has reserved bits")
    }
    try requireValid(loaded.base & ~0x000F_FFFF_FFFF_FD00 == 0, in: section, "the base register has reserved bits")
    try requireValid(loaded.divideConfiguration & ~0xB == 0, in: section, "the divider has reserved bits")
    try requireValid(loaded.timerDeadline < 1 << 63, in: section, "the timer's deadline is out of range")
    core.state = loaded
    core.refreshHighest()
    fabric.windowMoved(to: loaded.base & 0x000F_FFFF_FFFF_F000)
    armTimer()
  }

  public func pause() {
    isPaused = true
    armTimer()
  }

  public func resume() {
    isPaused = false
    armTimer()
  }
}
