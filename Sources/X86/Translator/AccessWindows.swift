import CHost

/// An effective address without its displacement: what accesses that lie together have in common.
struct Address: Equatable {
  /// Guest registers, or VM_SLOT_RIP, or VM_SLOT_ZERO where there is none.
  var base: UInt8
  var index = UInt8(VM_SLOT_ZERO)
  var scale: UInt8 = 0
  /// Bytes that it is cut to, 4 or 8.
  var width = 8
  /// A general register, to which displacements are added that wrap in no honest program.
  var isPlain = true

  /// A general register alone.
  init(base: UInt8, is64: Bool) {
    self.base = base
    if !is64 { width = 4 }
  }

  /// What an operand says, whatever it may be used for.
  init(operand op: UnsafeMutablePointer<vm_op>) {
    base = op.pointee.base
    index = op.pointee.index
    scale = index == UInt8(VM_SLOT_ZERO) ? 0 : op.pointee.scale
    isPlain = false
  }

  /// nil for an operand that needs a segment's base, or whose displacement is beyond what windows are for.
  init?(_ op: UnsafeMutablePointer<vm_op>, is64: Bool) {
    self.init(operand: op)
    let form = Int(op.pointee.form)
    guard form == VM_FORM_FLAT64 || form == VM_FORM_FLAT32 else { return nil }
    if form == VM_FORM_FLAT32 { width = 4 }
    if width == 8 && abs(op.pointee.disp) >= 1 << 30 { return nil }
    let isRegister = base < 16 && index == UInt8(VM_SLOT_ZERO)
    isPlain = isRegister && (width == 8 || !is64 && abs(op.pointee.disp) < 1 << 16)
  }
}

/// An access that may be checked together with others of the same address that lie close to it: once the block is
/// translated to find out which they are, then again with one check for each group, made by the first of it.
struct Reference {
  var address: Address
  var disp: Int
  var size: Int
  var write: Bool
  /// Which values of its registers it is made of, counted by `RegisterVersions`.
  var version: (Int32, Int32) = (0, 0)
  var epoch: Int32 = 0
  /// What has been added to those values.
  var moved = 0
  /// How often: in 32-bit code each time cuts the register.
  var additions = 0
  /// The same as `moved` of its two registers.
  var parts = (0, 0)
  /// Must be a multiple of 16.
  var aligned = false
  var instruction = 0

  /// What is checked, relative to the address that the registers' values at their last writes which were no additions of
  /// constants made.
  var low = 0
  var high = 0
  /// Checks for others, too; of those the last instruction.
  var lastMember = -1
  /// The reference that has checked for this one, or -1.
  var leader = -1
  /// The micro-TLB entry, or -1.
  var slot = -1
  /// Where the addend is kept for those that follow, if it is not a micro-TLB entry's: one of `window_addends`, or -1.
  var addend = -1
  /// The stride that it belongs to in a loop, or -1.
  var stride = -1

  init(address: Address, disp: Int, size: Int, write: Bool) {
    self.address = address
    self.disp = disp
    self.size = size
    self.write = write
  }

  /// Bytes checked.
  var span: Int { high - low }

  /// Whether both are made of the same values.
  func isLike(_ other: Reference) -> Bool {
    address == other.address && version == other.version && epoch == other.epoch
  }
}

/// A reference that has checked for others, to be repeated when the interpreter has run its instruction.
struct Leader {
  var reference: Reference
  var index: Int
  var body: CodeBody
  /// From the address to what is checked, behind the instruction.
  var disp: Int

  /// Whether the miss is one of its instruction, in the same body.
  func isAt(_ miss: BlockTranslator.Miss) -> Bool {
    index == miss.index && body == miss.body
  }
}

/// Accesses checked together.
extension BlockTranslator {
  /// The furthest apart that they may reach, in bytes.
  private static let reach = 512
  /// Leaders by way of the data TLB that a block may have. Two places for addends are string instructions'.
  private static let addends = MemoryLayout.size(ofValue: vm_cpu_state().window_addends) / 8 - 2

