import CHost

/// What happens between instructions (Intel SDM vol. 3A, table 6-2).
///
/// The INTR line and IF: a request that finds IF clear is withdrawn from `pending` and remembered in
/// `vm_cpu_state.interrupt_waiting`, so that the run loop does not leave its inner loop for it; when IF is set again the bit is
/// posted anew and the interrupt controller is asked. The environment may post and withdraw at any time in between: a
/// request that went away makes the acknowledge cycle come back empty.
///
/// The interrupt shadow: STI and MOV SS set `shadow` to 2 and post VM_PENDING_SHADOW. At the next boundary it becomes 1,
/// that one instruction runs alone, and `finishStep` ends it.
extension CPU {
  /// Called by the run loop at a block boundary when `pending` is not zero. Nil: run on (RIP may have changed).
  func servicePending() -> RunExit? {
    let pending = vm_load_relaxed(&s.pointee.pending)
    // Others may wait for this one's answer: first of all, also on the way to a rest.
    if pending & UInt32(VM_PENDING_CODE) != 0 { serveOthers() }
    if pending & UInt32(VM_PENDING_STOP) != 0 { return .stopped }
    if debugger.hit != nil { return .debugger }
    if let isToCome = latches.debuggerStep {
      guard isToCome else { return .stopped }
      latches.debuggerStep = false
    }
    if pending & UInt32(VM_PENDING_TLB_FLUSH) != 0 {
      withdraw(UInt32(VM_PENDING_TLB_FLUSH))
      // Decoded code goes by the memory it was decoded from, and stays right whatever the map says.
      flushAllTranslations()
    }
    if pending & UInt32(VM_PENDING_INIT) != 0 {
      withdraw(UInt32(VM_PENDING_INIT))
      initReset()
    }
    if pending & UInt32(VM_PENDING_SIPI) != 0 {
      withdraw(UInt32(VM_PENDING_SIPI))
      if s.pointee.activity == UInt32(VM_WAIT_FOR_SIPI) {
        startUp(vector: UInt8(truncatingIfNeeded: s.pointee.startup_vector))
      }
    }
    switch Int(s.pointee.activity) {
    case VM_SHUTDOWN:
      withdraw(UInt32(VM_PENDING_SHADOW))
      return .shutdown
    case VM_WAIT_FOR_SIPI:
      withdraw(
        UInt32(VM_PENDING_SHADOW | VM_PENDING_NMI | VM_PENDING_SECOND_NMI | VM_PENDING_INTERRUPT))
      return .halted
    default: break
    }

    if s.pointee.shadow == 0 && latches.debuggerStep == nil {
      let nmis = pending & UInt32(VM_PENDING_NMI | VM_PENDING_SECOND_NMI)
      if nmis != 0 && s.pointee.nmi_blocked == 0 {
        withdraw(nmis & UInt32(VM_PENDING_SECOND_NMI) != 0 ? UInt32(VM_PENDING_SECOND_NMI) : UInt32(VM_PENDING_NMI))
        s.pointee.nmi_blocked = 1
        deliverInterrupt(vector: 2)
      } else if pending & UInt32(VM_PENDING_INTERRUPT) != 0 {
        takeInterrupt()
      }
    }
    if s.pointee.activity == UInt32(VM_HALTED) {
      if s.pointee.shadow == 0 { withdraw(UInt32(VM_PENDING_SHADOW)) }
      return .halted
    }
    if s.pointee.activity == UInt32(VM_SHUTDOWN) { return .shutdown }
    if code.hasStops && isAtDebuggerBreakpoint() { return .debugger }

    if s.pointee.shadow == 2 {
      s.pointee.shadow = 1
    } else if s.pointee.shadow == 0 && pending & UInt32(VM_PENDING_SHADOW) != 0 {
      withdraw(UInt32(VM_PENDING_SHADOW))
    }
    // The instruction behind MOV SS and POP SS has no instruction breakpoint either (Intel SDM vol. 3A, 6.8.3).
    if latches.watchesCode && s.pointee.eflags & EFLAGS.rf == 0 && !latches.stackShadow {
      let hits = instructionBreakpoints(codeLinear)
      if hits != 0 {
        debugRegisters[6] = debugRegisters[6] & ~0xf | hits
        deliver(.debug)
      }
    }
    // The turns of a repeated instruction are one.
    if latches.isTraced && !latches.isWithinRepeat { environment.willExecute() }
    latches.isWithinRepeat = false
    latches.traceArmed = s.pointee.eflags & EFLAGS.tf != 0
    return nil
  }

