import CHost
import SavedState

/// Saving and loading a CPU. Both are called at a safe point, between instructions.
extension CPU {
  static let stateKind = "x86cpu"
  static let stateVersion = 1

  public func save() throws -> StateSection {
    try StateSection(
      name: "cpu\(index)", kind: CPU.stateKind, version: CPU.stateVersion, state: stateFields())
  }

  /// Takes the state over, whole or not at all: a section that no running CPU could have written is refused.
  public func load(_ section: StateSection) throws {
    let fields = try section.decode(CPUStateFields.self, kind: CPU.stateKind, upTo: CPU.stateVersion)
    if let wrong = problem(of: fields) {
      throw SavedStateError.corrupt("section \(section.name): \(wrong)")
    }
    take(fields)
  }

  // MARK: Save

  private func array<T>(_ pointer: UnsafeMutablePointer<T>, _ count: Int) -> [T] {
    Array(UnsafeBufferPointer(start: pointer, count: count))
  }

  private var fprs: UnsafeMutablePointer<vm_fpr> {
    withUnsafeMutablePointer(to: &s.pointee.fpr) { UnsafeMutableRawPointer($0).assumingMemoryBound(to: vm_fpr.self) }
  }
  private var xmms: UnsafeMutablePointer<vm_xmm> {
    withUnsafeMutablePointer(to: &s.pointee.xmm) { UnsafeMutableRawPointer($0).assumingMemoryBound(to: vm_xmm.self) }
  }

  private func stateFields() -> CPUStateFields {
    let state = s.pointee
    let pending = vm_load_relaxed(&s.pointee.pending)
    let segments = (0..<Int(VM_SEGMENT_COUNT)).map { number in
      let register = segmentRegister(number).pointee
      return CPUStateFields.Segment(
        selector: register.selector, base: register.base, limit: register.limit, attributes: register.attributes)
    }
    let pdpte = state.pdpte
    return CPUStateFields(
      general: array(slots, 16), rip: state.rip, rflags: flagsImage(), segments: segments,
      gdtr: .init(base: state.gdtr.base, limit: state.gdtr.limit),
      idtr: .init(base: state.idtr.base, limit: state.idtr.limit), cr0: state.cr0, cr2: state.cr2, cr3: state.cr3,
      cr4: state.cr4, xcr0: state.xcr0, pdpte: [pdpte.0, pdpte.1, pdpte.2, pdpte.3],
      debug: array(debugRegisters, 8), a20Mask: state.a20_mask, msr: modelSpecificFields(), fpu: floatingPointFields(),
      activity: state.activity, nmiBlocked: state.nmi_blocked != 0,
      nmiPending: pending & UInt32(VM_PENDING_NMI) != 0,
      secondNMI: pending & UInt32(VM_PENDING_SECOND_NMI) != 0 ? true : nil,
      initPending: pending & UInt32(VM_PENDING_INIT) != 0,
      startupPending: pending & UInt32(VM_PENDING_SIPI) != 0,
      startupVector: UInt8(truncatingIfNeeded: state.startup_vector), interruptShadow: state.shadow,
      shadowOfStack: latches.stackShadow, debugHits: latches.debugHits, instructions: state.instructions)
  }

  private func modelSpecificFields() -> CPUStateFields.ModelSpecific {
    let state = s.pointee
    return CPUStateFields.ModelSpecific(
      efer: state.efer, star: state.star, lstar: state.lstar, cstar: state.cstar, sfmask: state.sfmask,
      kernelGSBase: state.kernel_gs_base, tscAux: state.tsc_aux, sysenterCS: state.sysenter_cs,
      sysenterESP: state.sysenter_esp, sysenterEIP: state.sysenter_eip, pat: state.pat, apicBase: state.apic_base,
      miscEnable: state.misc_enable, tscOffset: state.tsc_offset, debugControl: state.debugctl,
      mcgStatus: state.mcg_status, mtrrDefType: state.mtrr_def_type, mtrrFixed: array(mtrrFixed, 11),
      mtrrBase: array(mtrrBases, 8), mtrrMask: array(mtrrMasks, 8))
  }

  private func floatingPointFields() -> CPUStateFields.FloatingPoint {
    let state = s.pointee
    let registers = array(fprs, 8)
    return CPUStateFields.FloatingPoint(
      control: state.fpu_control, status: state.fpu_status, opcode: state.fpu_opcode, empty: state.fpu_empty,
      instructionPointer: state.fpu_ip, dataPointer: state.fpu_dp, codeSelector: state.fpu_cs,
      dataSelector: state.fpu_ds, significands: registers.map(\.significand), exponents: registers.map(\.exponent),
      mxcsr: state.mxcsr, xmm: array(xmms, 16).flatMap { [$0.lo, $0.hi] })
  }

  // MARK: Load

