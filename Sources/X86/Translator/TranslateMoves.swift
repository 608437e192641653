import CHost

/// Moves, exchanges and the stack.
extension BlockTranslator {
  mutating func moveRegister(_ op: Op, _ size: Int) -> Bool {
    guard let rm = number(op.pointee.rm, size), let reg = number(op.pointee.reg, size) else { return false }
    if canChangeInPlace(rm, size) && isResident(reg) {
      a.store(place(rm), value(reg, GuestRegisters.second))
      committed(rm)
    } else if size >= 4 {
      let register = target(rm, GuestRegisters.second)
      a.load(register, source(reg), size: size)
      commit(rm, register)
    } else {
      let register = change(rm, GuestRegisters.second)
      a.emit(size == 1 ? 0x8a : 0x8b, register, source(reg), size: size)
      commit(rm, register)
    }
    return true
  }

  mutating func moveConstant(_ op: Op, _ size: Int) -> Bool {
    guard let rm = number(op.pointee.rm, size) else { return false }
    if size >= 4 {
      let register = target(rm, GuestRegisters.second)
      a.moveImmediate(register, UInt64(bitPattern: op.pointee.imm))
      commit(rm, register)
    } else {
      let register = change(rm, GuestRegisters.second)
      a.emit(size == 1 ? 0xc6 : 0xc7, 0, .register(register), size: size)
      a.immediate(op.pointee.imm, size)
      commit(rm, register)
    }
    return true
  }

  mutating func moveLoad(_ op: Op, _ size: Int) -> Bool {
    guard let reg = number(op.pointee.reg, size) else { return false }
    var access = memory(op, size: size, write: false, accumulator: false)
    if size >= 4 {
      let register = target(reg, spare(&access, reg))
      a.load(register, access.operand, size: size)
      commit(reg, register)
    } else {
      let register = change(reg, spare(&access, reg))
      a.emit(size == 1 ? 0x8a : 0x8b, register, access.operand, size: size)
      commit(reg, register)
    }
    return true
  }

  mutating func moveStore(_ op: Op, _ size: Int) -> Bool {
    guard let reg = number(op.pointee.reg, size) else { return false }
    var access = memory(op, size: size, write: true, accumulator: false)
    let register = value(reg, spare(&access, reg))
    a.emit(size == 1 ? 0x88 : 0x89, register, access.operand, size: size)
    return true
  }

  /// MOVZX, MOVSX, MOVSXD: `from` bytes to `size`.
  mutating func extend(_ op: Op, _ from: Int, signed: Bool, size: Int) -> Bool {
    // MOVSXD to 16 or 32 bits is a move of odd width.
    if from == 4 && size != 8 { return false }
    let opcode: UInt32 = from == 4 ? 0x63 : (signed ? 0x0fbe : 0x0fb6) | (from == 2 ? 1 : 0)
    guard let (operand, temporary) = readOperand(op, from) else { return false }
    let register = size == 2 ? change(op.pointee.reg, temporary) : target(op.pointee.reg, temporary)
    a.emit(opcode, register, operand, size: size, byteRM: from == 1)
    commit(op.pointee.reg, register)
    return true
  }

  mutating func conditionalMove(_ op: Op, _ size: Int) -> Bool {
    let opcode: UInt32 = 0x0f40 | UInt32(op.pointee.sub & 15)
    if isMemory(op) {
      var access = memory(op, size: size, write: false, accumulator: false)
      requireFlags()
      let register = change(op.pointee.reg, spare(&access, op.pointee.reg))
      a.emit(opcode, register, access.operand, size: size)
      commit(op.pointee.reg, register)
    } else {
      requireFlags()
      // With 32 bits the upper half is cleared whatever the condition, by the host's instruction as well.
      let register = change(op.pointee.reg, GuestRegisters.second)
      a.emit(opcode, register, source(op.pointee.rm), size: size)
      commit(op.pointee.reg, register)
    }
    return true
  }

