import CHost
import GuestAssembly
import Testing

@testable import X86

extension SystemMachine {
  func code(_ bytes: [UInt8], at address: UInt64 = 0x1000) {
    bytes.withUnsafeBytes { memory.write(address, from: $0) }
    cpu.flushCode()
  }

  /// Writes assembled code: of the mode that the CPU is in, if nothing else is said.
  func code(_ text: String, bits: Int? = nil, at address: UInt64 = 0x1000, symbols: [String: UInt64] = [:]) throws {
    let current = [16, 32, 64][Int(s.mode & UInt32(VM_MODE_CODE_MASK))]
    code(try GuestCode.assemble(text, bits: bits ?? current, origin: address, symbols: symbols), at: address)
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
  private func machine(cr4: UInt64, flags: UInt32 = 0x20202, code: String) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    try machine.cpu.writeCR4(cr4)
    // The interrupt redirection bitmap lies before the I/O bitmap, at 68h: INT 21h is the program's own.
    machine.put(SystemMachine.tss + 102, UInt16(0x88))
    machine.put(SystemMachine.tss + 0x68 + 4, UInt8(0))
    machine.put(SystemMachine.tss + 0x68 + 6, UInt8(1))  // INT 30h goes to the IDT
    machine.put(0x21 * 4, UInt32(0x2000_0300))
    try machine.code(code, bits: 16, at: 0x20100)
    try machine.code("hlt", at: 0x20300)
    try machine.enterV86(flags: flags)
    return machine
  }

  @Test func withoutVMEFlagInstructionsFaultBelowIOPL3() throws {
    for code in ["cli", "sti", "pushf", "popf", "int 0x21", "iret"] {
      let machine = try machine(cr4: 0, code: code)
      #expect(machine.run() == 13, "\(code)")
      #expect(machine.pushed(0) == 0 && machine.pushed(1) == 0x100)
    }
  }

  @Test func withIOPL3INTGoesThroughTheIDT() throws {
    let machine = try machine(cr4: 0, flags: 0x23202, code: "int 0x21")
    #expect(machine.run() == 0x21)
    #expect(machine.pushed(0) == 0x102 && machine.pushed(2) & 0x20000 != 0)
  }

  @Test func underVMECLIAndSTIMoveVIF() throws {
    var machine = try machine(cr4: 1, code: "sti; pushf; cli; pushf; hlt")
    #expect(machine.run() == 13)  // HLT is privileged
    let first = machine.get(0x30000 + 0xfee, as: UInt16.self)
    let second = machine.get(0x30000 + 0xfec, as: UInt16.self)
    #expect(first & 0x3200 == 0x3200 && second & 0x3200 == 0x3000)
    // STI with an interrupt pending.
    machine = try self.machine(cr4: 1, flags: 0x12_0202, code: "sti")
    #expect(machine.run() == 13)
  }

  @Test func underVMETheBitmapSaysWhoseInterruptItIs() throws {
    var machine = try machine(cr4: 1, flags: 0xa_0202, code: "int 0x21")
    #expect(machine.run() == 13)  // the HLT of the program's own handler, at 2000:0300
    #expect(machine.pushed(1) == 0x300)
    let image = machine.get(0x30000 + 0xfee, as: UInt16.self)
    #expect(image & 0x3200 == 0x3200)  // IF as VIF was, IOPL 3
    #expect(machine.get(0x30000 + 0xfea, as: UInt16.self) == 0x102)
    #expect(machine.pushed(3) & 0x8_0000 == 0)  // VIF is clear in the handler
    machine = try self.machine(cr4: 1, code: "int 0x30")
    #expect(machine.run() == 13)
  }

  @Test func underVMEPOPFRefusesTFAndAPendingInterrupt() throws {
    for (flags, image) in [(0x20202 as UInt32, 0x100 as UInt16), (0x12_0202, 0x200)] {
      let machine = try machine(cr4: 1, flags: flags, code: "popf; hlt")
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
    try machine.code("sti; hlt", at: 0x2000)
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
    try machine.code("mov ds, eax")
    machine.cpu.slots[Reg.rax] = 0x7ff8
    try machine.code("hlt", at: 0x3000)
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
    try machine.code("ljmp 0x30, 0")
    try machine.code("hlt", at: 0x3000)
    machine.run()
    #expect(machine.s.rip == 0x3001)
    #expect(machine.cpu.slots[Reg.rax] & 0xffff == 0xaaaa && machine.cpu.slots[Reg.rsp] & 0xffff == 0x6000)
    #expect(machine.cpu.segmentRegister(Seg.fs).pointee.selector == 0)
    #expect(machine.get(SystemMachine.gdt + 0x2d, as: UInt8.self) == 0x89)
  }

  @Test func tasksNestAndABusyOneIsRefused() throws {
    let machine = try machine()
    try machine.code("lcall 0x30, 0; hlt")
    try machine.code("iretd", at: 0x3000)
    #expect(machine.run() == nil)
    #expect(machine.s.rip == 0x1008)
    #expect(machine.get(Self.other + 32, as: UInt32.self) == 0x3001)
    // A jump to the running task's own TSS: busy.
    try machine.code("ljmp 0x28, 0")
    machine.cpu.s.pointee.rip = 0x1000
    #expect(machine.run() == 13)
    #expect(machine.pushed(0) == 0x28)
  }

  @Test func theDebugTrapBitOfATaskTrapsBeforeItsFirstInstruction() throws {
    let machine = try machine()
    machine.put(Self.other + 100, UInt16(1))
    try machine.code("ljmp 0x30, 0")
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x3000 && machine.cpu.debugRegisters[6] & 0x8000 != 0)
  }

