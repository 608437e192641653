import CZlib

/// Writes a frame as a PNG file (W3C PNG, second edition): eight bits of red, green and blue.
public enum PNGWriter {
  public static func encode(_ frame: Frame) -> [UInt8] {
    var file: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
    var header: [UInt8] = []
    header += bigEndian(UInt32(frame.width))
    header += bigEndian(UInt32(frame.height))
    header += [8, 2, 0, 0, 0]  // depth 8, truecolour, deflate, adaptive filters, not interlaced
    append("IHDR", header, to: &file)
    append("IDAT", deflated(rows(of: frame)), to: &file)
    append("IEND", [], to: &file)
    return file
  }

  /// Each row behind filter type 1 (Sub), which suits flat areas.
  private static func rows(of frame: Frame) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity((frame.width * 3 + 1) * frame.height)
    for y in 0..<frame.height {
      bytes.append(1)
      var left: (UInt8, UInt8, UInt8) = (0, 0, 0)
      for x in 0..<frame.width {
        let at = (y * frame.width + x) * 4
        let pixel = (frame.pixels[at], frame.pixels[at + 1], frame.pixels[at + 2])
        bytes.append(pixel.0 &- left.0)
        bytes.append(pixel.1 &- left.1)
        bytes.append(pixel.2 &- left.2)
        left = pixel
      }
    }
    return bytes
  }

  private static func deflated(_ bytes: [UInt8]) -> [UInt8] {
    var length = compressBound(uLong(bytes.count))
    var result = [UInt8](repeating: 0, count: Int(length))
    // With a buffer of the bound's size only a lack of memory can fail.
    let status = compress2(&result, &length, bytes, uLong(bytes.count), Z_DEFAULT_COMPRESSION)
    precondition(status == Z_OK, "zlib ran out of memory")
    return Array(result.prefix(Int(length)))
  }

  private static func append(_ type: String, _ data: [UInt8], to file: inout [UInt8]) {
    let body = Array(type.utf8) + data
    file += bigEndian(UInt32(data.count))
    file += body
    file += bigEndian(UInt32(truncatingIfNeeded: crc32(0, body, uInt(body.count))))
  }

  private static func bigEndian(_ value: UInt32) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> UInt32($0)) }
  }
}
