import Foundation

/// Wakes a thread that waits in poll(2).
package final class Bell: Sendable {
  /// Readable when it has been rung.
  package let descriptor: Int32
  private let rope: Int32

  /// - Throws: `HostNetworkError` when the host has no descriptors left.
  package init() throws(HostNetworkError) {
    (descriptor, rope) = try Descriptors.pair()
    Descriptors.setNonBlocking(descriptor)
    Descriptors.setNonBlocking(rope)
  }

  deinit {
    close(descriptor)
    close(rope)
  }

  /// Never waits: a bell that is rung already stays so.
  package func ring() { _ = Descriptors.write(rope, [1]) }

  /// Takes all that has been rung.
  package func hear() {
    var buffer = [UInt8](repeating: 0, count: 256)
    _ = Descriptors.read(descriptor, into: &buffer)
  }
}
