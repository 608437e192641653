import CHost
import Testing

@testable import X86

/// INT n into a 64-bit kernel, and IRETQ: the translator's short way leaves what the interpreter leaves.
@Suite struct QuickTransfers64Tests {
  /// Where programs and kernels differ. `stackTable`: the gate names an interrupt stack. `kernel`: the kernel calls itself.
  enum Kind: CaseIterable { case plain, trap, compatibility, stackTable, kernel, notMarkedAccessed }

  /// A program calls the kernel nine times and halts by a fault; the kernel counts and changes the flags that it returns.
  private func machine(_ accelerator: Accelerator, _ kind: Kind) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterLong()
    machine.cpu.accelerator = accelerator
    machine.cpu.translationThreshold = 0
    machine.setDescriptor(0x30, SystemMachine.descriptor(type: 0x1a, dpl: 3, flags: 0xa))
    machine.setDescriptor(0x38, SystemMachine.descriptor(type: 0x1a, dpl: 3))
    if kind != .notMarkedAccessed {
      for selector: UInt16 in [0x08, 0x10, 0x20, 0x30, 0x38] {
        let at = SystemMachine.gdt + UInt64(selector)
        machine.put(at, machine.get(at, as: UInt64.self) | 1 << 40)
      }
    }
    machine.setLongGate(13, 0x5000)
    try machine.code("hlt", at: 0x5000)
    machine.put(SystemMachine.tss + 4, UInt64(0x8000))
    machine.put(SystemMachine.tss + 0x24, UInt64(0x9000))
    machine.setLongGate(0x80, 0x3000)
    let gate = SystemMachine.idt + 0x80 * 16
    var low = machine.get(gate, as: UInt64.self) | 3 << 45
    if kind == .trap { low |= 1 << 40 }
    if kind == .stackTable { low |= 1 << 32 }
    machine.put(gate, low)
    try machine.code("inc qword ptr [0x6800]; xor dword ptr [rsp + 16], 0x8d5; iretq", at: 0x3000)
    try machine.code(
      "again: int 0x80; inc dword ptr [0x6004]; dec ebx; jne again; hlt", bits: kind == .compatibility ? 32 : 64,
      at: 0x2000)
    machine.cpu.slots[Reg.rbx] = 9
    let (code, stack): (UInt64, UInt64) =
      switch kind {
      case .kernel: (0x08, 0x10)
      case .compatibility: (0x3b, 0x23)
      default: (0x33, 0x23)
      }
    for (index, word) in [0x2000, code, 0x202, 0x7008, stack].enumerated() {
      machine.put(0x8800 + UInt64(index * 8), UInt64(word))
    }
    machine.cpu.slots[Reg.rsp] = 0x8800
    for segment in [Seg.ds, Seg.es] { try machine.cpu.loadSegment(segment, selector: 0x23) }
    try machine.cpu.interruptReturn(size: 8, next: 0)
    return machine
  }

  @Test(arguments: Kind.allCases) func interruptsLeaveWhatTheInterpreterLeaves(_ kind: Kind) throws {
    let interpreted = try machine(.interpreter, kind)
    let translated = try machine(.translator, kind)
    for machine in [interpreted, translated] {
      #expect(machine.cpu.run(budget: 1 << 40) == .halted)
      #expect(machine.get(0x6004, as: UInt32.self) == 9)
      #expect(machine.get(0x6800, as: UInt64.self) == 9)
    }
    #expect(translated.cpu.comparedRegisters == interpreted.cpu.comparedRegisters)
    for address in stride(from: 0x6000, to: 0x9800, by: 8) as StrideTo<UInt64> {
      #expect(translated.get(address, as: UInt64.self) == interpreted.get(address, as: UInt64.self), "\(address)")
    }
  }

  /// A gate, a descriptor and a stack that have changed since are seen; what may not be any more faults.
  @Test func changedTablesAreSeen() throws {
    for accelerator in Accelerator.allCases {
      let machine = try machine(accelerator, .plain)
      let gate = SystemMachine.idt + 0x80 * 16
      let open = machine.get(gate, as: UInt64.self)
      for round in 0..<3 {
        switch round {
        case 0: break
        case 1: machine.put(SystemMachine.tss + 4, UInt64(0x9f00))
        default: machine.put(gate, open & ~(3 << 45))
        }
        #expect(machine.cpu.run(budget: 1 << 40) == .halted)
        #expect(machine.get(0x6004, as: UInt32.self) == (round == 2 ? 18 : 9 * UInt32(round + 1)))
        #expect(machine.get(0x6800, as: UInt64.self) == (round == 2 ? 18 : 9 * UInt64(round + 1)))
        #expect(round == 2 || machine.get(round == 0 ? 0x7ff8 : 0x9ef8, as: UInt64.self) == 0x23)
        machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
        machine.cpu.slots[Reg.rbx] = 9
        for (index, word) in [0x2000, 0x33, 0x202, 0x7008, 0x23].enumerated() {
          machine.put(0x8800 + UInt64(index * 8), UInt64(word))
        }
        machine.cpu.slots[Reg.rsp] = 0x8800
        try machine.cpu.interruptReturn(size: 8, next: 0)
      }
    }
  }
}
