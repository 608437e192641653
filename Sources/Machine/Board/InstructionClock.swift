import Devices
import X86

/// The time of a deterministic machine: what its only CPU has executed, at 10 ns an instruction, and what it has slept.
/// Timers fire at the same instruction in each run, on the CPU's thread.
final class InstructionClock: @unchecked Sendable {
  /// Nanoseconds that an instruction takes.
  static let pace: UInt64 = 10
  private let lock = MachineLock()
  private weak var cpu: CPU?
  /// Guarded by `lock`.
  private var slept: UInt64 = 0
  private var latest: UInt64 = 0
  /// The instruction count that `cpu` had when it became this clock's, or was last given another.
  private var origin: UInt64 = 0
  private var before: UInt64 = 0

  /// Nanoseconds. Instructions of a block that faults are counted before they are taken back: time never is.
  var now: UInt64 {
    lock.withLock {
      latest = max(latest, before &+ executed &* Self.pace &+ slept)
      return latest
    }
  }

  private var executed: UInt64 { (cpu?.s.pointee.instructions ?? origin) &- origin }

  /// Time goes on by this CPU's count, as it is now: it may have been given another (by a state that was loaded).
  func follow(_ cpu: CPU) {
    lock.withLock {
      self.cpu = cpu
      origin = cpu.s.pointee.instructions
      before = latest
      slept = 0
    }
  }

  func sleep(_ nanoseconds: UInt64) { lock.withLock { slept &+= nanoseconds } }
}
