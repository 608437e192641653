/// The registers of a 16550A UART (National PC16550D data sheet, section 8), without its pins' surroundings.
///
/// Transmission is immediate: a byte written leaves at once, and the transmitter is empty again. Reception goes through
/// the 16-byte FIFO, or the single holding register while FIFOs are off.
struct UART16550Core {
  static let fifoSize = 16

  struct State: Codable, Equatable, Sendable {
    var interruptEnable: UInt8 = 0
    var fifoControl: UInt8 = 0
    var lineControl: UInt8 = 0
    var modemControl: UInt8 = 0
    /// Error bits only; data ready and the transmitter's bits are derived.
    var lineErrors: UInt8 = 0
    var modemStatus: UInt8 = 0
    var scratch: UInt8 = 0
    /// 9600 baud, what firmware leaves behind.
    var divisor: UInt16 = 12
    var received: [UInt8] = []
    /// A transmitter-empty interrupt waits (reset by reading IIR when it is the cause, or by writing THR).
    var transmitterInterrupt = false
    /// The FIFO has been left alone for four character times.
    var timedOut = false
    /// Guest time of the last character received or read.
    var lastActivity: UInt64 = 0

    static let kind = "uart16550"
    static let version = 1
  }

  struct InterruptEnable: OptionSet {
    let rawValue: UInt8
    static let receivedData = Self(rawValue: 1)
    static let transmitterEmpty = Self(rawValue: 2)
    static let lineStatus = Self(rawValue: 4)
    static let modemStatus = Self(rawValue: 8)
  }

  struct LineStatus: OptionSet {
    let rawValue: UInt8
    static let dataReady = Self(rawValue: 0x01)
    static let overrun = Self(rawValue: 0x02)
    static let breakInterrupt = Self(rawValue: 0x10)
    static let holdingEmpty = Self(rawValue: 0x20)
    static let transmitterEmpty = Self(rawValue: 0x40)
  }

  struct ModemControl: OptionSet {
    let rawValue: UInt8
    static let dataTerminalReady = Self(rawValue: 0x01)
    static let requestToSend = Self(rawValue: 0x02)
    static let out1 = Self(rawValue: 0x04)
    /// On a PC this gates the interrupt line.
    static let out2 = Self(rawValue: 0x08)
    static let loopback = Self(rawValue: 0x10)
  }

  /// The inputs in the high nibble; each one's change since the last read in the low nibble.
  struct ModemStatus: OptionSet {
    let rawValue: UInt8
    static let clearToSend = Self(rawValue: 0x10)
    static let dataSetReady = Self(rawValue: 0x20)
    static let ringIndicator = Self(rawValue: 0x40)
    static let carrierDetect = Self(rawValue: 0x80)
    static let connected: Self = [.clearToSend, .dataSetReady, .carrierDetect]
  }

  var state = State()
  /// What the wires from the other side say (high nibble of the modem status).
  var modemInputs: ModemStatus = .connected

  /// The gate that OUT2 opens is there.
  let isStrict: Bool

  init(isStrict: Bool = false) {
    self.isStrict = isStrict
    state.modemStatus = modemInputs.rawValue
  }

  mutating func reset() {
    let divisor = State().divisor
    state = State()
    state.divisor = divisor
    state.modemStatus = modemInputs.rawValue
  }

  // MARK: Derived

  var fifosEnabled: Bool { state.fifoControl & 1 != 0 }
  var isLoopback: Bool { state.modemControl & ModemControl.loopback.rawValue != 0 }
  private var isDivisorLatch: Bool { state.lineControl & 0x80 != 0 }
  var room: Int { (fifosEnabled ? Self.fifoSize : 1) - state.received.count }

  private var trigger: Int {
    guard fifosEnabled else { return 1 }
    switch state.fifoControl >> 6 {
    case 0: return 1
    case 1: return 4
    case 2: return 8
    default: return 14
    }
  }

  /// Nanoseconds one character takes on the wire: a 1.8432 MHz crystal, 16 clocks a bit.
  var characterTime: UInt64 { shortestCharacterTime * UInt64(max(state.divisor, 1)) }

  /// The same at the highest speed, 115,200 baud.
  var shortestCharacterTime: UInt64 {
    let dataBits = UInt64(state.lineControl & 3) + 5
    let stopBits: UInt64 = state.lineControl & 4 != 0 ? 2 : 1
    let parityBits: UInt64 = state.lineControl & 8 != 0 ? 1 : 0
    let bits = 1 + dataBits + parityBits + stopBits
    return bits * 1_000_000_000 / 115_200
  }

  /// The interrupt identification of the highest pending cause, or 1 for none (8.6, table III).
  var identification: UInt8 {
    let enabled = InterruptEnable(rawValue: state.interruptEnable)
    if enabled.contains(.lineStatus) && state.lineErrors != 0 { return 6 }
    if enabled.contains(.receivedData) {
      if state.received.count >= trigger { return 4 }
      if state.timedOut && !state.received.isEmpty { return 0xC }
    }
    if enabled.contains(.transmitterEmpty) && state.transmitterInterrupt { return 2 }
    if enabled.contains(.modemStatus) && state.modemStatus & 0x0F != 0 { return 0 }
    return 1
  }

  /// The level of the interrupt line. On a PC it passes a gate that OUT2 opens; systems that leave the modem control register
  /// alone find their interrupts all the same unless the gate is asked for. In loopback OUT2's pin is inactive, but drivers
  /// probe their IRQ that way, and clones keep the interrupt working.
  var interruptLevel: Bool {
    identification != 1 && (!isStrict || state.modemControl & ModemControl.out2.rawValue != 0)
  }

