/// Where Intel's and AMD's processors do different things, and software can tell.
///
/// Every profile says that it is Intel's (CPUID leaf 0), so a CPU does what Intel's do, on any host: emitted code and CHost's
/// stubs leave nothing of this to the host's own processor. A profile of another vendor's needs its column here, and code
/// that asks for it.
enum VendorDifference: String, CaseIterable {
  /// FCOM, FUCOM, FTST, FICOM and their kin with an unmasked invalid operation.
  case x87ConditionCodes
  /// JMP, CALL, LSS, LFS, LGS of m16:64 with REX.W.
  case wideFarPointers
  /// 66 before a near JMP, CALL, Jcc, RET in 64-bit code.
  case operandSizeOfNearBranches
  /// A null selector loaded into FS or GS by MOV or POP.
  case baseOfNullSegment
  /// SYSENTER and SYSEXIT in long mode, SYSCALL in compatibility mode.
  case fastCalls
  /// PREFETCHW and PREFETCH (0F 0D) with a register operand.
  case registerPrefetch
  /// RF of the flags that are pushed between two turns of a repeated instruction.
  case resumeFlagBetweenTurns

  var intel: String {
    switch self {
    case .x87ConditionCodes: "C0, C2 and C3 stay as they were (SDM vol. 2A, FCOM: set only if the exception is masked)"
    case .wideFarPointers: "the offset has 64 bits (SDM vol. 2A, JMP: REX.W + FF /5)"
    case .operandSizeOfNearBranches: "the prefix is ignored: the target has 64 bits (SDM vol. 2A, JMP)"
    case .baseOfNullSegment: "the hidden base becomes 0"
    case .fastCalls: "SYSENTER and SYSEXIT in every protected mode, SYSCALL in 64-bit code only (SDM vol. 2B)"
    case .registerPrefetch: "a NOP"
    case .resumeFlagBetweenTurns: "1 (SDM vol. 3B, 18.3.1.1)"
    }
  }

  var amd: String {
    switch self {
    case .x87ConditionCodes: "C0, C2 and C3 say unordered"
    case .wideFarPointers: "REX.W is ignored: the offset has 32 bits (APM vol. 3, JMP far)"
    case .operandSizeOfNearBranches: "the target has 16 bits (APM vol. 3, JMP near)"
    case .baseOfNullSegment: "the hidden base stays"
    case .fastCalls: "SYSENTER and SYSEXIT are undefined in long mode, SYSCALL works in compatibility mode (APM vol. 3)"
    case .registerPrefetch: "#UD"
    case .resumeFlagBetweenTurns: "0 behind a single step (seen on a Zen)"
    }
  }
}
