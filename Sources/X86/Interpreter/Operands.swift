import CHost

/// Memory operands of the running instruction.
extension CPU {
  /// The linear address of the memory operand; segment checks included.
  @inline(__always)
  func linear(_ op: Op, size: Int, write: Bool) throws(GuestFault) -> UInt64 {
    let form = Int(op.pointee.form)
    if form == VM_FORM_FLAT64 { return s.offset(op) }
    if form == VM_FORM_FLAT32 { return s.offset(op) & 0xffff_ffff }
    return try generalLinear(op, size: size, write: write)
  }

  @inline(never)
  func generalLinear(_ op: Op, size: Int, write: Bool) throws(GuestFault) -> UInt64 {
    if Int(op.pointee.form) == VM_FORM_BASED64 {
      let base = op.pointee.segment == UInt8(VM_FS) ? s.pointee.segments.4.base : s.pointee.segments.5.base
      return s.offset(op) &+ base
    }
    return try operandLinear(UnsafePointer(op), size: size, write: write)
  }

  @inline(__always)
  func read<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) -> T {
    try load(linear(op, size: MemoryLayout<T>.size, write: false), as: T.self)
  }

  @inline(__always)
  func write<T: Word>(_ op: Op, _ value: T) throws(GuestFault) {
    try store(linear(op, size: MemoryLayout<T>.size, write: true), value)
  }

  @inline(__always)
  func isMemory(_ op: Op) -> Bool { op.pointee.prefixes & UInt8(VM_PREFIX_MEMORY) != 0 }

  /// The operand that ModRM.rm names, register or memory.
  @inline(__always)
  func readRM<T: Word>(_ op: Op, _ type: T.Type) throws(GuestFault) -> T {
    isMemory(op) ? try read(op, T.self) : s.get(op.pointee.rm, T.self)
  }

  @inline(__always)
  func writeRM<T: Word>(_ op: Op, _ value: T) throws(GuestFault) {
    if isMemory(op) { try write(op, value) } else { s.set(op.pointee.rm, value) }
  }

  // MARK: Read, modify, write

  /// Replaces the operand that ModRM.rm names by `body` of it; atomically with LOCK. `body` may write flags: it is only
  /// run when nothing can fail any more, and sees the flags of before each time.
  @inline(__always)
  func modifyRM<T: Word>(_ op: Op, _ type: T.Type, _ body: (T) -> T) throws(GuestFault) {
    if !isMemory(op) {
      s.set(op.pointee.rm, body(s.get(op.pointee.rm, T.self)))
      return
    }
    let address = try linear(op, size: MemoryLayout<T>.size, write: true)
    try modify(address, locked: op.pointee.prefixes & UInt8(VM_PREFIX_LOCK) != 0, body)
  }

  @inline(__always)
  func modify<T: Word>(_ address: UInt64, locked: Bool, _ body: (T) -> T) throws(GuestFault) {
    let size = MemoryLayout<T>.size
    let entry = dataEntry(address)
    var host: UnsafeMutableRawPointer?
    if address ^ entry.pointee.write_tag <= UInt64(4096 &- size) {
      host = CPU.host(address &+ entry.pointee.addend)
    } else {
      host = try hostPointerForUpdate(address, size: size)
    }
    guard let host else {
      try modifySlow(address, locked: locked, body)
      return
    }
    if locked {
      modifyAtomically(host, body)
      return
    }
    host.storeBytes(of: body(host.loadUnaligned(as: T.self)), as: T.self)
  }

  @inline(__always)
  private func modifyAtomically<T: Word>(_ host: UnsafeMutableRawPointer, _ body: (T) -> T) {
    let carries = s.pointee.flag_carries
    while true {
      let old = host.loadUnaligned(as: T.self)
      s.pointee.flag_carries = carries
      if CPU.exchange(host, old, body(old)) { return }
    }
  }

  /// What no write tag covers: pages with code, page crossings, devices, watched pages.
  @inline(never)
  private func modifySlow<T: Word>(_ address: UInt64, locked: Bool, _ body: (T) -> T) throws(GuestFault) {
    let size = MemoryLayout<T>.size
    try probeWrite(address, size: size)
    guard locked && !isAlone else {
      let old = try load(address, as: T.self)
      try store(address, body(old))
      return
    }
    let place = try reach(dataLinear(address), write: true, set: Int(s.pointee.mmu))
    let offset = Int(address & 0xfff)
    if let page = place.target.write, page == place.target.read, offset &+ size <= 4096 {
      modifyAtomically(page + offset, body)
      noteWrite(place.target.ramPage, place.physical &+ UInt64(offset), size)
      if latches.watchesData { noteDataAccess(dataLinear(address), size: size, write: true) }
      return
    }
    try exclusively { () throws(GuestFault) in
      let old = try load(address, as: T.self)
      try store(address, body(old))
    }
  }

  /// Compare and exchange on the host's own terms: also unaligned, as the guest may.
  @inline(__always)
  static func exchange<T: Word>(_ host: UnsafeMutableRawPointer, _ old: T, _ new: T) -> Bool {
    switch MemoryLayout<T>.size {
    case 1:
      var expected = UInt8(truncatingIfNeeded: old)
      return vm_cas8(host.assumingMemoryBound(to: UInt8.self), &expected, UInt8(truncatingIfNeeded: new)) != 0
    case 2:
      var expected = UInt16(truncatingIfNeeded: old)
      return vm_cas16(host.assumingMemoryBound(to: UInt16.self), &expected, UInt16(truncatingIfNeeded: new)) != 0
    case 4:
      var expected = UInt32(truncatingIfNeeded: old)
      return vm_cas32(host.assumingMemoryBound(to: UInt32.self), &expected, UInt32(truncatingIfNeeded: new)) != 0
    default:
      var expected = UInt64(truncatingIfNeeded: old)
      return vm_cas64(host.assumingMemoryBound(to: UInt64.self), &expected, UInt64(truncatingIfNeeded: new)) != 0
    }
  }

  // MARK: Stack

  @inline(__always)
  var stackMask: UInt64 {
    let mode = s.pointee.mode
    if mode & UInt32(VM_MODE_CODE64) != 0 { return .max }
    return mode & UInt32(VM_MODE_STACK32) != 0 ? 0xffff_ffff : 0xffff
  }

  /// Sets rSP in the bits the stack's width covers.
  @inline(__always)
  func setStackPointer(_ value: UInt64, mask: UInt64) {
    let slot = s.slots + 4
    slot.pointee = mask == 0xffff ? slot.pointee & ~0xffff | value & 0xffff : value & mask
  }

  @inline(__always)
  func stackLinear(_ offset: UInt64, size: Int, write: Bool) throws(GuestFault) -> UInt64 {
    if s.pointee.mode & UInt32(VM_MODE_FLAT | VM_MODE_CODE64) != 0 { return offset }
    return try segmentLinear(VM_SS, offset, size: size, write: write)
  }

  func pushValue<T: Word>(_ value: T) throws(GuestFault) {
    let mask = stackMask
    let top = (s.slots[4] &- UInt64(MemoryLayout<T>.size)) & mask
    try store(stackLinear(top, size: MemoryLayout<T>.size, write: true), value)
    setStackPointer(top, mask: mask)
  }

  /// Pushes the low `size` (2, 4, 8) bytes of `value`.
  func pushValue(_ value: UInt64, size: Int) throws(GuestFault) {
    switch size {
    case 2: try pushValue(UInt16(truncatingIfNeeded: value))
    case 4: try pushValue(UInt32(truncatingIfNeeded: value))
    default: try pushValue(value)
    }
  }

  /// Reads at rSP + `skip` without moving rSP.
  func peekStack(size: Int, skip: UInt64 = 0) throws(GuestFault) -> UInt64 {
    let mask = stackMask
    let address = try stackLinear((s.slots[4] &+ skip) & mask, size: size, write: false)
    switch size {
    case 2: return UInt64(try load(address, as: UInt16.self))
    case 4: return UInt64(try load(address, as: UInt32.self))
    default: return try load(address, as: UInt64.self)
    }
  }

  func dropStack(_ bytes: UInt64) {
    let mask = stackMask
    setStackPointer(s.slots[4] &+ bytes, mask: mask)
  }
}
