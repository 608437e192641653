import CHost

/// Model-specific registers by their architectural numbers (Intel SDM vol. 4, chapter 2).
enum MSR {
  static let timeStampCounter: UInt32 = 0x10
  static let platformID: UInt32 = 0x17
  static let apicBase: UInt32 = 0x1b
  static let featureControl: UInt32 = 0x3a
  static let tscAdjust: UInt32 = 0x3b
  static let microcodeUpdate: UInt32 = 0x79
  static let microcodeRevision: UInt32 = 0x8b
  static let mtrrCap: UInt32 = 0xfe
  static let sysenterCS: UInt32 = 0x174
  static let sysenterESP: UInt32 = 0x175
  static let sysenterEIP: UInt32 = 0x176
  static let mcgCap: UInt32 = 0x179
  static let mcgStatus: UInt32 = 0x17a
  static let miscEnable: UInt32 = 0x1a0
  static let debugControl: UInt32 = 0x1d9
  static let mtrrBase0: UInt32 = 0x200
  static let pat: UInt32 = 0x277
  static let mtrrDefType: UInt32 = 0x2ff
  static let efer: UInt32 = 0xc000_0080
  static let star: UInt32 = 0xc000_0081
  static let lstar: UInt32 = 0xc000_0082
  static let cstar: UInt32 = 0xc000_0083
  static let sfmask: UInt32 = 0xc000_0084
  static let fsBase: UInt32 = 0xc000_0100
  static let gsBase: UInt32 = 0xc000_0101
  static let kernelGSBase: UInt32 = 0xc000_0102
  static let tscAux: UInt32 = 0xc000_0103
}

/// Bits of IA32_DEBUGCTL (Intel SDM vol. 3B, 18.4.1).
enum DebugControl {
  /// TF traps behind taken branches only. A debug exception clears it.
  static let branchTrapFlag: UInt64 = 1 << 1
}

extension CPU {
  func executeModelSpecific(_ operation: SystemOp) throws(GuestFault) {
    switch operation {
    case .rdmsr:
      try requireCPL0()
      let value = try readMSR(UInt32(truncatingIfNeeded: slots[Reg.rcx]))
      slots[Reg.rax] = value & 0xffff_ffff
      slots[Reg.rdx] = value &>> 32
    case .wrmsr:
      try requireCPL0()
      let value = slots[Reg.rax] & 0xffff_ffff | slots[Reg.rdx] &<< 32
      try writeMSR(UInt32(truncatingIfNeeded: slots[Reg.rcx]), value)
    case .rdtsc, .rdtscp:
      if operation == .rdtscp && !profile.offersRDTSCP { throw .undefined }
      if s.pointee.cr4 & CR4.tsd != 0 && s.pointee.cpl != 0 { throw .protection(0) }
      let ticks = timeStamp
      slots[Reg.rax] = ticks & 0xffff_ffff
      slots[Reg.rdx] = ticks &>> 32
      if operation == .rdtscp { slots[Reg.rcx] = s.pointee.tsc_aux & 0xffff_ffff }
    case .rdpmc:
      if s.pointee.cr4 & CR4.pce == 0 && s.pointee.cpl != 0 { throw .protection(0) }
      // There are no performance counters.
      throw .protection(0)
    default: executeCPUID()
    }
  }

  /// RDPID: IA32_TSC_AUX at any privilege level, whatever CR4.TSD says (Intel SDM vol. 2B, RDPID).
  func readProcessorID(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    guard profile.offersRDPID else { throw .undefined }
    writeRegister(Int(op.pointee.rm), s.pointee.tsc_aux & 0xffff_ffff, size: Int(op.pointee.operand_size))
  }

  /// The time stamp counter as the guest sees it.
  var timeStamp: UInt64 { environment.timeStampCounter() &+ s.pointee.tsc_offset }

