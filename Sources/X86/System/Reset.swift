import CHost

/// Power-on, INIT and SIPI (Intel SDM vol. 3A, 9.1 and 8.4).
extension CPU {
  /// The state after power-on or RESET. Keeps nothing but a request to stop.
  public func reset() {
    clearMicroTLB()
    let requests = vm_load_relaxed(&s.pointee.pending) & UInt32(VM_PENDING_STOP)
    withdraw(~UInt32(VM_PENDING_STOP))
    UnsafeMutableRawPointer(s).initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<vm_cpu_state>.size)
    post(requests)
    s.pointee.a20_mask = .max
    s.pointee.xcr0 = 1
    s.pointee.pat = 0x0007_0406_0007_0406
    s.pointee.apic_base = 0xfee0_0800 | (index == 0 ? 1 << 8 : 0)
    s.pointee.misc_enable = 0x1801
    s.pointee.fpu_control = 0x40
    s.pointee.mxcsr = 0x1f80
    s.pointee.cr0 = CR0.cd | CR0.nw | CR0.et
    latches = SystemLatches()
    latches.physicalBits = profile.physicalAddressBits
    latches.hugePages = profile.offersHugePages
    resetCore()
  }

  /// INIT: as RESET, but FPU, vector registers, model-specific registers, memory types and the time stamp counter stay.
  func initReset() {
    s.pointee.cr0 = s.pointee.cr0 & (CR0.cd | CR0.nw) | CR0.et
    s.pointee.efer = 0
    resetCore()
  }

  private func resetCore() {
    for slot in 0..<Int(VM_SLOT_COUNT) { slots[slot] = 0 }
    slots[Reg.rdx] = UInt64(profile.signature)
    s.pointee.rip = 0xfff0
    s.pointee.eflags = 2
    setFlags(0, mask: EFLAGS.arithmetic)
    s.pointee.cr2 = 0
    s.pointee.cr3 = 0
    s.pointee.cr4 = 0
    s.pointee.pdpte = (0, 0, 0, 0)
    s.pointee.nmi_blocked = 0
    s.pointee.shadow = 0
    for number in 0..<6 {
      segmentRegister(number).pointee = vm_segment(
        base: 0, limit: 0xffff, selector: 0, attributes: SegmentAttributes.real)
    }
    segmentRegister(Seg.cs).pointee = vm_segment(
      base: 0xffff_0000, limit: 0xffff, selector: 0xf000, attributes: SegmentAttributes.real)
    segmentRegister(Seg.ldtr).pointee = vm_segment(base: 0, limit: 0xffff, selector: 0, attributes: 0x82)
    segmentRegister(Seg.tr).pointee = vm_segment(base: 0, limit: 0xffff, selector: 0, attributes: 0x8b)
    s.pointee.gdtr = vm_table(base: 0, limit: 0xffff, reserved: 0)
    s.pointee.idtr = vm_table(base: 0, limit: 0xffff, reserved: 0)
    for number in 0..<8 { debugRegisters[number] = 0 }
    debugRegisters[6] = 0xffff_0ff0
    debugRegisters[7] = 0x400
    // Only the bootstrap processor starts by itself.
    s.pointee.activity = UInt32(index == 0 ? VM_ACTIVE : VM_WAIT_FOR_SIPI)
    latches.debugHits = 0
    latches.traceArmed = false
    latches.stackShadow = false
    s.pointee.interrupt_waiting = 0
    flushAllTranslations()
    updateMode()
    updateDebug()
    if index != 0 { post(UInt32(VM_PENDING_SHADOW)) }
    // A request that is up was withdrawn by nobody's leave: ask the interrupt controller when IF is set.
    s.pointee.interrupt_waiting = 1
  }

  /// SIPI: real mode at page `vector`.
  func startUp(vector: UInt8) {
    let code = segmentRegister(Seg.cs)
    code.pointee.selector = UInt16(vector) &<< 8
    code.pointee.base = UInt64(vector) &<< 12
    code.pointee.limit = 0xffff
    s.pointee.rip = 0
    s.pointee.activity = UInt32(VM_ACTIVE)
    updateMode()
  }
}
