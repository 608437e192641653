import CHost

/// Operand forms of the families that share one function (`vm_op.sub` bits 4-6): destination first.
enum AluForm: UInt16 {
  case rr, ri, rm, mr, mi
}

/// Picks the executor's kind of a decoded instruction, and brings operands to one shape: of two registers the
/// destination is always `rm`, the source `reg`.
enum Lowering {
  private static let memoryFlag = UInt8(VM_PREFIX_MEMORY)

  static func lower(_ op: inout vm_op, row: InstructionRow, opcode: UInt8, modrm: UInt8, mode: UInt32) {
    let memory = op.prefixes & memoryFlag != 0
    let size = op.operand_size
    op.sub = row.sub
    switch row.family {
    case .alu: arithmetic(&op, row, memory, size)
    case .test: test(&op, row, memory, size)
    case .inc, .dec:
      op.sub = row.family == .dec ? 1 : 0
      if memory || size < 4 {
        set(&op, .incdec)
      } else if row.family == .inc {
        set(&op, size == 8 ? .inc64 : .inc32)
      } else {
        set(&op, size == 8 ? .dec64 : .dec32)
      }
    case .not: set(&op, .not)
    case .neg: set(&op, .neg)
    case .mov: move(&op, row, memory, size)
    case .movzx, .movsx: extend(&op, row, memory, size)
    case .lea: set(&op, size == 8 ? .lea64 : size == 4 ? .lea32 : .lea16)
    case .xchg:
      if row.first == .Zv && op.rm == 0 {
        set(&op, .nop)
      } else {
        if row.first == .Zv { op.reg = 0 }
        set(&op, .xchg)
      }
    case .xadd: set(&op, .xadd)
    case .cmpxchg: set(&op, .cmpxchg)
    case .cmpxchg8b: set(&op, size == 8 ? .cmpxchg16b : .cmpxchg8b)
    case .bswap: set(&op, .bswap)
    case .movbe:
      op.sub = row.first == .Gv ? 0 : 1
      set(&op, .movbe)
    case .setcc: set(&op, memory ? .setccM : .setccR)
    case .cmovcc: set(&op, memory ? .cmov : size == 8 ? .cmov64 : size == 4 ? .cmov32 : .cmov)
    case .push: push(&op, row, memory, size)
    case .pop: set(&op, !memory && size == 8 ? .pop64 : .pop)
    case .pusha: set(&op, .pushAll)
    case .popa: set(&op, .popAll)
    case .enter: set(&op, .enter)
    case .leave: set(&op, .leaveFrame)
    case .shift: shift(&op, row, memory, size)
    case .shld, .shrd:
      // sub: 0 left, 1 right; 2 set when the count is CL.
      op.sub = (row.family == .shrd ? 1 : 0) | (row.third == .CL ? 2 : 0)
      set(&op, .doubleShift)
    case .imul2, .imul3:
      op.sub = row.family == .imul3 ? 1 : 0
      if row.family == .imul2 && !memory && size >= 4 {
        set(&op, size == 8 ? .imulRR64 : .imulRR32)
      } else {
        set(&op, .imul)
      }
    case .mul, .imul1:
      op.sub = row.family == .imul1 ? 1 : 0
      set(&op, .multiply)
    case .div, .idiv:
      op.sub = row.family == .idiv ? 1 : 0
      set(&op, .divide)
    case .bittest:
      // sub: 0 BT, 1 BTS, 2 BTR, 3 BTC; 4 set when the offset is a register.
      if row.second == .Gv { op.sub |= 4 }
      set(&op, .bitTest)
    case .bsf, .bsr:
      op.sub = row.family == .bsr ? 1 : 0
      set(&op, .bitScan)
    case .popcnt: set(&op, .popcnt)
    case .cbw: set(&op, .cbw)
    case .cwd: set(&op, .cwd)
    case .daa, .das, .aaa, .aas, .aam, .aad, .salc:
      op.sub = UInt16(row.family.rawValue)
      if row.family == .aam || row.family == .aad { op.imm &= 0xff }
      set(&op, .decimal)
    case .lahf: set(&op, .loadFlags)
    case .sahf: set(&op, .storeFlags)
    case .flag: set(&op, .flag)
    case .xlat: set(&op, .xlat)
    case .bound: set(&op, .bound)
    case .jcc: op.kind = OpKind.jo.rawValue + UInt8(row.sub)
    case .jmp: set(&op, .jmp)
    case .jmpIndirect: set(&op, !memory && size == 8 ? .jmpR64 : .jmpIndirect)
    case .call: set(&op, size == 8 ? .call64 : .call)
    case .callIndirect: set(&op, !memory && size == 8 ? .callR64 : .callIndirect)
    case .ret: set(&op, row.first == .none && size == 8 ? .ret64 : .ret)
    case .loop: set(&op, .loop)
    case .jcxz: set(&op, .jcxz)
    case .movs: set(&op, .movs)
    case .cmps: set(&op, .cmps)
    case .stos: set(&op, .stos)
    case .lods: set(&op, .lods)
    case .scas: set(&op, .scas)
    case .nop: set(&op, .nop)
    case .wait: set(&op, .wait)
    case .x87:
      op.sub = UInt16(opcode & 7) << 8 | UInt16(modrm)
      set(&op, .x87)
    case .system: system(&op, row, opcode)
    case .simd, .undefined: set(&op, .undefined)
    }
  }

