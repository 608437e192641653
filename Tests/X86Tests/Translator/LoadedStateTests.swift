import CHost
import Testing

@testable import X86

/// The first x87 or vector instruction of a block may have to load the guest's registers into the host's. What does that uses
/// temporaries, in which nothing may be kept across it.
@Suite struct LoadedStateTests {
  /// mov [esp+8], eax; the instruction; mov ecx, [esp+8]; mov [esp+0ch], edx: accesses to one checked stretch of the stack.
  @Test(arguments: [32, 64], [[0xd9, 0xe8], [0x0f, 0x28, 0xc1]] as [[UInt8]])
  func stackAccessesAroundTheFirstAreRight(bits: Int, first: [UInt8]) throws {
    let machine = try InterpreterMachine(bits: bits)
    machine.cpu.accelerator = .translator
    machine.cpu.translationThreshold = 0
    machine.cpu.s.pointee.cr4 |= CR4.osfxsr
    machine[Reg.rax] = 0x1234_5678
    machine[Reg.rdx] = 0x7654_3210
    let stack = machine[Reg.rsp] - 64
    machine[Reg.rsp] = stack
    machine.run([0x89, 0x44, 0x24, 8] + first + [0x8b, 0x4c, 0x24, 8, 0x89, 0x54, 0x24, 0x0c])
    #expect(machine[Reg.rcx] == 0x1234_5678)
    let place = machine.cpu.memory.ram + Int(stack) + 8
    #expect(place.load(as: UInt32.self) == 0x1234_5678)
    #expect(place.load(fromByteOffset: 4, as: UInt32.self) == 0x7654_3210)
  }
}
