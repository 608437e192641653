import Testing

@testable import X86

/// Programs in which a branch skips what would otherwise hold: where its ways meet the translator may only rely on what
/// holds on both.
@Suite struct RegionTests {
  /// `before`, a branch past `skipped`, `after`; the branch is taken. Then once more with a branch that is not.
  private func expectAlike(
    _ before: [UInt8], skipped: [UInt8], _ after: [UInt8], rbx: UInt64,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let cmp: [UInt8] = [0x48, 0x39, 0xc0]  // cmp rax, rax
    for condition in [4, 5] as [UInt8] {
      let blocks = [
        // fld1, so that the x87 state is not what the host begins with
        PagedProgram.Block(pieces: [[0xd9, 0xe8]], exit: .undefined),
        PagedProgram.Block(pieces: [before, cmp], exit: .condition(condition, 3)),
        PagedProgram.Block(pieces: [skipped], exit: .fallThrough),
        PagedProgram.Block(pieces: [after], exit: .undefined),
      ]
      let program = try PagedProgram(blocks, turns: [40], rbx: rbx)
      let lockstep = try PagedLockstep()
      #expect(lockstep.compare(program), sourceLocation: sourceLocation)
      #expect(lockstep.translatorStatistics.regions > 0, sourceLocation: sourceLocation)
    }
  }

  private let page = PagedMachine.window + 0x9000

  @Test func aPointerThatIsMovedOnOneWayIsCheckedAgain() throws {
    // mov rax, [rbx] | add rbx, 32 | mov [rbx - 32], rcx: on the way that skips this lies in the page before.
    try expectAlike([0x48, 0x8b, 0x03], skipped: [0x48, 0x83, 0xc3, 0x20], [0x48, 0x89, 0x4b, 0xe0], rbx: page + 16)
  }

  @Test func anAccessOnOneWayChecksForNoneBehind() throws {
    // mov rcx, [rbx] on one way, the next bytes on both.
    for rbx in [page + 16, page - 12, PagedMachine.window + 0x5_0000] {
      try expectAlike([0x90], skipped: [0x48, 0x8b, 0x0b], [0x48, 0x8b, 0x53, 0x08], rbx: rbx)
    }
  }

  @Test func anAlignedAccessOnOneWaySaysNothingOfTheOther() throws {
    // movaps xmm0, [rbx] | movaps xmm1, [rbx]
    for rbx in [page, page + 8] { try expectAlike([0x90], skipped: [0x0f, 0x28, 0x03], [0x0f, 0x28, 0x0b], rbx: rbx) }
  }

  @Test func vectorRegistersLoadedOnOneWayAreLoadedOnTheOther() throws {
    // pxor xmm0, xmm0 | paddd xmm1, xmm2
    try expectAlike([0x90], skipped: [0x66, 0x0f, 0xef, 0xc0], [0x66, 0x0f, 0xfe, 0xca], rbx: page)
    // fld1 | fldpi; fnstsw ax
    try expectAlike([0x90], skipped: [0xd9, 0xe8], [0xd9, 0xeb, 0xdf, 0xe0], rbx: page)
  }

  @Test func aRegisterOfTheStateWrittenOnOneWayIsReadAnew() throws {
    // add r10d, eax | add r10d, ecx
    try expectAlike([0x90], skipped: [0x41, 0x01, 0xc2], [0x41, 0x01, 0xca], rbx: page)
  }

  @Test func pushesAreOnTheStackWhereWaysMeet() throws {
    // push rax | push rcx | push rdx; pop rsi
    try expectAlike([0x50], skipped: [0x51], [0x52, 0x5e], rbx: page)
  }

  @Test func flagsOfBothWaysAreSeen() throws {
    // stc | inc rax; dec rcx | setc dl; lahf; and where nobody sees them: add rdx, rcx; setc dl
    try expectAlike([0xf9], skipped: [0x48, 0xff, 0xc0, 0x48, 0xff, 0xc9], [0x0f, 0x92, 0xc2, 0x9f], rbx: page)
    try expectAlike([0xf9], skipped: [0x48, 0x01, 0xc8], [0x48, 0x01, 0xca, 0x0f, 0x92, 0xc2], rbx: page)
  }
}
