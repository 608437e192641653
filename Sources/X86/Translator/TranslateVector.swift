import CHost

/// SSE to SSE4.2 by the same instructions: guest XMM registers are the host's of the same number, and the guest's MXCSR
/// is the host's, once a block that uses them has had them loaded. What enters the interpreter stores them first.
extension BlockTranslator {
  /// Returns false when the instruction is left to the interpreter.
  mutating func vector(_ op: Op) -> Bool {
    let row = SIMDTable.rows[Int(op.pointee.sub)]
    let isMemory = isMemory(op)
    if isMemory && !canReach(op) { return false }
    if Int(row.flags) & VM_SIMD_APPROXIMATE != 0 { return false }
    let reg = op.pointee.reg
    let rm = op.pointee.rm
    switch Int(row.shape) {
    case VM_SIMD_XX, VM_SIMD_LOAD, VM_SIMD_BLENDV:
      requireVectors()
      let operand = isMemory ? vectorMemory(op, row, write: false, accumulator: false) : .register(rm)
      emit(row, op, reg, operand)
    case VM_SIMD_FLAGS:
      requireVectors()
      let operand = isMemory ? vectorMemory(op, row, write: false, accumulator: false) : .register(rm)
      emit(row, op, reg, operand)
      flagsWritten()
    case VM_SIMD_STORE:
      requireVectors()
      let operand = isMemory ? vectorMemory(op, row, write: true, accumulator: false) : .register(rm)
      emit(row, op, reg, operand)
    case VM_SIMD_STORE_HIGH:
      requireVectors()
      emit(row, op, reg, vectorMemory(op, row, write: true, accumulator: false))
    case VM_SIMD_XI:
      requireVectors()
      emit(row, op, row.group, .register(rm))
    case VM_SIMD_XG:
      requireVectors()
      if isMemory {
        emit(row, op, reg, vectorMemory(op, row, write: false, accumulator: false))
      } else {
        emit(row, op, reg, .register(value(rm, GuestRegisters.second)))
      }
    case VM_SIMD_GX:
      requireVectors()
      let operand = isMemory ? vectorMemory(op, row, write: false, accumulator: false) : .register(rm)
      let register = target(reg, GuestRegisters.second)
      emit(row, op, register, operand)
      commit(reg, register)
    case VM_SIMD_EX:
      requireVectors()
      if isMemory {
        emit(row, op, reg, vectorMemory(op, row, write: true, accumulator: false))
      } else {
        let register = target(rm, GuestRegisters.second)
        emit(row, op, reg, .register(register))
        commit(rm, register)
      }
    case VM_SIMD_PP, VM_SIMD_PSTORE:
      requireX87()
      let write = Int(row.shape) == VM_SIMD_PSTORE
      let operand = isMemory ? vectorMemory(op, row, write: write, accumulator: false) : .register(rm & 7)
      emit(row, op, reg & 7, operand)
    case VM_SIMD_PI:
      requireX87()
      emit(row, op, row.group, .register(rm & 7))
    case VM_SIMD_PG:
      requireX87()
      if isMemory {
        emit(row, op, reg & 7, vectorMemory(op, row, write: false, accumulator: false))
      } else {
        emit(row, op, reg & 7, .register(value(rm, GuestRegisters.second)))
      }
    case VM_SIMD_GP:
      guard !isMemory else { return false }
      requireX87()
      let register = target(reg, GuestRegisters.second)
      emit(row, op, register, .register(rm & 7))
      commit(reg, register)
    case VM_SIMD_EP:
      requireX87()
      if isMemory {
        emit(row, op, reg & 7, vectorMemory(op, row, write: true, accumulator: false))
      } else {
        let register = target(rm, GuestRegisters.second)
        emit(row, op, reg & 7, .register(register))
        commit(rm, register)
      }
    case VM_SIMD_EMMS:
      requireX87()
      a.byte(0x0f)
      a.byte(0x77)
    case VM_SIMD_STRINGS: return compareStrings(op, row)
    case VM_SIMD_CRC32: return checksum(op, row)
    case VM_SIMD_FENCE:
      // LFENCE, MFENCE, SFENCE.
      for byte in [0x0f, 0xae, 0xc0 | row.group << 3] { a.byte(byte) }
    case VM_SIMD_MOVNTI:
      let size = op.pointee.prefixes & UInt8(VM_PREFIX_REX_W) != 0 ? 8 : 4
      var access = memory(op, size: size, write: true, accumulator: false)
      let register = value(reg, spare(&access, reg))
      a.store(access.operand, register, size: size)
    default: return false
    }
    return true
  }

