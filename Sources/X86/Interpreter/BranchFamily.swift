import CHost

/// Near transfers outside the inner loop. Those that return a target leave RIP to the caller.
extension CPU {
  @inline(__always)
  private func nextRip(_ op: Op, _ blockRip: UInt64) -> UInt64 {
    let next = blockRip &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
    return isCode64 ? next : next & 0xffff_ffff
  }

  /// Pushes the return address of a near call; a target outside the code segment faults before that.
  @inline(never)
  func executeCall(_ op: Op, _ blockRip: UInt64) throws(GuestFault) {
    let target = (blockRip &+ UInt64(bitPattern: op.pointee.imm)) & UInt64(bitPattern: op.pointee.disp)
    try checkTarget(target)
    try pushValue(nextRip(op, blockRip), size: Int(op.pointee.operand_size))
  }

  /// A branch to where no code can be faults itself, and not its target.
  @inline(__always)
  func checkTarget(_ target: UInt64) throws(GuestFault) {
    if isCode64 ? !CPU.isCanonical(target) : target > UInt64(s.pointee.segments.1.limit) { throw .protection(0) }
  }

  @inline(never)
  func branchTarget(_ op: Op) throws(GuestFault) -> UInt64 {
    let target: UInt64
    switch op.pointee.operand_size {
    case 2: target = UInt64(try readRM(op, UInt16.self))
    case 4: target = UInt64(try readRM(op, UInt32.self))
    default: target = try readRM(op, UInt64.self)
    }
    try checkTarget(target)
    return target
  }

  @inline(never)
  func executeCallIndirect(_ op: Op, _ blockRip: UInt64) throws(GuestFault) -> UInt64 {
    let target = try branchTarget(op)
    try pushValue(nextRip(op, blockRip), size: Int(op.pointee.operand_size))
    return target
  }

  /// imm: bytes to release behind the return address.
  @inline(never)
  func executeReturn(_ op: Op) throws(GuestFault) -> UInt64 {
    let size = Int(op.pointee.operand_size)
    let target = try peekStack(size: size)
    try checkTarget(target)
    dropStack(UInt64(size) &+ UInt64(op.pointee.imm & 0xffff))
    return target
  }

  func addressMask(_ op: Op) -> UInt64 {
    op.pointee.address_size == 8 ? .max : op.pointee.address_size == 4 ? 0xffff_ffff : 0xffff
  }

  /// rCX in the width of the address size.
  func countRegister(_ op: Op) -> UInt64 { s.slots[1] & addressMask(op) }

  func setCountRegister(_ op: Op, _ value: UInt64) { setRegister(1, value, size: op.pointee.address_size) }

  /// sub: 0 LOOPNE, 1 LOOPE, 2 LOOP.
  func executeLoop(_ op: Op, _ blockRip: UInt64) throws(GuestFault) -> Bool {
    let count = (countRegister(op) &- 1) & addressMask(op)
    let taken = count != 0 && (op.pointee.sub == 2 || s.zf == (op.pointee.sub == 1))
    if taken { try checkTarget((blockRip &+ UInt64(bitPattern: op.pointee.imm)) & UInt64(bitPattern: op.pointee.disp)) }
    setCountRegister(op, count)
    return taken
  }
}
