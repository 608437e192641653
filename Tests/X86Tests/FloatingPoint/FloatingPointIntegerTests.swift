import CHost
import Testing

@testable import X86

/// MMX and SSE integer instructions against a lane-by-lane model that shares nothing with the host's instructions.
@Suite struct FloatingPointIntegerTests {
  struct Lanes: Sendable {
    var map: Int
    var opcode: UInt8
    var bits: Int
    var hasMMX: Bool
    /// From two lanes, sign-extended, to the lane's new value.
    var model: @Sendable (Int64, Int64) -> Int64

    init(
      _ map: Int, _ opcode: UInt8, _ bits: Int, mmx: Bool = true, _ model: @escaping @Sendable (Int64, Int64) -> Int64
    ) {
      self.map = map
      self.opcode = opcode
      self.bits = bits
      hasMMX = mmx
      self.model = model
    }
  }

  static func clamp(_ value: Int64, _ low: Int64, _ high: Int64) -> Int64 { min(max(value, low), high) }
  static func unsigned(_ value: Int64, _ bits: Int) -> Int64 { bits == 64 ? value : value & (1 << bits - 1) }

  static let lanes: [Lanes] = {
    var all: [Lanes] = []
    for (index, bits) in [8, 16, 32].enumerated() {
      let step = UInt8(index)
      all.append(Lanes(1, 0xfc + step, bits) { $0 &+ $1 })
      all.append(Lanes(1, 0xf8 + step, bits) { $0 &- $1 })
      all.append(Lanes(1, 0x64 + step, bits) { $0 > $1 ? -1 : 0 })
      all.append(Lanes(1, 0x74 + step, bits) { $0 == $1 ? -1 : 0 })
      all.append(Lanes(2, 0x08 + step, bits) { $1 < 0 ? 0 &- $0 : $1 == 0 ? 0 : $0 })
      all.append(Lanes(2, 0x1c + step, bits) { $1 < 0 ? 0 &- $1 : $1 })
    }
    for (index, bits) in [8, 16].enumerated() {
      let step = UInt8(index)
      let low = -(Int64(1) << (bits - 1))
      let high = -low - 1
      let top = Int64(1) << bits - 1
      all.append(Lanes(1, 0xec + step, bits) { clamp($0 + $1, low, high) })
      all.append(Lanes(1, 0xe8 + step, bits) { clamp($0 - $1, low, high) })
      all.append(Lanes(1, 0xdc + step, bits) { clamp(unsigned($0, bits) + unsigned($1, bits), 0, top) })
      all.append(Lanes(1, 0xd8 + step, bits) { clamp(unsigned($0, bits) - unsigned($1, bits), 0, top) })
    }
    all.append(Lanes(1, 0xd4, 64) { $0 &+ $1 })
    all.append(Lanes(1, 0xfb, 64) { $0 &- $1 })
    all.append(Lanes(1, 0xdb, 64) { $0 & $1 })
    all.append(Lanes(1, 0xdf, 64) { ~$0 & $1 })
    all.append(Lanes(1, 0xeb, 64) { $0 | $1 })
    all.append(Lanes(1, 0xef, 64) { $0 ^ $1 })
    all.append(Lanes(1, 0xd5, 16) { $0 * $1 })
    all.append(Lanes(1, 0xe5, 16) { ($0 * $1) >> 16 })
    all.append(Lanes(1, 0xe4, 16) { (unsigned($0, 16) * unsigned($1, 16)) >> 16 })
    all.append(Lanes(1, 0xe0, 8) { (unsigned($0, 8) + unsigned($1, 8) + 1) >> 1 })
    all.append(Lanes(1, 0xe3, 16) { (unsigned($0, 16) + unsigned($1, 16) + 1) >> 1 })
    all.append(Lanes(1, 0xda, 8) { min(unsigned($0, 8), unsigned($1, 8)) })
    all.append(Lanes(1, 0xde, 8) { max(unsigned($0, 8), unsigned($1, 8)) })
    all.append(Lanes(1, 0xea, 16) { min($0, $1) })
    all.append(Lanes(1, 0xee, 16) { max($0, $1) })
    all.append(Lanes(1, 0xf4, 64) { unsigned($0, 32) &* unsigned($1, 32) })
    all.append(
      Lanes(1, 0xf5, 32) {
        Int64(Int16(truncatingIfNeeded: $0)) * Int64(Int16(truncatingIfNeeded: $1)) + ($0 >> 16) * ($1 >> 16)
      })
    all.append(Lanes(2, 0x0b, 16) { (($0 * $1) >> 14 + 1) >> 1 })
    all.append(
      Lanes(2, 0x28, 64, mmx: false) {
        Int64(Int32(truncatingIfNeeded: $0)) * Int64(Int32(truncatingIfNeeded: $1))
      })
    all.append(Lanes(2, 0x29, 64, mmx: false) { $0 == $1 ? -1 : 0 })
    all.append(Lanes(2, 0x37, 64, mmx: false) { $0 > $1 ? -1 : 0 })
    all.append(Lanes(2, 0x38, 8, mmx: false) { min($0, $1) })
    all.append(Lanes(2, 0x39, 32, mmx: false) { min($0, $1) })
    all.append(Lanes(2, 0x3a, 16, mmx: false) { min(unsigned($0, 16), unsigned($1, 16)) })
    all.append(Lanes(2, 0x3b, 32, mmx: false) { min(unsigned($0, 32), unsigned($1, 32)) })
    all.append(Lanes(2, 0x3c, 8, mmx: false) { max($0, $1) })
    all.append(Lanes(2, 0x3d, 32, mmx: false) { max($0, $1) })
    all.append(Lanes(2, 0x3e, 16, mmx: false) { max(unsigned($0, 16), unsigned($1, 16)) })
    all.append(Lanes(2, 0x3f, 32, mmx: false) { max(unsigned($0, 32), unsigned($1, 32)) })
    all.append(Lanes(2, 0x40, 32, mmx: false) { $0 &* $1 })
    return all
  }()

