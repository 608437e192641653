import CHost

/// Host registers by their number in instruction encodings.
enum Host {
  static let rax: UInt8 = 0
  static let rcx: UInt8 = 1
  static let rdx: UInt8 = 2
  static let rbx: UInt8 = 3
  static let rsp: UInt8 = 4
  static let rbp: UInt8 = 5
  static let rsi: UInt8 = 6
  static let rdi: UInt8 = 7
  static let r8: UInt8 = 8
  static let r9: UInt8 = 9
  static let r10: UInt8 = 10
  static let r11: UInt8 = 11
  static let r12: UInt8 = 12
  static let r13: UInt8 = 13
  static let r14: UInt8 = 14
  static let r15: UInt8 = 15
  static let none: UInt8 = 0xff
}

/// The operand that ModRM.rm names.
enum HostOperand {
  case register(UInt8)
  case memory(base: UInt8, index: UInt8, scale: UInt8, disp: Int32)

  static func at(_ base: UInt8, _ disp: Int) -> HostOperand {
    .memory(base: base, index: Host.none, scale: 0, disp: Int32(truncatingIfNeeded: disp))
  }
}

/// Writes x86-64 instructions (Intel SDM vol. 2A, chapter 2). Addresses are those of the writable mapping; relative
/// branches mean the same in the executable one.
struct Assembler {
  var cursor: UnsafeMutablePointer<UInt8>
  /// Counts the instructions that name R14 other than in an address: those that may have changed it, and some that have
  /// not. Who keeps a value there asks by this whether it is still there, so that nobody who takes R14 as a temporary
  /// has to know of those who keep something in it.
  private(set) var temporaryChanges = 0

  init(cursor: UnsafeMutablePointer<UInt8>) { self.cursor = cursor }

  @inline(__always)
  private mutating func note(_ register: UInt8) {
    if register == Host.r14 { temporaryChanges &+= 1 }
  }

  /// Code that comes here from elsewhere, or is called, may have changed R14.
  mutating func noteTemporaryLost() { temporaryChanges &+= 1 }

  @inline(__always)
  mutating func byte(_ value: UInt8) {
    cursor.pointee = value
    cursor += 1
  }

  @inline(__always)
  mutating func word32(_ value: Int32) {
    UnsafeMutableRawPointer(cursor).storeBytes(of: value, as: Int32.self)
    cursor += 4
  }

  @inline(__always)
  mutating func word64(_ value: UInt64) {
    UnsafeMutableRawPointer(cursor).storeBytes(of: value, as: UInt64.self)
    cursor += 8
  }

  /// One instruction with a ModRM byte.
  ///
  /// - Parameters:
  ///   - opcode: up to three bytes, the first in the highest place: 0x89, 0x0FAF, 0x0F38F0.
  ///   - size: of the operands in bytes; 2 adds 66, 8 adds REX.W.
  ///   - byteRM: the rm operand is a byte register whatever `size` says.
  ///   - prefix: F0, F2, F3 or 66, or 0.
  mutating func emit(
    _ opcode: UInt32, _ reg: UInt8, _ rm: HostOperand, size: Int, byteRM: Bool = false, prefix: UInt8 = 0
  ) {
    note(reg)
    if prefix != 0 { byte(prefix) }
    if size == 2 { byte(0x66) }
    var rex: UInt8 = size == 8 ? 0x48 : 0
    if reg >= 8 { rex |= 0x44 }
    if size == 1 && reg >= 4 { rex |= 0x40 }
    switch rm {
    case .register(let number):
      note(number)
      if number >= 8 { rex |= 0x41 }
      if (size == 1 || byteRM) && number >= 4 { rex |= 0x40 }
      if rex != 0 { byte(rex) }
      self.opcode(opcode)
      byte(0xc0 | (reg & 7) << 3 | number & 7)
    case .memory(let base, let index, let scale, let disp):
      if base != Host.none && base >= 8 { rex |= 0x41 }
      if index != Host.none && index >= 8 { rex |= 0x42 }
      if rex != 0 { byte(rex) }
      self.opcode(opcode)
      address(reg & 7, base, index, scale, disp)
    }
  }

