import CHost
import GuestMemory

@testable import X86

/// A board for tests of the system instructions: ports that remember, an interrupt to acknowledge.
final class SystemEnvironment: CPUEnvironment {
  var vector: UInt8?
  var tripleFaults = 0
  var written: [(UInt16, UInt32)] = []
  var inputs: [UInt32] = []
  var memoryReads = 0
  /// Called with what is written to a device's memory.
  var onWrite: (UInt64) -> Void = { _ in }

  override func acknowledgeInterrupt() -> UInt8? {
    defer { vector = nil }
    return vector
  }
  override func tripleFault() { tripleFaults += 1 }
  override func writePort(_ port: UInt16, size: Int, value: UInt32) { written.append((port, value)) }
  override func readIO(_ physical: UInt64, size: Int) -> UInt64 {
    memoryReads += 1
    return .max
  }
  override func writeIO(_ physical: UInt64, size: Int, value: UInt64) { onWrite(value) }
  override func readPort(_ port: UInt16, size: Int) -> UInt32 { inputs.isEmpty ? 0 : inputs.removeFirst() }
}

/// Where a test's environment answers: what nobody has mapped is empty, and not asked for.
final class MappedDevice: MemoryMappedIO {
  /// Maps one from the end of RAM to 4 GiB.
  static func map(_ memory: PhysicalMemory) {
    memory.mapIO(
      MappedDevice(), name: "device", start: memory.lowSize, length: PhysicalMemory.highBase - memory.lowSize)
  }
  func readMemory(offset: UInt64, size: Int) -> UInt64 { .max }
  func writeMemory(offset: UInt64, size: Int, value: UInt64) {}
}

/// A CPU with 16 MiB and helpers to build tables by hand.
struct SystemMachine {
  let memory: PhysicalMemory
  let environment = SystemEnvironment()
  let cpu: CPU
  static let gdt: UInt64 = 0x20000
  static let idt: UInt64 = 0x21000
  static let tss: UInt64 = 0x22000

  init(profile: CPUProfile = .x86_64_v2_extended, megabytes: UInt64 = 16, index: Int = 0) throws {
    memory = try PhysicalMemory(size: megabytes << 20)
    MappedDevice.map(memory)
    cpu = CPU(index: index, profile: profile, memory: memory, environment: environment)
    TestAccelerator.apply(to: cpu)
  }

  var s: vm_cpu_state { cpu.s.pointee }

  static func descriptor(
    base: UInt64 = 0, limit: UInt64 = 0xfffff, type: UInt64, dpl: UInt64 = 0, flags: UInt64 = 0xc
  ) -> UInt64 {
    var value = limit & 0xffff | (base & 0xff_ffff) << 16
    value |= (type | dpl << 5 | 0x80) << 40
    return value | (limit >> 16 & 0xf) << 48 | flags << 52 | (base >> 24 & 0xff) << 56
  }

  static func gate(_ selector: UInt64, _ offset: UInt64, type: UInt64, dpl: UInt64 = 0) -> UInt64 {
    offset & 0xffff | selector << 16 | (type | dpl << 5 | 0x80) << 40 | (offset >> 16 & 0xffff) << 48
  }

  func put<T: FixedWidthInteger>(_ address: UInt64, _ value: T) { memory.write(address, value) }
  func get<T: FixedWidthInteger>(_ address: UInt64, as type: T.Type) -> T { memory.read(address, as: type) }

  func setDescriptor(_ selector: UInt16, _ value: UInt64) { put(Self.gdt + UInt64(selector & 0xfff8), value) }

