import Synchronization

@testable import Devices

/// A guest clock whose host time a test moves by hand.
final class ManualClock: Sendable {
  private final class HostTime: Sendable {
    let nanoseconds = Mutex<UInt64>(0)
  }
  private let host: HostTime
  let clock: GuestClock

  init(running: Bool = true) {
    let host = HostTime()
    self.host = host
    clock = GuestClock { host.nanoseconds.withLock { $0 } }
    if running { clock.start() }
  }

  /// Moves time on, stopping at every deadline on the way, as a timer thread that is never late would.
  func advance(nanoseconds: UInt64) {
    let end = clock.now + nanoseconds
    while let deadline = clock.nextDeadline, deadline <= end {
      let now = clock.now
      if deadline > now { host.nanoseconds.withLock { $0 += deadline - now } }
      clock.runDueTimers()
    }
    let now = clock.now
    if end > now { host.nanoseconds.withLock { $0 += end - now } }
  }

  func advance(microseconds: UInt64) { advance(nanoseconds: microseconds * 1000) }
  func advance(milliseconds: UInt64) { advance(nanoseconds: milliseconds * 1_000_000) }
}
