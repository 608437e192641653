import CHost

/// The integer instructions. Each function returns false when the instruction is left to the interpreter, before it has
/// emitted anything.
extension BlockTranslator {
  @inline(__always)
  func isMemory(_ op: Op) -> Bool { op.pointee.prefixes & UInt8(VM_PREFIX_MEMORY) != 0 }

  @inline(__always)
  func lockPrefix(_ op: Op) -> UInt8 { op.pointee.prefixes & UInt8(VM_PREFIX_LOCK) != 0 ? 0xf0 : 0 }

  /// The number of a register operand of `size` bytes, with `highByte` for AH, CH, DH and BH; nil when the host cannot
  /// do those.
  @inline(__always)
  func number(_ field: UInt8, _ size: Int) -> UInt8? {
    if size != 1 { return field }
    if field & 7 == 0 { return field >> 3 }
    return Translator.hasRotate ? field >> 3 | Self.highByte : nil
  }

  mutating func instruction(_ op: Op) -> Bool {
    let size = Int(op.pointee.operand_size)
    let raw = op.pointee.kind
    if isMemory(op) && !canReach(op) {
      switch OpKind(trusted: raw) {
      case .lea32, .lea64, .lea16, .nop: break
      default: return false
      }
    }
    switch OpKind(trusted: raw) {
    case .nop: return true

    case .addRR32, .addRR64, .addRI32, .addRI64, .addRM32, .addRM64:
      return arithmetic(op, 0, run(raw, .addRR32), size)
    case .orRR32, .orRR64, .orRI32, .orRI64, .orRM32, .orRM64: return arithmetic(op, 1, run(raw, .orRR32), size)
    case .andRR32, .andRR64, .andRI32, .andRI64, .andRM32, .andRM64: return arithmetic(op, 4, run(raw, .andRR32), size)
    case .subRR32, .subRR64, .subRI32, .subRI64, .subRM32, .subRM64: return arithmetic(op, 5, run(raw, .subRR32), size)
    case .xorRR32, .xorRR64, .xorRI32, .xorRI64, .xorRM32, .xorRM64: return arithmetic(op, 6, run(raw, .xorRR32), size)
    case .cmpRR32, .cmpRR64, .cmpRI32, .cmpRI64, .cmpRM32, .cmpRM64: return arithmetic(op, 7, run(raw, .cmpRR32), size)
    case .addRR32n, .addRR64n, .addRI32n, .addRI64n: return quiet(op, 0, run(raw, .addRR32n), size)
    case .orRR32n, .orRR64n, .orRI32n, .orRI64n: return quiet(op, 1, run(raw, .orRR32n), size)
    case .andRR32n, .andRR64n, .andRI32n, .andRI64n: return quiet(op, 4, run(raw, .andRR32n), size)
    case .subRR32n, .subRR64n, .subRI32n, .subRI64n: return quiet(op, 5, run(raw, .subRR32n), size)
    case .xorRR32n, .xorRR64n, .xorRI32n, .xorRI64n: return quiet(op, 6, run(raw, .xorRR32n), size)
    case .cmpMR32, .cmpMR64: return arithmetic(op, 7, .mr, size)
    case .cmpMI32, .cmpMI64, .cmpMI8: return arithmetic(op, 7, .mi, size)
    case .cmpRR8: return arithmetic(op, 7, .rr, 1)
    case .cmpRI8: return arithmetic(op, 7, .ri, 1)
    case .cmpRM8: return arithmetic(op, 7, .rm, 1)
    case .alu8, .alu16, .alu32, .alu64:
      guard let form = AluForm(rawValue: op.pointee.sub >> 4) else { return false }
      return arithmetic(op, UInt8(op.pointee.sub & 7), form, size)
    case .zero32:
      let register = target(op.pointee.rm, GuestRegisters.second)
      a.emit(0x31, register, .register(register), size: 4)
      commit(op.pointee.rm, register)
      flagsWritten()
      return true
    case .testRR32, .testRR64, .testRI32, .testRI64, .testMI32, .testMI64, .testRR8, .testRI8, .testMI8, .test:
      return test(op, size)
    case .inc32, .inc64: return increment(op, 0, size)
    case .dec32, .dec64: return increment(op, 1, size)
    case .incdec: return increment(op, UInt8(op.pointee.sub & 1), size)
    case .not: return unary(op, 2, size)
    case .neg: return unary(op, 3, size)

    case .movRR8, .movRR16, .movRR32, .movRR64: return moveRegister(op, size)
    case .movRI8, .movRI16, .movRI32, .movRI64: return moveConstant(op, size)
    case .movRM8, .movRM16, .movRM32, .movRM64: return moveLoad(op, size)
    case .movMR8, .movMR16, .movMR32, .movMR64: return moveStore(op, size)
    case .movMI8, .movMI16, .movMI32, .movMI64:
      let access = memory(op, size: size, write: true, accumulator: false)
      a.emit(size == 1 ? 0xc6 : 0xc7, 0, access.operand, size: size)
      a.immediate(op.pointee.imm, size)
      return true
    case .movzxR8, .movzxM8: return extend(op, 1, signed: false, size: 4)
    case .movzxR16, .movzxM16: return extend(op, 2, signed: false, size: 4)
    case .movsxR8, .movsxM8: return extend(op, 1, signed: true, size: 4)
    case .movsxR16, .movsxM16: return extend(op, 2, signed: true, size: 4)
    case .movsxdR, .movsxdM: return extend(op, 4, signed: true, size: 8)
    case .extend: return extend(op, Int(op.pointee.sub & 15), signed: op.pointee.sub & 16 != 0, size: size)
    case .lea64, .lea32:
      let wide = size == 8 && op.pointee.address_size == 8
      if op.pointee.address_size == 2 { return false }
      let register = target(op.pointee.reg, GuestRegisters.second)
      effectiveAddress(op, to: register, size: wide ? 8 : 4)
      commit(op.pointee.reg, register)
      return true
    case .lea16: return false
    case .cmov32, .cmov64, .cmov: return conditionalMove(op, size)
    case .setccR, .setccM: return setCondition(op)
    case .cbw: return widen(size)
    case .cwd: return spreadSign(size)
    case .xchg: return exchange(op, size)
    case .xadd: return exchangeAdd(op, size)
    case .cmpxchg: return compareExchange(op, size)
    case .bswap:
      if size == 2 { return false }
      let register = change(op.pointee.rm, GuestRegisters.second)
      if size == 8 { a.byte(register >= 8 ? 0x49 : 0x48) } else if register >= 8 { a.byte(0x41) }
      a.byte(0x0f)
      a.byte(0xc8 | register & 7)
      commit(op.pointee.rm, register)
      return true

    case .push64, .pushImmediate64, .push: return push(op, size)
    case .pop64, .pop: return pop(op, size)
    case .leaveFrame: return leaveFrame(size)

    case .shlRI32, .shlRI64, .shrRI32, .shrRI64, .sarRI32, .sarRI64, .shift: return shift(op, size)
    case .shlRI32n, .shlRI64n, .shrRI32n, .shrRI64n, .sarRI32n, .sarRI64n:
      defer { flagsLost() }
      return shift(op, size)
    case .doubleShift: return doubleShift(op, size)
    case .imulRR32, .imulRR64, .imul: return signedMultiply(op, size)
    case .multiply: return multiply(op, size)
    case .divide: return divide(op, size)
    case .bitTest: return bitTest(op, size)
    case .bitScan: return bitScan(op, size)
    case .popcnt: return populationCount(op, size)
    case .flag: return flagInstruction(op)
    case .simd: return vector(op)
    case .x87: return floating(op)
    case .cmpxchg8b: return compareExchangeWide(op, 8)
    case .cmpxchg16b: return compareExchangeWide(op, 16)
    default: return false
    }
  }

