import CHost
import Testing

@testable import X86

/// The entries by which emitted code checks its accesses.
@Suite struct MicroTLBTests {
  /// A page that may be read only has no tag for writes; no address whatever may be taken for it.
  @Test(arguments: [0xfff0_0000_0000_0000, 0x7ff0_0000_0000_0000, 0x8000_0000_0000_0000] as [UInt64])
  func aWriteToAnAddressThatIsNotCanonicalFaultsWhateverWasRead(address: UInt64) throws {
    let machine = try SystemMachine()
    try machine.enterLongTranslated()
    try machine.code(
      """
      again: mov rax, [rsi]; xchg rsi, rdi; mov [rsi], rax; xchg rsi, rdi
      cmp ecx, 2; cmove rdi, rdx; dec ecx; jne again; hlt
      """)
    machine.cpu.s.pointee.rip = 0x1000
    machine.cpu.slots[Reg.rcx] = 9
    // The page that the code is in, which loses its right to be written.
    machine.cpu.slots[Reg.rsi] = 0x1100
    machine.cpu.slots[Reg.rdi] = 0x9100
    machine.cpu.slots[Reg.rdx] = address + 0x100
    #expect(machine.cpu.run(budget: 10_000) == .halted)
    #expect(machine.hasFaulted)
    #expect(machine.cpu.slots[Reg.rcx] == 1)
    #expect(try #require(machine.cpu.translatorStatistics).entries > 0)
  }

  /// A store to a device between two accesses to one page, which are checked together, has another page mapped there.
  @Test func aPageThatADeviceExchangesBetweenTwoAccessesIsFoundByTheSecond() throws {
    let machine = try SystemMachine()
    try machine.enterLongTranslated()
    // Linear 16 MiB is the device; linear 8 MiB is at 8 or at 10 MiB.
    machine.put(0x32000 + 8 * 8, UInt64(8) << 21 | 0x87)
    machine.put(0x80_0008, 1 as UInt32)
    machine.put(0xa0_0008, 100 as UInt32)
    machine.environment.onWrite = { [memory = machine.memory, cpu = machine.cpu] value in
      memory.write(0x32000 + 4 * 8, UInt64(value & 1 == 0 ? 4 : 5) << 21 | 0x87)
      cpu.flushAllTranslations()
    }
    try machine.code("again: mov eax, [rdi]; mov [rsi], ecx; add ebx, [rdi + 8]; dec ecx; jne again; hlt")
    machine.cpu.s.pointee.rip = 0x1000
    machine.cpu.slots[Reg.rcx] = 9
    machine.cpu.slots[Reg.rbx] = 0
    machine.cpu.slots[Reg.rdi] = 0x80_0000
    machine.cpu.slots[Reg.rsi] = 0x100_0000
    #expect(machine.cpu.run(budget: 10_000) == .halted)
    #expect(machine.cpu.slots[Reg.rbx] == 504)
  }
}
