import CHost

/// A stack being built or read: the current one or the one of a new privilege level. RSP is committed by who is done, so
/// that a fault half way leaves it untouched.
struct StackCursor {
  var segment: vm_segment
  /// RSP, ESP or SP, the bits beyond `mask` kept.
  var pointer: UInt64
  var mask: UInt64
  /// TLB set of the accesses.
  var set: Int
  /// 64-bit: no limit, canonical addresses.
  var long: Bool
  /// Selector and EXT bit of the #SS a bad push throws (0 for the current stack).
  var errorCode: UInt32 = 0
}

extension CPU {
  /// The stack in use.
  func currentStack() -> StackCursor {
    let mask: UInt64
    if isCode64 {
      mask = .max
    } else {
      mask = s.pointee.mode & UInt32(VM_MODE_STACK32) != 0 ? 0xffff_ffff : 0xffff
    }
    return StackCursor(
      segment: segmentRegister(Seg.ss).pointee, pointer: slots[Reg.rsp], mask: mask, set: Int(s.pointee.mmu),
      long: isCode64)
  }

  /// The stack of `cpl` with a segment that is not loaded yet.
  func newStack(_ segment: vm_segment, pointer: UInt64, cpl: UInt32, ext: UInt32) -> StackCursor {
    let mask: UInt64 = segment.attributes & SegmentAttributes.big != 0 ? 0xffff_ffff : 0xffff
    return StackCursor(
      segment: segment, pointer: pointer, mask: mask, set: tlbSet(cpl: cpl), long: false,
      errorCode: segment.selector.errorCode | ext)
  }

  private func stackLinear(_ stack: StackCursor, _ offset: UInt64, _ size: Int) throws(GuestFault) -> UInt64 {
    if stack.long {
      guard CPU.isCanonical(offset) else { throw .stack(stack.errorCode) }
      return offset
    }
    let last = offset &+ UInt64(size &- 1)
    let limit = UInt64(stack.segment.limit)
    if stack.segment.attributes & 0xc == 4 {
      let top: UInt64 = stack.segment.attributes & SegmentAttributes.big != 0 ? 0xffff_ffff : 0xffff
      if offset <= limit || last > top { throw .stack(stack.errorCode) }
    } else if last > limit {
      throw .stack(stack.errorCode)
    }
    return (stack.segment.base &+ offset) & 0xffff_ffff
  }

  /// Pushes 2, 4 or 8 bytes.
  func push(_ stack: inout StackCursor, _ value: UInt64, _ size: Int) throws(GuestFault) {
    let offset = (stack.pointer &- UInt64(size)) & stack.mask
    let linear = try stackLinear(stack, offset, size)
    let entry = dataEntry(linear, set: stack.set)
    if linear ^ entry.pointee.write_tag <= UInt64(4096 &- size) {
      let host = CPU.host(linear &+ entry.pointee.addend)
      switch size {
      case 8: host.storeBytes(of: value, as: UInt64.self)
      case 4: host.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
      default: host.storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
      }
    } else {
      try storeSlow(linear, size: size, value, set: stack.set)
    }
    stack.pointer = stack.pointer & ~stack.mask | offset
  }

  func pop(_ stack: inout StackCursor, _ size: Int) throws(GuestFault) -> UInt64 {
    let value = try peek(stack, 0, size)
    release(&stack, UInt64(size))
    return value
  }

  /// What lies `distance` bytes above the stack pointer.
  func peek(_ stack: StackCursor, _ distance: UInt64, _ size: Int) throws(GuestFault) -> UInt64 {
    let offset = (stack.pointer &+ distance) & stack.mask
    let linear = try stackLinear(stack, offset, size)
    let entry = dataEntry(linear, set: stack.set)
    if linear ^ entry.pointee.read_tag <= UInt64(4096 &- size) {
      let host = CPU.host(linear &+ entry.pointee.addend)
      switch size {
      case 8: return host.loadUnaligned(as: UInt64.self)
      case 4: return UInt64(host.loadUnaligned(as: UInt32.self))
      default: return UInt64(host.loadUnaligned(as: UInt16.self))
      }
    }
    return try loadSlow(linear, size: size, set: stack.set)
  }

  func release(_ stack: inout StackCursor, _ bytes: UInt64) {
    let offset = (stack.pointer &+ bytes) & stack.mask
    stack.pointer = stack.pointer & ~stack.mask | offset
  }

  @inline(__always)
  func commit(_ stack: StackCursor) { slots[Reg.rsp] = stack.pointer }
}
