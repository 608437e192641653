import CHost

/// What the interpreter may have done to the guest's general registers when it has run one instruction and emitted code goes
/// on behind it. More is never wrong.
struct GuestEffects {
  /// Registers that may hold anything.
  var changed: UInt16 = 0
  /// What has been added to RSP.
  var stackBytes: Int64 = 0
  /// Translations may have changed: nothing that was checked holds.
  var endsAll = false

  init(_ op: Op, is64: Bool) {
    let kind = OpKind(trusted: op.pointee.kind)
    let isMemory = op.pointee.prefixes & UInt8(VM_PREFIX_MEMORY) != 0
    let isByte = op.pointee.operand_size == 1
    let reg = Self.bit(op.pointee.reg, isByte)
    let rm: UInt16 = isMemory ? 0 : Self.bit(op.pointee.rm, isByte)
    let size = Int64(op.pointee.operand_size)
    let (rax, rcx, rdx, rsp, rbp, rsi, rdi): (UInt16, UInt16, UInt16, UInt16, UInt16, UInt16, UInt16) = (
      1, 2, 4, 16, 32, 64, 128
    )
    let repeats = op.pointee.prefixes & UInt8(VM_PREFIX_REP | VM_PREFIX_REPNE) != 0
    let counter = repeats ? rcx : 0
    switch kind {
    case .system:
      changed = 0xffff
      endsAll = true
    case .movMR8, .movMR16, .movMR32, .movMR64, .movMI8, .movMI16, .movMI32, .movMI64, .cmpRR32, .cmpRR64, .cmpRI32,
      .cmpRI64, .cmpRM32, .cmpRM64, .cmpMR32, .cmpMR64, .cmpMI32, .cmpMI64, .cmpRR8, .cmpRI8, .cmpMI8, .cmpRM8,
      .testRR8,
      .testRI8, .testMI8, .testRR32, .testRR64, .testRI32, .testRI64, .testMI32, .testMI64, .test, .nop, .wait, .bound:
      changed = 0
    case .alu8, .alu16, .alu32, .alu64:
      let form = AluForm(rawValue: op.pointee.sub >> 4)
      changed = form == .rm ? reg : form == .mr || form == .mi ? 0 : reg | rm
    case .incdec, .inc32, .inc64, .dec32, .dec64, .not, .neg, .shift, .bitTest, .setccM, .setccR, .doubleShift:
      changed = rm
    case .push64, .pushImmediate64, .push: stackBytes = -size
    case .pop64, .pop:
      stackBytes = size
      changed = rm
    case .call64, .call, .callR64, .callIndirect: stackBytes = -size
    case .ret64, .ret, .enter, .leaveFrame: changed = rsp | rbp
    case .pushAll, .popAll: changed = 0xffff
    case .movs, .cmps: changed = counter | rsi | rdi
    case .stos, .scas: changed = counter | rdi
    case .lods: changed = rax | counter | rsi
    case .cmpxchg: changed = rax | rm
    case .cmpxchg8b, .cmpxchg16b, .multiply, .divide: changed = rax | rdx
    case .simd:
      // What has a general register for its destination has it in either field.
      let row = SIMDTable.rows[Int(op.pointee.sub)]
      switch Int(row.shape) {
      case VM_SIMD_GX, VM_SIMD_GP, VM_SIMD_CRC32: changed = Self.bit(op.pointee.reg, false)
      case VM_SIMD_EX, VM_SIMD_EP: changed = isMemory ? 0 : Self.bit(op.pointee.rm, false)
      case VM_SIMD_STRINGS: changed = rcx
      case VM_SIMD_MOVNTI: changed = 0
      default:
        changed = isMemory ? 0 : Self.bit(op.pointee.rm, false) | Self.bit(op.pointee.reg, false)
      }
    // FNSTSW AX alone leaves its result in a general register.
    case .x87: changed = op.pointee.sub == 0x7e0 ? rax : 0
    case .decimal, .xlat, .loadFlags: changed = rax
    case .cbw, .cwd: changed = rax | rdx
    case .jmp, .jmpR64, .jmpIndirect, .jo, .jno, .jb, .jae, .je, .jne, .jbe, .ja, .js, .jns, .jp, .jnp, .jl, .jge, .jle,
      .jg, .jcxz, .leave, .fallThrough, .undefined, .tooLong, .flag, .storeFlags:
      changed = 0
    case .loop: changed = rcx
    default: changed = reg | rm
    }
    if !is64 && stackBytes != 0 && size != 4 || is64 && stackBytes != 0 && size != 8 {
      changed |= rsp
      stackBytes = 0
    }
    if changed & rsp != 0 { stackBytes = 0 }
  }

  /// Of byte registers the field is the byte's place in the state.
  private static func bit(_ field: UInt8, _ isByte: Bool) -> UInt16 {
    1 << UInt16((isByte ? field >> 3 : field) & 15)
  }
}
