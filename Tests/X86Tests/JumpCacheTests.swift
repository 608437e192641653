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
    // mov ecx, 3; again: push 1800h; ret
    machine.code([0xb9, 3, 0, 0, 0, 0x68, 0x00, 0x18, 0, 0, 0xc3], at: 0x1000)
    let address = 0x1800 ^ pattern << 52
    // dec ecx; jne again; mov rax, cr3; mov cr3, rax; mov rax, address; push rax; ret
    let little = (0..<8).map { UInt8(truncatingIfNeeded: address >> UInt64($0 * 8)) }
    machine.code(
      [0xff, 0xc9, 0x0f, 0x85, 0xfd, 0xf7, 0xff, 0xff, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0x48, 0xb8] + little
        + [0x50, 0xc3], at: 0x1800)
    machine.cpu.s.pointee.rip = 0x1000
    #expect(machine.cpu.run(budget: 10_000) == .halted)
    #expect(machine.hasFaulted)
    #expect(machine.cpu.slots[Reg.rcx] == 0)
    #expect(try #require(machine.cpu.translatorStatistics).entries > 0)
  }
}