  /// An NMI has come. The one that is served blocks others until IRET, and one more waits: of several that come before
  /// the first is taken two are served, and of those that come while one is served one. Callable from any thread.
  public func signalNMI() {
    if vm_load_relaxed(&s.pointee.pending) & UInt32(VM_PENDING_NMI) == 0 {
      post(UInt32(VM_PENDING_NMI))
    } else if s.pointee.nmi_blocked == 0 {
      post(UInt32(VM_PENDING_SECOND_NMI))
    }
  }

  /// Whether the instruction that ran alone was a branch that was taken, for DEBUGCTL.BTF: also one that leads to the
  /// instruction behind it. Branches change neither the flags nor, behind themselves, the counter that decided.
  private var hasBranched: Bool {
    let op = code.scratch.ops
    let kind = op.pointee.kind
    switch OpKind(trusted: kind) {
    case .jo, .jno, .jb, .jae, .je, .jne, .jbe, .ja, .js, .jns, .jp, .jnp, .jl, .jge, .jle, .jg:
      return s.condition(UInt16(kind - OpKind.jo.rawValue))
    case .loop: return countRegister(op) != 0 && (op.pointee.sub == 2 || s.zf == (op.pointee.sub == 1))
    case .jcxz: return countRegister(op) == 0
    case .jmp, .call64, .call, .ret64, .ret, .jmpR64, .callR64, .jmpIndirect, .callIndirect: return true
    case .system: return SystemOp(rawValue: op.pointee.sub)?.isFarBranch ?? false
    default: return false
    }
  }

  /// Linear address of the next instruction.
  var codeLinear: UInt64 {
    isCode64 ? s.pointee.rip : (segmentRegister(Seg.cs).pointee.base &+ s.pointee.rip) & 0xffff_ffff
  }

  private func takeInterrupt() {
    if s.pointee.eflags & EFLAGS.if != 0 {
      if let vector = environment.acknowledgeInterrupt() { deliverInterrupt(vector: vector) }
    } else {
      withdraw(UInt32(VM_PENDING_INTERRUPT))
      s.pointee.interrupt_waiting = 1
    }
  }

  /// Asks for the interrupt controller again when IF is set. Called after anything that may have set it.
  @inline(__always)
  func recheckInterrupts() {
    if s.pointee.interrupt_waiting != 0 && s.pointee.eflags & EFLAGS.if != 0 {
      s.pointee.interrupt_waiting = 0
      post(UInt32(VM_PENDING_INTERRUPT))
    }
  }

  /// Starts the interrupt shadow of the instruction just run.
  func startShadow(stack: Bool) {
    s.pointee.shadow = 2
    latches.stackShadow = stack
    post(UInt32(VM_PENDING_SHADOW))
  }

  /// Called after each instruction that ran alone (VM_PENDING_DEBUG or VM_PENDING_SHADOW) and did not fault: raises the
  /// debug traps it earned and counts the shadow.
  func finishStep() {
    if debugger.isPassing {
      debugger.passed = nil
      debugger.isPassing = false
    }
    if s.pointee.shadow == 1 {
      s.pointee.shadow = 0
      latches.stackShadow = false
      if s.pointee.activity == UInt32(VM_ACTIVE) { withdraw(UInt32(VM_PENDING_SHADOW)) }
    }
    // RF holds until all turns of a repeated instruction are done.
    if latches.watchesCode && !latches.resumes && !latches.isWithinRepeat { s.pointee.eflags &= ~EFLAGS.rf }
    latches.resumes = false
    var traps = latches.debugHits
    if latches.traceArmed && (s.pointee.debugctl & DebugControl.branchTrapFlag == 0 || hasBranched) { traps |= 1 << 14 }
    latches.traceArmed = false
    if traps != 0 {
      if latches.stackShadow {
        latches.debugHits = traps & 0xf
        return
      }
      latches.debugHits = 0
      debugRegisters[6] = debugRegisters[6] & ~0xf | traps
      s.pointee.activity = UInt32(VM_ACTIVE)
      deliver(.debug)
    }
    updateDebugPending()
  }
}
