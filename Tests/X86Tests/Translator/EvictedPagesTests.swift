import CHost
import Testing

@testable import X86

/// The jump cache leads into pages whose entries in the fetch TLB have given way to others, and lets go of them when their
/// translation is flushed.
@Suite struct EvictedPagesTests {
  private static let first: UInt64 = 0x40_0000
  /// Has the same place in the fetch TLB.
  private static let second = first + UInt64(VM_FETCH_SIZE) << 12

  /// A loop that calls functions in both pages; the first has a 4 KiB mapping.
  private func machine() throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterLong()
    machine.cpu.accelerator = .translator
    machine.cpu.translationThreshold = 0
    machine.put(0x32000 + 2 * 8, UInt64(0x33003))
    for number in 0..<512 as Range<UInt64> { machine.put(0x33000 + number * 8, Self.first + number << 12 | 3) }
    machine.cpu.flushAllTranslations()
    try machine.code("inc ebx; ret", at: Self.first)
    // In the page that takes its place.
    try machine.code("add ebx, 100; ret", at: Self.first + 0x2000)
    try machine.code("ret", at: Self.second + 0x40)
    try machine.code(
      """
      again: mov eax, \(Self.first); call rax; mov eax, \(Self.second + 0x40); call rax
      dec ecx; jne again; hlt
      """)
    return machine
  }

  private func run(_ machine: SystemMachine) -> UInt64 {
    machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    machine.cpu.s.pointee.rip = 0x1000
    machine.cpu.slots[Reg.rbx] = 0
    machine.cpu.slots[Reg.rcx] = 50
    #expect(machine.cpu.run(budget: 100_000) == .halted)
    return machine.cpu.slots[Reg.rbx]
  }

  @Test(arguments: [false, true])
  func aFlushedTranslationIsNotUsedThoughItsEntryHadGivenWay(byCR3: Bool) throws {
    let machine = try machine()
    #expect(run(machine) == 50)
    let exits = try #require(machine.cpu.translatorStatistics).indirectExits
    #expect(run(machine) == 50)
    // Calls of both are found without the dispatcher.
    #expect(try #require(machine.cpu.translatorStatistics).indirectExits < exits + 5)
    for round in 0..<4 as Range<UInt64> {
      let other = round & 1 == 0
      machine.put(0x33000, Self.first + (other ? 0x2000 : 0) | 3)
      if byCR3 { try machine.cpu.writeCR3(0x30000) } else { machine.cpu.flushPage(Self.first) }
      #expect(run(machine) == (other ? 5000 : 50))
    }
  }

  @Test func noPageThatWasAddedIsDenied() {
    var pages = EvictedPages()
    #expect(!pages.hasAny && !pages.hasNonGlobal && !pages.mayHold(0xffff_ffff_8100_0000))
    for page in stride(from: 0xffff_ffff_8100_0000 as UInt64, to: 0xffff_ffff_8140_0000, by: 0x7000) {
      pages.add(page, global: true)
      #expect(pages.mayHold(page) && pages.hasAny && !pages.hasNonGlobal)
    }
    pages.add(0x1000, global: false)
    #expect(pages.mayHold(0x1000) && pages.hasNonGlobal)
  }
}
