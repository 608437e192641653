import CHost

/// SYSCALL, SYSRET, SYSENTER and SYSEXIT as Intel's processors have them (Intel SDM vol. 2B). The flat segments they load are
/// fixed and not read from the descriptor table.
extension CPU {
  static func flatCode(_ selector: UInt16, dpl: UInt16, long: Bool) -> vm_segment {
    var attributes: UInt16 = 0x9b | dpl &<< 5 | SegmentAttributes.granular
    attributes |= long ? SegmentAttributes.long : SegmentAttributes.big
    return vm_segment(base: 0, limit: 0xffff_ffff, selector: selector, attributes: attributes)
  }

  static func flatStack(_ selector: UInt16, dpl: UInt16) -> vm_segment {
    let attributes: UInt16 = 0x93 | dpl &<< 5 | SegmentAttributes.granular | SegmentAttributes.big
    return vm_segment(base: 0, limit: 0xffff_ffff, selector: selector, attributes: attributes)
  }

  /// SYSCALL exists in 64-bit mode only.
  func systemCall(next: UInt64) throws(GuestFault) {
    guard isCode64, s.pointee.efer & EFER.sce != 0 else { throw .undefined }
    slots[Reg.rcx] = next
    slots[11] = flagsImage() & ~EFLAGS.rf
    setFlags(0, mask: s.pointee.sfmask & 0xffff_ffff | EFLAGS.rf)
    let selector = UInt16(truncatingIfNeeded: s.pointee.star &>> 32)
    segmentRegister(Seg.cs).pointee = CPU.flatCode(selector & 0xfffc, dpl: 0, long: true)
    segmentRegister(Seg.ss).pointee = CPU.flatStack(selector &+ 8, dpl: 0)
    s.pointee.rip = s.pointee.lstar
    if s.pointee.eflags & EFLAGS.tf == 0 { latches.traceArmed = false }
    updateDebugPending()
    updateMode()
  }

  func systemReturn(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    guard isCode64, s.pointee.efer & EFER.sce != 0 else { throw .undefined }
    try requireCPL0()
    let long = op.pointee.operand_size == 8
    let target = slots[Reg.rcx]
    if long && !CPU.isCanonical(target) { throw .protection(0) }
    let base = UInt16(truncatingIfNeeded: s.pointee.star &>> 48)
    let mask = EFLAGS.defined & ~(EFLAGS.rf | EFLAGS.vm)
    writeFlags(slots[11], mask: mask)
    segmentRegister(Seg.cs).pointee = CPU.flatCode((long ? base &+ 16 : base) | 3, dpl: 3, long: long)
    segmentRegister(Seg.ss).pointee = CPU.flatStack((base &+ 8) | 3, dpl: 3)
    s.pointee.rip = long ? target : target & 0xffff_ffff
    updateMode()
  }

  func systemEnter() throws(GuestFault) {
    guard s.pointee.cr0 & CR0.pe != 0 else { throw .protection(0) }
    let selector = UInt16(truncatingIfNeeded: s.pointee.sysenter_cs)
    guard !selector.isNullSelector else { throw .protection(0) }
    let long = isLongMode
    s.pointee.eflags &= ~(EFLAGS.vm | EFLAGS.if | EFLAGS.rf)
    segmentRegister(Seg.cs).pointee = CPU.flatCode(selector & 0xfffc, dpl: 0, long: long)
    segmentRegister(Seg.ss).pointee = CPU.flatStack((selector & 0xfffc) &+ 8, dpl: 0)
    slots[Reg.rsp] = long ? s.pointee.sysenter_esp : s.pointee.sysenter_esp & 0xffff_ffff
    s.pointee.rip = long ? s.pointee.sysenter_eip : s.pointee.sysenter_eip & 0xffff_ffff
    updateMode()
  }

  func systemExit(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    guard isProtected else { throw .protection(0) }
    let selector = UInt16(truncatingIfNeeded: s.pointee.sysenter_cs)
    guard !selector.isNullSelector, s.pointee.cpl == 0 else { throw .protection(0) }
    let long = op.pointee.operand_size == 8
    let target = slots[Reg.rdx]
    let stack = slots[Reg.rcx]
    if long {
      guard CPU.isCanonical(target), CPU.isCanonical(stack) else { throw .protection(0) }
    }
    let base = selector & 0xfffc
    segmentRegister(Seg.cs).pointee = CPU.flatCode((base &+ (long ? 32 : 16)) | 3, dpl: 3, long: long)
    segmentRegister(Seg.ss).pointee = CPU.flatStack((base &+ (long ? 40 : 24)) | 3, dpl: 3)
    slots[Reg.rsp] = long ? stack : stack & 0xffff_ffff
    s.pointee.rip = long ? target : target & 0xffff_ffff
    updateMode()
  }
}
