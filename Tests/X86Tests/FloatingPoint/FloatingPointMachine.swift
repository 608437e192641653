import CHost
import GuestAssembly
import GuestMemory

@testable import X86

/// A CPU in 64-bit code without paging, for instructions given as `vm_op`: x87 ones by text, others by the numbers that
/// lead to them in the opcode tables. No code in memory and no decoder is involved.
final class FloatingPointMachine {
  final class Board: CPUEnvironment {
    var errors = 0
    override func floatingPointError() { errors += 1 }
  }

  let memory: PhysicalMemory
  let board = Board()
  let cpu: CPU
  static let data: UInt64 = 0x4000

  init() throws {
    memory = try PhysicalMemory(size: 2 << 20)
    cpu = CPU(index: 0, profile: CPUProfile.named("x86-64-v2")!, memory: memory, environment: board)
    TestAccelerator.requireProof(of: cpu)
    let s = cpu.s
    s.pointee.cr0 = 0x21
    s.pointee.cr4 = 0x600
    s.pointee.mxcsr = 0x1f80
    s.pointee.mmu = UInt32(VM_MMU_SUPERVISOR)
    s.pointee.data_tlb = cpu.dataTLBs
    s.pointee.cpl = 0
    s.pointee.a20_mask = .max
    vm_x87_init(s)
    for index in 0..<6 {
      vm_segment_at(s, UInt32(index)).pointee =
        vm_segment(base: 0, limit: .max, selector: UInt16(8 * (index + 1)), attributes: index == 1 ? 0xa09b : 0xc093)
    }
    mode(UInt32(VM_MODE_CODE64))
  }

  func mode(_ code: UInt32) {
    cpu.s.pointee.mode =
      code == UInt32(VM_MODE_CODE64)
      ? code | UInt32(VM_MODE_STACK32 | VM_MODE_FLAT | VM_MODE_LONG | VM_MODE_PROTECTED)
      : code | UInt32(VM_MODE_PROTECTED)
  }

  /// An instruction's operand fields. `address` makes the ModRM operand memory.
  func op(
    sub: UInt16, reg: UInt8 = 0, rm: UInt8 = 0, address: UInt64? = nil, imm: UInt8 = 0, prefixes: Int = 0
  ) -> vm_op {
    var op = vm_op()
    op.sub = sub
    op.reg = reg
    op.rm = rm
    op.base = UInt8(VM_SLOT_ZERO)
    op.index = UInt8(VM_SLOT_ZERO)
    op.segment = UInt8(VM_DS)
    op.operand_size = 4
    op.address_size = 8
    op.imm = Int64(imm)
    op.prefixes = UInt8(prefixes)
    if let address {
      op.prefixes |= UInt8(VM_PREFIX_MEMORY)
      op.disp = Int64(address)
    }
    return op
  }

  /// Runs the SIMD instruction of that opcode.
  func simd(
    _ map: Int, _ opcode: UInt8, _ prefix: SIMDPrefix, reg: UInt8 = 1, rm: UInt8 = 2, address: UInt64? = nil,
    imm: UInt8 = 0, w: Bool = false, prefixes: Int = 0
  ) throws {
    let modrm = (address == nil ? 0xc0 : 0) | (reg & 7) << 3
    guard let found = SIMDTable.lookup(map: map, opcode: opcode, prefix: prefix, modrm: modrm, rexW: w) else {
      throw GuestFault.undefined
    }
    let all = prefixes | (w ? VM_PREFIX_REX_W | VM_PREFIX_REX : 0)
    var op = op(sub: found.sub, reg: reg, rm: rm, address: address, imm: imm, prefixes: all)
    try cpu.executeSIMD(&op)
  }

  /// Runs an x87 instruction given as text, which names memory by its address.
  func x87(_ text: String) throws {
    // 32-bit code has the address behind opcode and ModRM.
    let code = try GuestCode.assemble(text, bits: 32)
    let address = code.dropFirst(2).reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
    try x87(code[0], code[1], address: code.count > 2 ? address : nil)
  }

  /// Runs an x87 instruction given by its two bytes.
  func x87(_ first: UInt8, _ second: UInt8, address: UInt64? = nil, prefixes: Int = 0) throws {
    var op = op(sub: UInt16(first & 7) << 8 | UInt16(second), address: address, prefixes: prefixes)
    try cpu.executeX87(&op)
  }

  func xmm(_ index: Int) -> [UInt8] {
    let value = vm_xmm_at(cpu.s, UInt32(index)).pointee
    return (0..<16).map { UInt8(truncatingIfNeeded: ($0 < 8 ? value.lo : value.hi) >> UInt64(($0 & 7) * 8)) }
  }

  func setXMM(_ index: Int, _ lo: UInt64, _ hi: UInt64 = 0) {
    vm_xmm_at(cpu.s, UInt32(index)).pointee = vm_xmm(lo: lo, hi: hi)
  }

  func lo(_ index: Int) -> UInt64 { vm_xmm_at(cpu.s, UInt32(index)).pointee.lo }
  func hi(_ index: Int) -> UInt64 { vm_xmm_at(cpu.s, UInt32(index)).pointee.hi }

  /// ST(i): significand, and sign with exponent.
  func st(_ index: Int) -> (UInt64, UInt16) {
    let top = Int(cpu.s.pointee.fpu_status >> 11) & 7
    let all = withUnsafeBytes(of: cpu.s.pointee.fpr) { Array($0.bindMemory(to: vm_fpr.self)) }
    let register = all[(top + index) & 7]
    return (register.significand, register.exponent)
  }

  func bytes(_ address: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { memory.read(address + UInt64($0), as: UInt8.self) }
  }

  /// Pushes a double.
  func push(_ value: Double) throws {
    memory.write(Self.data, value.bitPattern)
    try x87("fld qword ptr [\(Self.data)]")
  }

  /// Pops to a double.
  func pop() throws -> Double {
    try x87("fstp qword ptr [\(Self.data)]")
    return Double(bitPattern: memory.read(Self.data, as: UInt64.self))
  }
}
