import GuestAssembly
import Testing

@testable import X86

/// Loops whose accesses lie in two pages often enough for a body that checks each by itself.
@Suite struct CarefulBodyTests {
  /// `text` in a loop of so many turns, with EBX from `address` on; and all of it again and again.
  private func expectAlike(
    _ text: String, turns: UInt64, from address: UInt64, budget: Int = 2000,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let pieces = try GuestCode.assembleAll(["mov ecx, \(turns); mov ebx, \(address)", text, "dec ecx"], bits: 64)
    let blocks = [
      PagedProgram.Block(pieces: [pieces[0]], exit: .fallThrough),
      PagedProgram.Block(pieces: [pieces[1], pieces[2]], exit: .condition(5, 1)),
      PagedProgram.Block(pieces: [], exit: .jump(0)),
    ]
    let lockstep = try PagedLockstep()
    let program = try PagedProgram(blocks, turns: [budget, 100], rbx: address)
    #expect(lockstep.compare(program), sourceLocation: sourceLocation)
  }

  /// Where [rbx] is the last of its page and [rbx + 8] the first of the next.
  private let border = PagedMachine.window + 0x8ff8

  @Test func accessesOfTwoPagesFindTheirOwn() throws {
    try expectAlike("add [rbx], rax; add rax, [rbx + 8]", turns: 40, from: border)
    // The pointer moves over the border.
    try expectAlike("add [rbx], rax; add rax, [rbx + 8]; add rbx, 8", turns: 16, from: border - 64)
  }

  @Test func exchangedRegistersAreBack() throws {
    try expectAlike("mov rax, [rbx]; add r10, rax; add r10, [rbx + 8]; add rbx, 8", turns: 16, from: border - 64)
  }

  @Test func vectorRegistersAreLoaded() throws {
    try expectAlike("mov rax, [rbx]; paddd xmm1, xmm2; add rax, [rbx + 8]", turns: 40, from: border)
  }

  /// After as many fills of its micro-TLB entry as are asked about the first access is interpreted, once.
  @Test func noAccessIsDoneTwice() throws {
    try expectAlike("add [rbx], ecx; add [rbx + 8], ecx", turns: 6000, from: border, budget: 24_000)
  }
}