  private func executeCPUID() {
    let leaf = UInt32(truncatingIfNeeded: slots[Reg.rax])
    let subleaf = UInt32(truncatingIfNeeded: slots[Reg.rcx])
    var found = profile.query(leaf, subleaf)
    if leaf == 1 {
      found.ebx = found.ebx & 0x00ff_ffff | UInt32(truncatingIfNeeded: index) &<< 24
      // OSXSAVE follows CR4, and APIC the global enable of IA32_APIC_BASE.
      found.ecx &= ~(1 &<< 27)
      if s.pointee.cr4 & CR4.osxsave != 0 { found.ecx |= 1 &<< 27 }
      if s.pointee.apic_base & 1 << 11 == 0 { found.edx &= ~(1 &<< 9) }
      if group.count > 1 {
        // Logical processors of the package, and that there is more than one.
        found.ebx = found.ebx & ~0xff_0000 | 1 &<< (packageBits &+ 16)
        found.edx |= 1 &<< 28
      }
    } else if leaf == 4 && found.eax & 31 != 0 {
      // Ids of cores that the package has room for, minus 1.
      found.eax |= ((1 &<< packageBits) &- 1) &<< 26
    } else if leaf == 0xb && profile.query(0, 0).eax >= 0xb {
      found = extendedTopology(subleaf)
    } else if leaf == 0xd && subleaf == 0 && found.eax != 0 {
      found.ebx = 576
    }
    slots[Reg.rax] = UInt64(found.eax)
    slots[Reg.rbx] = UInt64(found.ebx)
    slots[Reg.rcx] = UInt64(found.ecx)
    slots[Reg.rdx] = UInt64(found.edx)
  }

  /// Bits of the APIC id that tell the cores of the one package apart.
  private var packageBits: UInt32 {
    UInt32(truncatingIfNeeded: Int.bitWidth &- (max(group.count, 1) &- 1).leadingZeroBitCount)
  }

  /// Leaf 0BH: one thread a core, all cores in one package (Intel SDM vol. 2A, CPUID; vol. 3A, 8.9).
  private func extendedTopology(_ subleaf: UInt32) -> CPUIDLeaf {
    let id = UInt32(truncatingIfNeeded: index)
    switch subleaf {
    case 0: return CPUIDLeaf(0xb, 0, eax: 0, ebx: 1, ecx: 0x100, edx: id)
    case 1:
      let cores = UInt32(truncatingIfNeeded: group.count)
      return CPUIDLeaf(0xb, 1, eax: packageBits, ebx: cores, ecx: 0x201, edx: id)
    default: return CPUIDLeaf(0xb, subleaf, eax: 0, ebx: 0, ecx: subleaf & 0xff, edx: id)
    }
  }

  // MARK: RDMSR

