/// The instructions, one a line, in the order of the opcode maps (Intel SDM vol. 2D, appendix A).
///
/// Columns: opcode, mnemonic, operands, family[.sub], attributes. `InstructionTable.Builder` says how opcodes are
/// written.
enum InstructionRows {
  static let oneByte = """
    00+a % Eb,Gb alu lock
    01+a % Ev,Gv alu lock
    02+a % Gb,Eb alu
    03+a % Gv,Ev alu
    04+a % AL,Ib alu
    05+a % AX,Iz alu
    06 push ES system.pushSegment i64
    07 pop ES system.popSegment i64
    0E push CS system.pushSegment i64
    16 push SS system.pushSegment i64
    17 pop SS system.popSegment i64
    1E push DS system.pushSegment i64
    1F pop DS system.popSegment i64
    27 daa - daa i64
    2F das - das i64
    37 aaa - aaa i64
    3F aas - aas i64
    40+r inc Zv inc i64
    48+r dec Zv dec i64
    50+r push Zv push d64
    58+r pop Zv pop d64
    60 pusha - pusha i64
    61 popa - popa i64
    62/0m bound Gv,Ma bound i64
    62/1m bound Gv,Ma bound i64
    62/2m bound Gv,Ma bound i64
    62/3m bound Gv,Ma bound i64
    62/4m bound Gv,Ma bound i64
    62/5m bound Gv,Ma bound i64
    62/6m bound Gv,Ma bound i64
    62/7m bound Gv,Ma bound i64
    63 arpl Ew,Gw system.arpl
    68 push Iz push d64
    69 imul Gv,Ev,Iz imul3
    6A push Ibs push d64
    6B imul Gv,Ev,Ibs imul3
    6C ins Yb,DX system.ins
    6D ins Yv,DX system.ins
    6E outs DX,Xb system.outs
    6F outs DX,Xv system.outs
    70+c j% Jb jcc f64
    80/0 add Eb,Ib alu.0 lock
    80/1 or Eb,Ib alu.1 lock
    80/2 adc Eb,Ib alu.2 lock
    80/3 sbb Eb,Ib alu.3 lock
    80/4 and Eb,Ib alu.4 lock
    80/5 sub Eb,Ib alu.5 lock
    80/6 xor Eb,Ib alu.6 lock
    80/7 cmp Eb,Ib alu.7
    81/0 add Ev,Iz alu.0 lock
    81/1 or Ev,Iz alu.1 lock
    81/2 adc Ev,Iz alu.2 lock
    81/3 sbb Ev,Iz alu.3 lock
    81/4 and Ev,Iz alu.4 lock
    81/5 sub Ev,Iz alu.5 lock
    81/6 xor Ev,Iz alu.6 lock
    81/7 cmp Ev,Iz alu.7
    82/0 add Eb,Ib alu.0 lock i64
    82/1 or Eb,Ib alu.1 lock i64
    82/2 adc Eb,Ib alu.2 lock i64
    82/3 sbb Eb,Ib alu.3 lock i64
    82/4 and Eb,Ib alu.4 lock i64
    82/5 sub Eb,Ib alu.5 lock i64
    82/6 xor Eb,Ib alu.6 lock i64
    82/7 cmp Eb,Ib alu.7 i64
    83/0 add Ev,Ibs alu.0 lock
    83/1 or Ev,Ibs alu.1 lock
    83/2 adc Ev,Ibs alu.2 lock
    83/3 sbb Ev,Ibs alu.3 lock
    83/4 and Ev,Ibs alu.4 lock
    83/5 sub Ev,Ibs alu.5 lock
    83/6 xor Ev,Ibs alu.6 lock
    83/7 cmp Ev,Ibs alu.7
    84 test Eb,Gb test
    85 test Ev,Gv test
    86 xchg Eb,Gb xchg lock
    87 xchg Ev,Gv xchg lock
    88 mov Eb,Gb mov
    89 mov Ev,Gv mov
    8A mov Gb,Eb mov
    8B mov Gv,Ev mov
    8C mov Ev,Sw system.movFromSegment
    8D lea Gv,M lea
    8E mov Sw,Ew system.movToSegment
    8F/0 pop Ev pop d64
    90+r xchg Zv,AX xchg
    98 cbw - cbw
    99 cwd - cwd
    9A callf Ap system.farCallDirect i64
    9B fwait - wait
    9C pushf - system.pushFlags d64
    9D popf - system.popFlags d64
    9E sahf - sahf
    9F lahf - lahf
    A0 mov AL,Ob mov
    A1 mov AX,Ov mov
    A2 mov Ob,AL mov
    A3 mov Ov,AX mov
    A4 movs Yb,Xb movs
    A5 movs Yv,Xv movs
    A6 cmps Xb,Yb cmps
    A7 cmps Xv,Yv cmps
    A8 test AL,Ib test
    A9 test AX,Iz test
    AA stos Yb,AL stos
    AB stos Yv,AX stos
    AC lods AL,Xb lods
    AD lods AX,Xv lods
    AE scas AL,Yb scas
    AF scas AX,Yv scas
    B0+r mov Zb,Ib mov
    B8+r mov Zv,Iv mov
    C0/0 rol Eb,Ib shift.0
    C0/1 ror Eb,Ib shift.1
    C0/2 rcl Eb,Ib shift.2
    C0/3 rcr Eb,Ib shift.3
    C0/4 shl Eb,Ib shift.4
    C0/5 shr Eb,Ib shift.5
    C0/6 shl Eb,Ib shift.4
    C0/7 sar Eb,Ib shift.7
    C1/0 rol Ev,Ib shift.0
    C1/1 ror Ev,Ib shift.1
    C1/2 rcl Ev,Ib shift.2
    C1/3 rcr Ev,Ib shift.3
    C1/4 shl Ev,Ib shift.4
    C1/5 shr Ev,Ib shift.5
    C1/6 shl Ev,Ib shift.4
    C1/7 sar Ev,Ib shift.7
    C2 ret Iw ret f64
    C3 ret - ret f64
    C4/0m les Gv,Mp system.loadFarPointer i64
    C4/1m les Gv,Mp system.loadFarPointer i64
    C4/2m les Gv,Mp system.loadFarPointer i64
    C4/3m les Gv,Mp system.loadFarPointer i64
    C4/4m les Gv,Mp system.loadFarPointer i64
    C4/5m les Gv,Mp system.loadFarPointer i64
    C4/6m les Gv,Mp system.loadFarPointer i64
    C4/7m les Gv,Mp system.loadFarPointer i64
    C5/0m lds Gv,Mp system.loadFarPointer i64
    C5/1m lds Gv,Mp system.loadFarPointer i64
    C5/2m lds Gv,Mp system.loadFarPointer i64
    C5/3m lds Gv,Mp system.loadFarPointer i64
    C5/4m lds Gv,Mp system.loadFarPointer i64
    C5/5m lds Gv,Mp system.loadFarPointer i64
    C5/6m lds Gv,Mp system.loadFarPointer i64
    C5/7m lds Gv,Mp system.loadFarPointer i64
    C6/0 mov Eb,Ib mov
    C7/0 mov Ev,Iz mov
    C8 enter Iw,Ib enter d64
    C9 leave - leave d64
    CA retf Iw system.farReturn
    CB retf - system.farReturn
    CC int3 - system.int3
    CD int Ib system.int
    CE into - system.into i64
    CF iret - system.interruptReturn
    D0/0 rol Eb,1 shift.0
    D0/1 ror Eb,1 shift.1
    D0/2 rcl Eb,1 shift.2
    D0/3 rcr Eb,1 shift.3
    D0/4 shl Eb,1 shift.4
    D0/5 shr Eb,1 shift.5
    D0/6 shl Eb,1 shift.4
    D0/7 sar Eb,1 shift.7
    D1/0 rol Ev,1 shift.0
    D1/1 ror Ev,1 shift.1
    D1/2 rcl Ev,1 shift.2
    D1/3 rcr Ev,1 shift.3
    D1/4 shl Ev,1 shift.4
    D1/5 shr Ev,1 shift.5
    D1/6 shl Ev,1 shift.4
    D1/7 sar Ev,1 shift.7
    D2/0 rol Eb,CL shift.0
    D2/1 ror Eb,CL shift.1
    D2/2 rcl Eb,CL shift.2
    D2/3 rcr Eb,CL shift.3
    D2/4 shl Eb,CL shift.4
    D2/5 shr Eb,CL shift.5
    D2/6 shl Eb,CL shift.4
    D2/7 sar Eb,CL shift.7
    D3/0 rol Ev,CL shift.0
    D3/1 ror Ev,CL shift.1
    D3/2 rcl Ev,CL shift.2
    D3/3 rcr Ev,CL shift.3
    D3/4 shl Ev,CL shift.4
    D3/5 shr Ev,CL shift.5
    D3/6 shl Ev,CL shift.4
    D3/7 sar Ev,CL shift.7
    D4 aam Ib aam i64
    D5 aad Ib aad i64
    D6 salc - salc i64
    D7 xlat - xlat
    D8+r fpu - x87 modrm
    E0 loopne Jb loop.0 f64
    E1 loope Jb loop.1 f64
    E2 loop Jb loop.2 f64
    E3 jcxz Jb jcxz f64
    E4 in AL,Ib system.inImmediate
    E5 in AX,Ib system.inImmediate
    E6 out Ib,AL system.outImmediate
    E7 out Ib,AX system.outImmediate
    E8 call Jz call f64
    E9 jmp Jz jmp f64
    EA jmpf Ap system.farJumpDirect i64
    EB jmp Jb jmp f64
    EC in AL,DX system.inDX
    ED in AX,DX system.inDX
    EE out DX,AL system.outDX
    EF out DX,AX system.outDX
    F1 int1 - system.int1
    F4 hlt - system.hlt
    F5 cmc - flag.0
    F6/0 test Eb,Ib test
    F6/1 test Eb,Ib test
    F6/2 not Eb not lock
    F6/3 neg Eb neg lock
    F6/4 mul Eb mul
    F6/5 imul Eb imul1
    F6/6 div Eb div
    F6/7 idiv Eb idiv
    F7/0 test Ev,Iz test
    F7/1 test Ev,Iz test
    F7/2 not Ev not lock
    F7/3 neg Ev neg lock
    F7/4 mul Ev mul
    F7/5 imul Ev imul1
    F7/6 div Ev div
    F7/7 idiv Ev idiv
    F8 clc - flag.1
    F9 stc - flag.2
    FA cli - system.cli
    FB sti - system.sti
    FC cld - flag.3
    FD std - flag.4
    FE/0 inc Eb inc lock
    FE/1 dec Eb dec lock
    FF/0 inc Ev inc lock
    FF/1 dec Ev dec lock
    FF/2 call Ev callIndirect f64
    FF/3m callf Mp system.farCallIndirect
    FF/4 jmp Ev jmpIndirect f64
    FF/5m jmpf Mp system.farJumpIndirect
    FF/6 push Ev push d64
    """

