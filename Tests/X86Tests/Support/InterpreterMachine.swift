import CHost
import GuestAssembly
import GuestMemory

@testable import X86

/// A CPU with 4 MiB of memory that runs a few bytes of code: 16-bit real mode, 32-bit flat protected mode, or 64-bit
/// code, without paging. Code starts at 0x1000 and ends with HLT; the stack ends at 0x8000. In real mode vector n leads
/// to a HLT at 0x800 + n.
final class InterpreterMachine {
  static let code: UInt64 = 0x1000
  static let stack: UInt64 = 0x8000
  static let data: UInt64 = 0x10000

  let memory: PhysicalMemory
  let cpu: CPU
  private let bits: Int

  init(bits: Int) throws {
    self.bits = bits
    memory = try PhysicalMemory(size: 4 << 20)
    cpu = CPU(
      index: 0, profile: CPUProfile.named("x86-64-v2")!, memory: memory, environment: CPUEnvironment())
    TestAccelerator.apply(to: cpu)
    for vector in 0..<32 {
      memory.write(UInt64(vector * 4), UInt32(0x800 + vector))
      memory.write(UInt64(0x800 + vector), 0xf4 as UInt8)
    }
    let s = cpu.s
    s.pointee.rip = Self.code
    s.slots[4] = Self.stack
    let limit: UInt32 = bits == 16 ? 0xffff : 0xffff_ffff
    for index in 0..<6 {
      var attributes: UInt16 = index == 1 ? 0x9b : 0x93
      if bits == 32 { attributes |= 0xc000 }
      if bits == 64 { attributes |= index == 1 ? 0xa000 : 0xc000 }
      cpu.segmentRegister(index).pointee = vm_segment(base: 0, limit: limit, selector: 0, attributes: attributes)
    }
    s.pointee.cr0 = bits == 16 ? 0x10 : 0x11
    if bits == 64 { s.pointee.efer = 0x500 }
    cpu.setFlags(2, mask: .max)
    cpu.updateMode()
  }

  func write(_ bytes: [UInt8], at address: UInt64 = InterpreterMachine.code) {
    for (index, byte) in bytes.enumerated() { memory.write(address + UInt64(index), byte) }
  }

  /// Writes assembled code.
  func write(_ code: String, at address: UInt64) throws {
    write(try GuestCode.assemble(code, bits: bits, origin: address), at: address)
  }

  /// Runs assembled code and a HLT from 0x1000.
  @discardableResult
  func run(_ code: String, budget: Int = 1_000_000) throws -> RunExit {
    run(try GuestCode.assemble(code, bits: bits, origin: Self.code), budget: budget)
  }

  /// Runs `bytes` and a HLT from 0x1000.
  @discardableResult
  func run(_ bytes: [UInt8], budget: Int = 1_000_000) -> RunExit {
    write(bytes + [0xf4])
    cpu.s.pointee.rip = Self.code
    cpu.s.pointee.activity = UInt32(VM_ACTIVE)
    cpu.flushCode()
    return cpu.run(budget: budget)
  }

  subscript(_ register: Int) -> UInt64 {
    get { cpu.s.slots[register] }
    set { cpu.s.slots[register] = newValue }
  }

  var flags: UInt64 {
    get { cpu.flagsImage() & 0x8d5 }
    set { cpu.setFlags(newValue, mask: 0x8d5) }
  }
}
