/// Lets a machine's CPUs run only a part of the time. Guest time goes on meanwhile: to the guest its CPUs are slow.
///
/// Runs and rests alternate; both are short, so that what waits for the guest waits for one rest at most, and what the
/// guest writes in one run is little when it is to be slowed down much.
final class CPUThrottle: @unchecked Sendable {
  private static let longestRun = 5e6  // nanoseconds
  private static let longestRest = 500e6

  private let threads: [CPUThread]
  private let monitor = Monitor()
  private var thread: HostThread?
  private var percent = 0.0

  init(threads: [CPUThread]) { self.threads = threads }

  /// - Parameter percent: of the time in which the CPUs rest, 0 to 99.9; 0 ends it.
  /// Called by one thread at a time.
  func set(_ percent: Double) {
    monitor.withLock {
      self.percent = min(max(percent, 0), 99.9)
      monitor.broadcast()
    }
    if percent > 0 {
      if thread == nil { thread = HostThread(name: "throttle") { [self] in loop() } }
    } else {
      thread?.join()
      thread = nil
    }
  }

  private func loop() {
    while true {
      monitor.lock()
      let share = percent
      let run = min(Self.longestRun, Self.longestRest * (100 - share) / max(share, 1))
      if share > 0 { monitor.wait(nanoseconds: UInt64(run)) }
      monitor.unlock()
      if share == 0 { return }
      for thread in threads { thread.rest() }
      monitor.lock()
      if percent > 0 { monitor.wait(nanoseconds: UInt64(run * share / (100 - share))) }
      monitor.unlock()
      for thread in threads { thread.go() }
    }
  }
}