  static let twoByte = """
    00/0 sldt Ev system.sldt
    00/1 str Ev system.str
    00/2 lldt Ew system.lldt
    00/3 ltr Ew system.ltr
    00/4 verr Ew system.verr
    00/5 verw Ew system.verw
    01/0m sgdt M system.sgdt f64
    01/1m sidt M system.sidt f64
    01/2m lgdt M system.lgdt f64
    01/3m lidt M system.lidt f64
    01/4 smsw Ev system.smsw
    01/6 lmsw Ew system.lmsw
    01/7m invlpg M system.invlpg
    01=C8 monitor - system.monitor modrm
    01=C9 mwait - system.mwait modrm
    01=CA clac - system.clac modrm
    01=CB stac - system.stac modrm
    01=D0 xgetbv - system.xgetbv modrm
    01=D1 xsetbv - system.xsetbv modrm
    01=F8 swapgs - system.swapgs modrm o64
    01=F9 rdtscp - system.rdtscp modrm
    02 lar Gv,Ew system.lar
    03 lsl Gv,Ew system.lsl
    05 syscall - system.syscall
    06 clts - system.clts
    07 sysret - system.sysret
    08 invd - system.invd
    09 wbinvd - system.wbinvd
    0B ud2 - undefined
    0D nop Ev nop
    18+r nop Ev nop
    20 mov Ry,Cd system.movFromControl f64
    21 mov Ry,Dd system.movFromDebug f64
    22 mov Cd,Ry system.movToControl f64
    23 mov Dd,Ry system.movToDebug f64
    30 wrmsr - system.wrmsr
    31 rdtsc - system.rdtsc
    32 rdmsr - system.rdmsr
    33 rdpmc - system.rdpmc
    34 sysenter - system.sysenter
    35 sysexit - system.sysexit
    40+c cmov% Gv,Ev cmovcc
    80+c j% Jz jcc f64
    90+c set% Eb setcc
    A0 push FS system.pushSegment d64
    A1 pop FS system.popSegment d64
    A2 cpuid - system.cpuid
    A3 bt Ev,Gv bittest.0
    A4 shld Ev,Gv,Ib shld
    A5 shld Ev,Gv,CL shld
    A8 push GS system.pushSegment d64
    A9 pop GS system.popSegment d64
    AB bts Ev,Gv bittest.1 lock
    AC shrd Ev,Gv,Ib shrd
    AD shrd Ev,Gv,CL shrd
    AE/0r rdfsbase Ry system.rdfsbase o64 f3
    AE/1r rdgsbase Ry system.rdgsbase o64 f3
    AE/2r wrfsbase Ry system.wrfsbase o64 f3
    AE/3r wrgsbase Ry system.wrgsbase o64 f3
    AF imul Gv,Ev imul2
    B0 cmpxchg Eb,Gb cmpxchg lock
    B1 cmpxchg Ev,Gv cmpxchg lock
    B2/0m lss Gv,Mp system.loadFarPointer
    B2/1m lss Gv,Mp system.loadFarPointer
    B2/2m lss Gv,Mp system.loadFarPointer
    B2/3m lss Gv,Mp system.loadFarPointer
    B2/4m lss Gv,Mp system.loadFarPointer
    B2/5m lss Gv,Mp system.loadFarPointer
    B2/6m lss Gv,Mp system.loadFarPointer
    B2/7m lss Gv,Mp system.loadFarPointer
    B3 btr Ev,Gv bittest.2 lock
    B4/0m lfs Gv,Mp system.loadFarPointer
    B4/1m lfs Gv,Mp system.loadFarPointer
    B4/2m lfs Gv,Mp system.loadFarPointer
    B4/3m lfs Gv,Mp system.loadFarPointer
    B4/4m lfs Gv,Mp system.loadFarPointer
    B4/5m lfs Gv,Mp system.loadFarPointer
    B4/6m lfs Gv,Mp system.loadFarPointer
    B4/7m lfs Gv,Mp system.loadFarPointer
    B5/0m lgs Gv,Mp system.loadFarPointer
    B5/1m lgs Gv,Mp system.loadFarPointer
    B5/2m lgs Gv,Mp system.loadFarPointer
    B5/3m lgs Gv,Mp system.loadFarPointer
    B5/4m lgs Gv,Mp system.loadFarPointer
    B5/5m lgs Gv,Mp system.loadFarPointer
    B5/6m lgs Gv,Mp system.loadFarPointer
    B5/7m lgs Gv,Mp system.loadFarPointer
    B6 movzx Gv,Eb movzx
    B7 movzx Gv,Ew movzx
    B8 popcnt Gv,Ev popcnt f3
    B9 ud1 Gv,Ev undefined
    BA/4 bt Ev,Ib bittest.0
    BA/5 bts Ev,Ib bittest.1 lock
    BA/6 btr Ev,Ib bittest.2 lock
    BA/7 btc Ev,Ib bittest.3 lock
    BB btc Ev,Gv bittest.3 lock
    BC bsf Gv,Ev bsf
    BD bsr Gv,Ev bsr
    BE movsx Gv,Eb movsx
    BF movsx Gv,Ew movsx
    C0 xadd Eb,Gb xadd lock
    C1 xadd Ev,Gv xadd lock
    C7/1m cmpxchg8b Mq cmpxchg8b lock
    C7/7r rdpid Ry system.rdpid f64 f3
    C8+r bswap Zv bswap
    FF ud0 Gv,Ev undefined
    """

  static let threeByte38 = """
    82 invpcid Gy,M system.invpcid
    F0 movbe Gv,Mv movbe
    F1 movbe Mv,Gv movbe
    """
}
