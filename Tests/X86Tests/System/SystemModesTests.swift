import CHost
import Testing

@testable import X86

extension SystemMachine {
  func code(_ bytes: [UInt8], at address: UInt64 = 0x1000) {
    bytes.withUnsafeBytes { memory.write(address, from: $0) }
    cpu.flushCode()
  }

  static let handlers: UInt64 = 0x4000

  /// Every vector of the protected-mode IDT leads to a HLT of its own.
  func haltOnEvents() {
    for vector in 0..<0x80 {
      setGate(vector, Self.handlers + UInt64(vector * 16), dpl: 3)
      put(Self.handlers + UInt64(vector * 16), 0xf4 as UInt8)
    }
  }

  /// Runs to a HLT: the vector whose handler it is in, or nil for any other HLT.
  @discardableResult
  func run() -> Int? {
    cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    guard cpu.run(budget: 100_000) == .halted else { return -1 }
    let at = s.rip &- 1
    return at >= Self.handlers && at < Self.handlers + 0x800 ? Int((at - Self.handlers) / 16) : nil
  }

  /// The frame that a handler of a 32-bit gate finds: `index` words above ESP.
  func pushed(_ index: Int) -> UInt32 { get(cpu.slots[Reg.rsp] + UInt64(index * 4), as: UInt32.self) }

  /// Virtual-8086 mode at 2000:0100 with SS:SP 3000:0FF0.
  func enterV86(flags: UInt32 = 0x20202) throws {
    let frame: [UInt32] = [0x100, 0x2000, flags, 0xff0, 0x3000, 0x3000, 0x3000, 0, 0]
    for (index, word) in frame.enumerated() { put(0x8800 + UInt64(index * 4), word) }
    cpu.slots[Reg.rsp] = 0x8800
    try cpu.interruptReturn(size: 4, next: 0)
  }
}

/// Virtual-8086 mode and the virtual interrupt flag (Intel SDM vol. 3B, chapter 20).
@Suite(.bothAccelerators) struct SystemV86Tests {
  private func machine(cr4: UInt64, flags: UInt32 = 0x20202, code: [UInt8]) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    try machine.cpu.writeCR4(cr4)
    // The interrupt redirection bitmap lies before the I/O bitmap, at 68h: INT 21h is the program's own.
    machine.put(SystemMachine.tss + 102, UInt16(0x88))
    machine.put(SystemMachine.tss + 0x68 + 4, UInt8(0))
    machine.put(SystemMachine.tss + 0x68 + 6, UInt8(1))  // INT 30h goes to the IDT
    machine.put(0x21 * 4, UInt32(0x2000_0300))
    machine.code(code, at: 0x20100)
    machine.code([0xf4], at: 0x20300)
    try machine.enterV86(flags: flags)
    return machine
  }

  @Test func withoutVMEFlagInstructionsFaultBelowIOPL3() throws {
    for code in [[0xfa], [0xfb], [0x9c], [0x9d], [0xcd, 0x21], [0xcf]] as [[UInt8]] {
      let machine = try machine(cr4: 0, code: code)
      #expect(machine.run() == 13, "\(code)")
      #expect(machine.pushed(0) == 0 && machine.pushed(1) == 0x100)
    }
  }

  @Test func withIOPL3INTGoesThroughTheIDT() throws {
    let machine = try machine(cr4: 0, flags: 0x23202, code: [0xcd, 0x21])
    #expect(machine.run() == 0x21)
    #expect(machine.pushed(0) == 0x102 && machine.pushed(2) & 0x20000 != 0)
  }

  @Test func underVMECLIAndSTIMoveVIF() throws {
    var machine = try machine(cr4: 1, code: [0xfb, 0x9c, 0xfa, 0x9c, 0xf4])
    #expect(machine.run() == 13)  // HLT is privileged
    let first = machine.get(0x30000 + 0xfee, as: UInt16.self)
    let second = machine.get(0x30000 + 0xfec, as: UInt16.self)
    #expect(first & 0x3200 == 0x3200 && second & 0x3200 == 0x3000)
    // STI with an interrupt pending.
    machine = try self.machine(cr4: 1, flags: 0x12_0202, code: [0xfb])
    #expect(machine.run() == 13)
  }

  @Test func underVMETheBitmapSaysWhoseInterruptItIs() throws {
    var machine = try machine(cr4: 1, flags: 0xa_0202, code: [0xcd, 0x21])
    #expect(machine.run() == 13)  // the HLT of the program's own handler, at 2000:0300
    #expect(machine.pushed(1) == 0x300)
    let image = machine.get(0x30000 + 0xfee, as: UInt16.self)
    #expect(image & 0x3200 == 0x3200)  // IF as VIF was, IOPL 3
    #expect(machine.get(0x30000 + 0xfea, as: UInt16.self) == 0x102)
    #expect(machine.pushed(3) & 0x8_0000 == 0)  // VIF is clear in the handler
    machine = try self.machine(cr4: 1, code: [0xcd, 0x30])
    #expect(machine.run() == 13)
  }

  @Test func underVMEPOPFRefusesTFAndAPendingInterrupt() throws {
    for (flags, image) in [(0x20202 as UInt32, 0x100 as UInt16), (0x12_0202, 0x200)] {
      let machine = try machine(cr4: 1, flags: flags, code: [0x9d, 0xf4])
      machine.put(0x30000 + 0xff0, image)
      #expect(machine.run() == 13)
      #expect(machine.pushed(1) == 0x100)
    }
  }

  @Test func underPVIUserCodeMovesVIF() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    try machine.cpu.writeCR4(2)
    machine.code([0xfb, 0xf4], at: 0x2000)
    try machine.enterUser(flags: 0x2)
    #expect(machine.run() == 13)
    #expect(machine.pushed(3) & 0x8_0200 == 0x8_0000)
  }
}

