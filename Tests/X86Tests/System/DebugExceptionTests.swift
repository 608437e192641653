import CHost
import GuestAssembly
import Testing

@testable import X86

/// Debug exceptions where rules meet (Intel SDM vol. 3A, 6.8.3 and 7.2.1; vol. 3B, chapter 18).
@Suite(.bothAccelerators) struct DebugExceptionTests {
  private func machine(_ code: String) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    try machine.code(code)
    machine.cpu.slots[Reg.rax] = 0x10
    return machine
  }

  private func length(_ code: String) throws -> UInt64 { UInt64(try GuestCode.assemble(code, bits: 32).count) }

  /// An instruction breakpoint behind MOV SS and POP SS does not hit, one behind the next instruction does.
  @Test(arguments: ["mov ss, eax", ".att_syntax prefix; popl %ss"])
  func codeBreakpointsAreHeldBackBehindLoadsOfSS(_ load: String) throws {
    let machine = try machine(load + "; nop; nop; hlt")
    machine.put(0x9000, UInt32(0x10))
    let next = 0x1000 + (try length(load))
    try machine.cpu.writeDebug(0, next)
    try machine.cpu.writeDebug(1, next + 1)
    try machine.cpu.writeDebug(7, 0x405)
    #expect(machine.run() == 1)
    #expect(UInt64(machine.pushed(0)) == next + 1)
    #expect(machine.cpu.debugRegisters[6] & 0xf == 2)
  }

  @Test func aDataBreakpointHitByALoadOfSSComesBehindTheNextInstruction() throws {
    let machine = try machine("mov ss, [0x6000]; inc ebx; nop; hlt")
    machine.put(0x6000, UInt32(0x10))
    try machine.cpu.writeDebug(0, 0x6000)
    try machine.cpu.writeDebug(7, 0x7_0401)
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x1007 && machine.cpu.debugRegisters[6] & 0xf == 1)
  }

  /// Sets IA32_DEBUGCTL.BTF and TF, with ZF clear.
  private static let branchStep = """
    mov ecx, 0x1d9; mov eax, 2; xor edx, edx; wrmsr; test eax, eax; pushfd; or dword ptr [esp], 0x100; popfd;
    """

  @Test func branchSingleStepTrapsBehindTakenBranchesOnlyAndOnce() throws {
    let machine = try machine(Self.branchStep + "nop; jz 1f; jnz 1f; nop; 1: nop; hlt")
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x101f)
    #expect(machine.cpu.debugRegisters[6] & 0x4000 != 0)
    // The exception has cleared the flag: from here on every instruction traps.
    #expect(machine.s.debugctl & 2 == 0)
    try machine.cpu.interruptReturn(size: 4, next: 0)
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x1020)
  }

  /// A branch to the instruction behind it traps when it is taken, and only then.
  @Test(
    arguments: [
      ("jmp 1f", true), ("{disp32} jmp 1f", true), ("jnz 1f", true), ("jz 1f", false), ("loop 1f", true),
      ("loope 1f", false), ("loopne 1f", true), ("jecxz 1f", false), ("call 1f", true), ("ljmp 8, 0x1020", true),
      ("mov eax, eax", false), ("rep movsb", false),
    ])
  func aBranchToTheNextInstructionIsOneForBranchSingleStep(_ branch: String, isTaken: Bool) throws {
    let code = Self.branchStep + branch + "; 1:"
    let machine = try machine(code + "jmp 1f; 1: hlt")
    #expect(machine.run() == 1)
    // Where it is none, the jump behind it is the first.
    #expect(UInt64(machine.pushed(0)) == 0x1000 + (try length(code)) + (isTaken ? 0 : 2))
  }

  /// ICEBP behind a load of SS that has hit a data breakpoint: one exception, which reports both.
  @Test func whatALoadOfSSHasHitComesWithINT1() throws {
    // F1 is INT1, which the assembler does not know.
    let machine = try machine("mov ss, [0x6000]; .byte 0xf1; nop; hlt")
    machine.put(0x6000, UInt32(0x10))
    try machine.cpu.writeDebug(0, 0x6000)
    try machine.cpu.writeDebug(7, 0x7_0401)
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x1007 && machine.cpu.debugRegisters[6] & 0xf == 1)
    // No second one: the handler's HLT has been reached at once, and nothing is held back.
    #expect(machine.cpu.latches.debugHits == 0)
    try machine.cpu.interruptReturn(size: 4, next: 0)
    #expect(machine.run() == nil)
  }

  @Test func theTrapBitOfATaskRaisesADebugExceptionBeforeItsFirstInstruction() throws {
    let machine = try machine("lcall 0x30, 0")
    let task: UInt64 = 0x23000
    machine.setDescriptor(0x30, SystemMachine.descriptor(base: task, limit: 0x67, type: 0x09, flags: 0))
    for (offset, value) in [
      (28, 0), (32, 0x4000), (36, 2), (56, 0x8800), (72, 0x10), (76, 0x08), (80, 0x10), (84, 0x10),
    ] {
      machine.put(task + UInt64(offset), UInt32(value))
    }
    machine.put(task + 88, UInt32(0x10))
    machine.put(task + 92, UInt32(0x10))
    machine.put(task + 100, UInt32(0x0068_0001))
    try machine.code("hlt", at: 0x4000)
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x4000)
    #expect(machine.cpu.debugRegisters[6] & 1 << 15 != 0)
  }

  /// The upper halves after a switch to a 16-bit task.
  @Test func aSixteenBitTaskBeginsWithOnesInTheUpperHalves() throws {
    let machine = try machine("lcall 0x30, 0")
    let task: UInt64 = 0x23000
    machine.setDescriptor(0x30, SystemMachine.descriptor(base: task, limit: 0x2b, type: 0x01, flags: 0))
    for (index, value) in [0x3800, 2, 0x1111, 0x2222, 0x3333, 0x4444, 0x8800, 0x5555, 0x6666, 0x7777].enumerated() {
      machine.put(task + 14 + UInt64(index * 2), UInt16(value))
    }
    for (index, selector) in [0x10, 0x08, 0x10, 0x10].enumerated() {
      machine.put(task + 34 + UInt64(index * 2), UInt16(selector))
    }
    machine.put(task + 42, UInt16(0))
    try machine.code("hlt", at: 0x3800)
    for register in 0..<8 where register != 4 { machine.cpu.slots[register] = 0x1234_5678 }
    #expect(machine.run() == nil)
    let expected: [UInt64] = [0x1111, 0x2222, 0x3333, 0x4444, 0x8800, 0x5555, 0x6666, 0x7777]
    for (register, low) in expected.enumerated() { #expect(machine.cpu.slots[register] == 0xffff_0000 | low) }
  }

  /// The upper half of EFLAGS is not in a 16-bit TSS: it is cleared (AC and ID here), so that no task begins in V86 mode.
  @Test func aSixteenBitTaskBeginsWithoutTheUpperFlags() throws {
    let machine = try machine("lcall 0x30, 0")
    let task: UInt64 = 0x23000
    machine.setDescriptor(0x30, SystemMachine.descriptor(base: task, limit: 0x2b, type: 0x01, flags: 0))
    for (offset, value) in [
      (14, 0x3800), (16, 2), (26, 0x8800), (34, 0x10), (36, 0x08), (38, 0x10), (40, 0x10), (42, 0),
    ] {
      machine.put(task + UInt64(offset), UInt16(value))
    }
    try machine.code("hlt", at: 0x3800)
    machine.cpu.setFlags(EFLAGS.ac | EFLAGS.id, mask: EFLAGS.ac | EFLAGS.id)
    #expect(machine.run() == nil)
    #expect(machine.cpu.flagsImage() >> 16 == 0)
  }

  // MARK: RF

  /// Three turns at 1001h, to 6000h.
  private func repeating() throws -> SystemMachine {
    let machine = try machine("nop; rep stosb; nop; hlt")
    machine.cpu.slots[Reg.rcx] = 3
    machine.cpu.slots[Reg.rdi] = 0x6000
    return machine
  }

  /// RF of the handler's image holds until the last turn: an instruction breakpoint hits once.
  @Test func anInstructionBreakpointOnARepeatedInstructionHitsOnce() throws {
    let machine = try repeating()
    try machine.cpu.writeDebug(0, 0x1001)
    try machine.cpu.writeDebug(7, 0x401)
    try machine.code("or dword ptr [esp + 8], 0x10000; inc ebx; iretd", at: 0x5000)
    machine.setGate(1, 0x5000)
    #expect(machine.run() == nil)
    #expect(machine.cpu.slots[Reg.rbx] == 1 && machine.cpu.slots[Reg.rcx] == 0)
  }

  /// What comes between turns pushes RF; behind the last one it is clear.
  @Test func aTrapBetweenTurnsPushesRF() throws {
    let machine = try repeating()
    machine.cpu.setFlags(EFLAGS.tf, mask: EFLAGS.tf)
    machine.cpu.updateDebugPending()
    var images: [UInt32] = []
    for _ in 0..<4 {
      #expect(machine.run() == 1)
      images.append(machine.pushed(2) >> 16 & 1)
      try machine.cpu.interruptReturn(size: 4, next: 0)
    }
    #expect(images == [0, 1, 1, 0])
  }

  /// General detect is a fault, and so its image has RF.
  @Test func generalDetectPushesRF() throws {
    let machine = try machine("mov eax, dr0; hlt")
    try machine.cpu.writeDebug(7, 0x2400)
    #expect(machine.run() == 1)
    #expect(machine.pushed(2) >> 16 & 1 == 1)
  }

  /// IRET unblocks NMIs also when it faults.
  @Test func aFaultingIRETUnblocksNMIs() throws {
    let machine = try machine("hlt")
    machine.cpu.s.pointee.nmi_blocked = 1
    machine.put(0x9000 - 8, UInt32(0x77))
    machine.cpu.slots[Reg.rsp] = 0x9000 - 12
    #expect(machine.fault { () throws(GuestFault) in try machine.cpu.interruptReturn(size: 4, next: 0) } != nil)
    #expect(machine.cpu.s.pointee.nmi_blocked == 0)
  }

  // MARK: NMI

  /// A handler that counts in [6000h]; while the first runs, `during` more come.
  private func served(before: Int, during: Int) throws -> UInt32 {
    let machine = try machine("nop; nop; nop; hlt")
    try machine.code("inc dword ptr [0x6000]; nop; iretd", at: 0x5000)
    machine.setGate(2, 0x5000)
    for _ in 0..<before { machine.cpu.signalNMI() }
    #expect(machine.cpu.servicePending() == nil)
    #expect(machine.s.rip == 0x5000)
    for _ in 0..<during { machine.cpu.signalNMI() }
    #expect(machine.run() == nil)
    return machine.get(0x6000, as: UInt32.self)
  }

  @Test(arguments: [(1, 0, 1), (2, 0, 2), (3, 0, 2), (1, 1, 2), (1, 2, 2), (2, 2, 2), (9, 9, 2)])
  func oneNMIWaitsWhileOneIsServed(before: Int, during: Int, expected: UInt32) throws {
    #expect(try served(before: before, during: during) == expected)
  }

  @Test func aWaitingNMIIsInTheSavedState() throws {
    let machine = try machine("hlt")
    machine.cpu.signalNMI()
    machine.cpu.signalNMI()
    let other = try SystemMachine()
    try other.cpu.load(try machine.cpu.save())
    let pending = vm_load_relaxed(&other.cpu.s.pointee.pending)
    #expect(pending & UInt32(VM_PENDING_NMI) != 0 && pending & UInt32(VM_PENDING_SECOND_NMI) != 0)
  }
}