  @inline(__always)
  private mutating func opcode(_ opcode: UInt32) {
    if opcode > 0xffff { byte(UInt8(truncatingIfNeeded: opcode >> 16)) }
    if opcode > 0xff { byte(UInt8(truncatingIfNeeded: opcode >> 8)) }
    byte(UInt8(truncatingIfNeeded: opcode))
  }

  private mutating func address(_ reg: UInt8, _ base: UInt8, _ index: UInt8, _ scale: UInt8, _ disp: Int32) {
    let middle = reg << 3
    if base == Host.none {
      // A SIB byte without base: disp32 follows.
      byte(middle | 4)
      byte(scale << 6 | (index == Host.none ? 4 : index & 7) << 3 | 5)
      word32(disp)
      return
    }
    let short = disp >= -128 && disp <= 127
    let mod: UInt8 = disp == 0 && base & 7 != 5 ? 0 : short ? 0x40 : 0x80
    if index != Host.none || base & 7 == 4 {
      byte(mod | middle | 4)
      byte(scale << 6 | (index == Host.none ? 4 : index & 7) << 3 | base & 7)
    } else {
      byte(mod | middle | base & 7)
    }
    if mod == 0x40 { byte(UInt8(truncatingIfNeeded: disp)) }
    if mod == 0x80 { word32(disp) }
  }

  // MARK: Common instructions

  mutating func move(_ to: UInt8, _ from: UInt8, size: Int = 8) { emit(0x8b, to, .register(from), size: size) }
  mutating func load(_ to: UInt8, _ from: HostOperand, size: Int = 8) { emit(0x8b, to, from, size: size) }
  mutating func store(_ to: HostOperand, _ from: UInt8, size: Int = 8) { emit(0x89, from, to, size: size) }

  mutating func moveImmediate(_ to: UInt8, _ value: UInt64) {
    note(to)
    if value >> 32 == 0 {
      if to >= 8 { byte(0x41) }
      byte(0xb8 | to & 7)
      word32(Int32(truncatingIfNeeded: value))
    } else if Int64(bitPattern: value) >= Int64(Int32.min) && Int64(bitPattern: value) < 0 {
      emit(0xc7, 0, .register(to), size: 8)
      word32(Int32(truncatingIfNeeded: value))
    } else {
      byte(to >= 8 ? 0x49 : 0x48)
      byte(0xb8 | to & 7)
      word64(value)
    }
  }

  /// ADD, OR, ADC, SBB, AND, SUB, XOR, CMP (0 to 7) with an immediate.
  mutating func arithmetic(_ operation: UInt8, _ rm: HostOperand, _ value: Int64, size: Int, prefix: UInt8 = 0) {
    if size == 1 {
      emit(0x80, operation, rm, size: 1, prefix: prefix)
      byte(UInt8(truncatingIfNeeded: value))
    } else if value >= -128 && value <= 127 {
      emit(0x83, operation, rm, size: size, prefix: prefix)
      byte(UInt8(truncatingIfNeeded: value))
    } else {
      emit(0x81, operation, rm, size: size, prefix: prefix)
      immediate(value, size)
    }
  }

  /// An immediate of at most 4 bytes.
  mutating func immediate(_ value: Int64, _ size: Int) {
    switch size {
    case 1: byte(UInt8(truncatingIfNeeded: value))
    case 2:
      byte(UInt8(truncatingIfNeeded: value))
      byte(UInt8(truncatingIfNeeded: value >> 8))
    default: word32(Int32(truncatingIfNeeded: value))
    }
  }

  mutating func push(_ register: UInt8) {
    if register >= 8 { byte(0x41) }
    byte(0x50 | register & 7)
  }
  mutating func pop(_ register: UInt8) {
    note(register)
    if register >= 8 { byte(0x41) }
    byte(0x58 | register & 7)
  }
  /// SHR and SHL by a constant.
  mutating func shiftRight(_ register: UInt8, _ count: UInt8, size: Int) {
    emit(0xc1, 5, .register(register), size: size)
    byte(count)
  }
  mutating func shiftLeft(_ register: UInt8, _ count: UInt8, size: Int) {
    emit(0xc1, 4, .register(register), size: size)
    byte(count)
  }
  /// BSWAP of 4 or 8 bytes.
  mutating func swapBytes(_ register: UInt8, size: Int) {
    note(register)
    if size == 8 { byte(register >= 8 ? 0x49 : 0x48) } else if register >= 8 { byte(0x41) }
    byte(0x0f)
    byte(0xc8 | register & 7)
  }
  /// LEA, or MOV where that does.
  mutating func address(_ to: UInt8, _ base: UInt8, _ disp: Int, size: Int = 8) {
    if disp == 0 { move(to, base, size: size) } else { emit(0x8d, to, .at(base, disp), size: size) }
  }

