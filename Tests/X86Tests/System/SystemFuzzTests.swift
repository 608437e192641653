import CHost
import Foundation
import GuestMemory
import Testing

@testable import X86

/// Any bytes, in every mode and at every privilege: whatever they do to the machine they do in both accelerators, and
/// they never harm the process.
@Suite struct SystemFuzzTests {
  enum Mode: String, CaseIterable, CustomTestStringConvertible {
    case real, v86, protected16, protected32, user32, compatibility, long, userLong
    var testDescription: String { rawValue }
    var bits: Int {
      switch self {
      case .real, .v86, .protected16: 16
      case .protected32, .user32, .compatibility: 32
      case .long, .userLong: 64
      }
    }
  }

  /// What a machine starts from.
  struct Start {
    var mode: Mode
    var code: [UInt8]
    var registers: [UInt64]
    var flags: UInt64
  }

  static let codeAddress: UInt64 = 0x11000

  static func machine(_ start: Start, _ accelerator: Accelerator) throws -> SystemMachine {
    let machine = try TestAccelerator.$current.withValue(accelerator) { try SystemMachine(megabytes: 2) }
    let cpu = machine.cpu
    for vector in 0..<32 {
      machine.put(UInt64(vector * 4), UInt32(0x4000 + vector * 16))
      machine.put(SystemMachine.handlers + UInt64(vector * 16), UInt8(0xf4))
    }
    switch start.mode {
    case .real: break
    case .long, .userLong, .compatibility:
      try machine.enterLong()
      for vector in 0..<32 { machine.setLongGate(vector, SystemMachine.handlers + UInt64(vector * 16), ist: 1) }
      machine.put(SystemMachine.tss + 4, UInt64(0x8000))
      machine.put(SystemMachine.tss + 36, UInt64(0x9800))
    default:
      try machine.enterProtected()
      machine.haltOnEvents()
    }
    switch start.mode {
    case .real:
      let segment = UInt16(codeAddress >> 4)
      cpu.segmentRegister(Seg.cs).pointee = vm_segment(
        base: codeAddress, limit: 0xffff, selector: segment, attributes: 0x9b)
    case .v86:
      try machine.enterV86(flags: 0x23202)
      cpu.segmentRegister(Seg.cs).pointee.base = codeAddress
    case .protected16:
      machine.setDescriptor(0x30, SystemMachine.descriptor(base: codeAddress, limit: 0xffff, type: 0x1a, flags: 0))
      try cpu.farJump(0x30, 0, next: 0)
    case .protected32: try cpu.farJump(0x08, codeAddress, next: 0)
    case .user32: try machine.enterUser(rip: UInt32(codeAddress))
    case .compatibility:
      machine.setDescriptor(0x30, SystemMachine.descriptor(type: 0x1a))
      try cpu.farJump(0x30, codeAddress, next: 0)
    case .long: try cpu.farJump(0x08, codeAddress, next: 0)
    case .userLong:
      for (index, word) in [codeAddress, 0x1b, 0x202, 0x7000, 0x23].enumerated() {
        machine.put(0x8800 + UInt64(index * 8), word)
      }
      cpu.slots[Reg.rsp] = 0x8800
      try cpu.interruptReturn(size: 8, next: 0)
    }
    if [.real, .v86, .protected16].contains(start.mode) { cpu.s.pointee.rip = 0 }
    if start.mode != .real { try cpu.writeCR4(machine.s.cr4 | CR4.osfxsr | 0x400) }
    cpu.s.pointee.cr0 |= 2
    for (index, value) in start.registers.enumerated() where index != Reg.rsp {
      cpu.slots[index] = start.mode.bits == 64 ? value : value & 0xffff_ffff
    }
    if start.mode == .real { cpu.slots[Reg.rsp] = 0x7000 }
    cpu.setFlags(start.flags, mask: 0x8d5)
    for offset in stride(from: UInt64(0x5000), to: 0x7000, by: 8) {
      machine.put(offset, start.registers[Int(offset >> 3) % 16] &+ offset)
    }
    machine.code(start.code + [0xf4], at: codeAddress)
    cpu.updateMode()
    return machine
  }

  /// What is left of a machine, field by field.
  static func summary(_ machine: SystemMachine) -> [String] {
    let s = machine.s
    func hex(_ value: some BinaryInteger) -> String { String(value, radix: 16) }
    var list = [
      "rip \(hex(s.rip))", "flags \(hex(machine.cpu.flagsImage()))", "activity \(s.activity)", "cpl \(s.cpl)",
      "cr0 \(hex(s.cr0)) cr2 \(hex(s.cr2)) cr3 \(hex(s.cr3)) cr4 \(hex(s.cr4)) efer \(hex(s.efer))",
      "mxcsr \(hex(s.mxcsr))", "fpu \(hex(s.fpu_status)) \(hex(s.fpu_control)) \(hex(s.fpu_empty))",
      "tables \(hex(s.gdtr.base)) \(hex(s.idtr.base))", "instructions \(s.instructions)",
    ]
    for register in 0..<16 { list.append("r\(register) \(hex(machine.cpu.slots[register]))") }
    for segment in 0..<8 {
      let value = machine.cpu.segmentRegister(segment).pointee
      list.append(
        "segment \(segment) \(hex(value.selector)) \(hex(value.base)) \(hex(value.limit)) \(hex(value.attributes))")
    }
    withUnsafeBytes(of: s.xmm) { list.append("xmm \($0.map { hex($0) }.joined())") }
    withUnsafeBytes(of: s.fpr) { list.append("x87 \($0.map { hex($0) }.joined())") }
    withUnsafeBytes(of: s.dr) { list.append("dr \($0.map { hex($0) }.joined())") }
    return list
  }

