import CHost

/// MOV to and from control and debug registers, SMSW, LMSW, CLTS, XGETBV, XSETBV (Intel SDM vol. 2 and vol. 3A, 2.5).
extension CPU {
  func executeControl(_ operation: SystemOp, _ op: UnsafePointer<vm_op>) throws(GuestFault) {
    let number = Int(op.pointee.reg)
    let register = Int(op.pointee.rm)
    let width: UInt64 = isCode64 ? .max : 0xffff_ffff
    switch operation {
    case .movFromControl:
      try requireCPL0()
      slots[register] = try readControl(number) & width
    case .movToControl:
      try requireCPL0()
      try writeControl(number, slots[register] & width)
    case .movFromDebug: slots[register] = try readDebug(number) & width
    case .movToDebug: try writeDebug(number, slots[register] & width)
    case .smsw:
      if s.pointee.cr4 & CR4.umip != 0 && s.pointee.cpl == 3 { throw .protection(0) }
      try writeWord(op, s.pointee.cr0)
    case .lmsw:
      try requireCPL0()
      let value = UInt64(try readWord(op)) & 0xf
      // LMSW can set PE and not clear it.
      try writeCR0(s.pointee.cr0 & ~0xe | value)
    case .clts:
      try requireCPL0()
      s.pointee.cr0 &= ~CR0.ts
    case .xgetbv:
      guard s.pointee.cr4 & CR4.osxsave != 0 else { throw .undefined }
      guard slots[Reg.rcx] & 0xffff_ffff == 0 else { throw .protection(0) }
      slots[Reg.rax] = s.pointee.xcr0 & 0xffff_ffff
      slots[Reg.rdx] = s.pointee.xcr0 &>> 32
    default:
      guard s.pointee.cr4 & CR4.osxsave != 0 else { throw .undefined }
      try requireCPL0()
      let value = slots[Reg.rax] & 0xffff_ffff | slots[Reg.rdx] &<< 32
      guard slots[Reg.rcx] & 0xffff_ffff == 0, value & 1 != 0, value & ~3 == 0 else { throw .protection(0) }
      s.pointee.xcr0 = value
    }
  }

  // MARK: Control registers

  func readControl(_ number: Int) throws(GuestFault) -> UInt64 {
    switch number {
    case 0: return s.pointee.cr0
    case 2: return s.pointee.cr2
    case 3: return s.pointee.cr3
    case 4: return s.pointee.cr4
    case 8: return UInt64(environment.taskPriority)
    default: throw .undefined
    }
  }

  func writeControl(_ number: Int, _ value: UInt64) throws(GuestFault) {
    switch number {
    case 0: try writeCR0(value)
    case 2: s.pointee.cr2 = value
    case 3: try writeCR3(value)
    case 4: try writeCR4(value)
    case 8:
      guard value < 16 else { throw .protection(0) }
      environment.taskPriority = UInt8(value)
    default: throw .undefined
    }
  }

  func writeCR0(_ wanted: UInt64) throws(GuestFault) {
    let old = s.pointee.cr0
    guard wanted &>> 32 == 0 else { throw .protection(0) }
    let value = wanted & CR0.defined | CR0.et
    if value & CR0.pg != 0 && value & CR0.pe == 0 { throw .protection(0) }
    if value & CR0.nw != 0 && value & CR0.cd == 0 { throw .protection(0) }
    if old & CR0.pg == 0 && value & CR0.pg != 0 {
      if s.pointee.efer & EFER.lme != 0 {
        // IA-32e mode begins: PAE is needed, and a code segment that is not 64-bit yet.
        let code = segmentRegister(Seg.cs).pointee.attributes
        guard s.pointee.cr4 & CR4.pae != 0, code & SegmentAttributes.long == 0 else { throw .protection(0) }
        s.pointee.efer |= EFER.lma
      } else if s.pointee.cr4 & CR4.pae != 0 {
        try loadPDPTEs(s.pointee.cr3)
      }
    } else if old & CR0.pg != 0 && value & CR0.pg == 0 {
      if isCode64 || s.pointee.cr4 & CR4.pcide != 0 { throw .protection(0) }
      s.pointee.efer &= ~EFER.lma
    } else if value & CR0.pg != 0 && (old ^ value) & (CR0.cd | CR0.nw) != 0 {
      if s.pointee.cr4 & CR4.pae != 0 && s.pointee.efer & EFER.lma == 0 { try loadPDPTEs(s.pointee.cr3) }
    }
    s.pointee.cr0 = value
    if (old ^ value) & (CR0.pg | CR0.wp | CR0.pe) != 0 { flushAllTranslations() }
    if old & CR0.pe != 0 && value & CR0.pe == 0 {
      // Back in real mode the CPL is 0; what SS.DPL was must not come back.
      segmentRegister(Seg.ss).pointee.attributes &= ~0x60
    }
    updateMode()
  }

