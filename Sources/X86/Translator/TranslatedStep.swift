import CHost

/// One instruction run by the interpreter's families from within emitted code: what is not translated, what misses the
/// TLB, what faults.
extension CPU {
  /// What became of it.
  private enum StepOutcome {
    case next
    /// RIP is set.
    case elsewhere
    /// A REP instruction has more to do, but something is pending.
    case again
  }

  /// Called by emitted code with all registers in the state and flags in `raw_flags`. 0: the code may go on behind the
  /// instruction. 1: it is to be left, RIP and flags are in the state. Else the address of the code to go on with.
  static let stepFromCode: vm_code_step = { state, op, index in
    let state = state.unsafelyUnwrapped
    let cpu = Unmanaged<CPU>.fromOpaque(state.pointee.owner.unsafelyUnwrapped)
    return cpu._withUnsafeGuaranteedRef { $0.step(op.unsafelyUnwrapped, Int(index)) }
  }

  /// In a region what it has made pending is seen to where the block ends.
  private func step(_ op: Op, _ index: Int) -> UInt64 {
    var outcome = stepAlone(op, index)
    guard outcome == 0, vm_load_relaxed(&s.pointee.pending) != 0 else { return outcome }
    let block = UnsafeMutableRawPointer(op - index).assumingMemoryBound(to: vm_block.self) - 1
    guard block.isRegion else { return 0 }
    outcome = stepOn(block, from: index + 1)
    guard outcome == 0 else { return outcome }
    s.lazyFlagsFromRaw()
    s.pointee.code_exit = UInt64(VM_EXIT_STEP)
    return 1
  }

  /// Has the interpreter run the rest of the block, up to a branch: 0 when there is none and RIP is behind the block, flags
  /// in `raw_flags`; else what the last instruction came to, see `stepFromCode`.
  func stepOn(_ block: UnsafeMutablePointer<vm_block>, from index: Int) -> UInt64 {
    for next in index..<Int(block.pointee.count) {
      let outcome = stepAlone(block.ops + next, next)
      if outcome != 0 { return outcome }
    }
    let rip = s.pointee.code_page &+ UInt64(block.pointee.start) &+ UInt64(block.pointee.bytes)
    s.pointee.rip = isCode32(s.pointee.mode) ? rip & 0xffff_ffff : rip
    return 0
  }

  /// The same of the instruction alone.
  func stepAlone(_ op: Op, _ index: Int) -> UInt64 {
    let block = UnsafeMutableRawPointer(op - index).assumingMemoryBound(to: vm_block.self) - 1
    let mask = isCode32(s.pointee.mode) ? 0xffff_ffff : UInt64.max
    let blockRip = s.pointee.code_page &+ UInt64(block.pointee.start)
    guard let translator = unretainedTranslator else { return 1 }
    return translator._withUnsafeGuaranteedRef { stepAlone(op, index, block, blockRip, mask, $0) }
  }

