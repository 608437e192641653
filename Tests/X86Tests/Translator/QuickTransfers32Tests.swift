import CHost
import Testing

@testable import X86

/// The ways into a 32-bit kernel and out of it, as programs and kernels use them: the translator's short way leaves what the
/// interpreter leaves.
@Suite struct QuickTransfers32Tests {
  enum Entry: CaseIterable { case interrupt, trap, sysenter }

  private static let userData: UInt16 = 0x23

  /// A program that calls the kernel nine times and halts by a fault; the kernel saves and loads segment registers, counts,
  /// and changes the flags it returns.
  private func machine(_ accelerator: Accelerator, _ entry: Entry) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.cpu.accelerator = accelerator
    machine.cpu.translationThreshold = 0
    // TLS of the program, per-CPU data of the kernel: bases that are not 0.
    machine.setDescriptor(0x30, SystemMachine.descriptor(base: 0x6000, type: 0x13, dpl: 3))
    machine.setDescriptor(0x38, SystemMachine.descriptor(base: 0x6800, type: 0x13))
    for selector: UInt16 in [0x08, 0x10, 0x18, 0x20] {
      let at = SystemMachine.gdt + UInt64(selector)
      machine.put(at, machine.get(at, as: UInt64.self) | 1 << 40)
    }
    for vector in 0..<32 { machine.setGate(vector, 0x5000) }
    machine.code([0xf4], at: 0x5000)
    machine.setGate(0x80, 0x3000, type: entry == .trap ? 15 : 14, dpl: 3)
    try machine.cpu.writeMSR(MSR.sysenterCS, 0x08)
    try machine.cpu.writeMSR(MSR.sysenterESP, 0x8000)
    try machine.cpu.writeMSR(MSR.sysenterEIP, 0x3000)

    // push ds, es, fs, gs; mov ds, es of the kernel's; mov fs; inc [fs:0]; pop gs, fs, es, ds; return
    var kernel: [UInt8] = [
      0x1e, 0x06, 0x0f, 0xa0, 0x0f, 0xa8, 0xba, 0x10, 0, 0, 0, 0x8e, 0xda, 0x8e, 0xc2, 0xba, 0x38, 0, 0, 0, 0x8e, 0xe2,
      0x64, 0xff, 0x05, 0, 0, 0, 0, 0x0f, 0xa9, 0x0f, 0xa1, 0x07, 0x1f,
    ]
    if entry == .sysenter {
      // mov ecx, ebp; mov edx, [next]; sti; sysexit
      kernel += [0x89, 0xe9, 0xba] + little(0x2000 + 14) + [0xfb, 0x0f, 0x35]
    } else {
      // xor dword [esp + 8], 8D5h; iretd
      kernel += [0x81, 0x74, 0x24, 8, 0xd5, 8, 0, 0, 0xcf]
    }
    machine.code(kernel, at: 0x3000)
    // mov ax, ...; mov gs, ax; again: mov ebp, esp; int 80h or sysenter; inc dword gs:[4]; dec ebx; jne again; hlt
    var program: [UInt8] = [0xb8, 0x33, 0, 0, 0, 0x8e, 0xe8, 0x90, 0x90, 0x90, 0x89, 0xe5]
    program += entry == .sysenter ? [0x0f, 0x34] : [0xcd, 0x80]
    program += [0x65, 0xff, 0x05, 4, 0, 0, 0, 0x4b, 0x75, 0xf2, 0xf4]
    machine.code(program, at: 0x2000)
    for segment in [Seg.ds, Seg.es] { try machine.cpu.loadSegment(segment, selector: Self.userData) }
    machine.cpu.slots[Reg.rbx] = 9
    try machine.enterUser()
    return machine
  }

  private func little(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }

  @Test(arguments: Entry.allCases)
  func systemCallsLeaveWhatTheInterpreterLeaves(_ entry: Entry) throws {
    let interpreted = try machine(.interpreter, entry)
    let translated = try machine(.translator, entry)
    for machine in [interpreted, translated] {
      #expect(machine.cpu.run(budget: 1 << 40) == .halted)
      #expect(machine.get(0x6004, as: UInt32.self) == 9)
      #expect(machine.get(0x6800, as: UInt32.self) == 9)
    }
    #expect(translated.cpu.comparedRegisters == interpreted.cpu.comparedRegisters)
    for address in stride(from: 0x6000, to: 0x9000, by: 8) as StrideTo<UInt64> {
      #expect(translated.get(address, as: UInt64.self) == interpreted.get(address, as: UInt64.self), "\(address)")
    }
  }

  /// A descriptor that the kernel changes, or takes away, is seen by the next load.
  @Test func aChangedDescriptorIsSeen() throws {
    for accelerator in Accelerator.allCases {
      let machine = try machine(accelerator, .interrupt)
      #expect(machine.cpu.run(budget: 1 << 40) == .halted)
      // The per-CPU segment lies elsewhere now; then it is not present.
      machine.setDescriptor(0x38, SystemMachine.descriptor(base: 0x7800, type: 0x13))
      for round in 0..<2 {
        machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
        try machine.cpu.loadSegment(Seg.gs, selector: 0)
        machine.cpu.slots[Reg.rbx] = 3
        machine.cpu.slots[Reg.rsp] = 0x8000
        for segment in [Seg.ds, Seg.es] { try machine.cpu.loadSegment(segment, selector: Self.userData) }
        try machine.enterUser()
        #expect(machine.cpu.run(budget: 1 << 40) == .halted)
        #expect(machine.get(0x7800, as: UInt32.self) == 3)
        if round == 0 { machine.setDescriptor(0x38, SystemMachine.descriptor(base: 0x7800, type: 0x13) & ~(1 << 47)) }
      }
    }
  }
}
