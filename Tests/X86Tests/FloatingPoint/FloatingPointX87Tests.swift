import CHost
import Testing

@testable import X86

/// x87: results, control word, stack faults, exceptions and their delivery.
@Suite struct FloatingPointX87Tests {
  func fault(_ body: () throws -> Void) -> GuestFault? {
    do {
      try body()
      return nil
    } catch let fault as GuestFault {
      return fault
    } catch {
      Issue.record(error)
      return nil
    }
  }

  @Test func arithmeticEncodingsComputeWhatTheyName() throws {
    // ST(0) = 3, ST(1) = 8. Opcode, ModRM, the register of the result, its value.
    let cases: [(UInt8, UInt8, Int, Double)] = [
      (0xd8, 0xc1, 0, 11), (0xd8, 0xc9, 0, 24), (0xd8, 0xe1, 0, -5), (0xd8, 0xe9, 0, 5), (0xd8, 0xf1, 0, 0.375),
      (0xdc, 0xc1, 1, 11), (0xdc, 0xc9, 1, 24), (0xdc, 0xe1, 1, -5), (0xdc, 0xe9, 1, 5), (0xdc, 0xf1, 1, 0.375),
      (0xde, 0xc1, 0, 11), (0xde, 0xe1, 0, -5), (0xde, 0xe9, 0, 5), (0xde, 0xf1, 0, 0.375),
    ]
    for (first, second, index, expected) in cases {
      let machine = try FloatingPointMachine()
      try machine.push(8)
      try machine.push(3)
      try machine.x87(first, second)
      if index == 1 { try machine.x87("fxch") }
      #expect(try machine.pop() == expected, "\(first) \(second)")
    }
  }

  @Test func memoryOperandsOfEverySizeAreLoadedAndStored() throws {
    let machine = try FloatingPointMachine()
    let data = FloatingPointMachine.data
    machine.memory.write(data, UInt64(bitPattern: -12345))
    for size in ["word", "dword", "qword"] {
      machine.memory.write(data, UInt64(bitPattern: -12345))
      try machine.x87("fild \(size) ptr [\(data)]")
      #expect(try machine.pop() == -12345)
    }
    try machine.push(-2.5)
    try machine.x87("fist dword ptr [\(data)]")  // To even
    #expect(machine.memory.read(data, as: UInt32.self) == UInt32(bitPattern: -2))
    try machine.x87("fisttp word ptr [\(data)]")
    #expect(machine.memory.read(data, as: UInt16.self) == UInt16(bitPattern: -2))
    #expect(machine.cpu.s.pointee.fpu_empty == 0xff)
    try machine.push(1e10)
    try machine.x87("fistp word ptr [\(data)]")  // Out of range: the integer indefinite
    #expect(machine.memory.read(data, as: UInt16.self) == 0x8000)
    #expect(machine.cpu.s.pointee.fpu_status & 0x41 == 1)
    try machine.push(-1234567890123)
    try machine.x87("fbstp [\(data)]")
    #expect(machine.bytes(data, 10) == [0x23, 0x01, 0x89, 0x67, 0x45, 0x23, 0x01, 0, 0, 0x80])
    try machine.x87("fbld [\(data)]")
    #expect(try machine.pop() == -1234567890123)
  }

  @Test(arguments: [(0x07f, 0x3eaa_aaab), (0x27f, 0x3fd5_5555_5555_5555)] as [(UInt16, UInt64)])
  func precisionControlRoundsTheSignificand(control: UInt16, third: UInt64) throws {
    let machine = try FloatingPointMachine()
    machine.cpu.s.pointee.fpu_control = control
    try machine.push(3)
    try machine.push(1)
    try machine.x87("fdivrp st(1), st")
    let value = try machine.pop()
    #expect(control == 0x07f ? Float(value).bitPattern == UInt32(third) : value.bitPattern == third)
    #expect(Double(Float(value)) == value || control != 0x07f)
  }

  @Test(arguments: [(0, 0xaaab), (1, 0xaaaa), (2, 0xaaab), (3, 0xaaaa)] as [(UInt16, UInt64)])
  func roundingControlDecidesTheLastBit(mode: UInt16, low: UInt64) throws {
    let machine = try FloatingPointMachine()
    machine.cpu.s.pointee.fpu_control = 0x37f | mode << 10
    try machine.push(3)
    try machine.push(1)
    try machine.x87("fdivrp st(1), st")
    #expect(machine.st(0).0 & 0xffff == low && machine.st(0).1 == 0x3ffd)
    #expect(machine.cpu.s.pointee.fpu_status & 0x220 == (low == 0xaaab ? 0x220 : 0x20))
  }

