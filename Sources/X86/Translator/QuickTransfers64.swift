import CHost

/// INT n of a program into a 64-bit kernel, and IRETQ out of it or within it. Each checks first that it is the plain case:
/// descriptors that are marked accessed, pages that the TLB holds, no table of interrupt stacks. When it is not, nothing has
/// been done, and the interpreter does it all.
extension CPU {
  /// A code segment of 64-bit code, not conforming, accessed.
  private func knownLongCode(_ selector: UInt16, dpl: UInt32) -> Descriptor? {
    guard let found = knownDescriptor(selector), found.isCode, found.isLong, !found.isBig, found.isPresent,
      !found.isConforming, found.dpl == dpl, found.low & 1 << 40 != 0
    else { return nil }
    return found
  }

  /// INT n of level 3 through an interrupt or trap gate to 64-bit code of level 0. False: nothing was done. Flags are in
  /// `raw_flags`.
  func quickInterrupt64(_ vector: UInt8, _ next: UInt64) -> Bool {
    let offset = UInt64(vector) &* 16
    guard s.pointee.cpl == 3, offset &+ 15 <= UInt64(s.pointee.idtr.limit),
      let low = known(s.pointee.idtr.base &+ offset, as: UInt64.self),
      let high = known(s.pointee.idtr.base &+ offset &+ 8, as: UInt64.self)
    else { return false }
    let gate = Descriptor(low: low, high: high, address: 0)
    let type = gate.systemType
    guard !gate.isSegment, type == SystemType.interruptGate32 || type == SystemType.trapGate32, gate.isPresent,
      gate.dpl == 3, gate.gateStackTable == 0, CPU.isCanonical(gate.gateOffset),
      let code = knownLongCode(gate.gateSelector, dpl: 0)
    else { return false }
    let task = segmentRegister(Seg.tr).pointee
    guard task.limit >= 11, let pointer = known(task.base &+ 4, as: UInt64.self) else { return false }
    let top = (pointer & ~15) &- 40
    guard let stack = knownStack(top, size: 40, cpl: 0, write: true) else { return false }
    let frame = stack.assumingMemoryBound(to: UInt64.self)
    frame[0] = next
    frame[1] = UInt64(segmentRegister(Seg.cs).pointee.selector)
    frame[2] = rawImage
    frame[3] = slots[Reg.rsp]
    frame[4] = UInt64(segmentRegister(Seg.ss).pointee.selector)
    slots[Reg.rsp] = top
    segmentRegister(Seg.ss).pointee = nullStack(0, cpl: 0)
    segmentRegister(Seg.cs).pointee = code.register(gate.gateSelector & ~3)
    s.pointee.eflags &= ~(EFLAGS.nt | (type == SystemType.interruptGate32 ? EFLAGS.if : 0))
    s.pointee.rip = gate.gateOffset
    takeFlatMode(s.pointee.cr4 & CR4.smap != 0 ? VM_MMU_SUPERVISOR_SMAP : VM_MMU_SUPERVISOR, cpl: 0)
    return true
  }

  /// IRETQ of level 0 to 64-bit code of level 0 or 3, or to flat 32-bit code of level 3. False: nothing was done.
  func quickInterruptReturn64(_ rare: UInt64) -> Bool {
    guard isCode64, s.pointee.cpl == 0, s.pointee.eflags & EFLAGS.nt == 0, s.pointee.nmi_blocked == 0,
      let stack = knownStack(slots[Reg.rsp], size: 40, cpl: 0, write: false)
    else { return false }
    let frame = stack.assumingMemoryBound(to: UInt64.self)
    let (target, image) = (frame[0], frame[2])
    let selector = UInt16(truncatingIfNeeded: frame[1])
    let stackSelector = UInt16(truncatingIfNeeded: frame[4])
    let cpl = selector.rpl
    guard image & (rare | EFLAGS.nt) == 0, image & EFLAGS.if == 0 || s.pointee.interrupt_waiting == 0,
      cpl == 0 || cpl == 3
    else { return false }
    let long = knownLongCode(selector, dpl: cpl)
    guard long != nil ? CPU.isCanonical(target) : cpl == 3 && target <= 0xffff_ffff,
      let code = long ?? knownCode(selector, dpl: 3)
    else { return false }
    let segment: vm_segment
    if let found = knownStackSegment(stackSelector, dpl: cpl) {
      segment = found.register(stackSelector)
    } else {
      guard stackSelector == 0, cpl == 0 else { return false }
      segment = nullStack(0, cpl: 0)
    }
    slots[Reg.rsp] = frame[3]
    segmentRegister(Seg.ss).pointee = segment
    segmentRegister(Seg.cs).pointee = code.register(selector)
    s.pointee.rip = target
    setRawFlags(image)
    let mask = EFLAGS.df | EFLAGS.id | EFLAGS.if | EFLAGS.iopl | EFLAGS.vif | EFLAGS.vip
    s.pointee.eflags = s.pointee.eflags & ~mask | image & mask | 2
    if cpl == 3 {
      dropInnerDataSegments(cpl: 3)
      s.pointee.plain_segments = plainSegments
    }
    if long == nil {
      updateMode()
    } else if cpl == 3 {
      takeFlatMode(VM_MMU_USER, cpl: 3)
    }
    return true
  }
}