/// Returns to an outer level, and what differs by vendor.
@Suite(.bothAccelerators) struct OuterReturnTests {
  /// IRETQ to CPL 3 with GS of the kernel's: the selector goes, the base stays, as 64-bit code goes on to use it.
  @Test(arguments: [true, false])
  func nullingASegmentLeavesItsHiddenBase(byIRET: Bool) throws {
    let machine = try SystemMachine()
    try machine.enterLong()
    machine.put(0x32000, UInt64(0x87))
    machine.setDescriptor(0x20, SystemMachine.descriptor(type: 0x12, dpl: 3))
    for segment in [Seg.ds, Seg.es, Seg.fs, Seg.gs] { try machine.cpu.loadSegment(segment, selector: 0x10) }
    try machine.cpu.writeMSR(MSR.fsBase, 0x1234_5678_9000)
    try machine.cpu.writeMSR(MSR.gsBase, 0xffff_8000_0000_6000)
    let frame: [UInt64] = byIRET ? [0x2000, 0x1b, 0x202, 0x7000, 0x23] : [0x2000, 0x1b, 0x7000, 0x23]
    for (index, word) in frame.enumerated() { machine.put(0x8800 + UInt64(index * 8), word) }
    machine.cpu.slots[Reg.rsp] = 0x8800
    if byIRET {
      try machine.cpu.interruptReturn(size: 8, next: 0)
    } else {
      try machine.cpu.farReturn(size: 8, release: 0)
    }
    #expect(machine.s.cpl == 3 && machine.s.rip == 0x2000)
    for segment in [Seg.ds, Seg.es, Seg.fs, Seg.gs] {
      #expect(machine.cpu.segmentRegister(segment).pointee.selector == 0)
    }
    #expect(machine.cpu.segmentRegister(Seg.fs).pointee.base == 0x1234_5678_9000)
    #expect(machine.cpu.segmentRegister(Seg.gs).pointee.base == 0xffff_8000_0000_6000)
  }

