import CHost
import Testing

@testable import X86

/// What drops translations, as accesses in loops find it, whose emitted code keeps translations of its own.
@Suite(.bothAccelerators) struct TLBFlushTests {
  private static let high: UInt64 = 0xffff_8000_0100_0000

  /// Two sums, and a HLT where the test changes things.
  private func machine(_ first: UInt64, _ second: UInt64, flags: @escaping (Int) -> UInt64) throws -> SystemMachine {
    let machine = try TLBMissTests.machine(
      "again: add rax, [rsi]; add rbx, [rdi]; hlt; jmp again", flags: flags)
    // The window again, in the upper half.
    machine.put(0x30800, 0x31007 as UInt64)
    try machine.cpu.writeCR4(machine.s.cr4 | CR4.pge)
    machine.cpu.slots[Reg.rsi] = first
    machine.cpu.slots[Reg.rdi] = second
    return machine
  }

  /// The numbers of the frames that both accesses find.
  private func frames(_ machine: SystemMachine) -> [Int] {
    machine.cpu.slots[Reg.rax] = 0
    machine.cpu.slots[Reg.rbx] = 0
    machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    #expect(machine.cpu.run(budget: 1 << 40) == .halted)
    return [Reg.rax, Reg.rbx].map { (Int(machine.cpu.slots[$0]) - 1) / 3 }
  }

  private func map(_ machine: SystemMachine, _ page: Int, to frame: Int, _ flags: UInt64) {
    machine.put(TLBMissTests.entry(page), TLBMissTests.frame(frame) | flags)
  }

  @Test func aLoadOfCR3DropsWhatIsNotGlobalTimeAndAgain() throws {
    let window = TLBMissTests.window
    let machine = try machine(window, window + 0x1000) { $0 == 1 ? 0x167 : 0x67 }
    #expect(frames(machine) == [0, 1])
    for turn in 1...4 {
      map(machine, 0, to: 2 * turn, 0x67)
      map(machine, 1, to: 2 * turn + 1, 0x167)
      #expect(frames(machine) == [2 * turn - 2, 1])
      try machine.cpu.writeCR3(0x30000)
      #expect(frames(machine) == [2 * turn, 1])
    }
    machine.cpu.flushPage(window + 0x1000)
    #expect(frames(machine) == [8, 9])
  }

  /// Pages that are global or not, of either half, alone and as pieces of a large page.
  @Test(arguments: [TLBMissTests.window, high], [0x67, 0x167] as [UInt64])
  func invlpgDropsItsPageAndNoOther(base: UInt64, flags: UInt64) throws {
    let machine = try machine(base, base + 0x1000) { _ in flags }
    #expect(frames(machine) == [0, 1])
    for turn in 1...4 {
      map(machine, 0, to: 2 * turn, flags)
      map(machine, 1, to: 2 * turn + 1, flags)
      machine.cpu.flushPage(base + 0x200_0000)
      machine.cpu.flushPage(base)
      #expect(frames(machine) == [2 * turn, 2 * turn - 1])
      machine.cpu.flushPage(base + 0x1fff)
      #expect(frames(machine) == [2 * turn, 2 * turn + 1])
    }
  }

  @Test(arguments: [TLBMissTests.window, high], [0x87, 0x187] as [UInt64])
  func invlpgDropsAllOfALargePage(base: UInt64, flags: UInt64) throws {
    let machine = try machine(base, base + 0x1000) { _ in 0x67 }
    let entry = 0x32000 + (TLBMissTests.window >> 21) * 8
    machine.put(entry, TLBMissTests.frames | flags)
    #expect(frames(machine) == [0, 1])
    machine.put(entry, TLBMissTests.frames + 0x20_0000 | flags)
    for page in 0..<2 { machine.put(TLBMissTests.frame(512 + page), UInt64(512 + page) * 3 + 1) }
    #expect(frames(machine) == [0, 1])
    machine.cpu.flushPage(base + 0x1f_0000)
    #expect(frames(machine) == [512, 513])
  }
}