  private static func set(_ op: inout vm_op, _ kind: OpKind) { op.kind = kind.rawValue }

  /// The accumulator forms become register forms.
  private static func accumulator(_ op: inout vm_op, _ row: InstructionRow) {
    if row.first == .AL || row.first == .AX { op.rm = 0 }
  }

  /// `Gv,Ev` with a register: destination to `rm`.
  private static func orient(_ op: inout vm_op, _ row: InstructionRow) {
    if row.first == .Gv || row.first == .Gb { swap(&op.reg, &op.rm) }
  }

  private static func form(_ op: inout vm_op, _ row: InstructionRow, _ memory: Bool) -> AluForm {
    let toRegister = row.first == .Gv || row.first == .Gb
    let immediate = row.second == .Ib || row.second == .Ibs || row.second == .Iz
    if immediate { return memory ? .mi : .ri }
    if memory { return toRegister ? .rm : .mr }
    return .rr
  }

  private static func arithmetic(_ op: inout vm_op, _ row: InstructionRow, _ memory: Bool, _ size: UInt8) {
    accumulator(&op, row)
    let form = form(&op, row, memory)
    if form == .rr { orient(&op, row) }
    op.sub = row.sub | form.rawValue << 4
    let runs: [OpKind?] = [.addRR32, .orRR32, nil, nil, .andRR32, .subRR32, .xorRR32, .cmpRR32]
    if size >= 4, form.rawValue <= 2, let first = runs[Int(row.sub)] {
      op.kind = first.rawValue + UInt8(form.rawValue) * 2 + (size == 8 ? 1 : 0)
      if row.sub == 6 && form == .rr && op.reg == op.rm { set(&op, .zero32) }
      return
    }
    if row.sub == 7 {
      switch (form, size) {
      case (.mr, 4): return set(&op, .cmpMR32)
      case (.mr, 8): return set(&op, .cmpMR64)
      case (.mi, 4): return set(&op, .cmpMI32)
      case (.mi, 8): return set(&op, .cmpMI64)
      case (.rr, 1): return set(&op, .cmpRR8)
      case (.ri, 1): return set(&op, .cmpRI8)
      case (.mi, 1): return set(&op, .cmpMI8)
      case (.rm, 1): return set(&op, .cmpRM8)
      default: break
      }
    }
    set(&op, size == 1 ? .alu8 : size == 2 ? .alu16 : size == 4 ? .alu32 : .alu64)
  }

  private static func test(_ op: inout vm_op, _ row: InstructionRow, _ memory: Bool, _ size: UInt8) {
    accumulator(&op, row)
    let form = form(&op, row, memory)
    op.sub = form.rawValue << 4
    switch (form, size) {
    case (.rr, 4): set(&op, .testRR32)
    case (.rr, 8): set(&op, .testRR64)
    case (.rr, 1): set(&op, .testRR8)
    case (.ri, 4): set(&op, .testRI32)
    case (.ri, 8): set(&op, .testRI64)
    case (.ri, 1): set(&op, .testRI8)
    case (.mi, 4): set(&op, .testMI32)
    case (.mi, 8): set(&op, .testMI64)
    case (.mi, 1): set(&op, .testMI8)
    default: set(&op, .test)
    }
  }