  /// The operand of an access, checked by itself, for others, or by another.
  mutating func window(_ reference: Reference, accumulator: Bool, aligned: Bool) -> Access {
    var it = reference
    let moved = versions.delta(it.address)
    if body == .careful {
      it.low = moved + it.disp
      it.high = it.low + it.size
    } else if isPlanned {
      it = references[referenceCursor]
      referenceCursor += 1
    } else {
      it.version = versions.version(it.address)
      it.epoch = epoch
      it.moved = moved
      it.additions = versions.additions(it.address)
      it.parts = versions.deltas(it.address)
      it.aligned = aligned
      it.instruction = index
      it.low = moved + it.disp
      it.high = it.low + it.size
      references.append(it)
    }
    if body == .strided && it.stride >= 0 { return strided(it, moved, accumulator: accumulator) }
    let aligned = aligned && !isAligned(it, moved)
    if it.leader >= 0 { return follow(it, references[it.leader], accumulator: accumulator, aligned: aligned) }
    endStackRun()
    keepFlags(accumulator: accumulator)
    let low = it.low - moved
    if isScattered(index) { return lookUp(it, low, aligned: aligned) }
    if it.slot < 0 {
      it.slot = microSlot(it)
      if isPlanned && body != .careful { references[referenceCursor - 1].slot = it.slot }
    }
    noteLeader(it)
    return check(it, low, aligned: aligned)
  }

  /// Whether an earlier access at a multiple of 16 bytes from this one has been found aligned; if not, this one will be.
  private mutating func isAligned(_ it: Reference, _ moved: Int) -> Bool {
    let residue = (moved + it.disp) & 15
    if alignments.contains(where: { $0.reference.isLike(it) && $0.residue == residue }) { return true }
    alignments.append((it, residue))
    return false
  }

  func isScattered(_ instruction: Int) -> Bool {
    ops[instruction].prefixes & UInt8(VM_PREFIX_SCATTERED) != 0
  }

  /// The address plus `disp` to R15, for a check. What is added to plain ones is not cut, there and in the access.
  private mutating func emitChecked(_ address: Address, _ disp: Int) {
    let parts = components(address, Int64(disp))
    emitAddress(parts, to: GuestRegisters.second, size: address.isPlain ? 8 : address.width)
  }

  /// `disp` bytes from `base`, in the page whose addend is in R14.
  private func translated(_ base: UInt8, _ disp: Int) -> HostOperand {
    .memory(base: base, index: GuestRegisters.first, scale: 0, disp: Int32(truncatingIfNeeded: disp))
  }

  /// The check by the micro-TLB entry, of what begins `low` bytes from the address.
  private mutating func check(_ it: Reference, _ low: Int, aligned: Bool) -> Access {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    emitChecked(it.address, low)
    if it.address.isPlain, let host = homes.host(it.address.base) {
      a.emit(0x33, second, micro(it.slot, it.write ? 8 : 0), size: 8)
      requirePage(slot: it.slot, span: it.span, write: it.write)
      if aligned {
        if low != it.disp { a.address(second, host, it.disp) }
        missUnlessAligned(second)
      }
      a.load(first, micro(it.slot, 16))
      return Access(operand: translated(host, it.disp), free: second)
    }
    compareMoved(it.slot, write: it.write, span: it.span)
    missIf(Condition.above, refill: Refill(slot: it.slot, write: it.write, span: it.span, inverted: false))
    if aligned {
      if low != it.disp { a.address(first, second, it.disp - low) }
      missUnlessAligned(low != it.disp ? first : second)
    }
    a.emit(0x03, second, micro(it.slot, 16), size: 8)
    return Access(operand: .at(second, it.disp - low), free: first)
  }

  /// The check of an access by a resident register alone that makes its own operand: the place of the addend.
  mutating func checkAlone(_ reference: Reference) -> HostOperand {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    emitChecked(reference.address, 0)
    if isScattered(index) {
      entryOffset(second)
      a.emit(0x33, second, entryField(reference.write ? 8 : 0), size: 8)
      requirePage(span: reference.size, write: reference.write)
      let addend = StateField.windowAddend(Self.addends + (reference.write ? 1 : 0))
      a.load(first, entryField(16))
      a.store(addend, first)
      return addend
    }
    let slot = microSlot(reference)
    a.emit(0x33, second, micro(slot, reference.write ? 8 : 0), size: 8)
    requirePage(slot: slot, span: reference.size, write: reference.write)
    return micro(slot, 16)
  }

