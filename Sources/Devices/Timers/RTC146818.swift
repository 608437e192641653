import Foundation
import SavedState

/// The real-time clock and its 128 bytes of CMOS memory, at ports 0x70 and 0x71.
///
/// Source: Motorola MC146818A data sheet. The date is guest time plus an offset. While the machine is paused or saved guest
/// time stands still, but a clock with a battery does not: when the machine goes on, the date goes on to what it would be.
public final class RTC146818: Device, BytePortIO {
  enum Register {
    static let a = 10
    static let b = 11
    static let c = 12
    static let d = 13
    static let century = 0x32
  }

  /// Register B.
  enum ControlB {
    static let hour24: UInt8 = 0x02
    static let binary: UInt8 = 0x04
    static let updateInterrupt: UInt8 = 0x10
    static let alarmInterrupt: UInt8 = 0x20
    static let periodicInterrupt: UInt8 = 0x40
    static let set: UInt8 = 0x80
  }

  /// Register C.
  enum FlagC {
    static let update: UInt8 = 0x10
    static let alarm: UInt8 = 0x20
    static let periodic: UInt8 = 0x40
    static let request: UInt8 = 0x80
  }

  /// The registers with their memory, and when the next things are due.
  public struct State: Codable, Equatable, Sendable {
    var index: UInt8 = 0
    /// Bit 7 of port 0x70: NMI off.
    var nmiMasked = false
    var memory: Data
    /// Nanoseconds since 1970-01-01 at guest time 0.
    var offset: Int64
    /// The second (since 1970) up to which update and alarm flags have been made.
    var seen: Int64
    /// Guest time of the next periodic interrupt; 0: none.
    var periodicDeadline: UInt64 = 0
    var irq = false
    /// By how much the date is ahead of the host's wall clock, in nanoseconds: the time zone, and what the guest has
    /// set. nil in states of version 1.
    var ahead: Int64?
  }

  public let name = "rtc"
  private var state: State
  private let clock: GuestClock
  private let irq: InterruptLine
  /// Nanoseconds since 1970, UTC, on the host.
  private let wallClock: (() -> Int64)?
  /// `State.ahead` of a clock that the guest has not set.
  private let aheadAtPowerOn: Int64
  private var secondTimer: ClockTimer?
  private var periodicTimer: ClockTimer?
  /// Bit 7 of port 0x70 changed: whether NMIs are held back.
  public var onNMIMask: (Bool) -> Void = { _ in }

  /// - Parameters:
  ///   - irq: IRQ 8 (through the HPET's legacy replacement, where there is one).
  ///   - date: seconds since 1970-01-01 at power-on, in the time zone that the clock is to show.
  ///   - wallClock: the host's, in nanoseconds since 1970 UTC. nil: the date stands still while the machine does.
  public init(
    ports: PortBus, clock: GuestClock, irq: InterruptLine, date: Int64, wallClock: (() -> Int64)? = nil
  ) {
    self.clock = clock
    self.irq = irq
    self.wallClock = wallClock
    let bounded = min(max(date, 0), 7_000_000_000)
    aheadAtPowerOn = wallClock.map { bounded * 1_000_000_000 - $0() } ?? 0
    state = State(
      memory: Data(repeating: 0, count: 128), offset: bounded * 1_000_000_000, seen: bounded, ahead: aheadAtPowerOn)
    state.memory[Register.a] = 0x26  // 32.768 kHz, 1024 Hz
    state.memory[Register.b] = ControlB.hour24
    state.memory[Register.d] = 0x80  // the battery is good
    secondTimer = clock.makeTimer { [unowned self] in self.secondPassed() }
    periodicTimer = clock.makeTimer { [unowned self] in self.periodPassed() }
    ports.map(self, 0x70...0x71)
  }

  /// A byte of CMOS memory, for the board to tell the firmware sizes and boot order.
  public subscript(cmos index: Int) -> UInt8 {
    get { state.memory[index & 127] }
    set { state.memory[index & 127] = newValue }
  }

  // MARK: Time

  private var b: UInt8 { state.memory[Register.b] }
  private var isHeld: Bool { b & ControlB.set != 0 || state.memory[Register.a] & 0x60 == 0x60 }
  /// Nanoseconds since 1970.
  private var time: Int64 { Int64(truncatingIfNeeded: clock.now & 0x3FFF_FFFF_FFFF_FFFF) &+ state.offset }
  private var second: Int64 { time / 1_000_000_000 }