/// Tasks (Intel SDM vol. 3A, chapter 7).
@Suite(.bothAccelerators) struct SystemTaskTests {
  private static let other: UInt64 = 0x23000

  private func machine() throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    let tss = Self.other
    machine.setDescriptor(0x30, SystemMachine.descriptor(base: tss, limit: 0x67, type: 0x09, flags: 0))
    machine.put(tss + 32, UInt32(0x3000))
    machine.put(tss + 36, UInt32(0x2))
    machine.put(tss + 56, UInt32(0x6000))
    for (offset, selector) in [(72, 0x10), (76, 0x08), (80, 0x10), (84, 0x10), (88, 0), (92, 0)] {
      machine.put(tss + UInt64(offset), UInt32(selector))
    }
    return machine
  }

  @Test func aFaultThroughATaskGatePushesItsCodeOnTheNewStack() throws {
    let machine = try machine()
    machine.setGate(13, 0, type: 5, selector: 0x30)
    machine.code([0x8e, 0xd8])  // mov ds, ax
    machine.cpu.slots[Reg.rax] = 0x7ff8
    machine.code([0xf4], at: 0x3000)
    #expect(machine.run() == nil)
    #expect(machine.s.rip == 0x3001 && machine.cpu.slots[Reg.rsp] == 0x5ffc)
    #expect(machine.pushed(0) == 0x7ff8)
    #expect(machine.get(Self.other, as: UInt16.self) == 0x28)
    #expect(machine.s.eflags & EFLAGS.nt != 0)
    #expect(machine.get(SystemMachine.tss + 32, as: UInt32.self) == 0x1000)
  }

  @Test func a16BitTaskKeepsTheUpperHalvesAndHasNoFSAndGS() throws {
    let machine = try machine()
    let tss = Self.other
    for offset in 0..<104 { machine.put(tss + UInt64(offset), UInt8(0)) }
    machine.setDescriptor(0x30, SystemMachine.descriptor(base: tss, limit: 0x2b, type: 0x01, flags: 0))
    machine.put(tss + 14, UInt16(0x3000))
    machine.put(tss + 16, UInt16(0x2))
    machine.put(tss + 18, UInt16(0xaaaa))
    machine.put(tss + 26, UInt16(0x6000))
    for (offset, selector) in [(34, 0x10), (36, 0x08), (38, 0x10), (40, 0x10)] {
      machine.put(tss + UInt64(offset), UInt16(selector))
    }
    machine.code([0xea, 0, 0, 0, 0, 0x30, 0])
    machine.code([0xf4], at: 0x3000)
    machine.run()
    #expect(machine.s.rip == 0x3001)
    #expect(machine.cpu.slots[Reg.rax] & 0xffff == 0xaaaa && machine.cpu.slots[Reg.rsp] & 0xffff == 0x6000)
    #expect(machine.cpu.segmentRegister(Seg.fs).pointee.selector == 0)
    #expect(machine.get(SystemMachine.gdt + 0x2d, as: UInt8.self) == 0x89)
  }

  @Test func tasksNestAndABusyOneIsRefused() throws {
    let machine = try machine()
    machine.code([0x9a, 0, 0, 0, 0, 0x30, 0, 0xf4])  // call task
    machine.code([0xcf], at: 0x3000)  // iret
    #expect(machine.run() == nil)
    #expect(machine.s.rip == 0x1008)
    #expect(machine.get(Self.other + 32, as: UInt32.self) == 0x3001)
    // A jump to the running task's own TSS: busy.
    machine.code([0xea, 0, 0, 0, 0, 0x28, 0])
    machine.cpu.s.pointee.rip = 0x1000
    #expect(machine.run() == 13)
    #expect(machine.pushed(0) == 0x28)
  }

  @Test func theDebugTrapBitOfATaskTrapsBeforeItsFirstInstruction() throws {
    let machine = try machine()
    machine.put(Self.other + 100, UInt16(1))
    machine.code([0xea, 0, 0, 0, 0, 0x30, 0])
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x3000 && machine.cpu.debugRegisters[6] & 0x8000 != 0)
  }

  @Test func anInnerStackOfA16BitTSSIsFound() throws {
    let machine = try machine()
    machine.setDescriptor(0x38, SystemMachine.descriptor(base: 0x24000, limit: 0x2b, type: 0x01, flags: 0))
    machine.put(0x24002, UInt16(0x7f00))
    machine.put(0x24004, UInt16(0x10))
    try machine.cpu.loadTR(0x38)
    machine.code([0xcd, 0x40], at: 0x2000)
    try machine.enterUser()
    #expect(machine.run() == 0x40)
    #expect(machine.cpu.slots[Reg.rsp] == 0x7f00 - 20)
  }
}

