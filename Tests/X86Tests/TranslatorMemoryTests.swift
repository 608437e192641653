import CHost
import Testing

@testable import X86

/// Code memory that is too small for all that runs.
struct TranslatorMemoryTests {
  private static func little(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }

  private static let functions = 4000
  private static let body = 0x20_0000
  private static let spacing = 48

  /// A loop over calls of functions that branch on what they have computed.
  private func machine(_ accelerator: Accelerator) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterLong()
    machine.cpu.accelerator = accelerator
    machine.cpu.codeMemory = 1 << 20
    machine.cpu.translationThreshold = 1
    var main: [UInt8] = []
    for index in 0..<Self.functions {
      let at = Self.body + index * Self.spacing
      // add eax, n; rol eax, 5; test al, 4; je +5; xor eax, m; lea ebx, [rax + rbx]; ret
      var code: [UInt8] = [0x05] + Self.little(index &* 0x9e37_79b1)
      code += [0xc1, 0xc0, 5, 0xa8, 4, 0x74, 5, 0x35] + Self.little(index &* 77_777)
      code += [0x8d, 0x1c, 0x18, 0xc3]
      machine.code(code, at: UInt64(at))
      // call
      main += [0xe8] + Self.little(at - (0x10_0000 + main.count + 5))
    }
    // dec ecx; jne main; hlt
    main += [0xff, 0xc9, 0x0f, 0x85] + Self.little(-(main.count + 8)) + [0xf4]
    machine.code(main, at: 0x10_0000)
    machine.cpu.s.pointee.rip = 0x10_0000
    machine.cpu.slots[Reg.rcx] = 6
    machine.cpu.slots[Reg.rax] = 1
    machine.cpu.slots[Reg.rbx] = 0
    return machine
  }

  @Test func theOldestCodeMakesRoomAndAllRunsOn() throws {
    let expected = try machine(.interpreter)
    #expect(expected.cpu.run(budget: 1 << 40) == .halted)
    let machine = try machine(.translator)
    #expect(machine.cpu.run(budget: 1 << 40) == .halted)
    #expect(machine.cpu.slots[Reg.rax] == expected.cpu.slots[Reg.rax])
    #expect(machine.cpu.slots[Reg.rbx] == expected.cpu.slots[Reg.rbx])
    let statistics = try #require(machine.cpu.translatorStatistics)
    #expect(statistics.evictions > 3 && statistics.evictedBlocks > Self.functions)
    // One is of the change to code that does not count.
    #expect(statistics.flushes <= 1)
  }

  /// Overwritten, evicted, translated anew: what is linked to a block never runs what was there before.
  @Test func codeThatIsOverwrittenBetweenEvictionsRunsAsWritten() throws {
    let machines = [try machine(.interpreter), try machine(.translator)]
    for round in 0..<4 {
      for machine in machines {
        for index in stride(from: round, to: Self.functions, by: 7) {
          // Another constant is added.
          let place = UInt64(Self.body + index * Self.spacing + 1)
          machine.put(place, UInt32(truncatingIfNeeded: index &* 31 &+ round))
          machine.cpu.codeOverwritten(physical: place, length: 4)
        }
        machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
        machine.cpu.s.pointee.rip = 0x10_0000
        machine.cpu.slots[Reg.rcx] = 3
        #expect(machine.cpu.run(budget: 1 << 40) == .halted)
      }
      #expect(machines[0].cpu.slots[Reg.rbx] == machines[1].cpu.slots[Reg.rbx])
    }
    #expect(try #require(machines[1].cpu.translatorStatistics).evictions > 6)
  }
}
