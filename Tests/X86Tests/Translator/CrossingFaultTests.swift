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
    try machine.code("inc ebx; hlt; jmp again", at: 0x3000, symbols: ["again": 0x20_0ff0])
    // At the end the first two bytes of a MOV.
    try machine.code("inc ecx; jmp 1f; .fill 8, 1, 0x90; 1: jmp 2f; 2: .byte 0xb8, 1", at: 0x20_0ff0)
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
}
