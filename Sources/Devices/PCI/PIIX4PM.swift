import SavedState

/// Power management, function 3 of the PIIX4, at 00:01.3: ACPI registers, PM timer, SCI, the SMI command port, and an
/// SMBus host without devices.
///
/// Source: Intel 82371AB (PIIX4) data sheet (290562), 7 and 11.4; ACPI Specification 2.0, 4.7. System management mode is
/// not offered: the APMC enable bit reads as set, by which firmware sees that its SMM has been seen to, and the commands
/// that turn ACPI mode on and off are carried out here.
public final class PIIX4PM: PCIDevice, Device, PortIO {
  /// Hz.
  public static let timerFrequency: UInt64 = 3_579_545
  public static let gpeBase: UInt16 = 0xAFE0

  /// PM1 status and enable bits (ACPI 4.7.3.1).
  enum PM1 {
    static let timer: UInt16 = 1 << 0
    static let globalLock: UInt16 = 1 << 5
    static let powerButton: UInt16 = 1 << 8
    static let realTimeClock: UInt16 = 1 << 10
    static let wake: UInt16 = 1 << 15
    static let statusMask: UInt16 = 0x8D31
    static let enableMask: UInt16 = 0x0521
    static let sciEnable: UInt16 = 1 << 0
    static let sleepEnable: UInt16 = 1 << 13
  }

  /// Its registers and the moment that its timer counts from.
  public struct State: Codable, Equatable, Sendable {
    var pci: PCIConfiguration.State
    var status: UInt16 = 0
    var enable: UInt16 = 0
    var control: UInt16 = 0
    /// The timer's half period (2^23 ticks) up to which overflows have been made.
    var halfPeriods: UInt64 = 0
    var gpeStatus: UInt16 = 0
    var gpeEnable: UInt16 = 0
    var apmControl: UInt8 = 0
    var apmStatus: UInt8 = 0
    var smbusStatus: UInt8 = 0
    var smbusControl: UInt8 = 0
    var smbusCommand: UInt8 = 0
    var smbusAddress: UInt8 = 0
    var smbusData0: UInt8 = 0
    var smbusData1: UInt8 = 0
    var sci = false
  }

  /// The PCI hot-plug block that the firmware's tables name: no slot has an event, and none can be emptied.
  private static let hotPlug: ClosedRange<UInt16> = 0xAE00...0xAE0F

  public let name = "piix4-pm"
  private var state: State
  private let ports: PortBus
  private let clock: GuestClock
  private let sci: InterruptLine
  private let serialPorts: [UInt16]
  private var timer: ClockTimer?
  private var powerBase: UInt16?
  private var smbusBase: UInt16?
  /// The guest switched the machine off (S5), or suspended it to its disk (S4).
  public var onPowerOff: () -> Void = {}
  /// The guest asked for suspend to RAM (S3), which the board does not offer it.
  public var onSuspend: () -> Void = {}

  /// - Parameters:
  ///   - sci: IRQ 9.
  ///   - serialPorts: I/O bases of the board's UARTs: by them the firmware's tables tell which ports are there.
  public init(bus: PCIBus, ports: PortBus, clock: GuestClock, sci: InterruptLine, serialPorts: [UInt16] = []) {
    self.serialPorts = serialPorts
    self.ports = ports
    self.clock = clock
    self.sci = sci
    state = State(pci: PCIConfiguration.State(bytes: .init(), interrupt: false))
    super.init(
      name: "piix4-pm", identity: PCIIdentity(vendor: 0x8086, device: 0x7113, revision: 3, classCode: 0x068000),
      interruptPin: 1)
    configuration.allow32(0x40, mask: 0x0000_FFC0)  // PMBA
    for register in 0x48...0x63 { configuration.allow(register, mask: 0xFF) }  // counters, device resources
    configuration.allow(0x80, mask: 0x01)  // PMREGMISC
    configuration.allow32(0x90, mask: 0x0000_FFF0)  // SMBBA
    configuration.allow(0xD2, mask: 0x0F)  // SMBHSTCFG
    for register in 0xD3...0xD5 { configuration.allow(register, mask: 0xFF) }
    setDefaults()
    bus.attach(self, slot: 1, function: 3)
    timer = clock.makeTimer { [unowned self] in self.update() }
    mapFixedPorts()
  }

  private func mapFixedPorts() {
    ports.map(self, 0xB2...0xB3)
    ports.map(self, Self.gpeBase...(Self.gpeBase + 3))
    ports.map(self, Self.hotPlug)
  }

