import CHost

/// Runs the instructions of `SystemOp`: the table from operation to family.
extension CPU {
  /// On success RIP is the next instruction's; on a fault nothing architectural has changed (but for a task switch that
  /// was committed).
  func executeSystem(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    do throws(GuestFault) {
      try runSystem(op)
    } catch {
      guard latches.taskSwitched else { throw error }
      // The old instruction is complete; its new task has a fault of its own.
      latches.taskSwitched = false
      deliver(error)
    }
  }

  @inline(__always)
  private func runSystem(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    guard let operation = SystemOp(rawValue: op.pointee.sub) else { throw .undefined }
    let next = nextRIP(op)
    if try executeTransfer(operation, op, next) {
      latches.taskSwitched = false
      recheckInterrupts()
      return
    }
    switch operation {
    case .movFromSegment, .movToSegment, .pushSegment, .popSegment, .loadFarPointer:
      try executeSegmentMove(operation, op)
    case .cli: try clearInterruptFlag()
    case .sti: try setInterruptFlag()
    case .pushFlags: try pushFlags(size: Int(op.pointee.operand_size))
    case .popFlags: try popFlags(size: Int(op.pointee.operand_size))
    case .clac, .stac: try changeAccessFlag(set: operation == .stac)
    case .sgdt, .sidt, .lgdt, .lidt, .sldt, .str, .lldt, .ltr, .verr, .verw, .lar, .lsl, .arpl:
      try executeTable(operation, op)
    case .movFromControl, .movToControl, .movFromDebug, .movToDebug, .smsw, .lmsw, .clts, .xgetbv, .xsetbv:
      try executeControl(operation, op)
    case .rdmsr, .wrmsr, .rdtsc, .rdtscp, .rdpmc, .cpuid: try executeModelSpecific(operation)
    case .rdpid: try readProcessorID(op)
    case .swapgs, .rdfsbase, .rdgsbase, .wrfsbase, .wrgsbase: try executeBase(operation, op)
    case .invd, .wbinvd: try requireCPL0()
    case .invlpg:
      try requireCPL0()
      let segment = Int(op.pointee.segment)
      let base = isCode64 && segment < Seg.fs ? 0 : segmentRegister(segment).pointee.base
      let linear = base &+ operandOffset(op)
      flushPage(isCode64 ? linear : linear & 0xffff_ffff)
    case .invpcid, .undefined: throw .undefined
    case .hlt:
      try requireCPL0()
      halt()
    case .monitor, .mwait: try executeMonitor(operation)
    case .inImmediate, .inDX, .outImmediate, .outDX: try executePort(operation, op)
    case .ins, .outs:
      if try !executePortString(operation, op) {
        latches.isWithinRepeat = true
        return
      }
    default: throw .undefined
    }
    s.pointee.rip = next
    recheckInterrupts()
  }

  /// The instructions that set RIP themselves. False: `operation` is none of them.
  @inline(__always)
  private func executeTransfer(
    _ operation: SystemOp, _ op: UnsafePointer<vm_op>, _ next: UInt64
  ) throws(GuestFault) -> Bool {
    let size = Int(op.pointee.operand_size)
    switch operation {
    case .farJumpDirect:
      let pointer = directPointer(op)
      try farJump(pointer.selector, pointer.offset, next: next)
    case .farJumpIndirect:
      let pointer = try loadFarPointer(op)
      try farJump(pointer.selector, pointer.offset, next: next)
    case .farCallDirect:
      let pointer = directPointer(op)
      try farCall(pointer.selector, pointer.offset, size: size, next: next)
    case .farCallIndirect:
      let pointer = try loadFarPointer(op)
      try farCall(pointer.selector, pointer.offset, size: size, next: next)
    case .farReturn: try farReturn(size: size, release: UInt64(bitPattern: op.pointee.imm) & 0xffff)
    case .interruptReturn: try interruptReturn(size: size, next: next)
    case .int: try softwareInterrupt(UInt8(truncatingIfNeeded: op.pointee.imm), next: next)
    case .int3: try interrupt(3, errorCode: nil, source: .trapInstruction, next: next)
    case .into:
      if flagsImage() & EFLAGS.of != 0 {
        try interrupt(4, errorCode: nil, source: .trapInstruction, next: next)
      } else {
        s.pointee.rip = next
      }
    case .int1:
      debugRegisters[7] &= ~(1 << 13)
      // What MOV SS or POP SS has held back comes with the exception of the instruction itself.
      if latches.stackShadow && latches.debugHits != 0 {
        debugRegisters[6] = debugRegisters[6] & ~0xf | latches.debugHits
        latches.debugHits = 0
      }
      try interrupt(1, errorCode: nil, source: .external, next: next)
    case .syscall: try systemCall(next: next)
    case .sysret: try systemReturn(op)
    case .sysenter: try systemEnter()
    case .sysexit: try systemExit(op)
    default: return false
    }
    return true
  }

  private func changeAccessFlag(set: Bool) throws(GuestFault) {
    guard s.pointee.cpl == 0, s.pointee.cr4 & CR4.smap != 0 || profile.offersSMAP else { throw .undefined }
    if set { s.pointee.eflags |= EFLAGS.ac } else { s.pointee.eflags &= ~EFLAGS.ac }
    updateMode()
  }

  private func halt() {
    s.pointee.activity = UInt32(VM_HALTED)
    // So that the run loop asks `servicePending`, which finds the CPU halted.
    post(UInt32(VM_PENDING_SHADOW))
  }

  /// MONITOR watches nothing and MWAIT goes on at once: allowed, and exact for a program that checks its condition.
  private func executeMonitor(_ operation: SystemOp) throws(GuestFault) {
    guard profile.offersMonitor else { throw .undefined }
    try requireCPL0()
    if operation == .mwait && s.pointee.eflags & EFLAGS.if != 0 { return }
  }
}
