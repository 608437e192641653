import Testing

@testable import X86

/// An instruction that begins in one page and ends in one that is not there.
@Suite(.bothAccelerators) struct CrossingFaultTests {
  /// The block before it must not be linked to the fault's handler, which runs next.
  @Test func anInstructionIntoAMissingPageFaultsEachTimeItIsComeTo() throws {
    let machine = try SystemMachine()
    try machine.enterLong()
    // 4 KiB pages from 200000h, which is all there is: the second is missing.
    machine.put(0x32008, UInt64(0x33007))
    machine.put(0x33000, UInt64(0x20_0007))
    machine.setLongGate(14, 0x3000)
    // inc ebx; hlt; jmp 200ff0h
    machine.code([0xff, 0xc3, 0xf4, 0xe9] + little(0x20_0ff0 - 0x3008), at: 0x3000)
    // inc ecx; jmp, nops; jmp to the next instruction; mov eax, imm32 in two pages
    machine.code([0xff, 0xc1, 0xeb, 8] + [UInt8](repeating: 0x90, count: 8) + [0xeb, 0, 0xb8, 1], at: 0x20_0ff0)
    machine.cpu.slots[Reg.rbx] = 0
    machine.cpu.slots[Reg.rcx] = 0
    machine.cpu.s.pointee.rip = 0x20_0ff0
    for round in 1...5 as ClosedRange<UInt64> {
      machine.cpu.s.pointee.activity = 0
      machine.cpu.slots[Reg.rsp] = 0x9000
      machine.put(0x9000 - 40, UInt64(0))
      #expect(machine.cpu.run(budget: 1000) == .halted)
      #expect(machine.cpu.slots[Reg.rbx] == round && machine.cpu.slots[Reg.rcx] == round)
      #expect(machine.cpu.s.pointee.cr2 == 0x20_1000)
      #expect(machine.get(0x9000 - 40, as: UInt64.self) == 0x20_0ffe)
    }
  }

  private func little(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
}