  private func take(_ fields: CPUStateFields) {
    withdraw(~UInt32(VM_PENDING_STOP))
    for (index, value) in fields.general.enumerated() { slots[index] = value }
    for index in 16..<Int(VM_SLOT_COUNT) { slots[index] = 0 }
    s.pointee.rip = fields.rip
    s.pointee.eflags = 2
    setFlags(fields.rflags, mask: EFLAGS.defined)
    for (number, segment) in fields.segments.enumerated() {
      segmentRegister(number).pointee = vm_segment(
        base: segment.base, limit: segment.limit, selector: segment.selector, attributes: segment.attributes)
    }
    s.pointee.gdtr = vm_table(base: fields.gdtr.base, limit: fields.gdtr.limit, reserved: 0)
    s.pointee.idtr = vm_table(base: fields.idtr.base, limit: fields.idtr.limit, reserved: 0)
    s.pointee.cr0 = fields.cr0
    s.pointee.cr2 = fields.cr2
    s.pointee.cr3 = fields.cr3
    s.pointee.cr4 = fields.cr4
    s.pointee.xcr0 = fields.xcr0
    s.pointee.pdpte = (fields.pdpte[0], fields.pdpte[1], fields.pdpte[2], fields.pdpte[3])
    for (index, value) in fields.debug.enumerated() { debugRegisters[index] = value }
    s.pointee.a20_mask = fields.a20Mask
    take(fields.msr)
    take(fields.fpu)
    s.pointee.activity = fields.activity
    s.pointee.nmi_blocked = fields.nmiBlocked ? 1 : 0
    s.pointee.startup_vector = UInt32(fields.startupVector)
    s.pointee.shadow = fields.interruptShadow
    s.pointee.instructions = fields.instructions

    latches = SystemLatches()
    s.pointee.interrupt_waiting = 0
    latches.physicalBits = profile.physicalAddressBits
    latches.hugePages = profile.offersHugePages
    latches.stackShadow = fields.shadowOfStack
    latches.debugHits = fields.debugHits
    flushAllTranslations()
    flushCode()
    updateMode()
    updateDebug()
    // The interrupt line is the board's: its controller is asked once. The shadow bit brings the run loop to
    // `servicePending` whatever the activity is.
    var pending = UInt32(VM_PENDING_INTERRUPT) | UInt32(VM_PENDING_SHADOW)
    if fields.nmiPending { pending |= UInt32(VM_PENDING_NMI) }
    if fields.secondNMI == true { pending |= UInt32(VM_PENDING_SECOND_NMI) }
    if fields.initPending { pending |= UInt32(VM_PENDING_INIT) }
    if fields.startupPending { pending |= UInt32(VM_PENDING_SIPI) }
    post(pending)
  }

  private func take(_ msr: CPUStateFields.ModelSpecific) {
    s.pointee.efer = msr.efer
    s.pointee.star = msr.star
    s.pointee.lstar = msr.lstar
    s.pointee.cstar = msr.cstar
    s.pointee.sfmask = msr.sfmask
    s.pointee.kernel_gs_base = msr.kernelGSBase
    s.pointee.tsc_aux = msr.tscAux
    s.pointee.sysenter_cs = msr.sysenterCS
    s.pointee.sysenter_esp = msr.sysenterESP
    s.pointee.sysenter_eip = msr.sysenterEIP
    s.pointee.pat = msr.pat
    s.pointee.apic_base = msr.apicBase
    s.pointee.misc_enable = msr.miscEnable
    s.pointee.tsc_offset = msr.tscOffset
    s.pointee.debugctl = msr.debugControl
    s.pointee.mcg_status = msr.mcgStatus
    s.pointee.mtrr_def_type = msr.mtrrDefType
    for (index, value) in msr.mtrrFixed.enumerated() { mtrrFixed[index] = value }
    for (index, value) in msr.mtrrBase.enumerated() { mtrrBases[index] = value }
    for (index, value) in msr.mtrrMask.enumerated() { mtrrMasks[index] = value }
  }

  private func take(_ fpu: CPUStateFields.FloatingPoint) {
    s.pointee.fpu_control = fpu.control
    s.pointee.fpu_status = fpu.status
    s.pointee.fpu_opcode = fpu.opcode
    s.pointee.fpu_empty = fpu.empty
    s.pointee.fpu_ip = fpu.instructionPointer
    s.pointee.fpu_dp = fpu.dataPointer
    s.pointee.fpu_cs = fpu.codeSelector
    s.pointee.fpu_ds = fpu.dataSelector
    s.pointee.mxcsr = fpu.mxcsr
    for index in 0..<8 {
      fprs[index] = vm_fpr(
        significand: fpu.significands[index], exponent: fpu.exponents[index], reserved: (0, 0, 0))
    }
    for index in 0..<16 { xmms[index] = vm_xmm(lo: fpu.xmm[index * 2], hi: fpu.xmm[index * 2 + 1]) }
  }
}
