import CZlib
import Foundation

/// As much of a PNG file as tells whether anything is to be seen on it.
struct Picture {
  var width = 0
  var height = 0
  /// Bytes of pixels, and those of them that are not 0 before or after filtering: black pictures have none.
  var bytes = 0
  var litBytes = 0
  /// 0xRRGGBB of each pixel, of a picture in eight bits of each colour.
  var pixels: [UInt32] = []

  init(png: Data) throws {
    let file = [UInt8](png)
    guard file.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) else { throw Failure("no PNG file") }
    var compressed: [UInt8] = []
    var bitsPerPixel = 0
    var at = 8
    func number(_ offset: Int) -> Int { file[offset..<offset + 4].reduce(0) { $0 << 8 | Int($1) } }
    while at + 12 <= file.count {
      let length = number(at)
      let data = at + 8..<at + 8 + length
      guard data.upperBound + 4 <= file.count else { throw Failure("the PNG file is cut off") }
      switch String(decoding: file[at + 4..<at + 8], as: UTF8.self) {
      case "IHDR":
        (width, height) = (number(at + 8), number(at + 12))
        let channels = [0: 1, 2: 3, 3: 1, 4: 2, 6: 4][Int(file[at + 17])] ?? 0
        bitsPerPixel = Int(file[at + 16]) * channels
      case "IDAT": compressed += file[data]
      default: break
      }
      at = data.upperBound + 4
    }
    let pitch = 1 + (width * bitsPerPixel + 7) / 8
    var raw = [UInt8](repeating: 0, count: pitch * height)
    var size = uLong(raw.count)
    guard uncompress(&raw, &size, compressed, uLong(compressed.count)) == Z_OK, size == raw.count else {
      throw Failure("the PNG file's pixels cannot be read")
    }
    bytes = (pitch - 1) * height
    for (index, byte) in raw.enumerated() where index % pitch != 0 && byte != 0 { litBytes += 1 }
    guard bitsPerPixel == 24 else { return }
    for y in 0..<height { try read(row: raw[y * pitch..<(y + 1) * pitch]) }
  }

  /// A row behind its filter's number (W3C PNG, 9): none or Sub, which is what vmctl writes.
  private mutating func read(row: ArraySlice<UInt8>) throws {
    guard let filter = row.first, filter < 2 else { throw Failure("the PNG file has filter \(row.first ?? 0)") }
    var row = Array(row.dropFirst())
    if filter == 1 { for index in 3..<row.count { row[index] &+= row[index - 3] } }
    for at in stride(from: 0, to: row.count, by: 3) {
      pixels.append(UInt32(row[at]) << 16 | UInt32(row[at + 1]) << 8 | UInt32(row[at + 2]))
    }
  }
}
