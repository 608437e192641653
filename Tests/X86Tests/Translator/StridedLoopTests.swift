import GuestAssembly
import Testing

@testable import X86

/// Loops whose accesses are checked for many turns at once.
@Suite struct StridedLoopTests {
  /// `text` in a loop of so many turns, with EBX from `address` on; and all of it again and again.
  private func expectAlike(
    _ text: String, turns: UInt64 = 100, from address: UInt64, compat: Bool = false, budget: Int = 3000,
    change: (inout PagedProgram) -> Void = { _ in }, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let beginning = "mov ecx, \(turns); mov ebx, \(address)"
    // DEC and INC as 64-bit code has them.
    let pieces = try GuestCode.assembleAll([beginning, text], bits: compat ? 32 : 64)
    let ends = try GuestCode.assembleAll(["dec ecx", "inc edx"], bits: 64)
    let blocks = [
      PagedProgram.Block(pieces: [pieces[0]], exit: .fallThrough),
      PagedProgram.Block(pieces: [pieces[1], ends[0]], exit: .condition(5, 1)),
      PagedProgram.Block(pieces: [ends[1]], exit: .jump(0)),
    ]
    let lockstep = try PagedLockstep()
    var program = try PagedProgram(blocks, turns: [budget, 37, 501], rbx: address)
    program.compat = compat
    change(&program)
    #expect(lockstep.compare(program), sourceLocation: sourceLocation)
    #expect(lockstep.translatorStatistics.stridedLoops > 0, sourceLocation: sourceLocation)
  }

  private let page = PagedMachine.window + 0x8000
  private var border: UInt64 { page + 0x1000 }

  @Test func aPointerMovesOverABorderUpAndDown() throws {
    try expectAlike("add [rbx], ecx; add rbx, 4", from: border - 200)
    try expectAlike("sub rbx, 12; mov eax, [rbx + 4]; add edx, eax", from: border + 300)
    // An access lies in both pages.
    try expectAlike("add [rbx], rcx; add rbx, 12", from: border - 245)
    // The same in 32-bit code.
    try expectAlike("add [ebx], ecx; add ebx, 4", from: border - 200, compat: true)
  }

  @Test func anIndexMovesWhileItsBaseStays() throws {
    let code = "add [rbx + rbp * 4], ecx; inc rbp"
    try expectAlike(code, from: border - 0x40) { $0.registers[5] = UInt64(bitPattern: -50) }
    // 32-bit code, from below 0 to above: what is added to the base is cut.
    try expectAlike("add [ebx + ebp * 4], ecx; inc ebp", from: border - 0x40, compat: true) {
      $0.registers[5] = 0xffff_ffce
    }
    // The same when it moves before it is used.
    try expectAlike("inc ebp; add [ebx + ebp * 4 - 4], ecx", from: border - 0x40, compat: true) {
      $0.registers[5] = 0xffff_ffce
    }
    // And down; and further than it moves in a turn.
    try expectAlike("dec ebp; add [ebx + ebp * 4 + 8], ecx", from: border - 0x40, compat: true) { $0.registers[5] = 30 }
    let further = "add eax, [esi]; sub ebp, 2; add [ebx + ebp * 4], ecx; inc ebp"
    let rsi = page + 0x40
    try expectAlike(further, from: border - 0x40, compat: true) {
      $0.registers[5] = 30
      $0.registers[6] = rsi
    }
    // And down.
    try expectAlike("add [ebx + ebp * 8 + 8], ecx; dec ebp", from: border - 0x40, compat: true) { $0.registers[5] = 30 }
    try expectAlike("add [ebx + ebp + 0x10], ecx; add ebp, 3", from: border, compat: true) {
      $0.registers[5] = 0xffff_ff38
    }
  }

  @Test func bothMove() throws {
    try expectAlike("add [rbx + rbp * 2], cl; add rbx, 4; dec rbp", from: border - 100) {
      $0.registers[5] = 20
    }
    try expectAlike("add [ebx + ebp * 2], cl; add ebx, 4; dec ebp", from: border - 100, compat: true) {
      $0.registers[5] = 20
    }
  }

  @Test func whatStaysIsCheckedOnce() throws {
    // On the stack, and in RBX's page by RIP.
    try expectAlike("push rcx; add [rsp + 8], ecx; pop rax; add [rbx], eax", from: page + 0x40)
    try expectAlike("add [rip + 0x7f00], eax; add [rbx], eax", from: page + 0x40)
  }

  @Test func vectorsMustBeAligned() throws {
    let code = "movdqa xmm1, [rbx]; paddd xmm1, xmm2; movdqa [rbx + 16], xmm1; add rbx, 16"
    try expectAlike(code, from: border - 160)
    try expectAlike(code, from: border - 152)
    let odd = "add eax, [rbx + 4]; movdqa xmm1, [rbx + 8]; add rbx, 32"
    try expectAlike(odd, from: border - 168)
    try expectAlike(odd, from: border - 176)
  }