  /// Kinds come in runs of RR32, RR64, RI32, RI64, RM32, RM64.
  @inline(__always)
  private func run(_ raw: UInt8, _ first: OpKind) -> AluForm {
    AluForm(rawValue: UInt16((raw - first.rawValue) >> 1)) ?? .rr
  }

  // MARK: Arithmetic

  /// An operation on registers whose flags nobody can see.
  private mutating func quiet(_ op: Op, _ operation: UInt8, _ form: AluForm, _ size: Int) -> Bool {
    defer { flagsLost() }
    return arithmetic(op, operation, form, size)
  }

  private mutating func arithmetic(_ op: Op, _ operation: UInt8, _ form: AluForm, _ size: Int) -> Bool {
    let carries = operation == 2 || operation == 3
    let compares = operation == 7
    let narrow: UInt32 = size == 1 ? 0 : 1
    let second = GuestRegisters.second
    switch form {
    case .rr:
      guard let rm = number(op.pointee.rm, size), let reg = number(op.pointee.reg, size) else { return false }
      if carries { requireCarry() }
      let register = change(rm, second)
      a.emit(UInt32(operation) << 3 | 2 | narrow, register, source(reg), size: size)
      if !compares { commit(rm, register) }
    case .ri:
      guard let rm = number(op.pointee.rm, size) else { return false }
      if carries { requireCarry() }
      let register = change(rm, second)
      a.arithmetic(operation, .register(register), op.pointee.imm, size: size)
      if !compares { commit(rm, register) }
    case .rm:
      guard let reg = number(op.pointee.reg, size) else { return false }
      let access = memory(op, size: size, write: false, accumulator: !isResident(reg))
      if carries { requireCarry() }
      let register = change(reg, Host.rax)
      a.emit(UInt32(operation) << 3 | 2 | narrow, register, access.operand, size: size)
      if !compares { commit(reg, register) }
    case .mr:
      guard let reg = number(op.pointee.reg, size) else { return false }
      let access = memory(op, size: size, write: !compares, accumulator: !isResident(reg))
      if carries { requireCarry() }
      let register = value(reg, Host.rax)
      a.emit(UInt32(operation) << 3 | narrow, register, access.operand, size: size, prefix: lockPrefix(op))
    case .mi:
      let access = memory(op, size: size, write: !compares, accumulator: false)
      if carries { requireCarry() }
      a.arithmetic(operation, access.operand, op.pointee.imm, size: size, prefix: lockPrefix(op))
    }
    flagsWritten()
    return true
  }

