import CHost
import Testing

@testable import X86

/// What happens between instructions: traps, shadows, blocking, restarts (Intel SDM vol. 3A, 6.7 to 6.9; vol. 3B,
/// chapter 18).
@Suite(.bothAccelerators) struct SystemStepTests {
  private func machine(_ code: [UInt8]) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    machine.code(code)
    return machine
  }

  /// A #DB handler that counts in [6000h] and keeps the last return address in [6004h].
  private func countTraps(_ machine: SystemMachine) {
    // inc dword [6000h]; push eax; mov eax, [esp + 4]; mov [6004h], eax; pop eax; iretd
    let handler: [UInt8] = [
      0xff, 0x05, 0, 0x60, 0, 0, 0x50, 0x8b, 0x44, 0x24, 4, 0xa3, 4, 0x60, 0, 0, 0x58, 0xcf,
    ]
    machine.code(handler, at: 0x5000)
    machine.setGate(1, 0x5000)
  }

  @Test func singleStepsCountEachRepetitionAndCrossBlocks() throws {
    // pushfd; or dword [esp], 100h; popfd; mov ecx, 3; rep movsb; jmp next; next: nop; pushfd; and dword [esp], ~100h;
    // popfd; nop; hlt
    let code: [UInt8] = [
      0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0xb9, 3, 0, 0, 0, 0xf3, 0xa4, 0xeb, 0, 0x90, 0x9c,
      0x81, 0x24, 0x24, 0xff, 0xfe, 0xff, 0xff, 0x9d, 0x90, 0xf4,
    ]
    let machine = try machine(code)
    countTraps(machine)
    machine.cpu.slots[Reg.rsi] = 0x6100
    machine.cpu.slots[Reg.rdi] = 0x6200
    #expect(machine.run() == nil)
    // mov, three times movsb, jmp, nop, pushfd, and; POPF that clears TF still traps.
    #expect(machine.get(0x6000, as: UInt32.self) == 9)
    #expect(machine.get(0x6004, as: UInt32.self) == 0x101c)
    #expect(machine.cpu.slots[Reg.rdi] == 0x6203)
  }

  @Test func movSSHoldsInterruptsAndTrapsForOneInstruction() throws {
    // sti; nop; mov ss, ax; inc ebx; inc ecx; hlt
    let machine = try machine([0x8e, 0xd0, 0x43, 0x41, 0xf4])
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
    let machine = try machine([0x8e, 0xd0, 0x43, 0x41, 0xf4])
    machine.cpu.slots[Reg.rax] = 0x10
    machine.cpu.s.pointee.eflags |= EFLAGS.tf
    machine.cpu.updateDebugPending()
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x1003)
    #expect(machine.cpu.debugRegisters[6] & 0x4000 != 0)
  }

  @Test func stiHoldsInterruptsForOneInstruction() throws {
    let machine = try machine([0xfb, 0x43, 0x41, 0xf4])
    machine.cpu.slots[Reg.rbx] = 0
    machine.environment.vector = 0x31
    machine.cpu.post(UInt32(VM_PENDING_INTERRUPT))
    #expect(machine.run() == 0x31)
    #expect(machine.pushed(0) == 0x1002 && machine.cpu.slots[Reg.rbx] == 1)
  }

  @Test func stiHltWakesWithTheReturnBehindHLT() throws {
    let machine = try machine([0xfb, 0xf4, 0x43])
    machine.environment.vector = 0x32
    machine.cpu.post(UInt32(VM_PENDING_INTERRUPT))
    #expect(machine.run() == 0x32)
    #expect(machine.pushed(0) == 0x1002)
  }

  @Test func dataBreakpointsTrapAfterTheAccess() throws {
    // mov [6010h], eax; nop; hlt
    let machine = try machine([0xa3, 0x10, 0x60, 0, 0, 0x90, 0xf4])
    try machine.cpu.writeDebug(0, 0x6012)
    try machine.cpu.writeDebug(7, 0x5_0001 | 0x400)  // two bytes, writes
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x1005 && machine.cpu.debugRegisters[6] & 0xf == 1)
  }

  @Test func instructionBreakpointsFaultOnceAndRFResumes() throws {
    let machine = try machine([0x90, 0x43, 0x41, 0xf4])
    // The handler sets RF in the image: or dword [esp + 8], 10000h; inc dword [6000h]; iretd
    machine.code([0x81, 0x4c, 0x24, 8, 0, 0, 1, 0, 0xff, 0x05, 0, 0x60, 0, 0, 0xcf], at: 0x5000)
    machine.setGate(1, 0x5000)
    machine.cpu.slots[Reg.rbx] = 0
    try machine.cpu.writeDebug(1, 0x1001)
    try machine.cpu.writeDebug(7, 0x4 | 0x400)
    #expect(machine.run() == nil)
    #expect(machine.get(0x6000, as: UInt32.self) == 1)
    #expect(machine.cpu.slots[Reg.rbx] == 1 && machine.cpu.debugRegisters[6] & 0xf == 2)
  }

  @Test func nmisAreBlockedUntilIRET() throws {
    let machine = try machine([0x43, 0xf4])
    // The handler counts, and takes its time; then IRET.
    machine.code([0xff, 0x05, 0, 0x60, 0, 0, 0x90, 0xa1, 0, 0x60, 0, 0, 0xcf], at: 0x5000)
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
    let machine = try machine([0xf3, 0xa4, 0xf4])
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
    let machine = try machine([0xf3, 0x6c, 0xf4])
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
    let cases: [([UInt8], Int)] = [
      ([0x50], 12), ([0x58], 12), ([0xc3], 12), ([0xe8, 0, 0, 0, 0], 12), ([0x8b, 0x45, 0], 12),
      ([0x8b, 0x04, 0x24], 12),
      ([0x8b, 0x03], 13), ([0xff, 0x33], 13), ([0xc9], 12), ([0xff, 0xe3], 13), ([0xf3, 0xa4], 13),
      ([0x65, 0x8b, 0x45, 0], 13),
      ([0x0f, 0x10, 0x45, 0], 12), ([0x9c], 12), ([0xcf], 12),
    ]
    for (code, vector) in cases {
      machine.code(code)
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
      // mov ax, [ffffh]: beyond the limit of DS
      ([0xa1, 0xff, 0xff], 13), ([0x8b, 0x46, 0xff], 12),
      // jmp beyond the segment wraps: near jumps are 16-bit
      ([0x0f, 0xff], 6), ([0xf0, 0x90], 6), ([0x62, 0x06, 0x00, 0x50], 5),
      // lldt, ltr, verr do not exist in real mode
      ([0x0f, 0x00, 0xd0], 6), ([0x0f, 0x00, 0xe0], 6), ([0x63, 0xc0], 6),
    ] as [([UInt8], Int)])
  func faultsAreThoseOfTheManual(_ code: [UInt8], _ vector: Int) throws {
    let machine = try InterpreterMachine(bits: 16)
    machine[5] = 0  // BP
    machine[0] = 0x7fff
    machine.memory.write(0x5000, UInt32(0x0010_0000))
    _ = machine.run(code)
    #expect(machine.cpu.s.pointee.rip == 0x800 + UInt64(vector) + 1)
    #expect(machine.memory.read(machine[4] & 0xffff, as: UInt16.self) == 0x1000)
  }

  @Test func pushAtSP1IsAStackFaultThatCannotBeDelivered() throws {
    let machine = try InterpreterMachine(bits: 16)
    machine[4] = 1
    #expect(machine.run([0x50]) == .shutdown)
  }

  @Test func pushaAndPopaUseSixteenBitsOfSP() throws {
    let machine = try InterpreterMachine(bits: 16)
    for register in 0..<8 where register != 4 { machine[register] = UInt64(0x1111 * (register + 1)) }
    machine[4] = 0xaaaa_8000
    _ = machine.run([0x60, 0x31, 0xc0, 0x31, 0xff, 0x61])
    #expect(machine[4] == 0xaaaa_8000 && machine[0] == 0x1111 && machine[7] == 0x8888)
    #expect(machine.memory.read(0x8000 - 10, as: UInt16.self) == 0x8000)
  }

  @Test func enterCopiesFramePointersAndLeaveUndoesIt() throws {
    let machine = try InterpreterMachine(bits: 16)
    machine[5] = 0x7000
    machine.memory.write(0x6ffe, UInt16(0xbeef))
    _ = machine.run([0xc8, 0x10, 0, 2])
    // BP, one copied frame pointer, the new frame's own address, 16 bytes of locals.
    #expect(machine[5] == 0x7ffe && machine[4] == 0x8000 - 6 - 16)
    #expect(machine.memory.read(0x7ffe, as: UInt16.self) == 0x7000)
    #expect(machine.memory.read(0x7ffc, as: UInt16.self) == 0xbeef)
    #expect(machine.memory.read(0x7ffa, as: UInt16.self) == 0x7ffe)
    _ = machine.run([0xc9])
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
    _ = machine.run([0xf3, 0xa4])
    #expect(machine.memory.read(0x5000, as: UInt32.self) & 0xff_ffff == 0x33_2211)
    #expect(machine[6] == 1 && machine[1] == 0)
  }
}
