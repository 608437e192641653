/// Cuts what a debugger sends into packets of the GDB remote serial protocol ("Debugging with GDB", appendix E.1): `$`, the
/// payload, `#` and two digits of checksum; a byte 03 alone asks for a stop.
struct GDBFramer {
  enum Item: Equatable {
    /// The payload, unescaped.
    case packet([UInt8])
    /// Its checksum was wrong.
    case broken
    case interrupt
    /// The last packet did not arrive whole.
    case sendAgain
  }

  /// What `qSupported` announces, in bytes of payload.
  static let limit = 16384
  private enum State { case idle, payload, firstDigit, secondDigit(UInt8) }
  private var state = State.idle
  private var payload: [UInt8] = []
  private var sum: UInt8 = 0
  private var isEscaped = false
  private var isTooLong = false

  /// Takes bytes at any split.
  mutating func feed(_ bytes: some Sequence<UInt8>) -> [Item] {
    var items: [Item] = []
    for byte in bytes {
      switch state {
      case .idle:
        switch byte {
        case UInt8(ascii: "$"):
          state = .payload
          payload = []
          sum = 0
          isEscaped = false
          isTooLong = false
        case 3: items.append(.interrupt)
        case UInt8(ascii: "-"): items.append(.sendAgain)
        default: break
        }
      case .payload: take(byte)
      case .firstDigit: state = .secondDigit(byte)
      case .secondDigit(let first):
        state = .idle
        let isRight = Hex.byte(first, byte) == sum && !isTooLong
        items.append(isRight ? .packet(payload) : .broken)
      }
    }
    return items
  }

  private mutating func take(_ byte: UInt8) {
    if byte == UInt8(ascii: "#") && !isEscaped {
      state = .firstDigit
      return
    }
    sum &+= byte
    guard payload.count < Self.limit else {
      isTooLong = true
      return
    }
    if isEscaped {
      payload.append(byte ^ 0x20)
      isEscaped = false
    } else if byte == UInt8(ascii: "}") {
      isEscaped = true
    } else {
      payload.append(byte)
    }
  }

  /// A packet as it is sent; what would be taken for framing is escaped.
  static func packet(_ payload: some Sequence<UInt8>) -> [UInt8] {
    var bytes = [UInt8(ascii: "$")]
    var sum: UInt8 = 0
    func append(_ byte: UInt8) {
      bytes.append(byte)
      sum &+= byte
    }
    for byte in payload {
      switch byte {
      case UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "}"), UInt8(ascii: "*"):
        append(UInt8(ascii: "}"))
        append(byte ^ 0x20)
      default: append(byte)
      }
    }
    return bytes + [UInt8(ascii: "#")] + Array(Hex.text([sum]).utf8)
  }
}

/// Hexadecimal digits, two a byte.
enum Hex {
  private static let digits = Array("0123456789abcdef".utf8)

  static func text(_ bytes: some Sequence<UInt8>) -> String {
    String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }

  /// Nil when there are odd ones, or others.
  static func bytes(_ text: Substring) -> [UInt8]? {
    let digits = Array(text.utf8)
    guard digits.count % 2 == 0 else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: digits.count, by: 2) {
      guard let byte = byte(digits[index], digits[index + 1]) else { return nil }
      bytes.append(byte)
    }
    return bytes
  }

  static func byte(_ high: UInt8, _ low: UInt8) -> UInt8? {
    guard let high = Character(UnicodeScalar(high)).hexDigitValue, let low = Character(UnicodeScalar(low)).hexDigitValue
    else { return nil }
    return UInt8(high << 4 | low)
  }

  static func number(_ text: some StringProtocol) -> UInt64? {
    text.first?.isHexDigit == true ? UInt64(text, radix: 16) : nil
  }
}
