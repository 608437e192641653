import Testing

@testable import X86

/// The dump of a block: `debugvm NAME block`.
@Suite struct BlockReportTests {
  static let code = "again: add [rbx + 8], eax; push rcx; jne again"

  private func machine(_ accelerator: Accelerator) throws -> InterpreterMachine {
    let machine = try InterpreterMachine(bits: 64)
    machine.cpu.accelerator = accelerator
    machine.cpu.translationThreshold = 0
    machine[3] = InterpreterMachine.data
    machine[0] = 0
    machine.flags = 0x40
    try machine.run(Self.code)
    return machine
  }

  @Test func eachGuestInstructionIsFollowedByItsHostInstructions() throws {
    let machine = try machine(.translator)
    let lines = machine.cpu.blockReport(at: 0x1000).split(separator: "\n").map(String.init)
    #expect(lines[0] == "cpu 0: block 0000000000001000, 64-bit code, mode 05e, 3 instructions, 6 bytes")
    #expect(lines[1].hasPrefix("host code at "))
    let guest = lines.filter { $0.hasPrefix("0000") }
    let texts = ["add dword ptr [rbx+0x8], eax", "push rcx", "jne 0x1000"]
    #expect(guest.count == texts.count)
    for (line, text) in zip(guest, texts) { #expect(line.hasSuffix("  " + text)) }
    // The entry is first, and every host instruction can be read.
    #expect(lines[2] == "entry")
    #expect(!lines.contains { $0.contains("(bad)") })
    #expect(lines.contains { $0.contains("cmp dword ptr [rbp") && $0.hasSuffix("; pending") })
    // The interpreter's turns of both accesses, both ways on, and the way out before the block are out of line.
    let border = try #require(lines.firstIndex(of: "out of line"))
    let titles = lines[border...].filter { $0.hasPrefix("  ") && !$0.hasPrefix("   ") }
    for title in [
      "interpreter's turn at 0000000000001000", "interpreter's turn at 0000000000001003",
      "the loop's second body, in which it stays", "the loop's body for turns whose accesses have been checked",
      "checked before: 0000000000001000", "checks of the accesses of many turns",
      "branch to 0000000000001006 while not linked",
      "something is pending, or the budget is used up",
    ] {
      #expect(titles.contains { $0.contains(title) }, "\(title)")
    }
    #expect(lines[border...].contains { $0.hasSuffix("call interpreter") })
  }

  @Test func theListingIsTheCodeThatRuns() throws {
    let machine = try machine(.translator)
    let cpu = machine.cpu
    let before = cpu.translatorStatistics
    let block = try cpu.findBlock(0x1000, single: false)
    let scratch = try #require(ScratchTranslator())
    let page = try #require(cpu.memory.target(0x1000).read).assumingMemoryBound(to: UInt8.self)
    let owner = try #require(cpu.translator)
    let made = CodeListing(
      block, page: 0x1000, memory: page, counts: owner.counts, owner: owner, scratch: scratch)
    let listing = try #require(made)
    #expect(listing.isCurrent)
    let bytes = listing.pieces.flatMap(\.code).flatMap(\.bytes)
    #expect(bytes.count == Int(block.pointee.code_bytes))
    let code = owner.writable(block.pointee.code)
    #expect(bytes == (0..<bytes.count).map { code[$0] })
    #expect(cpu.translatorStatistics == before)
  }

  @Test func whatIsNotThereIsSaid() throws {
    let machine = try machine(.translator)
    #expect(machine.cpu.blockReport(at: 0x3000) == "cpu 0: no block at 0000000000003000: nothing there has run yet")
    #expect(machine.cpu.blockReport(at: 1 << 40) == "cpu 0: no memory at 0000010000000000")
    let within = machine.cpu.blockReport(at: 0x1003)
    #expect(within.contains("block 0000000000001000,"))
    let cold = try self.machine(.interpreter).cpu.blockReport(at: 0x1000)
    #expect(cold.contains("no host code: interpreted 0 times; this is what it would be"))
    // A block that goes on in the next page: not of a jump, but an inline cache is asked.
    let last = try InterpreterMachine(bits: 64)
    last.cpu.accelerator = .translator
    last.cpu.translationThreshold = 0
    try last.run("jmp 1f; .fill 0xff9, 1, 0x90; 1: nop; nop; hlt")
    #expect(last.cpu.blockReport(at: 0x1ffe).contains("target of the block's end not in its inline cache"))
    let real = try InterpreterMachine(bits: 16)
    try real.run("nop")
    #expect(real.cpu.blockReport(at: 0x1000).contains("no host code: code of this mode is interpreted"))
  }

  @Test(
    arguments: [
      ([0xc4, 0x43, 0x7b, 0xf0, 0xf3, 0x07], "rorx r14d, r11d, 0x7"),
      ([0xc4, 0xe3, 0xfb, 0xf0, 0xc1, 0x38], "rorx rax, rcx, 0x38"),
      ([0xc4, 0x42, 0x0b, 0xf5, 0xf7], "pdep r14d, r14d, r15d"),
      ([0xc4, 0x42, 0x0a, 0xf5, 0xf7], "pext r14d, r14d, r15d"),
      ([0xc4, 0xe2, 0xf9, 0xf7, 0x43, 0x08], "shlx rax, qword ptr [rbx+0x8], rax"),
      ([0xc4, 0x62, 0x83, 0xf7, 0xf1], "shrx r14, rcx, r15"),
      ([0xc4, 0xe2, 0x70, 0xf2, 0xc2], "andn eax, ecx, edx"),
      ([0xf3, 0x48, 0x0f, 0xbc, 0xc1], "tzcnt rax, rcx"),
      ([0x66, 0x0f, 0xfe, 0xca], "paddd xmm1, xmm2"),
      ([0xf2, 0x0f, 0x11, 0x03], "movsd qword ptr [rbx], xmm0"),
      ([0xf2, 0x48, 0x0f, 0x2c, 0xc1], "cvttsd2si rax, xmm1"),
      ([0xd9, 0x03], "fld dword ptr [rbx]"),
      ([0xd9, 0xe8], "fld1"),
      ([0xde, 0xc1], "faddp st(1), st"),
    ] as [([UInt8], String)])
  func hostCodeIsReadBeyondTheGuestsInstructions(bytes: [UInt8], text: String) {
    let found = HostDisassembler.instruction(bytes + [0x90, 0x90])
    #expect(found.text == text)
    #expect(found.length == bytes.count)
  }
}
