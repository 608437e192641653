import CHost

/// What the inner loop does between blocks.
extension CPU {
  /// The block at RIP, through the execute TLB and the page's record.
  @inline(__always)
  func findBlock(_ rip: UInt64, single: Bool) throws(GuestFault) -> UnsafeMutablePointer<vm_block> {
    let mode = s.pointee.mode
    var linear = rip
    if mode & UInt32(VM_MODE_FLAT | VM_MODE_CODE64) == 0 { linear = try checkedCodeLinear(rip) }
    if !single {
      let slot = Int(truncatingIfNeeded: linear &>> 12) & (Int(VM_FETCH_SIZE) &- 1)
      let entry = s.pointee.fetch_tlb + slot
      if entry.pointee.tag == linear & ~0xfff, let record = entry.pointee.page {
        let page = record.assumingMemoryBound(to: CodePage.self)
        if let block = page.find(Int(linear & 0xfff), mode) {
          if mode & UInt32(VM_MODE_FLAT | VM_MODE_CODE64) != 0 { return block }
          if rip &+ UInt64(block.pointee.bytes) &- 1 <= UInt64(s.pointee.segments.1.limit) { return block }
        }
      }
    }
    return try findBlockSlow(linear, rip, mode, single)
  }

  /// RIP in a code segment that is not flat.
  @inline(never)
  private func checkedCodeLinear(_ rip: UInt64) throws(GuestFault) -> UInt64 {
    if rip > UInt64(s.pointee.segments.1.limit) { throw .protection(0) }
    return (s.pointee.segments.1.base &+ rip) & 0xffff_ffff
  }

  @inline(never)
  private func findBlockSlow(
    _ linear: UInt64, _ rip: UInt64, _ mode: UInt32, _ single: Bool
  ) throws(GuestFault) -> UnsafeMutablePointer<vm_block> {
    let wide = mode & UInt32(VM_MODE_CODE64) != 0
    if wide {
      // Not canonical (Intel SDM vol. 1, 3.3.7.1).
      let sign = Int64(bitPattern: linear) &>> 47
      if sign != 0 && sign != -1 { throw .protection(0) }
    }
    let entry = try fetchEntry(linear)
    if single { return try scratchBlock(linear, rip: rip, mode: mode) }
    let block = try makeBlock(linear, rip: rip, mode: mode, entry: entry)
    if !wide && rip &+ UInt64(block.pointee.bytes) &- 1 > UInt64(s.pointee.segments.1.limit) {
      // The segment ends within the block.
      return try scratchBlock(linear, rip: rip, mode: mode)
    }
    return block
  }

  /// Takes back the count of the instructions of a block that did not complete, `op` among them.
  @inline(never)
  func uncount(_ block: UnsafeMutablePointer<vm_block>, _ op: Op) {
    let done = op - block.ops
    s.pointee.instructions &-= UInt64(max(0, Int(block.pointee.count) &- done))
  }

  /// A REP instruction has more to do but something is pending: it goes on later, from where its registers are.
  func interrupted(_ block: UnsafeMutablePointer<vm_block>, _ op: Op, _ blockRip: UInt64) {
    s.pointee.rip = blockRip &+ UInt64(op.pointee.offset)
    latches.isWithinRepeat = true
    uncount(block, op)
  }

  @inline(never)
  func runSystem(_ op: Op) {
    if shared.pointee.awaited != 0 { awaitOthers() }
    do throws(GuestFault) {
      try executeSystem(UnsafePointer(op))
    } catch {
      s.pointee.instructions &-= 1
      deliver(error)
    }
  }

  @inline(__always)
  func isCode32(_ mode: UInt32) -> Bool { mode & UInt32(VM_MODE_CODE64) == 0 }

  @inline(__always)
  var isFlatCode: Bool { s.pointee.mode & UInt32(VM_MODE_FLAT | VM_MODE_CODE64) != 0 }

  /// An address that is not canonical is #GP(0), but #SS(0) where the stack segment is meant (Intel SDM vol. 3A, 6.15).
  @inline(never)
  func atStack(_ fault: GuestFault, _ op: Op) -> GuestFault {
    guard let refused = latches.refusedAddress else { return fault }
    latches.refusedAddress = nil
    guard fault == .protection(0) else { return fault }
    if isMemory(op) && refused &- s.offset(op) < 16 { return op.pointee.segment == UInt8(VM_SS) ? .stack(0) : fault }
    switch OpKind(trusted: op.pointee.kind) {
    case .push64, .pop64, .pushImmediate64, .push, .pop, .enter, .leaveFrame, .call64, .call, .callR64, .callIndirect,
      .ret64, .ret:
      return .stack(0)
    default: return fault
    }
  }

  /// Links hold in flat code only: elsewhere the segment's limit must be looked at. A branch that cuts RIP to 16 bits
  /// may go elsewhere when the page is mapped elsewhere.
  @inline(__always)
  func mayLink(_ op: Op, _ mode: UInt32) -> Bool {
    mode & UInt32(VM_MODE_FLAT | VM_MODE_CODE64) != 0 && op.pointee.disp != 0xffff
  }

  /// Something is pending, or the CPU is not active.
  @inline(never)
  func leaveLoop() -> RunExit? {
    if vm_load_relaxed(&s.pointee.pending) != 0, let exit = servicePending() { return exit }
    switch Int(s.pointee.activity) {
    case VM_ACTIVE: return nil
    case VM_SHUTDOWN: return .shutdown
    default: return .halted
    }
  }
}
