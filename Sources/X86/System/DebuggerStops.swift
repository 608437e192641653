import CHost

/// A range of linear addresses whose accesses stop a CPU.
public struct Watchpoint: Hashable, Sendable {
  /// Which accesses.
  public enum Access: Sendable { case write, read, any }
  /// The first linear address.
  public var address: UInt64
  /// Bytes, at least 1.
  public var length: UInt64
  /// Which accesses stop.
  public var access: Access

  /// A watchpoint of `length` bytes at a linear address.
  public init(address: UInt64, length: UInt64, access: Access) {
    self.address = address
    self.length = max(length, 1)
    self.access = access
  }

  func isHit(_ start: UInt64, _ size: UInt64, write: Bool) -> Bool {
    guard access == .any || (access == .write) == write else { return false }
    return start &- address < length || address &- start < size
  }

  func touches(page: UInt64) -> Bool { isHit(page, 4096, write: access != .read) }
}

/// Why a debugger has a CPU stopped.
public enum DebuggerHit: Equatable, Sendable {
  /// The instruction at this linear address is next.
  case breakpoint(UInt64)
  /// The instruction before the next one has made such an access.
  case watchpoint(Watchpoint)
}

/// Where a debugger wants a CPU to stop. The guest sees nothing of it: neither its memory nor its debug registers have
/// anything to do with it, and states and streams do not carry it.
struct DebuggerStops {
  /// Linear addresses, in whatever address space.
  var breakpoints: Set<UInt64> = []
  var watchpoints: [Watchpoint] = []
  /// Set until the debugger has taken it; the CPU does not run meanwhile.
  var hit: DebuggerHit?
  /// A breakpoint that the CPU stands at and does not stop at once more.
  var passed: UInt64?
  /// The instruction there is the one that runs alone now.
  var isPassing = false

  func watches(_ page: UInt64) -> Bool { watchpoints.contains { $0.touches(page: page) } }
}

/// A debugger's breakpoints cost nothing where they are not: no block of decoded code begins with an instruction at the page
/// offset of one, so that the run loop comes by and compares addresses. Watched data costs what shares a page with it.
extension CPU {
  /// Takes the places of the breakpoints (linear addresses) and watchpoints from here on for those to stop at. The CPU must be
  /// at rest.
  public func setDebuggerStops(breakpoints: Set<UInt64>, watchpoints: [Watchpoint]) {
    debugger.breakpoints = breakpoints
    code.setStops(Set(breakpoints.map { Int($0 & 0xfff) }))
    if debugger.watchpoints != watchpoints {
      // Pages watched before get their tags again, and those watched now lose them.
      flushAllTranslations()
      debugger.watchpoints = watchpoints
      updateDebug()
    }
  }

  /// Whether the environment is told of each instruction before it runs (`CPUEnvironment.willExecute`): they run one at a time
  /// then. To be changed while the CPU is at rest.
  public var tracesInstructions: Bool {
    get { latches.isTraced }
    set {
      latches.isTraced = newValue
      updateDebugPending()
    }
  }

  /// The linear address of the next instruction.
  public var nextAddress: UInt64 { codeLinear }

  /// Why the CPU has stopped, once; it may then run on, past a breakpoint that it stands at.
  public func takeDebuggerHit() -> DebuggerHit? {
    defer { debugger.hit = nil }
    return debugger.hit
  }

  /// A breakpoint at the next instruction does not stop the CPU before that has run.
  public func passDebuggerBreakpoint() {
    debugger.passed = codeLinear
    debugger.isPassing = false
  }

  /// Whether the CPU was stopped for a reason that still holds, and that nobody has taken: it stops again at once.
  public var holdsDebuggerHit: Bool {
    switch debugger.hit {
    case .breakpoint(let place): debugger.breakpoints.contains(place)
    case .watchpoint(let watchpoint): debugger.watchpoints.contains(watchpoint)
    case nil: false
    }
  }

  /// Runs the next instruction, or one turn of a repeated one, and takes no interrupt; a CPU that is halted stays so. Of an
  /// instruction that faults the exception is delivered. The CPU's thread must be at rest.
  public func stepOne() {
    let stop = vm_load_relaxed(&s.pointee.pending) & UInt32(VM_PENDING_STOP)
    withdraw(UInt32(VM_PENDING_STOP))
    passDebuggerBreakpoint()
    latches.debuggerStep = true
    post(UInt32(VM_PENDING_DEBUG))
    enterGuest()
    _ = interpret(budget: 0)
    leaveGuest()
    latches.debuggerStep = nil
    debugger.passed = nil
    updateDebugPending()
    post(stop)
  }

  /// Whether the CPU has a breakpoint at its next instruction that stops it; remembers it as hit.
  func isAtDebuggerBreakpoint() -> Bool {
    let linear = codeLinear
    guard debugger.breakpoints.contains(linear), !latches.isWithinRepeat else { return false }
    if debugger.passed == linear {
      debugger.isPassing = true
      return false
    }
    debugger.hit = .breakpoint(linear)
    return true
  }

  /// An access to a watched page. What is hit first counts; the running block ends behind its instruction.
  func noteWatched(_ linear: UInt64, size: Int, write: Bool) {
    guard debugger.hit == nil,
      let watchpoint = debugger.watchpoints.first(where: { $0.isHit(linear, UInt64(size), write: write) })
    else { return }
    debugger.hit = .watchpoint(watchpoint)
    post(UInt32(VM_PENDING_DEBUG))
    let block = s.slots[VM_SLOT_RIP]
    let place = isCode64 ? block : (segmentRegister(Seg.cs).pointee.base &+ block) & 0xffff_ffff
    if let physical = probe(place), let host = memory.target(physical).read {
      code.dropAll(host: UInt64(UInt(bitPattern: host)))
    }
  }
}