  private mutating func test(_ op: Op, _ size: Int) -> Bool {
    let opcode: UInt32 = size == 1 ? 0x84 : 0x85
    let group: UInt32 = size == 1 ? 0xf6 : 0xf7
    switch AluForm(rawValue: op.pointee.sub >> 4) {
    case .rr:
      guard let rm = number(op.pointee.rm, size), let reg = number(op.pointee.reg, size) else { return false }
      let register = value(reg, GuestRegisters.second)
      a.emit(opcode, register, source(rm), size: size)
    case .ri:
      guard let rm = number(op.pointee.rm, size) else { return false }
      a.emit(group, 0, source(rm), size: size)
      a.immediate(op.pointee.imm, size)
    case .mr, .rm:
      guard let reg = number(op.pointee.reg, size) else { return false }
      let access = memory(op, size: size, write: false, accumulator: !isResident(reg))
      let register = value(reg, Host.rax)
      a.emit(opcode, register, access.operand, size: size)
    case .mi:
      let access = memory(op, size: size, write: false, accumulator: false)
      a.emit(group, 0, access.operand, size: size)
      a.immediate(op.pointee.imm, size)
    default: return false
    }
    flagsWritten()
    return true
  }

  /// INC (0) and DEC (1) keep CF.
  private mutating func increment(_ op: Op, _ operation: UInt8, _ size: Int) -> Bool {
    let opcode: UInt32 = size == 1 ? 0xfe : 0xff
    if isMemory(op) {
      let access = memory(op, size: size, write: true, accumulator: false)
      requireCarry()
      a.emit(opcode, operation, access.operand, size: size, prefix: lockPrefix(op))
    } else {
      guard let rm = number(op.pointee.rm, size) else { return false }
      requireCarry()
      let register = change(rm, GuestRegisters.second)
      a.emit(opcode, operation, .register(register), size: size)
      commit(rm, register)
    }
    flagsWritten()
    return true
  }

