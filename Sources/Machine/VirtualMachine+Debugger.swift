import GuestMemory
import X86

/// What a debugger does to the machine's CPUs. `MachineEvent.debuggerStop` tells that one has come to a stop of its own.
extension VirtualMachine {
  /// Whether the CPUs have 64-bit mode (CPUID 8000_0001H, EDX bit 29).
  public var hasLongMode: Bool { board.profile.leaves.contains { $0.leaf == 0x8000_0001 && $0.edx >> 29 & 1 != 0 } }

  /// Runs `body` with every CPU between two instructions. For short work. The machine lock is not held: a register may be a
  /// device's, which takes it.
  /// - Throws: what `body` throws.
  public func inspect<T>(_ body: ([CPU]) throws -> T) rethrows -> T { try whileCPUsRest { try body(board.cpus) } }

  /// Runs `body` with every CPU between two instructions and the machine lock held, as a device that reads and writes memory.
  /// - Throws: what `body` throws.
  public func withMemory<T>(_ body: (PhysicalMemory) throws -> T) rethrows -> T {
    try atSafePoint { try body(board.memory) }
  }

  /// Has one CPU of a paused machine run single instructions, without interrupts, until `goesOn` says no; it is asked behind
  /// each one, on this thread. The others rest; devices and guest time go on meanwhile.
  /// - Returns: false when the machine is not paused.
  public func step(cpu index: Int, while goesOn: (CPU) -> Bool) -> Bool {
    let cpu = board.cpus[index]
    return whileDevicesRun {
      repeat { cpu.stepOne() } while goesOn(cpu)
    }
  }

  /// Before a paused machine goes on: CPUs that stand at a breakpoint pass it, but for those that have come to a stop which
  /// nobody has taken yet.
  public func passBreakpoints() {
    inspect { cpus in
      for cpu in cpus {
        if cpu.holdsDebuggerHit { continue }
        _ = cpu.takeDebuggerHit()
        cpu.passDebuggerBreakpoint()
      }
    }
  }
}
