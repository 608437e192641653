import CHost
import Devices
import X86

/// Runs the CPU of a deterministic machine from timer to timer, in place of the thread that fires them else.
final class InstructionPacer: @unchecked Sendable {
  private let clock: GuestClock
  private let time: InstructionClock
  private let lock: MachineLock
  private let cpu: CPU
  /// Guest time at which the running turn ends. Machine lock held.
  private var end: UInt64 = .max
  /// Instructions in a turn without timers.
  private static let longest: UInt64 = 1 << 20

  init(_ board: Board, _ time: InstructionClock, lock: MachineLock) {
    clock = board.clock
    self.time = time
    self.lock = lock
    cpu = board.cpus[0]
    // What sets a timer is an instruction of the CPU's, or comes from outside: then the turn ends behind it.
    clock.onDeadlineChanged = { [unowned self] in
      if let next = clock.nextDeadline, next < end { cpu.post(UInt32(VM_PENDING_STOP)) }
    }
  }

  /// A turn of the CPU, up to the next timer.
  func run() -> RunExit {
    let budget = lock.withLock { () -> UInt64 in
      if clock.isRunning { clock.runDueTimers() }
      let now = clock.now
      let next = clock.isRunning ? clock.nextDeadline ?? .max : .max
      end = min(next, now &+ Self.longest &* InstructionClock.pace)
      return max(1, (end &- now) / InstructionClock.pace)
    }
    let exit = cpu.run(budget: Int(budget))
    lock.withLock { end = .max }
    return exit
  }

  /// Nanoseconds that a halted CPU sleeps until a timer fires; nil: none is set.
  var untilNextTimer: UInt64? {
    lock.withLock {
      guard clock.isRunning, let next = clock.nextDeadline else { return nil }
      let now = clock.now
      return next > now ? next &- now : 0
    }
  }

  /// The CPU has slept for so long.
  func slept(_ nanoseconds: UInt64) { time.sleep(nanoseconds) }
}
