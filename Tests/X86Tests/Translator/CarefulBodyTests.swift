import Testing

@testable import X86

/// Loops whose accesses lie in two pages often enough for a body that checks each by itself.
@Suite struct CarefulBodyTests {
  /// mov ecx, `turns`; mov ebx, `address` | `body`; dec ecx; jnz to the body | jmp to the beginning
  private func expectAlike(
    _ body: [UInt8], turns: UInt64, from address: UInt64, budget: Int = 2000,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let beginning = [0xb9] + PagedProgram.little(turns, 4) + [0xbb] + PagedProgram.little(address, 4)
    let blocks = [
      PagedProgram.Block(pieces: [beginning], exit: .fallThrough),
      PagedProgram.Block(pieces: [body, [0xff, 0xc9]], exit: .condition(5, 1)),
      PagedProgram.Block(pieces: [], exit: .jump(0)),
    ]
    let lockstep = try PagedLockstep()
    let program = try PagedProgram(blocks, turns: [budget, 100], rbx: address)
    #expect(lockstep.compare(program), sourceLocation: sourceLocation)
  }

  /// Where [rbx] is the last of its page and [rbx + 8] the first of the next.
  private let border = PagedMachine.window + 0x8ff8

  @Test func accessesOfTwoPagesFindTheirOwn() throws {
    // add [rbx], rax; add rax, [rbx + 8]
    try expectAlike([0x48, 0x01, 0x03, 0x48, 0x03, 0x43, 0x08], turns: 40, from: border)
    // The pointer moves over the border: add rbx, 8
    try expectAlike(
      [0x48, 0x01, 0x03, 0x48, 0x03, 0x43, 0x08, 0x48, 0x83, 0xc3, 0x08], turns: 16, from: border - 64)
  }

  @Test func exchangedRegistersAreBack() throws {
    // mov rax, [rbx]; add r10, rax; add r10, [rbx + 8]; add rbx, 8
    try expectAlike(
      [0x48, 0x8b, 0x03, 0x49, 0x01, 0xc2, 0x4c, 0x03, 0x53, 0x08, 0x48, 0x83, 0xc3, 0x08], turns: 16,
      from: border - 64)
  }

  @Test func vectorRegistersAreLoaded() throws {
    // mov rax, [rbx]; paddd xmm1, xmm2; add rax, [rbx + 8]
    try expectAlike([0x48, 0x8b, 0x03, 0x66, 0x0f, 0xfe, 0xca, 0x48, 0x03, 0x43, 0x08], turns: 40, from: border)
  }

  /// After as many fills of its micro-TLB entry as are asked about the first access is interpreted, once.
  @Test func noAccessIsDoneTwice() throws {
    // add [rbx], ecx; add [rbx + 8], ecx
    try expectAlike([0x01, 0x0b, 0x01, 0x4b, 0x08], turns: 6000, from: border, budget: 24_000)
  }
}
