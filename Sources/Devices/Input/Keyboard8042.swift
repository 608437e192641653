import SavedState

/// The 8042 keyboard controller at ports 0x60 and 0x64, with keyboard and mouse.
///
/// Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
public final class Keyboard8042: Device, BytePortIO {
  enum Status {
    static let outputFull: UInt8 = 0x01
    static let system: UInt8 = 0x04
    static let command: UInt8 = 0x08
    static let unlocked: UInt8 = 0x10
    static let auxiliary: UInt8 = 0x20
  }

  /// The command byte, address 0x20 of the controller's memory.
  enum Mode {
    static let keyboardInterrupt: UInt8 = 0x01
    static let mouseInterrupt: UInt8 = 0x02
    static let system: UInt8 = 0x04
    static let keyboardOff: UInt8 = 0x10
    static let mouseOff: UInt8 = 0x20
    static let translate: UInt8 = 0x40
  }

  enum Source: UInt8 {
    case none = 0
    case keyboard = 1
    case mouse = 2
    /// The controller's own answer: no translation; it goes in the keyboard's name.
    case controller = 3
  }

  /// The controller and both its devices, as a saved state holds them.
  public struct State: Codable, Equatable, Sendable {
    var mode: UInt8 = 0x45
    var output: UInt8 = 0
    /// Where the byte in the output buffer comes from; `Source.none`: it is empty.
    var source: UInt8 = 0
    /// A controller command awaits its byte at port 0x60; 0: none.
    var command: UInt8 = 0
    var lastWasCommand = false
    /// The output port: bit 0 reset, bit 1 A20.
    var outputPort: UInt8 = 0xDF
    /// The controller's memory, 0x21 to 0x3F (and the command byte's place).
    var memory: [UInt8] = Array(repeating: 0, count: 32)
    /// A 0xF0 has come from the keyboard: the next code is a release.
    var breakPending = false
    var keyboard = PS2Keyboard.State()
    var mouse = PS2Mouse.State()
    var keyboardIRQ = false
    var mouseIRQ = false
    /// Set 1 bytes of keys that wait for their turn (`KeyQueue`), and the guest time when the next one may go.
    var strokes: [UInt8] = []
    var strokeDue: UInt64 = 0
  }

  public let name = "kbd"
  private var state = State()
  private var keyboard = PS2Keyboard()
  private var mouse = PS2Mouse()
  private var keys = KeyQueue()
  private let clock: GuestClock
  private var keyTimer: ClockTimer!
  private let keyboardIRQ: InterruptLine
  private let mouseIRQ: InterruptLine
  /// Called when the output port's A20 gate changes, with its new level.
  public var onA20: (Bool) -> Void = { _ in }
  /// Called when the guest pulses the reset line.
  public var onReset: () -> Void = {}
  /// Scroll, num and caps lock as bits 0 to 2.
  public var onLEDs: (UInt8) -> Void = { _ in }

  /// - Parameters: keyboardIRQ: IRQ 1. mouseIRQ: IRQ 12.
  public init(ports: PortBus, clock: GuestClock, keyboardIRQ: InterruptLine, mouseIRQ: InterruptLine) {
    self.clock = clock
    self.keyboardIRQ = keyboardIRQ
    self.mouseIRQ = mouseIRQ
    keyTimer = clock.makeTimer { [unowned self] in sendKeys() }
    ports.map(self, 0x60...0x60)
    ports.map(self, 0x64...0x64)
  }

  // MARK: Host side

  /// Keys as set 1 bytes, presses and releases (`keyboardputscancode`). They wait until the guest's keyboard is on and go at
  /// `KeyQueue`'s pace.
  /// - Returns: false when too many wait already; then none is taken.
  public func key(_ bytes: [UInt8]) -> Bool {
    guard keys.append(bytes) else { return false }
    sendKeys()
    return true
  }