  mutating func setCondition(_ op: Op) -> Bool {
    let opcode: UInt32 = 0x0f90 | UInt32(op.pointee.sub & 15)
    if isMemory(op) {
      let access = memory(op, size: 1, write: true, accumulator: false)
      requireFlags()
      a.emit(opcode, 0, access.operand, size: 1)
    } else {
      guard let rm = number(op.pointee.rm, 1) else { return false }
      requireFlags()
      let register = change(rm, GuestRegisters.second)
      a.emit(opcode, 0, .register(register), size: 1)
      commit(rm, register)
    }
    return true
  }

  /// CBW, CWDE, CDQE.
  mutating func widen(_ size: Int) -> Bool {
    let rax = Host.r11
    versions.write(GuestRegisters.rax)
    switch size {
    case 2: a.emit(0x0fbe, rax, .register(rax), size: 2, byteRM: true)
    case 4: a.emit(0x0fbf, rax, .register(rax), size: 4)
    default: a.emit(0x63, rax, .register(rax), size: 8)
    }
    return true
  }

  /// CWD, CDQ, CQO.
  mutating func spreadSign(_ size: Int) -> Bool {
    takeAccumulator()
    a.move(Host.rax, Host.r11)
    if size == 2 { a.byte(0x66) }
    if size == 8 { a.byte(0x48) }
    a.byte(0x99)
    versions.write(GuestRegisters.rdx)
    return true
  }

  // MARK: Exchanges

  mutating func exchange(_ op: Op, _ size: Int) -> Bool {
    guard let reg = number(op.pointee.reg, size) else { return false }
    let opcode: UInt32 = size == 1 ? 0x86 : 0x87
    if isMemory(op) {
      var access = memory(op, size: size, write: true, accumulator: false)
      let register = change(reg, spare(&access, reg))
      a.emit(opcode, register, access.operand, size: size)
      commit(reg, register)
      return true
    }
    guard let rm = number(op.pointee.rm, size) else { return false }
    if rm == reg && size != 4 { return true }
    if rm != reg && (rm | Self.highByte) == (reg | Self.highByte) { return false }
    let left = change(rm, GuestRegisters.second)
    let right = rm == reg ? left : change(reg, GuestRegisters.first)
    a.emit(opcode, right, .register(left), size: size)
    commit(rm, left)
    if rm != reg { commit(reg, right) }
    return true
  }

  mutating func exchangeAdd(_ op: Op, _ size: Int) -> Bool {
    guard isMemory(op), let reg = number(op.pointee.reg, size) else { return false }
    var access = memory(op, size: size, write: true, accumulator: false)
    let register = change(reg, spare(&access, reg))
    a.emit(size == 1 ? 0x0fc0 : 0x0fc1, register, access.operand, size: size, prefix: lockPrefix(op))
    commit(reg, register)
    flagsWritten()
    return true
  }

  mutating func compareExchange(_ op: Op, _ size: Int) -> Bool {
    guard isMemory(op), let reg = number(op.pointee.reg, size) else { return false }
    var access = memory(op, size: size, write: true, accumulator: true)
    let register = value(reg, spare(&access, reg))
    a.move(Host.rax, Host.r11)
    a.emit(size == 1 ? 0x0fb0 : 0x0fb1, register, access.operand, size: size, prefix: lockPrefix(op))
    a.move(Host.r11, Host.rax)
    versions.write(GuestRegisters.rax)
    flagsWritten()
    return true
  }

  /// CMPXCHG8B and CMPXCHG16B: of the flags ZF alone is written.
  mutating func compareExchangeWide(_ op: Op, _ size: Int) -> Bool {
    guard isMemory(op) else { return false }
    let access = memory(op, size: size, write: true, accumulator: true, aligned: size == 16)
    flagsToMemory()
    versions.write(GuestRegisters.rax)
    versions.write(GuestRegisters.rdx)
    a.move(Host.rax, Host.r11)
    a.emit(0x0fc7, 1, access.operand, size: size == 16 ? 8 : 4, prefix: lockPrefix(op))
    a.move(Host.r11, Host.rax)
    // ZF is bit 6 of what LAHF keeps in AH.
    a.emit(0x0f94, 0, .register(GuestRegisters.second), size: 1)
    a.emit(0x0fb6, GuestRegisters.second, .register(GuestRegisters.second), size: 4, byteRM: true)
    a.shiftLeft(GuestRegisters.second, 14, size: 4)
    a.arithmetic(4, StateField.rawFlags, ~0x4000, size: 4)
    a.emit(0x09, GuestRegisters.second, StateField.rawFlags, size: 4)
    flags = .memory
    return true
  }