  @inline(__always)
  private func stepAlone(
    _ op: Op, _ index: Int, _ block: UnsafeMutablePointer<vm_block>, _ blockRip: UInt64, _ mask: UInt64,
    _ translator: Translator
  ) -> UInt64 {
    let behind = (blockRip &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)) & mask
    if s.pointee.micro_exhausted != 0 { noteExhausted(op, block) }
    // Where instructions are counted those behind it in a region are taken back below.
    if !translator.counts || Int(block.pointee.count) &- index == 1 {
      let quick = transferQuickly(op, behind, translator)
      if quick != 0 { return quick }
    }
    if readTimeQuickly(op, translator) { return 0 }
    if moveSegmentQuickly(op) {
      translator.statistics.steps &+= 1
      return 0
    }
    s.lazyFlagsFromRaw()
    translator.statistics.steps &+= 1
    s.slots[VM_SLOT_RIP] = blockRip
    s.pointee.rip = (blockRip &+ UInt64(op.pointee.offset)) & mask
    let left = translator.counts ? Int64(Int(block.pointee.count) &- index) : 0
    let done: Int64 = left != 0 ? left &- 1 : 0
    let generation = code.generation
    let drops = s.pointee.translation_drops
    do throws(GuestFault) {
      switch try executeAlone(op, blockRip) {
      case .next:
        // An instruction that has unmasked an exception ends the use of the host's vector registers.
        let mayStay =
          (s.pointee.vectors_allowed == 0 || vectorsAllowed) && (s.pointee.x87_allowed == 0 || x87Allowed)
        // An access that has changed translations ends what has been checked for others to come. Behind a system
        // instruction everything is checked anew.
        let mayFollow =
          s.pointee.translation_drops == drops || op.pointee.kind == OpKind.system.rawValue
        let isCurrent =
          block.pointee.dead == 0 && block.pointee.code != 0 && code.generation == generation && mayFollow
        if isCurrent && mayStay {
          s.rawFlagsFromLazy()
          return 0
        }
        s.pointee.rip = behind
        s.pointee.code_budget &+= done
      case .elsewhere: s.pointee.code_budget &+= done
      case .again:
        latches.isWithinRepeat = true
        s.pointee.code_budget &+= left
      }
    } catch {
      s.pointee.code_budget &+= left
      deliver(atStack(error, op))
    }
    let address = resumeCode(translator)
    if address != 0 { return address }
    s.pointee.code_exit = UInt64(VM_EXIT_STEP)
    return 1
  }

  /// The instruction has its micro-TLB entry filled often. When it is too often, it will go to the data TLB at once.
  @inline(never)
  private func noteExhausted(_ op: Op, _ block: UnsafeMutablePointer<vm_block>) {
    if microEntryThrashes(s.pointee.micro_exhausted) {
      op.pointee.prefixes |= UInt8(VM_PREFIX_SCATTERED)
      translator?.drop(block)
    }
    s.pointee.micro_exhausted = 0
  }

  /// Runs `op`, of the kinds that the translator does not always emit code for. RIP is the instruction's.
  private func executeAlone(_ op: Op, _ blockRip: UInt64) throws(GuestFault) -> StepOutcome {
    let kind = OpKind(trusted: op.pointee.kind)
    switch kind {
    case .undefined: throw .undefined
    case .tooLong: throw .protection(0)
    case .system:
      // The count must be exact: the instruction may read it, and takes itself back when it faults.
      s.pointee.instructions = codeLimit &- UInt64(bitPattern: s.pointee.code_budget)
      let mode = s.pointee.mode
      let next = nextRIP(UnsafePointer(op))
      runSystem(op)
      s.pointee.code_budget = Int64(bitPattern: codeLimit &- s.pointee.instructions)
      s.pointee.plain_segments = plainSegments
      // Emitted code may go on behind it when nothing that it was made for has changed.
      let goesOn =
        s.pointee.rip == next && s.pointee.mode == mode && Int(s.pointee.activity) == VM_ACTIVE
        && s.pointee.shadow == 0 && s.pointee.jump_key == currentJumpKey()
      return goesOn ? .next : .elsewhere
    case .movs: return try executeMovs(op) ? .next : .again
    case .stos: return try executeStos(op) ? .next : .again
    case .lods: return try executeLods(op) ? .next : .again
    case .scas: return try executeScas(op) ? .next : .again
    case .cmps: return try executeCmps(op) ? .next : .again
    case .x87: try executeX87(UnsafePointer(op))
    case .simd: try executeSIMD(UnsafePointer(op))
    default:
      if kind.rawValue >= OpKind.jo.rawValue && kind.rawValue <= OpKind.jcxz.rawValue {
        s.pointee.rip = try branchAlone(op, kind, blockRip)
        return .elsewhere
      }
      try executeFamily(op, kind)
    }
    return .next
  }

  /// The target of a branch.
  private func branchAlone(_ op: Op, _ kind: OpKind, _ blockRip: UInt64) throws(GuestFault) -> UInt64 {
    let taken: Bool
    switch kind {
    case .call64, .call:
      try executeCall(op, blockRip)
      taken = true
    case .ret64, .ret: return try executeReturn(op)
    case .jmpR64, .jmpIndirect: return try branchTarget(op)
    case .callR64, .callIndirect: return try executeCallIndirect(op, blockRip)
    case .jmp: taken = true
    case .loop: taken = try executeLoop(op, blockRip)
    case .jcxz: taken = countRegister(op) == 0
    default: taken = s.condition(UInt16(kind.rawValue - OpKind.jo.rawValue))
    }
    if taken {
      let target = (blockRip &+ UInt64(bitPattern: op.pointee.imm)) & UInt64(bitPattern: op.pointee.disp)
      return isCode64 ? target : target & 0xffff_ffff
    }
    let next = blockRip &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
    return isCode64 ? next : next & 0xffff_ffff
  }

  private func executeFamily(_ op: Op, _ kind: OpKind) throws(GuestFault) {
    switch kind {
    // Kinds whose flags nobody sees may write them.
    case .addRR32, .addRI32, .addRM32, .orRR32, .orRI32, .orRM32, .andRR32, .andRI32, .andRM32, .subRR32, .subRI32,
      .subRM32, .xorRR32, .xorRI32, .xorRM32, .cmpRR32, .cmpRI32, .cmpRM32, .cmpMR32, .cmpMI32, .alu32, .addRR32n,
      .orRR32n, .orRI32n, .andRR32n, .andRI32n, .subRR32n, .subRI32n, .xorRR32n, .xorRI32n:
      try arithmetic(op, UInt32.self)
    case .addRR64, .addRI64, .addRM64, .orRR64, .orRI64, .orRM64, .andRR64, .andRI64, .andRM64, .subRR64, .subRI64,
      .subRM64, .xorRR64, .xorRI64, .xorRM64, .cmpRR64, .cmpRI64, .cmpRM64, .cmpMR64, .cmpMI64, .alu64, .addRR64n,
      .orRR64n, .orRI64n, .andRR64n, .andRI64n, .subRR64n, .subRI64n, .xorRR64n, .xorRI64n:
      try arithmetic(op, UInt64.self)
    // INC and DEC without flags are among these.
    case .addRI32n: s.ri(op, AddQuiet.self, UInt32.self)
    case .addRI64n: s.ri(op, AddQuiet.self, UInt64.self)
    case .zero32: s.rr(op, Xor.self, UInt32.self)
    case .cmpRR8, .cmpRI8, .cmpMI8, .cmpRM8, .alu8: try arithmetic(op, UInt8.self)
    case .alu16: try arithmetic(op, UInt16.self)
    case .testRR8, .testRI8, .testMI8, .testRR32, .testRI32, .testMI32, .testRR64, .testRI64, .testMI64, .test:
      try executeTest(op)
    case .inc32, .inc64, .dec32, .dec64, .incdec: try executeIncDec(op)
    case .not: try executeNot(op)
    case .neg: try executeNeg(op)
    case .movRR8: s.set(op.pointee.rm, s.get(op.pointee.reg, UInt8.self))
    case .movRI8: s.set(op.pointee.rm, UInt8(truncatingIfNeeded: op.pointee.imm))
    case .movRR16: s.set(op.pointee.rm, s.get(op.pointee.reg, UInt16.self))
    case .movRI16: s.set(op.pointee.rm, UInt16(truncatingIfNeeded: op.pointee.imm))
    case .movRR32: s.set(op.pointee.rm, s.get(op.pointee.reg, UInt32.self))
    case .movRR64: s.set(op.pointee.rm, s.get(op.pointee.reg, UInt64.self))
    case .movRI32, .movRI64: s.slots[Int(op.pointee.rm)] = UInt64(bitPattern: op.pointee.imm)
    case .movRM8: s.set(op.pointee.reg, try read(op, UInt8.self))
    case .movRM16: s.set(op.pointee.reg, try read(op, UInt16.self))
    case .movRM32: s.set(op.pointee.reg, try read(op, UInt32.self))
    case .movRM64: s.set(op.pointee.reg, try read(op, UInt64.self))
    case .movMR8: try write(op, s.get(op.pointee.reg, UInt8.self))
    case .movMR16: try write(op, s.get(op.pointee.reg, UInt16.self))
    case .movMR32: try write(op, s.get(op.pointee.reg, UInt32.self))
    case .movMR64: try write(op, s.get(op.pointee.reg, UInt64.self))
    case .movMI8: try write(op, UInt8(truncatingIfNeeded: op.pointee.imm))
    case .movMI16: try write(op, UInt16(truncatingIfNeeded: op.pointee.imm))
    case .movMI32: try write(op, UInt32(truncatingIfNeeded: op.pointee.imm))
    case .movMI64: try write(op, UInt64(truncatingIfNeeded: op.pointee.imm))
    case .movzxR8, .movzxM8: s.slots[Int(op.pointee.reg)] = UInt64(try readRM(op, UInt8.self))
    case .movzxR16, .movzxM16: s.slots[Int(op.pointee.reg)] = UInt64(try readRM(op, UInt16.self))
    case .movsxR8, .movsxM8:
      s.set(op.pointee.reg, UInt32(truncatingIfNeeded: s.wide(try readRM(op, UInt8.self))))
    case .movsxR16, .movsxM16: s.set(op.pointee.reg, UInt32(truncatingIfNeeded: s.wide(try readRM(op, UInt16.self))))
    case .movsxdR, .movsxdM: s.slots[Int(op.pointee.reg)] = s.wide(try readRM(op, UInt32.self))
    case .extend: try executeExtend(op)
    case .lea64: s.slots[Int(op.pointee.reg)] = effectiveAddress(op)
    case .lea32: s.slots[Int(op.pointee.reg)] = effectiveAddress(op) & 0xffff_ffff
    case .lea16: s.set(op.pointee.reg, UInt16(truncatingIfNeeded: effectiveAddress(op)))
    case .cmov32, .cmov64, .cmov: try executeConditionalMove(op)
    case .setccR, .setccM: try writeRM(op, (s.condition(op.pointee.sub) ? 1 : 0) as UInt8)
    case .cbw: executeWiden(op)
    case .cwd: executeSignSpread(op)
    case .xchg: try executeExchange(op)
    case .xadd: try executeExchangeAdd(op)
    case .cmpxchg: try executeCompareExchange(op)
    case .cmpxchg8b: try executeCompareExchange8(op)
    case .cmpxchg16b: try executeCompareExchange16(op)
    case .bswap: executeByteSwap(op)
    case .movbe: try executeMoveSwapped(op)
    case .xlat: try executeTranslate(op)
    case .push64: try pushValue(s.slots[Int(op.pointee.rm)])
    case .pushImmediate64: try pushValue(UInt64(bitPattern: op.pointee.imm))
    case .push: try executePush(op)
    case .pop64, .pop: try executePop(op)
    case .pushAll: try executePushAll(op)
    case .popAll: try executePopAll(op)
    case .enter: try executeEnter(op)
    case .leaveFrame: try executeLeave(op)
    case .shlRI32, .shlRI64, .shrRI32, .shrRI64, .sarRI32, .sarRI64, .shlRI32n, .shlRI64n, .shrRI32n, .shrRI64n,
      .sarRI32n, .sarRI64n, .shift:
      try executeShift(op)
    case .doubleShift: try executeDoubleShift(op)
    case .imulRR32, .imulRR64, .imul: try executeSignedMultiply(op)
    case .multiply: try executeMultiply(op)
    case .divide: try executeDivide(op)
    case .bitTest: try executeBitTest(op)
    case .bitScan: try executeBitScan(op)
    case .popcnt: try executePopulationCount(op)
    case .decimal: try executeDecimal(op)
    case .loadFlags: s.set(1, UInt8(truncatingIfNeeded: flagsImage()))
    case .storeFlags: setFlags(UInt64(s.get(1, UInt8.self)), mask: 0xd5)
    case .flag: executeFlag(op)
    case .bound: try executeBound(op)
    case .wait: try executeWait()
    case .nop: break
    // Branches, strings and what `executeAlone` runs itself; the marks of overwritten code and of a block's end are no
    // instructions.
    case .jo, .jno, .jb, .jae, .je, .jne, .jbe, .ja, .js, .jns, .jp, .jnp, .jl, .jge, .jle, .jg, .jmp, .call64, .call,
      .ret64, .ret, .jmpR64, .callR64, .jmpIndirect, .callIndirect, .loop, .jcxz, .movs, .stos, .lods, .scas, .cmps,
      .x87,
      .simd, .system, .leave, .fallThrough, .undefined, .tooLong:
      throw .undefined
    }
  }
}