  static func apply(_ lanes: Lanes, _ a: UInt64, _ b: UInt64) -> UInt64 {
    var result: UInt64 = 0
    let bits = UInt64(lanes.bits)
    let mask: UInt64 = bits == 64 ? .max : 1 << bits - 1
    for shift in stride(from: UInt64(0), to: 64, by: Int(bits)) {
      let up = 64 - bits
      let x = Int64(bitPattern: (a >> shift) << up) >> Int64(up)
      let y = Int64(bitPattern: (b >> shift) << up) >> Int64(up)
      result |= (UInt64(bitPattern: lanes.model(x, y)) & mask) << shift
    }
    return result
  }

  @Test func lanesAgreeWithTheModelInXMMAndMMXFromRegisterAndMemory() throws {
    let machine = try FloatingPointMachine()
    var seed: UInt64 = 0x9e37_79b9_7f4a_7c15
    func random() -> UInt64 {
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let mixed = seed ^ seed >> 29
      switch mixed >> 60 {
      case 0: return 0
      case 1: return .max
      case 2: return 0x8000_8080_8000_0000
      case 3: return 0x7fff_7f7f_7fff_ffff
      default: return mixed &* 0xbf58_476d_1ce4_e5b9
      }
    }
    let data = FloatingPointMachine.data
    for lanes in Self.lanes {
      for round in 0..<64 {
        let (a, b, c, d) = (random(), random(), random(), random())
        machine.setXMM(1, a, b)
        machine.setXMM(2, c, d)
        machine.memory.write(data, c)
        machine.memory.write(data + 8, d)
        try machine.simd(lanes.map, lanes.opcode, ._66, address: round & 1 == 0 ? nil : data)
        #expect(machine.lo(1) == Self.apply(lanes, a, c), "\(lanes.map) \(lanes.opcode)")
        #expect(machine.hi(1) == Self.apply(lanes, b, d), "\(lanes.map) \(lanes.opcode)")
        #expect(machine.lo(2) == c && machine.hi(2) == d)
        guard lanes.hasMMX else { continue }
        vm_mmx_at(machine.cpu.s, 1).pointee = a
        vm_mmx_at(machine.cpu.s, 2).pointee = c
        try machine.simd(lanes.map, lanes.opcode, .none, address: round & 1 == 0 ? nil : data)
        #expect(vm_mmx_at(machine.cpu.s, 1).pointee == Self.apply(lanes, a, c), "\(lanes.map) \(lanes.opcode)")
      }
    }
  }

  @Test(arguments: [0, 1, 7, 8, 15, 16, 31, 32, 63, 64, 255] as [UInt8])
  func shiftsByImmediateAndByRegisterAgree(count: UInt8) throws {
    let machine = try FloatingPointMachine()
    let cases: [(UInt8, UInt8, UInt8)] = [
      (0x71, 2, 0xd1), (0x71, 4, 0xe1), (0x71, 6, 0xf1), (0x72, 2, 0xd2), (0x72, 4, 0xe2), (0x72, 6, 0xf2),
      (0x73, 2, 0xd3), (0x73, 6, 0xf3),
    ]
    for (opcode, group, byRegister) in cases {
      machine.setXMM(1, 0x8123_4567_89ab_cdef, 0x0f1e_2d3c_4b5a_6978)
      machine.setXMM(3, 0x8123_4567_89ab_cdef, 0x0f1e_2d3c_4b5a_6978)
      machine.setXMM(2, UInt64(count))
      try machine.simd(1, byRegister, ._66)
      try machine.simd(1, opcode, ._66, reg: group, rm: 3, imm: count)
      #expect(machine.xmm(1) == machine.xmm(3))
    }
    machine.setXMM(3, 0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908)
    try machine.simd(1, 0x73, ._66, reg: 3, rm: 3, imm: count)
    #expect(machine.xmm(3) == (0..<16).map { Int(count) + $0 < 16 ? count + UInt8($0) : 0 })
  }