  func readMSR(_ number: UInt32) throws(GuestFault) -> UInt64 {
    switch number {
    case 0, 1: return 0  // P5 machine check address and type
    case MSR.timeStampCounter: return timeStamp
    case MSR.platformID: return 0
    case MSR.apicBase: return s.pointee.apic_base
    case MSR.featureControl: return 1  // locked, VMX off
    case MSR.tscAdjust: return s.pointee.tsc_offset
    case 0x2a, 0x2c, 0xcd: return 0  // EBL_CR_POWERON, EBC_FREQUENCY_ID, FSB_FREQ
    case 0x34, 0x35: return 0  // SMI count; core and thread count
    case 0xce, 0x198, 0x199, 0x19a, 0x19b, 0x19c: return 0  // platform info, performance and thermal status
    case 0xe2, 0x1b0, 0x1a2, 0x606, 0x611, 0x619, 0x639, 0x641: return 0  // C-state and energy reports
    case MSR.microcodeRevision: return profile.microcodeRevision &<< 32
    case MSR.mtrrCap: return 0x508  // 8 variable ranges, fixed ranges, write combining
    case MSR.sysenterCS: return s.pointee.sysenter_cs
    case MSR.sysenterESP: return s.pointee.sysenter_esp
    case MSR.sysenterEIP: return s.pointee.sysenter_eip
    case MSR.mcgCap: return 0  // no banks
    case MSR.mcgStatus: return s.pointee.mcg_status
    case MSR.miscEnable: return s.pointee.misc_enable
    case MSR.debugControl: return s.pointee.debugctl
    case 0x1db, 0x1dc, 0x1dd, 0x1de, 0x1c9: return 0  // last branch and exception records
    case 0x11e: return 0  // BBL_CR_CTL3
    case 0x140: return 0  // MISC_FEATURE_ENABLES
    case MSR.pat: return s.pointee.pat
    case MSR.mtrrDefType: return s.pointee.mtrr_def_type
    case 0x800...0x8ff:
      guard let value = environment.readX2APIC(number) else { throw .protection(0) }
      return value
    case MSR.efer: return s.pointee.efer
    case MSR.star: return s.pointee.star
    case MSR.lstar: return s.pointee.lstar
    case MSR.cstar: return s.pointee.cstar
    case MSR.sfmask: return s.pointee.sfmask
    case MSR.fsBase: return segmentRegister(Seg.fs).pointee.base
    case MSR.gsBase: return segmentRegister(Seg.gs).pointee.base
    case MSR.kernelGSBase: return s.pointee.kernel_gs_base
    case MSR.tscAux: return s.pointee.tsc_aux
    default:
      if let place = mtrr(number) { return place.pointee }
      throw .protection(0)
    }
  }

  // MARK: WRMSR

  func writeMSR(_ number: UInt32, _ value: UInt64) throws(GuestFault) {
    switch number {
    case MSR.timeStampCounter: s.pointee.tsc_offset = value &- environment.timeStampCounter()
    case MSR.apicBase: try writeAPICBase(value)
    case MSR.featureControl: throw .protection(0)  // locked
    case MSR.tscAdjust: s.pointee.tsc_offset = value
    case MSR.microcodeUpdate, MSR.microcodeRevision, 0x2a: break
    case 0, 1, 0x199, 0x19a, 0x19b, 0x19c, 0xe2, 0x1b0, 0x140, 0x11e: break
    case MSR.sysenterCS: s.pointee.sysenter_cs = value & 0xffff_ffff
    case MSR.sysenterESP:
      try requireCanonical(value)
      s.pointee.sysenter_esp = value
    case MSR.sysenterEIP:
      try requireCanonical(value)
      s.pointee.sysenter_eip = value
    case MSR.mcgStatus: s.pointee.mcg_status = value & 7
    case MSR.miscEnable: s.pointee.misc_enable = value & 0x4_00c4_1889
    case MSR.debugControl: s.pointee.debugctl = value & 3
    case 0x1c9: break
    case MSR.pat:
      for index in 0..<8 where !CPU.isPATType(value &>> UInt64(index * 8) & 0xff) { throw .protection(0) }
      s.pointee.pat = value
    case MSR.mtrrDefType:
      guard value & ~0xcff == 0, CPU.isMTRRType(value & 0xff) else { throw .protection(0) }
      s.pointee.mtrr_def_type = value
    case 0x800...0x8ff:
      guard environment.writeX2APIC(number, value) else { throw .protection(0) }
    case MSR.efer: try writeEFER(value)
    case MSR.star: s.pointee.star = value
    case MSR.lstar:
      try requireCanonical(value)
      s.pointee.lstar = value
    case MSR.cstar:
      try requireCanonical(value)
      s.pointee.cstar = value
    case MSR.sfmask: s.pointee.sfmask = value & 0xffff_ffff
    case MSR.fsBase:
      try requireCanonical(value)
      segmentRegister(Seg.fs).pointee.base = value
    case MSR.gsBase:
      try requireCanonical(value)
      segmentRegister(Seg.gs).pointee.base = value
    case MSR.kernelGSBase:
      try requireCanonical(value)
      s.pointee.kernel_gs_base = value
    case MSR.tscAux:
      guard value &>> 32 == 0 else { throw .protection(0) }
      s.pointee.tsc_aux = value
    default:
      guard let place = mtrr(number) else { throw .protection(0) }
      if number < MSR.pat && number >= MSR.mtrrBase0 && number < 0x210 {
        let reserved = ~((1 &<< latches.physicalBits) &- 1)
        let low: UInt64 = number & 1 == 0 ? 0xf00 : 0x7ff
        guard value & (reserved | low) == 0 else { throw .protection(0) }
      } else {
        for index in 0..<8 where !CPU.isMTRRType(value &>> UInt64(index * 8) & 0xff) { throw .protection(0) }
      }
      place.pointee = value
    }
  }

