import SavedState

/// The programmable interval timer at ports 0x40 to 0x43, and the system control port 0x61 that gates its third counter.
///
/// Source: Intel 8254 data sheet (231164); port 0x61: PIIX3 data sheet (290550), 2.5.5.1 (NMISC).
public final class PIT8254: Device, BytePortIO {
  /// Hz: a third of the colour burst frequency's fourfold.
  public static let frequency: UInt64 = 1_193_182

  /// The three counters and port 61H.
  public struct State: Codable, Equatable, Sendable {
    var counters = [PITCounter(), PITCounter(), PITCounter()]
    /// Bits 0 to 3 of port 0x61: gate of counter 2, speaker, and the two NMI enables.
    var control: UInt8 = 0
    var irq = false
  }

  public let name = "pit"
  private var state = State()
  private let clock: GuestClock
  private let irq: InterruptLine
  private var timer: ClockTimer?
  /// The speaker's input changed: on or off, and the frequency in Hz of counter 2.
  public var onSpeaker: (Bool, Int) -> Void = { _, _ in }

  /// - Parameter irq: IRQ 0 (through the HPET's legacy replacement, where there is one).
  public init(ports: PortBus, clock: GuestClock, irq: InterruptLine) {
    self.clock = clock
    self.irq = irq
    state.counters[2].gate = false
    timer = clock.makeTimer { [unowned self] in self.update() }
    ports.map(self, 0x40...0x43)
    ports.map(self, 0x61...0x61)
  }

  private var tick: UInt64 { scaled(clock.now, by: Self.frequency, over: 1_000_000_000) }

  public func readByte(_ port: UInt16) -> UInt8 {
    let now = tick
    switch port {
    case 0x40...0x42:
      let index = Int(port - 0x40)
      state.counters[index].settle(now)
      return state.counters[index].read(now)
    case 0x61:
      state.counters[2].settle(now)
      var value = state.control
      // The refresh toggle changes every 15.085 us, as counter 1's output does: 18 ticks.
      if now / 18 & 1 != 0 { value |= 0x10 }
      if state.counters[2].output(now) { value |= 0x20 }
      return value
    default: return 0xFF
    }
  }

  public func writeByte(_ port: UInt16, _ value: UInt8) {
    let now = tick
    switch port {
    case 0x40...0x42:
      let index = Int(port - 0x40)
      state.counters[index].settle(now)
      state.counters[index].write(value, now)
    case 0x43: writeControl(value, now)
    case 0x61:
      state.control = value & 0x0F
      state.counters[2].setGate(value & 1 != 0, now)
    default: return
    }
    if port == 0x40 || port == 0x43 { update() }
    if port != 0x40 { reportSpeaker() }
  }

  private func writeControl(_ value: UInt8, _ now: UInt64) {
    let selected = Int(value >> 6)
    if selected == 3 {
      // Read-back: count and status latches are asked for by zeros.
      for index in 0..<3 where value >> UInt8(index + 1) & 1 != 0 {
        state.counters[index].settle(now)
        if value & 0x20 == 0 { state.counters[index].latchCount(now) }
        if value & 0x10 == 0 { state.counters[index].latchStatus(now) }
      }
    } else if value & 0x30 == 0 {
      state.counters[selected].settle(now)
      state.counters[selected].latchCount(now)
    } else {
      state.counters[selected].control(value)
    }
  }

  private func reportSpeaker() {
    let on = state.control & 3 == 3 && state.counters[2].mode == 3
    onSpeaker(on, Int(Self.frequency) / Int(state.counters[2].count))
  }

  /// Brings IRQ 0 to counter 0's output and arms the alarm for its next change.
  private func update() {
    let now = tick
    state.counters[0].settle(now)
    let level = state.counters[0].output(now)
    // An alarm means a rising edge, also when it comes so late that the low phase before it has been stepped over.
    if level && alarmIsDue { irq.set(false) }
    state.irq = level
    irq.set(level)
    armTimer(now)
  }

  private var alarmIsDue: Bool {
    guard let deadline = lastDeadline else { return false }
    return clock.now >= deadline
  }
  private var lastDeadline: UInt64?

  private func armTimer(_ now: UInt64) {
    guard let change = state.counters[0].nextChange(now) else {
      lastDeadline = nil
      timer?.cancel()
      return
    }
    var target = change
    let counter = state.counters[0]
    if counter.mode == 2 {
      // Only the rising edge at the period's end matters; the falling one is made just before it.
      let length = UInt64(counter.count)
      target = now &- (now &- counter.start) % length &+ length
    } else if counter.mode >= 4 && counter.output(now) {
      target = change &+ 1
    }
    let deadline = scaledUp(target, by: 1_000_000_000, over: Self.frequency)
    lastDeadline = deadline
    timer?.arm(at: deadline)
  }

  public func reset() {
    state = State()
    state.counters[2].gate = false
    state.irq = false
    irq.set(false)
    lastDeadline = nil
    timer?.cancel()
  }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "pit8254", version: 1, state: state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "pit8254", upTo: 1)
    try requireValid(loaded.counters.count == 3, in: section, "it has three counters")
    try requireValid(loaded.control < 16, in: section, "the control port has four bits")
    for counter in loaded.counters { try requireValid(counter.isValid, in: section, "a counter is out of range") }
    state = loaded
    irq.restore(loaded.irq)
    armTimer(tick)
  }

  /// The clock stops with the machine, and the alarm with it.
  public func pause() {}
  public func resume() { armTimer(tick) }
}
