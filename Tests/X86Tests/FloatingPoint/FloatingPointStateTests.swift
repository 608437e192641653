import CHost
import Testing

@testable import X86

/// The memory images of FXSAVE, FSAVE and FSTENV, byte by byte.
@Suite struct FloatingPointStateTests {
  private func prepared() throws -> FloatingPointMachine {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    try machine.push(1)
    try machine.push(-2)
    s.pointee.fpu_status |= 0x20
    s.pointee.fpu_opcode = 0x5dd
    s.pointee.fpu_ip = 0x1_2345_6789
    s.pointee.fpu_dp = 0x2_3456_789a
    s.pointee.fpu_cs = 0x10
    s.pointee.fpu_ds = 0x18
    s.pointee.mxcsr = 0x1fa0
    for index in 0..<16 { machine.setXMM(index, UInt64(index), 0xf0 + UInt64(index)) }
    for offset in stride(from: UInt64(0), to: 512, by: 8) { machine.memory.write(0x4100 + offset, UInt64.max) }
    return machine
  }

  @Test func fxsaveWritesTheSDMsLayout() throws {
    let machine = try prepared()
    try machine.simd(1, 0xae, .none, reg: 0, address: 0x4100)
    let head: [UInt8] =
      [0x7f, 0x03, 0x20, 0x30, 0xc0, 0x00, 0xdd, 0x05, 0x89, 0x67, 0x45, 0x23, 0x10, 0, 0, 0]
      + [0x9a, 0x78, 0x56, 0x34, 0x18, 0, 0, 0, 0xa0, 0x1f, 0, 0, 0xff, 0xff, 0, 0]
    #expect(machine.bytes(0x4100, 32) == head)
    #expect(machine.bytes(0x4120, 16) == [0, 0, 0, 0, 0, 0, 0, 0x80, 0x00, 0xc0, 0, 0, 0, 0, 0, 0])
    #expect(machine.bytes(0x4130, 16) == [0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f, 0, 0, 0, 0, 0, 0])
    for index in 0..<16 {
      let place = 0x4100 + 160 + 16 * UInt64(index)
      #expect(machine.bytes(place, 16) == machine.xmm(index))
    }
    #expect(machine.bytes(0x4100 + 416, 96) == Array(repeating: 0xff, count: 96))
  }

  @Test func fxsave64HasWidePointersAndFxrstorTakesAllBack() throws {
    let machine = try prepared()
    let s = machine.cpu.s
    try machine.simd(1, 0xae, .none, reg: 0, address: 0x4100, w: true)
    #expect(machine.bytes(0x4108, 8) == [0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0])
    #expect(machine.bytes(0x4110, 8) == [0x9a, 0x78, 0x56, 0x34, 2, 0, 0, 0])
    vm_x87_init(s)
    s.pointee.mxcsr = 0x1f80
    for index in 0..<16 { machine.setXMM(index, 0) }
    try machine.simd(1, 0xae, .none, reg: 1, address: 0x4100, w: true)
    #expect(s.pointee.fpu_ip == 0x1_2345_6789 && s.pointee.fpu_dp == 0x2_3456_789a)
    #expect(s.pointee.fpu_status == 0x3020 && s.pointee.fpu_empty == 0x3f && s.pointee.mxcsr == 0x1fa0)
    #expect(machine.st(0) == (0x8000_0000_0000_0000, 0xc000))
    #expect(machine.lo(15) == 15 && machine.hi(15) == 0xff)
  }

  @Test func fxsaveOutside64BitCodeShowsEightRegisters() throws {
    let machine = try prepared()
    machine.mode(UInt32(VM_MODE_CODE32))
    try machine.simd(1, 0xae, .none, reg: 0, address: 0x4100)
    #expect(machine.bytes(0x4100 + 288, 16) == Array(repeating: 0xff, count: 16))
    #expect(throws: GuestFault.protection(0)) { try machine.simd(1, 0xae, .none, reg: 0, address: 0x4108) }
    machine.memory.write(0x4118, UInt32(0xffff_0000))
    #expect(throws: GuestFault.protection(0)) { try machine.simd(1, 0xae, .none, reg: 1, address: 0x4100) }
  }

