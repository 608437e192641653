/// Writes pictures as PNG (ISO/IEC 15948) with stored, uncompressed data: small code for a rare use.
enum PNG {
  /// - Parameter rgb: three bytes a pixel, rows from the top.
  static func encode(width: Int, height: Int, rgb: [UInt8]) -> [UInt8] {
    var raw: [UInt8] = []
    raw.reserveCapacity(height * (width * 3 + 1))
    for row in 0..<height {
      raw.append(0)  // filter type 0 (9.2): the bytes as they are
      let start = min(row * width * 3, rgb.count)
      let end = min(start + width * 3, rgb.count)
      raw += rgb[start..<end]
      raw += Array(repeating: 0, count: width * 3 - (end - start))
    }
    var result: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
    // 8 bits a sample, colour type 2 (RGB), no interlace (11.2.2).
    result += chunk("IHDR", bigEndian(UInt32(width)) + bigEndian(UInt32(height)) + [8, 2, 0, 0, 0])
    result += chunk("IDAT", zlib(raw))
    result += chunk("IEND", [])
    return result
  }

  private static func chunk(_ type: String, _ data: [UInt8]) -> [UInt8] {
    let body = Array(type.utf8) + data
    return bigEndian(UInt32(data.count)) + body + bigEndian(crc(body))
  }

  /// A zlib stream (RFC 1950) of stored blocks (RFC 1951, 3.2.4).
  private static func zlib(_ raw: [UInt8]) -> [UInt8] {
    var result: [UInt8] = [0x78, 0x01]
    var position = 0
    repeat {
      let end = min(position + 65535, raw.count)
      let length = UInt16(end - position)
      result.append(end == raw.count ? 1 : 0)
      result += [UInt8(length & 0xFF), UInt8(length >> 8), UInt8(~length & 0xFF), UInt8(~length >> 8)]
      result += raw[position..<end]
      position = end
    } while position < raw.count
    var a: UInt32 = 1
    var b: UInt32 = 0
    for byte in raw {
      a = (a + UInt32(byte)) % 65521
      b = (b + a) % 65521
    }
    return result + bigEndian(b << 16 | a)
  }

  private static let crcTable: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in value & 1 != 0 ? 0xEDB8_8320 ^ value >> 1 : value >> 1 }
  }

  static func crc(_ bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(UInt32.max) { crcTable[Int(($0 ^ UInt32($1)) & 0xFF)] ^ $0 >> 8 }
  }

  private static func bigEndian(_ value: UInt32) -> [UInt8] {
    [UInt8(value >> 24), UInt8(value >> 16 & 0xFF), UInt8(value >> 8 & 0xFF), UInt8(value & 0xFF)]
  }
}
