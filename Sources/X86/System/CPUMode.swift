import CHost

extension CPU {
  /// Rebuilds what follows from CR0, CR4, EFER, EFLAGS, CS and SS: the mode of decoded code, CPL, the TLB set. Called
  /// after any of them, or a data segment register, changed.
  func updateMode() {
    let flags = s.pointee.eflags
    let code = segmentRegister(Seg.cs).pointee.attributes
    let stack = segmentRegister(Seg.ss).pointee.attributes
    let enabled = s.pointee.cr0 & CR0.pe != 0
    let v86 = enabled && flags & EFLAGS.vm != 0
    let long = s.pointee.efer & EFER.lma != 0
    var mode: UInt32 = 0
    if long { mode |= UInt32(VM_MODE_LONG) }
    if v86 {
      mode |= UInt32(VM_MODE_V86)
    } else if enabled {
      mode |= UInt32(VM_MODE_PROTECTED)
    }
    if long && !v86 && code & SegmentAttributes.long != 0 {
      mode |= UInt32(VM_MODE_CODE64) | UInt32(VM_MODE_STACK32) | UInt32(VM_MODE_FLAT)
    } else {
      if code & SegmentAttributes.big != 0 { mode |= UInt32(VM_MODE_CODE32) }
      if stack & SegmentAttributes.big != 0 { mode |= UInt32(VM_MODE_STACK32) }
      if enabled && !v86 && isFlat() { mode |= UInt32(VM_MODE_FLAT) }
    }
    s.pointee.mode = mode

    // The CPL is SS.DPL whenever SS is loaded as the architecture demands.
    let cpl: UInt32 = v86 ? 3 : enabled ? UInt32(stack &>> 5 & 3) : 0
    s.pointee.cpl = cpl
    let set: Int
    if cpl == 3 {
      set = VM_MMU_USER
    } else if s.pointee.cr4 & CR4.smap != 0 && flags & EFLAGS.ac == 0 {
      set = VM_MMU_SUPERVISOR_SMAP
    } else {
      set = VM_MMU_SUPERVISOR
    }
    s.pointee.mode = mode | UInt32(set) &<< UInt32(VM_MODE_MMU_SHIFT)
    s.pointee.mmu = UInt32(set)
    s.pointee.data_tlb = dataTLBs + set &* CPU.dataSetSize
    let fetchSet = cpl == 3 ? VM_MMU_USER : VM_MMU_SUPERVISOR
    s.pointee.fetch_tlb = fetchTLBs + fetchSet &* CPU.fetchSetSize

    let alignment = cpl == 3 && flags & EFLAGS.ac != 0 && s.pointee.cr0 & CR0.am != 0
    if alignment != latches.alignmentChecks {
      latches.alignmentChecks = alignment
      flushUserData()
    }
  }

  /// Whether no check of ES, CS, SS and DS can fail.
  @inline(__always)
  private func isFlat() -> Bool {
    for number in 0..<4 {
      let register = segmentRegister(number)
      if register.pointee.base != 0 || register.pointee.limit != 0xffff_ffff { return false }
      let attributes = register.pointee.attributes
      if number == Seg.cs {
        if attributes & 0x98 != 0x98 { return false }
      } else if attributes & 0x9e != 0x92 {
        // Present data segment, expand-up and writable.
        return false
      }
    }
    return true
  }

  /// The mask of RIP in the current code segment.
  @inline(__always)
  var ipMask: UInt64 {
    switch Int(s.pointee.mode & UInt32(VM_MODE_CODE_MASK)) {
    case VM_MODE_CODE64: .max
    case VM_MODE_CODE32: 0xffff_ffff
    default: 0xffff
    }
  }

  @inline(__always)
  func nextRIP(_ op: UnsafePointer<vm_op>) -> UInt64 {
    let mask = ipMask
    return (s.pointee.rip &+ UInt64(op.pointee.length)) & mask
  }

  /// The TLB set of explicit accesses at privilege `cpl`.
  @inline(__always)
  func tlbSet(cpl: UInt32) -> Int {
    if cpl == 3 { return VM_MMU_USER }
    if s.pointee.cr4 & CR4.smap != 0 && s.pointee.eflags & EFLAGS.ac == 0 { return VM_MMU_SUPERVISOR_SMAP }
    return VM_MMU_SUPERVISOR
  }

  @inline(__always)
  func requireCPL0() throws(GuestFault) {
    if s.pointee.cpl != 0 { throw .protection(0) }
  }

  /// IOPL as a number.
  @inline(__always)
  var ioPrivilege: UInt32 { UInt32(truncatingIfNeeded: s.pointee.eflags &>> 12 & 3) }
}
