/// Lets a machine's CPUs run only a part of the time. Guest time goes on meanwhile: to the guest its CPUs are slow.
///
/// Runs and rests alternate; a run is short, so that what waits for the guest waits for one rest at most.
final class CPUThrottle: @unchecked Sendable {
  private static let runNanoseconds: UInt64 = 5_000_000

  private let threads: [CPUThread]
  private let monitor = Monitor()
  private var thread: HostThread?
  private var percent = 0

  init(threads: [CPUThread]) { self.threads = threads }

  /// - Parameter percent: of the time in which the CPUs rest, 0 to 99; 0 ends it.
  /// Called by one thread at a time.
  func set(_ percent: Int) {
    monitor.withLock {
      self.percent = min(max(percent, 0), 99)
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
      let share = UInt64(percent)
      if share > 0 { monitor.wait(nanoseconds: Self.runNanoseconds) }
      monitor.unlock()
      if share == 0 { return }
      for thread in threads { thread.rest() }
      monitor.lock()
      if percent > 0 { monitor.wait(nanoseconds: Self.runNanoseconds * share / (100 - share)) }
      monitor.unlock()
      for thread in threads { thread.go() }
    }
  }
}
