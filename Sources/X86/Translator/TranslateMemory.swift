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

  /// The operand of `op` for an access of `size` bytes, checked. RAX is free afterwards if `accumulator`. Flags may be
  /// in the host's afterwards, as before: who destroys those keeps them first.
  mutating func memory(
    _ op: UnsafeMutablePointer<vm_op>, size: Int, write: Bool, accumulator: Bool, aligned: Bool = false
  ) -> Access {
    let form = Int(op.pointee.form)
    if form == VM_FORM_GENERAL || form == VM_FORM_BASED64 || op.pointee.prefixes & UInt8(VM_PREFIX_SCATTERED) != 0 {
      return scattered(op, size: size, write: write, accumulator: accumulator, aligned: aligned)
    }
    if isPlain(op) {
      let reference = Reference(base: op.pointee.base, disp: Int(op.pointee.disp), size: size, write: write)
      return window(reference, accumulator: accumulator, aligned: aligned)
    }
    keepFlags(accumulator: accumulator)
    let second = GuestRegisters.second
    emitAddress(components(op), to: second, size: form == VM_FORM_FLAT32 ? 4 : 8)
    let key = Int(op.pointee.base) | Int(op.pointee.index) << 5 | Int(truncatingIfNeeded: op.pointee.disp >> 12) << 10
    let slot = microSlot(key, base: op.pointee.base, alone: true)
    return checkMoved(slot, size: size, write: write, aligned: aligned, low: 0)
  }

  /// Nothing but a register and a displacement, whose sum does not wrap in any honest program.
  private func isPlain(_ op: UnsafeMutablePointer<vm_op>) -> Bool {
    guard op.pointee.index == UInt8(VM_SLOT_ZERO), op.pointee.base < 16 else { return false }
    let disp = op.pointee.disp
    if is64 { return op.pointee.form == UInt8(VM_FORM_FLAT64) && Int64(Int32(truncatingIfNeeded: disp)) == disp }
    return abs(Int(disp)) < 1 << 16
  }

  /// The operand at guest RSP or RBP plus `disp`.
  mutating func stack(_ base: UInt8, _ disp: Int, size: Int, write: Bool, accumulator: Bool) -> Access {
    guard ops[index].prefixes & UInt8(VM_PREFIX_SCATTERED) != 0 else {
      let reference = Reference(base: base, disp: disp, size: size, write: write)
      return window(reference, accumulator: accumulator, aligned: false)
    }
    keepFlags(accumulator: accumulator)
    let second = GuestRegisters.second
    a.address(second, value(base, second), disp, size: is64 ? 8 : 4)
    return check(again: nil, wide: is64, size: size, write: write, aligned: false)
  }

  // MARK: Accesses through the micro-TLB

  /// An access by a register and a displacement. Those of a block that lie close together are checked together, by the
  /// first of them: once to find out which they are, then again to emit them so.
  struct Reference {
    var base: UInt8
    var disp: Int
    var size: Int
    var write: Bool
    /// Which value of the base register it is, counted by `RegisterVersions`.
    var version: Int32 = 0
    var epoch: Int32 = 0
    /// What has been added to that value.
    var delta = 0
    var index = 0

    /// What is checked, relative to the base register's value at its last write that was no addition of a constant.
    var low = 0
    var high = 0
    /// Checks for others, too; of those the last instruction.
    var lastMember = -1
    /// The reference that has checked for this one, or -1.
    var leader = -1
    /// The micro-TLB entry, or -1.
    var slot = -1

    init(base: UInt8, disp: Int, size: Int, write: Bool) {
      self.base = base
      self.disp = disp
      self.size = size
      self.write = write
    }
  }

  /// The furthest apart that accesses checked together may reach, in bytes.
  private static let reach = 512

  private mutating func window(_ reference: Reference, accumulator: Bool, aligned: Bool) -> Access {
    let delta = versions.delta(reference.base)
    var it = reference
    if isPlanned {
      it = references[referenceCursor]
      referenceCursor += 1
    } else {
      it.version = versions.version(it.base)
      it.delta = delta
      it.epoch = epoch
      it.index = index
      it.low = delta + it.disp
      it.high = it.low + it.size
      references.append(it)
    }
    if it.leader >= 0 { return follow(it, references[it.leader], accumulator: accumulator, aligned: aligned) }
    keepFlags(accumulator: accumulator)
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    if it.slot < 0 {
      it.slot = microSlot(Int(it.base) | (it.low >> 12) << 10, base: it.base, alone: it.lastMember < 0)
      if isPlanned { references[referenceCursor - 1].slot = it.slot }
    }
    let low = it.low - delta
    guard let host = GuestRegisters.host(it.base) else {
      a.load(second, GuestRegisters.slot(Int(it.base)))
      if low != 0 { a.address(second, second, low) }
      noteLeader(it)
      return checkMoved(it.slot, size: it.high - it.low, write: it.write, aligned: aligned, low: it.disp - low)
    }
    a.address(second, host, low)
    a.emit(0x33, second, micro(it.slot, it.write ? 8 : 0), size: 8)
    a.arithmetic(7, .register(second), Int64(4096 - (it.high - it.low)), size: 8)
    let refill = Refill(slot: it.slot, write: it.write, span: it.high - it.low, inverted: true)
    missIf(Condition.above, refill: refill)
    noteLeader(it)
    if aligned {
      if low != it.disp { a.address(second, host, it.disp) }
      missUnlessAligned(second)
    }
    a.load(first, micro(it.slot, 16))
    let operand = HostOperand.memory(base: host, index: first, scale: 0, disp: Int32(truncatingIfNeeded: it.disp))
    return Access(operand: operand, free: second)
  }

  /// An access whose page is known to be in the micro-TLB.
  private mutating func follow(_ it: Reference, _ leader: Reference, accumulator: Bool, aligned: Bool) -> Access {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    if aligned || accumulator { keepFlags(accumulator: accumulator) }
    var base = value(it.base, second)
    var disp = it.disp
    if aligned || (!is64 && it.delta != leader.delta) {
      // In 32-bit code a base that has moved may have wrapped.
      a.address(second, base, disp, size: is64 ? 8 : 4)
      if aligned { missUnlessAligned(second) }
      base = second
      disp = 0
    }
    a.load(first, micro(leader.slot, 16))
    let operand = HostOperand.memory(base: base, index: first, scale: 0, disp: Int32(truncatingIfNeeded: disp))
    return Access(operand: operand, free: base == second ? Host.none : second)
  }

  /// The check of the linear address in R15, where it also is afterwards, in the host's address space. The operand is
  /// `low` bytes further.
  private mutating func checkMoved(_ slot: Int, size: Int, write: Bool, aligned: Bool, low: Int) -> Access {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    compareMoved(slot, write: write, span: size)
    missIf(Condition.above, refill: Refill(slot: slot, write: write, span: size, inverted: false))
    if aligned {
      if low != 0 { a.address(first, second, low) }
      missUnlessAligned(low != 0 ? first : second)
    }
    a.emit(0x03, second, micro(slot, 16), size: 8)
    return Access(operand: .at(second, low), free: first)
  }

  private mutating func missUnlessAligned(_ register: UInt8) {
    a.emit(0xf6, 0, .register(register), size: 1)
    a.byte(15)
    missIf(Condition.notEqual)
  }

  private var set: Int { Int((block.pointee.mode >> UInt32(VM_MODE_MMU_SHIFT)) & 3) }

  /// A field of a micro-TLB entry of this mode.
  private func micro(_ slot: Int, _ field: Int) -> HostOperand {
    .at(GuestRegisters.state, MicroTLB.displacement(set: set, slot: slot) + field)
  }

  /// The entry for accesses that `key` tells apart. One that is `alone` may share it; one that others follow has it for
  /// itself in this block.
  private mutating func microSlot(_ key: Int, base: UInt8, alone: Bool) -> Int {
    if alone, let known = slots.first(where: { $0.key == key }) { return known.slot }
    var slot = base == GuestRegisters.rsp ? 0 : base == GuestRegisters.rbp ? 1 : translator.nextMicroSlot()
    if slots.contains(where: { $0.slot == slot }) { slot = translator.nextMicroSlot() }
    slots.append((key: alone ? key : -1, slot: slot))
    return slot
  }

  private mutating func noteLeader(_ it: Reference) {
    guard it.lastMember > index else { return }
    leaders.append(Leader(reference: it, index: index, isSecondBody: isSecondBody, disp: 0))
  }

  /// Decides which references are checked together. Returns false when there are none.
  mutating func planReferences() -> Bool {
    guard references.count > 1, block.pointee.crossings < UInt8(BlockTranslator.crossingLimit) else { return false }
    var found = false
    for index in 1..<references.count {
      let it = references[index]
      var leader = index - 1
      while leader >= 0 {
        let other = references[leader]
        if other.leader < 0 && other.base == it.base && other.version == it.version && other.epoch == it.epoch {
          let low = min(other.low, it.low)
          let high = max(other.high, it.high)
          if high - low <= Self.reach {
            references[index].leader = leader
            references[leader].low = low
            references[leader].high = high
            references[leader].write = other.write || it.write
            references[leader].lastMember = it.index
            found = true
            break
          }
        }
        leader -= 1
      }
    }
    return found
  }

  /// Checks again for those that follow after the interpreter has run the instruction of their leader; calls `leave`
  /// when the check fails. Flags are in RAX.
  mutating func emitRecheck(_ leader: Leader, leave: (inout BlockTranslator) -> Void) {
    let it = leader.reference
    a.address(GuestRegisters.second, value(it.base, GuestRegisters.second), leader.disp)
    compareMoved(it.slot, write: it.write, span: it.high - it.low)
    let held = a.jumpIf(Condition.belowOrEqual)
    emitFill(it.slot, write: it.write)
    compareMoved(it.slot, write: it.write, span: it.high - it.low)
    let holds = a.jumpIf(Condition.belowOrEqual)
    leave(&self)
    Assembler.patch(held, a.cursor)
    Assembler.patch(holds, a.cursor)
  }

  /// The way of a check that has failed: fills the entry and tries again; goes on at `join` when that helps.
  mutating func emitRefill(_ refill: Refill, join: UnsafeMutablePointer<UInt8>) {
    if refill.inverted {
      a.emit(0x33, GuestRegisters.second, micro(refill.slot, refill.write ? 8 : 0), size: 8)
    }
    emitFill(refill.slot, write: refill.write)
    compareMoved(refill.slot, write: refill.write, span: refill.span)
    a.jump(to: join, if: Condition.belowOrEqual)
  }

  /// Whether `span` bytes at the linear address in R15 lie in the entry's page: not above.
  private mutating func compareMoved(_ slot: Int, write: Bool, span: Int) {
    let first = GuestRegisters.first
    a.move(first, GuestRegisters.second)
    a.emit(0x33, first, micro(slot, write ? 8 : 0), size: 8)
    a.arithmetic(7, .register(first), Int64(4096 - span), size: 8)
  }

  private mutating func emitFill(_ slot: Int, write: Bool) {
    a.moveImmediate(GuestRegisters.first, UInt64(MicroTLB.displacement(set: set, slot: slot)))
    a.call(translator.fillThunks[2 * set + (write ? 1 : 0)])
  }

  // MARK: Accesses through the data TLB

  /// An access by a segment's base, or one that was found to go to a different page each time.
  private mutating func scattered(
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
    let parts = components(op)
    if form == VM_FORM_FLAT64 && parts.isPlain {
      return check(plainBase: parts.base, disp: Int(parts.disp), size: size, write: write, aligned: aligned)
    }
    let second = GuestRegisters.second
    let narrow = form == VM_FORM_FLAT32 || plainSegment
    emitAddress(parts, to: second, size: narrow ? 4 : 8)
    let based = form == VM_FORM_BASED64 || plainSegment
    if based {
      let segment = StateField.segments + Int(op.pointee.segment) * MemoryLayout<vm_segment>.stride
      a.emit(0x03, second, .at(GuestRegisters.state, segment - GuestRegisters.bias), size: narrow ? 4 : 8)
    }
    let again = based || parts.base == second ? nil : parts
    return check(again: again, wide: form != VM_FORM_FLAT32, size: size, write: write, aligned: aligned)
  }

  /// The place of a field in the TLB entry at byte offset R14 of the set that this mode uses.
  private func entryField(_ offset: Int) -> HostOperand {
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
      a.shiftRight(first, 7, size: 4)
    }
    a.arithmetic(4, .register(first), Int64(VM_TLB_SIZE_MASK << 5), size: 4)
  }

  /// The TLB check of `plainBase` + `disp`.
  private mutating func check(plainBase base: UInt8, disp: Int, size: Int, write: Bool, aligned: Bool) -> Access {
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
    compare(size, aligned)
    a.load(first, entryField(16))
    let operand = HostOperand.memory(base: base, index: first, scale: 0, disp: Int32(truncatingIfNeeded: disp))
    return Access(operand: operand, free: second)
  }

  /// The TLB check of the linear address in R15, which `again` computes anew.
  private mutating func check(again: Components?, wide: Bool, size: Int, write: Bool, aligned: Bool) -> Access {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    let tag = entryField(write ? 8 : 0)
    entryOffset(second)
    // The index may be in R14, which is taken now.
    let parts = again?.index == first ? nil : again
    a.emit(0x33, second, tag, size: 8)
    compare(size, aligned)
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

  private mutating func compare(_ size: Int, _ aligned: Bool) {
    a.arithmetic(7, .register(GuestRegisters.second), Int64(4096 - size), size: 8)
    missIf(Condition.above)
    // The offset in the page.
    if aligned { missUnlessAligned(GuestRegisters.second) }
  }

  // MARK: Misses

  /// How a check that has failed is tried again.
  struct Refill {
    var slot: Int
    var write: Bool
    /// Bytes checked.
    var span: Int
    /// R15 is the address XORed with the tag, otherwise the address.
    var inverted: Bool
  }

  /// A reference that has checked for others, to be repeated when the interpreter has run its instruction.
  struct Leader {
    var reference: Reference
    var index: Int
    var isSecondBody: Bool
    /// From the base register to what is checked, behind the instruction.
    var disp: Int
  }

  /// Goes to the interpreter for this instruction when `condition` holds. The guest's flags must be kept by then.
  mutating func missIf(_ condition: UInt8, refill: Refill? = nil) {
    let site = a.jumpIf(condition)
    misses.append(
      Miss(
        index: index, isSecondBody: isSecondBody, site: site, flags: flags, recipe: recipe, join: nil, joinFlags: [],
        x87: lastX87, refill: refill, again: a.cursor))
  }
}

/// Which values general registers have had in a block, and what constant has been added to each since.
struct RegisterVersions {
  private var numbers = SIMD16<Int32>(repeating: 0)
  private var deltas = SIMD16<Int32>(repeating: 0)

  @inline(__always)
  func version(_ register: UInt8) -> Int32 { numbers[Int(register & 15)] }
  @inline(__always)
  func delta(_ register: UInt8) -> Int { Int(deltas[Int(register & 15)]) }

  @inline(__always)
  mutating func write(_ register: UInt8) {
    numbers[Int(register & 15)] &+= 1
    deltas[Int(register & 15)] = 0
  }

  @inline(__always)
  mutating func add(_ register: UInt8, _ bytes: Int) {
    let sum = delta(register) &+ bytes
    if abs(sum) < 1 << 20 { deltas[Int(register & 15)] = Int32(sum) } else { write(register) }
  }
}

/// Of a data TLB slot number.
private let VM_TLB_SIZE_MASK = Int(VM_TLB_SIZE) - 1
