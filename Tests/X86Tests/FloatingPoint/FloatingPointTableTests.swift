import CHost
import Testing

@testable import X86

/// The opcode tables of the SDM (vol. 2D, A-3 to A-5), written down once more: what SSE4.2 has and what it has not.
@Suite struct FloatingPointTableTests {
  /// Opcodes of 0F with both an MMX form and an XMM form with 66.
  static let both: [UInt8] =
    [0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6e, 0x6f, 0x70, 0x74, 0x75, 0x76]
    + [0x7e, 0x7f, 0xc4, 0xc5, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd7, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf]
    + [0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef, 0xf1, 0xf2, 0xf3]
    + [0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe]
  /// Opcodes of 0F by prefix besides those.
  static let others: [(SIMDPrefix, [UInt8])] = [
    (
      .none,
      [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f, 0x50, 0x51]
        + [0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x77, 0xae, 0xc2]
        + [0xc3, 0xc6]
    ),
    (
      ._66,
      [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f, 0x50, 0x51]
        + [0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x6c, 0x6d, 0x7c, 0x7d, 0xc2]
        + [0xc6, 0xd0, 0xd6, 0xe6]
    ),
    (
      .f3,
      [0x10, 0x11, 0x12, 0x16, 0x2a, 0x2c, 0x2d, 0x51, 0x52, 0x53, 0x58, 0x59, 0x5a, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f]
        + [0x6f, 0x70, 0x7e, 0x7f, 0xc2, 0xd6, 0xe6]
    ),
    (
      .f2,
      [0x10, 0x11, 0x12, 0x2a, 0x2c, 0x2d, 0x51, 0x58, 0x59, 0x5a, 0x5c, 0x5d, 0x5e, 0x5f, 0x70, 0x7c, 0x7d, 0xc2]
        + [0xd0, 0xd6, 0xe6, 0xf0]
    ),
  ]
  static let map2Both: [UInt8] = Array(0x00...0x0b) + [0x1c, 0x1d, 0x1e]
  static let map2: [UInt8] =
    [0x10, 0x14, 0x15, 0x17] + Array(0x20...0x25) + Array(0x28...0x2b) + Array(0x30...0x35) + Array(0x37...0x41)
  static let map3: [UInt8] =
    Array(0x08...0x0f) + Array(0x14...0x17) + Array(0x20...0x22) + [0x40, 0x41, 0x42] + Array(0x60...0x63)

  static func expected(_ map: Int, _ prefix: SIMDPrefix) -> Set<UInt8> {
    switch (map, prefix) {
    case (1, _):
      var all = Set(others.first { $0.0 == prefix }?.1 ?? [])
      if prefix == .none || prefix == ._66 { all.formUnion(both + [0x71, 0x72, 0x73]) }
      return all
    case (2, .none): return Set(map2Both)
    case (2, ._66): return Set(map2Both + map2)
    case (2, .f2): return [0xf0, 0xf1]
    case (3, .none): return [0x0f]
    case (3, ._66): return Set(map3)
    default: return []
    }
  }

  @Test(arguments: [1, 2, 3], [SIMDPrefix.none, ._66, .f3, .f2])
  func everyOpcodeOfSSE42AndNoOtherIsKnown(map: Int, prefix: SIMDPrefix) {
    var known: Set<UInt8> = []
    for opcode in UInt8.min...UInt8.max {
      for modrm in UInt8.min...UInt8.max {
        for w in [false, true]
        where SIMDTable.lookup(map: map, opcode: opcode, prefix: prefix, modrm: modrm, rexW: w) != nil {
          known.insert(opcode)
        }
      }
    }
    let expected = Self.expected(map, prefix)
    #expect(known.subtracting(expected).sorted() == [])
    #expect(expected.subtracting(known).sorted() == [])
  }

  @Test func groupsAreToldApartByModRM() {
    func name(_ opcode: UInt8, _ prefix: SIMDPrefix, _ modrm: UInt8, w: Bool = false) -> String? {
      SIMDTable.lookup(map: 1, opcode: opcode, prefix: prefix, modrm: modrm, rexW: w)?.mnemonic
    }
    #expect(name(0xae, .none, 0x00) == "fxsave")
    #expect(name(0xae, .none, 0xe8) == "lfence")
    #expect(name(0xae, .none, 0x28) == "xrstor")
    #expect(name(0xae, .none, 0xc0) == nil)
    #expect(name(0xae, .f3, 0xc0) == nil)
    #expect(name(0x73, ._66, 0xd9) == "psrldq")
    #expect(name(0x73, .none, 0xd9) == nil)
    #expect(name(0x71, ._66, 0x11) == nil)
    #expect(name(0x12, .none, 0xc1) == "movhlps")
    #expect(name(0x12, .none, 0x01) == "movlps")
    #expect(name(0x6e, ._66, 0xc0) == "movd")
    #expect(name(0x6e, ._66, 0xc0, w: true) == "movq")
    #expect(name(0x50, .none, 0x00) == nil)
    #expect(name(0xe7, ._66, 0xc0) == nil)
  }

  @Test func immediatesAreAnnouncedWhereTheyFollow() {
    let with: [(Int, UInt8, SIMDPrefix, Bool)] = [
      (1, 0x70, ._66, true), (1, 0x71, .none, true), (1, 0xc2, .f2, true), (1, 0xc6, .none, true),
      (1, 0xc4, .none, true), (1, 0xc5, ._66, true), (1, 0x58, .none, false), (2, 0x00, ._66, false),
      (3, 0x0f, .none, true), (3, 0x63, ._66, true), (1, 0x77, .none, false),
    ]
    for (map, opcode, prefix, hasImmediate) in with {
      let found = SIMDTable.lookup(map: map, opcode: opcode, prefix: prefix, modrm: 0xd0, rexW: false)
      #expect(found?.hasImmediate == hasImmediate)
    }
  }

  /// XSAVE and its kin are undefined while CR4.OSXSAVE is clear.
  @Test func everyRowRunsWithEachImmediateFromRegisterAndMemory() throws {
    let machine = try FloatingPointMachine()
    machine.cpu.s.pointee.gpr.7 = FloatingPointMachine.data
    for index in 0..<SIMDTable.rowCount {
      let row = SIMDTable.rows[index]
      let flags = Int(row.flags)
      let name = String(cString: row.name)
      let last: UInt8 = flags & VM_SIMD_IMMEDIATE != 0 ? 255 : 0
      for imm in 0...last {
        for address in [nil, FloatingPointMachine.data] {
          if flags & (address == nil ? VM_SIMD_MEMORY_ONLY : VM_SIMD_REGISTER_ONLY) != 0 { continue }
          var op = machine.op(sub: UInt16(index), reg: 1, rm: 2, address: address, imm: imm)
          machine.cpu.s.pointee.mxcsr = 0x1f80
          machine.cpu.s.pointee.fpu_status = 0
          var found: GuestFault?
          do { try machine.cpu.executeSIMD(&op) } catch { found = error }
          #expect(found == (name.hasPrefix("xs") || name == "xrstor" ? .undefined : nil), "\(name)")
        }
      }
    }
  }
}