  /// A null selector loaded by MOV clears the base (Intel's processors; AMD's keep it).
  @Test func aNullSelectorLoadedByMOVClearsTheBase() throws {
    let machine = try SystemMachine()
    try machine.enterLong()
    try machine.cpu.writeMSR(MSR.gsBase, 0x6000)
    try machine.cpu.loadSegment(Seg.gs, selector: 0)
    #expect(machine.cpu.segmentRegister(Seg.gs).pointee.base == 0)
  }

  /// ARPL writes 16 bits of its destination whatever the operand size (Intel SDM vol. 2A, ARPL: r/m16), so that the upper half
  /// of a 32-bit register stays.
  @Test func arplLeavesTheUpperHalf() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    try machine.code("arpl ax, cx; hlt")
    machine.cpu.slots[Reg.rax] = 0x1234_5678
    machine.cpu.slots[Reg.rcx] = 3
    #expect(machine.run() == nil)
    #expect(machine.cpu.slots[Reg.rax] == 0x1234_567b)
  }

  /// IA32_MISC_ENABLE keeps the bits that this CPU has (fast strings, thermal control, performance monitoring unavailable
  /// bits, MONITOR, CPUID limit) and drops the others without a fault, as processors of this signature do (Intel SDM vol. 4,
  /// table 2-2): guests write back what they read with bits changed that they know.
  @Test func miscEnableKeepsItsBitsAndRefusesNone() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    try machine.cpu.writeMSR(MSR.miscEnable, .max)
    #expect(try machine.cpu.readMSR(MSR.miscEnable) == 0x4_00c4_1889)
  }

  @Test func tscAdjustIsOfferedAndMovesTheCounter() throws {
    for profile in [CPUProfile.x86_64_v2, .x86_64_v2_extended] { #expect(profile.query(7, 0).ebx & 2 != 0) }
    let machine = try SystemMachine()
    try machine.enterProtected()
    let before = try machine.cpu.readMSR(MSR.timeStampCounter)
    try machine.cpu.writeMSR(MSR.tscAdjust, 1000)
    #expect(try machine.cpu.readMSR(MSR.timeStampCounter) == before + 1000)
    // A write of the counter moves the adjustment by as much (Intel SDM vol. 3B, 18.17.3).
    try machine.cpu.writeMSR(MSR.timeStampCounter, before + 1500)
    #expect(try machine.cpu.readMSR(MSR.tscAdjust) == 1500)
  }
}
