import CHost
import GuestAssembly
import Testing

@testable import X86

/// Corners of protection and of the modes that firmware and old systems walk around.
@Suite(.bothAccelerators) struct SystemEdgeTests {
  private func protected() throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    return machine
  }

  private func long(profile: CPUProfile = .x86_64_v2_extended) throws -> SystemMachine {
    let machine = try SystemMachine(profile: profile)
    try machine.enterLong()
    for vector in 0..<64 {
      machine.setLongGate(vector, SystemMachine.handlers + UInt64(vector * 16), ist: 1)
      machine.put(SystemMachine.handlers + UInt64(vector * 16), UInt8(0xf4))
    }
    machine.put(SystemMachine.tss + 36, UInt64(0x9800))
    return machine
  }

  @Test func a16BitStackIn32BitCodeWrapsAndKeepsTheUpperHalf() throws {
    let machine = try protected()
    machine.setDescriptor(0x30, SystemMachine.descriptor(base: 0x40000, limit: 0xffff, type: 0x12, flags: 0))
    let code = "push eax; push ax; call next; next: pop ebx; pushad; popad; hlt"
    try machine.code(code)
    try machine.cpu.loadSegment(Seg.ss, selector: 0x30)
    machine.cpu.slots[Reg.rsp] = 0x55_0002
    machine.cpu.slots[Reg.rax] = 0xaabb_ccdd
    // A push that straddles the wrap is beyond the limit.
    #expect(machine.run() == -1 && machine.s.activity == UInt32(VM_SHUTDOWN))
    let again = try protected()
    again.setDescriptor(0x30, SystemMachine.descriptor(base: 0x40000, limit: 0xffff, type: 0x12, flags: 0))
    try again.code(code)
    try again.cpu.loadSegment(Seg.ss, selector: 0x30)
    again.cpu.slots[Reg.rsp] = 0x55_0000
    again.cpu.slots[Reg.rax] = 0xaabb_ccdd
    #expect(again.run() == nil)
    #expect(again.cpu.slots[Reg.rsp] == 0x55_fffa && again.cpu.slots[Reg.rbx] == 0x1008)
    #expect(again.get(0x4fffc, as: UInt32.self) == 0xaabb_ccdd)
    #expect(again.get(0x4fffa, as: UInt16.self) == 0xccdd)
  }

  @Test func unrealModeKeepsTheLimitsOfProtectedMode() throws {
    let machine = try protected()
    machine.put(0x10_0010, UInt32(0x1234_5678))
    machine.setDescriptor(0x30, SystemMachine.descriptor(limit: 0xffff, type: 0x1a, flags: 0))
    try machine.code("mov eax, cr0; dec ax; mov cr0, eax; ljmp 0, 0x1100", bits: 16)
    // mov eax, [100010h]; mov bx, 100h; mov ds, bx; mov ecx, [ff010h]; hlt. The assembler cuts addresses in 16-bit code.
    machine.code(
      [0x67, 0x66, 0xa1, 0x10, 0, 0x10, 0, 0xbb, 0, 1, 0x8e, 0xdb, 0x67, 0x66, 0x8b, 0x0d, 0x10, 0xf0, 0x0f, 0, 0xf4],
      at: 0x1100)
    try machine.cpu.farJump(0x30, 0x1000, next: 0)
    #expect(machine.run() == nil)
    #expect(machine.cpu.slots[Reg.rax] & 0xffff_ffff == 0x1234_5678)
    #expect(machine.cpu.slots[Reg.rcx] & 0xffff_ffff == 0x1234_5678)
    #expect(machine.cpu.segmentRegister(Seg.ds).pointee.limit == 0xffff_ffff)
  }

  @Test func conformingCodeRunsAtTheCallersPrivilege() throws {
    let machine = try protected()
    machine.setDescriptor(0x30, SystemMachine.descriptor(type: 0x1e))
    try machine.code("lcall 0x33, 0x3000; hlt", at: 0x2000)
    try machine.code("mov eax, cs; retf", at: 0x3000)
    try machine.enterUser()
    #expect(machine.run() == 13)
    #expect(machine.pushed(1) == 0x2007 && machine.cpu.slots[Reg.rax] & 0xffff == 0x33)
    // Code of another privilege that does not conform.
    let other = try protected()
    try other.code("lcall 8, 0x3000", at: 0x2000)
    try other.enterUser()
    #expect(other.run() == 13)
    #expect(other.pushed(0) == 0x08 && other.pushed(1) == 0x2000)
  }

  @Test func limitsAreCheckedWithoutWrapping() throws {
    let machine = try protected()
    machine.setDescriptor(0x38, SystemMachine.descriptor(base: 0x40000, limit: 0x1000, type: 0x12, flags: 4))
    try machine.code("mov eax, [ebx]")
    try machine.cpu.loadSegment(Seg.ds, selector: 0x38)
    // The last is beyond the limit; in the second the sum of offset and size wraps.
    for offset: UInt64 in [0xffe, 0xffff_fffe] {
      machine.cpu.s.pointee.rip = 0x1000
      machine.cpu.slots[Reg.rsp] = 0x9000
      machine.cpu.slots[Reg.rbx] = offset
      #expect(machine.run() == 13)
    }
    machine.cpu.s.pointee.rip = 0x1000
    try machine.code("mov eax, [ebx]; hlt")
    machine.cpu.slots[Reg.rbx] = 0xffd
    #expect(machine.run() == nil)
  }

  @Test func sysretRefusesWhatIsNoAddressBeforeItLeaves() throws {
    let machine = try long()
    try machine.cpu.writeMSR(MSR.star, 0x0010_0008 << 32)
    try machine.code("sysretq")
    machine.cpu.slots[Reg.rcx] = 0x8000_0000_0000
    machine.cpu.slots[11] = 0x202
    #expect(machine.run() == 13)
    #expect(machine.s.cpl == 0)
    let frame = machine.cpu.slots[Reg.rsp]
    #expect(machine.get(frame + 8, as: UInt64.self) == 0x1000 && machine.get(frame + 16, as: UInt16.self) == 0x08)
  }

  @Test func syscallNeedsItsEnableBitAnd64BitCode() throws {
    let machine = try long()
    try machine.cpu.writeMSR(MSR.efer, machine.s.efer & ~EFER.sce)
    try machine.code("syscall")
    #expect(machine.run() == 6)
    let compatibility = try long()
    compatibility.setDescriptor(0x30, SystemMachine.descriptor(type: 0x1a))
    try compatibility.code("syscall", bits: 32)
    try compatibility.cpu.farJump(0x30, 0x1000, next: 0)
    #expect(compatibility.run() == 6)
  }

  @Test func addressesInModelSpecificRegistersAreCanonical() throws {
    for msr: UInt32 in [0xc000_0082, 0xc000_0083, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0x175, 0x176] {
      let machine = try long()
      try machine.code("wrmsr")
      machine.cpu.slots[Reg.rcx] = UInt64(msr)
      machine.cpu.slots[Reg.rdx] = 0x8000
      machine.cpu.slots[Reg.rax] = 0
      #expect(machine.run() == 13, "\(String(msr, radix: 16))")
    }
  }

  @Test func inOutsOfUserCodeAskTheBitmap() throws {
    let cases: [(String, UInt16, UInt64)] = [
      ("insb", 0x80, 0), ("insd", 0x80, 13), ("outsb", 0x81, 13), ("outsb", 0x80, 0), ("in al, dx", 0x82, 13),
      // The byte behind the bitmap's last one must be within the TSS.
      ("in al, dx", 0xfff8, 13),
    ]
    for (code, port, vector) in cases {
      let machine = try protected()
      for offset in 0..<0x2000 { machine.put(SystemMachine.tss + 0x68 + UInt64(offset), UInt8(0xff)) }
      machine.put(SystemMachine.tss + 0x68 + 0x10, UInt8(0xfe))
      machine.setDescriptor(
        0x28, SystemMachine.descriptor(base: SystemMachine.tss, limit: 0x2067, type: 0x0b, flags: 0))
      machine.cpu.segmentRegister(Seg.tr).pointee.limit = 0x2067
      machine.put(SystemMachine.tss + 0x68 + 0x1fff, UInt8(0))
      try machine.code(code + "; int 0x40", at: 0x2000)
      for segment in [Seg.ds, Seg.es] { try machine.cpu.loadSegment(segment, selector: 0x23) }
      try machine.enterUser()
      machine.cpu.slots[Reg.rdx] = UInt64(port)
      machine.cpu.slots[Reg.rdi] = 0x6000
      machine.cpu.slots[Reg.rsi] = 0x6000
      #expect(machine.run() == (vector == 0 ? 0x40 : Int(vector)), "\(code) \(port)")
    }
  }

  @Test func portBreakpointsTrapAndGeneralDetectFaults() throws {
    let machine = try protected()
    try machine.cpu.writeCR4(CR4.de)
    try machine.cpu.writeDebug(0, 0x80)
    try machine.cpu.writeDebug(7, 0x2_0002 | 0x400)
    try machine.code("out 0x80, al; nop")
    #expect(machine.run() == 1)
    #expect(machine.pushed(0) == 0x1002 && machine.cpu.debugRegisters[6] & 0xf == 1)
    #expect(machine.environment.written.map(\.0) == [0x80])

    let other = try protected()
    try other.cpu.writeDebug(7, 0x2400)
    try other.code("mov eax, dr0")
    #expect(other.run() == 1)
    #expect(other.pushed(0) == 0x1000)
    #expect(other.cpu.debugRegisters[6] & 0x2000 != 0 && other.cpu.debugRegisters[7] & 0x2000 == 0)
  }

  @Test func aProcessorThatGotINITWaitsForItsStart() throws {
    let machine = try SystemMachine(index: 1)
    try machine.enterProtected()
    machine.cpu.post(UInt32(VM_PENDING_INIT))
    #expect(machine.cpu.run(budget: 10) == .halted)
    #expect(machine.s.activity == UInt32(VM_WAIT_FOR_SIPI) && machine.s.cr0 & 1 == 0)
    machine.cpu.s.pointee.startup_vector = 0x9a
    machine.put(0x9a000, UInt8(0xf4))
    machine.cpu.post(UInt32(VM_PENDING_SIPI))
    #expect(machine.cpu.run(budget: 10) == .halted)
    #expect(machine.cpu.segmentRegister(Seg.cs).pointee.selector == 0x9a00 && machine.s.rip == 1)
    // One that runs takes no notice.
    machine.cpu.s.pointee.startup_vector = 0x10
    machine.cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    machine.cpu.post(UInt32(VM_PENDING_SIPI))
    machine.put(0x9a001, UInt8(0xf4))
    #expect(machine.cpu.run(budget: 10) == .halted)
    #expect(machine.s.rip == 2)
  }

  @Test func theDefaultProfileOffersWhatItSaysAndNothingElse() throws {
    let profile = CPUProfile.x86_64_v2
    let first = profile.query(1, 0)
    // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT (x86-64-v2); no MONITOR, FMA, MOVBE, AES, XSAVE, OSXSAVE, AVX, RDRAND.
    for bit in [0, 9, 13, 19, 20, 23] { #expect(first.ecx & 1 << UInt32(bit) != 0) }
    for bit in [3, 12, 22, 25, 26, 27, 28, 29, 30] { #expect(first.ecx & 1 << UInt32(bit) == 0) }
    let extended = profile.query(0x8000_0001, 0)
    #expect(extended.ecx & 1 != 0)
    // RDPID is for definitions that set its bit: machines saved under a profile's name stay what they were.
    for profile in CPUProfile.all { #expect(profile.query(7, 0).ecx & 1 << 22 == 0, "\(profile.name)") }
    let absent = profile.query(0xd, 0)
    #expect(absent.eax | absent.ebx | absent.ecx | absent.edx == 0)
    // Instructions that the profile does not offer; RDPMC, of no counter, is there.
    let refused = [
      "xgetbv", "xsetbv", "xsave [rsi]", "monitor", "mwait", "rdfsbase eax", "stac", "invpcid rax, [rsi]", "vzeroupper",
      "rdrand eax", "rdseed eax", "ud2", "vmcall", "vmmcall", "getsec", "rsm", "aesenc xmm0, xmm1",
      "pclmulqdq xmm0, xmm1, 0", "sha1nexte xmm0, xmm1", "adcx eax, ecx", "rdpid rax", "rdpmc",
    ]
    for (name, code) in zip(refused, try GuestCode.assembleAll(refused, bits: 64)) {
      let machine = try long(profile: profile)
      try machine.cpu.writeCR4(machine.s.cr4 | CR4.osfxsr)
      machine.code(code)
      machine.cpu.slots[Reg.rcx] = 0xff
      machine.cpu.slots[Reg.rsi] = 0x6000
      #expect(machine.run() == (name == "rdpmc" ? 13 : 6), "\(name)")
    }
    // CR4 bits of what is not offered: OSXSAVE, FSGSBASE, SMEP, SMAP, UMIP, PCIDE, PKE, VMXE, SMXE, LA57.
    for bit: UInt64 in [18, 16, 20, 21, 11, 17, 22, 13, 14, 12] {
      let machine = try long(profile: profile)
      let fault = machine.fault { () throws(GuestFault) in try machine.cpu.writeCR4(machine.s.cr4 | 1 << bit) }
      #expect(fault == .protection(0), "CR4 bit \(bit)")
    }
  }

  @Test func rdpidReadsTSCAUXAtEveryLevelWhereItIsOffered() throws {
    let profile = CPUProfile.x86_64_v2.setting(CPUIDLeaf(7, eax: 0, ebx: 0, ecx: 1 << 22, edx: 0))
    let machine = try long(profile: profile)
    try machine.cpu.writeMSR(MSR.tscAux, 0x8000_0005)
    machine.cpu.setFlags(0x8d5, mask: EFLAGS.arithmetic)
    for register in [Reg.rbx, 9] { machine.cpu.slots[register] = .max }
    // rdpid r9; rdpid rbx behind 66, which changes nothing; hlt
    machine.code([0xf3, 0x41, 0x0f, 0xc7, 0xf9, 0x66, 0xf3, 0x0f, 0xc7, 0xfb, 0xf4])
    #expect(machine.run() == nil && machine.s.rip == 0x100b)
    #expect(machine.cpu.slots[9] == 0x8000_0005 && machine.cpu.slots[Reg.rbx] == 0x8000_0005)
    #expect(machine.cpu.flagsImage() & EFLAGS.arithmetic == 0x8d5)
    // LOCK; no F3; 66 in its place; F2 behind F3; an operand in memory.
    let undefined: [[UInt8]] = [
      [0xf0, 0xf3, 0x0f, 0xc7, 0xfb], [0x0f, 0xc7, 0xfb], [0x66, 0x0f, 0xc7, 0xfb], [0xf3, 0xf2, 0x0f, 0xc7, 0xfb],
      [0xf3, 0x0f, 0xc7, 0x3e],
    ]
    for code in undefined {
      let machine = try long(profile: profile)
      machine.code(code)
      machine.cpu.slots[Reg.rsi] = 0x6000
      #expect(machine.run() == 6, "\(code)")
    }
    // CR4.TSD keeps user code from RDTSCP, not from RDPID.
    let user: [([UInt8], UInt32)] = [([0xf3, 0x0f, 0xc7, 0xf8], 0x2004), ([0x0f, 0x01, 0xf9], 0x2000)]
    for (code, end) in user {
      let machine = try SystemMachine(profile: profile)
      try machine.enterProtected()
      machine.haltOnEvents()
      try machine.cpu.writeCR4(CR4.tsd)
      try machine.cpu.writeMSR(MSR.tscAux, 7)
      machine.code(code + [0xf4], at: 0x2000)
      try machine.enterUser()
      machine.cpu.slots[Reg.rax] = 0x1_0000
      #expect(machine.run() == 13 && machine.pushed(1) == end)
      #expect(machine.cpu.slots[Reg.rax] == (end == 0x2004 ? 7 : 0x1_0000))
    }
  }

  @Test func pdptesAreLoadedWithCR3AndCheckedThen() throws {
    let machine = try protected()
    for page in 0..<8 { machine.put(0x32000 + UInt64(page * 8), UInt64(page) << 21 | 0x87) }
    machine.put(0x33000, UInt64(0x32001))
    try machine.cpu.writeCR4(CR4.pae)
    try machine.cpu.writeCR3(0x33000)
    try machine.cpu.writeCR0(0x8001_0011)
    #expect(try machine.cpu.load(0x6000, as: UInt32.self) == 0)
    // What is in memory counts at the next load of CR3 only.
    machine.put(0x33000, UInt64(0))
    machine.cpu.flushAllTranslations()
    #expect(try machine.cpu.load(0x6000, as: UInt32.self) == 0)
    // A reserved bit: the load of CR3 faults and changes nothing.
    machine.put(0x33000, UInt64(0x32003))
    let fault = machine.fault { () throws(GuestFault) in try machine.cpu.writeCR3(0x33000) }
    #expect(fault == .protection(0) && machine.s.cr3 == 0x33000)
    #expect(try machine.cpu.load(0x6000, as: UInt32.self) == 0)
  }

  @Test func a64BitCallGateSwitchesStacksAndPushesQuadwords() throws {
    let machine = try long()
    machine.setDescriptor(0x20, SystemMachine.descriptor(type: 0x12, dpl: 3))
    machine.put(SystemMachine.tss + 4, UInt64(0x8000))
    machine.put(SystemMachine.gdt + 0x40, SystemMachine.gate(0x08, 0x3000, type: 12, dpl: 3))
    machine.put(SystemMachine.gdt + 0x48, UInt64(0))
    for (index, word) in ([0x2000, 0x1b, 0x202, 0x7000, 0x23] as [UInt64]).enumerated() {
      machine.put(0x8800 + UInt64(index * 8), word)
    }
    machine.put(0x30000, UInt64(0x31007))
    machine.put(0x6000, UInt32(0))
    machine.put(0x6004, UInt16(0x43))
    machine.cpu.slots[Reg.rsp] = 0x8800
    try machine.cpu.interruptReturn(size: 8, next: 0)
    #expect(machine.s.cpl == 3)
    try machine.code("call fword ptr [0x6000]", at: 0x2000)
    try machine.code("hlt", at: 0x3000)
    #expect(machine.run() == nil)
    #expect(machine.s.cpl == 0 && machine.s.rip == 0x3001 && machine.cpu.slots[Reg.rsp] == 0x8000 - 32)
    let frame = (0..<4).map { machine.get(0x8000 - 32 + UInt64($0 * 8), as: UInt64.self) }
    #expect(frame == [0x2007, 0x1b, 0x7000, 0x23])
    #expect(machine.cpu.segmentRegister(Seg.ss).pointee.selector == 0)
  }
}