  func writeCR3(_ value: UInt64) throws(GuestFault) {
    if isLongMode {
      guard value &>> latches.physicalBits == 0 else { throw .protection(0) }
    } else if s.pointee.cr0 & CR0.pg != 0 && s.pointee.cr4 & CR4.pae != 0 {
      try loadPDPTEs(value)
    }
    s.pointee.cr3 = value
    flushNonGlobal()
  }

  /// The CR4 bits this CPU has.
  var validCR4: UInt64 {
    var bits = CR4.vme | CR4.pvi | CR4.tsd | CR4.de | CR4.pse | CR4.pae | CR4.mce | CR4.pge | CR4.pce
    bits |= CR4.osfxsr | CR4.osxmmexcpt
    if profile.offersXSAVE { bits |= CR4.osxsave }
    if profile.offersFSGSBase { bits |= CR4.fsgsbase }
    if profile.offersSMEP { bits |= CR4.smep }
    if profile.offersSMAP { bits |= CR4.smap }
    if profile.offersUMIP { bits |= CR4.umip }
    return bits
  }

  func writeCR4(_ value: UInt64) throws(GuestFault) {
    guard value & ~validCR4 == 0 else { throw .protection(0) }
    let old = s.pointee.cr4
    if isLongMode && value & CR4.pae == 0 { throw .protection(0) }
    let changed = old ^ value
    let paging = s.pointee.cr0 & CR0.pg != 0 && s.pointee.efer & EFER.lma == 0
    if paging && value & CR4.pae != 0 && changed & (CR4.pae | CR4.pge | CR4.pse | CR4.smep) != 0 {
      try loadPDPTEs(s.pointee.cr3)
    }
    s.pointee.cr4 = value
    if changed & CR4.translation != 0 { flushAllTranslations() }
    if changed & CR4.de != 0 { updateDebug() }
    updateMode()
  }

  // MARK: Debug registers

  private func debugNumber(_ number: Int) throws(GuestFault) -> Int {
    guard number < 8 else { throw .undefined }
    if number == 4 || number == 5 {
      if s.pointee.cr4 & CR4.de != 0 { throw .undefined }
      return number &+ 2
    }
    return number
  }

  private func checkDebugAccess() throws(GuestFault) {
    try requireCPL0()
    if debugRegisters[7] & 1 << 13 != 0 {
      // General detect: DR6.BD.
      debugRegisters[6] |= 1 << 13
      latches.generalDetect = true
      throw .debug
    }
  }

  func readDebug(_ number: Int) throws(GuestFault) -> UInt64 {
    let which = try debugNumber(number)
    try checkDebugAccess()
    return debugRegisters[which]
  }

  func writeDebug(_ number: Int, _ value: UInt64) throws(GuestFault) {
    let which = try debugNumber(number)
    try checkDebugAccess()
    switch which {
    case 6:
      guard value &>> 32 == 0 else { throw .protection(0) }
      debugRegisters[6] = value & 0xe00f | 0xffff_0ff0
    case 7:
      guard value &>> 32 == 0 else { throw .protection(0) }
      debugRegisters[7] = value & 0xffff_2bff | 0x400
      updateDebug()
    default:
      debugRegisters[which] = value
      if debugRegisters[7] & 0xff != 0 { updateDebug() }
    }
  }
}
