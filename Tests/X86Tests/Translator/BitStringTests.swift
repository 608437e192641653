import GuestAssembly
import Testing

@testable import X86

/// BT and its kin with a bit number in a register: the word may lie far from the operand.
@Suite struct BitStringTests {
  private static let border = PagedMachine.window + 0x9000

  /// BT, BTS, BTR, BTC of 32 and 64 bits, LOCK where it may be; the number goes from far above to far below.
  @Test(arguments: ["bt", "bts", "btr", "btc"], [false, true])
  func translatedAndInterpretedBitsAreTheSame(instruction: String, compat: Bool) throws {
    for number in compat ? ["edx"] : ["edx", "rdx"] {
      for lock in instruction == "bt" ? [""] : ["", "lock "] {
        let body = """
          \(lock)\(instruction) [\(compat ? "ebx" : "rbx") + 8], \(number)
          adc eax, ecx; sub \(compat ? "edx" : "rdx"), 101
          """
        let beginning = "mov ecx, 60; mov ebx, \(Self.border - 24); mov edx, 3000"
        let pieces = try GuestCode.assembleAll([beginning, body], bits: compat ? 32 : 64)
        // DEC as 64-bit code has it.
        let end = try GuestCode.assemble("dec ecx", bits: 64)
        let blocks = [
          PagedProgram.Block(pieces: [pieces[0]], exit: .fallThrough),
          PagedProgram.Block(pieces: [pieces[1], end], exit: .condition(5, 1)),
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