  @Test func shufflesTakeTheirOrderFromTheImmediate() throws {
    let machine = try FloatingPointMachine()
    machine.setXMM(2, 0x0000_0001_0000_0000, 0x0000_0003_0000_0002)
    for imm in UInt8.min...UInt8.max {
      try machine.simd(1, 0x70, ._66, imm: imm)
      let picks = (0..<4).map { UInt64(imm >> (2 * UInt8($0)) & 3) }
      #expect(machine.lo(1) == picks[0] | picks[1] << 32)
      #expect(machine.hi(1) == picks[2] | picks[3] << 32)
    }
  }

  @Test func palignrShiftsTheJoinedOperands() throws {
    let machine = try FloatingPointMachine()
    for imm in UInt8(0)...40 {
      machine.setXMM(1, 0x1716_1514_1312_1110, 0x1f1e_1d1c_1b1a_1918)
      machine.setXMM(2, 0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908)
      try machine.simd(3, 0x0f, ._66, imm: imm)
      #expect(machine.xmm(1) == (0..<16).map { Int(imm) + $0 < 32 ? imm + UInt8($0) : 0 })
    }
  }

  @Test func insertsAndExtractsReachEveryLane() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    for lane in UInt8(0)..<16 {
      machine.setXMM(1, 0, 0)
      s.pointee.gpr.3 = 0xffff_ffff_ffff_ffa5
      try machine.simd(3, 0x20, ._66, reg: 1, rm: 3, imm: lane)
      #expect(machine.xmm(1) == (0..<16).map { $0 == Int(lane) ? 0xa5 : 0 })
      try machine.simd(3, 0x14, ._66, reg: 1, rm: 6, imm: lane)
      #expect(s.pointee.gpr.6 == 0xa5)
    }
    machine.setXMM(1, 0x1111_1111_8888_8888, 0x3333_3333_2222_2222)
    try machine.simd(3, 0x16, ._66, reg: 1, rm: 6, imm: 0)
    #expect(s.pointee.gpr.6 == 0x8888_8888)
    try machine.simd(3, 0x16, ._66, reg: 1, rm: 6, imm: 1, w: true)
    #expect(s.pointee.gpr.6 == 0x3333_3333_2222_2222)
    machine.memory.write(FloatingPointMachine.data, UInt64.max)
    try machine.simd(3, 0x15, ._66, reg: 1, address: FloatingPointMachine.data, imm: 4)
    #expect(machine.memory.read(FloatingPointMachine.data, as: UInt64.self) == 0xffff_ffff_ffff_2222)
  }

  @Test func insertpsOfMemoryIgnoresTheSourceSelector() throws {
    let machine = try FloatingPointMachine()
    machine.memory.write(FloatingPointMachine.data, UInt32(0x4040_4040))
    machine.setXMM(1, 0x1111_1111_2222_2222, 0x3333_3333_4444_4444)
    try machine.simd(3, 0x21, ._66, address: FloatingPointMachine.data, imm: 0xd1)
    // Destination lane 1, then lane 0 is cleared by the zero mask.
    #expect(machine.lo(1) == 0x4040_4040_0000_0000 && machine.hi(1) == 0x3333_3333_4444_4444)
  }

  @Test func mpsadbwSumsDifferencesOfFourBytes() throws {
    let machine = try FloatingPointMachine()
    let a = (0..<16).map { UInt8(truncatingIfNeeded: $0 * 37 + 11) }
    let b = (0..<16).map { UInt8(truncatingIfNeeded: $0 * 91 + 200) }
    func word(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) } }
    for imm in UInt8(0)..<8 {
      machine.setXMM(1, word(a[0..<8]), word(a[8..<16]))
      machine.setXMM(2, word(b[0..<8]), word(b[8..<16]))
      try machine.simd(3, 0x42, ._66, imm: imm)
      let start = imm & 4 != 0 ? 4 : 0
      let block = Int(imm & 3) * 4
      var expected: [UInt8] = []
      for index in 0..<8 {
        let sum = (0..<4).reduce(0) { $0 + abs(Int(a[start + index + $1]) - Int(b[block + $1])) }
        expected += [UInt8(sum & 0xff), UInt8(sum >> 8)]
      }
      #expect(machine.xmm(1) == expected)
    }
  }

  @Test func crc32OfTheCheckStringIsCastagnolis() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    s.pointee.gpr.1 = 0xffff_ffff
    for byte in "123456789".utf8 {
      s.pointee.gpr.2 = UInt64(byte)
      try machine.simd(2, 0xf0, .f2, reg: 1, rm: 2)
    }
    #expect(~UInt32(truncatingIfNeeded: s.pointee.gpr.1) == 0xe306_9283)
    // Eight bytes, then one, and as words: the same.
    s.pointee.gpr.1 = 0xffff_ffff
    s.pointee.gpr.2 = 0x3837_3635_3433_3231
    try machine.simd(2, 0xf1, .f2, reg: 1, rm: 2, w: true)
    s.pointee.gpr.2 = 0x3900
    try machine.simd(2, 0xf0, .f2, reg: 1, rm: 22)  // DH
    #expect(~UInt32(truncatingIfNeeded: s.pointee.gpr.1) == 0xe306_9283)
    s.pointee.gpr.1 = 0xffff_ffff
    for word in [0x3231, 0x3433, 0x3635, 0x3837] as [UInt64] {
      s.pointee.gpr.2 = word
      try machine.simd(2, 0xf1, .f2, reg: 1, rm: 2, prefixes: VM_PREFIX_OPSIZE)
    }
    s.pointee.gpr.2 = 0x39
    try machine.simd(2, 0xf0, .f2, reg: 1, rm: 2)
    #expect(~UInt32(truncatingIfNeeded: s.pointee.gpr.1) == 0xe306_9283)
  }

  @Test func implicitStringCompareFindsASubstringAndSetsFlags() throws {
    let machine = try FloatingPointMachine()
    machine.setXMM(1, 0x6c6c, 0)  // "ll"
    machine.setXMM(2, 0x6f77_206f_6c6c_6568, 0x646c_72)  // "hello world"
    try machine.simd(3, 0x63, ._66, imm: 0x0c)
    #expect(machine.cpu.s.pointee.gpr.1 == 2)
    #expect(machine.cpu.flagsImage() & 0x8d5 == 0x0c1)  // CF, ZF (a null in the second), SF (in the first)
    machine.setXMM(1, 0x7878, 0)
    try machine.simd(3, 0x63, ._66, imm: 0x0c)
    #expect(machine.cpu.s.pointee.gpr.1 == 16)
    #expect(machine.cpu.flagsImage() & 1 == 0)
  }

  @Test func explicitStringCompareSaturatesItsLengths() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    machine.setXMM(1, 0x6161_6161_6161_6161, 0x6161_6161_6161_6161)
    machine.setXMM(2, 0x6161_6161_6161_6161, 0x6161_6161_6161_6161)
    s.pointee.gpr.0 = 0xffff_ffff_0000_0002  // the upper half is ignored without REX.W
    s.pointee.gpr.2 = 0x8000_0000  // most negative: all sixteen
    try machine.simd(3, 0x60, ._66, imm: 0x00)  // equal any, bit mask
    #expect(machine.lo(0) == 0xffff)
    s.pointee.gpr.2 = 5
    try machine.simd(3, 0x60, ._66, imm: 0x00)
    #expect(machine.lo(0) == 0x1f)
  }

  @Test func maskedStoreWritesOnlyMarkedBytes() throws {
    let machine = try FloatingPointMachine()
    let data = FloatingPointMachine.data
    for offset in UInt64(0)..<16 { machine.memory.write(data + offset, UInt8(0xee)) }
    machine.cpu.s.pointee.gpr.7 = data
    machine.setXMM(1, 0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908)
    machine.setXMM(2, 0x8000_0000_0000_0080, 0xff7f_0000_0000_0000)
    try machine.simd(1, 0xf7, ._66)
    #expect(machine.bytes(data, 16) == (0..<16).map { [0, 7, 15].contains($0) ? UInt8($0) : 0xee })
  }

  @Test func mmxInstructionsMakeAllRegistersValidAndEMMSEmptiesThem() throws {
    let machine = try FloatingPointMachine()
    let s = machine.cpu.s
    s.pointee.fpu_status = 0x2800
    s.pointee.gpr.2 = 0x1122_3344_5566_7788
    try machine.simd(1, 0x6e, .none, reg: 3, rm: 2, w: true)
    #expect(s.pointee.fpu_empty == 0 && s.pointee.fpu_status == 0)
    #expect(s.pointee.fpr.3.significand == 0x1122_3344_5566_7788 && s.pointee.fpr.3.exponent == 0xffff)
    try machine.simd(1, 0x77, .none)
    #expect(s.pointee.fpu_empty == 0xff)
  }
}
