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

  /// The operand of an instruction that reads `size` bytes, and a temporary beside it for its register; nil when the
  /// host has no such byte register. Flags are left alone.
  mutating func readOperand(_ op: Op, _ size: Int) -> (HostOperand, temporary: UInt8)? {
    guard isMemory(op) else {
      guard let rm = number(op.pointee.rm, size) else { return nil }
      return (source(rm), GuestRegisters.second)
    }
    var access = memory(op, size: size, write: false, accumulator: false)
    let temporary = spare(&access, op.pointee.reg)
    return (access.operand, temporary)
  }

  /// LEA: the effective address to host register `to`, in `size` (4 or 8) bytes.
  mutating func effectiveAddress(_ op: UnsafeMutablePointer<vm_op>, to: UInt8, size: Int) {
    emitAddress(components(Address(operand: op), op.pointee.disp), to: to, size: size)
  }

  /// An effective address in host registers.
  struct Components {
    var base: UInt8
    var index: UInt8
    var scale: UInt8
    var disp: Int32
  }

  /// The address plus `disp`; R14 and R15 hold what has no host register.
  mutating func components(_ address: Address, _ disp: Int64) -> Components {
    var disp = disp
    var result = Components(base: Host.none, index: Host.none, scale: 0, disp: 0)
    if address.base == UInt8(VM_SLOT_RIP) {
      a.load(GuestRegisters.second, StateField.page)
      result.base = GuestRegisters.second
      disp &+= Int64(block.pointee.start)
    } else if address.base != UInt8(VM_SLOT_ZERO) {
      result.base = value(address.base, GuestRegisters.second)
    }
    if address.index != UInt8(VM_SLOT_ZERO) {
      result.index = value(address.index, GuestRegisters.first)
      result.scale = address.scale
    }
    if Int64(Int32(truncatingIfNeeded: disp)) != disp && result.base == Host.none && result.index == Host.none {
      // MOV with a 64-bit offset has no registers; any other that wraps is cut to 32 bits.
      a.moveImmediate(GuestRegisters.second, UInt64(bitPattern: disp))
      result.base = GuestRegisters.second
      disp = 0
    }
    result.disp = Int32(truncatingIfNeeded: disp)
    return result
  }

  mutating func emitAddress(_ parts: Components, to: UInt8, size: Int) {
    if parts.index == Host.none && parts.base != Host.none && parts.disp == 0 {
      if to != parts.base || size != 8 { a.move(to, parts.base, size: size) }
      return
    }
    let operand = HostOperand.memory(base: parts.base, index: parts.index, scale: parts.scale, disp: parts.disp)
    a.emit(0x8d, to, operand, size: size)
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

  /// The operand of `op` for an access of `size` bytes, checked. RAX is free afterwards if `accumulator`. Flags may be
  /// in the host's afterwards, as before: who destroys those keeps them first.
  mutating func memory(
    _ op: UnsafeMutablePointer<vm_op>, size: Int, write: Bool, accumulator: Bool, aligned: Bool = false
  ) -> Access {
    guard let address = Address(op, is64: is64) else {
      return based(op, size: size, write: write, accumulator: accumulator, aligned: aligned)
    }
    let reference = Reference(address: address, disp: Int(op.pointee.disp), size: size, write: write)
    return window(reference, accumulator: accumulator, aligned: aligned)
  }

  /// The operand at guest RSP or RBP plus `disp`.
  mutating func stack(_ base: UInt8, _ disp: Int, size: Int, write: Bool, accumulator: Bool) -> Access {
    let reference = Reference(address: Address(base: base, is64: is64), disp: disp, size: size, write: write)
    return window(reference, accumulator: accumulator, aligned: false)
  }

  /// An access by a segment's base, or by a displacement that windows are not for.
  private mutating func based(
    _ op: UnsafeMutablePointer<vm_op>, size: Int, write: Bool, accumulator: Bool, aligned: Bool
  ) -> Access {
    keepFlags(accumulator: accumulator)
    let form = Int(op.pointee.form)
    let plainSegment = form == VM_FORM_GENERAL
    if plainSegment {
      a.emit(0xf6, 0, StateField.plainSegments, size: 1)
      a.byte(1 << op.pointee.segment)
      missIf(Condition.equal)
    }
    let second = GuestRegisters.second
    let width = form == VM_FORM_FLAT32 || plainSegment ? 4 : 8
    emitAddress(components(Address(operand: op), op.pointee.disp), to: second, size: width)
    if form == VM_FORM_BASED64 || plainSegment {
      let segment = StateField.segments + Int(op.pointee.segment) * MemoryLayout<vm_segment>.stride
      a.emit(0x03, second, .at(GuestRegisters.state, segment - GuestRegisters.bias), size: width)
    }
    return lookUp(again: nil, width: 8, size: size, write: write, aligned: aligned)
  }

  // MARK: The data TLB

  /// The place of a field in the TLB entry at byte offset R14 of the set that this mode uses.
  func entryField(_ offset: Int) -> HostOperand {
    let start = CPU.tlbOffset + mmuSet * Int(VM_TLB_SIZE) * MemoryLayout<vm_tlb_entry>.stride
    let disp = start + offset - GuestRegisters.bias
    return .memory(base: GuestRegisters.state, index: GuestRegisters.first, scale: 0, disp: Int32(disp))
  }

  var mmuSet: Int { Int((block.pointee.mode >> UInt32(VM_MODE_MMU_SHIFT)) & 3) }

  /// The entry of the linear address in `address`: its byte offset in the set to R14.
  mutating func entryOffset(_ address: UInt8) {
    let first = GuestRegisters.first
    // 32 bytes an entry.
    if Translator.hasRotate {
      a.rotateRight(first, address, 7, size: 4)
    } else {
      a.move(first, address, size: 4)
      a.shiftRight(first, 7, size: 4)
    }
    a.arithmetic(4, .register(first), Int64(VM_TLB_SIZE_MASK << 5), size: 4)
  }

  /// The check of the linear address in R15, which `again` computes anew in `width` bytes.
  mutating func lookUp(again: Components?, width: Int, size: Int, write: Bool, aligned: Bool) -> Access {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    let tag = entryField(write ? 8 : 0)
    entryOffset(second)
    a.emit(0x33, second, tag, size: 8)
    requirePage(span: size, write: write)
    // The offset in the page.
    if aligned { missUnlessAligned(second) }
    if let again {
      a.load(first, entryField(16))
      emitAddress(again, to: second, size: width)
      return Access(operand: .memory(base: second, index: first, scale: 0, disp: 0), free: Host.none)
    }
    a.emit(0x33, second, tag, size: 8)
    a.emit(0x03, second, entryField(16), size: 8)
    return Access(operand: .at(second, 0), free: first)
  }

  /// Goes on when `span` bytes lie in the page of the micro-TLB entry `slot`, or of the TLB entry at R14, with whose tag the
  /// address in R15 has been XORed.
  mutating func requirePage(slot: Int = -1, span: Int, write: Bool) {
    comparePage(GuestRegisters.second, span: span)
    missIf(Condition.above, refill: Refill(slot: slot, write: write, span: span, inverted: true))
  }

  /// Whether `span` bytes lie in a page, with whose tag their address has been XORed in `register`: not above.
  mutating func comparePage(_ register: UInt8, span: Int) {
    a.arithmetic(7, .register(register), Int64(4096 - span), size: 8)
  }

  mutating func missUnlessAligned(_ register: UInt8) {
    a.emit(0xf6, 0, .register(register), size: 1)
    a.byte(15)
    missIf(Condition.notEqual)
  }

  // MARK: Misses

  /// How a check that has failed is tried again.
  struct Refill {
    /// The micro-TLB entry; -1: the check was of the data TLB itself, and R14 has the entry's offset.
    var slot: Int
    var write: Bool
    /// Bytes checked.
    var span: Int
    /// R15 is the address XORed with the tag, otherwise the address.
    var inverted: Bool
  }

  /// Goes to the interpreter for this instruction when `condition` holds. The guest's flags must be kept by then.
  mutating func missIf(_ condition: UInt8, refill: Refill? = nil) {
    let site = a.jumpIf(condition)
    // Who has tried again comes back.
    if refill != nil { a.noteTemporaryLost() }
    misses.append(
      Miss(
        index: index, body: body, site: site, flags: flags, recipe: recipe,
        join: nil, joinFlags: [], x87: lastX87, refill: refill, again: a.cursor))
  }
}

/// Of a data TLB slot number.
private let VM_TLB_SIZE_MASK = Int(VM_TLB_SIZE) - 1
