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
      flagsWritten(.zero, 0, size: 4)
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
      let moves =
        isNativeWidth(size) && op.pointee.address_size == op.pointee.operand_size
        && op.pointee.base == op.pointee.reg && op.pointee.index == UInt8(VM_SLOT_ZERO)
      // A NOP of 32-bit code, but for an upper half, on which nobody may count.
      if moves && !is64 && op.pointee.disp == 0 { return true }
      let register = target(op.pointee.reg, GuestRegisters.second)
      effectiveAddress(op, to: register, size: wide ? 8 : 4)
      commit(op.pointee.reg, register, adding: moves ? op.pointee.disp : nil)
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
      a.swapBytes(register, size: size)
      commit(op.pointee.rm, register)
      return true

    case .movs: return string(op, size, moves: true)
    case .stos: return string(op, size, moves: false)

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
    case .system:
      let before = misses.count
      let isEmitted = system(op)
      // The interpreter's turn at it may change translations, and yet goes on behind it.
      if misses.count > before { epoch += 1 }
      return isEmitted
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
      if canChangeInPlace(rm, size) && isResident(reg) {
        a.emit(UInt32(operation) << 3 | 1, value(reg, second), place(rm), size: size)
        if !compares { committed(rm) }
      } else {
        let register = change(rm, second)
        a.emit(UInt32(operation) << 3 | 2 | narrow, register, source(reg), size: size)
        if !compares { commit(rm, register) }
      }
      if let kind = recipeKind(operation, constant: false) {
        flagsWritten(kind, rm, other: reg, size: size)
        return true
      }
    case .ri:
      guard let rm = number(op.pointee.rm, size) else { return false }
      if carries { requireCarry() }
      let moves = isNativeWidth(size) && (operation == 0 || operation == 5)
      let added = moves ? (operation == 0 ? op.pointee.imm : -op.pointee.imm) : nil
      if canChangeInPlace(rm, compares ? 8 : size) {
        a.arithmetic(operation, place(rm), op.pointee.imm, size: size)
        if !compares { committed(rm, adding: added) }
      } else {
        let register = change(rm, second)
        a.arithmetic(operation, .register(register), op.pointee.imm, size: size)
        if !compares { commit(rm, register, adding: added) }
      }
      if let kind = recipeKind(operation, constant: true) {
        flagsWritten(kind, rm, constant: op.pointee.imm, size: size)
        return true
      }
    case .rm:
      guard let reg = number(op.pointee.reg, size) else { return false }
      let access = memory(op, size: size, write: false, accumulator: !isResident(reg))
      if carries { requireCarry() }
      let register = change(reg, Host.rax)
      a.emit(UInt32(operation) << 3 | 2 | narrow, register, access.operand, size: size)
      if !compares { commit(reg, register) }
      if recipeKind(operation, constant: true) == .result {
        flagsWritten(.result, reg, size: size)
        return true
      }
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

  /// How the flags of ADD (0) to CMP (7) can be had again; nil for those that read CF.
  private func recipeKind(_ operation: UInt8, constant: Bool) -> FlagRecipe.Kind? {
    switch operation {
    case 0: constant ? .addConstant : .add
    case 1, 4, 6: .result
    case 5: constant ? .subtractConstant : .subtract
    case 7: constant ? .compareConstant : .compare
    default: nil
    }
  }

  private mutating func test(_ op: Op, _ size: Int) -> Bool {
    let opcode: UInt32 = size == 1 ? 0x84 : 0x85
    let group: UInt32 = size == 1 ? 0xf6 : 0xf7
    switch AluForm(rawValue: op.pointee.sub >> 4) {
    case .rr:
      guard let rm = number(op.pointee.rm, size), let reg = number(op.pointee.reg, size) else { return false }
      let register = value(reg, GuestRegisters.second)
      a.emit(opcode, register, source(rm), size: size)
      flagsWritten(.test, rm, other: reg, size: size)
      return true
    case .ri:
      guard let rm = number(op.pointee.rm, size) else { return false }
      a.emit(group, 0, source(rm), size: size)
      a.immediate(op.pointee.imm, size)
      flagsWritten(.testConstant, rm, constant: op.pointee.imm, size: size)
      return true
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
      let carry = carryBeforeIncrement(rm, size: size)
      let added: Int64? = isNativeWidth(size) ? (operation == 0 ? 1 : -1) : nil
      if canChangeInPlace(rm, size) {
        a.emit(opcode, operation, place(rm), size: size)
        committed(rm, adding: added)
      } else {
        let register = change(rm, GuestRegisters.second)
        a.emit(opcode, operation, .register(register), size: size)
        commit(rm, register, adding: added)
      }
      flagsIncremented(operation, rm, size: size, carry: carry)
      return true
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
      if canChangeInPlace(rm, size) {
        a.emit(opcode, operation, place(rm), size: size)
        committed(rm)
      } else {
        let register = change(rm, GuestRegisters.second)
        a.emit(opcode, operation, .register(register), size: size)
        commit(rm, register)
      }
    }
    if operation == 3 { flagsWritten() }
    return true
  }
}
