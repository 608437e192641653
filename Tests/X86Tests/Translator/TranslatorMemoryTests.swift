import CHost
import GuestAssembly
import Testing

@testable import X86

/// Code memory that is too small for all that runs.
struct TranslatorMemoryTests {
  private static func little(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }

  private static let functions = 4000
  private static let body = 0x20_0000
  private static let spacing = 48
  private static let short = 0x10_8000
  private static let some = 400

  /// A loop over calls of functions that branch on what they have computed, in bytes as there are so many.
  ///
  /// - Parameter prologue: what each function begins with.
  private func machine(_ accelerator: Accelerator, prologue: [UInt8] = []) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterLong()
    machine.cpu.accelerator = accelerator
    machine.cpu.codeMemory = 1 << 20
    machine.cpu.translationThreshold = 1
    var main: [UInt8] = []
    for index in 0..<Self.functions {
      let at = Self.body + index * Self.spacing
      // add eax, n; rol eax, 5; test al, 4; je +5; xor eax, m; lea ebx, [rax + rbx]; ret
      var code: [UInt8] = prologue + [0x05] + Self.little(index &* 0x9e37_79b1)
      code += [0xc1, 0xc0, 5, 0xa8, 4, 0x74, 5, 0x35] + Self.little(index &* 77_777)
      code += [0x8d, 0x1c, 0x18, 0xc3]
      machine.code(code, at: UInt64(at))
      // call
      main += [0xe8] + Self.little(at - (0x10_0000 + main.count + 5))
    }
    // dec ecx; jne main; hlt
    func loop(_ calls: [UInt8]) -> [UInt8] {
      calls + [0xff, 0xc9, 0x0f, 0x85] + Self.little(-(calls.count + 8)) + [0xf4]
    }
    machine.code(loop(main), at: 0x10_0000)
    // The first of them alone, at its own place.
    var some: [UInt8] = []
    for index in 0..<Self.some {
      some += [0xe8] + Self.little(Self.body + index * Self.spacing - (Self.short + some.count + 5))
    }
    machine.code(loop(some), at: UInt64(Self.short))
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

  /// Two accesses that are checked together lie in two pages: after some time each function is translated anew. When
  /// others have taken the room of all, nothing of the first code is entered again.
  @Test func blocksTranslatedAnewBetweenEvictionsLeaveNothingBehind() throws {
    let prologue = try GuestCode.assemble("mov edx, [rsi]; add eax, [rsi + 8]", bits: 64)
    let machines = [try machine(.interpreter, prologue: prologue), try machine(.translator, prologue: prologue)]
    let often = UInt64(BlockTranslator.crossingLimit) + 12
    for (start, turns) in [(UInt64(Self.short), often), (0x10_0000, 3), (UInt64(Self.short), 3)] {
      for machine in machines {
        machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
        machine.cpu.s.pointee.rip = start
        machine.cpu.slots[Reg.rcx] = turns
        machine.cpu.slots[Reg.rsi] = 0x17_0ffc
        machine.put(0x17_1004, 0x1234_5677 as UInt32)
        #expect(machine.cpu.run(budget: 1 << 40) == .halted)
      }
      #expect(machines[0].cpu.slots[Reg.rbx] == machines[1].cpu.slots[Reg.rbx])
    }
    let statistics = try #require(machines[1].cpu.translatorStatistics)
    #expect(statistics.evictions > 3)
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
