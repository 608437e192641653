import CHost
import Testing

@testable import X86

/// Jumps and calls in emitted code that remember where they have led last, and what becomes of that.
@Suite struct InlineCacheTests {
  /// 4 KiB pages for the functions, and a loop that calls them.
  private static let page: UInt64 = 0x40_0000
  private static let (loop, table): (UInt64, UInt64) = (0x1000, 0x6000)

  /// - Parameter functions: each in its page. EDI is one less, so that as many are called by turns as are a power of two.
  private func machine(_ functions: [String], _ accelerator: Accelerator = .translator) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterLong()
    machine.cpu.accelerator = accelerator
    machine.cpu.translationThreshold = 0
    machine.put(0x32000 + 2 * 8, UInt64(0x33003))
    for number in 0..<512 as Range<UInt64> { machine.put(0x33000 + number * 8, Self.page + number << 12 | 3) }
    machine.cpu.flushAllTranslations()
    for (number, function) in functions.enumerated() {
      let address = Self.page + UInt64(number) << 12
      try machine.code(function, at: address)
      machine.put(Self.table + UInt64(number) * 8, address)
    }
    try machine.code(
      """
      again: mov eax, ecx; and eax, edi; mov rax, [rax * 8 + \(Self.table)]
      call rax; dec ecx; jne again; hlt
      """, at: Self.loop)
    machine.cpu.slots[Reg.rdi] = UInt64(functions.count - 1)
    return machine
  }

  /// What the functions have made of RBX, by so many calls.
  private func run(_ machine: SystemMachine, _ calls: UInt64) -> UInt64 {
    machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    machine.cpu.s.pointee.rip = Self.loop
    machine.cpu.slots[Reg.rbx] = 0
    machine.cpu.slots[Reg.rcx] = calls
    #expect(machine.cpu.run(budget: 1_000_000) == .halted)
    return machine.cpu.slots[Reg.rbx]
  }

  private func statistics(_ machine: SystemMachine) throws -> TranslatorStatistics {
    try #require(machine.cpu.translatorStatistics)
  }

  /// The constant, below 128, is the third byte.
  private func adding(_ constant: UInt8) -> String { "add ebx, \(constant); ret" }

  @Test func aCallOfOneFunctionFindsItWithoutTheJumpCache() throws {
    let machine = try machine([adding(1)])
    #expect(run(machine, 10) == 10)
    let caches = try #require(machine.cpu.translator)
    let first = 1 << Translator.jumpCacheBits
    let tag = Self.page ^ caches.jumpKey(machine.s.mode)
    #expect((first..<Translator.jumpEntries).count { caches.jumpCache[$0].tag == tag } == 1)
    for slot in 0..<first where caches.jumpCache[slot].tag == tag { caches.jumpCache[slot] = vm_jump_entry() }
    let exits = try statistics(machine).indirectExits
    #expect(run(machine, 1000) == 1000)
    // The HLT, and what leads to it and from it, may leave.
    #expect(try statistics(machine).indirectExits < exits + 5)
    #expect(try statistics(machine).wanderers == 0)
  }

  @Test func aFunctionThatIsOverwrittenIsCalledAsItIsNow() throws {
    let machine = try machine([adding(1)])
    for constant in 1...20 as ClosedRange<UInt8> {
      machine.put(Self.page + 2, constant)
      machine.cpu.codeOverwritten(physical: Self.page + 2, length: 1)
      #expect(run(machine, 20) == 20 * UInt64(constant))
    }
    // Nor is the dead code entered again and again.
    machine.put(Self.page + 2, 21 as UInt8)
    machine.cpu.codeOverwritten(physical: Self.page + 2, length: 1)
    let exits = try statistics(machine).entryExits
    #expect(run(machine, 1000) == 21_000)
    #expect(try statistics(machine).entryExits < exits + 10)
  }

  @Test func aFunctionThatOverwritesItselfIsCalledAsItIsNow() throws {
    // It adds 1, 2, 3 and so on.
    let machine = try machine(["function: add ebx, 1; inc byte ptr [rip + function + 2]; ret"])
    #expect(run(machine, 100) == 5050)
  }

  @Test(arguments: [false, true])
  func aFunctionInAPageThatIsMappedElsewhereIsFoundThere(byCR3: Bool) throws {
    let machine = try machine([adding(1)])
    try machine.code(adding(100), at: Self.page + 0x2000)
    for round in 0..<6 as Range<UInt64> {
      let other = round & 1 == 1
      machine.put(0x33000, Self.page + (other ? 0x2000 : 0) | 3)
      if byCR3 { try machine.cpu.writeCR3(0x30000) } else { machine.cpu.flushPage(Self.page) }
      #expect(run(machine, 50) == (other ? 5000 : 50))
    }
  }

  /// More functions are called in between than there is room for code. The loop's own is new each time.
  @Test func aFunctionWhoseCodeHasMadeRoomIsTranslatedAnew() throws {
    let machine = try SystemMachine(megabytes: 64)
    try machine.enterLongTranslated()
    machine.cpu.codeMemory = 1 << 20
    try machine.code(adding(3), at: 0x5000)
    try machine.code("again: call rsi; dec ecx; jne again; hlt", at: Self.loop)
    try machine.code("again: call rsi; add rsi, 16; dec ecx; jne again; hlt", at: 0x1800)
    for function in 0..<8192 as Range<UInt64> {
      try machine.code(adding(UInt8(function & 1)), at: 0x40_0000 + function * 16)
    }
    func call(_ loop: UInt64, _ function: UInt64, _ times: UInt64) -> UInt64 {
      machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
      machine.cpu.s.pointee.rip = loop
      machine.cpu.slots[Reg.rsi] = function
      machine.cpu.slots[Reg.rbx] = 0
      machine.cpu.slots[Reg.rcx] = times
      #expect(machine.cpu.run(budget: 1_000_000) == .halted)
      return machine.cpu.slots[Reg.rbx]
    }
    for turn in 0..<96 as Range<UInt64> {
      #expect(call(Self.loop, 0x5000, 50) == 150)
      machine.cpu.codeOverwritten(physical: Self.loop, length: 1)
      #expect(call(Self.loop, 0x5000, 50) == 150)
      #expect(call(0x1800, 0x40_0000 + (turn & 31) << 12, 256) == 128)
    }
    #expect(try statistics(machine).evictions > 3)
  }

  @Test func aCallThatWandersGivesItsCacheUpAndGoesWhereItShould() throws {
    let machine = try machine([adding(1), adding(2), adding(3), adding(4)])
    #expect(run(machine, 4000) == 10_000)
    #expect(try statistics(machine).wanderers == 1)
    let exits = try statistics(machine).indirectExits
    #expect(run(machine, 4000) == 10_000)
    #expect(try statistics(machine).wanderers == 1)
    #expect(try statistics(machine).indirectExits < exits + 10)
  }

  /// A call that leads elsewhere once in 32 times comes out of line often, too.
  @Test func aCallThatLeadsElsewhereNowAndThenKeepsItsCache() throws {
    let machine = try machine((0..<32).map { adding($0 == 5 ? 33 : 1) })
    for number in 0..<32 as Range<UInt64> where number != 5 { machine.put(Self.table + number * 8, Self.page) }
    #expect(run(machine, 32_000) == 64_000)
    #expect(try statistics(machine).wanderers == 0)
  }

  @Test func flushesConvictNoCall() throws {
    let machine = try machine([adding(1)])
    for _ in 0..<1000 {
      machine.cpu.flushPage(Self.page)
      #expect(run(machine, 20) == 20)
    }
    #expect(try statistics(machine).wanderers == 0)
  }

  /// Code that counts stops by number while the call is watched and given up, with what it has done until then.
  @Test(arguments: [1, 7, 64, 1009])
  func registersFlagsAndTheCountAreRightThroughout(budget: Int) throws {
    // They leave flags that nothing before the DEC overwrites.
    let functions = (1...4).map { "sub ebx, \($0); ret" }
    let machines = try [Accelerator.interpreter, .translator].map { try machine(functions, $0) }
    for machine in machines {
      machine.cpu.s.pointee.rip = Self.loop
      machine.cpu.slots[Reg.rbx] = 0
      machine.cpu.slots[Reg.rcx] = 3000
    }
    var ends = Set<Bool>()
    for _ in 0..<100_000 where !ends.contains(true) {
      for machine in machines { ends.insert(machine.cpu.run(budget: budget) == .halted) }
      let states = machines.map { machine in
        (0..<16).map { machine.cpu.slots[$0] } + [machine.s.rip, machine.s.instructions, machine.cpu.flagsImage()]
      }
      guard states[0] == states[1] else {
        Issue.record("after \(machines[0].s.instructions) instructions: \(states)")
        return
      }
    }
    if budget >= 64 { #expect(try statistics(machines[1]).wanderers == 1) }
  }

  /// As for returns, see `JumpCacheTests`.
  @Test(arguments: [1, 3, 7, 15, 31, 63] as [UInt64])
  func aJumpToAnAddressThatIsNotCanonicalFaultsWhateverIsCached(pattern: UInt64) throws {
    let machine = try SystemMachine()
    try machine.enterLongTranslated()
    try machine.code("jmp rsi", at: 0x1000)
    try machine.code(
      """
      cmp ecx, 1; cmove rsi, rdi; dec ecx; test cl, 3; jne past
      mov rax, cr3; mov cr3, rax; past: jmp again
      """, at: 0x1800, symbols: ["again": 0x1000])
    machine.cpu.s.pointee.rip = 0x1000
    machine.cpu.slots[Reg.rcx] = 41
    machine.cpu.slots[Reg.rsi] = 0x1800
    machine.cpu.slots[Reg.rdi] = 0x1800 ^ pattern << 52
    #expect(machine.cpu.run(budget: 10_000) == .halted)
    #expect(machine.hasFaulted)
    #expect(machine.cpu.slots[Reg.rcx] == 0)
    // The address that the handler's frame names is the jump's.
    #expect(machine.get(machine.cpu.slots[Reg.rsp] + 8, as: UInt64.self) == 0x1000)
  }
}
