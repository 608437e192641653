import CScreen
import Foundation

/// A picture in memory that viewers map: this process writes it, nobody else can (`vm_shared_picture_create`).
///
/// Pixels are red, green, blue and 255, a byte each, lines without gaps, the top one first.
final class SharedPicture {
  let width: Int
  let height: Int
  /// To be passed to viewers.
  let descriptor: Int32
  private let pixels: UnsafeMutablePointer<UInt32>

  /// A black picture.
  /// - Throws: `ManagementError` when the host has no memory or no descriptor left.
  init(width: Int, height: Int) throws {
    var memory: UnsafeMutableRawPointer?
    descriptor = vm_shared_picture_create(width * height * 4, &memory)
    guard descriptor >= 0, let memory else { throw ManagementError.system("cannot make a picture for viewers") }
    self.width = width
    self.height = height
    pixels = memory.bindMemory(to: UInt32.self, capacity: width * height)
    pixels.update(repeating: 0xFF00_0000, count: width * height)
  }

  deinit {
    munmap(pixels, width * height * 4)
    close(descriptor)
  }

  /// Puts a line there.
  /// - Returns: from where to where it has changed; nil: nowhere.
  func put(line y: Int, _ line: UnsafeBufferPointer<UInt32>) -> Range<Int>? {
    guard let from = line.baseAddress, line.count == width, y < height else { return nil }
    let to = pixels + y * width
    guard memcmp(from, to, width * 4) != 0 else { return nil }
    var (first, end) = (0, width)
    while first < end, from[first] == to[first] { first += 1 }
    while end > first, from[end - 1] == to[end - 1] { end -= 1 }
    (to + first).update(from: from + first, count: end - first)
    return first..<end
  }
}
