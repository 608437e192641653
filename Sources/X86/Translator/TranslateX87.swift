import CHost

/// The x87 FPU by the same instructions: the guest's registers and control word are the host's once a block that uses
/// them has had them loaded, as long as all exceptions are masked. What enters the interpreter stores them first.
extension BlockTranslator {
  /// Returns false when the instruction is left to the interpreter.
  mutating func floating(_ op: Op) -> Bool {
    let sub = UInt32(op.pointee.sub)
    let opcode = 0xd8 | sub >> 8
    if sub & 0xc0 == 0xc0 {
      let storesStatus = sub == 0x7e0
      guard storesStatus || CPU.x87IsDefined(sub), sub & 0x7f8 != 0x3e0 else { return false }
      requireX87()
      let isCompare = sub & 0x7f8 == 0x3e8 || sub & 0x7f8 == 0x3f0 || sub & 0x7f8 == 0x7e8 || sub & 0x7f8 == 0x7f0
      if storesStatus {
        takeAccumulator()
        a.byte(0xdf)
        a.byte(0xe0)
        a.move(Host.r11, Host.rax, size: 2)
        versions.write(GuestRegisters.rax)
        return true
      }
      if sub & 0x6e0 == 0x2c0 { requireFlags() }
      a.byte(UInt8(opcode))
      a.byte(UInt8(sub & 0xff))
      if isCompare { flagsWritten() }
      lastX87 = index
      return true
    }
    guard canReach(op), op.pointee.segment < UInt8(VM_FS) else { return false }
    let access = vm_x87_memory(sub)
    let kind = Int(access.kind)
    let digit = UInt8(sub >> 3 & 7)
    switch kind {
    case VM_X87_LOAD, VM_X87_STORE:
      requireX87()
      let place = memory(op, size: Int(access.size), write: kind == VM_X87_STORE, accumulator: false)
      a.emit(opcode, digit, place.operand, size: 4)
      noteOperand(op)
      lastX87 = index
    case VM_X87_LDCW:
      requireX87()
      var place = memory(op, size: 2, write: false, accumulator: false)
      keepFlags(accumulator: false)
      let temporary = freeTemporary(&place)
      // With an exception unmasked the interpreter goes on.
      a.emit(0x0fb7, temporary, place.operand, size: 4)
      a.emit(0xf7, 2, .register(temporary), size: 4)
      a.emit(0xf7, 0, .register(temporary), size: 4)
      a.word32(0x3f)
      missIf(Condition.notEqual)
      a.emit(0xd9, 5, place.operand, size: 4)
    case VM_X87_STCW, VM_X87_STSW:
      requireX87()
      let place = memory(op, size: 2, write: true, accumulator: false)
      a.emit(opcode, digit, place.operand, size: 4)
    default: return false
    }
    return true
  }

  /// Keeps the operand's address and segment, which FSTENV shows.
  private mutating func noteOperand(_ op: Op) {
    let second = GuestRegisters.second
    effectiveAddress(op, to: second, size: op.pointee.form == UInt8(VM_FORM_FLAT32) ? 4 : 8)
    a.store(StateField.x87Data, second, size: 8)
    a.emit(0x0fb7, second, StateField.selector(Int(op.pointee.segment)), size: 4)
    a.store(StateField.x87DataSegment, second, size: 2)
  }

  /// Keeps those of the last x87 instruction, unless they are kept already.
  mutating func noteLastX87() {
    if lastX87 >= 0 { noteX87(lastX87) }
    lastX87 = -1
  }

  /// Keeps the address and opcode of the x87 instruction `index`. R15 is used, flags are left alone.
  mutating func noteX87(_ index: Int) {
    let second = GuestRegisters.second
    a.load(second, StateField.page)
    a.emit(0x8d, second, .at(second, Int(block.pointee.start) + Int(ops[index].offset)), size: 8)
    a.store(StateField.x87Instruction, second, size: 8)
    a.emit(0x0fb7, second, StateField.selector(VM_CS), size: 4)
    a.store(StateField.x87CodeSegment, second, size: 2)
    a.moveImmediate(second, UInt64(ops[index].sub & 0x7ff))
    a.store(StateField.x87Opcode, second, size: 2)
  }

  /// Has the guest's x87 state in the host's from here to the end of the block.
  mutating func requireX87() {
    if !hasX87 { requireLoaded(StateField.x87Ready, by: translator.x87Thunk) }
    hasX87 = true
  }
}