  mutating func lahf() { byte(0x9f) }
  mutating func sahf() { byte(0x9e) }
  mutating func setOverflowAL() {
    byte(0x0f)
    byte(0x90)
    byte(0xc0)
  }
  /// ADD AL, 7F: OF becomes what SETO AL has kept.
  mutating func restoreOverflow() {
    byte(0x04)
    byte(0x7f)
  }

  /// RORX (BMI2): `to` = `from` rotated, of 4 or 8 bytes, no flags.
  mutating func rotateRight(_ to: UInt8, _ from: UInt8, _ count: UInt8, size: Int) {
    note(to)
    byte(0xc4)
    byte((to < 8 ? 0x80 : 0) | 0x40 | (from < 8 ? 0x20 : 0) | 3)
    byte(size == 8 ? 0xfb : 0x7b)
    byte(0xf0)
    byte(0xc0 | (to & 7) << 3 | from & 7)
    byte(count)
  }

  /// BEXTR (BMI1): `to` = the bits of `from` that `control` names, the first in bits 0-7 and how many in 8-15; 64 bits.
  mutating func extract(_ to: UInt8, _ from: UInt8, _ control: UInt8) {
    note(to)
    byte(0xc4)
    byte((to < 8 ? 0x80 : 0) | 0x40 | (from < 8 ? 0x20 : 0) | 2)
    byte((~control & 15) << 3 | 0x80)
    byte(0xf7)
    byte(0xc0 | (to & 7) << 3 | from & 7)
  }

  /// PDEP or PEXT (BMI2): `to` = bits of `from` by `mask`, 32 bits.
  mutating func bits(deposit: Bool, _ to: UInt8, _ from: UInt8, _ mask: UInt8) {
    note(to)
    byte(0xc4)
    byte((to < 8 ? 0x80 : 0) | 0x40 | (mask < 8 ? 0x20 : 0) | 2)
    byte((~from & 15) << 3 | (deposit ? 3 : 2))
    byte(0xf5)
    byte(0xc0 | (to & 7) << 3 | mask & 7)
  }

  // MARK: Branches

  /// Jcc with a displacement to be filled in; returns its place.
  mutating func jumpIf(_ condition: UInt8) -> UnsafeMutablePointer<UInt8> {
    byte(0x0f)
    byte(0x80 | condition)
    word32(0)
    return cursor - 4
  }

  mutating func jump() -> UnsafeMutablePointer<UInt8> {
    byte(0xe9)
    word32(0)
    return cursor - 4
  }

  mutating func jump(to target: UnsafeMutablePointer<UInt8>) {
    byte(0xe9)
    word32(0)
    Assembler.patch(cursor - 4, target)
  }

  mutating func jump(to target: UnsafeMutablePointer<UInt8>, if condition: UInt8) {
    Assembler.patch(jumpIf(condition), target)
  }

  mutating func call(_ target: UnsafeMutablePointer<UInt8>) {
    noteTemporaryLost()
    byte(0xe8)
    word32(0)
    Assembler.patch(cursor - 4, target)
  }

  /// Makes the 32-bit displacement at `site` lead to `target`.
  @inline(__always)
  static func patch(_ site: UnsafeMutablePointer<UInt8>, _ target: UnsafeMutablePointer<UInt8>) {
    let distance = target - (site + 4)
    UnsafeMutableRawPointer(site).storeBytes(of: Int32(truncatingIfNeeded: distance), as: Int32.self)
  }
}

/// Condition codes of Jcc.
enum Condition {
  static let below: UInt8 = 2
  static let aboveOrEqual: UInt8 = 3
  static let equal: UInt8 = 4
  static let notEqual: UInt8 = 5
  static let belowOrEqual: UInt8 = 6
  static let above: UInt8 = 7
  static let sign: UInt8 = 8
}
