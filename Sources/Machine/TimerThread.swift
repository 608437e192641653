import Devices

/// Fires the guest clock's timers from a host thread, under the machine lock.
final class TimerThread: @unchecked Sendable {
  private let clock: GuestClock
  private let lock: MachineLock
  private let monitor = Monitor()
  private var thread: HostThread?
  private var isEnding = false
  private var changes: UInt64 = 0
  /// The deadline that the thread sleeps for; a later one need not wake it.
  private var sleepingUntil: UInt64 = 0

  init(clock: GuestClock, lock: MachineLock) {
    self.clock = clock
    self.lock = lock
  }

  func start() {
    clock.onDeadlineChanged = { [unowned self] in deadlineChanged() }
    thread = HostThread(name: "timers") { [self] in loop() }
  }

  /// Machine lock held.
  private func deadlineChanged() {
    let next = clock.isRunning ? clock.nextDeadline ?? .max : .max
    monitor.lock()
    if next < sleepingUntil {
      changes &+= 1
      monitor.broadcast()
    }
    monitor.unlock()
  }

  private func loop() {
    while true {
      lock.lock()
      if clock.isRunning { clock.runDueTimers() }
      let deadline = clock.isRunning ? clock.nextDeadline : nil
      let now = clock.now
      monitor.lock()
      sleepingUntil = deadline ?? .max
      let seen = changes
      lock.unlock()
      while seen == changes && !isEnding {
        guard let deadline else {
          monitor.wait()
          continue
        }
        if deadline > now { monitor.wait(nanoseconds: deadline - now) }
        break
      }
      sleepingUntil = 0
      let ending = isEnding
      monitor.unlock()
      if ending { return }
    }
  }

  func end() {
    monitor.lock()
    isEnding = true
    changes &+= 1
    monitor.broadcast()
    monitor.unlock()
    thread?.join()
    thread = nil
    lock.withLock { clock.onDeadlineChanged = {} }
  }
}
