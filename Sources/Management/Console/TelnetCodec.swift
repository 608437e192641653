/// The telnet protocol (RFC 854, 855, 856, 857, 858) as a serial console needs it: the server echoes, suppresses go-ahead
/// and speaks binary both ways, so that the client sends each key at once and shows nothing by itself.
///
/// No I/O in here: bytes go in, data and answers come out, at any split. A client that has never sent an IAC is taken
/// for a plain one (nc) and its bytes are left as they are.
struct TelnetCodec {
  static let iac: UInt8 = 255
  private static let dont: UInt8 = 254
  private static let doIt: UInt8 = 253
  private static let wont: UInt8 = 252
  private static let will: UInt8 = 251
  private static let sb: UInt8 = 250
  private static let brk: UInt8 = 243
  private static let ip: UInt8 = 244
  private static let ec: UInt8 = 247
  private static let el: UInt8 = 248
  private static let se: UInt8 = 240

  private static let binary: UInt8 = 0
  private static let echo: UInt8 = 1
  private static let suppressGoAhead: UInt8 = 3
  /// The window's size (RFC 1073).
  private static let windowSize: UInt8 = 31

  /// Sent when a client connects: WILL ECHO, WILL SGA, DO SGA, WILL BINARY, DO BINARY, DO NAWS.
  static let greeting: [UInt8] = [
    iac, will, echo, iac, will, suppressGoAhead, iac, doIt, suppressGoAhead, iac, will, binary, iac, doIt, binary,
    iac, doIt, windowSize,
  ]

  private enum State { case data, command, option(UInt8), subnegotiation, subnegotiationCommand }
  private var state = State.data
  private var afterCR = false
  /// What a subnegotiation says, as far as one is of use.
  private var said: [UInt8] = []
  /// The window's size, when it has come since it was taken last.
  private var size: (columns: UInt16, rows: UInt16)?
  /// Breaks that have come since they were taken last (RFC 854, "BRK").
  private var breaks = 0
  /// Whether the other side speaks telnet at all.
  private(set) var isTelnet = false
  /// What each side does: set from the offer of the greeting and the client's answers.
  private(set) var sendsBinary = false
  private(set) var receivesBinary = false
  private var refusedMine: Set<UInt8> = []
  private var refusedTheirs: Set<UInt8> = []

  /// Takes what came from the client.
  /// - Returns: what was typed, and what to answer.
  mutating func receive(_ input: some Sequence<UInt8>) -> (data: [UInt8], reply: [UInt8]) {
    var data: [UInt8] = []
    var reply: [UInt8] = []
    for byte in input {
      switch state {
      case .data:
        if byte == Self.iac { state = .command } else { take(byte, &data) }
      case .command:
        command(byte, &data)
      case .option(let verb):
        state = .data
        negotiate(verb, byte, &reply)
      case .subnegotiation:
        if byte == Self.iac { state = .subnegotiationCommand } else { note(byte) }
      case .subnegotiationCommand:
        state = byte == Self.se ? .data : .subnegotiation
        if byte == Self.iac { note(byte) }
        if byte == Self.se { subnegotiated() }
      }
    }
    return (data, reply)
  }

  private mutating func note(_ byte: UInt8) { if said.count < 8 { said.append(byte) } }

  private mutating func subnegotiated() {
    if said.count == 5, said[0] == Self.windowSize {
      size = (UInt16(said[1]) << 8 | UInt16(said[2]), UInt16(said[3]) << 8 | UInt16(said[4]))
    }
  }

  /// The client's window, in characters, once each time it has said so.
  mutating func takeSize() -> (columns: UInt16, rows: UInt16)? {
    defer { size = nil }
    return size
  }

  /// How many breaks have come, once.
  mutating func takeBreaks() -> Int {
    defer { breaks = 0 }
    return breaks
  }

  /// A line's end is one CR for a serial line; telnet outside binary mode sends CR LF or CR NUL (RFC 854, "the NVT printer").
  private mutating func take(_ byte: UInt8, _ data: inout [UInt8]) {
    let skips = afterCR && (byte == 0 || byte == 10)
    afterCR = isTelnet && !receivesBinary && byte == 13
    if !skips { data.append(byte) }
  }

  private mutating func command(_ byte: UInt8, _ data: inout [UInt8]) {
    isTelnet = isTelnet || byte != Self.iac
    state = .data
    switch byte {
    case Self.iac: take(byte, &data)
    case Self.will, Self.wont, Self.doIt, Self.dont: state = .option(byte)
    case Self.sb:
      state = .subnegotiation
      said = []
    case Self.ip: data.append(3)
    case Self.brk: breaks += 1
    case Self.ec: data.append(0x7F)
    case Self.el: data.append(0x15)
    default: break
    }
  }

  private mutating func negotiate(_ verb: UInt8, _ option: UInt8, _ reply: inout [UInt8]) {
    let mine = [Self.echo, Self.suppressGoAhead, Self.binary]
    let theirs = [Self.suppressGoAhead, Self.binary, Self.windowSize]
    switch verb {
    case Self.doIt:
      if !mine.contains(option) {
        if refusedMine.insert(option).inserted { reply += [Self.iac, Self.wont, option] }
      } else if option == Self.binary {
        sendsBinary = true
      }
    case Self.dont:
      if option == Self.binary { sendsBinary = false }
    case Self.will:
      if !theirs.contains(option) {
        if refusedTheirs.insert(option).inserted { reply += [Self.iac, Self.dont, option] }
      } else if option == Self.binary {
        receivesBinary = true
        afterCR = false
      }
    default:
      if option == Self.binary { receivesBinary = false }
    }
  }

  /// What the guest wrote, as it goes to the client.
  mutating func send(_ output: some Sequence<UInt8>) -> [UInt8] {
    var result: [UInt8] = []
    for byte in output {
      // Outside binary mode a CR alone is sent as CR NUL.
      if sentCR {
        sentCR = false
        if byte != 10 { result.append(0) }
      }
      if byte == Self.iac && isTelnet { result.append(Self.iac) }
      result.append(byte)
      sentCR = byte == 13 && isTelnet && !sendsBinary
    }
    return result
  }
  private var sentCR = false
}
