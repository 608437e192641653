import CHost
import Testing

@testable import X86

/// SSE floating point: results, MXCSR, exceptions, alignment, what a fault leaves alone.
@Suite struct FloatingPointSSETests {
  func fault(_ body: () throws -> Void) -> GuestFault? {
    do {
      try body()
      return nil
    } catch {
      return error as? GuestFault
    }
  }

  @Test func scalarOperationsKeepTheUpperPartAndReadFourOrEightBytes() throws {
    let machine = try FloatingPointMachine()
    // The operand ends where RAM's last page ends: one byte more would be outside.
    let end: UInt64 = 2 << 20
    machine.memory.write(end - 8, (2.5).bitPattern)
    machine.setXMM(1, (1.5).bitPattern, 0xdead)
    try machine.simd(1, 0x58, .f2, address: end - 8)
    #expect(machine.lo(1) == (4.0).bitPattern && machine.hi(1) == 0xdead)
    machine.memory.write(end - 4, Float(2).bitPattern)
    machine.setXMM(1, 0xcccc_cccc_0000_0000 | UInt64(Float(3).bitPattern), 0xbeef)
    try machine.simd(1, 0x59, .f3, address: end - 4)
    #expect(machine.lo(1) == 0xcccc_cccc_0000_0000 | UInt64(Float(6).bitPattern) && machine.hi(1) == 0xbeef)
  }

  @Test func scalarLoadsZeroTheUpperPartAndRegisterMovesKeepIt() throws {
    let machine = try FloatingPointMachine()
    let data = FloatingPointMachine.data
    machine.memory.write(data, 0x1122_3344_5566_7788 as UInt64)
    machine.setXMM(1, .max, .max)
    try machine.simd(1, 0x10, .f3, address: data)
    #expect(machine.lo(1) == 0x5566_7788 && machine.hi(1) == 0)
    machine.setXMM(1, .max, .max)
    machine.setXMM(2, 0x1122_3344_5566_7788, 5)
    try machine.simd(1, 0x10, .f3)
    #expect(machine.lo(1) == 0xffff_ffff_5566_7788 && machine.hi(1) == .max)
    machine.setXMM(1, .max, .max)
    try machine.simd(1, 0x7e, .f3)
    #expect(machine.lo(1) == 0x1122_3344_5566_7788 && machine.hi(1) == 0)
    machine.setXMM(1, .max, .max)
    try machine.simd(1, 0x12, .none, address: data)
    #expect(machine.lo(1) == 0x1122_3344_5566_7788 && machine.hi(1) == .max)
    machine.setXMM(1, .max, .max)
    try machine.simd(1, 0x16, ._66, address: data)
    #expect(machine.lo(1) == .max && machine.hi(1) == 0x1122_3344_5566_7788)
    try machine.simd(1, 0x17, ._66, address: data + 8)
    #expect(machine.memory.read(data + 8, as: UInt64.self) == 0x1122_3344_5566_7788)
  }

  /// One third, by rounding mode.
  static let thirds: [(UInt32, UInt64)] = [
    (0, 0x3fd5_5555_5555_5555), (1, 0x3fd5_5555_5555_5555), (2, 0x3fd5_5555_5555_5556), (3, 0x3fd5_5555_5555_5555),
  ]

  @Test(arguments: thirds)
  func roundingFollowsMXCSR(mode: UInt32, third: UInt64) throws {
    let machine = try FloatingPointMachine()
    machine.cpu.s.pointee.mxcsr = 0x1f80 | mode << 13
    machine.setXMM(1, (1.0).bitPattern)
    machine.setXMM(2, (3.0).bitPattern)
    try machine.simd(1, 0x5e, .f2)
    #expect(machine.lo(1) == third)
    #expect(machine.cpu.s.pointee.mxcsr == 0x1fa0 | mode << 13)
  }

  @Test func hostRoundingIsRestored() throws {
    let machine = try FloatingPointMachine()
    machine.cpu.s.pointee.mxcsr = 0xffc0
    machine.setXMM(1, 1)
    machine.setXMM(2, 1)
    try machine.simd(1, 0x58, .f2)
    #expect(machine.lo(1) == 0)  // denormals are zero, for the guest
    let tiny = Double(bitPattern: UInt64(machine.cpu.s.pointee.mxcsr & 1 | 1))
    #expect((tiny + tiny).bitPattern == 2)  // and not for the host
  }