  private func setDefaults() {
    configuration.set(PCIRegister.status, 0x80)
    configuration.set(PCIRegister.status + 1, 0x02)
    configuration.set(0x40, 1)
    configuration.set(0x90, 1)
    configuration.set(0xD6, 0)
    configuration.set(0x5B, 0x02)  // DEVACTB.APMC_EN
    // Serial ports A and B in the device resource registers: bit 3 and 7 decode them, bits 4 to 6 = 1 put B at 0x2F8.
    let portA: UInt8 = serialPorts.contains(0x3F8) ? 0x08 : 0
    let portB: UInt8 = serialPorts.contains(0x2F8) ? 0x90 : 0
    configuration.set(0x67, portA | portB)
  }

  public override func configurationWritten(_ offset: Int, size: Int) {
    super.configurationWritten(offset, size: size)
    mapPorts()
  }

  private func mapPorts() {
    let wanted = configuration[0x80] & 1 != 0 ? configuration.word(0x40) & 0xFFC0 : 0
    remap(&powerBase, wanted, length: 0x40)
    let smbus = configuration[0xD2] & 1 != 0 ? configuration.word(0x90) & 0xFFF0 : 0
    remap(&smbusBase, smbus, length: 0x10)
  }

  private func remap(_ base: inout UInt16?, _ wanted: UInt16, length: UInt16) {
    let new: UInt16? = wanted == 0 ? nil : wanted
    guard new != base else { return }
    if let old = base { ports.unmap(self, old...(old &+ (length - 1))) }
    base = new
    if let new { ports.map(self, new...(new &+ (length - 1))) }
    // The fixed ports stay, should the moved window have covered them.
    mapFixedPorts()
  }

  // MARK: Board side

  /// First port of the power management block, where firmware has put it.
  public var portBase: UInt16? { powerBase }

  /// A short press of the power button.
  public func pressPowerButton() {
    state.status |= PM1.powerButton
    update()
  }

  /// The RTC's alarm, as an event that can wake.
  public func rtcAlarm() {
    state.status |= PM1.realTimeClock
    update()
  }

  // MARK: Timer and SCI

  private var ticks: UInt64 { scaled(clock.now, by: Self.timerFrequency, over: 1_000_000_000) }

  /// Makes the timer's status, drives the SCI, and arms the alarm for the next change of the timer's top bit.
  private func update() {
    let half = ticks >> 23
    if half > state.halfPeriods { state.status |= PM1.timer }
    state.halfPeriods = half
    let events = state.status & state.enable & PM1.enableMask
    let general = state.gpeStatus & state.gpeEnable
    let level = state.control & PM1.sciEnable != 0 && (events != 0 || general != 0)
    state.sci = level
    sci.set(level)
    armTimer()
  }

  private func armTimer() {
    if state.enable & PM1.timer != 0 && state.status & PM1.timer == 0 {
      timer?.arm(at: scaledUp((state.halfPeriods + 1) << 23, by: 1_000_000_000, over: Self.timerFrequency))
    } else {
      timer?.cancel()
    }
  }

  // MARK: Ports

  public func readPort(_ port: UInt16, size: Int) -> UInt32 {
    if let base = powerBase, port >= base, port < base &+ 0x40 { return readPower(Int(port - base), size: size) }
    if let base = smbusBase, port >= base, port < base &+ 0x10 { return UInt32(readSMBus(Int(port - base))) }
    switch port {
    case 0xB2: return UInt32(state.apmControl)
    case 0xB3: return UInt32(state.apmStatus)
    case Self.hotPlug: return 0
    case Self.gpeBase...(Self.gpeBase + 3):
      let both = UInt32(state.gpeStatus) | UInt32(state.gpeEnable) << 16
      return extract(both, Int(port - Self.gpeBase), size: size)
    default: return size == 4 ? .max : (1 << UInt32(size * 8)) - 1
    }
  }

  private func extract(_ value: UInt32, _ offset: Int, size: Int) -> UInt32 {
    let shifted = value >> UInt32(offset * 8)
    return size == 4 ? shifted : shifted & ((1 << UInt32(size * 8)) - 1)
  }

