import CHost

/// MOV, PUSH, POP of segment registers, far pointer loads, descriptor tables and queries (Intel SDM vol. 2).
extension CPU {
  // MARK: Operands

  @inline(__always)
  func hasMemoryOperand(_ op: UnsafePointer<vm_op>) -> Bool { op.pointee.prefixes & UInt8(VM_PREFIX_MEMORY) != 0 }

  /// A general register written with the rules of its size: 32 bits clear the upper half, 16 leave it.
  func writeRegister(_ number: Int, _ value: UInt64, size: Int) {
    switch size {
    case 8: slots[number] = value
    case 4: slots[number] = value & 0xffff_ffff
    default: slots[number] = slots[number] & ~0xffff | value & 0xffff
    }
  }

  func readWord(_ op: UnsafePointer<vm_op>) throws(GuestFault) -> UInt16 {
    if hasMemoryOperand(op) { return try load(operandLinear(op, size: 2, write: false), as: UInt16.self) }
    return UInt16(truncatingIfNeeded: slots[Int(op.pointee.rm)])
  }

  /// Memory takes 16 bits whatever the operand size; a register is zero-extended to it.
  func writeWord(_ op: UnsafePointer<vm_op>, _ value: UInt64) throws(GuestFault) {
    if hasMemoryOperand(op) {
      try store(operandLinear(op, size: 2, write: true), UInt16(truncatingIfNeeded: value))
    } else {
      writeRegister(Int(op.pointee.rm), value, size: Int(op.pointee.operand_size))
    }
  }

  // MARK: Segment registers

  func executeSegmentMove(_ operation: SystemOp, _ op: UnsafePointer<vm_op>) throws(GuestFault) {
    let number = Int(op.pointee.reg)
    guard number < 6 else { throw .undefined }
    let size = Int(op.pointee.operand_size)
    switch operation {
    case .movFromSegment: try writeWord(op, UInt64(segmentRegister(number).pointee.selector))
    case .movToSegment:
      guard number != Seg.cs else { throw .undefined }
      try loadSegment(number, selector: readWord(op))
      if number == Seg.ss { startShadow(stack: true) }
    case .pushSegment:
      var stack = currentStack()
      let selector = UInt64(segmentRegister(number).pointee.selector)
      if size == 4 {
        // Only the lower half of the slot is written.
        var slot = stack
        release(&slot, 0 &- 2)
        try push(&slot, selector, 2)
        release(&stack, 0 &- 4)
      } else {
        try push(&stack, selector, size)
      }
      commit(stack)
    case .popSegment:
      guard number != Seg.cs else { throw .undefined }
      var stack = currentStack()
      let selector = UInt16(truncatingIfNeeded: try peek(stack, 0, 2))
      let mask = stack.mask
      release(&stack, UInt64(size))
      try loadSegment(number, selector: selector)
      slots[Reg.rsp] = slots[Reg.rsp] & ~mask | stack.pointer & mask
      if number == Seg.ss { startShadow(stack: true) }
    default:
      guard hasMemoryOperand(op) else { throw .undefined }
      let pointer = try loadFarPointer(op)
      try loadSegment(number, selector: pointer.selector)
      writeRegister(Int(op.pointee.rm), pointer.offset, size: size)
    }
  }

  // MARK: Tables

  func executeTable(_ operation: SystemOp, _ op: UnsafePointer<vm_op>) throws(GuestFault) {
    switch operation {
    case .sgdt: try storeTable(op, s.pointee.gdtr)
    case .sidt: try storeTable(op, s.pointee.idtr)
    case .lgdt: s.pointee.gdtr = try loadTable(op)
    case .lidt: s.pointee.idtr = try loadTable(op)
    default:
      guard isProtected else { throw .undefined }
      try executeDescriptorQuery(operation, op)
    }
  }

  private func guardUMIP() throws(GuestFault) {
    if s.pointee.cr4 & CR4.umip != 0 && s.pointee.cpl == 3 { throw .protection(0) }
  }

  private func storeTable(_ op: UnsafePointer<vm_op>, _ table: vm_table) throws(GuestFault) {
    guard hasMemoryOperand(op) else { throw .undefined }
    if isProtected { try guardUMIP() }
    let size = isCode64 ? 8 : 4
    let linear = try operandLinear(op, size: 2 &+ size, write: true)
    try probeWrite(linear, size: 2 &+ size)
    try store(linear, UInt16(truncatingIfNeeded: table.limit))
    if size == 8 {
      try store(linear &+ 2, table.base)
    } else {
      try store(linear &+ 2, UInt32(truncatingIfNeeded: table.base))
    }
  }

  private func loadTable(_ op: UnsafePointer<vm_op>) throws(GuestFault) -> vm_table {
    guard hasMemoryOperand(op) else { throw .undefined }
    try requireCPL0()
    let size = isCode64 ? 8 : 4
    let linear = try operandLinear(op, size: 2 &+ size, write: false)
    let limit = try load(linear, as: UInt16.self)
    var base: UInt64
    if size == 8 {
      base = try load(linear &+ 2, as: UInt64.self)
      guard CPU.isCanonical(base) else { throw .protection(0) }
    } else {
      base = UInt64(try load(linear &+ 2, as: UInt32.self))
      if op.pointee.operand_size == 2 { base &= 0xff_ffff }
    }
    return vm_table(base: base, limit: UInt32(limit), reserved: 0)
  }

