import CHost

extension UnsafeMutablePointer where Pointee == vm_cpu_state {
  /// IMUL with a destination in `reg`: CF and OF say that the product did not fit.
  @inline(__always)
  func multiplySigned<T: Word>(_ op: Op, _ a: T, _ b: T) {
    let x = Int64(bitPattern: wide(a))
    let y = Int64(bitPattern: wide(b))
    let product = x.multipliedReportingOverflow(by: y)
    let result = T(truncatingIfNeeded: product.partialValue)
    let overflow = product.overflow || Int64(bitPattern: wide(result)) != product.partialValue
    setFlags(result, carry: overflow, overflow: overflow)
    set(op.pointee.reg, result)
  }
}

/// MUL, IMUL, DIV, IDIV.
extension CPU {
  /// sub: 1 with an immediate.
  @inline(never)
  func executeSignedMultiply(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 2: try signedMultiply(op, UInt16.self)
    case 4: try signedMultiply(op, UInt32.self)
    default: try signedMultiply(op, UInt64.self)
    }
  }

  @inline(__always)
  private func signedMultiply<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let a = try readRM(op, T.self)
    let b = op.pointee.sub == 1 ? T(truncatingIfNeeded: op.pointee.imm) : s.get(op.pointee.reg, T.self)
    s.multiplySigned(op, a, b)
  }

  /// sub: 1 signed. The product goes to AX, or rDX:rAX.
  @inline(never)
  func executeMultiply(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 1:
      let a = try readRM(op, UInt8.self)
      let b = s.get(0, UInt8.self)
      let signed = Int16(Int8(bitPattern: a)) &* Int16(Int8(bitPattern: b))
      let product = op.pointee.sub == 1 ? UInt16(bitPattern: signed) : UInt16(a) &* UInt16(b)
      s.set(0, product)
      flagsOfMultiply(op, UInt8(truncatingIfNeeded: product), UInt8(product &>> 8))
    case 2: try multiply(op, UInt16.self)
    case 4: try multiply(op, UInt32.self)
    default: try multiply(op, UInt64.self)
    }
  }

  @inline(__always)
  private func multiply<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let a = try readRM(op, T.self)
    let b = s.get(0, T.self)
    let product = a.multipliedFullWidth(by: b)
    let low = T(truncatingIfNeeded: product.low)
    var high = product.high
    if op.pointee.sub == 1 {
      // The signed product differs in its upper half only.
      if a >> (T.bitWidth &- 1) != 0 { high = high &- b }
      if b >> (T.bitWidth &- 1) != 0 { high = high &- a }
    }
    s.set(0, low)
    s.set(2, high)
    flagsOfMultiply(op, low, high)
  }

  @inline(__always)
  private func flagsOfMultiply<T: Word>(_ op: Op, _ low: T, _ high: T) {
    let negative = op.pointee.sub == 1 && low >> (T.bitWidth &- 1) != 0
    let overflow = high != (negative ? T.max : 0)
    s.setFlags(low, carry: overflow, overflow: overflow)
  }

  /// sub: 1 signed. #DE when the quotient does not fit; flags are left alone.
  @inline(never)
  func executeDivide(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 1: try divide8(op)
    case 2: try divide(op, UInt16.self)
    case 4: try divide(op, UInt32.self)
    default: try divide(op, UInt64.self)
    }
  }

  private func divide8(_ op: Op) throws(GuestFault) {
    let divisor = try readRM(op, UInt8.self)
    if divisor == 0 { throw .divide }
    let dividend = s.get(0, UInt16.self)
    if op.pointee.sub == 0 {
      let quotient = dividend / UInt16(divisor)
      if quotient > 0xff { throw .divide }
      s.set(0, (dividend % UInt16(divisor)) &<< 8 | quotient)
      return
    }
    let a = Int(Int16(bitPattern: dividend))
    let b = Int(Int8(bitPattern: divisor))
    let quotient = a / b
    if quotient < -128 || quotient > 127 { throw .divide }
    let remainder = UInt16(truncatingIfNeeded: a % b) & 0xff
    s.set(0, remainder &<< 8 | UInt16(truncatingIfNeeded: quotient) & 0xff)
  }

  @inline(__always)
  private func divide<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let divisor = try readRM(op, T.self)
    if divisor == 0 { throw .divide }
    let low = s.get(0, T.self)
    let high = s.get(2, T.self)
    if op.pointee.sub == 0 {
      if high >= divisor { throw .divide }
      try setQuotient(divisor.dividingFullWidth((high, magnitude(low))), T.self)
      return
    }
    // Signed: divide magnitudes, then give the signs back.
    let top = T.bitWidth &- 1
    let negative = high >> top != 0
    let negativeDivisor = divisor >> top != 0
    let absolute: T = negativeDivisor ? 0 &- divisor : divisor
    var absoluteHigh = high
    var absoluteLow = low
    if negative {
      absoluteLow = 0 &- low
      absoluteHigh = ~high &+ (low == 0 ? 1 : 0)
    }
    if absoluteHigh >= absolute { throw .divide }
    let result = absolute.dividingFullWidth((absoluteHigh, magnitude(absoluteLow)))
    let minimum: T = 1 << top
    let negate = negative != negativeDivisor
    if negate ? result.quotient > minimum : result.quotient >= minimum { throw .divide }
    s.set(0, negate ? 0 &- result.quotient : result.quotient)
    s.set(2, negative ? 0 &- result.remainder : result.remainder)
  }

  @inline(__always)
  private func magnitude<T: Word>(_ value: T) -> T.Magnitude { T.Magnitude(truncatingIfNeeded: value) }

  @inline(__always)
  private func setQuotient<T: Word>(_ result: (quotient: T, remainder: T), _ type: T.Type) throws(GuestFault) {
    s.set(0, result.quotient)
    s.set(2, result.remainder)
  }
}