extension UnsafeMutablePointer where Pointee == vm_cpu_state {
  /// The lazy flags from those that emitted code has left: AH as LAHF writes it, OF in bit 0. What
  /// `setArithmeticImage` does, without a branch.
  @inline(__always)
  func lazyFlagsFromRaw() {
    let raw = UInt64(pointee.raw_flags)
    let carry = raw &>> 8 & 1
    pointee.flag_carries = carry &<< 63 | ((carry ^ raw) & 1) &<< 62 | raw &>> 9 & 8
    pointee.flag_sign = (raw &>> 15 & 1) &<< 63
    let result = (raw &>> 14 & 1) ^ 1
    pointee.flag_result = result
    pointee.flag_parity = result ^ (raw &>> 10 & 1) ^ 1
  }

  @inline(__always)
  func rawFlagsFromLazy() {
    let carries = pointee.flag_carries
    let result = pointee.flag_result
    let low = (result ^ pointee.flag_parity) & 0xff
    let folded = (low ^ low &>> 4) & 15
    var raw: UInt64 = (carries &>> 63) &<< 8
    raw |= (0x9669 &>> folded & 1) &<< 10
    raw |= (carries & 8) &<< 9
    raw |= result == 0 ? 1 &<< 14 : 0
    raw |= ((result ^ pointee.flag_sign) &>> 63) &<< 15
    raw |= (carries ^ carries &<< 1) &>> 63
    pointee.raw_flags = UInt32(truncatingIfNeeded: raw)
  }
}