  /// The instruction itself, with other operands.
  private mutating func emit(_ row: vm_simd_row, _ op: Op, _ reg: UInt8, _ operand: HostOperand, wide: Bool = false) {
    let escape: UInt32 = row.map == 1 ? 0x0f00 : row.map == 2 ? 0x0f_3800 : 0x0f_3a00
    let prefix: UInt8 = row.prefix == 1 ? 0x66 : row.prefix == 2 ? 0xf3 : row.prefix == 3 ? 0xf2 : 0
    a.emit(escape | UInt32(row.opcode), reg, operand, size: row.rex_w == 2 || wide ? 8 : 4, prefix: prefix)
    if Int(row.flags) & VM_SIMD_IMMEDIATE != 0 { a.byte(UInt8(truncatingIfNeeded: op.pointee.imm)) }
  }

  private mutating func vectorMemory(_ op: Op, _ row: vm_simd_row, write: Bool, accumulator: Bool) -> HostOperand {
    let aligned = Int(row.flags) & VM_SIMD_ALIGNED != 0 && row.size == 16
    return memory(op, size: Int(row.size), write: write, accumulator: accumulator, aligned: aligned).operand
  }

  /// PCMPISTRI and its kin: the index comes in rCX, the explicit lengths are in rAX and rDX.
  private mutating func compareStrings(_ op: Op, _ row: vm_simd_row) -> Bool {
    requireVectors()
    let explicit = row.opcode & 2 == 0
    let operand: HostOperand
    if isMemory(op) {
      operand = vectorMemory(op, row, write: false, accumulator: explicit)
    } else {
      if explicit { takeAccumulator() }
      operand = .register(op.pointee.rm)
    }
    if explicit { a.move(Host.rax, Host.r11) }
    versions.write(GuestRegisters.rcx)
    emit(row, op, op.pointee.reg, operand, wide: op.pointee.prefixes & UInt8(VM_PREFIX_REX_W) != 0)
    flagsWritten()
    return true
  }

  private mutating func checksum(_ op: Op, _ row: vm_simd_row) -> Bool {
    let prefixes = Int(op.pointee.prefixes)
    let isByte = row.size == 1
    if isByte && !isMemory(op) { return false }
    let wide = prefixes & VM_PREFIX_REX_W != 0
    let size = isByte ? 1 : wide ? 8 : prefixes & VM_PREFIX_OPSIZE != 0 ? 2 : 4
    if !isByte && size != Int(row.size) && size != 2 { return false }
    let reg = op.pointee.reg
    guard let (operand, temporary) = readOperand(op, size) else { return false }
    let register = change(reg, temporary)
    // CRC32: 66 before F2 is the 16-bit form.
    if size == 2 { a.byte(0x66) }
    a.emit(isByte ? 0x0f_38f0 : 0x0f_38f1, register, operand, size: size == 8 ? 8 : 4, prefix: 0xf2)
    if size != 8 { a.move(register, register, size: 4) }
    commit(reg, register)
    return true
  }

  // MARK: Loading

  /// Has the guest's XMM registers and MXCSR in the host's from here to the end of the block.
  mutating func requireVectors() {
    if !hasVectors { requireLoaded(StateField.vectorReady, by: translator.vectorThunk) }
    hasVectors = true
  }

  /// Has `thunk` called unless the flag at `ready` says that the host's registers hold the guest's.
  mutating func requireLoaded(_ ready: HostOperand, by thunk: UnsafeMutablePointer<UInt8>) {
    keepFlags(accumulator: false)
    a.arithmetic(7, ready, 0, size: 4)
    let site = a.jumpIf(Condition.equal)
    vectorLoads.append(
      VectorLoad(
        index: index, body: body, site: site, join: a.cursor, flags: flags, recipe: recipe, thunk: thunk))
  }

  mutating func emitVectorLoads() {
    for load in vectorLoads {
      observer?.mark(.load(load.index), a.cursor)
      enter(load.body)
      Assembler.patch(load.site, a.cursor)
      // RAX is kept; ZF: they may not be loaded now.
      a.call(load.thunk)
      a.jump(to: load.join, if: Condition.notEqual)
      emitFlags(from: load.flags, load.recipe)
      giveBack(Int(block.pointee.count) - load.index)
      if isExchanged { emitExchange(back: true) }
      leaveForInterpreter(load.index)
    }
  }

  struct VectorLoad {
    var index: Int
    var body: CodeBody
    var site: UnsafeMutablePointer<UInt8>
    var join: UnsafeMutablePointer<UInt8>
    var flags: FlagPlaces
    var recipe: FlagRecipe
    /// What loads them.
    var thunk: UnsafeMutablePointer<UInt8>
  }
}