  /// NOT (2) and NEG (3).
  private mutating func unary(_ op: Op, _ operation: UInt8, _ size: Int) -> Bool {
    let opcode: UInt32 = size == 1 ? 0xf6 : 0xf7
    if isMemory(op) {
      let access = memory(op, size: size, write: true, accumulator: false)
      a.emit(opcode, operation, access.operand, size: size, prefix: lockPrefix(op))
    } else {
      guard let rm = number(op.pointee.rm, size) else { return false }
      let register = change(rm, GuestRegisters.second)
      a.emit(opcode, operation, .register(register), size: size)
      commit(rm, register)
    }
    if operation == 3 { flagsWritten() }
    return true
  }

  // MARK: Moves

  private mutating func moveRegister(_ op: Op, _ size: Int) -> Bool {
    guard let rm = number(op.pointee.rm, size), let reg = number(op.pointee.reg, size) else { return false }
    if size >= 4 {
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

  private mutating func moveConstant(_ op: Op, _ size: Int) -> Bool {
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

  private mutating func moveLoad(_ op: Op, _ size: Int) -> Bool {
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

  private mutating func moveStore(_ op: Op, _ size: Int) -> Bool {
    guard let reg = number(op.pointee.reg, size) else { return false }
    var access = memory(op, size: size, write: true, accumulator: false)
    let register = value(reg, spare(&access, reg))
    a.emit(size == 1 ? 0x88 : 0x89, register, access.operand, size: size)
    return true
  }

  /// MOVZX, MOVSX, MOVSXD: `from` bytes to `size`.
  private mutating func extend(_ op: Op, _ from: Int, signed: Bool, size: Int) -> Bool {
    // MOVSXD to 16 or 32 bits is a move of odd width.
    if from == 4 && size != 8 { return false }
    let opcode: UInt32 = from == 4 ? 0x63 : (signed ? 0x0fbe : 0x0fb6) | (from == 2 ? 1 : 0)
    let operand: HostOperand
    var temporary = GuestRegisters.second
    if isMemory(op) {
      var access = memory(op, size: from, write: false, accumulator: false)
      if !isResident(op.pointee.reg) { temporary = freeTemporary(&access) }
      operand = access.operand
    } else {
      guard let rm = number(op.pointee.rm, from) else { return false }
      operand = source(rm)
    }
    let register = size == 2 ? change(op.pointee.reg, temporary) : target(op.pointee.reg, temporary)
    a.emit(opcode, register, operand, size: size, byteRM: from == 1)
    commit(op.pointee.reg, register)
    return true
  }

  private mutating func conditionalMove(_ op: Op, _ size: Int) -> Bool {
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

  private mutating func setCondition(_ op: Op) -> Bool {
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
  private mutating func widen(_ size: Int) -> Bool {
    let rax = Host.r11
    switch size {
    case 2: a.emit(0x0fbe, rax, .register(rax), size: 2, byteRM: true)
    case 4: a.emit(0x0fbf, rax, .register(rax), size: 4)
    default: a.emit(0x63, rax, .register(rax), size: 8)
    }
    return true
  }

  /// CWD, CDQ, CQO.
  private mutating func spreadSign(_ size: Int) -> Bool {
    takeAccumulator()
    a.move(Host.rax, Host.r11)
    if size == 2 { a.byte(0x66) }
    if size == 8 { a.byte(0x48) }
    a.byte(0x99)
    return true
  }

  // MARK: Exchanges

  private mutating func exchange(_ op: Op, _ size: Int) -> Bool {
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

  private mutating func exchangeAdd(_ op: Op, _ size: Int) -> Bool {
    guard isMemory(op), let reg = number(op.pointee.reg, size) else { return false }
    var access = memory(op, size: size, write: true, accumulator: false)
    let register = change(reg, spare(&access, reg))
    a.emit(size == 1 ? 0x0fc0 : 0x0fc1, register, access.operand, size: size, prefix: lockPrefix(op))
    commit(reg, register)
    flagsWritten()
    return true
  }

  private mutating func compareExchange(_ op: Op, _ size: Int) -> Bool {
    guard isMemory(op), let reg = number(op.pointee.reg, size) else { return false }
    var access = memory(op, size: size, write: true, accumulator: true)
    let register = value(reg, spare(&access, reg))
    a.move(Host.rax, Host.r11)
    a.emit(size == 1 ? 0x0fb0 : 0x0fb1, register, access.operand, size: size, prefix: lockPrefix(op))
    a.move(Host.r11, Host.rax)
    flagsWritten()
    return true
  }

  /// CMPXCHG8B and CMPXCHG16B: of the flags ZF alone is written.
  private mutating func compareExchangeWide(_ op: Op, _ size: Int) -> Bool {
    guard isMemory(op) else { return false }
    let access = memory(op, size: size, write: true, accumulator: true, aligned: size == 16)
    a.move(Host.rax, Host.r11)
    a.emit(0x0fc7, 1, access.operand, size: size == 16 ? 8 : 4, prefix: lockPrefix(op))
    a.move(Host.r11, Host.rax)
    // ZF is bit 6 of what LAHF keeps in AH.
    a.emit(0x0f94, 0, .register(GuestRegisters.second), size: 1)
    a.emit(0x0fb6, GuestRegisters.second, .register(GuestRegisters.second), size: 4, byteRM: true)
    a.emit(0xc1, 4, .register(GuestRegisters.second), size: 4)
    a.byte(14)
    a.arithmetic(4, StateField.rawFlags, ~0x4000, size: 4)
    a.emit(0x09, GuestRegisters.second, StateField.rawFlags, size: 4)
    flags = .memory
    return true
  }

  // MARK: Stack

  /// Of the widths that pushes and pops have in 64-bit code, and in 32-bit code with a 32-bit stack.
  private func isNativeWidth(_ size: Int) -> Bool { size == (is64 ? 8 : 4) }

  mutating func moveStackPointer(_ bytes: Int) {
    a.emit(0x8d, Host.r12, .at(Host.r12, bytes), size: is64 ? 8 : 4)
  }

  private mutating func push(_ op: Op, _ size: Int) -> Bool {
    guard isNativeWidth(size) else { return false }
    let isConstant = OpKind(trusted: op.pointee.kind) == .pushImmediate64 || op.pointee.sub == 1
    if isMemory(op) {
      let access = memory(op, size: size, write: false, accumulator: true)
      a.load(Host.rax, access.operand, size: size)
      let top = stack(Host.r12, -size, size: size, write: true, accumulator: false)
      a.store(top.operand, Host.rax, size: size)
    } else {
      var top = stack(Host.r12, -size, size: size, write: true, accumulator: false)
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

  private mutating func pop(_ op: Op, _ size: Int) -> Bool {
    guard isNativeWidth(size), !isMemory(op) else { return false }
    var top = stack(Host.r12, 0, size: size, write: false, accumulator: false)
    let register = target(op.pointee.rm, spare(&top, op.pointee.rm))
    a.load(register, top.operand, size: size)
    // POP rSP: what was popped stays.
    if op.pointee.rm != 4 { moveStackPointer(size) }
    commit(op.pointee.rm, register)
    return true
  }

  private mutating func leaveFrame(_ size: Int) -> Bool {
    guard isNativeWidth(size) else { return false }
    let top = stack(Host.r13, 0, size: size, write: false, accumulator: false)
    a.emit(0x8d, Host.r12, .at(Host.r13, size), size: size)
    a.load(Host.r13, top.operand, size: size)
    return true
  }

  // MARK: Shifts

  private mutating func shift(_ op: Op, _ size: Int) -> Bool {
    let operation = UInt8(op.pointee.sub & 7)
    let byCL = op.pointee.sub & 8 != 0
    // A count of 0 leaves all flags; rotates leave all but CF and OF, and some read CF.
    let needsFlags = byCL || operation < 4
    if !byCL && op.pointee.imm == 0 { return false }
    let opcode: UInt32 = (byCL ? 0xd2 : 0xc0) | (size == 1 ? 0 : 1)
    if isMemory(op) {
      let access = memory(op, size: size, write: true, accumulator: false)
      if needsFlags { requireFlags() }
      a.emit(opcode, operation, access.operand, size: size)
    } else {
      guard let rm = number(op.pointee.rm, size) else { return false }
      if needsFlags { requireFlags() }
      let register = change(rm, GuestRegisters.second)
      a.emit(opcode, operation, .register(register), size: size)
      if !byCL { a.byte(UInt8(truncatingIfNeeded: op.pointee.imm)) }
      // The upper half is cleared even when the count is 0: no host instruction promises that.
      if byCL && size == 4 { a.move(register, register, size: 4) }
      commit(rm, register)
      flagsWritten()
      return true
    }
    if !byCL { a.byte(UInt8(truncatingIfNeeded: op.pointee.imm)) }
    flagsWritten()
    return true
  }

  /// SHLD, SHRD. sub: bit 0 right, bit 1 count in CL.
  private mutating func doubleShift(_ op: Op, _ size: Int) -> Bool {
    if size == 2 { return false }
    let byCL = op.pointee.sub & 2 != 0
    let opcode: UInt32 = (op.pointee.sub & 1 != 0 ? 0x0fac : 0x0fa4) | (byCL ? 1 : 0)
    if isMemory(op) {
      var access = memory(op, size: size, write: true, accumulator: false)
      requireFlags()
      let register = value(op.pointee.reg, spare(&access, op.pointee.reg))
      a.emit(opcode, register, access.operand, size: size)
      if !byCL { a.byte(UInt8(truncatingIfNeeded: op.pointee.imm)) }
    } else {
      requireFlags()
      let register = change(op.pointee.rm, GuestRegisters.second)
      let from = value(op.pointee.reg, GuestRegisters.first)
      a.emit(opcode, from, .register(register), size: size)
      if !byCL { a.byte(UInt8(truncatingIfNeeded: op.pointee.imm)) }
      if size == 4 { a.move(register, register, size: 4) }
      commit(op.pointee.rm, register)
    }
    flagsWritten()
    return true
  }

  // MARK: Multiplication and division

  private mutating func signedMultiply(_ op: Op, _ size: Int) -> Bool {
    let constant = OpKind(trusted: op.pointee.kind) == .imul && op.pointee.sub == 1
    let operand: HostOperand
    var temporary = GuestRegisters.second
    if isMemory(op) {
      var access = memory(op, size: size, write: false, accumulator: false)
      if !isResident(op.pointee.reg) { temporary = freeTemporary(&access) }
      operand = access.operand
    } else {
      operand = source(op.pointee.rm)
    }
    let register = constant && size != 2 ? target(op.pointee.reg, temporary) : change(op.pointee.reg, temporary)
    if constant {
      a.emit(0x69, register, operand, size: size)
      a.immediate(op.pointee.imm, size)
    } else {
      a.emit(0x0faf, register, operand, size: size)
    }
    commit(op.pointee.reg, register)
    flagsWritten()
    return true
  }

  /// MUL and IMUL of rAX.
  private mutating func multiply(_ op: Op, _ size: Int) -> Bool {
    let operation: UInt8 = op.pointee.sub == 1 ? 5 : 4
    let opcode: UInt32 = size == 1 ? 0xf6 : 0xf7
    if isMemory(op) {
      let access = memory(op, size: size, write: false, accumulator: true)
      a.move(Host.rax, Host.r11)
      a.emit(opcode, operation, access.operand, size: size)
    } else {
      guard let rm = number(op.pointee.rm, size) else { return false }
      a.move(Host.rax, Host.r11)
      a.emit(opcode, operation, source(rm), size: size)
    }
    a.move(Host.r11, Host.rax)
    flagsWritten()
    return true
  }

  /// DIV and IDIV where they cannot fail; the others raise #DE in the interpreter. Flags stay as they were.
  private mutating func divide(_ op: Op, _ size: Int) -> Bool {
    if size < 4 { return false }
    let signed = op.pointee.sub == 1
    let second = GuestRegisters.second
    let first = GuestRegisters.first
    if isMemory(op) {
      let access = memory(op, size: size, write: false, accumulator: true)
      a.load(second, access.operand, size: size)
    } else {
      keepFlags(accumulator: true)
      a.load(second, source(op.pointee.rm), size: size)
    }
    if signed {
      // rDX must be the sign of rAX, the divisor neither 0 nor -1.
      a.emit(0x8d, first, .at(second, 1), size: size)
      a.arithmetic(7, .register(first), 1, size: size)
      missIf(6)  // not above: 0 or 1
      a.move(Host.rax, Host.r11, size: size)
      a.emit(0xc1, 7, .register(Host.rax), size: size)
      a.byte(size == 8 ? 63 : 31)
      a.emit(0x39, Host.rax, .register(Host.rdx), size: size)
      missIf(Condition.notEqual)
    } else {
      a.emit(0x39, second, .register(Host.rdx), size: size)
      missIf(Condition.aboveOrEqual)
    }
    a.move(Host.rax, Host.r11, size: size)
    a.emit(0xf7, signed ? 7 : 6, .register(second), size: size)
    a.move(Host.r11, Host.rax, size: size)
    return true
  }

  // MARK: Bits

  /// BT and its kin; a bit offset in a register reaches beyond a memory operand: the interpreter's.
  private mutating func bitTest(_ op: Op, _ size: Int) -> Bool {
    let operation = UInt8(op.pointee.sub & 3)
    let byRegister = op.pointee.sub & 4 != 0
    if isMemory(op) {
      if byRegister { return false }
      let access = memory(op, size: size, write: operation != 0, accumulator: false)
      requireFlags()
      a.emit(0x0fba, 4 | operation, access.operand, size: size, prefix: lockPrefix(op))
      a.byte(UInt8(truncatingIfNeeded: op.pointee.imm) & UInt8(size * 8 - 1))
    } else {
      requireFlags()
      let register = change(op.pointee.rm, GuestRegisters.second)
      if byRegister {
        let offset = value(op.pointee.reg, GuestRegisters.first)
        a.emit(0x0fa3 | UInt32(operation) << 3, offset, .register(register), size: size)
      } else {
        a.emit(0x0fba, 4 | operation, .register(register), size: size)
        a.byte(UInt8(truncatingIfNeeded: op.pointee.imm) & UInt8(size * 8 - 1))
      }
      if operation != 0 { commit(op.pointee.rm, register) }
    }
    flagsWritten()
    return true
  }

  /// BSF, BSR: a zero source leaves the destination as it was.
  private mutating func bitScan(_ op: Op, _ size: Int) -> Bool {
    if size == 2 { return false }
    let opcode: UInt32 = op.pointee.sub == 1 ? 0x0fbd : 0x0fbc
    let operand: HostOperand
    if isMemory(op) {
      operand = memory(op, size: size, write: false, accumulator: true).operand
    } else {
      operand = source(op.pointee.rm)
    }
    a.emit(opcode, Host.rax, operand, size: size)
    let skip = a.jumpIf(Condition.equal)
    let register = target(op.pointee.reg, GuestRegisters.second)
    a.move(register, Host.rax, size: size)
    commit(op.pointee.reg, register)
    Assembler.patch(skip, a.cursor)
    flagsWritten()
    return true
  }

  private mutating func populationCount(_ op: Op, _ size: Int) -> Bool {
    if size == 2 { return false }
    let operand: HostOperand
    var temporary = GuestRegisters.second
    if isMemory(op) {
      var access = memory(op, size: size, write: false, accumulator: false)
      if !isResident(op.pointee.reg) { temporary = freeTemporary(&access) }
      operand = access.operand
    } else {
      operand = source(op.pointee.rm)
    }
    let register = target(op.pointee.reg, temporary)
    a.emit(0x0fb8, register, operand, size: size, prefix: 0xf3)
    commit(op.pointee.reg, register)
    flagsWritten()
    return true
  }

  /// sub: 0 CMC, 1 CLC, 2 STC, 3 CLD, 4 STD.
  private mutating func flagInstruction(_ op: Op) -> Bool {
    switch op.pointee.sub {
    case 0...2:
      requireFlags()
      a.byte(op.pointee.sub == 0 ? 0xf5 : op.pointee.sub == 1 ? 0xf8 : 0xf9)
      flagsWritten()
    default: return false
    }
    return true
  }
}
