import Foundation

extension UnsafeRawBufferPointer {
  /// Whether all bytes are 0. Of none they are.
  public var isZero: Bool {
    guard let start = baseAddress, count > 0 else { return true }
    // What equals itself shifted by one byte repeats its first.
    return self[0] == 0 && memcmp(start, start + 1, count - 1) == 0
  }
}
