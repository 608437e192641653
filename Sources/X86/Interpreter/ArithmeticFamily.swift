import CHost

/// ADD to CMP, TEST, INC, DEC, NOT, NEG: the shapes the inner loop shares, and the general forms.
extension CPU {
  @inline(__always)
  func rm<O: BinaryOperation, T: Word>(_ op: Op, _ operation: O.Type, _ type: T.Type) throws(GuestFault) {
    let b = try read(op, T.self)
    s.set(op.pointee.reg, O.apply(s, s.get(op.pointee.reg, T.self), b))
  }

  @inline(__always)
  func compareRM<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let b = try read(op, T.self)
    _ = Sub.apply(s, s.get(op.pointee.reg, T.self), b)
  }

  @inline(__always)
  func compareMR<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let a = try read(op, T.self)
    _ = Sub.apply(s, a, s.get(op.pointee.reg, T.self))
  }

  @inline(__always)
  func compareMI<O: BinaryOperation, T: Word>(_ op: Op, _ operation: O.Type, _ type: T.Type) throws(GuestFault) {
    let a = try read(op, T.self)
    _ = O.apply(s, a, T(truncatingIfNeeded: op.pointee.imm))
  }

  /// Any arithmetic operation and form (`vm_op.sub`: operation, then `AluForm` from bit 4 on).
  @inline(never)
  func arithmetic<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    switch op.pointee.sub & 7 {
    case 0: try form(op, Add.self, T.self)
    case 1: try form(op, Or.self, T.self)
    case 2: try form(op, Adc.self, T.self)
    case 3: try form(op, Sbb.self, T.self)
    case 4: try form(op, And.self, T.self)
    case 5: try form(op, Sub.self, T.self)
    case 6: try form(op, Xor.self, T.self)
    default: try compare(op, Sub.self, T.self)
    }
  }

  @inline(__always)
  private func form<O: BinaryOperation, T: Word>(_ op: Op, _ operation: O.Type, _ type: T.Type) throws(GuestFault) {
    switch op.pointee.sub &>> 4 {
    case AluForm.rr.rawValue: s.rr(op, O.self, T.self)
    case AluForm.ri.rawValue: s.ri(op, O.self, T.self)
    case AluForm.rm.rawValue: try rm(op, O.self, T.self)
    case AluForm.mr.rawValue:
      let b = s.get(op.pointee.reg, T.self)
      try modifyRM(op, T.self) { O.apply(s, $0, b) }
    default:
      let b = T(truncatingIfNeeded: op.pointee.imm)
      try modifyRM(op, T.self) { O.apply(s, $0, b) }
    }
  }

  @inline(__always)
  private func compare<O: BinaryOperation, T: Word>(_ op: Op, _ operation: O.Type, _ type: T.Type) throws(GuestFault) {
    switch op.pointee.sub &>> 4 {
    case AluForm.rr.rawValue: s.compareRR(op, O.self, T.self)
    case AluForm.ri.rawValue: s.compareRI(op, O.self, T.self)
    case AluForm.rm.rawValue: _ = O.apply(s, s.get(op.pointee.reg, T.self), try read(op, T.self))
    case AluForm.mr.rawValue: _ = O.apply(s, try read(op, T.self), s.get(op.pointee.reg, T.self))
    default: _ = O.apply(s, try read(op, T.self), T(truncatingIfNeeded: op.pointee.imm))
    }
  }

  @inline(never)
  func executeTest(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 1: try compare(op, And.self, UInt8.self)
    case 2: try compare(op, And.self, UInt16.self)
    case 4: try compare(op, And.self, UInt32.self)
    default: try compare(op, And.self, UInt64.self)
    }
  }

  @inline(__always)
  private func unary<O: BinaryOperation>(_ op: Op, _ operation: O.Type) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 1: try modifyRM(op, UInt8.self) { O.apply(s, $0, 0) }
    case 2: try modifyRM(op, UInt16.self) { O.apply(s, $0, 0) }
    case 4: try modifyRM(op, UInt32.self) { O.apply(s, $0, 0) }
    default: try modifyRM(op, UInt64.self) { O.apply(s, $0, 0) }
    }
  }

  @inline(never)
  func executeIncDec(_ op: Op) throws(GuestFault) {
    if op.pointee.sub == 0 { try unary(op, Inc.self) } else { try unary(op, Dec.self) }
  }

  @inline(never)
  func executeNot(_ op: Op) throws(GuestFault) { try unary(op, Not.self) }

  @inline(never)
  func executeNeg(_ op: Op) throws(GuestFault) { try unary(op, Neg.self) }
}
