import Foundation
import Management

/// Becomes readable when a signal asks for the end, so that what was made is put away first.
final class Interruption {
  let descriptor: Int32
  private let other: Int32
  private var signals: [SignalWatch] = []

  /// - Throws: `ManagementError` when no descriptors are left.
  init() throws {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw ManagementError("no descriptors are left", remedy: "see ulimit -n") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    (descriptor, other) = (ends[0], ends[1])
    signals = [SIGINT, SIGTERM, SIGHUP, SIGQUIT].map { number in
      SignalWatch([number]) { [other] in
        var byte = UInt8(number)
        _ = write(other, &byte, 1)
      }
    }
  }

  /// The status of a program that the signal has ended, as shells have it. Only when `descriptor` is readable.
  var status: Int32 {
    var byte: UInt8 = 0
    return read(descriptor, &byte, 1) == 1 ? 128 + Int32(byte) : 1
  }
}
