/// A PS/2 mouse with three buttons and, once the driver has knocked (sample rates 200, 100, 80), a wheel; with 200, 200, 80
/// five buttons.
///
/// Source: IBM PS/2 Hardware Interface Technical Reference, "Mouse"; the wheel: Microsoft, "Intellimouse" extension.
public struct PS2Mouse: Sendable {
  static let queueLimit = 64

  /// Its settings, its counters and the bytes that wait to be read.
  public struct State: Codable, Equatable, Sendable {
    var queue: [UInt8] = []
    var command: UInt8 = 0
    var reporting = false
    var remote = false
    var wrap = false
    var scaling = false
    var resolution: UInt8 = 2
    var sampleRate: UInt8 = 100
    /// The last three sample rates, for the knock.
    var rates: [UInt8] = [0, 0, 0]
    /// 0 plain, 3 wheel, 4 five buttons: the device's id.
    var id: UInt8 = 0
    var buttons: UInt8 = 0
    var dx = 0
    var dy = 0
    var dz = 0
    var lastSent: UInt8 = 0
    var reportedButtons: UInt8 = 0

    var isValid: Bool {
      let movement = -100_000...100_000
      return queue.count <= PS2Mouse.queueLimit && resolution < 4 && rates.count == 3 && [0, 3, 4].contains(id)
        && buttons < 32 && movement.contains(dx) && movement.contains(dy) && movement.contains(dz)
    }
  }

  /// What a saved state holds of it.
  public internal(set) var state = State()

  mutating func reset() { state = State() }

  private mutating func send(_ bytes: UInt8...) {
    for byte in bytes where state.queue.count < Self.queueLimit { state.queue.append(byte) }
  }

  mutating func next() -> UInt8? {
    guard !state.queue.isEmpty else { return nil }
    state.lastSent = state.queue.removeFirst()
    return state.lastSent
  }

  /// Movement (right, down and towards the user are positive) and the buttons' levels: left, right, middle, 4, 5.
  mutating func event(dx: Int, dy: Int, dz: Int, buttons: UInt8) {
    func bounded(_ value: Int, _ change: Int) -> Int { min(max(value + min(max(change, -4096), 4096), -65536), 65536) }
    state.dx = bounded(state.dx, dx)
    state.dy = bounded(state.dy, dy)
    state.dz = bounded(state.dz, dz)
    state.buttons = buttons & 31
    flush()
  }

  private var hasNews: Bool {
    state.dx != 0 || state.dy != 0 || state.dz != 0 || state.buttons != state.reportedButtons
  }

  /// Turns what has gathered into packets, while there is room.
  mutating func flush() {
    guard state.reporting, !state.remote, !state.wrap else { return }
    while hasNews && state.queue.count < 16 { packet() }
  }

  private mutating func packet() {
    let x = min(max(state.dx, -255), 255)
    let y = min(max(-state.dy, -255), 255)
    var first: UInt8 = 8 | state.buttons & 7
    if x < 0 { first |= 0x10 }
    if y < 0 { first |= 0x20 }
    send(first, UInt8(truncatingIfNeeded: x), UInt8(truncatingIfNeeded: y))
    state.dx -= x
    state.dy += y
    if state.id == 0 {
      state.dz = 0
    } else {
      let z = state.id == 3 ? min(max(state.dz, -127), 127) : min(max(state.dz, -7), 7)
      state.dz -= z
      var fourth = UInt8(truncatingIfNeeded: z)
      if state.id == 4 { fourth = fourth & 15 | (state.buttons & 0x18) << 1 }
      send(fourth)
    }
    state.reportedButtons = state.buttons
  }

  mutating func receive(_ byte: UInt8) {
    if state.wrap && byte != 0xEC && byte != 0xFF {
      send(byte)
      return
    }
    let pending = state.command
    state.command = 0
    if pending == 0xF3 {
      setRate(byte)
      return
    }
    if pending == 0xE8 {
      state.resolution = byte & 3
      send(0xFA)
      return
    }
    state.queue.removeAll(keepingCapacity: true)
    switch byte {
    case 0xE6, 0xE7:
      state.scaling = byte == 0xE7
      send(0xFA)
    case 0xE8, 0xF3:
      state.command = byte
      send(0xFA)
    case 0xE9:
      var status: UInt8 = 0
      if state.buttons & 2 != 0 { status |= 1 }
      if state.buttons & 4 != 0 { status |= 2 }
      if state.buttons & 1 != 0 { status |= 4 }
      if state.scaling { status |= 0x10 }
      if state.reporting { status |= 0x20 }
      if state.remote { status |= 0x40 }
      send(0xFA, status, state.resolution, state.sampleRate)
    case 0xEA, 0xF0:
      state.remote = byte == 0xF0
      send(0xFA)
    case 0xEB:
      send(0xFA)
      packet()
    case 0xEC, 0xEE:
      state.wrap = byte == 0xEE
      send(0xFA)
    case 0xF2: send(0xFA, state.id)
    case 0xF4, 0xF5:
      state.reporting = byte == 0xF4
      state.dx = 0
      state.dy = 0
      state.dz = 0
      state.reportedButtons = state.buttons
      send(0xFA)
    case 0xF6:
      defaults()
      send(0xFA)
    case 0xFE: send(state.lastSent)
    case 0xFF:
      state = State()
      send(0xFA, 0xAA, 0x00)
    default: send(0xFE)
    }
  }

  private mutating func defaults() {
    let kept = state.id
    let buttons = state.buttons
    state = State()
    state.id = kept
    state.buttons = buttons
    state.reportedButtons = buttons
  }

  private mutating func setRate(_ rate: UInt8) {
    state.sampleRate = rate
    state.rates = [state.rates[1], state.rates[2], rate]
    if state.rates == [200, 100, 80] { state.id = 3 }
    if state.rates == [200, 200, 80] && state.id == 3 { state.id = 4 }
    send(0xFA)
  }
}
