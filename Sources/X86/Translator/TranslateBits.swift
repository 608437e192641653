import CHost

/// Shifts, multiplication, division, bits and flags.
extension BlockTranslator {
  mutating func shift(_ op: Op, _ size: Int) -> Bool {
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
      if canChangeInPlace(rm, size) {
        a.emit(opcode, operation, place(rm), size: size)
        if !byCL { a.byte(UInt8(truncatingIfNeeded: op.pointee.imm)) }
        committed(rm)
        flagsWritten()
        return true
      }
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
  mutating func doubleShift(_ op: Op, _ size: Int) -> Bool {
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

  mutating func signedMultiply(_ op: Op, _ size: Int) -> Bool {
    let constant = OpKind(trusted: op.pointee.kind) == .imul && op.pointee.sub == 1
    guard let (operand, temporary) = readOperand(op, size) else { return false }
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
  mutating func multiply(_ op: Op, _ size: Int) -> Bool {
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
    versions.write(GuestRegisters.rax)
    versions.write(GuestRegisters.rdx)
    flagsWritten()
    return true
  }

  /// DIV and IDIV where they cannot fail; the others raise #DE in the interpreter. Flags stay as they were.
  mutating func divide(_ op: Op, _ size: Int) -> Bool {
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
      missIf(Condition.belowOrEqual)
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
    versions.write(GuestRegisters.rax)
    versions.write(GuestRegisters.rdx)
    return true
  }

  // MARK: Bits

  /// BT and its kin; a bit offset in a register reaches beyond a memory operand: the interpreter's.
  mutating func bitTest(_ op: Op, _ size: Int) -> Bool {
    let operation = UInt8(op.pointee.sub & 3)
    let byRegister = op.pointee.sub & 4 != 0
    if isMemory(op) {
      if byRegister { return bitOfString(op, operation, size) }
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

  /// BT, BTS, BTR, BTC (0 to 3) of the bit that a register numbers, from the operand's first on, in either direction.
  private mutating func bitOfString(_ op: Op, _ operation: UInt8, _ size: Int) -> Bool {
    guard size >= 4, let address = Address(op, is64: is64) else { return false }
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    keepFlags(accumulator: true)
    endStackRun()
    // The distance of the word that has the bit.
    if size == 8 {
      a.load(Host.rax, source(op.pointee.reg))
    } else {
      a.emit(0x63, Host.rax, source(op.pointee.reg), size: 8)  // movsxd
    }
    let bits = UInt8((size * 8).trailingZeroBitCount)
    a.emit(0xc1, 7, .register(Host.rax), size: 8)  // sar
    a.byte(bits)
    a.shiftLeft(Host.rax, bits - 3, size: 8)
    emitAddress(components(address, op.pointee.disp), to: second, size: address.width)
    a.emit(0x03, second, .register(Host.rax), size: address.width)
    let access = lookUp(again: nil, width: 8, size: size, write: operation != 0, aligned: false)
    a.load(first, source(op.pointee.reg), size: 4)
    a.arithmetic(4, .register(first), Int64(size * 8 - 1), size: 4)
    requireFlags()
    a.emit(0x0fa3 | UInt32(operation) << 3, first, access.operand, size: size, prefix: lockPrefix(op))
    flagsWritten()
    return true
  }

  /// BSF, BSR: a zero source leaves the destination as it was.
  mutating func bitScan(_ op: Op, _ size: Int) -> Bool {
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
    stored = nil
    flagsWritten()
    return true
  }

  mutating func populationCount(_ op: Op, _ size: Int) -> Bool {
    if size == 2 { return false }
    guard let (operand, temporary) = readOperand(op, size) else { return false }
    let register = target(op.pointee.reg, temporary)
    a.emit(0x0fb8, register, operand, size: size, prefix: 0xf3)
    commit(op.pointee.reg, register)
    flagsWritten()
    return true
  }

  /// sub: 0 CMC, 1 CLC, 2 STC, 3 CLD, 4 STD.
  mutating func flagInstruction(_ op: Op) -> Bool {
    switch op.pointee.sub {
    case 0...2:
      requireFlags()
      a.byte(op.pointee.sub == 0 ? 0xf5 : op.pointee.sub == 1 ? 0xf8 : 0xf9)
      flagsWritten()
    default:
      keepFlags(accumulator: false)
      let sets = op.pointee.sub == 4
      a.arithmetic(sets ? 1 : 4, StateField.eflags, sets ? Int64(EFLAGS.df) : ~Int64(EFLAGS.df), size: 4)
    }
    return true
  }
}
