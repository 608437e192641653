import CHost
import GuestAssembly
import Testing

@testable import X86

/// An instruction in two pages, in a loop.
@Suite(.bothAccelerators) struct CrossingBlockTests {
  private static let page: UInt64 = 0x40_0000

  /// 4 KiB pages from 4 MiB on, and a loop there whose ADD EAX lies in two of them: its constant ends with the bytes at
  /// `page` + 1000H.
  private func machine() throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterLong()
    machine.put(0x32000 + 2 * 8, UInt64(0x33003))
    for number in 0..<512 as Range<UInt64> { machine.put(0x33000 + number * 8, Self.page + number << 12 | 3) }
    machine.cpu.flushAllTranslations()
    let loop = try GuestCode.assemble(
      "again: add eax, 0x20001; dec ecx; jne again; hlt", bits: 64, origin: Self.page + 0xffd)
    machine.code(loop, at: Self.page + 0xffd)
    // The second page's part again, behind it.
    machine.code(Array(loop[5...]), at: Self.page + 0x2002)
    return machine
  }

  private func run(_ machine: SystemMachine, _ count: UInt64) -> UInt64 {
    machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    machine.cpu.s.pointee.rip = Self.page + 0xffd
    machine.cpu.slots[Reg.rax] = 0
    machine.cpu.slots[Reg.rcx] = count
    #expect(machine.cpu.run(budget: 100_000) == .halted)
    return machine.cpu.slots[Reg.rax]
  }

  @Test func theLoopComputesWhatItSays() throws {
    let machine = try machine()
    #expect(run(machine, 100) == 100 * 0x20001)
    let steps = machine.cpu.translatorStatistics?.interpretedBlocks ?? 0
    #expect(run(machine, 100) == 100 * 0x20001)
    // The second time it does not need the interpreter, but for the HLT's sake.
    if machine.cpu.accelerator == .translator {
      #expect((machine.cpu.translatorStatistics?.interpretedBlocks ?? 0) - steps < 10)
    }
  }

  @Test(arguments: [0xfff, 0x1000] as [UInt64])
  func aStoreIntoEitherPageIsSeen(offset: UInt64) throws {
    let machine = try machine()
    #expect(run(machine, 50) == 50 * 0x20001)
    machine.put(Self.page + offset, 0x05 as UInt8)
    machine.cpu.codeOverwritten(physical: Self.page + offset, length: 1)
    let constant: UInt64 = offset == 0xfff ? 0x20501 : 0x50001
    #expect(run(machine, 50) == 50 * constant)
    #expect(run(machine, 50) == 50 * constant)
  }

  @Test func anotherPageBehindTheFirstIsSeen() throws {
    let machine = try machine()
    machine.code([0x03, 0x00], at: Self.page + 0x2000)
    for round in 0..<6 as Range<UInt64> {
      let other = round & 1 == 1
      machine.put(0x33000 + 8, Self.page + (other ? 0x2000 : 0x1000) | 3)
      machine.cpu.flushPage(Self.page + 0x1000)
      #expect(run(machine, 50) == 50 * (other ? 0x30001 : 0x20001))
    }
  }
}
