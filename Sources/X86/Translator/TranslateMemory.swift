import CHost

/// Memory operands: effective addresses and the TLB check.
extension BlockTranslator {
  /// A memory operand after its check.
  struct Access {
    var operand: HostOperand
    /// R14 or R15, whichever the operand does not use; none when it uses both.
    var free: UInt8
  }

  /// A temporary beside the operand for a guest register that has no host register. Flags are left alone.
  mutating func spare(_ access: inout Access, _ guest: UInt8) -> UInt8 {
    isResident(guest) ? Host.none : freeTemporary(&access)
  }

  mutating func freeTemporary(_ access: inout Access) -> UInt8 {
    if access.free == Host.none {
      a.emit(0x8d, GuestRegisters.second, access.operand, size: 8)
      access = Access(operand: .at(GuestRegisters.second, 0), free: GuestRegisters.first)
    }
    return access.free
  }

  /// The operand of an instruction that reads `size` bytes, and a temporary beside it for its register; nil when the host
  /// has no such byte register. Flags are left alone.
  mutating func readOperand(_ op: Op, _ size: Int) -> (HostOperand, temporary: UInt8)? {
    guard isMemory(op) else {
      guard let rm = number(op.pointee.rm, size) else { return nil }
      return (source(rm), GuestRegisters.second)
    }
    var access = memory(op, size: size, write: false, accumulator: false)
    let temporary = isResident(op.pointee.reg) ? Host.none : freeTemporary(&access)
    return (access.operand, temporary)
  }

  /// The components of an effective address, for LEA and accesses.
  private struct Components {
    var base: UInt8
    var index: UInt8
    var scale: UInt8
    var disp: Int64
    /// Nothing but a resident register and a displacement.
    var isPlain: Bool
  }

  private mutating func components(_ op: UnsafeMutablePointer<vm_op>) -> Components {
    var result = Components(base: Host.none, index: Host.none, scale: 0, disp: op.pointee.disp, isPlain: false)
    let base = op.pointee.base
    if base == UInt8(VM_SLOT_RIP) {
      a.load(GuestRegisters.second, StateField.page)
      result.base = GuestRegisters.second
      result.disp &+= Int64(block.pointee.start)
    } else if base != UInt8(VM_SLOT_ZERO) {
      result.base = value(base, GuestRegisters.second)
      result.isPlain = result.base != GuestRegisters.second
    }
    let index = op.pointee.index
    if index != UInt8(VM_SLOT_ZERO) {
      result.isPlain = false
      result.index = value(index, GuestRegisters.first)
      result.scale = op.pointee.scale
    }
    if result.disp < Int64(Int32.min) || result.disp > Int64(Int32.max) {
      // MOV with a 64-bit offset has no registers; one that wraps may be cut to 32 bits when the address is.
      if result.base == Host.none && result.index == Host.none && op.pointee.address_size == 8 {
        a.moveImmediate(GuestRegisters.second, UInt64(bitPattern: result.disp))
        result.base = GuestRegisters.second
        result.disp = 0
      } else {
        result.disp = Int64(Int32(truncatingIfNeeded: result.disp))
      }
    }
    return result
  }

  /// LEA: the effective address to host register `to`, in `size` (4 or 8) bytes.
  mutating func effectiveAddress(_ op: UnsafeMutablePointer<vm_op>, to: UInt8, size: Int) {
    let parts = components(op)
    emitAddress(parts, to: to, size: size)
  }

  private mutating func emitAddress(_ parts: Components, to: UInt8, size: Int) {
    if parts.index == Host.none && parts.base != Host.none && parts.disp == 0 {
      a.move(to, parts.base, size: size)
      return
    }
    let disp = Int32(truncatingIfNeeded: parts.disp)
    a.emit(0x8d, to, .memory(base: parts.base, index: parts.index, scale: parts.scale, disp: disp), size: size)
  }

  /// Whether the memory operand's address can be had here.
  func canReach(_ op: UnsafeMutablePointer<vm_op>) -> Bool {
    switch Int(op.pointee.form) {
    case VM_FORM_FLAT64, VM_FORM_FLAT32, VM_FORM_BASED64: true
    default: isPlainSegment(op)
    }
  }

  /// FS or GS in flat 32-bit code: where they are as they mostly are, nothing but their base matters.
  private func isPlainSegment(_ op: UnsafeMutablePointer<vm_op>) -> Bool {
    !is64 && op.pointee.address_size == 4 && op.pointee.segment >= UInt8(VM_FS)
  }

