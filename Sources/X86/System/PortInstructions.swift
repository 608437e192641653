import CHost

/// IN, OUT, INS, OUTS and who may use them (Intel SDM vol. 1, 18.5).
extension CPU {
  /// IOPL, or the permission bitmap of the TSS.
  func checkPort(_ port: UInt16, size: Int) throws(GuestFault) {
    if s.pointee.cr0 & CR0.pe == 0 { return }
    if !isV86 && s.pointee.cpl <= ioPrivilege { return }
    let task = segmentRegister(Seg.tr).pointee
    guard task.attributes & 0x88 == 0x88, task.limit >= 103 else { throw .protection(0) }
    let map = try loadSupervisor(task.base &+ 102, as: UInt16.self)
    let at = UInt64(map) &+ UInt64(port &>> 3)
    guard at &+ 1 <= UInt64(task.limit) else { throw .protection(0) }
    let bits = try loadSupervisor(task.base &+ at, as: UInt16.self)
    let mask = ((1 as UInt16) &<< UInt16(size)) &- 1
    guard bits &>> (port & 7) & mask == 0 else { throw .protection(0) }
  }

  private func portSize(_ op: UnsafePointer<vm_op>) -> Int { min(Int(op.pointee.operand_size), 4) }

  func executePort(_ operation: SystemOp, _ op: UnsafePointer<vm_op>) throws(GuestFault) {
    let size = portSize(op)
    let immediate = operation == .inImmediate || operation == .outImmediate
    let port = immediate ? UInt16(op.pointee.imm & 0xff) : UInt16(truncatingIfNeeded: slots[Reg.rdx])
    try checkPort(port, size: size)
    if operation == .inImmediate || operation == .inDX {
      let value = UInt64(environment.readPort(port, size: size))
      switch size {
      case 1: slots[Reg.rax] = slots[Reg.rax] & ~0xff | value & 0xff
      case 2: slots[Reg.rax] = slots[Reg.rax] & ~0xffff | value & 0xffff
      default: slots[Reg.rax] = value & 0xffff_ffff
      }
    } else {
      let mask: UInt32 = size == 4 ? .max : (1 &<< UInt32(size &* 8)) &- 1
      environment.writePort(port, size: size, value: UInt32(truncatingIfNeeded: slots[Reg.rax]) & mask)
    }
    if latches.watchesPorts { notePortAccess(port, size: size) }
  }

  /// INS and OUTS. False: a repetition that goes on at the same RIP, after an interrupt or in a next slice.
  func executePortString(_ operation: SystemOp, _ op: UnsafePointer<vm_op>) throws(GuestFault) -> Bool {
    let size = portSize(op)
    let port = UInt16(truncatingIfNeeded: slots[Reg.rdx])
    let mask: UInt64 = op.pointee.address_size == 8 ? .max : op.pointee.address_size == 4 ? 0xffff_ffff : 0xffff
    let repeats = op.pointee.prefixes & UInt8(VM_PREFIX_REP | VM_PREFIX_REPNE) != 0
    if repeats && slots[Reg.rcx] & mask == 0 { return true }
    try checkPort(port, size: size)
    let backwards = s.pointee.eflags & EFLAGS.df != 0
    let step = backwards ? 0 &- UInt64(size) : UInt64(size)
    // A slice: long repetitions leave now and then, so that the loop sees requests to stop.
    var left = 4096
    while true {
      if operation == .ins {
        try portToMemory(port, size, slots[Reg.rdi] & mask)
        advance(Reg.rdi, step, mask)
      } else {
        try memoryToPort(port, size, Int(op.pointee.segment), slots[Reg.rsi] & mask)
        advance(Reg.rsi, step, mask)
      }
      if latches.watchesPorts { notePortAccess(port, size: size) }
      if !repeats { return true }
      advance(Reg.rcx, .max, mask)
      if slots[Reg.rcx] & mask == 0 { return true }
      left &-= 1
      if left == 0 || vm_load_relaxed(&s.pointee.pending) != 0 { return false }
    }
  }

  /// Adds to a register within the address size; a 32-bit one clears the upper half.
  @inline(__always)
  private func advance(_ register: Int, _ step: UInt64, _ mask: UInt64) {
    let old = slots[register]
    let sum = (old &+ step) & mask
    slots[register] = mask == 0xffff ? old & ~0xffff | sum : sum
  }

  @inline(__always)
  private func portToMemory(_ port: UInt16, _ size: Int, _ offset: UInt64) throws(GuestFault) {
    let linear = try segmentLinear(Seg.es, offset, size: size, write: true)
    // The port is read only when the write cannot fault any more.
    if let host = try hostPointerForUpdate(linear, size: size) {
      let value = environment.readPort(port, size: size)
      switch size {
      case 1: host.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
      case 2: host.storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
      default: host.storeBytes(of: value, as: UInt32.self)
      }
      return
    }
    let value = environment.readPort(port, size: size)
    try storeSlow(linear, size: size, UInt64(value), set: Int(s.pointee.mmu))
  }

  @inline(__always)
  private func memoryToPort(_ port: UInt16, _ size: Int, _ segment: Int, _ offset: UInt64) throws(GuestFault) {
    let linear = try segmentLinear(segment, offset, size: size, write: false)
    let value: UInt32
    switch size {
    case 1: value = UInt32(try load(linear, as: UInt8.self))
    case 2: value = UInt32(try load(linear, as: UInt16.self))
    default: value = try load(linear, as: UInt32.self)
    }
    environment.writePort(port, size: size, value: value)
  }
}