  /// The check by the data TLB, of what begins `low` bytes from the address.
  private mutating func lookUp(_ it: Reference, _ low: Int, aligned: Bool) -> Access {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    let isLeader = it.lastMember > index
    noteLeader(it)
    let host = it.address.isPlain ? homes.host(it.address.base) : nil
    if host == nil && !isLeader {
      let parts = components(it.address, Int64(low))
      let width = it.address.width
      emitAddress(parts, to: second, size: width)
      // R14 and R15 are taken by then.
      let isKept = parts.base != second && parts.index != first
      return lookUp(again: isKept ? parts : nil, width: width, size: it.span, write: it.write, aligned: aligned)
    }
    let tag = entryField(it.write ? 8 : 0)
    if let host, low == 0 {
      entryOffset(host)
      a.load(second, tag)
      a.emit(0x33, second, .register(host), size: 8)
    } else {
      emitChecked(it.address, low)
      entryOffset(second)
      a.emit(0x33, second, tag, size: 8)
    }
    requirePage(span: it.span, write: it.write)
    if aligned {
      if low != it.disp { a.arithmetic(0, .register(second), Int64(it.disp - low), size: 4) }
      missUnlessAligned(second)
    }
    if let host, low == 0, !isLeader, Translator.hasRotate, feedsAddress() {
      // The next access waits for this one's addend.
      a.moveImmediate(first, UInt64(VM_TLB_BITS) << 8 | 12)
      a.extract(first, host, first)
      let addends = CPU.pageAddendsOffset + mmuSet * CPU.dataSetSize * 8 - GuestRegisters.bias
      a.load(first, .memory(base: GuestRegisters.state, index: first, scale: 3, disp: Int32(addends)))
      return Access(operand: translated(host, it.disp), free: second)
    }
    a.load(first, entryField(16))
    if isLeader { a.store(StateField.windowAddend(it.addend), first) }
    if let host { return Access(operand: translated(host, it.disp), free: second) }
    return addressed(it, it.disp, it, aligned: false)
  }

  /// Whether the instruction loads a register that an address is made of in this block.
  private func feedsAddress() -> Bool {
    let kind = OpKind(trusted: ops[index].kind)
    guard kind == (is64 ? .movRM64 : .movRM32) else { return false }
    let register = ops[index].reg
    return (0..<Int(block.pointee.count)).contains {
      isMemory(ops + $0) && (ops[$0].base == register || ops[$0].index == register)
    }
  }

  /// An access that another has checked.
  private mutating func follow(_ it: Reference, _ leader: Reference, accumulator: Bool, aligned: Bool) -> Access {
    let second = GuestRegisters.second
    if aligned || accumulator { keepFlags(accumulator: accumulator) }
    let disp = it.address.base == GuestRegisters.rsp && it.address.isPlain ? it.disp + stackRun.bytes : it.disp
    // In 32-bit code a base that has moved may have wrapped, and one that has moved to and fro has lost its upper half.
    let mayWrap = !is64 && it.additions != leader.additions
    if !it.address.isPlain || !leader.address.isPlain || mayWrap {
      return addressed(it, disp, leader, aligned: aligned)
    }
    let base = value(it.address.base, second)
    if aligned {
      a.address(second, base, disp)
      missUnlessAligned(second)
      loadAddend(it, leader)
      return Access(operand: translated(second, 0), free: Host.none)
    }
    loadAddend(it, leader)
    return Access(operand: translated(base, disp), free: base == second ? Host.none : second)
  }

  /// The operand of an access that has been checked, at its address plus `disp`. Flags are left alone but for alignment.
  private mutating func addressed(_ it: Reference, _ disp: Int, _ leader: Reference, aligned: Bool) -> Access {
    let second = GuestRegisters.second
    emitAddress(components(it.address, Int64(disp)), to: second, size: it.address.width)
    if aligned { missUnlessAligned(second) }
    loadAddend(it, leader)
    return Access(operand: translated(second, 0), free: Host.none)
  }

