import CHost

/// Decimal adjustment (Intel SDM vol. 2A, AAA to DAS), flag instructions, BOUND.
extension CPU {
  @inline(never)
  func executeDecimal(_ op: Op) throws(GuestFault) {
    switch InstructionFamily(rawValue: UInt8(op.pointee.sub)) {
    case .daa: adjustPacked(subtract: false)
    case .das: adjustPacked(subtract: true)
    case .aaa: adjustUnpacked(subtract: false)
    case .aas: adjustUnpacked(subtract: true)
    case .aam:
      let base = UInt8(truncatingIfNeeded: op.pointee.imm)
      if base == 0 { throw .divide }
      let al = s.get(0, UInt8.self)
      s.set(1, al / base)
      s.set(0, al % base)
      s.flagsOfLogic(al % base)
    case .aad:
      let al = s.get(0, UInt8.self)
      let high = s.get(1, UInt8.self) &* UInt8(truncatingIfNeeded: op.pointee.imm)
      // Processors leave the flags of the addition.
      let sum = Add.apply(s, al, high)
      s.set(0, UInt16(sum))
    default: s.set(0, s.cf ? UInt8.max : 0)
    }
  }

  private func adjustPacked(subtract: Bool) {
    let old = s.get(0, UInt8.self)
    let oldCarry = s.cf
    var al = old
    var carry = false
    let low = old & 15 > 9 || s.af
    if low {
      al = subtract ? al &- 6 : al &+ 6
      carry = oldCarry || (subtract ? old < 6 : old > 0xf9)
    }
    if old > 0x99 || oldCarry {
      al = subtract ? al &- 0x60 : al &+ 0x60
      carry = true
    } else if !subtract {
      carry = false
    }
    s.set(0, al)
    let overflow = subtract ? (old & ~al) &>> 7 != 0 : (~old & al) &>> 7 != 0
    s.setFlags(al, carry: carry, overflow: overflow)
    if low { s.pointee.flag_carries |= 8 }
  }

  private func adjustUnpacked(subtract: Bool) {
    let al = s.get(0, UInt8.self)
    let adjust = al & 15 > 9 || s.af
    if adjust {
      let ax = s.get(0, UInt16.self)
      s.set(0, subtract ? ax &- 0x106 : ax &+ 0x106)
    }
    let result = s.get(0, UInt8.self) & 15
    s.set(0, result)
    s.setFlags(result, carry: adjust, overflow: false)
    if adjust { s.pointee.flag_carries |= 8 }
  }

  /// sub: 0 CMC, 1 CLC, 2 STC, 3 CLD, 4 STD.
  func executeFlag(_ op: Op) {
    switch op.pointee.sub {
    case 0: s.setCarry(!s.cf, overflow: s.of)
    case 1: s.setCarry(false, overflow: s.of)
    case 2: s.setCarry(true, overflow: s.of)
    case 3: s.pointee.eflags &= ~Flag.df
    default: s.pointee.eflags |= Flag.df
    }
  }

  @inline(never)
  func executeBound(_ op: Op) throws(GuestFault) {
    let size = Int(op.pointee.operand_size)
    let address = try linear(op, size: size * 2, write: false)
    let index: Int64
    let lower: Int64
    let upper: Int64
    if size == 2 {
      index = Int64(Int16(bitPattern: s.get(op.pointee.reg, UInt16.self)))
      lower = Int64(Int16(bitPattern: try load(address, as: UInt16.self)))
      upper = Int64(Int16(bitPattern: try load(address &+ 2, as: UInt16.self)))
    } else {
      index = Int64(Int32(bitPattern: s.get(op.pointee.reg, UInt32.self)))
      lower = Int64(Int32(bitPattern: try load(address, as: UInt32.self)))
      upper = Int64(Int32(bitPattern: try load(address &+ 4, as: UInt32.self)))
    }
    if index < lower || index > upper { throw .bound }
  }
}
