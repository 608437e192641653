import CZlib
import Foundation
import Testing

@testable import Devices

@Suite struct PNGWriterTests {
  /// CRC-32 (ISO 3309), worked out bit by bit, apart from the library's.
  private func crc(_ bytes: [UInt8]) -> UInt32 {
    var value: UInt32 = .max
    for byte in bytes {
      value ^= UInt32(byte)
      for _ in 0..<8 { value = value & 1 != 0 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
    }
    return ~value
  }

  private func long(_ bytes: ArraySlice<UInt8>) -> UInt32 { bytes.prefix(4).reduce(0) { $0 << 8 | UInt32($1) } }

  /// Width, height and pixels of a PNG as this writer makes them.
  private func decode(_ file: [UInt8]) throws -> (Int, Int, [UInt8]) {
    #expect(Array(file.prefix(8)) == [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A])
    var at = 8
    var chunks: [String: [UInt8]] = [:]
    while at < file.count {
      let length = Int(long(file[at...]))
      let body = Array(file[at + 4..<at + 8 + length])
      #expect(long(file[(at + 8 + length)...]) == crc(body))
      chunks[String(decoding: body.prefix(4), as: UTF8.self)] = Array(body.dropFirst(4))
      at += 12 + length
    }
    #expect(chunks["IEND"] == [])
    let header = try #require(chunks["IHDR"])
    #expect(Array(header[8...]) == [8, 2, 0, 0, 0])
    let width = Int(long(header[0...]))
    let height = Int(long(header[4...]))
    let data = try #require(chunks["IDAT"])
    var rows = [UInt8](repeating: 0, count: (width * 3 + 1) * height)
    var length = uLong(rows.count)
    // Checks the Adler-32 sum as well.
    #expect(uncompress(&rows, &length, data, uLong(data.count)) == Z_OK)
    #expect(Int(length) == rows.count)
    var pixels: [UInt8] = []
    for y in 0..<height {
      let start = y * (width * 3 + 1)
      #expect(rows[start] == 1)
      var left: [UInt8] = [0, 0, 0]
      for x in 0..<width {
        for component in 0..<3 {
          left[component] &+= rows[start + 1 + x * 3 + component]
        }
        pixels += left + [255]
      }
    }
    return (width, height, pixels)
  }

  @Test(arguments: [(1, 1), (3, 2), (720, 400)]) func aDecoderGetsThePixelsBack(width: Int, height: Int) throws {
    var frame = Frame(width: width, height: height)
    for index in 0..<width * height {
      for component in 0..<3 {
        frame.pixels[index * 4 + component] = UInt8(truncatingIfNeeded: index * (component + 3) / 7)
      }
    }
    let (w, h, pixels) = try decode(PNGWriter.encode(frame))
    #expect(w == width && h == height)
    #expect(pixels == frame.pixels)
  }

  @Test func aTextScreenIsSmall() {
    #expect(PNGWriter.encode(Frame(width: 720, height: 400)).count < 5000)
  }
}