  private func requireCanonical(_ value: UInt64) throws(GuestFault) {
    guard CPU.isCanonical(value) else { throw .protection(0) }
  }

  static func isMTRRType(_ type: UInt64) -> Bool { type == 0 || type == 1 || (type >= 4 && type <= 6) }
  static func isPATType(_ type: UInt64) -> Bool { isMTRRType(type) || type == 7 }

  /// Fixed-range numbers in the order of `mtrr_fixed`.
  static let fixedMTRRs: [UInt32] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f]

  /// Where a memory type range register is kept, or nil.
  private func mtrr(_ number: UInt32) -> UnsafeMutablePointer<UInt64>? {
    if number >= 0x200 && number < 0x210 {
      let index = Int(number &- 0x200) &>> 1
      return number & 1 == 0 ? mtrrBases + index : mtrrMasks + index
    }
    if let index = CPU.fixedMTRRs.firstIndex(of: number) { return mtrrFixed + index }
    return nil
  }

  var mtrrFixed: UnsafeMutablePointer<UInt64> {
    withUnsafeMutablePointer(to: &s.pointee.mtrr_fixed) {
      UnsafeMutableRawPointer($0).assumingMemoryBound(to: UInt64.self)
    }
  }
  var mtrrBases: UnsafeMutablePointer<UInt64> {
    withUnsafeMutablePointer(to: &s.pointee.mtrr_base) {
      UnsafeMutableRawPointer($0).assumingMemoryBound(to: UInt64.self)
    }
  }
  var mtrrMasks: UnsafeMutablePointer<UInt64> {
    withUnsafeMutablePointer(to: &s.pointee.mtrr_mask) {
      UnsafeMutableRawPointer($0).assumingMemoryBound(to: UInt64.self)
    }
  }

  private func writeAPICBase(_ value: UInt64) throws(GuestFault) {
    var reserved = ~((1 &<< latches.physicalBits) &- 1) | 0x2ff
    if profile.offersX2APIC { reserved |= 0 } else { reserved |= 1 << 10 }
    let mode = value &>> 10 & 3
    let old = s.pointee.apic_base &>> 10 & 3
    // x2APIC without the global enable is no state, and it is left through "disabled" only (vol. 3A, 10.12.5).
    guard value & reserved == 0, mode != 1, !(old == 3 && mode == 2), !(old == 0 && mode == 3) else {
      throw .protection(0)
    }
    s.pointee.apic_base = value & ~(1 << 8) | s.pointee.apic_base & 1 << 8
    environment.apicBaseChanged(s.pointee.apic_base)
  }

  private func writeEFER(_ value: UInt64) throws(GuestFault) {
    var valid: UInt64 = 0
    if profile.offersSYSCALL { valid |= EFER.sce }
    if profile.offersLongMode { valid |= EFER.lme | EFER.lma }
    if profile.offersNX { valid |= EFER.nxe }
    guard value & ~valid == 0 else { throw .protection(0) }
    let old = s.pointee.efer
    if (old ^ value) & EFER.lme != 0 && s.pointee.cr0 & CR0.pg != 0 { throw .protection(0) }
    s.pointee.efer = value & ~EFER.lma | old & EFER.lma
    if (old ^ value) & EFER.nxe != 0 { flushAllTranslations() }
    updateMode()
  }
}