  private static func move(_ op: inout vm_op, _ row: InstructionRow, _ memory: Bool, _ size: UInt8) {
    if row.first == .Ob || row.first == .Ov || row.second == .Ob || row.second == .Ov { op.reg = 0 }
    let immediate = row.second == .Ib || row.second == .Iz || row.second == .Iv
    let toRegister = row.first == .Gv || row.first == .Gb || row.first == .AL || row.first == .AX
    let wide: Int = size == 8 ? 3 : size == 4 ? 2 : size == 2 ? 1 : 0
    let kinds: [OpKind]
    if immediate {
      kinds = memory ? [.movMI8, .movMI16, .movMI32, .movMI64] : [.movRI8, .movRI16, .movRI32, .movRI64]
      if !memory && size == 4 { op.imm = Int64(UInt32(truncatingIfNeeded: op.imm)) }
    } else if memory {
      kinds = toRegister ? [.movRM8, .movRM16, .movRM32, .movRM64] : [.movMR8, .movMR16, .movMR32, .movMR64]
    } else {
      orient(&op, row)
      kinds = [.movRR8, .movRR16, .movRR32, .movRR64]
    }
    set(&op, kinds[wide])
  }

  /// sub of the general form: the source's size, plus 16 when the sign is extended.
  private static func extend(_ op: inout vm_op, _ row: InstructionRow, _ memory: Bool, _ size: UInt8) {
    let source: UInt16 = row.second == .Eb ? 1 : row.second == .Ew ? 2 : 4
    let sign = row.family == .movsx
    op.sub = source | (sign ? 16 : 0)
    if source == 4 {
      if size == 8 { return set(&op, memory ? .movsxdM : .movsxdR) }
      return set(&op, .extend)
    }
    // Zero extension to 64 bits is what writing 32 does.
    if size == 4 || !sign && size == 8 {
      switch (source, sign) {
      case (1, false): set(&op, memory ? .movzxM8 : .movzxR8)
      case (2, false): set(&op, memory ? .movzxM16 : .movzxR16)
      case (1, true): set(&op, memory ? .movsxM8 : .movsxR8)
      default: set(&op, memory ? .movsxM16 : .movsxR16)
      }
    } else {
      set(&op, .extend)
    }
  }

  private static func push(_ op: inout vm_op, _ row: InstructionRow, _ memory: Bool, _ size: UInt8) {
    let immediate = row.first == .Iz || row.first == .Ibs
    op.sub = immediate ? 1 : 0
    if size == 8 && !memory {
      set(&op, immediate ? .pushImmediate64 : .push64)
    } else {
      set(&op, .push)
    }
  }

  private static func shift(_ op: inout vm_op, _ row: InstructionRow, _ memory: Bool, _ size: UInt8) {
    // sub: the operation, plus 8 when the count is CL.
    if row.second == .CL { op.sub |= 8 }
    if row.second == .one { op.imm = 1 }
    op.imm &= size == 8 ? 63 : 31
    set(&op, .shift)
    guard !memory, size >= 4, row.second != .CL, op.imm != 0 else { return }
    switch row.sub {
    case 4: set(&op, size == 8 ? .shlRI64 : .shlRI32)
    case 5: set(&op, size == 8 ? .shrRI64 : .shrRI32)
    case 7: set(&op, size == 8 ? .sarRI64 : .sarRI32)
    default: break
    }
  }

  private static func system(_ op: inout vm_op, _ row: InstructionRow, _ opcode: UInt8) {
    set(&op, .system)
    op.imm = row.first == .Ib || row.second == .Ib ? op.imm & 0xff : op.imm
    guard row.sub == SystemOp.loadFarPointer.rawValue else { return }
    // reg names the segment, rm the general register.
    op.rm = op.reg
    switch opcode {
    case 0xc4: op.reg = UInt8(VM_ES)
    case 0xc5: op.reg = UInt8(VM_DS)
    case 0xb2: op.reg = UInt8(VM_SS)
    case 0xb4: op.reg = UInt8(VM_FS)
    default: op.reg = UInt8(VM_GS)
    }
  }
}