extension Translator {
  /// Emits the function that loads the host's FPU with the guest's state; ZF: that must not be. All registers but R14
  /// and R15 are kept.
  func emitX87Load(_ a: inout Assembler) {
    a.arithmetic(7, StateField.x87Allowed, 0, size: 4)
    let refused = a.jumpIf(Condition.equal)
    let rax = Host.rax
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    a.arithmetic(5, .register(Host.rsp), 120, size: 8)
    a.store(.at(Host.rsp, 112), rax)
    a.emit(0x0fb7, rax, StateField.x87Control, size: 4)
    a.store(.at(Host.rsp, 0), rax, size: 4)
    a.emit(0x0fb7, rax, StateField.x87Status, size: 4)
    a.store(.at(Host.rsp, 4), rax, size: 4)
    a.emit(0x0fb6, first, StateField.x87Empty, size: 4)
    a.moveImmediate(second, 0x5555)
    a.bits(deposit: true, first, first, second)
    a.emit(0x8d, first, .memory(base: first, index: first, scale: 1, disp: 0), size: 4)
    a.store(.at(Host.rsp, 8), first, size: 4)
    a.moveImmediate(first, 0)
    a.store(.at(Host.rsp, 12), first)
    a.store(.at(Host.rsp, 20), first)
    offsetOfTop(&a)
    for number in 0..<8 {
      a.load(first, x87Register(0))
      a.store(.at(Host.rsp, 28 + 10 * number), first)
      a.load(first, x87Register(8), size: 2)
      a.store(.at(Host.rsp, 36 + 10 * number), first, size: 2)
      nextX87Register(&a)
    }
    a.emit(0xdd, 4, .at(Host.rsp, 0), size: 4)  // frstor
    a.emit(0xc7, 0, StateField.x87Ready, size: 4)
    a.word32(1)
    a.load(rax, .at(Host.rsp, 112))
    // ZF is clear after.
    a.arithmetic(0, .register(Host.rsp), 120, size: 8)
    Assembler.patch(refused, a.cursor)
    a.byte(0xc3)
  }

  /// Emits the function that stores the guest's x87 state and leaves the host's initialised. RAX, R14 and R15 are used.
  func emitX87Store(_ a: inout Assembler) {
    let rax = Host.rax
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    a.arithmetic(5, .register(Host.rsp), 120, size: 8)
    a.emit(0xdd, 6, .at(Host.rsp, 0), size: 4)  // fnsave
    a.load(first, .at(Host.rsp, 0), size: 4)
    a.store(StateField.x87Control, first, size: 2)
    a.emit(0x0fb7, rax, .at(Host.rsp, 4), size: 4)
    a.store(StateField.x87Status, rax, size: 2)
    offsetOfTop(&a)
    for number in 0..<8 {
      a.load(first, .at(Host.rsp, 28 + 10 * number))
      a.store(x87Register(0), first)
      a.emit(0x0fb7, first, .at(Host.rsp, 36 + 10 * number), size: 4)
      a.store(x87Register(8), first)
      nextX87Register(&a)
    }
    a.load(first, .at(Host.rsp, 8), size: 4)
    a.move(rax, first, size: 4)
    a.shiftRight(rax, 1, size: 4)
    a.emit(0x23, first, .register(rax), size: 4)
    a.moveImmediate(second, 0x5555)
    a.bits(deposit: false, first, first, second)
    a.emit(0x88, first, StateField.x87Empty, size: 1)
    a.emit(0xc7, 0, StateField.x87Ready, size: 4)
    a.word32(0)
    a.arithmetic(0, .register(Host.rsp), 120, size: 8)
    a.byte(0xc3)
  }

  /// A register's field, at byte offset RAX of the physical registers.
  private func x87Register(_ field: Int) -> HostOperand {
    let disp = MemoryLayout<vm_cpu_state>.offset(of: \.fpr)! + field - GuestRegisters.bias
    return .memory(base: GuestRegisters.state, index: Host.rax, scale: 0, disp: Int32(disp))
  }

  /// The byte offset of the top register from the status word in RAX, to RAX.
  private func offsetOfTop(_ a: inout Assembler) {
    a.shiftRight(Host.rax, 11, size: 4)
    a.arithmetic(4, .register(Host.rax), 7, size: 4)
    a.shiftLeft(Host.rax, 4, size: 4)
  }

  private func nextX87Register(_ a: inout Assembler) {
    a.arithmetic(0, .register(Host.rax), 16, size: 4)
    a.arithmetic(4, .register(Host.rax), 0x70, size: 4)
  }
}
