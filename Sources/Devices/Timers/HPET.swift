import GuestMemory
import SavedState

/// The high precision event timer block at 0xFED00000: a 64-bit counter at 100 MHz and three comparators.
///
/// Source: IA-PC HPET Specification 1.0a, 2.3. In legacy replacement mode (2.3.5, LEG_RT_CNF) comparator 0 takes IRQ 0 from
/// the PIT and comparator 1 IRQ 8 from the RTC: both devices drive `pitInput` and `rtcInput`, which this one passes on.
public final class HPET: Device, MemoryMappedIO {
  /// The physical address of its registers.
  public static let base: UInt64 = 0xFED0_0000
  /// Femtoseconds a tick: 10 ns.
  public static let period: UInt64 = 10_000_000
  static let tickNanoseconds: UInt64 = 10

  /// Timer configuration bits, 2.3.8.
  enum Config {
    static let level: UInt64 = 1 << 1
    static let enable: UInt64 = 1 << 2
    static let periodic: UInt64 = 1 << 3
    static let periodicCapable: UInt64 = 1 << 4
    static let size64: UInt64 = 1 << 5
    static let setAccumulator: UInt64 = 1 << 6
    static let force32: UInt64 = 1 << 8
    static let writable: UInt64 = 0x3F4E
  }

  /// One timer's registers.
  public struct Comparator: Codable, Equatable, Sendable {
    var config: UInt64 = 0
    var compare: UInt64 = .max
    var period: UInt64 = 0
    /// Main counter value for which the alarm is set; 0 with `armed` false.
    var target: UInt64 = 0
    var armed = false
  }

  /// The registers, and what the counter was when it last started.
  public struct State: Codable, Equatable, Sendable {
    var config: UInt64 = 0
    var status: UInt64 = 0
    /// The main counter while it is halted; its value at guest time 0 (wrapping) while it runs.
    var counter: UInt64 = 0
    var timers = [Comparator(), Comparator(), Comparator()]
    var pitLevel = false
    var rtcLevel = false
  }

  public let name = "hpet"
  private var state = State()
  private let clock: GuestClock
  private let wires: InterruptWires
  private var alarms: [ClockTimer] = []
  private let ioapicPin: (Int, Bool) -> Void

  /// The PIT's IRQ 0 and the RTC's IRQ 8 go in here.
  public private(set) lazy var pitInput = InterruptLine { [unowned self] level in
    self.state.pitLevel = level
    if !self.isLegacy { self.wires.setISA(0, level) }
  }
  /// The clock chip's interrupt, which legacy replacement cuts off.
  public private(set) lazy var rtcInput = InterruptLine { [unowned self] level in
    self.state.rtcLevel = level
    if !self.isLegacy { self.wires.setISA(8, level) }
  }

  /// - Parameter ioapicPin: drives a pin of the I/O APIC of which no ISA device holds the wire.
  public init(
    memory: PhysicalMemory, clock: GuestClock, wires: InterruptWires, ioapicPin: @escaping (Int, Bool) -> Void
  ) {
    self.clock = clock
    self.wires = wires
    self.ioapicPin = ioapicPin
    state = Self.initial
    alarms = (0..<3).map { index in clock.makeTimer { [unowned self] in self.fire(index) } }
    memory.mapIO(self, name: "hpet", start: Self.base, length: 0x400)
  }

  private static var initial: State {
    var state = State()
    for index in 0..<3 { state.timers[index].config = Config.periodicCapable | Config.size64 | routes }
    return state
  }

  /// The I/O APIC pins a comparator can be routed to: 2 and 16 to 23.
  private static let routes: UInt64 = 0x00FF_0004 << 32

  private var isEnabled: Bool { state.config & 1 != 0 }
  private var isLegacy: Bool { state.config & 2 != 0 }
  private var ticks: UInt64 { clock.now / Self.tickNanoseconds }
  private var counter: UInt64 { isEnabled ? state.counter &+ ticks : state.counter }

  // MARK: Registers

  public func readMemory(offset: UInt64, size: Int) -> UInt64 {
    let value = readRegister(offset & ~7)
    let shifted = value >> ((offset & 7) * 8)
    return size == 8 ? shifted : shifted & ((1 << UInt64(size * 8)) - 1)
  }

