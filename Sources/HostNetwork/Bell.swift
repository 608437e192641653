import Foundation

/// Wakes a thread that waits in poll(2).
final class Bell: Sendable {
  /// Readable when it has been rung.
  let descriptor: Int32
  private let rope: Int32

  /// - Throws: `HostNetworkError` when the host has no descriptors left.
  init() throws(HostNetworkError) {
    (descriptor, rope) = try Descriptors.pair()
    Descriptors.setNonBlocking(descriptor)
    Descriptors.setNonBlocking(rope)
  }

  deinit {
    close(descriptor)
    close(rope)
  }

  /// Never waits: a bell that is rung already stays so.
  func ring() { _ = Descriptors.write(rope, [1]) }

  func hear() {
    var buffer = [UInt8](repeating: 0, count: 256)
    _ = Descriptors.read(descriptor, into: &buffer)
  }
}