  @Test func unmaskedExceptionsLeaveTheDestination() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    s.pointee.mxcsr = 0x1f80 & ~0x200  // ZM clear
    machine.setXMM(1, (1.0).bitPattern, 7)
    machine.setXMM(2, 0)
    #expect(fault { try machine.simd(1, 0x5e, .f2) } == .simd)
    #expect(machine.lo(1) == (1.0).bitPattern)
    #expect(s.pointee.mxcsr & 0x3f == 4)
    s.pointee.cr4 = 0x200
    s.pointee.mxcsr = 0x1f80 & ~0x200
    #expect(fault { try machine.simd(1, 0x5e, .f2) } == .undefined)
    // A division by zero in one lane hides the inexact result of the other.
    s.pointee.cr4 = 0x600
    s.pointee.mxcsr = 0x1f80 & ~0x200
    machine.setXMM(1, (1.0).bitPattern, (1.0).bitPattern)
    machine.setXMM(2, 0, (3.0).bitPattern)
    #expect(fault { try machine.simd(1, 0x5e, ._66) } == .simd)
    #expect(s.pointee.mxcsr & 0x3f == 4)
  }

  @Test func unmaskedUnderflowIsReportedForAnExactTinyResult() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    machine.setXMM(1, Double.leastNormalMagnitude.bitPattern)
    machine.setXMM(2, (0.5).bitPattern)
    try machine.simd(1, 0x59, .f2)
    #expect(s.pointee.mxcsr & 0x3f == 0)
    machine.setXMM(1, Double.leastNormalMagnitude.bitPattern)
    s.pointee.mxcsr = 0x1f80 & ~0x800
    #expect(fault { try machine.simd(1, 0x59, .f2) } == .simd)
    #expect(s.pointee.mxcsr & 0x3f == 0x10)
  }

  @Test func comparesSetZFPFCF() throws {
    let machine = try FloatingPointMachine()
    let cases: [(Double, Double, UInt64)] = [(1, 2, 1), (2, 1, 0), (1, 1, 0x40), (.nan, 1, 0x45)]
    for (a, b, flags) in cases {
      machine.cpu.s.pointee.mxcsr = 0x1f80
      machine.cpu.setFlags(0x8d5, mask: 0x8d5)
      machine.setXMM(1, a.bitPattern)
      machine.setXMM(2, b.bitPattern)
      try machine.simd(1, 0x2e, ._66)
      #expect(machine.cpu.flagsImage() & 0x8d5 == flags)
      #expect(machine.cpu.s.pointee.mxcsr & 1 == 0)  // a quiet NaN is no fault for UCOMISD
      try machine.simd(1, 0x2f, ._66)
      #expect(machine.cpu.s.pointee.mxcsr & 1 == (a.isNaN ? 1 : 0))
    }
  }

  @Test func ptestSetsZFAndCF() throws {
    let machine = try FloatingPointMachine()
    machine.setXMM(1, 0x0f, 0)
    machine.setXMM(2, 0xf0, 0)
    try machine.simd(2, 0x17, ._66)
    #expect(machine.cpu.flagsImage() & 0x8d5 == 0x40)
    machine.setXMM(2, 0x03, 0)
    try machine.simd(2, 0x17, ._66)
    #expect(machine.cpu.flagsImage() & 0x8d5 == 1)
  }

  @Test func conversionsToGeneralRegistersRoundTruncateAndSaturate() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    machine.setXMM(2, (-2.5).bitPattern)
    try machine.simd(1, 0x2d, .f2, reg: 0, rm: 2)
    #expect(s.pointee.gpr.0 == 0xffff_fffe)
    try machine.simd(1, 0x2c, .f2, reg: 0, rm: 2, w: true)
    #expect(s.pointee.gpr.0 == UInt64(bitPattern: -2))
    machine.setXMM(2, (1e10).bitPattern)
    try machine.simd(1, 0x2d, .f2, reg: 0, rm: 2)
    #expect(s.pointee.gpr.0 == 0x8000_0000 && s.pointee.mxcsr & 1 == 1)
    s.pointee.gpr.3 = UInt64(bitPattern: -7)
    machine.setXMM(1, 0, 0x55)
    try machine.simd(1, 0x2a, .f2, reg: 1, rm: 3)
    #expect(Double(bitPattern: machine.lo(1)) == -7 && machine.hi(1) == 0x55)
  }

  @Test func dotProductsSelectTheirLanes() throws {
    let machine = try FloatingPointMachine()
    func pair(_ a: Float, _ b: Float) -> UInt64 { UInt64(a.bitPattern) | UInt64(b.bitPattern) << 32 }
    machine.setXMM(1, pair(1, 2), pair(3, 4))
    machine.setXMM(2, pair(10, 100), pair(1000, 10000))
    try machine.simd(3, 0x40, ._66, imm: 0x75)
    #expect(machine.lo(1) == pair(3210, 0) && machine.hi(1) == pair(3210, 0))
  }

  @Test func reciprocalsAreTheSameOnEveryHost() throws {
    let machine = try FloatingPointMachine()
    machine.setXMM(2, UInt64(Float(3).bitPattern))
    try machine.simd(1, 0x53, .f3)
    #expect(UInt32(truncatingIfNeeded: machine.lo(1)) == (Float(1) / 3).bitPattern)
    machine.setXMM(2, UInt64(Float(4).bitPattern))
    try machine.simd(1, 0x52, .f3)
    #expect(UInt32(truncatingIfNeeded: machine.lo(1)) == Float(0.5).bitPattern)
    #expect(machine.cpu.s.pointee.mxcsr == 0x1f80)
    machine.setXMM(2, UInt64(Float(-4).bitPattern))
    try machine.simd(1, 0x52, .f3)
    #expect(UInt32(truncatingIfNeeded: machine.lo(1)) == 0xffc0_0000)
  }

  @Test func alignedFormsFaultAndUnalignedOnesDoNot() throws {
    let machine = try FloatingPointMachine()
    let odd = FloatingPointMachine.data + 1
    let aligned: [(Int, UInt8, SIMDPrefix)] = [
      (1, 0x28, .none), (1, 0x29, ._66), (1, 0x6f, ._66), (1, 0x7f, ._66), (1, 0x58, .none), (1, 0xfc, ._66),
      (1, 0xe7, ._66), (1, 0x2b, .none), (2, 0x2a, ._66), (2, 0x00, ._66), (3, 0x0f, ._66), (1, 0xc6, .none),
    ]
    for (map, opcode, prefix) in aligned {
      #expect(fault { try machine.simd(map, opcode, prefix, address: odd) } == .protection(0))
    }
    let unaligned: [(Int, UInt8, SIMDPrefix)] = [
      (1, 0x10, .none), (1, 0x11, ._66), (1, 0x6f, .f3), (1, 0x7f, .f3), (1, 0xf0, .f2), (1, 0x58, .f3),
      (1, 0x5a, .none), (2, 0x20, ._66), (3, 0x63, ._66), (1, 0xe6, .f3), (1, 0x12, .f2),
    ]
    for (map, opcode, prefix) in unaligned {
      #expect(fault { try machine.simd(map, opcode, prefix, address: odd) } == nil)
    }
  }

  @Test func controlBitsDecideBetweenUndefinedAndNotAvailable() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    s.pointee.cr0 = 0x29
    #expect(fault { try machine.simd(1, 0x58, .none) } == .deviceNotAvailable)
    #expect(fault { try machine.simd(1, 0xfc, .none) } == .deviceNotAvailable)
    #expect(fault { try machine.simd(2, 0xf0, .f2) } == nil)
    s.pointee.cr0 = 0x25
    #expect(fault { try machine.simd(1, 0x58, .none) } == .undefined)
    #expect(fault { try machine.simd(1, 0xfc, .none) } == .undefined)
    s.pointee.cr0 = 0x21
    s.pointee.cr4 = 0
    #expect(fault { try machine.simd(1, 0x58, .none) } == .undefined)
    #expect(fault { try machine.simd(1, 0xfc, .none) } == nil)
    #expect(fault { try machine.simd(1, 0xae, .none, reg: 4, address: 0x4000) } == .undefined)  // XSAVE
  }

  @Test func mxcsrRefusesReservedBits() throws {
    let machine = try FloatingPointMachine()
    let data = FloatingPointMachine.data
    machine.memory.write(data, UInt32(0x1_0000))
    #expect(fault { try machine.simd(1, 0xae, .none, reg: 2, address: data) } == .protection(0))
    machine.memory.write(data, UInt32(0xffff))
    try machine.simd(1, 0xae, .none, reg: 2, address: data)
    try machine.simd(1, 0xae, .none, reg: 3, address: data + 4)
    #expect(machine.memory.read(data + 4, as: UInt32.self) == 0xffff)
  }
}