  private func readRegister(_ offset: UInt64) -> UInt64 {
    switch offset {
    // Revision 1, three timers, 64 bits, legacy replacement, vendor 8086.
    case 0x000: return Self.period << 32 | 0x8086_A201
    case 0x010: return state.config
    case 0x020: return state.status
    case 0x0F0: return counter
    case 0x100..<0x160:
      settle()
      let timer = state.timers[Int(offset - 0x100) / 0x20]
      switch offset & 0x1F {
      case 0x00: return timer.config
      case 0x08: return currentCompare(timer)
      default: return 0
      }
    default: return 0
    }
  }

  /// A periodic comparator reads as the value it will match next.
  private func currentCompare(_ timer: Comparator) -> UInt64 {
    is32(timer) ? timer.compare & 0xFFFF_FFFF : timer.compare
  }

  private func is32(_ timer: Comparator) -> Bool { timer.config & Config.force32 != 0 }

  public func writeMemory(offset: UInt64, size: Int, value: UInt64) {
    settle()
    let register = offset & ~7
    let shift = (offset & 7) * 8
    let ones: UInt64 = size == 8 ? .max : (1 << UInt64(size * 8)) - 1
    let mask = ones << shift
    let bits = (value & ones) << shift
    switch register {
    case 0x010: writeConfig(state.config & ~mask | bits)
    case 0x020: clearStatus(bits)
    case 0x0F0:
      let new = counter & ~mask | bits
      state.counter = isEnabled ? new &- ticks : new
      if isEnabled { for index in 0..<3 { arm(index) } }
    case 0x100..<0x160:
      let index = Int(register - 0x100) / 0x20
      if register & 0x1F == 0 {
        writeTimerConfig(index, state.timers[index].config & ~mask | bits)
      } else if register & 0x1F == 8 {
        writeCompare(index, bits, mask)
      }
    default: break
    }
  }

  private func writeConfig(_ value: UInt64) {
    let wasEnabled = isEnabled
    let wasLegacy = isLegacy
    let now = counter
    state.config = value & 3
    if isEnabled != wasEnabled {
      state.counter = isEnabled ? now &- ticks : now
      for index in 0..<3 {
        if isEnabled { arm(index) } else { disarm(index) }
      }
    }
    if isLegacy != wasLegacy {
      wires.setISA(0, isLegacy ? false : state.pitLevel)
      wires.setISA(8, isLegacy ? false : state.rtcLevel)
    }
  }

  private func clearStatus(_ bits: UInt64) {
    let cleared = state.status & bits & 7
    state.status &= ~cleared
    for index in 0..<3 where cleared >> UInt64(index) & 1 != 0 { drive(index, false) }
  }

  private func writeTimerConfig(_ index: Int, _ value: UInt64) {
    let old = state.timers[index].config
    var new = value & Config.writable | old & ~Config.writable
    if new & Config.periodicCapable == 0 { new &= ~Config.periodic }
    if new & Config.level == 0 && state.status >> UInt64(index) & 1 != 0 {
      drive(index, false)
      state.status &= ~(1 << UInt64(index))
    }
    state.timers[index].config = new
    if new & Config.force32 != 0 {
      state.timers[index].compare &= 0xFFFF_FFFF
      state.timers[index].period &= 0xFFFF_FFFF
    }
    if isEnabled { arm(index) }
  }

  private func writeCompare(_ index: Int, _ bits: UInt64, _ mask: UInt64) {
    let config = state.timers[index].config
    if config & Config.periodic == 0 || config & Config.setAccumulator != 0 {
      state.timers[index].compare = state.timers[index].compare & ~mask | bits
    }
    if config & Config.periodic != 0 {
      state.timers[index].period = state.timers[index].period & ~mask | bits
    }
    // The accumulator bit holds for one write of the register, which may be in two halves.
    if mask >> 63 != 0 || config & Config.force32 != 0 || mask == 0xFFFF_FFFF {
      state.timers[index].config &= ~Config.setAccumulator
    }
    if config & Config.force32 != 0 {
      state.timers[index].compare &= 0xFFFF_FFFF
      state.timers[index].period &= 0xFFFF_FFFF
    }
    if isEnabled { arm(index) }
  }

  // MARK: Matching

