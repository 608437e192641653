import CHost

/// Instructions that end a block.
extension BlockTranslator {
  /// Returns false when the instruction is left to the interpreter.
  mutating func branch(_ op: Op) -> Bool {
    let kind = OpKind(trusted: op.pointee.kind)
    let size = Int(op.pointee.operand_size)
    switch kind {
    case .jo, .jno, .jb, .jae, .je, .jne, .jbe, .ja, .js, .jns, .jp, .jnp, .jl, .jge, .jle, .jg:
      guard op.pointee.disp != 0xffff else { return false }
      if loopBack(op, kind.rawValue - OpKind.jo.rawValue) { return true }
      requireFlagsAndAccumulator()
      leave(to: targetOffset(op), if: kind.rawValue - OpKind.jo.rawValue)
      leave(to: nextOffset(op))
      return true
    case .loop:
      guard op.pointee.disp != 0xffff, op.pointee.sub == 2, op.pointee.address_size >= 4 else { return false }
      flagsToAccumulator()
      flags = .rax
      let wide = op.pointee.address_size == 8 ? 8 : 4
      a.emit(0x8d, Host.rcx, .at(Host.rcx, -1), size: wide)
      a.emit(0x85, Host.rcx, .register(Host.rcx), size: wide)
      leave(to: targetOffset(op), if: Condition.notEqual)
      leave(to: nextOffset(op))
      return true
    case .jcxz:
      guard op.pointee.disp != 0xffff, op.pointee.address_size >= 4 else { return false }
      flagsToAccumulator()
      flags = .rax
      a.emit(0x85, Host.rcx, .register(Host.rcx), size: op.pointee.address_size == 8 ? 8 : 4)
      leave(to: targetOffset(op), if: Condition.equal)
      leave(to: nextOffset(op))
      return true
    case .jmp:
      guard op.pointee.disp != 0xffff else { return false }
      if !loopBack(op, nil) { leave(to: targetOffset(op)) }
      return true
    case .call64, .call:
      guard op.pointee.disp != 0xffff, isNativeWidth(size) else { return false }
      pushReturn(op, size)
      leave(to: targetOffset(op))
      return true
    case .ret64, .ret:
      guard isNativeWidth(size) else { return false }
      let release = kind == .ret ? Int(op.pointee.imm & 0xffff) : 0
      let top = stack(GuestRegisters.rsp, 0, size: size, write: false, accumulator: false)
      a.load(GuestRegisters.second, top.operand, size: size)
      moveStackPointer(size + release)
      flagsToAccumulator()
      leaveIndirect()
      return true
    case .jmpR64, .jmpIndirect:
      guard isNativeWidth(size), !isMemory(op) || canReach(op) else { return false }
      flagsToAccumulator()
      loadTarget(op, size, to: GuestRegisters.second)
      leaveIndirect()
      return true
    case .callR64, .callIndirect:
      guard isNativeWidth(size), !isMemory(op) || canReach(op) else { return false }
      keepFlags(accumulator: true)
      loadTarget(op, size, to: Host.rax)
      if is64 {
        // A target that is not canonical faults before the return address is pushed. R14 may hold the addend that the
        // push needs, too.
        a.move(GuestRegisters.second, Host.rax)
        a.emit(0xc1, 7, .register(GuestRegisters.second), size: 8)
        a.byte(47)
        a.arithmetic(0, .register(GuestRegisters.second), 1, size: 8)
        a.arithmetic(7, .register(GuestRegisters.second), 1, size: 8)
        missIf(Condition.above)
      }
      pushReturn(op, size)
      a.move(GuestRegisters.second, Host.rax)
      flagsToAccumulator()
      leaveIndirect()
      return true
    case .system: return system(op)
    default: return false
    }
  }

  /// Offsets from the page's start; a target may lie in another page.
  func targetOffset(_ op: Op) -> Int { Int(block.pointee.start) + Int(op.pointee.imm) }
  func nextOffset(_ op: Op) -> Int {
    Int(block.pointee.start) + Int(op.pointee.offset) + Int(op.pointee.length)
  }

  /// The target of an indirect branch to RAX (free by then) or R15.
  private mutating func loadTarget(_ op: Op, _ size: Int, to register: UInt8) {
    if isMemory(op) {
      let access = memory(op, size: size, write: false, accumulator: register == Host.rax)
      a.load(register, access.operand, size: size)
    } else {
      a.load(register, source(op.pointee.rm), size: size)
    }
  }

  private mutating func pushReturn(_ op: Op, _ size: Int) {
    var top = stack(GuestRegisters.rsp, -size, size: size, write: true, accumulator: false)
    let temporary = freeTemporary(&top)
    a.load(temporary, StateField.page)
    a.emit(0x8d, temporary, .at(temporary, nextOffset(op)), size: size)
    a.store(top.operand, temporary, size: size)
    moveStackPointer(-size)
  }
}
