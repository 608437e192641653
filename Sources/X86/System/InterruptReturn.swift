import CHost

/// IRET, IRETD, IRETQ (Intel SDM vol. 2A, IRET).
extension CPU {
  /// Flags a return at `cpl` may change, for operands of `size` bytes.
  private func returnFlagMask(size: Int, cpl: UInt32) -> UInt64 {
    var mask = EFLAGS.arithmetic | EFLAGS.tf | EFLAGS.df | EFLAGS.nt
    if size != 2 { mask |= EFLAGS.rf | EFLAGS.ac | EFLAGS.id }
    if cpl <= ioPrivilege { mask |= EFLAGS.if }
    if cpl == 0 {
      mask |= EFLAGS.iopl
      if size != 2 { mask |= EFLAGS.vif | EFLAGS.vip }
    }
    return mask
  }

  /// Writes flags as a return or POPF does, and rebuilds what depends on them.
  func writeFlags(_ image: UInt64, mask: UInt64) {
    setFlags(image, mask: mask)
    // RF matters to instruction breakpoints only; kept out otherwise so that nothing has to clear it.
    if !latches.watchesCode { s.pointee.eflags &= ~EFLAGS.rf }
    latches.resumes = s.pointee.eflags & EFLAGS.rf != 0
    updateDebugPending()
  }

  func interruptReturn(size: Int, next: UInt64) throws(GuestFault) {
    // Also when it faults, and when it goes back to another task (Intel SDM vol. 3A, 6.7.1).
    s.pointee.nmi_blocked = 0
    if isV86 { return try returnInV86(size: size) }
    guard isProtected else { return try returnInReal(size: size) }
    if s.pointee.eflags & EFLAGS.nt != 0 {
      guard !isLongMode else { throw .protection(0) }
      return try returnFromTask(next: next)
    }
    var stack = currentStack()
    let offset = try pop(&stack, size)
    let selector = UInt16(truncatingIfNeeded: try pop(&stack, size))
    let flags = try pop(&stack, size)
    let cpl = s.pointee.cpl
    if size == 4 && flags & EFLAGS.vm != 0 && cpl == 0 && !isLongMode {
      return try returnToV86(stack, offset, selector, flags)
    }
    var descriptor = try returnCode(selector)
    let mask = returnFlagMask(size: size, cpl: cpl)
    let outer = selector.rpl
    if outer == cpl && !isCode64 {
      try checkTarget(descriptor, offset)
      try markAccessed(&descriptor)
      commit(stack)
      enterCode(descriptor, selector, cpl: cpl, offset)
      writeFlags(flags, mask: mask)
      updateMode()
    } else {
      let pointer = try pop(&stack, size)
      let stackSelector = UInt16(truncatingIfNeeded: try pop(&stack, size))
      let toLong = isLongMode && descriptor.isLong
      let segment = try returnStack(stackSelector, cpl: outer, toLong: toLong)
      try checkTarget(descriptor, offset)
      try markAccessed(&descriptor)
      enterCode(descriptor, selector, cpl: outer, offset)
      writeFlags(flags, mask: mask)
      if outer == cpl {
        segmentRegister(Seg.ss).pointee = segment
        if size == 8 {
          slots[Reg.rsp] = pointer
        } else if segment.attributes & SegmentAttributes.big != 0 || toLong {
          slots[Reg.rsp] = pointer & 0xffff_ffff
        } else {
          slots[Reg.rsp] = slots[Reg.rsp] & ~0xffff | pointer & 0xffff
        }
        updateMode()
      } else {
        enterOuter(segment, pointer: pointer, size: size, cpl: outer)
      }
    }
  }

  private func returnInReal(size: Int) throws(GuestFault) {
    var stack = currentStack()
    let offset = try pop(&stack, size)
    let selector = UInt16(truncatingIfNeeded: try pop(&stack, size))
    let flags = try pop(&stack, size)
    guard offset <= UInt64(segmentRegister(Seg.cs).pointee.limit) else { throw .protection(0) }
    commit(stack)
    loadRealSegment(Seg.cs, selector)
    s.pointee.rip = offset
    var mask = EFLAGS.arithmetic | EFLAGS.tf | EFLAGS.if | EFLAGS.df | EFLAGS.iopl | EFLAGS.nt
    if size != 2 { mask |= EFLAGS.rf | EFLAGS.ac | EFLAGS.id }
    writeFlags(flags, mask: mask)
    updateMode()
  }

  /// IRET in virtual-8086 mode: with IOPL 3, or with 16-bit operands under CR4.VME (vol. 3B, 21.3).
  private func returnInV86(size: Int) throws(GuestFault) {
    let virtual = ioPrivilege < 3
    if virtual && (s.pointee.cr4 & CR4.vme == 0 || size != 2) { throw .protection(0) }
    var stack = currentStack()
    let offset = try pop(&stack, size)
    let selector = UInt16(truncatingIfNeeded: try pop(&stack, size))
    let flags = try pop(&stack, size)
    guard offset <= 0xffff else { throw .protection(0) }
    if virtual {
      let wantsPending = flags & EFLAGS.if != 0 && s.pointee.eflags & EFLAGS.vip != 0
      if wantsPending || flags & EFLAGS.tf != 0 { throw .protection(0) }
    }
    commit(stack)
    loadRealSegment(Seg.cs, selector)
    s.pointee.rip = offset
    var mask = EFLAGS.arithmetic | EFLAGS.tf | EFLAGS.df | EFLAGS.nt
    var image = flags
    if virtual {
      mask |= EFLAGS.vif
      image = flags & EFLAGS.if != 0 ? image | EFLAGS.vif : image & ~EFLAGS.vif
    } else {
      mask |= EFLAGS.if
      if size != 2 { mask |= EFLAGS.rf | EFLAGS.ac | EFLAGS.id }
    }
    writeFlags(image, mask: mask)
    updateMode()
  }

  private func returnToV86(
    _ start: StackCursor, _ offset: UInt64, _ code: UInt16, _ flags: UInt64
  ) throws(GuestFault) {
    var stack = start
    let pointer = try pop(&stack, 4)
    let ss = UInt16(truncatingIfNeeded: try pop(&stack, 4))
    let es = UInt16(truncatingIfNeeded: try pop(&stack, 4))
    let ds = UInt16(truncatingIfNeeded: try pop(&stack, 4))
    let fs = UInt16(truncatingIfNeeded: try pop(&stack, 4))
    let gs = UInt16(truncatingIfNeeded: try pop(&stack, 4))
    // As at CPL 0: every flag is taken.
    var mask = EFLAGS.arithmetic | EFLAGS.tf | EFLAGS.if | EFLAGS.df | EFLAGS.iopl | EFLAGS.nt
    mask |= EFLAGS.rf | EFLAGS.ac | EFLAGS.id | EFLAGS.vif | EFLAGS.vip | EFLAGS.vm
    writeFlags(flags, mask: mask)
    loadRealSegment(Seg.cs, code)
    loadRealSegment(Seg.ss, ss)
    loadRealSegment(Seg.es, es)
    loadRealSegment(Seg.ds, ds)
    loadRealSegment(Seg.fs, fs)
    loadRealSegment(Seg.gs, gs)
    slots[Reg.rsp] = pointer
    s.pointee.rip = offset & 0xffff
    updateMode()
  }
}
