import CHost

/// What makes a saved CPU impossible. A state comes from a file or the wire: nothing in it is believed.
extension CPU {
  /// The first thing wrong, or nil.
  func problem(of fields: CPUStateFields) -> String? {
    shapeProblem(fields) ?? modeProblem(fields) ?? segmentProblem(fields) ?? registerProblem(fields)
  }

  private func shapeProblem(_ fields: CPUStateFields) -> String? {
    let msr = fields.msr
    let fpu = fields.fpu
    let counts: [(String, Int, Int)] = [
      ("general", fields.general.count, 16), ("segments", fields.segments.count, Int(VM_SEGMENT_COUNT)),
      ("pdpte", fields.pdpte.count, 4), ("debug", fields.debug.count, 8),
      ("mtrrFixed", msr.mtrrFixed.count, 11), ("mtrrBase", msr.mtrrBase.count, 8),
      ("mtrrMask", msr.mtrrMask.count, 8), ("significands", fpu.significands.count, 8),
      ("exponents", fpu.exponents.count, 8), ("xmm", fpu.xmm.count, 32),
    ]
    for (name, found, wanted) in counts where found != wanted { return "\(name) has \(found) values, not \(wanted)" }
    return nil
  }

  private func modeProblem(_ fields: CPUStateFields) -> String? {
    let cr0 = fields.cr0
    if cr0 & ~CR0.defined != 0 { return "CR0 has undefined bits" }
    if cr0 & CR0.pg != 0 && cr0 & CR0.pe == 0 { return "CR0 has paging without protection" }
    if fields.cr4 & ~validCR4 != 0 { return "CR4 has bits that the CPU profile does not offer" }
    let efer = fields.msr.efer
    var valid: UInt64 = 0
    if profile.offersSYSCALL { valid |= EFER.sce }
    if profile.offersLongMode { valid |= EFER.lme | EFER.lma }
    if profile.offersNX { valid |= EFER.nxe }
    if efer & ~valid != 0 { return "EFER has bits that the CPU profile does not offer" }
    let long = efer & EFER.lme != 0 && cr0 & CR0.pg != 0
    if (efer & EFER.lma != 0) != long { return "EFER.LMA does not follow from EFER.LME and CR0.PG" }
    if long && fields.cr4 & CR4.pae == 0 { return "long mode without CR4.PAE" }
    if fields.rflags & ~(EFLAGS.defined | 2) != 0 { return "RFLAGS has undefined bits" }
    if fields.rflags & EFLAGS.vm != 0 && (long || cr0 & CR0.pe == 0) { return "RFLAGS.VM in the wrong mode" }
    if fields.xcr0 & 1 == 0 || fields.xcr0 & ~3 != 0 { return "XCR0 is out of range" }
    let physical = (1 as UInt64) << profile.physicalAddressBits - 1
    if long && fields.cr3 & ~physical != 0 { return "CR3 is beyond the physical address space" }
    let paeOnly = !long && cr0 & CR0.pg != 0 && fields.cr4 & CR4.pae != 0
    if paeOnly {
      for value in fields.pdpte where value & 1 != 0 && value & (0x1e6 | ~physical) != 0 {
        return "a PDPTE has reserved bits"
      }
    }
    return nil
  }

  private func segmentProblem(_ fields: CPUStateFields) -> String? {
    let long = fields.msr.efer & EFER.lma != 0
    let protected = fields.cr0 & CR0.pe != 0 && fields.rflags & EFLAGS.vm == 0
    for (number, segment) in fields.segments.enumerated() {
      if segment.attributes & 0x0f00 != 0 { return "segment \(number) has undefined attributes" }
      let wide = long && number >= Seg.fs
      if wide ? !CPU.isCanonical(segment.base) : segment.base >> 32 != 0 {
        return "the base of segment \(number) is out of range"
      }
    }
    let code = fields.segments[Seg.cs].attributes
    let is64 = long && code & SegmentAttributes.long != 0
    if protected && code & SegmentAttributes.present == 0 { return "CS is not present" }
    if is64 && code & SegmentAttributes.big != 0 { return "CS is 64-bit and 32-bit" }
    if is64 ? !CPU.isCanonical(fields.rip) : fields.rip >> 32 != 0 { return "RIP is out of range" }
    for table in [fields.gdtr, fields.idtr] {
      if table.limit > 0xffff { return "a descriptor table has a limit above 64 KiB" }
      if !CPU.isCanonical(table.base) { return "a descriptor table is at an address that is not canonical" }
    }
    return nil
  }

  private func registerProblem(_ fields: CPUStateFields) -> String? {
    if fields.activity > UInt32(VM_WAIT_FOR_SIPI) { return "activity is out of range" }
    if fields.interruptShadow > 2 { return "interruptShadow is out of range" }
    if fields.debugHits & ~0xf != 0 { return "debugHits is out of range" }
    if fields.a20Mask != .max && fields.a20Mask != ~(1 << 20) { return "a20Mask is neither open nor closed" }
    if fields.debug[6] >> 32 != 0 || fields.debug[7] >> 32 != 0 { return "DR6 or DR7 has undefined bits" }
    if fields.fpu.mxcsr & ~0xffff != 0 { return "MXCSR has undefined bits" }
    let msr = fields.msr
    for address in [msr.lstar, msr.cstar, msr.kernelGSBase, msr.sysenterESP, msr.sysenterEIP] {
      if !CPU.isCanonical(address) { return "an MSR holds an address that is not canonical" }
    }
    if msr.sfmask >> 32 != 0 || msr.tscAux >> 32 != 0 || msr.sysenterCS >> 32 != 0 {
      return "a 32-bit MSR is out of range"
    }
    for index in 0..<8 where !CPU.isPATType(msr.pat >> UInt64(index * 8) & 0xff) {
      return "the PAT has a reserved type"
    }
    let physical = (1 as UInt64) << profile.physicalAddressBits - 1
    if msr.apicBase & ~physical != 0 || msr.apicBase & 0x2ff != 0 { return "IA32_APIC_BASE has reserved bits" }
    if msr.mtrrDefType & ~0xcff != 0 { return "IA32_MTRR_DEF_TYPE has reserved bits" }
    return nil
  }
}
