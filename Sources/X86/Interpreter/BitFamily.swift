import CHost

/// BT, BTS, BTR, BTC, BSF, BSR, POPCNT.
extension CPU {
  /// sub: 0 BT, 1 BTS, 2 BTR, 3 BTC; plus 4 when the bit offset is a register: signed, and in memory it reaches beyond
  /// the operand.
  @inline(never)
  func executeBitTest(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 2: try bitTest(op, UInt16.self)
    case 4: try bitTest(op, UInt32.self)
    default: try bitTest(op, UInt64.self)
    }
  }

  @inline(__always)
  private func bitTest<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let operation = op.pointee.sub & 3
    let byRegister = op.pointee.sub & 4 != 0
    let offset =
      byRegister ? Int64(bitPattern: s.wide(s.get(op.pointee.reg, T.self))) : op.pointee.imm
    let bit: T = 1 << T(truncatingIfNeeded: offset & Int64(T.bitWidth &- 1))
    var found = false
    if !isMemory(op) {
      let value = s.get(op.pointee.rm, T.self)
      found = value & bit != 0
      if operation != 0 { s.set(op.pointee.rm, changed(operation, value, bit)) }
    } else {
      // The displacement counts operands, towards minus infinity.
      let shift: Int64 = T.bitWidth == 16 ? 4 : T.bitWidth == 32 ? 5 : 6
      let words = byRegister ? offset &>> shift : 0
      var moved = op.pointee
      moved.disp = moved.disp &+ words &* Int64(MemoryLayout<T>.size)
      let address = try withUnsafeMutablePointer(to: &moved) { (pointer) throws(GuestFault) -> UInt64 in
        try linear(pointer, size: MemoryLayout<T>.size, write: operation != 0)
      }
      if operation == 0 {
        found = try load(address, as: T.self) & bit != 0
      } else {
        try modify(address, locked: op.pointee.prefixes & UInt8(VM_PREFIX_LOCK) != 0) { (value: T) in
          found = value & bit != 0
          return changed(operation, value, bit)
        }
      }
    }
    s.setCarry(found, overflow: s.of)
  }

  @inline(__always)
  private func changed<T: Word>(_ operation: UInt16, _ value: T, _ bit: T) -> T {
    operation == 1 ? value | bit : operation == 2 ? value & ~bit : value ^ bit
  }

  /// sub: 1 BSR. A zero source sets ZF and leaves the destination.
  @inline(never)
  func executeBitScan(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 2: try bitScan(op, UInt16.self)
    case 4: try bitScan(op, UInt32.self)
    default: try bitScan(op, UInt64.self)
    }
  }

  @inline(__always)
  private func bitScan<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let value = try readRM(op, T.self)
    setFlags(value == 0 ? Flag.zf : 0, mask: Flag.zf)
    guard value != 0 else { return }
    let index = op.pointee.sub == 1 ? T.bitWidth &- 1 &- value.leadingZeroBitCount : value.trailingZeroBitCount
    s.set(op.pointee.reg, T(truncatingIfNeeded: index))
  }

  /// Clears all flags but ZF.
  @inline(never)
  func executePopulationCount(_ op: Op) throws(GuestFault) {
    switch op.pointee.operand_size {
    case 2: try populationCount(op, UInt16.self)
    case 4: try populationCount(op, UInt32.self)
    default: try populationCount(op, UInt64.self)
    }
  }

  @inline(__always)
  private func populationCount<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) {
    let value = try readRM(op, T.self)
    s.set(op.pointee.reg, T(truncatingIfNeeded: value.nonzeroBitCount))
    setFlags(value == 0 ? Flag.zf : 0, mask: Flag.arithmetic)
  }
}
