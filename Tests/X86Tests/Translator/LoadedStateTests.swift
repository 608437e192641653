import CHost
import Testing

@testable import X86

/// The first x87 or vector instruction of a block may have to load the guest's registers into the host's. What does that uses
/// temporaries, in which nothing may be kept across it.
@Suite struct LoadedStateTests {
  /// Accesses to one checked stretch of the stack, around the instruction.
  @Test(arguments: [32, 64], ["fld1", "movaps xmm0, xmm1"])
  func stackAccessesAroundTheFirstAreRight(bits: Int, first: String) throws {
    let machine = try InterpreterMachine(bits: bits)
    machine.cpu.accelerator = .translator
    machine.cpu.translationThreshold = 0
    machine.cpu.s.pointee.cr4 |= CR4.osfxsr
    machine[Reg.rax] = 0x1234_5678
    machine[Reg.rdx] = 0x7654_3210
    let stack = machine[Reg.rsp] - 64
    machine[Reg.rsp] = stack
    let sp = bits == 64 ? "rsp" : "esp"
    try machine.run("mov [\(sp) + 8], eax; \(first); mov ecx, [\(sp) + 8]; mov [\(sp) + 12], edx")
    #expect(machine[Reg.rcx] == 0x1234_5678)
    let place = machine.cpu.memory.ram + Int(stack) + 8
    #expect(place.load(as: UInt32.self) == 0x1234_5678)
    #expect(place.load(fromByteOffset: 4, as: UInt32.self) == 0x7654_3210)
  }
}