  /// The addend of the page that `leader` has found, to R14.
  private mutating func loadAddend(_ it: Reference, _ leader: Reference) {
    if it.leader >= 0 && stackRun.leader == it.leader && stackRun.changes == a.temporaryChanges { return }
    let addend = leader.addend >= 0 ? StateField.windowAddend(leader.addend) : micro(leader.slot, 16)
    a.load(GuestRegisters.first, addend)
    stackRun.leader = it.leader
    stackRun.changes = a.temporaryChanges
  }

  // MARK: Groups

  private mutating func noteLeader(_ it: Reference) {
    guard it.lastMember > index else { return }
    leaders.append(Leader(reference: it, index: index, body: body, disp: 0))
  }

  /// Decides which references are checked together. Returns false when there are none.
  mutating func planReferences() -> Bool {
    guard references.count > 1 else { return false }
    let skips = skippedRanges()
    var found = false
    var addends = 0
    for index in 1..<references.count {
      let it = references[index]
      // Of what an earlier body has kept nothing is wanted any more.
      if it.epoch != references[index - 1].epoch { addends = 0 }
      var leader = index - 1
      while leader >= 0 && references[leader].epoch == it.epoch {
        defer { leader -= 1 }
        let other = references[leader]
        // Who may have been skipped has not checked.
        let isSkipped = skips.contains { $0.contains(other.instruction) && $0.upperBound <= it.instruction }
        guard other.leader < 0, other.isLike(it), !isSkipped else { continue }
        let low = min(other.low, it.low)
        let high = max(other.high, it.high)
        guard high - low <= Self.reach else { continue }
        if other.addend < 0 && isScattered(other.instruction) {
          guard addends < Self.addends else { continue }
          references[leader].addend = addends
          addends += 1
        }
        references[index].leader = leader
        references[leader].low = low
        references[leader].high = high
        references[leader].write = other.write || it.write
        references[leader].lastMember = it.instruction
        found = true
        break
      }
    }
    if !is64 { cutMoved() }
    return found
  }

  /// In 32-bit code a register that moves between accesses may wrap, and loses an upper half that 64-bit code has left in
  /// it: what is checked for them all is the address as it is cut to 32 bits, for it is so that they are made. Uncut it
  /// might lie in another page, above 4 GiB, that 64-bit code of the same address space has.
  private mutating func cutMoved() {
    for each in references where each.leader >= 0 && each.additions != references[each.leader].additions {
      references[each.leader].address.isPlain = false
    }
  }

  /// Behind the instruction just emitted: where what its leaders have checked lies now.
  mutating func noteMoves(ofLeadersFrom first: Int) {
    for leader in first..<leaders.count {
      let it = leaders[leader].reference
      leaders[leader].disp = it.low - versions.delta(it.address)
    }
  }

  /// Checks again for those that follow after the interpreter has run the instruction of their leader; calls `leave`
  /// when the check fails. Flags are in RAX.
  mutating func emitRecheck(_ leader: Leader, leave: (inout BlockTranslator) -> Void) {
    let it = leader.reference
    let second = GuestRegisters.second
    emitChecked(it.address, leader.disp)
    if it.addend >= 0 {
      entryOffset(second)
      a.emit(0x33, second, entryField(it.write ? 8 : 0), size: 8)
      comparePage(second, span: it.span)
      let holds = a.jumpIf(Condition.belowOrEqual)
      leave(&self)
      Assembler.patch(holds, a.cursor)
      a.load(GuestRegisters.first, entryField(16))
      a.store(StateField.windowAddend(it.addend), GuestRegisters.first)
      return
    }
    compareMoved(it.slot, write: it.write, span: it.span)
    let held = a.jumpIf(Condition.belowOrEqual)
    emitFill(it.slot, write: it.write)
    compareMoved(it.slot, write: it.write, span: it.span)
    let holds = a.jumpIf(Condition.belowOrEqual)
    leave(&self)
    Assembler.patch(held, a.cursor)
    Assembler.patch(holds, a.cursor)
  }

  // MARK: The micro-TLB

  /// A field of a micro-TLB entry of this mode.
  private func micro(_ slot: Int, _ field: Int) -> HostOperand {
    .at(GuestRegisters.state, MicroTLB.displacement(set: mmuSet, slot: slot) + field)
  }

