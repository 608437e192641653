import CHost
import GuestAssembly
import Testing

@testable import X86

/// What happens between instructions: traps, shadows, blocking, restarts (Intel SDM vol. 3A, 6.7 to 6.9; vol. 3B,
/// chapter 18).
@Suite(.bothAccelerators) struct SystemStepTests {
  private func machine(_ code: String) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    try machine.code(code)
    return machine
  }

  /// A #DB handler that counts in [6000h] and keeps the last return address in [6004h].
  private func countTraps(_ machine: SystemMachine) throws {
    try machine.code(
      "inc dword ptr [0x6000]; push eax; mov eax, [esp + 4]; mov [0x6004], eax; pop eax; iretd", at: 0x5000)
    machine.setGate(1, 0x5000)
  }

  @Test func singleStepsCountEachRepetitionAndCrossBlocks() throws {
    let machine = try machine(
      """
      pushfd; or dword ptr [esp], 0x100; popfd; mov ecx, 3; rep movsb; jmp next
      next: nop; pushfd; and dword ptr [esp], ~0x100; popfd; nop; hlt
      """)
    try countTraps(machine)
    machine.cpu.slots[Reg.rsi] = 0x6100
    machine.cpu.slots[Reg.rdi] = 0x6200
    #expect(machine.run() == nil)
    // mov, three times movsb, jmp, nop, pushfd, and; POPF that clears TF still traps.
    #expect(machine.get(0x6000, as: UInt32.self) == 9)
    #expect(machine.get(0x6004, as: UInt32.self) == 0x101c)
    #expect(machine.cpu.slots[Reg.rdi] == 0x6203)
  }

  @Test func movSSHoldsInterruptsAndTrapsForOneInstruction() throws {
    let machine = try machine("mov ss, eax; inc ebx; inc ecx; hlt")
    machine.cpu.slots[Reg.rax] = 0x10
    machine.cpu.s.pointee.eflags |= EFLAGS.if
    machine.cpu.slots[Reg.rbx] = 0
    // The request comes while MOV SS runs.
    machine.environment.vector = 0x30
    machine.cpu.s.pointee.rip = 0x1000
    _ = machine.cpu.run(budget: 1)
    machine.cpu.post(UInt32(VM_PENDING_INTERRUPT))
    #expect(machine.run() == 0x30)
    #expect(machine.pushed(0) == 0x1003 && machine.cpu.slots[Reg.rbx] == 1 && machine.cpu.slots[Reg.rcx] == 0)
  }

  @Test func movSSDelaysTheStepTrap() throws {
    let machine = try machine("mov ss, eax; inc ebx; inc ecx; hlt")
    machine.cpu.slots[Reg.rax] = 0x10
    machine.cpu.s.pointee.eflags |= EFLAGS.tf
    machine.cpu.updateDebugPending()
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x1003)
    #expect(machine.cpu.debugRegisters[6] & 0x4000 != 0)
  }

  @Test func stiHoldsInterruptsForOneInstruction() throws {
    let machine = try machine("sti; inc ebx; inc ecx; hlt")
    machine.cpu.slots[Reg.rbx] = 0
    machine.environment.vector = 0x31
    machine.cpu.post(UInt32(VM_PENDING_INTERRUPT))
    #expect(machine.run() == 0x31)
    #expect(machine.pushed(0) == 0x1002 && machine.cpu.slots[Reg.rbx] == 1)
  }

  @Test func stiHltWakesWithTheReturnBehindHLT() throws {
    let machine = try machine("sti; hlt; inc ebx")
    machine.environment.vector = 0x32
    machine.cpu.post(UInt32(VM_PENDING_INTERRUPT))
    #expect(machine.run() == 0x32)
    #expect(machine.pushed(0) == 0x1002)
  }

  @Test func dataBreakpointsTrapAfterTheAccess() throws {
    let machine = try machine("mov [0x6010], eax; nop; hlt")
    try machine.cpu.writeDebug(0, 0x6012)
    try machine.cpu.writeDebug(7, 0x5_0001 | 0x400)  // two bytes, writes
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x1005 && machine.cpu.debugRegisters[6] & 0xf == 1)
  }

  @Test func instructionBreakpointsFaultOnceAndRFResumes() throws {
    let machine = try machine("nop; inc ebx; inc ecx; hlt")
    // The handler sets RF in the image.
    try machine.code("or dword ptr [esp + 8], 0x10000; inc dword ptr [0x6000]; iretd", at: 0x5000)
    machine.setGate(1, 0x5000)
    machine.cpu.slots[Reg.rbx] = 0
    try machine.cpu.writeDebug(1, 0x1001)
    try machine.cpu.writeDebug(7, 0x4 | 0x400)
    #expect(machine.run() == nil)
    #expect(machine.get(0x6000, as: UInt32.self) == 1)
    #expect(machine.cpu.slots[Reg.rbx] == 1 && machine.cpu.debugRegisters[6] & 0xf == 2)
  }

  @Test func nmisAreBlockedUntilIRET() throws {
    let machine = try machine("inc ebx; hlt")
    // The handler counts, and takes its time; then IRET.
    try machine.code("inc dword ptr [0x6000]; nop; mov eax, [0x6000]; iretd", at: 0x5000)
    machine.setGate(2, 0x5000)
    machine.cpu.post(UInt32(VM_PENDING_NMI))
    #expect(machine.cpu.servicePending() == nil)
    #expect(machine.s.nmi_blocked == 1 && machine.s.rip == 0x5000)
    machine.cpu.post(UInt32(VM_PENDING_NMI))
    #expect(machine.cpu.servicePending() == nil)
    #expect(machine.s.rip == 0x5000)
    #expect(machine.run() == nil)
    #expect(machine.get(0x6000, as: UInt32.self) == 2 && machine.cpu.slots[Reg.rax] == 2)
    #expect(machine.s.nmi_blocked == 0)
  }

  @Test func repRestartsAtAPageFault() throws {
    let machine = try machine("rep movsb; hlt")
    // 32-bit paging: a table that maps 4 MiB one to one but for the page at 11000h.
    machine.put(0x30000, UInt32(0x31007))
    for page in 0..<1024 where page != 0x11 { machine.put(0x31000 + UInt64(page * 4), UInt32(page << 12 | 7)) }
    try machine.cpu.writeCR3(0x30000)
    try machine.cpu.writeCR0(0x8000_0011)
    machine.cpu.slots[Reg.rsi] = 0x12000
    machine.cpu.slots[Reg.rdi] = 0x10ff0
    machine.cpu.slots[Reg.rcx] = 0x40
    #expect(machine.run() == 14)
    #expect(machine.s.cr2 == 0x11000 && machine.pushed(0) == 2 && machine.pushed(1) == 0x1000)
    #expect(machine.cpu.slots[Reg.rcx] == 0x30 && machine.cpu.slots[Reg.rdi] == 0x11000)
    #expect(machine.pushed(3) & 0x10000 != 0)
    machine.put(0x31000 + 0x11 * 4, UInt32(0x11007))
    machine.cpu.slots[Reg.rsp] += 4
    try machine.cpu.interruptReturn(size: 4, next: 0)
    #expect(machine.run() == nil)
    #expect(machine.cpu.slots[Reg.rcx] == 0 && machine.cpu.slots[Reg.rdi] == 0x11030)
  }

  @Test func repINSReadsNoMoreThanItStores() throws {
    let machine = try machine("rep insb; hlt")
    machine.put(0x30000, UInt32(0x31007))
    for page in 0..<1024 where page != 0x11 { machine.put(0x31000 + UInt64(page * 4), UInt32(page << 12 | 7)) }
    try machine.cpu.writeCR3(0x30000)
    try machine.cpu.writeCR0(0x8000_0011)
    machine.environment.inputs = (1...8).map { UInt32($0) }
    machine.cpu.slots[Reg.rdi] = 0x10ffd
    machine.cpu.slots[Reg.rcx] = 6
    #expect(machine.run() == 14)
    #expect(machine.cpu.slots[Reg.rcx] == 3 && machine.environment.inputs.count == 5)
    #expect(machine.get(0x10ffd, as: UInt8.self) == 1 && machine.get(0x10fff, as: UInt8.self) == 3)
  }

  @Test func noncanonicalStackAccessesAreStackFaults() throws {
    let machine = try SystemMachine()
    try machine.enterLong()
    for vector in 0..<32 {
      machine.setLongGate(vector, SystemMachine.handlers + UInt64(vector * 16), ist: 1)
      machine.put(SystemMachine.handlers + UInt64(vector * 16), 0xf4 as UInt8)
    }
    machine.put(SystemMachine.tss + 36, UInt64(0x9000))
    let cases = [
      ("push rax", 12), ("pop rax", 12), ("ret", 12), ("call 1f; 1:", 12), ("mov eax, [rbp]", 12),
      ("mov eax, [rsp]", 12),
      ("mov eax, [rbx]", 13), ("push qword ptr [rbx]", 13), ("leave", 12), ("jmp rbx", 13), ("rep movsb", 13),
      ("mov eax, gs:[rbp]", 13), ("movups xmm0, [rbp]", 12), ("pushfq", 12), ("iretd", 12),
    ]
    for (code, vector) in cases {
      machine.code(try GuestCode.assemble(code, among: cases.map(\.0), bits: 64))
      machine.cpu.s.pointee.rip = 0x1000
      for register in [Reg.rsp, Reg.rbp, Reg.rbx, Reg.rsi, Reg.rdi] {
        machine.cpu.slots[register] = 0x8000_0000_0000_0000
      }
      machine.cpu.slots[Reg.rcx] = 4
      machine.cpu.s.pointee.cr4 |= CR4.osfxsr
      #expect(machine.run() == vector, "\(code)")
    }
  }
}