  /// Instructions that decode, with random operands: in the mode's own length, so that each is followed by the next.
  static func soup(_ mode: Mode, _ generator: inout SplitMix) -> [UInt8] {
    var code: [UInt8] = []
    for _ in 0..<Int.random(in: 1...8, using: &generator) {
      var bytes: [UInt8] = []
      let prefixes: [UInt8] = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x26, 0x64, 0x65]
      while Int.random(in: 0...3, using: &generator) == 0 { bytes.append(prefixes.randomElement(using: &generator)!) }
      if mode.bits == 64 && Bool.random(using: &generator) {
        bytes.append(UInt8.random(in: 0x40...0x4f, using: &generator))
      }
      switch Int.random(in: 0...5, using: &generator) {
      case 0, 1: bytes.append(0x0f)
      case 2 where Bool.random(using: &generator): bytes += [0x0f, Bool.random(using: &generator) ? 0x38 : 0x3a]
      default: break
      }
      for _ in 0..<12 {
        let small = UInt8.random(in: 0...0x7f, using: &generator)
        bytes.append(
          Int.random(in: 0...2, using: &generator) == 0 ? small & 0x0f : UInt8.random(in: 0...255, using: &generator))
      }
      let length = Disassembler.instruction(bytes, bits: mode.bits, address: 0).length
      if !leavesFlagsUndefined(bytes, mode) { code += bytes.prefix(length) }
    }
    return code
  }

  /// The translator has the host's own answer in flags that the manual leaves undefined.
  private static func leavesFlagsUndefined(_ bytes: [UInt8], _ mode: Mode) -> Bool {
    let code = mode.bits == 64 ? VM_MODE_CODE64 : mode.bits == 32 ? VM_MODE_CODE32 : VM_MODE_CODE16
    return bytes.withUnsafeBufferPointer { bytes in
      var decoder = Decoder(bytes: bytes.baseAddress!, available: bytes.count, mode: UInt32(code), blockOffset: 0)
      guard decoder.decode() == .complete else { return true }
      let families: [InstructionFamily] = [
        .shift, .shld, .shrd, .mul, .imul1, .imul2, .imul3, .bittest, .bsf, .bsr,
      ]
      return families.contains(decoder.row.family)
    }
  }

  static func start(_ mode: Mode, _ generator: inout SplitMix) -> Start {
    let registers: [UInt64] = (0..<16).map { _ in
      switch Int.random(in: 0...5, using: &generator) {
      case 0: generator.next()
      case 1: UInt64.random(in: 0...0x40, using: &generator)
      case 2: [0x08, 0x10, 0x1b, 0x23, 0x28, 0x30].randomElement(using: &generator)!
      case 3: codeAddress &+ UInt64.random(in: 0...0x20, using: &generator)
      default: UInt64.random(in: 0x5000...0x6fff, using: &generator)
      }
    }
    return Start(mode: mode, code: soup(mode, &generator), registers: registers, flags: generator.next())
  }

  /// Runs one start in both; what differs, or nil.
  static func difference(_ start: Start) throws -> String? {
    let machines = try [Accelerator.interpreter, .translator].map { try machine(start, $0) }
    var exits: [RunExit] = []
    for machine in machines {
      // Exceptions do not use up the budget: what faults for ever is stopped.
      let watch = DispatchSource.makeTimerSource(queue: .global())
      let cpu = machine.cpu
      nonisolated(unsafe) let stopped = cpu
      watch.setEventHandler { stopped.post(UInt32(VM_PENDING_STOP)) }
      watch.schedule(deadline: .now() + 0.25)
      watch.activate()
      exits.append(cpu.run(budget: 5_000))
      watch.cancel()
      withExtendedLifetime(cpu) {}
    }
    // What goes on and on need not have come to the same place.
    if exits.contains(.budget) || exits.contains(.stopped) { return nil }
    var found: [String] = []
    if exits[0] != exits[1] { found.append("\(exits)") }
    for (a, b) in zip(summary(machines[0]), summary(machines[1])) where a != b { found.append("\(a) | \(b)") }
    if memcmp(machines[0].memory.ram, machines[1].memory.ram, 2 << 20) != 0 {
      let offset = (0..<(2 << 20)).first {
        machines[0].memory.ram.load(fromByteOffset: $0, as: UInt8.self)
          != machines[1].memory.ram.load(fromByteOffset: $0, as: UInt8.self)
      }
      found.append("memory at \(String(offset ?? 0, radix: 16))")
    }
    return found.isEmpty ? nil : found.joined(separator: "; ")
  }

  @Test(arguments: Mode.allCases)
  func anyCodeRunsAlikeInBothAcceleratorsAndHarmsNobody(_ mode: Mode) throws {
    let rounds = NativeOracleTests.rounds * 15
    var generator = SplitMix(state: NativeOracleTests.seed &+ UInt64(mode.bits) &* 1000)
    var failures = 0
    for round in 0..<rounds where failures < 3 {
      let start = Self.start(mode, &generator)
      guard let difference = try Self.difference(start) else { continue }
      failures += 1
      let code = start.code.map { String($0, radix: 16) }.joined(separator: " ")
      let registers = start.registers.map { String($0, radix: 16) }.joined(separator: " ")
      Issue.record("\(mode) round \(round) [\(code)] from \(registers): \(difference)")
    }
  }
}
