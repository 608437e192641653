/// A 101-key PS/2 keyboard: keys in, scan codes out, commands answered.
///
/// Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboard (101/102-key)", commands.
public struct PS2Keyboard: Sendable {
  static let queueLimit = 256
  /// Bytes of key strokes a keyboard keeps.
  static let keyLimit = 16

  /// Its settings and the bytes that wait to be read.
  public struct State: Codable, Equatable, Sendable {
    var queue: [UInt8] = []
    /// The command whose argument byte is awaited; 0: none.
    var command: UInt8 = 0
    var scanning = true
    var scanCodeSet: UInt8 = 2
    var leds: UInt8 = 0
    var typematic: UInt8 = 0x2B
    var lastSent: UInt8 = 0
    /// A 0xE0 of a set 1 stroke waits for its second byte.
    var prefix = false

    var isValid: Bool {
      queue.count <= PS2Keyboard.queueLimit && (1...3).contains(scanCodeSet) && leds < 8
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

  /// Whether it listens to keys and can keep another.
  var hasRoom: Bool { state.scanning && state.queue.count < Self.keyLimit }

  /// A key as set 1 bytes, in the form the host has them; only while there is room.
  mutating func key(_ byte: UInt8) {
    if byte == 0xE0 {
      state.prefix = true
      return
    }
    if byte == 0xE1 {
      send(0xE1)
      return
    }
    let prefix = state.prefix
    state.prefix = false
    if state.scanCodeSet == 1 {
      if prefix { send(0xE0) }
      send(byte)
      return
    }
    let code = ScanCodes.set2OfSet1[Int(byte & 0x7F)]
    guard code != 0 else { return }
    let released = byte & 0x80 != 0
    // Set 3 has no prefixes; the extended keys share the plain keys' codes here.
    if prefix && state.scanCodeSet == 2 { send(0xE0) }
    if released { send(0xF0) }
    send(code)
  }

  /// A byte from the controller: a command, or the argument of one.
  mutating func receive(_ byte: UInt8) {
    let pending = state.command
    state.command = 0
    if pending != 0 && byte < 0xED {
      argument(pending, byte)
      return
    }
    switch byte {
    case 0xED, 0xF0, 0xF3:
      state.command = byte
      send(0xFA)
    case 0xEE: send(0xEE)
    case 0xF2: send(0xFA, 0xAB, 0x83)
    case 0xF4:
      state.queue.removeAll(keepingCapacity: true)
      state.scanning = true
      send(0xFA)
    case 0xF5:
      defaults()
      state.scanning = false
      send(0xFA)
    case 0xF6:
      defaults()
      send(0xFA)
    case 0xF7...0xFA: send(0xFA)  // key types of set 3: all keys are typematic, make and break
    case 0xFB...0xFD:
      state.command = byte
      send(0xFA)
    case 0xFE: send(state.lastSent)
    case 0xFF:
      state = State()
      send(0xFA, 0xAA)
    default: send(0xFE)
    }
  }

  private mutating func defaults() {
    state.queue.removeAll(keepingCapacity: true)
    state.scanCodeSet = 2
    state.typematic = 0x2B
  }

  private mutating func argument(_ command: UInt8, _ byte: UInt8) {
    switch command {
    case 0xED:
      state.leds = byte & 7
      send(0xFA)
    case 0xF0:
      if byte == 0 {
        send(0xFA, state.scanCodeSet)
      } else if byte <= 3 {
        state.scanCodeSet = byte
        send(0xFA)
      } else {
        send(0xFE)
      }
    case 0xF3:
      state.typematic = byte & 0x7F
      send(0xFA)
    default: send(0xFA)
    }
  }
}
