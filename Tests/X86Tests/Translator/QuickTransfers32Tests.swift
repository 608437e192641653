import CHost
import Testing

@testable import X86

/// The ways into a 32-bit kernel and out of it, as programs and kernels use them: the translator's short way leaves what the
/// interpreter leaves.
@Suite struct QuickTransfers32Tests {
  enum Entry: CaseIterable { case interrupt, trap, sysenter }

  private static let userData: UInt16 = 0x23
  /// Where the program goes on behind its SYSENTER.
  private static let behindCall = 0x200e

  /// A program that calls the kernel nine times and halts by a fault; the kernel saves and loads segment registers, counts,
  /// and changes the flags it returns.
  private func machine(_ accelerator: Accelerator, _ entry: Entry) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.cpu.accelerator = accelerator
    machine.cpu.translationThreshold = 0
    // TLS of the program, per-CPU data of the kernel: bases that are not 0.
    machine.setDescriptor(0x30, SystemMachine.descriptor(base: 0x6000, type: 0x13, dpl: 3))
    machine.setDescriptor(0x38, SystemMachine.descriptor(base: 0x6800, type: 0x13))
    for selector: UInt16 in [0x08, 0x10, 0x18, 0x20] {
      let at = SystemMachine.gdt + UInt64(selector)
      machine.put(at, machine.get(at, as: UInt64.self) | 1 << 40)
    }
    for vector in 0..<32 { machine.setGate(vector, 0x5000) }
    try machine.code("hlt", at: 0x5000)
    machine.setGate(0x80, 0x3000, type: entry == .trap ? 15 : 14, dpl: 3)
    try machine.cpu.writeMSR(MSR.sysenterCS, 0x08)
    try machine.cpu.writeMSR(MSR.sysenterESP, 0x8000)
    try machine.cpu.writeMSR(MSR.sysenterEIP, 0x3000)

    let leave =
      entry == .sysenter
      ? "mov ecx, ebp; mov edx, \(Self.behindCall); sti; sysexit" : "xor dword ptr [esp + 8], 0x8d5; iretd"
    try machine.code(
      """
      .att_syntax prefix; pushl %ds; pushl %es; pushl %fs; pushl %gs; .intel_syntax noprefix
      mov edx, 0x10; mov ds, edx; mov es, edx; mov edx, 0x38; mov fs, edx; inc dword ptr fs:[0]
      .att_syntax prefix; popl %gs; popl %fs; popl %es; popl %ds; .intel_syntax noprefix
      \(leave)
      """, at: 0x3000)
    try machine.code(
      """
      mov eax, 0x33; mov gs, eax; nop; nop; nop
      again: mov ebp, esp; \(entry == .sysenter ? "sysenter" : "int 0x80")
      inc dword ptr gs:[4]; dec ebx; jne again; hlt
      """, at: 0x2000)
    for segment in [Seg.ds, Seg.es] { try machine.cpu.loadSegment(segment, selector: Self.userData) }
    machine.cpu.slots[Reg.rbx] = 9
    try machine.enterUser()
    return machine
  }

  @Test(arguments: Entry.allCases)
  func systemCallsLeaveWhatTheInterpreterLeaves(_ entry: Entry) throws {
    let interpreted = try machine(.interpreter, entry)
    let translated = try machine(.translator, entry)
    for machine in [interpreted, translated] {
      #expect(machine.cpu.run(budget: 1 << 40) == .halted)
      #expect(machine.get(0x6004, as: UInt32.self) == 9)
      #expect(machine.get(0x6800, as: UInt32.self) == 9)
    }
    #expect(translated.cpu.comparedRegisters == interpreted.cpu.comparedRegisters)
    for address in stride(from: 0x6000, to: 0x9000, by: 8) as StrideTo<UInt64> {
      #expect(translated.get(address, as: UInt64.self) == interpreted.get(address, as: UInt64.self), "\(address)")
    }
  }

  /// A descriptor that the kernel changes, or takes away, is seen by the next load.
  @Test func aChangedDescriptorIsSeen() throws {
    for accelerator in Accelerator.allCases {
      let machine = try machine(accelerator, .interrupt)
      #expect(machine.cpu.run(budget: 1 << 40) == .halted)
      // The per-CPU segment lies elsewhere now; then it is not present.
      machine.setDescriptor(0x38, SystemMachine.descriptor(base: 0x7800, type: 0x13))
      for round in 0..<2 {
        machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
        try machine.cpu.loadSegment(Seg.gs, selector: 0)
        machine.cpu.slots[Reg.rbx] = 3
        machine.cpu.slots[Reg.rsp] = 0x8000
        for segment in [Seg.ds, Seg.es] { try machine.cpu.loadSegment(segment, selector: Self.userData) }
        try machine.enterUser()
        #expect(machine.cpu.run(budget: 1 << 40) == .halted)
        #expect(machine.get(0x7800, as: UInt32.self) == 3)
        if round == 0 { machine.setDescriptor(0x38, SystemMachine.descriptor(base: 0x7800, type: 0x13) & ~(1 << 47)) }
      }
    }
  }
}
