import CHost

/// Moves, exchanges and widenings outside the inner loop.
extension CPU {
  /// The offset that LEA computes: of address size, no segment.
  @inline(__always)
  func effectiveAddress(_ op: Op) -> UInt64 {
    let offset = s.offset(op)
    if op.pointee.address_size == 8 { return offset }
    return op.pointee.address_size == 4 ? offset & 0xffff_ffff : offset & 0xffff
  }

  /// MOVZX and MOVSX of the less common widths. sub: the source's size, plus 16 when signed.
  @inline(never)
  func executeExtend(_ op: Op) throws(GuestFault) {
    let value: UInt64
    let signed = op.pointee.sub & 16 != 0
    switch op.pointee.sub & 15 {
    case 1:
      let byte = try readRM(op, UInt8.self)
      value = signed ? s.wide(byte) : UInt64(byte)
    case 2:
      let half = try readRM(op, UInt16.self)
      value = signed ? s.wide(half) : UInt64(half)
    default:
      // MOVSXD with a narrow destination is a plain move.
      if op.pointee.operand_size == 2 {
        value = UInt64(try readRM(op, UInt16.self))
      } else {
        value = s.wide(try readRM(op, UInt32.self))
      }
    }
    setRegister(op.pointee.reg, value, size: op.pointee.operand_size)
  }

  /// Writes a register of 2, 4 or 8 bytes.
  @inline(__always)
  func setRegister(_ number: UInt8, _ value: UInt64, size: UInt8) {
    switch size {
    case 2: s.set(number, UInt16(truncatingIfNeeded: value))
    case 4: s.set(number, UInt32(truncatingIfNeeded: value))
    default: s.set(number, value)
    }
  }