  /// Types `text` on a US keyboard (`keyboardputstring`); characters that have no key there are left out.
  /// - Returns: as `key`.
  public func type(_ text: String) -> Bool {
    key(text.flatMap { ScanCodes.type($0) ?? [] })
  }

  /// Mouse movement (right, down, towards the user positive) and the buttons' levels: left 1, right 2, middle 4, then 8, 16.
  public func mouseEvent(dx: Int, dy: Int, dz: Int = 0, buttons: UInt8) {
    mouse.event(dx: dx, dy: dy, dz: dz, buttons: buttons)
    fill()
  }

  /// Port 0x92 switched A20: the output port reads it back.
  public func a20Changed(_ on: Bool) {
    if on { state.outputPort |= 2 } else { state.outputPort &= ~2 }
  }

  /// Gives the keyboard the keys whose time has come, as long as it has room.
  private func sendKeys() {
    while keyboard.hasRoom, let bytes = keys.next(now: clock.now) {
      for byte in bytes { keyboard.key(byte) }
    }
    // Without room the guest's next read of the port comes back here, or its command that switches the keyboard on.
    if keyboard.hasRoom && !keys.isEmpty { keyTimer.arm(at: keys.due) } else { keyTimer.cancel() }
    fill()
  }

  // MARK: Output buffer

  /// Moves the next byte into the empty output buffer.
  private func fill() {
    while state.source == Source.none.rawValue {
      if state.mode & Mode.keyboardOff == 0, let byte = keyboard.next() {
        if state.mode & Mode.translate != 0 {
          if byte == 0xF0 {
            state.breakPending = true
            continue
          }
          put(ScanCodes.translate(byte, isBreak: state.breakPending), .keyboard)
          state.breakPending = false
        } else {
          put(byte, .keyboard)
        }
      } else if state.mode & Mode.mouseOff == 0, let byte = mouse.next() {
        put(byte, .mouse)
      } else {
        break
      }
    }
    updateIRQ()
  }

  private func put(_ byte: UInt8, _ source: Source) {
    state.output = byte
    state.source = source.rawValue
  }

  private func answer(_ byte: UInt8, _ source: Source = .controller) {
    put(byte, source)
    updateIRQ()
  }

  private func updateIRQ() {
    let full = state.source != Source.none.rawValue
    let fromMouse = state.source == Source.mouse.rawValue
    state.keyboardIRQ = full && !fromMouse && state.mode & Mode.keyboardInterrupt != 0
    state.mouseIRQ = full && fromMouse && state.mode & Mode.mouseInterrupt != 0
    keyboardIRQ.set(state.keyboardIRQ)
    mouseIRQ.set(state.mouseIRQ)
  }

  // MARK: Ports

  public func readByte(_ port: UInt16) -> UInt8 {
    if port == 0x64 { return status }
    guard state.source != Source.none.rawValue else { return state.output }
    let value = state.output
    state.source = Source.none.rawValue
    // The lines drop between two bytes, so that each makes an edge.
    updateIRQ()
    mouse.flush()
    sendKeys()
    return value
  }

  private var status: UInt8 {
    var value = Status.unlocked
    if state.source != Source.none.rawValue { value |= Status.outputFull }
    if state.source == Source.mouse.rawValue { value |= Status.auxiliary }
    if state.mode & Mode.system != 0 { value |= Status.system }
    if state.lastWasCommand { value |= Status.command }
    return value
  }

  public func writeByte(_ port: UInt16, _ value: UInt8) {
    state.lastWasCommand = port == 0x64
    if port == 0x64 { control(value) } else { data(value) }
  }

