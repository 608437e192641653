import CHost
import GuestMemory
import Testing

@testable import X86

/// The inner loop: blocks, links, faults, overwritten code.
@Suite(.bothAccelerators) struct InterpreterBasicTests {
  @Test func aLoopRunsToItsEnd() throws {
    let machine = try InterpreterMachine(bits: 64)
    let exit = try machine.run("mov ecx, 1000; 1: add rax, rcx; dec ecx; jnz 1b")
    #expect(exit == .halted)
    #expect(machine[0] == 500_500)
    #expect(machine[1] == 0)
    #expect(machine.cpu.s.pointee.instructions == 1 + 3000 + 1)
  }

  @Test func callsAndReturnsNestInEveryMode() throws {
    for bits in [16, 32, 64] {
      let machine = try InterpreterMachine(bits: bits)
      // In Intel syntax the assembler makes 16-bit code's calls 32 bits wide.
      try machine.run(
        bits == 16
          ? ".att_syntax prefix; callw 1f; hlt; 1: movb $7, %al; retw" : "call 1f; hlt; 1: mov al, 7; ret")
      #expect(machine[0] & 0xff == 7, "\(bits)")
      #expect(machine[4] & 0xffff == 0x8000, "\(bits)")
      let call: UInt64 = bits == 16 ? 3 : 5
      #expect(machine.cpu.s.pointee.rip == 0x1000 + call + 1, "\(bits)")
    }
  }

  @Test func aStoreIntoTheNextInstructionTakesEffectAtOnce() throws {
    let machine = try InterpreterMachine(bits: 64)
    // The immediate is overwritten by the instruction before it.
    try machine.run("mov byte ptr [rip + next + 1], 5; next: mov al, 1")
    #expect(machine[0] & 0xff == 5)
  }

  @Test func aLoopThatRewritesItselfSeesEachVersion() throws {
    let machine = try InterpreterMachine(bits: 64)
    machine[1] = 10
    try machine.run("again: mov al, 0; add rbx, rax; inc byte ptr [rip + again + 1]; dec ecx; jnz again")
    #expect(machine[3] == 45)
  }

  @Test func anInstructionAcrossAPageBoundaryRunsAndIsSeenWhenChanged() throws {
    let machine = try InterpreterMachine(bits: 64)
    try machine.write("mov eax, 0x04030201; hlt", at: 0x1ffd)
    machine.cpu.s.pointee.rip = 0x1ffd
    #expect(machine.cpu.run(budget: 100) == .halted)
    #expect(machine[0] == 0x0403_0201)
    machine.memory.write(0x2000, 0x66 as UInt8)
    machine.cpu.codeOverwritten(physical: 0x2000, length: 1)
    machine.cpu.s.pointee.rip = 0x1ffd
    machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    #expect(machine.cpu.run(budget: 100) == .halted)
    #expect(machine[0] == 0x0466_0201)
  }

  @Test func aDivideErrorLeavesRegistersAndPointsAtTheInstruction() throws {
    let machine = try InterpreterMachine(bits: 16)
    machine[0] = 0x1234
    machine[2] = 0x5678
    #expect(try machine.run("nop; div bl") == .halted)
    #expect(machine.cpu.s.pointee.rip == 0x801)
    #expect(machine[0] == 0x1234)
    #expect(machine[2] == 0x5678)
    let saved: UInt16 = machine.memory.read(machine[4], as: UInt16.self)
    #expect(saved == 0x1001)
  }

  @Test func undefinedOpcodesAndMisplacedLocksRaiseUndefined() throws {
    let cases: [[UInt8]] = [
      [0x0f, 0x0b], [0x0f, 0xff, 0xc0], [0xf0, 0x90], [0xf0, 0x01, 0xc0], [0xff, 0xf8], [0x8d, 0xc0], [0x0f, 0x04],
      [0xf0, 0x39, 0x07],
    ]
    for bytes in cases {
      let machine = try InterpreterMachine(bits: 16)
      machine.run(bytes)
      #expect(machine.cpu.s.pointee.rip == 0x807, "\(bytes)")
    }
  }

  /// The address that the loop increments, and the sum that comes of it.
  @Test(
    arguments: [(0x3000, 0x46_0046), (0x1fff, 0x46_0046 + 45), (0x2000, 0x46_0046 + 45 << 8)] as [(UInt64, UInt64)])
  func anInstructionInTwoPagesIsReadAnew(_ address: UInt64, _ sum: UInt64) throws {
    let machine = try InterpreterMachine(bits: 64)
    machine[1] = 10
    // The first two bytes are in one page, the rest in the next.
    try machine.write(
      "again: mov eax, 0x70007; add ebx, eax; inc byte ptr [\(address)]; dec ecx; jnz again; hlt", at: 0x1ffe)
    #expect(try machine.run("mov edx, 0x1ffe; jmp rdx") == .halted)
    #expect(machine[3] == sum)
  }

  @Test func sixteenBytesAreTooMany() throws {
    let machine = try InterpreterMachine(bits: 16)
    machine.run([UInt8](repeating: 0x66, count: 15) + [0x90])
    #expect(machine.cpu.s.pointee.rip == 0x80e)
  }

  @Test func theBudgetEndsALoop() throws {
    let machine = try InterpreterMachine(bits: 32)
    #expect(try machine.run("1: jmp 1b", budget: 1000) == .budget)
    #expect(machine.cpu.s.pointee.instructions == 1000)
  }

  @Test func dataBesideCodeDoesNotDropIt() throws {
    let machine = try InterpreterMachine(bits: 64)
    try machine.run("mov ecx, 1000; 1: mov dword ptr [0x110b], ecx; dec ecx; jnz 1b")
    #expect(machine.cpu.code.blocksDecoded < 100)
    #expect(machine.memory.read(0x110b, as: UInt32.self) == 1)
  }
}
