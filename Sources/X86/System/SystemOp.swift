/// The instructions that touch system state, or may leave the running code segment. The decoder gives them the kind
/// `.system` with this value in `vm_op.sub`; each ends its block.
///
/// Before `CPU.executeSystem` runs, RIP is the instruction's own; afterwards it is the next one to run.
public enum SystemOp: UInt16, CaseIterable, Sendable {
  // Segment registers. vm_op.reg is the segment register number for moves, pushes, pops and far pointer loads.
  case movFromSegment, movToSegment, pushSegment, popSegment, loadFarPointer
  // Far transfers. Direct ones have the offset in imm and the selector in disp; indirect ones a memory operand.
  case farJumpDirect, farJumpIndirect, farCallDirect, farCallIndirect
  case farReturn  // imm: bytes to release after the pop
  case interruptReturn, int, int3, into, int1
  case syscall, sysret, sysenter, sysexit
  // Flags
  case cli, sti, pushFlags, popFlags, clac, stac
  // Descriptor tables and segment queries
  case sgdt, sidt, lgdt, lidt, sldt, str, lldt, ltr, verr, verw, lar, lsl, arpl
  // Control, debug and model-specific registers. reg: control or debug register, rm: general register
  case movFromControl, movToControl, movFromDebug, movToDebug, smsw, lmsw, clts
  case rdmsr, wrmsr, rdtsc, rdtscp, rdpid, rdpmc, cpuid, xgetbv, xsetbv
  case swapgs, rdfsbase, rdgsbase, wrfsbase, wrgsbase
  // Caches and translations
  case invd, wbinvd, invlpg, invpcid
  // Stopping
  case hlt, monitor, mwait
  // Ports; imm is the port of the immediate forms. The string forms may carry a REP prefix.
  case inImmediate, inDX, outImmediate, outDX, ins, outs
  // What has no meaning here: #UD. `vmcall` and friends are among them.
  case undefined

  /// Whether it branches whenever it does not fault. INT and its kin are interrupts, which clear TF themselves.
  var isFarBranch: Bool {
    switch self {
    case .farJumpDirect, .farJumpIndirect, .farCallDirect, .farCallIndirect, .farReturn, .interruptReturn, .syscall,
      .sysret, .sysenter, .sysexit:
      true
    default: false
    }
  }
}
