/// Text from a peer, before a person sees it: what a terminal would obey, or take for another line, becomes a space.
public enum ForeignText {
  /// A text in which control characters (C0, DEL, C1, line and paragraph separators, changes of writing direction) are
  /// spaces, cut at `limit` characters.
  public static func clean(_ text: String, limit: Int = 4000) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.prefix(limit).map { isControl($0.value) ? " " : $0 }))
  }

  /// JSON text whose strings are clean: raw control characters are no JSON, so that their escapes, by number and the short
  /// forms, are what there is, besides DEL, C1 and separators as UTF-8.
  static func clean(json bytes: [UInt8]) -> [UInt8] {
    guard bytes.contains(where: { $0 == 0x5c || $0 == 0x7f || $0 >= 0xc2 }) else { return bytes }
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count)
    var index = 0
    while index < bytes.count {
      let byte = bytes[index]
      if byte == 0x5c, index + 1 < bytes.count {
        let next = bytes[index + 1]
        switch next {
        case UInt8(ascii: "u"):
          let digits = bytes[(index + 2)..<min(index + 6, bytes.count)]
          let value = UInt32(String(decoding: digits, as: UTF8.self), radix: 16)
          if let value, digits.count == 4, isControl(value) {
            result.append(0x20)
          } else {
            result += bytes[index..<min(index + 6, bytes.count)]
          }
          index += 6
        case UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"), UInt8(ascii: "b"), UInt8(ascii: "f"):
          result.append(0x20)
          index += 2
        default:
          result += [byte, next]
          index += 2
        }
        continue
      }
      // C1 are C2 80 to C2 9F; separators and directions E2 80 8E ... E2 81 A9.
      if byte == 0x7f {
        result.append(0x20)
        index += 1
      } else if byte == 0xc2, index + 1 < bytes.count, bytes[index + 1] < 0xa0 {
        result.append(0x20)
        index += 2
      } else if byte == 0xe2, index + 2 < bytes.count,
        let scalar = String(decoding: bytes[index..<index + 3], as: UTF8.self).unicodeScalars.first,
        isControl(scalar.value)
      {
        result.append(0x20)
        index += 3
      } else {
        result.append(byte)
        index += 1
      }
    }
    return result
  }

  private static func isControl(_ value: UInt32) -> Bool {
    switch value {
    case 0...0x1f, 0x7f...0x9f, 0x200e, 0x200f, 0x2028...0x202e, 0x2066...0x2069: true
    default: false
    }
  }
}