/// Real mode: wraparounds and 16-bit stacks.
@Suite(.bothAccelerators) struct RealModeEdgeTests {
  @Test(
    arguments: [
      // Beyond the limits of DS and SS
      ("mov ax, [0xffff]", 13), ("mov ax, [bp - 1]", 12),
      // UD0, whose ModRM is the HLT behind it
      (".byte 0x0f, 0xff", 6), ("lock nop", 6), ("bound ax, [0x5000]", 5),
      // LLDT, VERR, ARPL do not exist in real mode
      ("lldt ax", 6), ("verr ax", 6), ("arpl ax, ax", 6),
    ])
  func faultsAreThoseOfTheManual(_ code: String, _ vector: Int) throws {
    let machine = try InterpreterMachine(bits: 16)
    machine[5] = 0  // BP
    machine[0] = 0x7fff
    machine.memory.write(0x5000, UInt32(0x0010_0000))
    _ = try machine.run(code)
    #expect(machine.cpu.s.pointee.rip == 0x800 + UInt64(vector) + 1)
    #expect(machine.memory.read(machine[4] & 0xffff, as: UInt16.self) == 0x1000)
  }

  @Test func pushAtSP1IsAStackFaultThatCannotBeDelivered() throws {
    let machine = try InterpreterMachine(bits: 16)
    machine[4] = 1
    #expect(try machine.run("push ax") == .shutdown)
  }