  /// Flat 32-bit protected mode at CPL 0: 08 code, 10 data, 1B user code, 23 user data, 28 TSS.
  func enterProtected() throws {
    setDescriptor(0x08, Self.descriptor(type: 0x1a))
    setDescriptor(0x10, Self.descriptor(type: 0x12))
    setDescriptor(0x18, Self.descriptor(type: 0x1a, dpl: 3))
    setDescriptor(0x20, Self.descriptor(type: 0x12, dpl: 3))
    setDescriptor(0x28, Self.descriptor(base: Self.tss, limit: 0x2fff, type: 0x09, flags: 0))
    cpu.s.pointee.gdtr = vm_table(base: Self.gdt, limit: 0xff, reserved: 0)
    cpu.s.pointee.idtr = vm_table(base: Self.idt, limit: 0x7ff, reserved: 0)
    try cpu.writeCR0(0x11)
    try cpu.farJump(0x08, 0x1000, next: 0)
    for segment in [Seg.ss, Seg.ds, Seg.es, Seg.fs, Seg.gs] { try cpu.loadSegment(segment, selector: 0x10) }
    cpu.slots[Reg.rsp] = 0x9000
    put(Self.tss + 4, UInt32(0x8000))
    put(Self.tss + 8, UInt32(0x10))
    put(Self.tss + 102, UInt16(0x68))
    try cpu.loadTR(0x28)
  }

  /// From `enterProtected` to CPL 3 by an IRET.
  func enterUser(rip: UInt32 = 0x2000, flags: UInt32 = 0x202) throws {
    let frame: [UInt32] = [rip, 0x1b, flags, 0x7000, 0x23]
    for (index, word) in frame.enumerated() { put(0x8800 + UInt64(index * 4), word) }
    cpu.slots[Reg.rsp] = 0x8800
    try cpu.interruptReturn(size: 4, next: 0)
  }

  /// 64-bit mode with identity mapping of 2 MiB pages: tables at 0x30000, 08 code, 10 data, 28 TSS.
  func enterLong() throws {
    try enterProtected()
    put(0x30000, UInt64(0x31007))
    put(0x31000, UInt64(0x32007))
    for page in 0..<8 { put(0x32000 + UInt64(page * 8), UInt64(page) << 21 | 0x87) }
    try cpu.writeCR4(CR4.pae)
    try cpu.writeCR3(0x30000)
    try cpu.writeMSR(MSR.efer, EFER.lme | EFER.sce | EFER.nxe)
    try cpu.writeCR0(0x8001_0011)
    setDescriptor(0x08, Self.descriptor(type: 0x1a, flags: 0xa))
    setDescriptor(0x18, Self.descriptor(type: 0x1a, dpl: 3, flags: 0xa))
    cpu.s.pointee.idtr = vm_table(base: Self.idt, limit: 0xfff, reserved: 0)
    try cpu.farJump(0x08, 0x1000, next: 0)
    cpu.slots[Reg.rsp] = 0x9000
  }

  private static let faultHandler: UInt64 = 0x3000

  /// 64-bit mode in the translator, which translates at once; a general-protection fault leads to a HLT.
  func enterLongTranslated() throws {
    try enterLong()
    cpu.accelerator = .translator
    cpu.translationThreshold = 0
    setLongGate(13, Self.faultHandler)
    try code("hlt", at: Self.faultHandler)
  }

  /// Whether the CPU has come to that HLT.
  var hasFaulted: Bool { s.rip == Self.faultHandler + 1 }

  /// A 64-bit interrupt gate.
  func setLongGate(_ vector: Int, _ offset: UInt64, ist: UInt64 = 0, dpl: UInt64 = 0) {
    put(Self.idt + UInt64(vector * 16), Self.gate(0x08, offset, type: 14, dpl: dpl) | ist << 32)
    put(Self.idt + UInt64(vector * 16) + 8, offset >> 32)
  }

  func setGate(_ vector: Int, _ offset: UInt64, type: UInt64 = 14, dpl: UInt64 = 0, selector: UInt64 = 0x08) {
    put(Self.idt + UInt64(vector * 8), Self.gate(selector, offset, type: type, dpl: dpl))
  }

  /// Runs a body that should fault and gives the fault.
  func fault(_ body: () throws(GuestFault) -> Void) -> GuestFault? {
    do throws(GuestFault) {
      try body()
      return nil
    } catch {
      return error
    }
  }
}