  private func executeDescriptorQuery(_ operation: SystemOp, _ op: UnsafePointer<vm_op>) throws(GuestFault) {
    switch operation {
    case .sldt:
      try guardUMIP()
      try writeWord(op, UInt64(segmentRegister(Seg.ldtr).pointee.selector))
    case .str:
      try guardUMIP()
      try writeWord(op, UInt64(segmentRegister(Seg.tr).pointee.selector))
    case .lldt:
      try requireCPL0()
      try loadLDTR(readWord(op))
    case .ltr:
      try requireCPL0()
      try loadTR(readWord(op))
    case .verr, .verw:
      let selector = try readWord(op)
      setZero(try isAccessible(selector, write: operation == .verw))
    case .lar:
      let selector = try readWord(op)
      guard let found = try visibleDescriptor(selector, forLimit: false) else { return setZero(false) }
      // The limit's upper bits are undefined in the manual and shown by processors.
      let rights = found.low &>> 32 & 0x00ff_ff00
      writeRegister(Int(op.pointee.reg), rights, size: Int(op.pointee.operand_size))
      setZero(true)
    case .lsl:
      let selector = try readWord(op)
      guard let found = try visibleDescriptor(selector, forLimit: true) else { return setZero(false) }
      writeRegister(Int(op.pointee.reg), UInt64(found.limit), size: Int(op.pointee.operand_size))
      setZero(true)
    default: try adjustRPL(op)
    }
  }

  private func setZero(_ value: Bool) { setFlags(value ? EFLAGS.zf : 0, mask: EFLAGS.zf) }

  private func isAccessible(_ selector: UInt16, write: Bool) throws(GuestFault) -> Bool {
    guard !selector.isNullSelector, let found = try readDescriptor(selector), found.isSegment else { return false }
    if !(found.isCode && found.isConforming) && found.dpl < max(s.pointee.cpl, selector.rpl) { return false }
    if write { return found.isData && found.isWritable }
    return found.isData || found.isWritable
  }

  /// The descriptor as LAR and LSL may see it, or nil.
  private func visibleDescriptor(_ selector: UInt16, forLimit: Bool) throws(GuestFault) -> Descriptor? {
    guard !selector.isNullSelector, let found = try readDescriptor(selector) else { return nil }
    if !found.isSegment {
      switch found.systemType {
      case SystemType.tss32, SystemType.busyTSS32, SystemType.ldt: break
      case SystemType.tss16, SystemType.busyTSS16: if isLongMode { return nil }
      case SystemType.callGate16, SystemType.taskGate: if forLimit || isLongMode { return nil }
      case SystemType.callGate32: if forLimit { return nil }
      default: return nil
      }
    }
    let conforming = found.isCode && found.isConforming
    if !conforming && found.dpl < max(s.pointee.cpl, selector.rpl) { return nil }
    return found
  }

  private func adjustRPL(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    let source = UInt16(truncatingIfNeeded: slots[Int(op.pointee.reg)]) & 3
    if hasMemoryOperand(op) {
      let linear = try operandLinear(op, size: 2, write: true)
      try probeWrite(linear, size: 2)
      let value = try load(linear, as: UInt16.self)
      let raise = value & 3 < source
      if raise { try store(linear, value & ~3 | source) }
      setZero(raise)
    } else {
      let number = Int(op.pointee.rm)
      let value = UInt16(truncatingIfNeeded: slots[number])
      let raise = value & 3 < source
      if raise { writeRegister(number, UInt64(value & ~3 | source), size: 2) }
      setZero(raise)
    }
  }

  // MARK: FS and GS bases

  func executeBase(_ operation: SystemOp, _ op: UnsafePointer<vm_op>) throws(GuestFault) {
    guard isCode64 else { throw .undefined }
    if operation == .swapgs {
      try requireCPL0()
      let gs = segmentRegister(Seg.gs)
      let base = gs.pointee.base
      gs.pointee.base = s.pointee.kernel_gs_base
      s.pointee.kernel_gs_base = base
      return
    }
    guard s.pointee.cr4 & CR4.fsgsbase != 0 else { throw .undefined }
    let number = Int(op.pointee.rm)
    let size = Int(op.pointee.operand_size) == 8 ? 8 : 4
    switch operation {
    case .rdfsbase: writeRegister(number, segmentRegister(Seg.fs).pointee.base, size: size)
    case .rdgsbase: writeRegister(number, segmentRegister(Seg.gs).pointee.base, size: size)
    default:
      let value = size == 8 ? slots[number] : slots[number] & 0xffff_ffff
      guard CPU.isCanonical(value) else { throw .protection(0) }
      segmentRegister(operation == .wrfsbase ? Seg.fs : Seg.gs).pointee.base = value
    }
  }
}