  private func encode(_ value: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: b & ControlB.binary != 0 ? value : (value / 10) << 4 | value % 10)
  }

  private func decode(_ value: UInt8) -> Int {
    b & ControlB.binary != 0 ? Int(value) : Int(value >> 4) * 10 + Int(value & 15)
  }

  private func encodeHour(_ hour: Int) -> UInt8 {
    if b & ControlB.hour24 != 0 { return encode(hour) }
    let twelve = hour % 12 == 0 ? 12 : hour % 12
    return encode(twelve) | (hour >= 12 ? 0x80 : 0)
  }

  private func decodeHour(_ value: UInt8) -> Int {
    if b & ControlB.hour24 != 0 { return decode(value) }
    return decode(value & 0x7F) % 12 + (value & 0x80 != 0 ? 12 : 0)
  }

  /// Writes the running time into the time registers.
  private func latchTime() {
    let now = CalendarTime(epoch: second)
    state.memory[0] = encode(now.second)
    state.memory[2] = encode(now.minute)
    state.memory[4] = encodeHour(now.hour)
    state.memory[6] = encode(now.weekday)
    state.memory[7] = encode(now.day)
    state.memory[8] = encode(now.month)
    state.memory[9] = encode(now.year % 100)
    let century = now.year / 100
    state.memory[Register.century] = UInt8(truncatingIfNeeded: (century / 10) << 4 | century % 10)
  }

  /// Sets the running time from the time registers, keeping the fraction of a second.
  private func takeTime() {
    let memory = state.memory
    let centuryByte = memory[Register.century]
    let century = Int(centuryByte >> 4) * 10 + Int(centuryByte & 15)
    let date = CalendarTime(
      year: century * 100 + decode(memory[9]), month: min(max(decode(memory[8]), 1), 12), day: decode(memory[7]),
      hour: decodeHour(memory[4]), minute: decode(memory[2]), second: decode(memory[0]))
    let epoch = min(max(date.epoch, 0), 7_000_000_000)
    let fraction = time % 1_000_000_000
    let now = Int64(truncatingIfNeeded: clock.now & 0x3FFF_FFFF_FFFF_FFFF)
    state.offset = epoch * 1_000_000_000 + max(fraction, 0) - now
    state.seen = epoch
    noteAhead()
  }

  private func noteAhead() {
    if let wallClock { state.ahead = time &- wallClock() }
  }

  /// Brings the date to what it would be had guest time not stood still. It never goes back: a host whose clock is behind
  /// does not take a guest into its past.
  private func goOn() {
    guard let wallClock, !isHeld else { return }
    let due = wallClock() &+ (state.ahead ?? aheadAtPowerOn)
    let missing = due &- time
    guard missing >= 1_000_000_000, (0..<7_000_000_000 * 1_000_000_000).contains(due) else { return }
    state.offset &+= missing
    catchUp()
  }

  /// Whether an update is in progress or due within 244 us (data sheet, "Update Cycle").
  private var isUpdating: Bool { !isHeld && time % 1_000_000_000 >= 1_000_000_000 - 244_000 }

  // MARK: Ports

  public func readByte(_ port: UInt16) -> UInt8 {
    guard port == 0x71 else { return 0xFF }
    let index = Int(state.index)
    switch index {
    case 0, 2, 4, 6...9, Register.century:
      if !isHeld { latchTime() }
      return state.memory[index]
    case Register.a: return state.memory[index] & 0x7F | (isUpdating ? 0x80 : 0)
    case Register.c:
      catchUp()
      let flags = state.memory[index]
      state.memory[index] = 0
      setIRQ(false)
      return flags
    default: return state.memory[index]
    }
  }

  public func writeByte(_ port: UInt16, _ value: UInt8) {
    if port == 0x70 {
      state.index = value & 0x7F
      let masked = value & 0x80 != 0
      if masked != state.nmiMasked {
        state.nmiMasked = masked
        onNMIMask(masked)
      }
      return
    }
    let index = Int(state.index)
    switch index {
    case 0, 2, 4, 6...9, Register.century:
      if isHeld {
        state.memory[index] = value
      } else {
        latchTime()
        state.memory[index] = value
        takeTime()
      }
    case Register.a: writeA(value & 0x7F)
    case Register.b: writeB(value)
    case Register.c, Register.d: break
    default: state.memory[index] = value
    }
  }

  private func writeA(_ value: UInt8) {
    catchUp()
    let wasHeld = isHeld
    if !wasHeld { latchTime() }
    state.memory[Register.a] = value
    if wasHeld && !isHeld { takeTime() }
    armPeriodic()
    armSecond()
  }

  private func writeB(_ value: UInt8) {
    catchUp()
    let wasHeld = isHeld
    if !wasHeld { latchTime() }
    var new = value
    // SET clears the update-ended interrupt enable.
    if value & ControlB.set != 0 { new &= ~ControlB.updateInterrupt }
    let old = b
    if wasHeld && value & ControlB.set == 0 && state.memory[Register.a] & 0x60 != 0x60 {
      state.memory[Register.b] = new
      takeTime()
    }
    state.memory[Register.b] = new
    if old & ControlB.periodicInterrupt != new & ControlB.periodicInterrupt { armPeriodic() }
    armSecond()
    updateIRQ()
  }

  // MARK: Interrupts

  private func setIRQ(_ level: Bool) {
    state.irq = level
    irq.set(level)
  }

  private func updateIRQ() {
    let flags = state.memory[Register.c] & 0x70
    if flags & b & 0x70 != 0 {
      state.memory[Register.c] |= FlagC.request
      setIRQ(true)
    } else {
      state.memory[Register.c] &= ~FlagC.request
      setIRQ(false)
    }
  }

  /// Makes the flags of the seconds that have passed since it was last asked.
  private func catchUp() {
    guard !isHeld else {
      state.seen = max(second, 0)
      return
    }
    let now = second
    guard now > state.seen else {
      if now < state.seen { state.seen = now }
      return
    }
    state.memory[Register.c] |= FlagC.update
    // The alarm repeats within a day.
    var probe = max(state.seen, now - 86400) + 1
    while probe <= now {
      if alarmMatches(probe) {
        state.memory[Register.c] |= FlagC.alarm
        break
      }
      probe += 1
    }
    state.seen = now
    updateIRQ()
  }

  /// The alarm bytes; the two high bits set mean "any".
  private func alarmMatches(_ second: Int64) -> Bool {
    let ofDay = Int(second % 86400)
    let memory = state.memory
    if memory[1] & 0xC0 != 0xC0 && decode(memory[1]) != ofDay % 60 { return false }
    if memory[3] & 0xC0 != 0xC0 && decode(memory[3]) != ofDay / 60 % 60 { return false }
    return memory[5] & 0xC0 == 0xC0 || decodeHour(memory[5]) == ofDay / 3600
  }

  private func armSecond() {
    guard !isHeld, b & (ControlB.updateInterrupt | ControlB.alarmInterrupt) != 0 else {
      secondTimer?.cancel()
      return
    }
    let fraction = time % 1_000_000_000
    secondTimer?.arm(at: clock.now &+ UInt64(1_000_000_000 - max(fraction, 0)))
  }

  private func secondPassed() {
    catchUp()
    armSecond()
  }

  /// Nanoseconds of the selected rate, or 0 (data sheet, table 5, 32.768 kHz time base).
  private var period: UInt64 {
    let rate = state.memory[Register.a] & 15
    guard rate != 0, state.memory[Register.a] & 0x70 == 0x20 else { return 0 }
    let selected = UInt64(rate < 3 ? rate + 7 : rate)
    return scaled(1 << (selected - 1), by: 1_000_000_000, over: 32768)
  }

  private func armPeriodic() {
    guard period != 0, b & ControlB.periodicInterrupt != 0 else {
      state.periodicDeadline = 0
      periodicTimer?.cancel()
      return
    }
    state.periodicDeadline = clock.now &+ period
    periodicTimer?.arm(at: state.periodicDeadline)
  }

  private func periodPassed() {
    guard period != 0, state.periodicDeadline != 0 else { return }
    let now = clock.now
    var next = state.periodicDeadline &+ period
    if next <= now { next = now &+ period &- (now &- state.periodicDeadline) % period }
    state.periodicDeadline = next
    periodicTimer?.arm(at: next)
    state.memory[Register.c] |= FlagC.periodic
    updateIRQ()
  }

  // MARK: Device

  /// Reset clears the interrupt enables and flags; time and memory have a battery (data sheet, "RESET").
  public func reset() {
    state.index = 0
    state.memory[Register.b] &=
      ~(ControlB.periodicInterrupt | ControlB.alarmInterrupt | ControlB.updateInterrupt | 0x08)
    state.memory[Register.c] = 0
    state.periodicDeadline = 0
    periodicTimer?.cancel()
    secondTimer?.cancel()
    setIRQ(false)
    if state.nmiMasked {
      state.nmiMasked = false
      onNMIMask(false)
    }
  }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "rtc146818", version: 2, state: state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "rtc146818", upTo: 2)
    try requireValid(loaded.memory.count == 128, in: section, "CMOS memory has 128 bytes")
    try requireValid(loaded.index < 128, in: section, "no such register")
    try requireValid(loaded.offset.magnitude < 1 << 62, in: section, "the date is out of range")
    try requireValid((0...8_000_000_000).contains(loaded.seen), in: section, "the date is out of range")
    try requireValid(loaded.periodicDeadline < 1 << 62, in: section, "the next interrupt is out of range")
    try requireValid((loaded.ahead ?? 0).magnitude < 1 << 62, in: section, "the date is out of range")
    state = loaded
    state.memory = Data(loaded.memory)
    irq.restore(loaded.irq)
    rearm()
  }

  private func rearm() {
    if state.periodicDeadline != 0 && period != 0 {
      periodicTimer?.arm(at: state.periodicDeadline)
    } else {
      periodicTimer?.cancel()
    }
    armSecond()
  }

  public func pause() {}
  public func resume() {
    goOn()
    rearm()
  }
}
