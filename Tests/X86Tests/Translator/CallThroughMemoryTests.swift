import GuestAssembly
import Testing

@testable import X86

/// Branches through memory that lies beside what they push: one check serves both.
@Suite struct CallThroughMemoryTests {
  /// The target is stored at RSP plus `disp`, called there, and comes back.
  private func expectAlike(
    _ disp: UInt8, compat: Bool, before: String = "", sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let pieces = try GuestCode.assembleAll([before, "add ebp, 1"], bits: compat ? 32 : 64)
    let blocks = [
      PagedProgram.Block(pieces: [pieces[0]], exit: .stack(2, disp, isCall: true)),
      PagedProgram.Block(pieces: [], exit: .jump(0)),
      PagedProgram.Block(pieces: [pieces[1]], exit: .ret),
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
      let loads = compat ? "mov ecx, [esp + 8]; mov edx, [esp + 16]" : "mov ecx, [rsp + 8]; mov edx, [rsp + 16]"
      try expectAlike(disp, compat: compat, before: loads)
    }
  }

  /// A conditional move or exchange takes the temporaries as well.
  @Test func pushesBesideOtherUsersOfTheTemporariesGoToTheGuestsStack() throws {
    try expectAlike(
      0x40, compat: false,
      before: "push r10; mov r14, [rsp]; xchg r14, r15; push r14; mov ch, ah; pop rax; pop rcx")
  }
}
