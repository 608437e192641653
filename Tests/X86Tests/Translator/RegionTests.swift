import GuestAssembly
import Testing

@testable import X86

/// Programs in which a branch skips what would otherwise hold: where its ways meet the translator may only rely on what
/// holds on both.
@Suite struct RegionTests {
  /// `before`, a branch past `skipped`, `after`; the branch is taken. Then once more with a branch that is not.
  private func expectAlike(
    _ before: String, skipped: String, _ after: String, rbx: UInt64,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    // FLD1, so that the x87 state is not what the host begins with.
    let pieces = try GuestCode.assembleAll(["fld1", before, "cmp rax, rax", skipped, after], bits: 64)
    for condition in [4, 5] as [UInt8] {
      let blocks = [
        PagedProgram.Block(pieces: [pieces[0]], exit: .undefined),
        PagedProgram.Block(pieces: [pieces[1], pieces[2]], exit: .condition(condition, 3)),
        PagedProgram.Block(pieces: [pieces[3]], exit: .fallThrough),
        PagedProgram.Block(pieces: [pieces[4]], exit: .undefined),
      ]
      let program = try PagedProgram(blocks, turns: [40], rbx: rbx)
      let lockstep = try PagedLockstep()
      #expect(lockstep.compare(program), sourceLocation: sourceLocation)
      #expect(lockstep.translatorStatistics.regions > 0, sourceLocation: sourceLocation)
    }
  }

  private let page = PagedMachine.window + 0x9000

  @Test func aPointerThatIsMovedOnOneWayIsCheckedAgain() throws {
    // On the way that skips the addition the store lies in the page before.
    try expectAlike("mov rax, [rbx]", skipped: "add rbx, 32", "mov [rbx - 32], rcx", rbx: page + 16)
  }

  @Test func anAccessOnOneWayChecksForNoneBehind() throws {
    for rbx in [page + 16, page - 12, PagedMachine.window + 0x5_0000] {
      try expectAlike("nop", skipped: "mov rcx, [rbx]", "mov rdx, [rbx + 8]", rbx: rbx)
    }
  }

  @Test func anAlignedAccessOnOneWaySaysNothingOfTheOther() throws {
    for rbx in [page, page + 8] {
      try expectAlike("nop", skipped: "movaps xmm0, [rbx]", "movaps xmm1, [rbx]", rbx: rbx)
    }
  }

  @Test func vectorRegistersLoadedOnOneWayAreLoadedOnTheOther() throws {
    try expectAlike("nop", skipped: "pxor xmm0, xmm0", "paddd xmm1, xmm2", rbx: page)
    try expectAlike("nop", skipped: "fld1", "fldpi; fnstsw ax", rbx: page)
  }

  @Test func aRegisterOfTheStateWrittenOnOneWayIsReadAnew() throws {
    try expectAlike("nop", skipped: "add r10d, eax", "add r10d, ecx", rbx: page)
  }

  @Test func pushesAreOnTheStackWhereWaysMeet() throws {
    try expectAlike("push rax", skipped: "push rcx", "push rdx; pop rsi", rbx: page)
  }

  @Test func flagsOfBothWaysAreSeen() throws {
    try expectAlike("stc", skipped: "inc rax; dec rcx", "setc dl; lahf", rbx: page)
    // And where nobody sees them.
    try expectAlike("stc", skipped: "add rax, rcx", "add rdx, rcx; setc dl", rbx: page)
  }
}
