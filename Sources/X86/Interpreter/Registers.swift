import CHost

/// Register operands. 8-bit ones are byte offsets, the others numbers (cpu_state.h, `vm_op`).
extension UnsafeMutablePointer where Pointee == vm_cpu_state {
  @inline(__always)
  var slots: UnsafeMutablePointer<UInt64> { UnsafeMutableRawPointer(self).assumingMemoryBound(to: UInt64.self) }

  @inline(__always)
  func get<T: Word>(_ number: UInt8, _ type: T.Type) -> T {
    let raw = UnsafeMutableRawPointer(self)
    let offset = T.bitWidth == 8 ? Int(number) : Int(number) &<< 3
    return raw.load(fromByteOffset: offset, as: T.self)
  }

  /// Writing 32 bits clears the upper half of the register.
  @inline(__always)
  func set<T: Word>(_ number: UInt8, _ value: T) {
    let raw = UnsafeMutableRawPointer(self)
    if T.bitWidth == 32 {
      raw.storeBytes(of: UInt64(truncatingIfNeeded: value), toByteOffset: Int(number) &<< 3, as: UInt64.self)
    } else {
      let offset = T.bitWidth == 8 ? Int(number) : Int(number) &<< 3
      raw.storeBytes(of: value, toByteOffset: offset, as: T.self)
    }
  }

  /// Base + index << scale + displacement, of no particular width.
  @inline(__always)
  func offset(_ op: Op) -> UInt64 {
    let index = slots[Int(op.pointee.index)] &<< UInt64(op.pointee.scale)
    return slots[Int(op.pointee.base)] &+ index &+ UInt64(bitPattern: op.pointee.disp)
  }
}

/// An arithmetic operation of two operands that writes flags.
protocol BinaryOperation {
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T
}

enum Add: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T {
    let result = a &+ b
    s.flagsOfAdd(a, b, result)
    return result
  }
}
enum Adc: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T {
    let carry: T = s.cf ? 1 : 0
    let result = a &+ b &+ carry
    s.flagsOfAdd(a, b, result)
    return result
  }
}
enum Sub: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T {
    let result = a &- b
    s.flagsOfSub(a, b, result)
    return result
  }
}
enum Sbb: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T {
    let borrow: T = s.cf ? 1 : 0
    let result = a &- b &- borrow
    s.flagsOfSub(a, b, result)
    return result
  }
}
enum And: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T {
    let result = a & b
    s.flagsOfLogic(result)
    return result
  }
}
enum Or: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T {
    let result = a | b
    s.flagsOfLogic(result)
    return result
  }
}
enum Xor: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T {
    let result = a ^ b
    s.flagsOfLogic(result)
    return result
  }
}
/// INC and DEC leave CF alone.
enum Inc: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T {
    let carry = s.pointee.flag_carries
    let result = a &+ 1
    s.flagsOfAdd(a, 1, result)
    s.keepCarry(carry)
    return result
  }
}
enum Dec: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T {
    let carry = s.pointee.flag_carries
    let result = a &- 1
    s.flagsOfSub(a, 1, result)
    s.keepCarry(carry)
    return result
  }
}
/// b is not used.
enum Neg: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T {
    let result = 0 &- a
    s.flagsOfSub(0, a, result)
    return result
  }
}
enum Not: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T { ~a }
}
/// ADD without flags, and so on.
enum AddQuiet: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T { a &+ b }
}
enum SubQuiet: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T { a &- b }
}
enum AndQuiet: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T { a & b }
}
enum OrQuiet: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T { a | b }
}
enum XorQuiet: BinaryOperation {
  @inline(__always)
  static func apply<T: Word>(_ s: CPUState, _ a: T, _ b: T) -> T { a ^ b }
}

extension UnsafeMutablePointer where Pointee == vm_cpu_state {
  /// Puts CF back to that of `old`, with OF unchanged: both of the top bits flip when CF does.
  @inline(__always)
  func keepCarry(_ old: UInt64) {
    let differs = (pointee.flag_carries ^ old) &>> 63
    pointee.flag_carries ^= differs &* (3 &<< 62)
  }

  // The shapes of the executor's hot cases.

  @inline(__always)
  func rr<O: BinaryOperation, T: Word>(_ op: Op, _ operation: O.Type, _ type: T.Type) {
    let a = get(op.pointee.rm, T.self)
    let b = get(op.pointee.reg, T.self)
    set(op.pointee.rm, O.apply(self, a, b))
  }

  @inline(__always)
  func ri<O: BinaryOperation, T: Word>(_ op: Op, _ operation: O.Type, _ type: T.Type) {
    let a = get(op.pointee.rm, T.self)
    set(op.pointee.rm, O.apply(self, a, T(truncatingIfNeeded: op.pointee.imm)))
  }

  /// CMP and TEST keep no result.
  @inline(__always)
  func compareRR<O: BinaryOperation, T: Word>(_ op: Op, _ operation: O.Type, _ type: T.Type) {
    _ = O.apply(self, get(op.pointee.rm, T.self), get(op.pointee.reg, T.self))
  }

  @inline(__always)
  func compareRI<O: BinaryOperation, T: Word>(_ op: Op, _ operation: O.Type, _ type: T.Type) {
    _ = O.apply(self, get(op.pointee.rm, T.self), T(truncatingIfNeeded: op.pointee.imm))
  }
}
