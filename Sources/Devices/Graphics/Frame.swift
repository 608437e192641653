/// A picture of the screen: rows of red, green, blue and alpha (255), top first.
public struct Frame: Equatable, Sendable {
  /// Pixels of a line.
  public let width: Int
  /// Lines of the picture.
  public let height: Int
  /// `width * height * 4` bytes.
  public var pixels: [UInt8]

  /// A black picture.
  public init(width: Int, height: Int) {
    self.width = width
    self.height = height
    pixels = Array(repeating: 0, count: width * height * 4)
    for index in 0..<width * height { pixels[index * 4 + 3] = 0xFF }
  }

  /// 0xRRGGBB.
  public func pixel(_ x: Int, _ y: Int) -> UInt32 {
    let at = (y * width + x) * 4
    return UInt32(pixels[at]) << 16 | UInt32(pixels[at + 1]) << 8 | UInt32(pixels[at + 2])
  }
}