  /// When the character timeout strikes, if nothing is received or read before (8.4.1).
  var timeoutDeadline: UInt64? {
    guard fifosEnabled, !state.received.isEmpty, !state.timedOut else { return nil }
    return state.lastActivity &+ 4 &* characterTime
  }

  mutating func checkTimeout(now: UInt64) {
    if let deadline = timeoutDeadline, now >= deadline { state.timedOut = true }
  }

  // MARK: The guest's side

  mutating func read(_ register: Int, now: UInt64) -> UInt8 {
    switch register {
    case 0:
      if isDivisorLatch { return UInt8(truncatingIfNeeded: state.divisor) }
      guard !state.received.isEmpty else { return 0 }
      state.lastActivity = now
      state.timedOut = false
      return state.received.removeFirst()
    case 1:
      return isDivisorLatch ? UInt8(state.divisor >> 8) : state.interruptEnable
    case 2:
      let cause = identification
      if cause == 2 { state.transmitterInterrupt = false }
      return cause | (fifosEnabled ? 0xC0 : 0)
    case 3: return state.lineControl
    case 4: return state.modemControl
    case 5:
      var status: LineStatus = [.holdingEmpty, .transmitterEmpty]
      if !state.received.isEmpty { status.insert(.dataReady) }
      let value = status.rawValue | state.lineErrors
      state.lineErrors = 0
      return value
    case 6:
      let value = isLoopback ? loopedModemStatus | state.modemStatus & 0x0F : state.modemStatus
      state.modemStatus &= 0xF0
      return value
    default: return state.scratch
    }
  }

  /// - Returns: a byte that leaves on the wire, if the write sent one.
  mutating func write(_ register: Int, _ value: UInt8, now: UInt64) -> UInt8? {
    switch register {
    case 0:
      if isDivisorLatch {
        state.divisor = state.divisor & 0xFF00 | UInt16(value)
        return nil
      }
      // The line must fall and rise again for an edge-triggered controller: the glue looks between the two steps.
      state.transmitterInterrupt = false
      if isLoopback {
        receive(value, now: now)
        return nil
      }
      return value
    case 1:
      if isDivisorLatch {
        state.divisor = state.divisor & 0x00FF | UInt16(value) << 8
        return nil
      }
      // Enabling the cause while the transmitter is empty raises it anew: drivers start sending that way.
      let rising = value & ~state.interruptEnable & InterruptEnable.transmitterEmpty.rawValue
      state.interruptEnable = value & 0x0F
      if rising != 0 { state.transmitterInterrupt = true }
    case 2:
      writeFIFOControl(value)
    case 3: state.lineControl = value
    case 4: writeModemControl(value & 0x1F)
    case 5, 6: break  // factory test and read-only
    default: state.scratch = value
    }
    return nil
  }

  /// The byte written last has left.
  mutating func transmitterBecameEmpty() { state.transmitterInterrupt = true }

  private mutating func writeFIFOControl(_ value: UInt8) {
    let toggles = (value ^ state.fifoControl) & 1 != 0
    if toggles || value & 2 != 0 {
      state.received.removeAll()
      state.timedOut = false
    }
    if toggles || value & 4 != 0 { state.transmitterInterrupt = true }
    // The other bits count only while bit 0 is written as 1; the reset bits clear themselves.
    state.fifoControl = value & 1 != 0 ? value & 0xC9 : 0
  }

  private mutating func writeModemControl(_ value: UInt8) {
    let before = effectiveInputs
    state.modemControl = value
    noteChange(from: before, to: effectiveInputs)
  }

  /// In loopback the four outputs feed the four inputs: DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD.
  private var loopedModemStatus: UInt8 {
    let control = state.modemControl
    let clearToSend: UInt8 = (control & 2) << 3
    let dataSetReady: UInt8 = (control & 1) << 5
    let ring: UInt8 = (control & 4) << 4
    let carrier: UInt8 = (control & 8) << 4
    return clearToSend | dataSetReady | ring | carrier
  }

  private var effectiveInputs: UInt8 { isLoopback ? loopedModemStatus : modemInputs.rawValue }

  /// Delta bits; the ring indicator counts only its trailing edge.
  private mutating func noteChange(from before: UInt8, to after: UInt8) {
    var delta = (before ^ after) >> 4
    if before & 0x40 == 0 { delta &= ~4 }
    state.modemStatus = after | state.modemStatus & 0x0F | delta
  }

  // MARK: The wire's side

  mutating func setModemInputs(_ inputs: ModemStatus) {
    let before = effectiveInputs
    modemInputs = inputs
    noteChange(from: before, to: effectiveInputs)
  }

  /// A character from the wire. One too many is lost and told by the overrun bit, so the glue asks for `room` first.
  mutating func receive(_ byte: UInt8, now: UInt64) {
    guard room > 0 else {
      state.lineErrors |= LineStatus.overrun.rawValue
      // Without FIFOs the new character overwrites the old one (8.2).
      if !fifosEnabled { state.received = [byte] }
      return
    }
    state.received.append(byte)
    state.lastActivity = now
    state.timedOut = false
  }

  /// The wire was held at space for a whole character: a zero byte with the break bit.
  mutating func receiveBreak(now: UInt64) {
    receive(0, now: now)
    state.lineErrors |= LineStatus.breakInterrupt.rawValue
  }
}

extension UART16550Core.State {
  /// Whether the fields can have come from a UART.
  var isPlausible: Bool {
    received.count <= UART16550Core.fifoSize && interruptEnable & 0xF0 == 0 && modemControl & 0xE0 == 0
      && lineErrors & ~0x1E == 0
  }
}
