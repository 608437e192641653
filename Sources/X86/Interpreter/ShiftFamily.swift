import CHost

/// Shifts by a non-zero constant: the inner loop's forms.
extension UnsafeMutablePointer where Pointee == vm_cpu_state {
  @inline(__always)
  func shiftLeft<T: Word>(_ op: Op, _ type: T.Type) {
    let a = get(op.pointee.rm, T.self)
    set(op.pointee.rm, shl(a, Int(op.pointee.imm)))
  }
  @inline(__always)
  func shiftRight<T: Word>(_ op: Op, _ type: T.Type) {
    let a = get(op.pointee.rm, T.self)
    set(op.pointee.rm, shr(a, Int(op.pointee.imm)))
  }
  @inline(__always)
  func shiftArithmetic<T: Word>(_ op: Op, _ type: T.Type) {
    let a = get(op.pointee.rm, T.self)
    set(op.pointee.rm, sar(a, Int(op.pointee.imm)))
  }
  @inline(__always)
  func shiftLeftQuiet<T: Word>(_ op: Op, _ type: T.Type) {
    set(op.pointee.rm, get(op.pointee.rm, T.self) &<< T(truncatingIfNeeded: op.pointee.imm))
  }
  @inline(__always)
  func shiftRightQuiet<T: Word>(_ op: Op, _ type: T.Type) {
    set(op.pointee.rm, get(op.pointee.rm, T.self) &>> T(truncatingIfNeeded: op.pointee.imm))
  }
  @inline(__always)
  func shiftArithmeticQuiet<T: Word>(_ op: Op, _ type: T.Type) {
    let value = Int64(bitPattern: wide(get(op.pointee.rm, T.self)))
    set(op.pointee.rm, T(truncatingIfNeeded: value &>> op.pointee.imm))
  }

  // Counts are 1 to 31 (63 for 64 bits), also beyond the width of narrow operands.

  @inline(__always)
  func shl<T: Word>(_ a: T, _ count: Int) -> T {
    let result: T = a << count
    let carry = count <= T.bitWidth && a >> (T.bitWidth &- count) & 1 != 0
    let top = result >> (T.bitWidth &- 1) & 1 != 0
    setFlags(result, carry: carry, overflow: top != carry)
    return result
  }

  @inline(__always)
  func shr<T: Word>(_ a: T, _ count: Int) -> T {
    let result: T = a >> count
    let carry = a >> (count &- 1) & 1 != 0
    // For a count of 1 the old top bit; for others what processors leave: the top two bits of the result differ.
    let overflow = (result ^ result &<< 1) >> (T.bitWidth &- 1) & 1 != 0
    setFlags(result, carry: carry, overflow: overflow)
    return result
  }

  @inline(__always)
  func sar<T: Word>(_ a: T, _ count: Int) -> T {
    let value = Int64(bitPattern: wide(a))
    let result = T(truncatingIfNeeded: value &>> Int64(count))
    let carry = value &>> Int64(count &- 1) & 1 != 0
    setFlags(result, carry: carry, overflow: false)
    return result
  }
}

/// Rotates and shifts (Intel SDM vol. 2B, RCL/RCR/ROL/ROR, SAL/SAR/SHL/SHR; vol. 2B SHLD, SHRD).
extension CPU {
  /// sub: 0 ROL, 1 ROR, 2 RCL, 3 RCR, 4 SHL, 5 SHR, 7 SAR; plus 8 when the count is CL.
  @inline(never)
  func executeShift(_ op: Op) throws(GuestFault) {
    let mask = op.pointee.operand_size == 8 ? 63 : 31
    let raw = op.pointee.sub & 8 != 0 ? Int(s.get(8, UInt8.self)) : Int(op.pointee.imm)
    let count = raw & mask
    switch op.pointee.operand_size {
    case 1: try shift(op, count, UInt8.self)
    case 2: try shift(op, count, UInt16.self)
    case 4: try shift(op, count, UInt32.self)
    default: try shift(op, count, UInt64.self)
    }
  }

  @inline(__always)
  private func shift<T: Word>(_ op: Op, _ count: Int, _ type: T.Type) throws(GuestFault) {
    let operation = op.pointee.sub & 7
    // A count of 0 still reads and writes the operand, and clears the upper half of a 32-bit register.
    try modifyRM(op, T.self) { shifted(operation, $0, count) }
  }

  @inline(__always)
  private func shifted<T: Word>(_ operation: UInt16, _ a: T, _ count: Int) -> T {
    if count == 0 { return a }
    switch operation {
    case 0: return rotateLeft(a, count)
    case 1: return rotateRight(a, count)
    case 2: return rotateLeftThroughCarry(a, count)
    case 3: return rotateRightThroughCarry(a, count)
    case 4, 6: return s.shl(a, count)
    case 5: return s.shr(a, count)
    default: return s.sar(a, count)
    }
  }