  /// Arms the alarm for the counter's next match with comparator `index`.
  private func arm(_ index: Int) {
    let timer = state.timers[index]
    let now = counter
    var distance = timer.compare &- now
    if is32(timer) { distance &= 0xFFFF_FFFF }
    if timer.config & Config.periodic != 0 && timer.period != 0 {
      // A periodic comparator that lies behind has its next match a whole number of periods on.
      let behind = is32(timer) ? distance >= 1 << 31 : distance >= 1 << 63
      if behind {
        var late = now &- timer.compare
        if is32(timer) { late &= 0xFFFF_FFFF }
        let steps = late / timer.period &+ 1
        var next = timer.compare &+ steps &* timer.period
        if is32(timer) { next &= 0xFFFF_FFFF }
        state.timers[index].compare = next
        distance = next &- now
        if is32(timer) { distance &= 0xFFFF_FFFF }
      }
    }
    // Too far to be told in nanoseconds: it never comes.
    guard distance < 1 << 58 else { return disarm(index) }
    state.timers[index].target = now &+ distance
    state.timers[index].armed = true
    setAlarm(index)
  }

  private func setAlarm(_ index: Int) {
    let timer = state.timers[index]
    guard timer.armed, isEnabled, isHeard(timer) else { return alarms[index].cancel() }
    let distance = timer.target &- state.counter
    guard distance < 1 << 59 else { return alarms[index].cancel() }
    alarms[index].arm(at: distance &* Self.tickNanoseconds)
  }

  private func disarm(_ index: Int) {
    state.timers[index].armed = false
    state.timers[index].target = 0
    alarms[index].cancel()
  }

  /// Whether anything happens when it matches. Linux leaves comparator 0 running, 250 times a second, with its interrupt off:
  /// that needs no alarm, only to be as if it had been there when somebody looks (`settle`).
  private func isHeard(_ timer: Comparator) -> Bool { timer.config & (Config.enable | Config.level) != 0 }

  private func fire(_ index: Int) {
    guard isEnabled, state.timers[index].armed else { return }
    advance(index)
    raise(index)
  }

  /// The comparators that match without an alarm go to where they are by now.
  private func settle() {
    guard isEnabled else { return }
    for index in 0..<3 {
      let timer = state.timers[index]
      if timer.armed, !isHeard(timer), counter &- timer.target < 1 << 63 { advance(index) }
    }
  }

  /// From a match that has come to the next one.
  private func advance(_ index: Int) {
    let timer = state.timers[index]
    let late = counter &- timer.target
    if timer.config & Config.periodic != 0 && timer.period != 0 {
      var next = timer.compare &+ (late / timer.period &+ 1) &* timer.period
      if is32(timer) { next &= 0xFFFF_FFFF }
      state.timers[index].compare = next
      arm(index)
    } else if is32(timer) {
      // The low half comes round again after 2^32 ticks.
      state.timers[index].target = timer.target &+ (late >> 32 &+ 1) << 32
      setAlarm(index)
    } else {
      disarm(index)
    }
  }

  private func raise(_ index: Int) {
    let config = state.timers[index].config
    if config & Config.level != 0 { state.status |= 1 << UInt64(index) }
    guard config & Config.enable != 0 else { return }
    drive(index, true)
    if config & Config.level == 0 { drive(index, false) }
  }

  /// Drives the wire a comparator is routed to.
  private func drive(_ index: Int, _ level: Bool) {
    if isLegacy && index == 0 { return wires.setISA(0, level) }
    if isLegacy && index == 1 { return wires.setISA(8, level) }
    let pin = Int(state.timers[index].config >> 9 & 31)
    guard (Self.routes >> 32) >> UInt64(pin) & 1 != 0 else { return }
    ioapicPin(pin, level)
  }

  // MARK: Device

  public func reset() {
    for index in 0..<3 {
      drive(index, false)
      alarms[index].cancel()
    }
    let pit = state.pitLevel
    let rtc = state.rtcLevel
    state = Self.initial
    state.pitLevel = pit
    state.rtcLevel = rtc
    wires.setISA(0, pit)
    wires.setISA(8, rtc)
  }

  public func save() throws -> StateSection {
    settle()
    return try StateSection(name: name, kind: "hpet", version: 1, state: state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "hpet", upTo: 1)
    try requireValid(loaded.timers.count == 3, in: section, "it has three comparators")
    try requireValid(loaded.config < 4 && loaded.status < 8, in: section, "reserved bits are set")
    let fixed = Config.periodicCapable | Config.size64 | Self.routes
    for timer in loaded.timers {
      try requireValid(timer.config & ~Config.writable == fixed, in: section, "a comparator's capabilities differ")
    }
    state = loaded
    pitInput.restore(loaded.pitLevel)
    rtcInput.restore(loaded.rtcLevel)
    for index in 0..<3 { setAlarm(index) }
  }

  public func pause() {}
  public func resume() { for index in 0..<3 { setAlarm(index) } }
}
