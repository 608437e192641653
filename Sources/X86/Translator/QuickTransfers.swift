import CHost

/// SYSCALL, SYSRET, SYSENTER, SYSEXIT, INT n and IRET between flat code as operating systems use them, without a detour by
/// the lazy flags and the general forms, which do whatever is refused here.
extension CPU {
  /// Runs the instruction when it is one of these: the code to go on with, 1 to leave emitted code, or 0 when nothing was
  /// done.
  @inline(__always)
  func transferQuickly(_ op: Op, _ next: UInt64, _ translator: Translator) -> UInt64 {
    guard op.pointee.kind == OpKind.system.rawValue else { return 0 }
    let sub = op.pointee.sub
    let isFastCall = sub >= SystemOp.syscall.rawValue && sub <= SystemOp.sysexit.rawValue
    let isEvent = sub == SystemOp.int.rawValue || sub == SystemOp.interruptReturn.rawValue
    guard isFastCall || isEvent else { return 0 }
    // Debugging and alignment checks take the long way, and so does a wait for other CPUs' stores.
    let rare = EFLAGS.tf | EFLAGS.rf | EFLAGS.vm | EFLAGS.ac
    guard s.pointee.eflags & rare == 0, shared.pointee.awaited == 0, !latches.alignmentChecks,
      vm_load_relaxed(&s.pointee.pending) & UInt32(VM_PENDING_DEBUG) == 0
    else { return 0 }
    let done: Bool
    if !isLongMode {
      done = transferQuickly32(SystemOp(rawValue: sub), op, next, rare)
    } else {
      switch sub {
      case SystemOp.syscall.rawValue: done = quickSystemCall(next)
      case SystemOp.sysret.rawValue: done = quickSystemReturn(op, rare)
      case SystemOp.sysenter.rawValue: done = quickSystemEnter()
      case SystemOp.int.rawValue: done = quickInterrupt64(UInt8(truncatingIfNeeded: op.pointee.imm), next)
      case SystemOp.interruptReturn.rawValue: done = op.pointee.operand_size == 8 && quickInterruptReturn64(rare)
      default: done = false
      }
    }
    guard done else { return 0 }
    translator.statistics.steps &+= 1
    let key = translator.jumpKey(s.pointee.mode)
    let address = BlockTranslator.handles(s.pointee.mode) ? translator.findJump(s.pointee.rip, key: key) : 0
    if address == 0 {
      s.lazyFlagsFromRaw()
      s.pointee.code_exit = UInt64(VM_EXIT_STEP)
      return 1
    }
    s.pointee.code_page = s.pointee.rip & ~0xfff
    s.pointee.jump_key = key
    return address
  }

  /// RDTSC, which changes but two registers.
  @inline(__always)
  func readTimeQuickly(_ op: Op, _ translator: Translator) -> Bool {
    guard op.pointee.kind == OpKind.system.rawValue, op.pointee.sub == SystemOp.rdtsc.rawValue, !translator.counts,
      s.pointee.cr4 & CR4.tsd == 0, shared.pointee.awaited == 0
    else { return false }
    translator.statistics.steps &+= 1
    let ticks = timeStamp
    slots[Reg.rax] = ticks & 0xffff_ffff
    slots[Reg.rdx] = ticks &>> 32
    return true
  }

  private func quickSystemCall(_ next: UInt64) -> Bool {
    let mask = s.pointee.sfmask
    guard isCode64, s.pointee.efer & EFER.sce != 0, mask & EFLAGS.if != 0 || s.pointee.interrupt_waiting == 0 else {
      return false
    }
    slots[Reg.rcx] = next
    let raw = UInt64(s.pointee.raw_flags)
    slots[11] = s.pointee.eflags | (raw &>> 8 & 0xd5) | (raw & 1) &<< 11 | 2
    s.pointee.raw_flags = UInt32(truncatingIfNeeded: raw & ~((mask & 0xd5) &<< 8 | mask &>> 11 & 1))
    s.pointee.eflags = s.pointee.eflags & ~(mask & 0xffff_ffff) | 2
    enterFlatKernel(UInt16(truncatingIfNeeded: s.pointee.star &>> 32), s.pointee.lstar)
    return true
  }

  private func quickSystemEnter() -> Bool {
    let selector = UInt16(truncatingIfNeeded: s.pointee.sysenter_cs)
    guard !selector.isNullSelector else { return false }
    s.pointee.eflags &= ~EFLAGS.if
    slots[Reg.rsp] = s.pointee.sysenter_esp
    enterFlatKernel(selector & 0xfffc, s.pointee.sysenter_eip)
    return true
  }

  private func quickSystemReturn(_ op: Op, _ rare: UInt64) -> Bool {
    let image = slots[11]
    guard isCode64, s.pointee.efer & EFER.sce != 0, s.pointee.cpl == 0, image & rare == 0,
      image & EFLAGS.if == 0 || s.pointee.interrupt_waiting == 0
    else { return false }
    let long = op.pointee.operand_size == 8
    let target = slots[Reg.rcx]
    if long && !CPU.isCanonical(target) { return false }
    s.pointee.raw_flags = UInt32(truncatingIfNeeded: (image & 0xd5) &<< 8 | image &>> 11 & 1)
    s.pointee.eflags = image & (EFLAGS.defined & ~EFLAGS.arithmetic) | 2
    let base = UInt16(truncatingIfNeeded: s.pointee.star &>> 48)
    segmentRegister(Seg.cs).pointee = CPU.flatCode((long ? base &+ 16 : base) | 3, dpl: 3, long: long)
    segmentRegister(Seg.ss).pointee = CPU.flatStack((base &+ 8) | 3, dpl: 3)
    s.pointee.rip = long ? target : target & 0xffff_ffff
    if long { takeFlatMode(VM_MMU_USER, cpl: 3) } else { updateMode() }
    return true
  }

  private func enterFlatKernel(_ selector: UInt16, _ target: UInt64) {
    segmentRegister(Seg.cs).pointee = CPU.flatCode(selector & 0xfffc, dpl: 0, long: true)
    segmentRegister(Seg.ss).pointee = CPU.flatStack(selector &+ 8, dpl: 0)
    s.pointee.rip = target
    takeFlatMode(s.pointee.cr4 & CR4.smap != 0 ? VM_MMU_SUPERVISOR_SMAP : VM_MMU_SUPERVISOR, cpl: 0)
  }

  /// What `updateMode` finds for 64-bit code, EFLAGS.AC being clear.
  func takeFlatMode(_ set: Int, cpl: UInt32) {
    let bits = VM_MODE_LONG | VM_MODE_PROTECTED | VM_MODE_CODE64 | VM_MODE_STACK32 | VM_MODE_FLAT
    s.pointee.mode = UInt32(bits | set &<< VM_MODE_MMU_SHIFT)
    s.pointee.cpl = cpl
    s.pointee.mmu = UInt32(set)
    s.pointee.data_tlb = dataTLBs + set &* CPU.dataSetSize
    s.pointee.fetch_tlb = fetchTLBs + (cpl == 3 ? VM_MMU_USER : VM_MMU_SUPERVISOR) &* CPU.fetchSetSize
  }
}
