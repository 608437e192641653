import CHost

/// PUSH, POP and frames outside the inner loop.
extension CPU {
  /// sub: 1 an immediate.
  @inline(never)
  func executePush(_ op: Op) throws(GuestFault) {
    let size = Int(op.pointee.operand_size)
    let value: UInt64
    if op.pointee.sub == 1 {
      value = UInt64(bitPattern: op.pointee.imm)
    } else {
      switch size {
      case 2: value = UInt64(try readRM(op, UInt16.self))
      case 4: value = UInt64(try readRM(op, UInt32.self))
      default: value = try readRM(op, UInt64.self)
      }
    }
    try pushValue(value, size: size)
  }

  /// POP to memory computes the address with rSP already moved (Intel SDM vol. 2B, POP).
  @inline(never)
  func executePop(_ op: Op) throws(GuestFault) {
    let size = Int(op.pointee.operand_size)
    let value = try peekStack(size: size)
    let old = s.slots[4]
    dropStack(UInt64(size))
    if !isMemory(op) {
      setRegister(op.pointee.rm, value, size: op.pointee.operand_size)
      return
    }
    do throws(GuestFault) {
      switch size {
      case 2: try write(op, UInt16(truncatingIfNeeded: value))
      case 4: try write(op, UInt32(truncatingIfNeeded: value))
      default: try write(op, value)
      }
    } catch {
      s.slots[4] = old
      throw error
    }
  }

  /// PUSHA: rAX, rCX, rDX, rBX, the old rSP, rBP, rSI, rDI.
  @inline(never)
  func executePushAll(_ op: Op) throws(GuestFault) {
    let old = s.slots[4]
    do throws(GuestFault) {
      for number in 0..<8 {
        try pushValue(number == 4 ? old : s.slots[number], size: Int(op.pointee.operand_size))
      }
    } catch {
      s.slots[4] = old
      throw error
    }
  }

  @inline(never)
  func executePopAll(_ op: Op) throws(GuestFault) {
    let size = Int(op.pointee.operand_size)
    var values: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0, 0, 0)
    for number in 0..<8 {
      let value = try peekStack(size: size, skip: UInt64(number * size))
      withUnsafeMutableBytes(of: &values) { $0.storeBytes(of: value, toByteOffset: number * 8, as: UInt64.self) }
    }
    for number in 0..<8 where number != 3 {
      let value = withUnsafeBytes(of: &values) { $0.load(fromByteOffset: number * 8, as: UInt64.self) }
      setRegister(UInt8(7 - number), value, size: op.pointee.operand_size)
    }
    dropStack(UInt64(8 * size))
  }

  /// ENTER: imm bytes of locals, disp levels of nesting (Intel SDM vol. 2A, ENTER).
  @inline(never)
  func executeEnter(_ op: Op) throws(GuestFault) {
    let size = Int(op.pointee.operand_size)
    let oldStack = s.slots[4]
    let level = Int(op.pointee.disp)
    do throws(GuestFault) {
      try pushValue(s.slots[5], size: size)
      let frame = s.slots[4]
      if level > 0 {
        let mask = stackMask
        var from = s.slots[5]
        for _ in 1..<max(level, 1) {
          from = from &- UInt64(size)
          let address = try stackLinear(from & mask, size: size, write: false)
          let value: UInt64
          switch size {
          case 2: value = UInt64(try load(address, as: UInt16.self))
          case 4: value = UInt64(try load(address, as: UInt32.self))
          default: value = try load(address, as: UInt64.self)
          }
          try pushValue(value, size: size)
        }
        try pushValue(frame, size: size)
      }
      let mask = stackMask
      let top = (s.slots[4] &- UInt64(op.pointee.imm)) & mask
      // The new top of the stack must be writable.
      try probeWrite(stackLinear(top, size: size, write: true), size: size)
      setStackPointer(top, mask: mask)
      setRegister(5, frame, size: op.pointee.operand_size)
    } catch {
      s.slots[4] = oldStack
      throw error
    }
  }

  @inline(never)
  func executeLeave(_ op: Op) throws(GuestFault) {
    let size = Int(op.pointee.operand_size)
    let mask = stackMask
    let frame = s.slots[5] & mask
    let address = try stackLinear(frame, size: size, write: false)
    let value: UInt64
    switch size {
    case 2: value = UInt64(try load(address, as: UInt16.self))
    case 4: value = UInt64(try load(address, as: UInt32.self))
    default: value = try load(address, as: UInt64.self)
    }
    setStackPointer(frame &+ UInt64(size), mask: mask)
    setRegister(5, value, size: op.pointee.operand_size)
  }
}