  /// CMOVcc from memory, which is read whatever the condition, and of 16 bits.
  @inline(never)
  func executeConditionalMove(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 2: try conditionalMove(op, UInt16.self)
    case 4: try conditionalMove(op, UInt32.self)
    default: try conditionalMove(op, UInt64.self)
    }
  }

  @inline(__always)
  private func conditionalMove<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let value = try readRM(op, T.self)
    s.set(op.pointee.reg, s.condition(op.pointee.sub) ? value : s.get(op.pointee.reg, T.self))
  }

  /// CBW, CWDE, CDQE.
  func executeWiden(_ op: Op) {
    switch op.pointee.operand_size {
    case 2: s.set(0, UInt16(truncatingIfNeeded: s.wide(s.get(0, UInt8.self))))
    case 4: s.set(0, UInt32(truncatingIfNeeded: s.wide(s.get(0, UInt16.self))))
    default: s.set(0, s.wide(s.get(0, UInt32.self)))
    }
  }

  /// CWD, CDQ, CQO.
  func executeSignSpread(_ op: Op) {
    switch op.pointee.operand_size {
    case 2: s.set(2, s.get(0, UInt16.self) &>> 15 != 0 ? UInt16.max : 0)
    case 4: s.set(2, s.get(0, UInt32.self) &>> 31 != 0 ? UInt32.max : 0)
    default: s.set(2, s.get(0, UInt64.self) &>> 63 != 0 ? UInt64.max : 0)
    }
  }

  /// BSWAP; of 16 bits it is undefined, and gives 0 on most processors.
  func executeByteSwap(_ op: Op) {
    switch op.pointee.operand_size {
    case 2: s.set(op.pointee.rm, 0 as UInt16)
    case 4: s.set(op.pointee.rm, s.get(op.pointee.rm, UInt32.self).byteSwapped)
    default: s.set(op.pointee.rm, s.get(op.pointee.rm, UInt64.self).byteSwapped)
    }
  }

  /// sub: 0 load, 1 store.
  @inline(never)
  func executeMoveSwapped(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 2: try moveSwapped(op, UInt16.self)
    case 4: try moveSwapped(op, UInt32.self)
    default: try moveSwapped(op, UInt64.self)
    }
  }

  @inline(__always)
  private func moveSwapped<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    if op.pointee.sub == 0 {
      s.set(op.pointee.reg, try read(op, T.self).byteSwapped)
    } else {
      try write(op, s.get(op.pointee.reg, T.self).byteSwapped)
    }
  }

  /// XLAT: AL = [rBX + AL].
  @inline(never)
  func executeTranslate(_ op: Op) throws(GuestFault) {
    let offset = (s.slots[3] &+ UInt64(s.get(0, UInt8.self))) & addressMask(op)
    let address = try segmentLinear(Int(op.pointee.segment), offset, size: 1, write: false)
    s.set(0, try load(address, as: UInt8.self))
  }

  // MARK: Exchanges

  /// XCHG with memory is locked without being told so.
  @inline(never)
  func executeExchange(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 1: try exchange(op, UInt8.self)
    case 2: try exchange(op, UInt16.self)
    case 4: try exchange(op, UInt32.self)
    default: try exchange(op, UInt64.self)
    }
  }

  @inline(__always)
  private func exchange<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let new = s.get(op.pointee.reg, T.self)
    var old: T = 0
    if isMemory(op) {
      let address = try linear(op, size: MemoryLayout<T>.size, write: true)
      try modify(address, locked: true) { (value: T) in
        old = value
        return new
      }
    } else {
      old = s.get(op.pointee.rm, T.self)
      s.set(op.pointee.rm, new)
    }
    s.set(op.pointee.reg, old)
  }

  @inline(never)
  func executeExchangeAdd(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 1: try exchangeAdd(op, UInt8.self)
    case 2: try exchangeAdd(op, UInt16.self)
    case 4: try exchangeAdd(op, UInt32.self)
    default: try exchangeAdd(op, UInt64.self)
    }
  }

  @inline(__always)
  private func exchangeAdd<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let b = s.get(op.pointee.reg, T.self)
    var old: T = 0
    if isMemory(op) {
      try modifyRM(op, T.self) {
        old = $0
        return Add.apply(s, $0, b)
      }
      s.set(op.pointee.reg, old)
    } else {
      old = s.get(op.pointee.rm, T.self)
      let sum = Add.apply(s, old, b)
      // With both operands the same register the sum stays.
      s.set(op.pointee.reg, old)
      s.set(op.pointee.rm, sum)
    }
  }

  @inline(never)
  func executeCompareExchange(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 1: try compareExchange(op, UInt8.self)
    case 2: try compareExchange(op, UInt16.self)
    case 4: try compareExchange(op, UInt32.self)
    default: try compareExchange(op, UInt64.self)
    }
  }

  @inline(__always)
  private func compareExchange<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let new = s.get(op.pointee.reg, T.self)
    let expected = s.get(0, T.self)
    var old: T = 0
    if isMemory(op) {
      // The destination is written in either case, with what it held when the comparison fails.
      try modifyRM(op, T.self) {
        old = $0
        return $0 == expected ? new : $0
      }
      if old != expected { s.set(0, old) }
    } else {
      old = s.get(op.pointee.rm, T.self)
      if old == expected {
        s.set(op.pointee.rm, new)
      } else {
        // A register is not written then: its upper half stays.
        s.set(0, old)
      }
    }
    s.flagsOfSub(expected, old, expected &- old)
  }

  /// CMPXCHG8B changes ZF alone.
  @inline(never)
  func executeCompareExchange8(_ op: Op) throws(GuestFault) {
    let expected = s.slots[2] &<< 32 | s.slots[0] & 0xffff_ffff
    let new = s.slots[1] &<< 32 | s.slots[3] & 0xffff_ffff
    var old: UInt64 = 0
    let address = try linear(op, size: 8, write: true)
    try modify(address, locked: true) { (value: UInt64) in
      old = value
      return value == expected ? new : value
    }
    if old != expected {
      s.slots[0] = old & 0xffff_ffff
      s.slots[2] = old &>> 32
    }
    setFlags(old == expected ? Flag.zf : 0, mask: Flag.zf)
  }

  @inline(never)
  func executeCompareExchange16(_ op: Op) throws(GuestFault) {
    let address = try linear(op, size: 16, write: true)
    if address & 15 != 0 { throw .protection(0) }
    var found: (UInt64, UInt64) = (s.slots[0], s.slots[2])
    var new: (UInt64, UInt64) = (s.slots[3], s.slots[1])
    var equal = false
    if let host = try hostPointerForUpdate(address, size: 16) {
      equal = withUnsafeMutablePointer(to: &found) { expected in
        withUnsafePointer(to: &new) { value in
          let low = UnsafeMutableRawPointer(expected).assumingMemoryBound(to: UInt64.self)
          return vm_cas128(host, low, UnsafeRawPointer(value).assumingMemoryBound(to: UInt64.self)) != 0
        }
      }
    } else {
      try probeWrite(address, size: 16)
      try exclusively { () throws(GuestFault) in
        let low = try load(address, as: UInt64.self)
        let high = try load(address &+ 8, as: UInt64.self)
        equal = low == found.0 && high == found.1
        if !equal { found = (low, high) }
        try store(address, equal ? new.0 : low)
        try store(address &+ 8, equal ? new.1 : high)
      }
    }
    if !equal {
      s.slots[0] = found.0
      s.slots[2] = found.1
    }
    setFlags(equal ? Flag.zf : 0, mask: Flag.zf)
  }
}
