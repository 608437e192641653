import CHost

/// From a segment and an offset to a linear address (Intel SDM vol. 3A, 5.3 to 5.5).
extension CPU {
  /// The effective address of an instruction's memory operand, before its segment.
  @inline(__always)
  func operandOffset(_ op: UnsafePointer<vm_op>) -> UInt64 {
    let registers = slots
    let index = registers[Int(op.pointee.index)] &<< UInt64(op.pointee.scale)
    let sum = registers[Int(op.pointee.base)] &+ index &+ UInt64(bitPattern: op.pointee.disp)
    switch op.pointee.address_size {
    case 8: return sum
    case 4: return sum & 0xffff_ffff
    default: return sum & 0xffff
    }
  }

  /// The linear address of an instruction's memory operand, with the segment's checks done for `size` bytes.
  @inline(__always)
  func operandLinear(_ op: UnsafePointer<vm_op>, size: Int, write: Bool) throws(GuestFault) -> UInt64 {
    try segmentLinear(Int(op.pointee.segment), operandOffset(op), size: size, write: write)
  }

  @inline(__always)
  func segmentLinear(_ segment: Int, _ offset: UInt64, size: Int, write: Bool) throws(GuestFault) -> UInt64 {
    let mode = s.pointee.mode
    if mode & UInt32(VM_MODE_CODE64) != 0 {
      if segment >= Seg.fs { return offset &+ segmentRegister(segment).pointee.base }
      if segment == Seg.ss && !CPU.isCanonical(offset) { throw .stack(0) }
      return offset
    }
    // In flat 32-bit code ES, SS and DS (bits 0, 2, 3) need no check.
    if mode & UInt32(VM_MODE_FLAT) != 0 && 0b1101 &>> segment & 1 != 0 { return offset & 0xffff_ffff }
    return try checkedLinear(segment, offset, size: size, write: write)
  }

  /// The full checks of a segment outside 64-bit code: presence, type, limit.
  @inline(never)
  func checkedLinear(_ segment: Int, _ offset: UInt64, size: Int, write: Bool) throws(GuestFault) -> UInt64 {
    let register = segmentRegister(segment)
    let attributes = register.pointee.attributes
    let limit = UInt64(register.pointee.limit)
    if isProtected {
      // Present, and a code or data segment: a null selector leaves neither.
      guard attributes & 0x90 == 0x90 else { throw CPU.segmentFault(segment) }
      if attributes & 8 != 0 {
        if write || attributes & 2 == 0 { throw CPU.segmentFault(segment) }
      } else if write && attributes & 2 == 0 {
        throw CPU.segmentFault(segment)
      }
    }
    let start = offset & 0xffff_ffff
    let last = start &+ UInt64(size &- 1)
    if attributes & 0xc == 4 {
      // Expand-down: valid offsets lie above the limit.
      let top: UInt64 = attributes & 0x4000 != 0 ? 0xffff_ffff : 0xffff
      if start <= limit || last > top { throw CPU.segmentFault(segment) }
    } else if last > limit {
      throw CPU.segmentFault(segment)
    }
    return (register.pointee.base &+ start) & 0xffff_ffff
  }

  @inline(__always)
  static func segmentFault(_ segment: Int) -> GuestFault { segment == Seg.ss ? .stack(0) : .protection(0) }
}