/// SYSENTER, far transfers, descriptor queries, segment limits.
@Suite(.bothAccelerators) struct SystemProtectionTests {
  private func protected() throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    return machine
  }

  @Test func sysenterAndSysexitGoThereAndBack() throws {
    let machine = try protected()
    try machine.cpu.writeMSR(0x174, 0x08)
    try machine.cpu.writeMSR(0x175, 0x8f00)
    try machine.cpu.writeMSR(0x176, 0x3000)
    machine.code([0x0f, 0x34], at: 0x2000)
    // mov edx, 2010h; mov ecx, 7000h; sysexit
    machine.code([0xba, 0x10, 0x20, 0, 0, 0xb9, 0, 0x70, 0, 0, 0x0f, 0x35], at: 0x3000)
    machine.code([0xf4], at: 0x2010)
    try machine.enterUser()
    #expect(machine.run() == 13)  // HLT at CPL 3
    #expect(machine.pushed(1) == 0x2010 && machine.pushed(2) == 0x1b && machine.pushed(5) == 0x23)
    #expect(machine.pushed(4) == 0x7000)
    try machine.cpu.writeMSR(0x174, 0)
    machine.code([0x0f, 0x34])
    machine.cpu.s.pointee.rip = 0x1000
    #expect(machine.run() == 13)
  }

  @Test func larLslAndVerrTellWhatMayBeSeen() throws {
    for (selector, seen) in [(0x33, true), (0x38, false)] {
      let machine = try protected()
      machine.setDescriptor(0x30, SystemMachine.descriptor(limit: 0x12345, type: 0x10, dpl: 3, flags: 4))
      machine.setDescriptor(0x38, SystemMachine.descriptor(limit: 0xfff, type: 0x12, dpl: 0))
      // lar eax, ebx; setz dl; lsl ecx, ebx; setz dh; verr bx; setz bh; verw bx; setz bl; hlt
      let queries: [UInt8] = [
        0x0f, 0x02, 0xc3, 0x0f, 0x94, 0xc2, 0x0f, 0x03, 0xcb, 0x0f, 0x94, 0xc6, 0x0f, 0x00, 0xe6, 0x0f, 0x94, 0xc7,
        0x0f, 0x00, 0xee, 0x0f, 0x94, 0xc3, 0xf4,
      ]
      machine.code(queries, at: 0x2000)
      try machine.enterUser()
      machine.cpu.slots[Reg.rbx] = UInt64(selector)
      machine.cpu.slots[Reg.rsi] = UInt64(selector)
      machine.cpu.slots[Reg.rax] = 7
      machine.cpu.slots[Reg.rcx] = 8
      #expect(machine.run() == 13)
      #expect(machine.cpu.slots[Reg.rdx] & 0xffff == (seen ? 0x101 : 0))
      #expect(machine.cpu.slots[Reg.rbx] & 0xffff == (seen ? 0x100 : 0))
      #expect(machine.cpu.slots[Reg.rax] == (seen ? 0x41_f000 : 7))
      #expect(machine.cpu.slots[Reg.rcx] == (seen ? 0x12345 : 8))
    }
  }

  @Test func a16BitCallGatePushesWordsAndRetfReturns() throws {
    let machine = try protected()
    machine.setDescriptor(0x30, SystemMachine.gate(0x08, 0x3000, type: 4, dpl: 3) | 1 << 32)
    machine.put(0x7000, UInt16(0x1234))
    machine.code([0x9a, 0, 0, 0, 0, 0x33, 0, 0xf4], at: 0x2000)
    // mov ax, [esp + 4]; retf 2, 16-bit
    machine.code([0x66, 0x8b, 0x44, 0x24, 4, 0x66, 0xca, 2, 0], at: 0x3000)
    try machine.enterUser()
    #expect(machine.run() == 13)
    #expect(machine.pushed(1) == 0x2007 && machine.pushed(4) == 0x7002)
    #expect(machine.cpu.slots[Reg.rax] & 0xffff == 0x1234)
  }

  @Test func segmentLimitsHoldInCodeThatIsNotFlat() throws {
    let machine = try protected()
    machine.setDescriptor(0x30, SystemMachine.descriptor(base: 0x10000, limit: 0xfff, type: 0x12, flags: 4))
    machine.setDescriptor(0x38, SystemMachine.descriptor(base: 0x10000, limit: 0xfff, type: 0x16, flags: 4))
    // mov eax, [ffch]; mov eax, [ffdh]
    let code: [UInt8] = [0xa1, 0xfc, 0x0f, 0, 0, 0xa1, 0xfd, 0x0f, 0, 0]
    machine.code(code)
    try machine.cpu.loadSegment(Seg.ds, selector: 0x30)
    machine.put(0x10ffc, UInt32(0x55aa))
    #expect(machine.run() == 13)
    #expect(machine.pushed(1) == 0x1005 && machine.cpu.slots[Reg.rax] == 0x55aa)
    // Expand-down: what lies at or below the limit is refused.
    machine.code([0xa1, 0x00, 0x10, 0, 0, 0xa1, 0xff, 0x0f, 0, 0])
    machine.cpu.s.pointee.rip = 0x1000
    try machine.cpu.loadSegment(Seg.ds, selector: 0x38)
    #expect(machine.run() == 13)
    #expect(machine.pushed(1) == 0x1005)
  }

  @Test func aBranchBeyondTheLimitFaultsItself() throws {
    let machine = try protected()
    machine.setDescriptor(0x30, SystemMachine.descriptor(limit: 0x2fff, type: 0x1a, flags: 4))
    for code in [[0xe9, 0, 0x30, 0, 0], [0x0f, 0x85, 0, 0x30, 0, 0], [0xff, 0xe0], [0xe8, 0, 0x30, 0, 0]] as [[UInt8]] {
      machine.code(code)
      try machine.cpu.farJump(0x30, 0x1000, next: 0)
      machine.cpu.slots[Reg.rax] = 0x3000
      machine.cpu.slots[Reg.rsp] = 0x9000
      machine.cpu.setFlags(0, mask: EFLAGS.zf)
      #expect(machine.run() == 13)
      #expect(machine.pushed(1) == 0x1000, "\(code)")
    }
  }

  @Test func a20WrapsAtOneMegabyte() throws {
    let machine = try protected()
    machine.put(0x500, UInt32(0xa5))
    machine.put(0x100500, UInt32(0x5a))
    machine.code([0xa1, 0, 5, 0x10, 0, 0xf4])
    machine.cpu.s.pointee.a20_mask = ~(1 << 20)
    machine.cpu.flushAllTranslations()
    machine.run()
    #expect(machine.cpu.slots[Reg.rax] == 0xa5)
  }
}
