import CHost
import GuestAssembly
import Testing

@testable import X86

/// Each line of `VendorDifference` as the profiles' vendor has it.
@Suite(.bothAccelerators) struct VendorDifferenceTests {
  private func machine(_ code: [UInt8]) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterLong()
    for vector in 0..<32 { machine.setLongGate(vector, 0x3000 + UInt64(vector) * 16) }
    for vector in 0..<32 { try machine.code("hlt", at: 0x3000 + UInt64(vector) * 16) }
    machine.code(code, at: 0x1000)
    machine.cpu.s.pointee.rip = 0x1000
    return machine
  }

  private func run(_ machine: SystemMachine) -> UInt64 {
    machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    #expect(machine.cpu.run(budget: 1000) == .halted)
    return machine.s.rip - 1
  }

  @Test func everyProfileIsIntels() {
    for profile in CPUProfile.all {
      let leaf = profile.query(0, 0)
      let name = [leaf.ebx, leaf.edx, leaf.ecx].flatMap { word in
        (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) }
      }
      #expect(String(decoding: name, as: UTF8.self) == "GenuineIntel")
    }
  }

  static let compares = [
    "fcom st(1)", "fcomp st(1)", "fucom st(1)", "fcompp", "fucompp", "ftst", "ficom word ptr [rsi]",
  ]

  /// Of a signalling NaN.
  @Test(arguments: compares, [0x0000, 0x0100, 0x4000, 0x4500] as [UInt16])
  func anUnmaskedInvalidCompareLeavesTheConditionCodes(_ instruction: String, codes: UInt16) throws {
    let compare = try GuestCode.assemble(instruction, among: Self.compares, bits: 64)
    let machine = try machine(compare + [0xf4])
    let s = machine.cpu.s
    s.pointee.fpu_control = 0x37e
    s.pointee.fpu_status = codes
    s.pointee.fpu_empty = 0
    machine.cpu.slots[Reg.rsi] = 0x6000
    let signalling: [UInt8] = [1, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x7f]
    for register in 0..<8 { signalling.withUnsafeBufferPointer { vm_x87_put(s, Int32(register), $0.baseAddress!) } }
    #expect(run(machine) == 0x1000 + UInt64(compare.count))
    #expect(s.pointee.fpu_status & 0x4500 == codes)
    #expect(s.pointee.fpu_status & 0x81 == 0x81)
    // Nothing was popped.
    #expect(s.pointee.fpu_empty == 0 && s.pointee.fpu_status & 0x3800 == 0)
  }

  /// JMP m16:64.
  @Test func aFarPointerWithREXWHasAnOffsetOf64Bits() throws {
    let machine = try machine(try GuestCode.assemble("rex64 jmp fword ptr [rsi]", bits: 64))
    machine.cpu.slots[Reg.rsi] = 0x6000
    machine.put(0x6000, UInt64(0x2000))
    machine.put(0x6008, UInt16(0x08))
    try machine.code("hlt", at: 0x2000)
    #expect(run(machine) == 0x2000)
  }

  /// 66 E9 has a displacement of 32 bits and a target of 64.
  @Test func anOperandSizePrefixDoesNotCutANearBranch() throws {
    let machine = try machine([0x66, 0xe9, 0xfa, 0xff, 0x0f, 0])
    try machine.code("hlt", at: 0x10_1000)
    #expect(run(machine) == 0x10_1000)
  }

  /// For which there is no assembly.
  @Test func prefetchOfARegisterDoesNothing() throws {
    let machine = try machine([0x0f, 0x0d, 0xc8, 0xf4])
    #expect(run(machine) == 0x1003)
  }
}
