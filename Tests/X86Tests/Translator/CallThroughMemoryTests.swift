import Testing

@testable import X86

/// Branches through memory that lies beside what they push: one check serves both.
@Suite struct CallThroughMemoryTests {
  /// The target is stored at RSP plus `disp`, called there, and comes back.
  private func expectAlike(
    _ disp: UInt8, compat: Bool, before: [UInt8] = [], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let blocks = [
      PagedProgram.Block(pieces: [before], exit: .stack(2, disp, isCall: true)),
      PagedProgram.Block(pieces: [], exit: .jump(0)),
      PagedProgram.Block(pieces: [[0x83, 0xc5, 0x01]], exit: .ret),  // add ebp, 1
    ]
    let program = try PagedProgram(blocks, turns: [400, 400], rbx: PagedMachine.window + 0x8000, compat: compat)
    let lockstep = try PagedLockstep()
    #expect(lockstep.compare(program), sourceLocation: sourceLocation)
  }

  /// A return address pushed with the wrong page's addend is written to the host's memory.
  @Test(arguments: [false, true])
  func theReturnAddressGoesToTheGuestsStack(compat: Bool) throws {
    for disp in [0, 0x40, 0x78] as [UInt8] {
      try expectAlike(disp, compat: compat)
      // mov ecx, [rsp + 8]; mov edx, [rsp + 0x10]
      try expectAlike(disp, compat: compat, before: [0x8b, 0x4c, 0x24, 0x08, 0x8b, 0x54, 0x24, 0x10])
    }
  }

  /// A conditional move or exchange takes the temporaries as well.
  @Test func pushesBesideOtherUsersOfTheTemporariesGoToTheGuestsStack() throws {
    // push r10; mov r14, [rsp]; xchg r14, r15; push r14; mov ch, ah; pop rax; pop rcx
    try expectAlike(
      0x40, compat: false,
      before: [
        0x41, 0x52, 0x4c, 0x8b, 0x34, 0x24, 0x4d, 0x87, 0xf7, 0x41, 0x56, 0x88, 0xe5, 0x58, 0x59,
      ])
  }
}
