import Testing

@testable import X86

/// The table by which emitted code finds the targets of indirect branches.
@Suite struct JumpCacheTests {
  /// An entry of before a flush has a key that differs in a few bits of the address, above bit 51: an address that is not
  /// canonical and differs from its own in the same ones must not be taken for it.
  @Test(arguments: [1, 3, 7, 15, 31, 63] as [UInt64])
  func aReturnToAnAddressThatIsNotCanonicalFaultsWhateverIsCached(pattern: UInt64) throws {
    let machine = try SystemMachine()
    try machine.enterLongTranslated()
    try machine.code("mov ecx, 3; again: push 0x1800; ret")
    let address = 0x1800 ^ pattern << 52
    try machine.code(
      "dec ecx; jne again; mov rax, cr3; mov cr3, rax; movabs rax, \(address); push rax; ret", at: 0x1800,
      symbols: ["again": 0x1005])
    machine.cpu.s.pointee.rip = 0x1000
    #expect(machine.cpu.run(budget: 10_000) == .halted)
    #expect(machine.hasFaulted)
    #expect(machine.cpu.slots[Reg.rcx] == 0)
    #expect(try #require(machine.cpu.translatorStatistics).entries > 0)
  }

  /// Two targets that have one place in the jump cache, by turns.
  @Test func targetsWithOnePlaceDoNotDisplaceEachOtherForGood() throws {
    func place(_ address: UInt64) -> UInt64 { (address ^ address >> 5) & (1 << UInt64(Translator.jumpCacheBits) - 1) }
    let first: UInt64 = 0x2010
    let second = try #require((0x9000..<0x2_0000).first { place($0) == place(first) })
    let machine = try SystemMachine()
    try machine.enterLongTranslated()
    try machine.code("mov ecx, 1000; again: push \(first); ret")
    try machine.code("push \(second); ret", at: first)
    try machine.code("add ebx, ecx; dec ecx; jne again; hlt", at: second, symbols: ["again": 0x1005])
    machine.cpu.slots[Reg.rbx] = 0
    machine.cpu.s.pointee.rip = 0x1000
    #expect(machine.cpu.run(budget: 100_000) == .halted)
    #expect(machine.cpu.slots[Reg.rbx] == 500_500)
    let exits = try #require(machine.cpu.translatorStatistics).indirectExits
    #expect(exits < 20, "code was left for indirect branches \(exits) times")
  }
}