  @Test func anInnerStackOfA16BitTSSIsFound() throws {
    let machine = try machine()
    machine.setDescriptor(0x38, SystemMachine.descriptor(base: 0x24000, limit: 0x2b, type: 0x01, flags: 0))
    machine.put(0x24002, UInt16(0x7f00))
    machine.put(0x24004, UInt16(0x10))
    try machine.cpu.loadTR(0x38)
    try machine.code("int 0x40", at: 0x2000)
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
    try machine.code("sysenter", at: 0x2000)
    try machine.code("mov edx, 0x2010; mov ecx, 0x7000; sysexit", at: 0x3000)
    try machine.code("hlt", at: 0x2010)
    try machine.enterUser()
    #expect(machine.run() == 13)  // HLT at CPL 3
    #expect(machine.pushed(1) == 0x2010 && machine.pushed(2) == 0x1b && machine.pushed(5) == 0x23)
    #expect(machine.pushed(4) == 0x7000)
    try machine.cpu.writeMSR(0x174, 0)
    try machine.code("sysenter")
    machine.cpu.s.pointee.rip = 0x1000
    #expect(machine.run() == 13)
  }

  @Test func larLslAndVerrTellWhatMayBeSeen() throws {
    for (selector, seen) in [(0x33, true), (0x38, false)] {
      let machine = try protected()
      machine.setDescriptor(0x30, SystemMachine.descriptor(limit: 0x12345, type: 0x10, dpl: 3, flags: 4))
      machine.setDescriptor(0x38, SystemMachine.descriptor(limit: 0xfff, type: 0x12, dpl: 0))
      try machine.code(
        "lar eax, ebx; setz dl; lsl ecx, ebx; setz dh; verr si; setz bh; verw si; setz bl; hlt", at: 0x2000)
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
    try machine.code("lcall 0x33, 0; hlt", at: 0x2000)
    try machine.code("mov ax, [esp + 4]; data16 retf 2", at: 0x3000)
    try machine.enterUser()
    #expect(machine.run() == 13)
    #expect(machine.pushed(1) == 0x2007 && machine.pushed(4) == 0x7002)
    #expect(machine.cpu.slots[Reg.rax] & 0xffff == 0x1234)
  }

  @Test func segmentLimitsHoldInCodeThatIsNotFlat() throws {
    let machine = try protected()
    machine.setDescriptor(0x30, SystemMachine.descriptor(base: 0x10000, limit: 0xfff, type: 0x12, flags: 4))
    machine.setDescriptor(0x38, SystemMachine.descriptor(base: 0x10000, limit: 0xfff, type: 0x16, flags: 4))
    try machine.code("mov eax, [0xffc]; mov eax, [0xffd]")
    try machine.cpu.loadSegment(Seg.ds, selector: 0x30)
    machine.put(0x10ffc, UInt32(0x55aa))
    #expect(machine.run() == 13)
    #expect(machine.pushed(1) == 0x1005 && machine.cpu.slots[Reg.rax] == 0x55aa)
    // Expand-down: what lies at or below the limit is refused.
    try machine.code("mov eax, [0x1000]; mov eax, [0xfff]")
    machine.cpu.s.pointee.rip = 0x1000
    try machine.cpu.loadSegment(Seg.ds, selector: 0x38)
    #expect(machine.run() == 13)
    #expect(machine.pushed(1) == 0x1005)
  }

  @Test func aBranchBeyondTheLimitFaultsItself() throws {
    let machine = try protected()
    machine.setDescriptor(0x30, SystemMachine.descriptor(limit: 0x2fff, type: 0x1a, flags: 4))
    for code in ["jmp beyond", "jne beyond", "jmp eax", "call beyond"] {
      try machine.code(code, symbols: ["beyond": 0x4005])
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
    try machine.code("mov eax, [0x100500]; hlt")
    machine.cpu.s.pointee.a20_mask = ~(1 << 20)
    machine.cpu.flushAllTranslations()
    machine.run()
    #expect(machine.cpu.slots[Reg.rax] == 0xa5)
  }
}
