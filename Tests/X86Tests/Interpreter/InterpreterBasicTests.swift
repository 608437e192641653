import CHost
import GuestMemory
import Testing

@testable import X86

/// The inner loop: blocks, links, faults, overwritten code.
@Suite(.bothAccelerators) struct InterpreterBasicTests {
  @Test func aLoopRunsToItsEnd() throws {
    let machine = try InterpreterMachine(bits: 64)
    // mov ecx, 1000; L: add rax, rcx; dec ecx; jnz L
    let exit = machine.run([0xb9, 0xe8, 3, 0, 0, 0x48, 0x01, 0xc8, 0xff, 0xc9, 0x75, 0xf9])
    #expect(exit == .halted)
    #expect(machine[0] == 500_500)
    #expect(machine[1] == 0)
    #expect(machine.cpu.s.pointee.instructions == 1 + 3000 + 1)
  }

  @Test func callsAndReturnsNestInEveryMode() throws {
    for bits in [16, 32, 64] {
      let machine = try InterpreterMachine(bits: bits)
      // call +1; hlt; inc-like: mov al, 7; ret
      let call: [UInt8] = bits == 16 ? [0xe8, 1, 0] : [0xe8, 1, 0, 0, 0]
      machine.run(call + [0xf4, 0xb0, 7, 0xc3])
      #expect(machine[0] & 0xff == 7, "\(bits)")
      #expect(machine[4] & 0xffff == 0x8000, "\(bits)")
      #expect(machine.cpu.s.pointee.rip == 0x1000 + UInt64(call.count) + 1, "\(bits)")
    }
  }

  @Test func aStoreIntoTheNextInstructionTakesEffectAtOnce() throws {
    let machine = try InterpreterMachine(bits: 64)
    // mov byte [rip+1], 5 ; mov al, 1: the immediate is overwritten by the instruction before it.
    machine.run([0xc6, 0x05, 1, 0, 0, 0, 5, 0xb0, 1])
    #expect(machine[0] & 0xff == 5)
  }

  @Test func aLoopThatRewritesItselfSeesEachVersion() throws {
    let machine = try InterpreterMachine(bits: 64)
    // L: mov al, 0; add rbx, rax; inc byte [L + 1]; dec ecx; jnz L
    machine[1] = 10
    machine.run([0xb0, 0, 0x48, 0x01, 0xc3, 0xfe, 0x05, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75, 0xf1])
    #expect(machine[3] == 45)
  }

  @Test func anInstructionAcrossAPageBoundaryRunsAndIsSeenWhenChanged() throws {
    let machine = try InterpreterMachine(bits: 64)
    machine.write([0xb8, 1, 2, 3, 4, 0xf4], at: 0x1ffd)
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
    // nop; div bl
    #expect(machine.run([0x90, 0xf6, 0xf3]) == .halted)
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
    // L: mov eax, 0x70007; add ebx, eax; inc byte [address]; dec ecx; jnz L; hlt, with the first two bytes in one page
    let low = UInt8(address & 0xff)
    let high = UInt8(address >> 8)
    machine.write(
      [0xb8, 7, 0, 7, 0, 0x01, 0xc3, 0xfe, 0x04, 0x25, low, high, 0, 0, 0xff, 0xc9, 0x75, 0xee, 0xf4], at: 0x1ffe)
    #expect(machine.run([0xe9, 0xf9, 0x0f, 0, 0]) == .halted)
    #expect(machine[3] == sum)
  }

  @Test func sixteenBytesAreTooMany() throws {
    let machine = try InterpreterMachine(bits: 16)
    machine.run([UInt8](repeating: 0x66, count: 15) + [0x90])
    #expect(machine.cpu.s.pointee.rip == 0x80e)
  }

  @Test func theBudgetEndsALoop() throws {
    let machine = try InterpreterMachine(bits: 32)
    #expect(machine.run([0xeb, 0xfe], budget: 1000) == .budget)
    #expect(machine.cpu.s.pointee.instructions == 1000)
  }

  @Test func dataBesideCodeDoesNotDropIt() throws {
    let machine = try InterpreterMachine(bits: 64)
    // mov ecx, 1000; L: mov [rip+0x100], ecx; dec ecx; jnz L
    machine.run([0xb9, 0xe8, 3, 0, 0, 0x89, 0x0d, 0, 1, 0, 0, 0xff, 0xc9, 0x75, 0xf6])
    #expect(machine.cpu.code.blocksDecoded < 100)
    #expect(machine.memory.read(0x110b, as: UInt32.self) == 1)
  }
}