  /// The operand of `op` for an access of `size` bytes, checked. Flags are kept, RAX is free afterwards if
  /// `accumulator`.
  mutating func memory(
    _ op: UnsafeMutablePointer<vm_op>, size: Int, write: Bool, accumulator: Bool, aligned: Bool = false
  ) -> Access {
    keepFlags(accumulator: accumulator)
    self.aligned = aligned
    defer { self.aligned = false }
    let form = Int(op.pointee.form)
    let plainSegment = form == VM_FORM_GENERAL
    if plainSegment {
      a.emit(0xf6, 0, StateField.plainSegments, size: 1)
      a.byte(1 << op.pointee.segment)
      missIf(Condition.equal)
    }
    let parts = components(op)
    let second = GuestRegisters.second
    let narrow = form == VM_FORM_FLAT32 || plainSegment
    emitAddress(parts, to: second, size: narrow ? 4 : 8)
    let based = form == VM_FORM_BASED64 || plainSegment
    if based {
      let segment = StateField.segments + Int(op.pointee.segment) * MemoryLayout<vm_segment>.stride
      a.emit(0x03, second, .at(GuestRegisters.state, segment - GuestRegisters.bias), size: narrow ? 4 : 8)
    }
    if form == VM_FORM_FLAT64 && parts.isPlain {
      return check(plainBase: parts.base, disp: Int(parts.disp), size: size, write: write)
    }
    let again = based || parts.base == second ? nil : parts
    return check(again: again, wide: form != VM_FORM_FLAT32, size: size, write: write)
  }

  /// The operand at guest RSP or RBP plus `disp`.
  mutating func stack(_ base: UInt8, _ disp: Int, size: Int, write: Bool, accumulator: Bool) -> Access {
    keepFlags(accumulator: accumulator)
    if is64 { return check(plainBase: base, disp: disp, size: size, write: write) }
    let second = GuestRegisters.second
    if disp == 0 {
      a.move(second, base, size: 4)
    } else {
      a.emit(0x8d, second, .at(base, disp), size: 4)
    }
    let parts = Components(base: base, index: Host.none, scale: 0, disp: Int64(disp), isPlain: false)
    return check(again: parts, wide: false, size: size, write: write)
  }

  /// The place of a field in the TLB entry at byte offset R14 of the set that this mode uses.
  private func entryField(_ offset: Int) -> HostOperand {
    let set = Int((block.pointee.mode >> UInt32(VM_MODE_MMU_SHIFT)) & 3)
    let start = CPU.tlbOffset + set * Int(VM_TLB_SIZE) * MemoryLayout<vm_tlb_entry>.stride
    let disp = start + offset - GuestRegisters.bias
    return .memory(base: GuestRegisters.state, index: GuestRegisters.first, scale: 0, disp: Int32(disp))
  }

  /// The entry of the linear address in `address`: its byte offset in the set to R14.
  private mutating func entryOffset(_ address: UInt8) {
    let first = GuestRegisters.first
    // 32 bytes an entry.
    if Translator.hasRotate {
      a.rotateRight(first, address, 7, size: 4)
    } else {
      a.move(first, address, size: 4)
      a.emit(0xc1, 5, .register(first), size: 4)
      a.byte(7)
    }
    a.arithmetic(4, .register(first), Int64(VM_TLB_SIZE_MASK << 5), size: 4)
  }

  /// The TLB check of `plainBase` + `disp`.
  private mutating func check(plainBase base: UInt8, disp: Int, size: Int, write: Bool) -> Access {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    let tag = entryField(write ? 8 : 0)
    if disp == 0 {
      entryOffset(base)
      a.load(second, tag)
      a.emit(0x33, second, .register(base), size: 8)
    } else {
      a.emit(0x8d, second, .at(base, disp), size: 8)
      entryOffset(second)
      a.emit(0x33, second, tag, size: 8)
    }
    compare(size)
    a.load(first, entryField(16))
    let operand = HostOperand.memory(base: base, index: first, scale: 0, disp: Int32(truncatingIfNeeded: disp))
    return Access(operand: operand, free: second)
  }

  /// The TLB check of the linear address in R15, which `again` computes anew.
  private mutating func check(again: Components?, wide: Bool, size: Int, write: Bool) -> Access {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    let tag = entryField(write ? 8 : 0)
    entryOffset(second)
    // The index may be in R14, which is taken now.
    let parts = again?.index == first ? nil : again
    a.emit(0x33, second, tag, size: 8)
    compare(size)
    if let parts {
      a.load(first, entryField(16))
      emitAddress(parts, to: second, size: wide ? 8 : 4)
      return Access(
        operand: .memory(base: second, index: first, scale: 0, disp: 0), free: Host.none)
    }
    a.emit(0x33, second, tag, size: 8)
    a.emit(0x03, second, entryField(16), size: 8)
    return Access(operand: .at(second, 0), free: first)
  }

  private mutating func compare(_ size: Int) {
    a.arithmetic(7, .register(GuestRegisters.second), Int64(4096 - size), size: 8)
    let site = a.jumpIf(Condition.above)
    misses.append(Miss(index: index, site: site, flags: flags, join: nil, joinFlags: [], x87: lastX87))
    if aligned {
      // The offset in the page.
      a.emit(0xf6, 0, .register(GuestRegisters.second), size: 1)
      a.byte(15)
      missIf(Condition.notEqual)
    }
  }

  /// Goes to the interpreter for this instruction when `condition` holds. The guest's flags must be kept by then.
  mutating func missIf(_ condition: UInt8) {
    let site = a.jumpIf(condition)
    misses.append(Miss(index: index, site: site, flags: flags, join: nil, joinFlags: [], x87: lastX87))
  }
}

/// Of a data TLB slot number.
private let VM_TLB_SIZE_MASK = Int(VM_TLB_SIZE) - 1