  @Test func underflowAndOverflowOfTheStackAreToldApartByC1() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    try machine.x87("fadd st, st(1)")  // Of empty registers
    #expect(s.pointee.fpu_status & 0x2ff == 0x41)
    #expect(machine.st(0) == (0xc000_0000_0000_0000, 0xffff))
    vm_x87_init(s)
    for _ in 0..<8 { try machine.x87("fld1") }
    #expect(s.pointee.fpu_empty == 0 && s.pointee.fpu_status == 0)
    try machine.x87("fld1")
    #expect(s.pointee.fpu_status & 0x2ff == 0x241)
    #expect(machine.st(0) == (0xc000_0000_0000_0000, 0xffff))
    #expect(machine.st(1) == (0x8000_0000_0000_0000, 0x3fff))
  }

  @Test func anUnmaskedErrorWaitsForTheNextInstruction() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    s.pointee.fpu_control = 0x37b  // ZM clear
    try machine.push(1)
    try machine.push(0)
    try machine.x87("fdivp st(1), st")
    #expect(s.pointee.fpu_status & 0x80ff == 0x8084)
    #expect(s.pointee.fpu_status >> 11 & 7 == 6)  // nothing was popped
    #expect(machine.st(1) == (0x8000_0000_0000_0000, 0x3fff))
    #expect(fault { try machine.cpu.executeWait() } == .x87)
    #expect(fault { try machine.x87("fld1") } == .x87)
    #expect(fault { try machine.simd(1, 0xfc, .none) } == .x87)
    #expect(fault { try machine.x87("fnstsw ax") } == nil)  // It does not wait
    #expect(s.pointee.gpr.0 & 0xffff == UInt64(s.pointee.fpu_status))
    s.pointee.cr0 = 1  // NE clear: IRQ 13
    #expect(fault { try machine.cpu.executeWait() } == nil)
    #expect(machine.board.errors == 1)
    try machine.x87("fnclex")
    #expect(s.pointee.fpu_status & 0x80ff == 0)
    #expect(fault { try machine.cpu.executeWait() } == nil)
    #expect(machine.board.errors == 1)
  }

  @Test func anUnmaskedOverflowLeavesTheRebiasedResult() throws {
    let machine = try FloatingPointMachine()
    machine.cpu.s.pointee.fpu_control = 0x377  // OM clear
    let data = FloatingPointMachine.data
    machine.memory.write(data, 0x8000_0000_0000_0000 as UInt64)
    machine.memory.write(data + 8, 0x7ffe as UInt16)
    try machine.x87("fld tbyte ptr [\(data)]")
    try machine.x87(0xdc, 0xc8)  // FMUL ST(0), ST(0), in the form that no assembler makes
    // 2^16383 * 2^16383, divided by 2^24576.
    #expect(machine.st(0) == (0x8000_0000_0000_0000, UInt16(16383 + 16383 * 2 - 24576)))
    #expect(machine.cpu.s.pointee.fpu_status & 0x88 == 0x88)
  }

  @Test func anUnmaskedInvalidStoreKeepsMemoryAndStack() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    s.pointee.fpu_control = 0x37e
    try machine.push(1e30)
    machine.memory.write(FloatingPointMachine.data, UInt64(0x7777))
    try machine.x87("fistp qword ptr [\(FloatingPointMachine.data)]")
    #expect(machine.memory.read(FloatingPointMachine.data, as: UInt64.self) == 0x7777)
    #expect(s.pointee.fpu_empty == 0x7f && s.pointee.fpu_status & 0x81 == 0x81)
  }

  @Test func comparesReportThroughConditionCodesOrFlags() throws {
    let cases: [(Double, Double, UInt16, UInt64)] = [
      (1, 2, 0x100, 1), (2, 1, 0, 0), (1, 1, 0x4000, 0x40), (.nan, 1, 0x4500, 0x45),
    ]
    for (a, b, codes, flags) in cases {
      let machine = try FloatingPointMachine()
      try machine.push(b)
      try machine.push(a)
      try machine.x87("fucom st(1)")
      #expect(machine.cpu.s.pointee.fpu_status & 0x4500 == codes)
      #expect(machine.cpu.s.pointee.fpu_status & 1 == 0)
      machine.cpu.setFlags(0x8d5, mask: 0x8d5)
      try machine.x87("fcomi st, st(1)")
      #expect(machine.cpu.flagsImage() & 0x8d5 == flags)
      #expect(machine.cpu.s.pointee.fpu_status & 1 == (a.isNaN ? 1 : 0))
      try machine.x87("fcompp")
      #expect(machine.cpu.s.pointee.fpu_empty == 0xff)
    }
  }

  @Test func conditionalMovesFollowTheFlags() throws {
    let machine = try FloatingPointMachine()
    try machine.push(5)
    try machine.push(6)
    machine.cpu.setFlags(0, mask: 0x8d5)
    try machine.x87("fcmovb st, st(1)")
    #expect(machine.st(0) == (0xc000_0000_0000_0000, 0x4001))
    machine.cpu.setFlags(1, mask: 0x8d5)
    try machine.x87("fcmovb st, st(1)")
    #expect(machine.st(0) == (0xa000_0000_0000_0000, 0x4001))
  }

  @Test func examineNamesEveryClass() throws {
    let cases: [(UInt64, UInt16, UInt16)] = [
      (0x8000_0000_0000_0000, 0x3fff, 0x0400), (0x8000_0000_0000_0000, 0xbfff, 0x0600), (0, 0, 0x4000),
      (0x8000_0000_0000_0000, 0x7fff, 0x0500), (0xc000_0000_0000_0000, 0x7fff, 0x0100), (1, 0, 0x4400),
      (0x4000_0000_0000_0000, 0x3fff, 0x0000),
    ]
    let data = FloatingPointMachine.data
    for (significand, exponent, codes) in cases {
      let machine = try FloatingPointMachine()
      machine.memory.write(data, significand)
      machine.memory.write(data + 8, exponent)
      try machine.x87("fld tbyte ptr [\(data)]")
      try machine.x87("fxam")
      #expect(machine.cpu.s.pointee.fpu_status & 0x4700 == codes)
    }
    let machine = try FloatingPointMachine()
    try machine.x87("fxam")
    #expect(machine.cpu.s.pointee.fpu_status & 0x4500 == 0x4100)
  }

  @Test func transcendentalsAndRemaindersGiveKnownValues() throws {
    let machine = try FloatingPointMachine()
    try machine.push(0)
    try machine.x87("fsincos")
    #expect(try machine.pop() == 1)
    #expect(try machine.pop() == 0)
    try machine.push(1)
    try machine.x87("fptan")
    #expect(try machine.pop() == 1)
    #expect(abs(try machine.pop() - 1.5574077246549023) < 1e-15)
    try machine.push(3)
    try machine.push(8)
    try machine.x87("fyl2x")
    #expect(try machine.pop() == 9)
    try machine.push(1)
    try machine.push(1)
    try machine.x87("fpatan")
    #expect(try machine.pop() == 0.7853981633974483)
    try machine.push(12)
    try machine.x87("fxtract")
    #expect(try machine.pop() == 1.5)
    #expect(try machine.pop() == 3)
    try machine.push(4)
    try machine.push(23)
    try machine.x87("fprem")  // Quotient 5 = 101b in C0 C3 C1
    #expect(machine.cpu.s.pointee.fpu_status & 0x4700 == 0x0300)
    #expect(try machine.pop() == 3)
    try machine.push(23)
    try machine.x87("fprem1")
    #expect(try machine.pop() == -1)
    try machine.push(1.5)
    try machine.x87("fscale")  // By 4
    #expect(try machine.pop() == 24)
    try machine.push(1e20)
    try machine.x87("fsin")  // Out of range
    #expect(machine.cpu.s.pointee.fpu_status & 0x400 == 0x400)
    #expect(try machine.pop() == 1e20)
    #expect(machine.cpu.s.pointee.fpu_empty == 0x7f)
  }

  @Test func everyEncodingRunsAndTheHolesAreUndefined() throws {
    let holes: Set<UInt16> = {
      var all: Set<UInt16> = []
      func add(_ opcode: UInt16, _ range: ClosedRange<UInt16>) { for low in range { all.insert(opcode << 8 | low) } }
      add(1, 0xd1...0xd7)
      for low in [0xe2, 0xe3, 0xe6, 0xe7, 0xef] as [UInt16] { add(1, low...low) }
      add(2, 0xe0...0xe8)
      add(2, 0xea...0xff)
      add(3, 0xe5...0xe7)
      add(3, 0xf8...0xff)
      add(5, 0xf0...0xff)
      add(6, 0xd8...0xd8)
      add(6, 0xda...0xdf)
      add(7, 0xe1...0xe7)
      add(7, 0xf8...0xff)
      return all
    }()
    let machine = try FloatingPointMachine()
    for opcode in UInt8(0)..<8 {
      for low in UInt8(0xc0)...0xff {
        vm_x87_init(machine.cpu.s)
        let found = fault { try machine.x87(0xd8 | opcode, low) }
        let isHole = holes.contains(UInt16(opcode) << 8 | UInt16(low))
        #expect(found == (isHole ? .undefined : nil), "\(opcode) \(low)")
      }
    }
  }

  @Test func deviceNotAvailableComesFromEMAndTS() throws {
    let machine = try FloatingPointMachine()
    machine.cpu.s.pointee.cr0 = 0x29
    #expect(fault { try machine.x87("fld1") } == .deviceNotAvailable)
    #expect(fault { try machine.cpu.executeWait() } == nil)
    machine.cpu.s.pointee.cr0 = 0x2b
    #expect(fault { try machine.cpu.executeWait() } == .deviceNotAvailable)
    machine.cpu.s.pointee.cr0 = 0x25
    #expect(fault { try machine.x87("fninit") } == .deviceNotAvailable)
  }
}