  @Test func aPageThatIsNotThereFaultsAtItsTurn() throws {
    // Into a page that is not present, one that is read-only, and a device's
    let code = "add [rbx], ecx; add rbx, 4"
    for entry in [0, PagedMachine.frame(12) | 0x65, PagedMachine.deviceFrame | 0x67] as [UInt64] {
      try expectAlike(code, from: border - 160) {
        $0.user = true
        $0.entries.append((PagedMachine.tableEntry(9), entry))
      }
    }
  }

  @Test func aDeviceInTheLoopIsAskedEachTurn() throws {
    // The device at RSI asks for an interrupt now and then
    let code = "add [rbx], eax; add rbx, 4; add eax, [rsi]"
    try expectAlike(code, from: page + 0x100) {
      $0.patience = 3
      $0.flags = 0x202
      $0.registers[6] = PagedMachine.window + 0xa010
      $0.entries.append((PagedMachine.tableEntry(10), PagedMachine.deviceFrame | 0x67))
    }
  }

  @Test func aLoopThatWritesItsOwnCodeRunsWhatItHasWritten() throws {
    // From before the code's page into it
    try expectAlike("mov [rbx], al; inc rbx", turns: 300, from: PagedMachine.window + 0x2000 - 0x1f80)
  }

  @Test func turnsAreCountedOnBehindAnInterpretedOne() throws {
    let pieces = try GuestCode.assembleAll(
      [
        "mov ecx, 250; mov ebx, \(border - 200)", "test cl, 3",
        // A device's.
        "mov rsi, rdi; add eax, [rsi]", "add [rbx], ecx; add rbx, 4; dec ecx",
      ], bits: 64)
    let blocks = [
      PagedProgram.Block(pieces: [pieces[0]], exit: .fallThrough),
      PagedProgram.Block(pieces: [pieces[1]], exit: .condition(5, 3)),
      PagedProgram.Block(pieces: [pieces[2]], exit: .fallThrough),
      PagedProgram.Block(pieces: [pieces[3]], exit: .condition(5, 1)),
      PagedProgram.Block(pieces: [], exit: .jump(0)),
    ]
    let lockstep = try PagedLockstep()
    var program = try PagedProgram(blocks, turns: [6000, 100], rbx: border)
    program.registers[7] = PagedMachine.window + 0xa010
    program.entries.append((PagedMachine.tableEntry(10), PagedMachine.deviceFrame | 0x67))
    #expect(lockstep.compare(program))
    #expect(lockstep.translatorStatistics.stridedLoops > 0)
  }

  @Test func whatStaysMayMoveForAMoment() throws {
    let index = "add eax, [rsi]; add [rbx + rbp * 4], ecx; inc rbp; add [rbx + rbp * 4], cl; dec rbp; add rbx, 4"
    let rsi = page + 0x40
    try expectAlike(index, from: border - 200) {
      $0.registers[5] = 3
      $0.registers[6] = rsi
    }
    let base = "add eax, [rsi]; add [rbx + rbp * 4], ecx; add rbx, 8; add [rbx + rbp * 4], cl; sub rbx, 8; inc rbp"
    try expectAlike(base, from: border - 200) {
      $0.registers[5] = 3
      $0.registers[6] = rsi
    }
    try expectAlike("add [rbx], ecx; add rbx, 8; add [rbx], cl; sub rbx, 8", from: border - 200)
  }

  @Test func aPartOfTheTurnMayBeSkipped() throws {
    let pieces = try GuestCode.assembleAll(
      [
        "mov ecx, 120; mov ebx, \(border - 240)", "test cl, 3", "add [rbx], ecx", "add rbx, 4; mov eax, [rbx]; dec ecx",
      ], bits: 64)
    let blocks = [
      PagedProgram.Block(pieces: [pieces[0]], exit: .fallThrough),
      PagedProgram.Block(pieces: [pieces[1]], exit: .condition(5, 3)),
      PagedProgram.Block(pieces: [pieces[2]], exit: .fallThrough),
      PagedProgram.Block(pieces: [pieces[3]], exit: .condition(5, 1)),
      PagedProgram.Block(pieces: [], exit: .jump(0)),
    ]
    let lockstep = try PagedLockstep()
    #expect(lockstep.compare(try PagedProgram(blocks, turns: [4000, 100], rbx: border)))
    #expect(lockstep.translatorStatistics.stridedLoops > 0)
  }

  @Test func registersWithoutAHostRegisterAreBack() throws {
    let code = "add r10, [rbx + r11 * 8]; inc r11; add r14, r10"
    try expectAlike(code, from: border - 320) { $0.registers[11] = 2 }
  }

  @Test func flagsBehindTheLoopAreThoseOfItsLastInstruction() throws {
    // CF goes around the loop by way of DEC
    try expectAlike("adc eax, [rbx]; lea rbx, [rbx + 4]", from: border - 200)
  }
}