  // MARK: Stack

  /// Of the widths that pushes and pops have in 64-bit code, and in 32-bit code with a 32-bit stack.
  func isNativeWidth(_ size: Int) -> Bool { size == (is64 ? 8 : 4) }

  mutating func moveStackPointer(_ bytes: Int) {
    versions.add(GuestRegisters.rsp, bytes)
    stackRun.bytes += bytes
    // Whoever comes from a miss has moved it.
    if !stackRun.goesOn || misses.count > stackRun.misses { endStackRun() }
  }

  /// Pushes and pops that follow each other and were checked together, of which the last moves the stack pointer for all,
  /// and one loads the addend.
  struct StackRun {
    /// By which the stack pointer is still to be moved.
    var bytes = 0
    /// The instruction being translated may leave that to the next.
    var goesOn = false
    /// Misses before it.
    var misses = 0
    /// The reference whose addend has been loaded to R14, or -1; `changes`: R14's count behind that load.
    var leader = -1
    var changes = 0
  }

  mutating func beginInStackRun(_ op: Op) {
    let isRegister = !isMemory(op) && op.pointee.rm != GuestRegisters.rsp
    if !stackRun.goesOn { stackRun.leader = -1 }
    stackRun.misses = misses.count
    stackRun.goesOn = false
    switch OpKind(trusted: op.pointee.kind) {
    case .push64, .push, .pop64, .pop: stackRun.goesOn = isRegister
    case .pushImmediate64: stackRun.goesOn = true
    // They take part in a run and end it.
    case .call64, .call, .ret64, .ret: return
    default: break
    }
    if !stackRun.goesOn { endStackRun() }
  }

  mutating func endStackRun() {
    stackRun.leader = -1
    guard stackRun.bytes != 0 else { return }
    a.emit(0x8d, Host.r12, .at(Host.r12, stackRun.bytes), size: is64 ? 8 : 4)
    stackRun.bytes = 0
  }

  mutating func push(_ op: Op, _ size: Int) -> Bool {
    guard isNativeWidth(size) else { return false }
    let isConstant = OpKind(trusted: op.pointee.kind) == .pushImmediate64 || op.pointee.sub == 1
    if isMemory(op) {
      let access = memory(op, size: size, write: false, accumulator: true)
      a.load(Host.rax, access.operand, size: size)
      let top = stack(GuestRegisters.rsp, -size, size: size, write: true, accumulator: false)
      a.store(top.operand, Host.rax, size: size)
    } else {
      var top = stack(GuestRegisters.rsp, -size, size: size, write: true, accumulator: false)
      if isConstant {
        a.emit(0xc7, 0, top.operand, size: size)
        a.word32(Int32(truncatingIfNeeded: op.pointee.imm))
      } else {
        let register = value(op.pointee.rm, spare(&top, op.pointee.rm))
        a.store(top.operand, register, size: size)
      }
    }
    moveStackPointer(-size)
    return true
  }

  mutating func pop(_ op: Op, _ size: Int) -> Bool {
    guard isNativeWidth(size), !isMemory(op) else { return false }
    var top = stack(GuestRegisters.rsp, 0, size: size, write: false, accumulator: false)
    let register = target(op.pointee.rm, spare(&top, op.pointee.rm))
    a.load(register, top.operand, size: size)
    // POP rSP: what was popped stays.
    if op.pointee.rm != 4 { moveStackPointer(size) }
    commit(op.pointee.rm, register)
    return true
  }

  mutating func leaveFrame(_ size: Int) -> Bool {
    guard isNativeWidth(size) else { return false }
    let top = stack(GuestRegisters.rbp, 0, size: size, write: false, accumulator: false)
    a.emit(0x8d, Host.r12, .at(Host.r13, size), size: size)
    a.load(Host.r13, top.operand, size: size)
    versions.write(GuestRegisters.rsp)
    versions.write(GuestRegisters.rbp)
    return true
  }
}