  private func control(_ value: UInt8) {
    state.command = 0
    switch value {
    case 0x20: answer(state.mode)
    case 0x21...0x3F: answer(state.memory[Int(value & 31)])
    case 0x60...0x7F, 0xD1...0xD4: state.command = value
    case 0xA7: setMode(state.mode | Mode.mouseOff)
    case 0xA8: setMode(state.mode & ~Mode.mouseOff)
    case 0xA9, 0xAB: answer(0x00)  // interface tests: no error
    case 0xAA:
      // The self test sets the system flag and leaves both interfaces off.
      setMode((state.mode | Mode.system | Mode.keyboardOff | Mode.mouseOff))
      answer(0x55)
    case 0xAD: setMode(state.mode | Mode.keyboardOff)
    case 0xAE: setMode(state.mode & ~Mode.keyboardOff)
    case 0xC0: answer(0x80)
    case 0xD0:
      var port = state.outputPort & ~0x30
      if state.source == Source.keyboard.rawValue { port |= 0x10 }
      if state.source == Source.mouse.rawValue { port |= 0x20 }
      answer(port)
    case 0xDD, 0xDF: setOutputPort(value == 0xDF ? state.outputPort | 2 : state.outputPort & ~2)
    case 0xE0: answer(0x00)
    case 0xF0...0xFF:
      // Pulses the output port's bits that are 0; bit 0 is the CPU's reset.
      if value & 1 == 0 { onReset() }
    default: break
    }
  }

  private func setMode(_ mode: UInt8) {
    state.mode = mode & 0x7F
    fill()
  }

  private func setOutputPort(_ value: UInt8) {
    let old = state.outputPort
    state.outputPort = value
    if (old ^ value) & 2 != 0 { onA20(value & 2 != 0) }
    if value & 1 == 0 {
      state.outputPort |= 1
      onReset()
    }
  }

  private func data(_ value: UInt8) {
    let command = state.command
    state.command = 0
    switch command {
    case 0:
      // Data for the keyboard switches its interface on.
      state.mode &= ~Mode.keyboardOff
      let leds = keyboard.state.leds
      keyboard.receive(value)
      if keyboard.state.leds != leds { onLEDs(keyboard.state.leds) }
      sendKeys()
    case 0x60: setMode(value)
    case 0x61...0x7F: state.memory[Int(command & 31)] = value
    case 0xD1: setOutputPort(value)
    case 0xD2: answer(value, .keyboard)
    case 0xD3: answer(value, .mouse)
    case 0xD4:
      state.mode &= ~Mode.mouseOff
      mouse.receive(value)
      fill()
    default: break
    }
  }

  // MARK: Device

  public func reset() {
    state = State()
    keyboard.reset()
    mouse.reset()
    keys = KeyQueue()
    keyTimer.cancel()
    updateIRQ()
  }

  public func save() throws -> StateSection {
    var saved = state
    saved.keyboard = keyboard.state
    saved.mouse = mouse.state
    saved.strokes = Array(keys.waiting)
    saved.strokeDue = keys.due
    return try StateSection(name: name, kind: "i8042", version: 1, state: saved)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "i8042", upTo: 1)
    try requireValid(loaded.memory.count == 32, in: section, "the controller has 32 bytes of memory")
    try requireValid(loaded.source <= 3 && loaded.mode < 0x80, in: section, "the output buffer is out of range")
    try requireValid(loaded.strokes.count <= KeyQueue.limit, in: section, "too many keys wait")
    try requireValid(loaded.keyboard.isValid, in: section, "the keyboard's registers are out of range")
    try requireValid(loaded.mouse.isValid, in: section, "the mouse's registers are out of range")
    state = loaded
    keyboard.state = loaded.keyboard
    mouse.state = loaded.mouse
    // They live in the devices; here they would only age.
    state.keyboard = PS2Keyboard.State()
    state.mouse = PS2Mouse.State()
    state.strokes = []
    state.strokeDue = 0
    keys = KeyQueue(bytes: loaded.strokes, due: loaded.strokeDue)
    keyTimer.cancel()
    keyboardIRQ.restore(loaded.keyboardIRQ)
    mouseIRQ.restore(loaded.mouseIRQ)
  }

  /// The clock stops with the machine, and the alarm with it.
  public func pause() {}
  public func resume() { sendKeys() }
}
