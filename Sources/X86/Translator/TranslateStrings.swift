import CHost

/// MOVS and STOS, alone and repeated, by the same instruction where they go forward and stay in one page of each side: copies
/// and fills of a few bytes are what compilers and kernels use them for most. The interpreter does the others, by the page.
extension BlockTranslator {
  /// Guest registers of string instructions, which are in the host registers of the same numbers.
  private static let count: UInt8 = 1
  private static let source: UInt8 = 6
  private static let target: UInt8 = 7

  /// Returns false when the instruction is left to the interpreter.
  mutating func string(_ op: Op, _ size: Int, moves: Bool) -> Bool {
    let form = Int(op.pointee.form)
    guard form == (is64 ? VM_FORM_FLAT64 : VM_FORM_FLAT32), isNativeWidth(Int(op.pointee.address_size)) else {
      return false
    }
    let repeats = op.pointee.prefixes & UInt8(VM_PREFIX_REP | VM_PREFIX_REPNE) != 0
    keepFlags(accumulator: !moves)
    a.emit(0xf7, 0, StateField.eflags, size: 4)  // test
    a.immediate(Int64(EFLAGS.df), 4)
    missIf(Condition.notEqual)
    if repeats {
      // What the page has room for is found by an addition, which must not overflow.
      a.arithmetic(7, .register(Host.rcx), 4096, size: 8)
      missIf(Condition.above)
    }
    var addends: [(register: UInt8, addend: HostOperand)] = []
    if moves { addends.append((Self.source, checkString(Self.source, size, write: false, repeats: repeats))) }
    addends.append((Self.target, checkString(Self.target, size, write: true, repeats: repeats)))
    if !moves { a.move(Host.rax, homes.host(GuestRegisters.rax) ?? Host.rax) }
    for (register, addend) in addends { a.emit(0x03, register, addend, size: 8) }
    if size == 2 { a.byte(0x66) }
    if repeats { a.byte(0xf3) }
    if size == 8 { a.byte(0x48) }
    a.byte((moves ? 0xa4 : 0xaa) | (size == 1 ? 0 : 1))
    for (register, addend) in addends {
      a.emit(0x2b, register, addend, size: 8)
      // The page may be the address space's last.
      if !is64 { a.move(register, register, size: 4) }
      versions.write(register)
    }
    if repeats { versions.write(Self.count) }
    return true
  }

  /// Checks that all of one side lies in a page that the micro-TLB has. Returns where the page's addend is.
  private mutating func checkString(_ register: UInt8, _ size: Int, write: Bool, repeats: Bool) -> HostOperand {
    let reference = Reference(address: Address(base: register, is64: is64), disp: 0, size: size, write: write)
    let addend = checkAlone(reference)
    guard repeats else { return addend }
    let second = GuestRegisters.second
    a.move(second, register, size: 4)
    a.arithmetic(4, .register(second), 4095, size: 4)
    let scale = UInt8(size.trailingZeroBitCount)
    a.emit(0x8d, second, .memory(base: second, index: Host.rcx, scale: scale, disp: 0), size: 8)
    a.arithmetic(7, .register(second), 4096, size: 8)
    missIf(Condition.above)
    return addend
  }
}
