import Testing

@testable import X86

/// BT and its kin with a bit number in a register: the word may lie far from the operand.
@Suite struct BitStringTests {
  private static let border = PagedMachine.window + 0x9000

  /// BT, BTS, BTR, BTC of 32 and 64 bits, LOCK where it may be; the number goes from far above to far below.
  @Test(arguments: [0xa3, 0xab, 0xb3, 0xbb] as [UInt8], [false, true])
  func translatedAndInterpretedBitsAreTheSame(opcode: UInt8, compat: Bool) throws {
    let wide: [[UInt8]] = compat ? [[]] : [[], [0x48]]
    for rex in wide {
      for lock in opcode == 0xa3 ? [[]] : [[], [0xf0]] as [[UInt8]] {
        let beginning = [0xb9] + PagedProgram.little(60, 4) + [0xbb] + PagedProgram.little(Self.border - 24, 4)
        // lock bts [rbx + 8], rdx; adc eax, ecx; sub edx, 101 (or rdx); dec ecx; jnz
        let body = lock + rex + [0x0f, opcode, 0x53, 0x08, 0x11, 0xc8] + (compat ? [] : [0x48]) + [0x83, 0xea, 101]
        let blocks = [
          PagedProgram.Block(pieces: [beginning, [0xba] + PagedProgram.little(3000, 4)], exit: .fallThrough),
          PagedProgram.Block(pieces: [body, [0xff, 0xc9]], exit: .condition(5, 1)),
          PagedProgram.Block(pieces: [], exit: .jump(0)),
        ]
        let lockstep = try PagedLockstep()
        var program = try PagedProgram(blocks, turns: [1000, 33], rbx: Self.border)
        program.compat = compat
        #expect(lockstep.compare(program))
        #expect(lockstep.translatorStatistics.steps < 100)
      }
    }
  }
}
