import CHost
import Foundation
import SavedState
import Testing

@testable import X86

@Suite struct SystemStateTests {
  @Test func aLoadedCPUSavesTheSameBytes() throws {
    let machine = try SystemMachine()
    try machine.enterLong()
    for register in 0..<16 { machine.cpu.slots[register] = UInt64(register) &* 0x9e37_79b9_7f4a_7c15 }
    machine.cpu.setFlags(0x8d5, mask: EFLAGS.arithmetic)
    try machine.cpu.writeDebug(0, 0x1234)
    let saved = try machine.cpu.save()
    let other = try SystemMachine()
    try other.cpu.load(saved)
    #expect(try other.cpu.save() == saved)
    #expect(other.s.mode == machine.s.mode && other.s.cpl == machine.s.cpl && other.s.mmu == machine.s.mmu)
  }

  @Test func impossibleStatesAreRefusedAndChangeNothing() throws {
    let machine = try SystemMachine()
    try machine.enterLong()
    let saved = try machine.cpu.save()
    let fields = try saved.decode(CPUStateFields.self, kind: "x86cpu", upTo: 1)
    let changes: [(inout CPUStateFields) -> Void] = [
      { $0.general.removeLast() }, { $0.cr0 = 0x8000_0000 }, { $0.cr4 |= 1 << 63 }, { $0.msr.efer &= ~EFER.lma },
      { $0.rflags |= EFLAGS.vm }, { $0.segments[0].base = .max }, { $0.segments[1].attributes = 0xffff },
      { $0.rip = 1 << 47 }, { $0.activity = 4 }, { $0.interruptShadow = 3 }, { $0.fpu.mxcsr = .max },
      { $0.msr.lstar = 1 << 50 }, { $0.msr.pat = 2 }, { $0.gdtr.limit = .max }, { $0.xcr0 = 8 }, { $0.cr3 = .max },
      { $0.a20Mask = 0 }, { $0.fpu.xmm = [] },
    ]
    let other = try SystemMachine()
    let before = try other.cpu.save()
    for (number, change) in changes.enumerated() {
      var broken = fields
      change(&broken)
      let section = try StateSection(name: "cpu0", kind: "x86cpu", version: 1, state: broken)
      #expect(throws: SavedStateError.self, "change \(number)") { try other.cpu.load(section) }
    }
    #expect(throws: SavedStateError.self) {
      try other.cpu.load(StateSection(name: "cpu0", kind: "x86cpu", version: 1, fields: Data("{}".utf8)))
    }
    #expect(try other.cpu.save() == before)
  }

  @Test func resetGivesThePowerOnState() throws {
    let machine = try SystemMachine()
    let fresh = try machine.cpu.save()
    try machine.enterLong()
    machine.cpu.reset()
    #expect(try machine.cpu.save() == fresh)
    #expect(machine.s.rip == 0xfff0 && machine.cpu.segmentRegister(Seg.cs).pointee.base == 0xffff_0000)
  }

  @Test func profilesAnswerAndCanBeChanged() throws {
    let profile = try #require(CPUProfile.named("x86-64-v2"))
    #expect(profile.query(0, 0).ebx == 0x756e_6547)
    let changed = profile.setting(CPUIDLeaf(7, eax: 0, ebx: 1 << 20, ecx: 0, edx: 0))
    #expect(changed.offersSMAP && !profile.offersSMAP && changed != profile)
    #expect(profile.removing(leaf: 4).query(4, 1).eax == 0)
    #expect(CPUProfile.all.allSatisfy { CPUProfile.named($0.name) == $0 })
  }
}