  @Test func fsaveWritesTheProtectedFormatsAndInitializes() throws {
    let machine = try prepared()
    let s = machine.cpu.s
    machine.mode(UInt32(VM_MODE_CODE32))
    try machine.x87("fnsave [0x4100]")
    let head: [UInt8] =
      [0x7f, 0x03, 0xff, 0xff, 0x20, 0x30, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0x89, 0x67, 0x45, 0x23]
      + [0x10, 0, 0xdd, 0x05, 0x9a, 0x78, 0x56, 0x34, 0x18, 0, 0xff, 0xff]
    #expect(machine.bytes(0x4100, 28) == head)
    #expect(machine.bytes(0x411c, 20) == [0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f])
    #expect(machine.bytes(0x4100 + 108, 4) == [0xff, 0xff, 0xff, 0xff])
    #expect(s.pointee.fpu_control == 0x37f && s.pointee.fpu_status == 0 && s.pointee.fpu_empty == 0xff)
    try machine.x87("frstor [0x4100]")
    #expect(s.pointee.fpu_status == 0x3020 && s.pointee.fpu_empty == 0x3f && s.pointee.fpu_opcode == 0x5dd)
    #expect(machine.st(0) == (0x8000_0000_0000_0000, 0xc000))
    #expect(machine.st(1) == (0x8000_0000_0000_0000, 0x3fff))
  }

  @Test func fstenvWritesThe16BitAndRealFormatsAndMasksAll() throws {
    let machine = try prepared()
    let s = machine.cpu.s
    s.pointee.fpu_control = 0x360
    machine.mode(UInt32(VM_MODE_CODE16))
    try machine.x87("fnstenv [0x4100]")
    let protected: [UInt8] = [0x60, 0x03, 0x20, 0x30, 0xff, 0x0f, 0x89, 0x67, 0x10, 0, 0x9a, 0x78, 0x18, 0]
    #expect(machine.bytes(0x4100, 15) == protected + [0xff])
    #expect(s.pointee.fpu_control == 0x37f)
    s.pointee.mode = UInt32(VM_MODE_CODE16)
    s.pointee.fpu_cs = 0x1234
    s.pointee.fpu_ip = 0x5678
    s.pointee.fpu_ds = 0xf000
    s.pointee.fpu_dp = 0x0123
    for index in 0..<6 { vm_segment_at(s, UInt32(index)).pointee.attributes = 0x93 }
    try machine.x87("fnstenv [0x4100]")
    #expect(machine.bytes(0x4106, 8) == [0xb8, 0x79, 0xdd, 0x15, 0x23, 0x01, 0x00, 0xf0])
    try machine.x87("fldenv [0x4100]")
    #expect(s.pointee.fpu_ip == 0x179b8 && s.pointee.fpu_dp == 0xf0123 && s.pointee.fpu_opcode == 0x5dd)
  }

  @Test func instructionAndOperandPointersFollowTheLastInstruction() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    s.pointee.gpr.17 = 0xffff_8000_0000_1000
    try machine.push(1)
    #expect(s.pointee.fpu_ip == 0xffff_8000_0000_1000 && s.pointee.fpu_dp == FloatingPointMachine.data)
    #expect(s.pointee.fpu_opcode == 0x505)
    s.pointee.gpr.17 = 0x2000
    try machine.x87("fnclex")
    #expect(s.pointee.fpu_ip == 0xffff_8000_0000_1000)
    try machine.x87("fchs")
    #expect(s.pointee.fpu_ip == 0x2000 && s.pointee.fpu_dp == FloatingPointMachine.data)
  }
}