  @inline(__always)
  private func top<T: Word>(_ value: T) -> Bool { value >> (T.bitWidth &- 1) & 1 != 0 }

  private func rotateLeft<T: Word>(_ a: T, _ count: Int) -> T {
    let by = count & (T.bitWidth &- 1)
    let result: T = by == 0 ? a : a << by | a >> (T.bitWidth &- by)
    let carry = result & 1 != 0
    s.setCarry(carry, overflow: top(result) != carry)
    return result
  }

  private func rotateRight<T: Word>(_ a: T, _ count: Int) -> T {
    let by = count & (T.bitWidth &- 1)
    let result: T = by == 0 ? a : a >> by | a << (T.bitWidth &- by)
    s.setCarry(top(result), overflow: top(result ^ result &<< 1))
    return result
  }

  private func rotateLeftThroughCarry<T: Word>(_ a: T, _ count: Int) -> T {
    let by = count % (T.bitWidth &+ 1)
    let carry: T = s.cf ? 1 : 0
    if by == 0 {
      s.setCarry(carry != 0, overflow: top(a) != (carry != 0))
      return a
    }
    var result: T = a << by | carry << (by &- 1)
    if by > 1 { result |= a >> (T.bitWidth &+ 1 &- by) }
    let out = a >> (T.bitWidth &- by) & 1 != 0
    s.setCarry(out, overflow: top(result) != out)
    return result
  }

  private func rotateRightThroughCarry<T: Word>(_ a: T, _ count: Int) -> T {
    let by = count % (T.bitWidth &+ 1)
    let carry: T = s.cf ? 1 : 0
    if by == 0 {
      s.setCarry(carry != 0, overflow: top(a ^ a &<< 1))
      return a
    }
    var result: T = a >> by | carry << (T.bitWidth &- by)
    if by > 1 { result |= a << (T.bitWidth &+ 1 &- by) }
    let out = a >> (by &- 1) & 1 != 0
    s.setCarry(out, overflow: top(result ^ result &<< 1))
    return result
  }

  // MARK: SHLD, SHRD

  /// sub: bit 0 right, bit 1 count in CL.
  @inline(never)
  func executeDoubleShift(_ op: Op) throws(GuestFault) {
    let mask = op.pointee.operand_size == 8 ? 63 : 31
    let raw = op.pointee.sub & 2 != 0 ? Int(s.get(8, UInt8.self)) : Int(op.pointee.imm)
    let count = raw & mask
    switch op.pointee.operand_size {
    case 2: try doubleShift16(op, count)
    case 4: try doubleShift(op, count, UInt32.self)
    default: try doubleShift(op, count, UInt64.self)
    }
  }

  @inline(__always)
  private func doubleShift<T: Word>(_ op: Op, _ count: Int, _ type: T.Type) throws(GuestFault) {
    let b = s.get(op.pointee.reg, T.self)
    let right = op.pointee.sub & 1 != 0
    try modifyRM(op, T.self) { a in
      if count == 0 { return a }
      let carry: Bool
      let result: T
      if right {
        result = a >> count | b << (T.bitWidth &- count)
        carry = a >> (count &- 1) & 1 != 0
      } else {
        result = a << count | b >> (T.bitWidth &- count)
        carry = a >> (T.bitWidth &- count) & 1 != 0
      }
      s.setFlags(result, carry: carry, overflow: top(result ^ a))
      return result
    }
  }

  /// Counts of 17 to 31 are undefined for 16 bits: processors shift the 48-bit value dest:src:dest.
  private func doubleShift16(_ op: Op, _ count: Int) throws(GuestFault) {
    let b = UInt64(s.get(op.pointee.reg, UInt16.self))
    let right = op.pointee.sub & 1 != 0
    try modifyRM(op, UInt16.self) { old in
      if count == 0 { return old }
      let a = UInt64(old)
      let chain: UInt64 = a &<< 32 | b &<< 16 | a
      let carry: Bool
      let result: UInt16
      if right {
        result = UInt16(truncatingIfNeeded: chain &>> UInt64(count))
        carry = chain &>> UInt64(count &- 1) & 1 != 0
      } else {
        result = UInt16(truncatingIfNeeded: (chain &<< UInt64(count)) &>> 32)
        carry = chain &>> UInt64(48 &- count) & 1 != 0
      }
      s.setFlags(result, carry: carry, overflow: top(result ^ old))
      return result
    }
  }
}
