import CHost

/// The x87 FPU (Intel SDM vol. 1, chapter 8): operands, checks and the delivery of exceptions. The work is done in
/// CHost by the host's own FPU.
extension CPU {
  /// Runs one instruction of D8-DF. `vm_op.sub` is (opcode & 7) << 8 | ModRM.
  func executeX87(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    if s.pointee.cr0 & 0xc != 0 { throw GuestFault.deviceNotAvailable }
    let sub = UInt32(op.pointee.sub)
    if sub & 0xc0 == 0xc0 {
      try executeX87Register(op, sub)
    } else {
      try executeX87Memory(op, sub)
    }
  }

  /// WAIT: delivers a pending exception.
  func executeWait() throws(GuestFault) {
    if s.pointee.cr0 & 0xa == 0xa { throw GuestFault.deviceNotAvailable }
    try x87Wait()
  }

  /// What a waiting instruction does first.
  @inline(__always)
  func x87Wait() throws(GuestFault) {
    if s.pointee.fpu_status & 0x80 != 0 { try deliverX87Error() }
  }

  /// An unmasked exception is pending: #MF, or FERR# and the board's IRQ 13 in the PC's old way, in which the
  /// instruction then runs (Intel SDM vol. 1, 8.7).
  @inline(never)
  func deliverX87Error() throws(GuestFault) {
    if s.pointee.cr0 & 0x20 != 0 { throw GuestFault.x87 }
    environment.floatingPointError()
  }

  private func executeX87Register(_ op: UnsafePointer<vm_op>, _ sub: UInt32) throws(GuestFault) {
    switch sub {
    case 0x3e0, 0x3e1, 0x3e4: return  // FNENI, FNDISI, FNSETPM: nothing since the 80387
    case 0x3e2:  // FNCLEX
      s.pointee.fpu_status &= 0x7f00
      return
    case 0x3e3:  // FNINIT
      vm_x87_init(s)
      return
    case 0x7e0:  // FNSTSW AX
      let ax = vm_gpr_at(s, 0)
      ax.pointee = ax.pointee & ~0xffff | UInt64(s.pointee.fpu_status)
      return
    default: break
    }
    let isMove = sub & 0x6e0 == 0x2c0
    var flags: UInt64 = isMove ? flagsImage() : 0
    // An undefined encoding is #UD before a pending exception is looked at.
    if !CPU.x87IsDefined(sub) { throw GuestFault.undefined }
    try x87Wait()
    let result = vm_x87_run_register(s, sub, &flags)
    if result == 0 { throw GuestFault.undefined }
    rememberX87(op, sub)
    // ZF PF CF from the compare; OF SF AF are cleared.
    if result == 2 { setFlags(flags, mask: 0x8d5) }
  }

  /// Whether an encoding with register operands means something (Intel SDM vol. 2D, tables ).
  static func x87IsDefined(_ sub: UInt32) -> Bool {
    let group = (sub >> 3) & 7
    switch sub >> 8 {
    case 1:
      if group == 2 { return sub == 0x1d0 }
      return sub != 0x1e2 && sub != 0x1e3 && sub != 0x1e6 && sub != 0x1e7 && sub != 0x1ef
    case 2: return group < 4 || sub == 0x2e9
    case 3: return group != 7 && group != 4
    case 5: return group < 6
    case 6: return group != 3 || sub == 0x6d9
    case 7: return group != 4 && group != 7
    default: return true
    }
  }

  private func executeX87Memory(_ op: UnsafePointer<vm_op>, _ sub: UInt32) throws(GuestFault) {
    let access = vm_x87_memory(sub)
    let size = Int(access.size)
    switch Int(access.kind) {
    case VM_X87_LOAD:
      try x87Wait()
      let linear = try operandLinear(op, size: size, write: false)
      var operand = vm_xmm()
      switch size {
      case 2: operand.lo = UInt64(try load(linear, as: UInt16.self))
      case 4: operand.lo = UInt64(try load(linear, as: UInt32.self))
      case 8: operand.lo = try load(linear, as: UInt64.self)
      default:
        try checkAlignment(linear, size: 8, set: Int(s.pointee.mmu))
        try loadBytes(linear, into: &operand, count: 10)
      }
      vm_x87_run_load(s, sub, &operand)
      rememberX87(op, sub)
      rememberX87Operand(op, linear)

    case VM_X87_STORE:
      try x87Wait()
      let linear = try operandLinear(op, size: size, write: true)
      var result = vm_x87_prepare_store(s, sub)
      // An unmasked exception keeps the operand as it is, but not from being reached for.
      if result.writes != 0 {
        try storeX87(linear, &result, size)
      } else {
        try probeWrite(linear, size: size == 10 ? 8 : size)
      }
      vm_x87_finish_store(s, &result)
      rememberX87(op, sub)
      rememberX87Operand(op, linear)

    case VM_X87_LDCW:
      try x87Wait()
      let linear = try operandLinear(op, size: 2, write: false)
      s.pointee.fpu_control = try load(linear, as: UInt16.self) & 0x1f7f | 0x40
      vm_x87_summarize(s)

    case VM_X87_STCW:
      try store(try operandLinear(op, size: 2, write: true), s.pointee.fpu_control)

    case VM_X87_STSW:
      try store(try operandLinear(op, size: 2, write: true), s.pointee.fpu_status)

    case VM_X87_LDENV:
      try x87Wait()
      try loadX87Environment(op, withRegisters: false)

    case VM_X87_RSTOR:
      try x87Wait()
      try loadX87Environment(op, withRegisters: true)

    case VM_X87_STENV:
      try storeX87Environment(op, withRegisters: false)

    case VM_X87_SAVE:
      try storeX87Environment(op, withRegisters: true)

    default:
      throw GuestFault.undefined
    }
  }

  private func storeX87(
    _ linear: UInt64, _ result: UnsafeMutablePointer<vm_x87_store>, _ size: Int
  ) throws(GuestFault) {
    let bytes = UnsafeRawPointer(result)
    switch size {
    case 2: try store(linear, bytes.loadUnaligned(as: UInt16.self))
    case 4: try store(linear, bytes.loadUnaligned(as: UInt32.self))
    case 8: try store(linear, bytes.loadUnaligned(as: UInt64.self))
    default:
      try checkAlignment(linear, size: 8, set: Int(s.pointee.mmu))
      try storeBytes(linear, from: bytes, count: size)
    }
  }

  /// The last instruction's address and opcode, which FSTENV shows (Intel SDM vol. 1, 8.1.8).
  @inline(__always)
  private func rememberX87(_ op: UnsafePointer<vm_op>, _ sub: UInt32) {
    s.pointee.fpu_ip = s.pointee.gpr.17 &+ UInt64(op.pointee.offset)
    s.pointee.fpu_cs = s.pointee.segments.1.selector
    s.pointee.fpu_opcode = UInt16(sub & 0x7ff)
  }

  @inline(__always)
  private func rememberX87Operand(_ op: UnsafePointer<vm_op>, _ linear: UInt64) {
    let segment = vm_segment_at(s, UInt32(op.pointee.segment))
    let isLong = s.pointee.mode & UInt32(VM_MODE_CODE_MASK) == UInt32(VM_MODE_CODE64)
    let offset = linear &- segment.pointee.base
    s.pointee.fpu_dp = isLong ? linear : offset & 0xffff_ffff
    s.pointee.fpu_ds = segment.pointee.selector
  }
}
