import CHost
import Dispatch
import X86

/// The thread that runs one virtual CPU: runs it, sleeps while it is halted, rests while the machine wants it to.
///
/// `rest` and `go` count: the thread runs only while nobody wants it at rest. When `waitUntilResting` returns the CPU
/// stands between two instructions, and nothing it owns changes until `go`.
final class CPUThread: @unchecked Sendable {
  let cpu: CPU
  private let monitor = Monitor()
  private var thread: HostThread?
  private var restRequests = 1  // it is born resting
  private var isResting = false
  private var isEnding = false
  private var isAsleep = false
  private var isAsked = false
  private var answered: UInt64 = 0
  /// Called on the thread, with no lock held, when the CPU leaves `run` for a reason the machine must look at.
  var onExit: @Sendable (RunExit) -> Void = { _ in }

  /// Of a deterministic machine.
  private let pacer: InstructionPacer?

  init(cpu: CPU, pacer: InstructionPacer? = nil) {
    self.cpu = cpu
    self.pacer = pacer
  }

  func start() {
    thread = HostThread(name: "cpu\(cpu.index)") { [self] in loop() }
  }

  /// Instructions in one turn of the loop, at most; a turn also ends when anything is pending.
  private static let budget = 1 << 40

  private func loop() {
    while true {
      monitor.lock()
      answer()
      while restRequests > 0 && !isEnding {
        if !isResting {
          isResting = true
          monitor.broadcast()
        }
        monitor.wait()
        answer()
      }
      isResting = false
      let ending = isEnding
      monitor.unlock()
      if ending { return }
      cpu.withdraw(UInt32(VM_PENDING_STOP))
      // A request that came between the check and the withdrawal must not be lost.
      if monitor.withLock({ restRequests > 0 || isEnding || isAsked }) { continue }

      switch pacer?.run() ?? cpu.run(budget: Self.budget) {
      case .halted:
        if let pacer, let nap = pacer.untilNextTimer { sleep(nap, pacer) } else { sleep { [cpu] in cpu.hasWork } }
      case .stopped, .budget: break
      case .shutdown:
        onExit(.shutdown)
        sleep { false }
      case .debugger:
        onExit(.debugger)
        sleep { false }
      }
    }
  }

  /// Waits until there is work, or the machine wants something.
  private func sleep(until hasWork: () -> Bool) {
    monitor.lock()
    isAsleep = true
    while restRequests == 0 && !isEnding && !hasWork() {
      monitor.wait()
      answer()
    }
    isAsleep = false
    monitor.unlock()
  }

  /// Waits until the next timer is due, or for what comes from outside. What the machine wants for itself takes no time.
  private func sleep(_ nap: UInt64, _ pacer: InstructionPacer) {
    let start = DispatchTime.now().uptimeNanoseconds
    var elapsed: UInt64 = 0
    monitor.lock()
    isAsleep = true
    while restRequests == 0 && !isEnding && !cpu.hasWork && elapsed < nap {
      monitor.wait(nanoseconds: nap - elapsed)
      answer()
      elapsed = DispatchTime.now().uptimeNanoseconds - start
    }
    isAsleep = false
    let isDisturbed = restRequests > 0 || isEnding
    monitor.unlock()
    if elapsed >= nap {
      pacer.slept(nap)
    } else if cpu.hasInterrupt && !isDisturbed {
      pacer.slept(elapsed)
    }
  }

  /// Monitor held.
  private func answer() {
    guard isAsked else { return }
    isAsked = false
    answered &+= 1
    monitor.broadcast()
  }

  /// Whether the thread comes round to its loop in time, wherever it is now: running, halted or at rest.
  func answers(withinNanoseconds limit: UInt64) -> Bool {
    let end = DispatchTime.now().uptimeNanoseconds &+ limit
    monitor.lock()
    defer { monitor.unlock() }
    guard thread != nil, !isEnding else { return true }
    let before = answered
    isAsked = true
    cpu.post(UInt32(VM_PENDING_STOP))
    monitor.broadcast()
    while answered == before && !isEnding {
      let now = DispatchTime.now().uptimeNanoseconds
      guard now < end else { return false }
      monitor.wait(nanoseconds: end - now)
    }
    return true
  }

  /// To be called after a pending bit was posted.
  func wake() {
    monitor.lock()
    if isAsleep { monitor.broadcast() }
    monitor.unlock()
  }

  /// Asks the thread to rest. Does not wait.
  func rest() {
    monitor.lock()
    restRequests += 1
    cpu.post(UInt32(VM_PENDING_STOP))
    monitor.broadcast()
    monitor.unlock()
  }

  func waitUntilResting() {
    monitor.lock()
    while !isResting && thread != nil && !isEnding { monitor.wait() }
    monitor.unlock()
  }

  func go() {
    monitor.lock()
    restRequests -= 1
    monitor.broadcast()
    monitor.unlock()
  }

  /// Ends the thread and waits for it.
  func end() {
    monitor.lock()
    isEnding = true
    cpu.post(UInt32(VM_PENDING_STOP))
    monitor.broadcast()
    monitor.unlock()
    thread?.join()
    thread = nil
  }
}

extension CPU {
  /// What a halted CPU wakes for, if only to find that it stays halted.
  private static let wakingBits: UInt32 = [
    VM_PENDING_INTERRUPT, VM_PENDING_NMI, VM_PENDING_SECOND_NMI, VM_PENDING_INIT, VM_PENDING_SIPI, VM_PENDING_STOP,
    VM_PENDING_TLB_FLUSH, VM_PENDING_CODE,
  ].reduce(0) { $0 | UInt32($1) }

  /// What a halted CPU wakes for by itself.
  var hasInterrupt: Bool { vm_load_relaxed(&s.pointee.pending) & Self.wakingBits & ~UInt32(VM_PENDING_STOP) != 0 }

  var hasWork: Bool { vm_load_relaxed(&s.pointee.pending) & Self.wakingBits != 0 }
}