  @Test func pushaAndPopaUseSixteenBitsOfSP() throws {
    let machine = try InterpreterMachine(bits: 16)
    for register in 0..<8 where register != 4 { machine[register] = UInt64(0x1111 * (register + 1)) }
    machine[4] = 0xaaaa_8000
    _ = try machine.run("pushaw; xor ax, ax; xor di, di; popaw")
    #expect(machine[4] == 0xaaaa_8000 && machine[0] == 0x1111 && machine[7] == 0x8888)
    #expect(machine.memory.read(0x8000 - 10, as: UInt16.self) == 0x8000)
  }

  @Test func enterCopiesFramePointersAndLeaveUndoesIt() throws {
    let machine = try InterpreterMachine(bits: 16)
    machine[5] = 0x7000
    machine.memory.write(0x6ffe, UInt16(0xbeef))
    _ = try machine.run("enter 16, 2")
    // BP, one copied frame pointer, the new frame's own address, 16 bytes of locals.
    #expect(machine[5] == 0x7ffe && machine[4] == 0x8000 - 6 - 16)
    #expect(machine.memory.read(0x7ffe, as: UInt16.self) == 0x7000)
    #expect(machine.memory.read(0x7ffc, as: UInt16.self) == 0xbeef)
    #expect(machine.memory.read(0x7ffa, as: UInt16.self) == 0x7ffe)
    _ = try machine.run("leave")
    #expect(machine[5] == 0x7000 && machine[4] == 0x8000)
  }

  @Test func nearJumpsWrapAt64K() throws {
    let machine = try InterpreterMachine(bits: 16)
    machine.memory.write(0x0010, 0xf4 as UInt8)
    machine.write([0xe9, 0x0d, 0xf0])  // jmp 1000h + 3 + f00dh = 10h
    machine.cpu.s.pointee.rip = 0x1000
    machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    #expect(machine.cpu.run(budget: 10) == .halted)
    #expect(machine.cpu.s.pointee.rip == 0x11)
  }

  @Test func stringAddressesWrapAt64K() throws {
    let machine = try InterpreterMachine(bits: 16)
    machine.memory.write(0xfffe, UInt16(0x2211))
    machine.memory.write(0x0000, UInt8(0x33))
    machine[6] = 0xfffe
    machine[7] = 0x5000
    machine[1] = 3
    _ = try machine.run("rep movsb")
    #expect(machine.memory.read(0x5000, as: UInt32.self) & 0xff_ffff == 0x33_2211)
    #expect(machine[6] == 1 && machine[1] == 0)
  }
}
