import CHost
import Testing

@testable import X86

/// 32-bit code of an address space that has pages above 4 GiB, which 64-bit code uses: no access of it leads there.
@Suite(.bothAccelerators) struct WrappingAccessTests {
  private static let above: UInt64 = 0x1_0000_0000
  private static let frame: UInt64 = 0x40_0000

  /// Long mode with a page at 4 GiB, which the TLB knows when 32-bit code begins at 1000H.
  private func machine() throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterLong()
    machine.put(0x31020, UInt64(0x33007))
    machine.put(0x33000, Self.frame | 0x87)
    machine.setDescriptor(0x30, SystemMachine.descriptor(type: 0x1a))
    for (offset, value) in [(4, 0x1111_1111), (12, 0x2222_2222)] as [(UInt64, UInt32)] {
      machine.put(offset, value)
      machine.put(Self.frame + offset, ~value)
    }
    try machine.code("movabs rax, [\(Self.above)]; movabs [\(Self.above)], rax; hlt")
    #expect(machine.cpu.run(budget: 100) == .halted)
    machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    try machine.cpu.farJump(0x30, 0x1000, next: 0)
    return machine
  }

  /// The accesses are checked together, by an address that must be cut to 32 bits as each of theirs is.
  @Test func accessesWhoseRegisterWrapsBetweenThemLieBelow4GiB() throws {
    let machine = try machine()
    try machine.code("mov eax, [ebx + 8]; add ebx, 16; mov ecx, [ebx]; mov [ebx + 4], edx; hlt")
    machine.cpu.slots[Reg.rbx] = 0xffff_fffc
    machine.cpu.slots[Reg.rdx] = 0x3333_3333
    #expect(machine.cpu.run(budget: 100) == .halted)
    #expect(machine.cpu.slots[Reg.rax] == 0x1111_1111)
    #expect(machine.cpu.slots[Reg.rcx] == 0x2222_2222)
    #expect(machine.get(16, as: UInt32.self) == 0x3333_3333)
    #expect(machine.get(Self.frame + 16, as: UInt32.self) == 0)
  }
}