  private func readPower(_ offset: Int, size: Int) -> UInt32 {
    switch offset {
    case 0..<4:
      update()
      return extract(UInt32(state.status) | UInt32(state.enable) << 16, offset, size: size)
    case 4..<8: return extract(UInt32(state.control), offset - 4, size: size)
    case 8..<12: return extract(UInt32(truncatingIfNeeded: ticks & 0xFF_FFFF), offset - 8, size: size)
    default: return 0
    }
  }

  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    if let base = powerBase, port >= base, port < base &+ 0x40 {
      forEachByte(Int(port - base), size, value) { writePower($0, $1) }
      if port - base < 4 { update() }
      if Int(port - base) <= 5 && Int(port - base) + size > 5 { sleepIfAsked() }
      return
    }
    if let base = smbusBase, port >= base, port < base &+ 0x10 {
      forEachByte(Int(port - base), size, value) { writeSMBus($0, $1) }
      return
    }
    switch port {
    case 0xB2, 0xB3: forEachByte(Int(port - 0xB2), size, value) { writeAPM($0, $1) }
    case Self.gpeBase...(Self.gpeBase + 3):
      forEachByte(Int(port - Self.gpeBase), size, value) { writeGPE($0, $1) }
      update()
    default: break
    }
  }

  private func forEachByte(_ offset: Int, _ size: Int, _ value: UInt32, _ body: (Int, UInt8) -> Void) {
    for index in 0..<size { body(offset + index, UInt8(truncatingIfNeeded: value >> UInt32(index * 8))) }
  }

  private func writePower(_ offset: Int, _ byte: UInt8) {
    let shift = UInt16(offset & 1) * 8
    let bits = UInt16(byte) << shift
    let mask = UInt16(0xFF) << shift
    switch offset {
    case 0, 1:
      if bits & PM1.timer != 0 { state.halfPeriods = ticks >> 23 }
      state.status &= ~(bits & PM1.statusMask)
    case 2, 3: state.enable = state.enable & ~mask | bits & mask & PM1.enableMask
    case 4, 5: state.control = state.control & ~mask | bits & mask
    default: break
    }
    if offset == 4 || offset == 5 { update() }
  }

  private func sleepIfAsked() {
    guard state.control & PM1.sleepEnable != 0 else { return }
    // The bit is write-only.
    state.control &= ~PM1.sleepEnable
    // SUS_TYP, 7.1.3.
    switch state.control >> 10 & 7 {
    case 0, 2: onPowerOff()
    case 1: onSuspend()
    default: break
    }
  }

  private func writeGPE(_ offset: Int, _ byte: UInt8) {
    let shift = UInt16(offset & 1) * 8
    let bits = UInt16(byte) << shift
    let mask = UInt16(0xFF) << shift
    if offset < 2 { state.gpeStatus &= ~bits } else if offset < 4 { state.gpeEnable = state.gpeEnable & ~mask | bits }
  }

  /// The SMI commands the FADT names.
  private func writeAPM(_ offset: Int, _ byte: UInt8) {
    if offset == 1 { state.apmStatus = byte }
    guard offset == 0 else { return }
    state.apmControl = byte
    if byte == 0xF1 { state.control |= PM1.sciEnable }
    if byte == 0xF0 { state.control &= ~PM1.sciEnable }
    update()
  }

  // MARK: SMBus, 11.4 (register offsets 0 status, 2 control, 3 command, 4 address, 5 and 6 data)

  private func readSMBus(_ offset: Int) -> UInt8 {
    switch offset {
    case 0: state.smbusStatus
    case 2: state.smbusControl & 0x1F
    case 3: state.smbusCommand
    case 4: state.smbusAddress
    case 5: state.smbusData0
    case 6: state.smbusData1
    default: 0
    }
  }

  private func writeSMBus(_ offset: Int, _ byte: UInt8) {
    switch offset {
    case 0: state.smbusStatus &= ~(byte & 0x1E)
    case 2:
      state.smbusControl = byte & 0x5F
      // Nobody answers on the bus: a device error ends every transaction.
      if byte & 0x40 != 0 { state.smbusStatus |= 0x04 }
    case 3: state.smbusCommand = byte
    case 4: state.smbusAddress = byte
    case 5: state.smbusData0 = byte
    case 6: state.smbusData1 = byte
    default: break
    }
  }

  // MARK: Device

  public func reset() {
    resetPCI()
    setDefaults()
    state = State(pci: pciState)
    state.halfPeriods = ticks >> 23
    mapPorts()
    sci.set(false)
    timer?.cancel()
  }

  public func save() throws -> StateSection {
    state.pci = pciState
    return try StateSection(name: name, kind: "piix4-pm", version: 1, state: state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "piix4-pm", upTo: 1)
    try checkPCI(loaded.pci, in: section)
    try requireValid(loaded.halfPeriods < 1 << 40, in: section, "the timer is out of range")
    restorePCI(loaded.pci)
    state = loaded
    mapPorts()
    sci.restore(loaded.sci)
    armTimer()
  }

  public func pause() {}
  public func resume() { armTimer() }
}
