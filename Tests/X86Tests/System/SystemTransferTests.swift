import CHost
import Testing

@testable import X86

@Suite(.bothAccelerators) struct SystemTransferTests {
  @Test func segmentLoadsFaultAsTheManualSays() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    let cpu = machine.cpu
    machine.setDescriptor(0x30, SystemMachine.descriptor(type: 0x12) & ~(1 << 47))  // not present
    machine.setDescriptor(0x38, SystemMachine.descriptor(type: 0x18))  // execute-only
    machine.setDescriptor(0x40, SystemMachine.descriptor(type: 0x10))  // read-only
    let cases: [(Int, UInt16, GuestFault)] = [
      (Seg.ss, 0, .protection(0)), (Seg.ss, 0x13, .protection(0x10)), (Seg.ss, 0x08, .protection(0x08)),
      (Seg.ss, 0x30, .stack(0x30)), (Seg.ss, 0x40, .protection(0x40)), (Seg.ds, 0x30, .notPresent(0x30)),
      (Seg.ds, 0x38, .protection(0x38)), (Seg.ds, 0x28, .protection(0x28)), (Seg.ds, 0x100, .protection(0x100)),
      (Seg.ds, 0x14, .protection(0x14)),
    ]
    for (segment, selector, wanted) in cases {
      let before = cpu.segmentRegister(segment).pointee.selector
      let fault = machine.fault { () throws(GuestFault) in try cpu.loadSegment(segment, selector: selector) }
      #expect(fault == wanted, "\(segment) \(selector)")
      #expect(cpu.segmentRegister(segment).pointee.selector == before)
    }
    try cpu.loadSegment(Seg.ds, selector: 0)
    #expect(
      machine.fault { () throws(GuestFault) in _ = try cpu.segmentLinear(Seg.ds, 0, size: 1, write: false) }
        == .protection(0))
    // Loading sets the accessed bit.
    #expect(machine.get(SystemMachine.gdt + 0x15, as: UInt8.self) & 1 == 1)
  }

  @Test func expandDownSegmentsAreValidAboveTheirLimit() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.setDescriptor(0x30, SystemMachine.descriptor(limit: 0xfff, type: 0x16, flags: 4))
    try machine.cpu.loadSegment(Seg.es, selector: 0x30)
    #expect(try machine.cpu.segmentLinear(Seg.es, 0x1000, size: 4, write: true) == 0x1000)
    #expect(
      machine.fault { () throws(GuestFault) in _ = try machine.cpu.segmentLinear(Seg.es, 0xfff, size: 1, write: true) }
        == .protection(0))
  }

  @Test func anInterruptFromUserCodeSwitchesStacksAndIretReturns() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    try machine.enterUser()
    #expect(machine.s.cpl == 3)
    machine.setGate(0x80, 0x4000, dpl: 3)
    try machine.cpu.softwareInterrupt(0x80, next: 0x2002)
    #expect(machine.s.cpl == 0)
    #expect(machine.s.rip == 0x4000)
    #expect(machine.cpu.slots[Reg.rsp] == 0x8000 - 20)
    let frame = (0..<5).map { machine.get(0x8000 - 20 + UInt64($0 * 4), as: UInt32.self) }
    #expect(frame == [0x2002, 0x1b, 0x202, 0x7000, 0x23])
    #expect(machine.s.eflags & EFLAGS.if == 0)
    try machine.cpu.interruptReturn(size: 4, next: 0)
    #expect(machine.s.cpl == 3 && machine.s.rip == 0x2002 && machine.cpu.slots[Reg.rsp] == 0x7000)
    #expect(machine.cpu.segmentRegister(Seg.ds).pointee.selector == 0)
    // A gate of DPL 0 is closed to INT n at CPL 3.
    machine.setGate(0x81, 0x4000)
    let fault = machine.fault { () throws(GuestFault) in try machine.cpu.softwareInterrupt(0x81, next: 0) }
    #expect(fault == .protection(0x81 * 8 + 2))
  }

  @Test func faultsPushErrorCodesAndRF() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.setGate(13, 0x4000)
    machine.cpu.deliver(.protection(0x48))
    #expect(machine.s.rip == 0x4000)
    #expect(machine.get(0x9000 - 16, as: UInt32.self) == 0x48)
    #expect(machine.get(0x9000 - 12, as: UInt32.self) == 0x1000)
    #expect(machine.get(0x9000 - 4, as: UInt32.self) == 0x10002)
  }

  @Test func aFaultOfADeliveryDoublesAndThenShutsDown() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.setGate(8, 0x5000)
    machine.cpu.deliver(.protection(0))
    #expect(machine.s.rip == 0x5000)
    #expect(machine.get(machine.cpu.slots[Reg.rsp], as: UInt32.self) == 0)
    machine.put(SystemMachine.idt + 64, UInt64(0))
    machine.cpu.deliver(.notPresent(0x10))
    #expect(machine.environment.tripleFaults == 1)
    #expect(machine.s.activity == UInt32(VM_SHUTDOWN))
    #expect(machine.cpu.servicePending() == .shutdown)
  }

  @Test func aBenignFaultFollowedByAnotherIsNoDoubleFault() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.setGate(11, 0x6000)
    machine.put(SystemMachine.idt + 48, SystemMachine.gate(0x08, 0x5000, type: 14) & ~(1 << 47))
    machine.cpu.deliver(.undefined)
    #expect(machine.s.rip == 0x6000)
    // The IDT entry's index, IDT and EXT.
    #expect(machine.get(machine.cpu.slots[Reg.rsp], as: UInt32.self) == 6 * 8 + 3)
  }

  @Test func callGatesCopyParametersToTheInnerStackAndRetfReleasesThem() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.setDescriptor(0x30, SystemMachine.gate(0x08, 0x4000, type: 12, dpl: 3) | 2 << 32)
    try machine.enterUser()
    machine.put(0x7000, UInt32(0x11))
    machine.put(0x7004, UInt32(0x22))
    try machine.cpu.farCall(0x33, 0, size: 4, next: 0x2007)
    #expect(machine.s.cpl == 0 && machine.s.rip == 0x4000)
    let stack = machine.cpu.slots[Reg.rsp]
    let frame = (0..<6).map { machine.get(stack + UInt64($0 * 4), as: UInt32.self) }
    #expect(frame == [0x2007, 0x1b, 0x11, 0x22, 0x7000, 0x23])
    try machine.cpu.farReturn(size: 4, release: 8)
    #expect(machine.s.cpl == 3 && machine.s.rip == 0x2007)
    #expect(machine.cpu.slots[Reg.rsp] == 0x7008)
  }

  @Test func aJumpToATSSSwitchesTasksAndACallLinksBack() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    let other: UInt64 = 0x23000
    machine.setDescriptor(0x30, SystemMachine.descriptor(base: other, limit: 0x67, type: 0x09, flags: 0))
    machine.put(other + 32, UInt32(0x3000))
    machine.put(other + 36, UInt32(0x2))
    machine.put(other + 40, UInt32(0xabcd))
    machine.put(other + 56, UInt32(0x6000))
    for (offset, selector) in [(72, 0x10), (76, 0x08), (80, 0x10), (84, 0x10), (88, 0), (92, 0)] {
      machine.put(other + UInt64(offset), UInt32(selector))
    }
    try machine.cpu.farCall(0x30, 0, size: 4, next: 0x1007)
    #expect(machine.s.rip == 0x3000 && machine.cpu.slots[Reg.rax] == 0xabcd && machine.cpu.slots[Reg.rsp] == 0x6000)
    #expect(machine.s.eflags & EFLAGS.nt != 0 && machine.s.cr0 & CR0.ts != 0)
    #expect(machine.get(other, as: UInt16.self) == 0x28)
    #expect(machine.get(SystemMachine.tss + 32, as: UInt32.self) == 0x1007)
    #expect(machine.get(SystemMachine.gdt + 0x35, as: UInt8.self) == 0x8b)
    try machine.cpu.interruptReturn(size: 4, next: 0x3001)
    #expect(machine.s.rip == 0x1007 && machine.s.eflags & EFLAGS.nt == 0)
    #expect(machine.get(SystemMachine.gdt + 0x35, as: UInt8.self) == 0x89)
    #expect(machine.cpu.segmentRegister(Seg.tr).pointee.selector == 0x28)
  }

  @Test func iretEntersVirtual8086ModeAndInterruptsLeaveIt() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    let frame: [UInt32] = [0x100, 0x2000, 0x23202, 0xff0, 0x3000, 0x4000, 0x5000, 0x6000, 0x7000]
    for (index, word) in frame.enumerated() { machine.put(0x8800 + UInt64(index * 4), word) }
    machine.cpu.slots[Reg.rsp] = 0x8800
    try machine.cpu.interruptReturn(size: 4, next: 0)
    #expect(machine.cpu.isV86 && machine.s.cpl == 3)
    #expect(machine.cpu.segmentRegister(Seg.cs).pointee.base == 0x20000)
    #expect(machine.cpu.segmentRegister(Seg.gs).pointee.selector == 0x7000)
    machine.setGate(13, 0x4000)
    machine.cpu.deliver(.protection(0))
    #expect(!machine.cpu.isV86 && machine.s.cpl == 0)
    let top = (1...9).map { machine.get(0x8000 - UInt64($0 * 4), as: UInt32.self) }
    #expect(top == [0x7000, 0x6000, 0x5000, 0x4000, 0x3000, 0xff0, 0x33202, 0x2000, 0x100])
    #expect(machine.cpu.segmentRegister(Seg.ds).pointee.selector == 0)
  }

  @Test func longModeUsesISTAndAlignsTheStack() throws {
    let machine = try SystemMachine()
    try machine.enterLong()
    machine.setLongGate(14, 0x4000, ist: 2)
    machine.put(SystemMachine.tss + 44, UInt64(0x6008))
    machine.cpu.deliver(.page(2))
    #expect(machine.s.rip == 0x4000)
    let stack = machine.cpu.slots[Reg.rsp]
    #expect(stack == 0x6000 - 48)
    let frame = (0..<6).map { machine.get(stack + UInt64($0 * 8), as: UInt64.self) }
    #expect(frame == [2, 0x1000, 0x08, 0x10002, 0x9000, 0x10])
    machine.cpu.slots[Reg.rsp] += 8
    try machine.cpu.interruptReturn(size: 8, next: 0)
    #expect(machine.s.rip == 0x1000 && machine.cpu.slots[Reg.rsp] == 0x9000)
  }

  @Test func syscallAndSysretGoThereAndBack() throws {
    let machine = try SystemMachine()
    try machine.enterLong()
    let cpu = machine.cpu
    try cpu.writeMSR(MSR.star, 0x0010_0008 << 32)
    try cpu.writeMSR(MSR.lstar, 0xffff_8000_0000_1000)
    try cpu.writeMSR(MSR.sfmask, 0x200)
    var op = vm_op()
    op.operand_size = 8
    cpu.slots[Reg.rcx] = 0x1234
    cpu.slots[11] = 0x202
    try cpu.systemReturn(&op)
    #expect(machine.s.cpl == 3 && machine.s.rip == 0x1234 && machine.s.eflags & EFLAGS.if != 0)
    #expect(cpu.segmentRegister(Seg.cs).pointee.selector == 0x23)
    try cpu.systemCall(next: 0x1236)
    #expect(machine.s.cpl == 0 && machine.s.rip == 0xffff_8000_0000_1000 && machine.s.eflags & EFLAGS.if == 0)
    #expect(cpu.slots[Reg.rcx] == 0x1236 && cpu.slots[11] == 0x202)
  }

  @Test func interruptsWaitForIFAndForTheShadowOfSTI() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.setGate(0x30, 0x4000)
    machine.environment.vector = 0x30
    machine.cpu.post(UInt32(VM_PENDING_INTERRUPT))
    #expect(machine.cpu.servicePending() == nil)
    #expect(machine.s.pending & UInt32(VM_PENDING_INTERRUPT) == 0)
    try machine.cpu.setInterruptFlag()
    machine.cpu.recheckInterrupts()
    #expect(machine.cpu.servicePending() == nil)
    #expect(machine.s.rip == 0x1000)
    machine.cpu.finishStep()
    #expect(machine.cpu.servicePending() == nil)
    #expect(machine.s.rip == 0x4000)
  }

  @Test func aPortIsReachedThroughThePermissionBitmap() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.put(SystemMachine.tss + 0x68 + 0x10, UInt16(0xfffe))
    try machine.enterUser()
    try machine.cpu.checkPort(0x80, size: 1)
    #expect(machine.fault { () throws(GuestFault) in try machine.cpu.checkPort(0x80, size: 2) } == .protection(0))
  }

  @Test func aDataBreakpointTrapsAfterTheAccess() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.setGate(1, 0x4000)
    try machine.cpu.writeDebug(0, 0x5004)
    try machine.cpu.writeDebug(7, 0xd_0002)
    #expect(machine.cpu.servicePending() == nil)
    try machine.cpu.store(0x5000, UInt32(1))
    machine.cpu.finishStep()
    #expect(machine.s.rip == 0x1000)
    try machine.cpu.store(0x5002, UInt32(1))
    machine.cpu.finishStep()
    #expect(machine.s.rip == 0x4000)
    #expect(machine.cpu.debugRegisters[6] & 0xf == 1)
  }
}