  /// The entry for a reference. One that is alone may share it with its like; one that others follow has it for itself in
  /// this block.
  private mutating func microSlot(_ it: Reference) -> Int {
    let address = it.address
    let isAlone = it.lastMember < 0
    let key = Int(address.base) | Int(address.index) << 5 | (it.low >> 12) << 10
    if isAlone, let known = slots.first(where: { $0.key == key }) { return known.slot }
    var slot: Int
    switch address.base {
    case GuestRegisters.rsp: slot = 0
    // A frame's variables. Where RBP is no frame pointer it leads anywhere.
    case GuestRegisters.rbp where it.low < 0: slot = 1
    default: slot = translator.nextMicroSlot()
    }
    if slots.contains(where: { $0.slot == slot }) { slot = translator.nextMicroSlot() }
    slots.append((key: isAlone ? key : -1, slot: slot))
    return slot
  }

  /// The way of a check that has failed: fills the entry and tries again; goes on at `join` when that helps.
  mutating func emitRefill(_ refill: Refill, join: UnsafeMutablePointer<UInt8>) {
    if refill.slot < 0 {
      a.call(translator.missThunks[2 * mmuSet + (refill.write ? 1 : 0)])
      comparePage(GuestRegisters.second, span: refill.span)
      a.jump(to: join, if: Condition.belowOrEqual)
      return
    }
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
    comparePage(first, span: span)
  }

  private mutating func emitFill(_ slot: Int, write: Bool) {
    a.moveImmediate(GuestRegisters.first, UInt64(MicroTLB.displacement(set: mmuSet, slot: slot)))
    a.call(translator.fillThunks[2 * mmuSet + (write ? 1 : 0)])
  }
}

/// Which values general registers have had in a block, and what constant has been added to each since.
struct RegisterVersions {
  private var numbers = SIMD16<Int32>(repeating: 0)
  private var deltas = SIMD16<Int32>(repeating: 0)
  /// How often something has been added, if only 0.
  private var counts = SIMD16<Int32>(repeating: 0)
  /// The least and the most that has been added on the way since the last call of `beginRange`.
  private var lowest = SIMD16<Int32>(repeating: 0)
  private var highest = SIMD16<Int32>(repeating: 0)

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
    guard abs(sum) < 1 << 20 else { return write(register) }
    let place = Int(register & 15)
    counts[place] &+= 1
    deltas[place] = Int32(sum)
    lowest[place] = min(lowest[place], Int32(sum))
    highest[place] = max(highest[place], Int32(sum))
  }

  mutating func beginRange() {
    lowest = deltas
    highest = deltas
  }

  /// What a register has had added in the meantime.
  func range(_ register: UInt8) -> ClosedRange<Int> {
    Int(lowest[Int(register & 15)])...Int(highest[Int(register & 15)])
  }

  /// Another way has led here with other values: what differs is taken as written.
  mutating func meet(_ other: RegisterVersions) {
    let differs = (numbers .!= other.numbers) .| (deltas .!= other.deltas) .| (counts .!= other.counts)
    let highest = numbers.replacing(with: other.numbers, where: other.numbers .> numbers)
    numbers.replace(with: highest &+ 1, where: differs)
    deltas.replace(with: 0, where: differs)
    counts.replace(with: other.counts, where: other.counts .> counts)
  }

  func version(_ address: Address) -> (Int32, Int32) {
    (address.base < 16 ? version(address.base) : 0, address.index < 16 ? version(address.index) : 0)
  }

  /// What has been added to the address.
  func delta(_ address: Address) -> Int {
    let (base, index) = deltas(address)
    return base + index << address.scale
  }

  /// How often something has been added to the address.
  func additions(_ address: Address) -> Int {
    (address.base < 16 ? Int(counts[Int(address.base)]) : 0)
      + (address.index < 16 ? Int(counts[Int(address.index)]) : 0)
  }

  /// What has been added to its two registers.
  func deltas(_ address: Address) -> (base: Int, index: Int) {
    (address.base < 16 ? delta(address.base) : 0, address.index < 16 ? delta(address.index) : 0)
  }

  /// As if all registers had been written anew and the same had been added to them as to `other`'s.
  mutating func restart(as other: RegisterVersions) {
    numbers = numbers &+ 1
    deltas = other.deltas
  }
}
