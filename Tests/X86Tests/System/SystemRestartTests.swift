import CHost
import GuestAssembly
import Testing

@testable import X86

/// An instruction that faults has done nothing that a program can see: it can be run again (Intel SDM vol. 3A, 6.6).
@Suite(.bothAccelerators) struct SystemRestartTests {
  /// The page at 11000h is not there; everything else below 4 MiB is, one to one, for user code.
  static let hole: UInt64 = 0x11000

  private static func machine() throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    machine.put(0x30000, UInt32(0x31007))
    for page in 0..<1024 where page != 0x11 { machine.put(0x31000 + UInt64(page * 4), UInt32(page << 12 | 7)) }
    try machine.cpu.writeCR3(0x30000)
    try machine.cpu.writeCR0(0x8000_0031)
    try machine.cpu.writeCR4(CR4.osfxsr | 0x400)
    for segment in [Seg.ds, Seg.es] { try machine.cpu.loadSegment(segment, selector: 0x23) }
    return machine
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var code: String
    var esp: UInt32 = 0x7000
    var ebp: UInt32 = 0x7800
    var testDescription: String { name }
  }

  /// EBX is 10FFEh: what it points to runs into the hole. EDI is 11000h, ESI 10000h, ECX 3.
  static let cases: [Case] = [
    Case(name: "pusha", code: "pushad", esp: 0x12010), Case(name: "pusha, 16-bit", code: "pushaw", esp: 0x12008),
    Case(name: "popa", code: "popad", esp: 0x10ff0), Case(name: "popa, 16-bit", code: "popaw", esp: 0x10ff8),
    Case(name: "push", code: "push eax", esp: 0x12002), Case(name: "push memory", code: "push dword ptr [ebx]"),
    Case(name: "push memory, stack faults", code: "push dword ptr [esi]", esp: 0x12002),
    Case(name: "pop", code: "pop eax", esp: 0x10ffe),
    Case(name: "pop memory", code: "pop dword ptr [ebx]"),
    Case(name: "pop memory by ESP", code: "pop dword ptr [esp - 2]", esp: 0x10ffc),
    Case(name: "pushf", code: "pushfd", esp: 0x12002), Case(name: "popf", code: "popfd", esp: 0x10ffe),
    Case(name: "call", code: "call 1f; 1:", esp: 0x12002), Case(name: "call indirect", code: "call [ebx]"),
    Case(name: "call register", code: "call eax", esp: 0x12002),
    Case(name: "call far", code: "lcall 0x1b, 0x2000", esp: 0x12006),
    Case(name: "call far indirect", code: "call fword ptr [ebx]"),
    Case(name: "jmp far indirect", code: "jmp fword ptr [ebx]"),
    Case(name: "ret", code: "ret", esp: 0x10ffe), Case(name: "ret 8", code: "ret 8", esp: 0x10ffe),
    Case(name: "retf", code: "retf", esp: 0x10ffa), Case(name: "iret", code: "iretd", esp: 0x10ff8),
    Case(name: "enter, the copied frame pointer", code: "enter 0, 2", esp: 0x12004),
    Case(name: "enter, the locals", code: "enter 0x20, 0", esp: 0x12004),
    Case(name: "leave", code: "leave", ebp: 0x10ffe), Case(name: "add to memory", code: "add [ebx], eax"),
    Case(name: "adc from memory", code: "adc eax, [ebx]"), Case(name: "inc", code: "inc dword ptr [ebx]"),
    Case(name: "neg", code: "neg dword ptr [ebx]"), Case(name: "not", code: "not dword ptr [ebx]"),
    Case(name: "xchg", code: "xchg [ebx], eax"),
    Case(name: "xadd", code: "xadd [ebx], eax"), Case(name: "lock xadd", code: "lock xadd [ebx], eax"),
    Case(name: "cmpxchg", code: "cmpxchg [ebx], eax"), Case(name: "cmpxchg8b", code: "cmpxchg8b [ebx]"),
    Case(name: "lock cmpxchg8b", code: "lock cmpxchg8b [ebx]"), Case(name: "bts", code: "bts [ebx], edx"),
    Case(name: "bt", code: "bt [ebx], edx"), Case(name: "shl", code: "shl dword ptr [ebx], cl"),
    Case(name: "rcr", code: "rcr dword ptr [ebx], 1"),
    Case(name: "shld", code: "shld [ebx], eax, cl"), Case(name: "setz", code: "setz byte ptr [edi]"),
    Case(name: "mul", code: "mul dword ptr [ebx]"), Case(name: "imul", code: "imul eax, [ebx]"),
    Case(name: "div", code: "div dword ptr [ebx]"),
    Case(name: "bsf", code: "bsf eax, [ebx]"), Case(name: "movzx", code: "movzx eax, word ptr [ebx + 1]"),
    Case(name: "mov to memory", code: "mov [ebx], eax"), Case(name: "mov from memory", code: "mov eax, [ebx]"),
    Case(name: "mov immediate", code: "mov dword ptr [ebx], 0x04030201"), Case(name: "les", code: "les eax, [ebx]"),
    Case(name: "lds", code: "lds eax, [ebx - 2]"), Case(name: "bound", code: "bound eax, [ebx - 4]"),
    Case(name: "mov ds", code: "mov ds, [ebx + 1]"),
    Case(name: "pop ds", code: ".att_syntax prefix; popl %ds", esp: 0x10fff),
    Case(name: "movs, the target", code: "movsd"), Case(name: "stos", code: "stosd"), Case(name: "scas", code: "scasd"),
    Case(name: "cmps", code: "cmpsd"), Case(name: "lods", code: "lodsd; xchg esi, edi"),
    Case(name: "xlat", code: "xlatb"),
    Case(name: "movups to memory", code: "movups [ebx - 12], xmm0"),
    Case(name: "movups from memory", code: "movups xmm0, [ebx - 12]"),
    Case(name: "movq", code: "movq [ebx - 4], mm0"),
    Case(name: "fld80", code: "fld tbyte ptr [ebx - 6]"), Case(name: "fstp", code: "fstp qword ptr [ebx - 4]"),
    Case(name: "fnsave", code: "fnsave [ebx - 0x30]"),
    Case(name: "fxsave", code: "fxsave [ebx - 0xfe]"),
    Case(name: "fistp", code: "fistp qword ptr [ebx - 4]"), Case(name: "ldmxcsr", code: "ldmxcsr [ebx]"),
  ]

  @Test(arguments: cases)
  func whatFaultsHasDoneNothing(_ item: Case) throws {
    let machine = try Self.machine()
    let code = try GuestCode.assemble(item.code, among: Self.cases.map(\.code), bits: 32)
    machine.code(code + [0xf4], at: 0x2000)
    let registers: [(Int, UInt64)] = [
      (Reg.rax, 0x1111_1111), (Reg.rcx, 3), (Reg.rdx, 0x5), (Reg.rbx, 0x10ffe), (Reg.rbp, UInt64(item.ebp)),
      (Reg.rsi, 0x10000), (Reg.rdi, 0x11000), (Reg.rsp, UInt64(item.esp)),
    ]
    try machine.enterUser()
    for (register, value) in registers { machine.cpu.slots[register] = value }
    if item.name == "lods" { machine.cpu.slots[Reg.rsi] = 0x11000 }
    if item.name == "xlat" { (machine.cpu.slots[Reg.rax], machine.cpu.slots[Reg.rbx]) = (0, 0x11000) }
    if ["push memory, stack faults"].contains(item.name) { machine.cpu.slots[Reg.rsi] = 0x6000 }
    if ["fstp", "fistp"].contains(item.name) {
      machine.cpu.s.pointee.fpu_status = 0x3800
      machine.cpu.s.pointee.fpu_empty = 0x7f
    }
    machine.cpu.setFlags(0x8d5, mask: 0x8d5)
    for offset in stride(from: UInt64(0x10f00), to: 0x11000, by: 4) { machine.put(offset, UInt32(0x2222_2222)) }
    let before = (0..<8).map { machine.cpu.slots[$0] }
    let x87 = (machine.s.fpu_status, machine.s.fpu_empty, machine.s.mxcsr)
    let segments = (0..<6).map { machine.cpu.segmentRegister($0).pointee.selector }
    #expect(machine.run() == 14)
    #expect(machine.s.cr2 & ~0xfff == Self.hole)
    #expect(machine.pushed(1) == 0x2000 && machine.pushed(2) == 0x1b)
    #expect(machine.pushed(3) & 0x1_08d5 == 0x1_08d5)
    #expect(machine.pushed(4) == UInt32(before[Reg.rsp]))
    for register in 0..<8 where register != Reg.rsp { #expect(machine.cpu.slots[register] == before[register]) }
    #expect((machine.s.fpu_status, machine.s.fpu_empty, machine.s.mxcsr) == x87)
    #expect([Seg.ds, Seg.es].allSatisfy { machine.cpu.segmentRegister($0).pointee.selector == segments[$0] })
    // A store that is cut by the page's end has not begun.
    for offset in stride(from: UInt64(0x10f00), to: 0x11000, by: 4) where !item.name.hasPrefix("fn") {
      #expect(machine.get(offset, as: UInt32.self) == 0x2222_2222, "\(offset)")
    }
    // With the page there it runs to its end.
    machine.put(0x31000 + 0x11 * 4, UInt32(0x11007))
    machine.cpu.flushAllTranslations()
    machine.put(Self.hole, UInt64(0))
    machine.cpu.slots[Reg.rsp] += 4
    try machine.cpu.interruptReturn(size: 4, next: 0)
    #expect(machine.run() != 14 || machine.s.cr2 & ~0xfff != Self.hole)
  }

  @Test func anInstructionThatRunsIntoAMissingPageFaultsThere() throws {
    let instructions = [
      "mov eax, 0x11223344", "xchg ax, ax", "{disp32} nop dword ptr [eax + eax]", "{disp32} jmp 1f; 1:",
      "add ecx, 0x1000000", "palignr xmm0, xmm1, 4",
    ]
    for (text, bytes) in zip(instructions, try GuestCode.assembleAll(instructions, bits: 32)) {
      for split in 1..<bytes.count {
        let machine = try Self.machine()
        let start = Self.hole - UInt64(split)
        machine.code(bytes + [0xf4], at: start)
        try machine.enterUser(rip: UInt32(start))
        #expect(machine.run() == 14)
        #expect(machine.s.cr2 == Self.hole && machine.pushed(0) == 4 && machine.pushed(1) == UInt32(start))
        machine.put(0x31000 + 0x11 * 4, UInt32(0x11007))
        machine.cpu.slots[Reg.rsp] += 4
        try machine.cpu.interruptReturn(size: 4, next: 0)
        #expect(machine.run() == 13)
        #expect(machine.pushed(1) == UInt32(start) + UInt32(bytes.count), "\(text) \(split)")
      }
    }
  }
}
