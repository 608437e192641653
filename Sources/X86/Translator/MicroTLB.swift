import CHost

/// The micro-TLB: a few translations beside the data TLB, each at a fixed place that some accesses in emitted code have
/// for their own. Such an access finds its tag and addend without an index made of the address, and need not wait
/// for it: loads through a pointer just loaded are as quick as on bare metal.
///
/// An entry holds what the data TLB holds, or held: whatever drops or narrows a translation there clears the entries
/// here. Those that may hold what is not global are listed, so that a load of CR3 takes no longer than it must. An
/// access that finds another page has its entry filled from the data TLB; one that does so too often is translated anew
/// to look there at once.
enum MicroTLB {
  /// Entries of each set (VM_MMU_*). Entry 0 is for accesses by RSP, 1 for those below RBP.
  static let slots = 1024
  /// The distance of the first entry from the CPU's state.
  static let offset = CPU.jumpCacheOffset + MemoryLayout<vm_jump_entry>.stride * Translator.jumpEntries
  static let scratchOffset = offset + VM_MMU_COUNT * slots * MemoryLayout<vm_tlb_entry>.stride
  /// The displacements of `micro_locals` entries.
  static let listOffset = scratchOffset + 4096
  /// Bytes that the entries, the scratch page and the list take.
  static let bytes = listOffset + VM_MMU_COUNT * slots * 4 - offset
  /// Fills of an entry until it is asked whether they came too fast.
  static let patience: UInt32 = 4096
  /// Nanoseconds within which that many fills are too many.
  static let haste: UInt64 = 200_000

  /// Of a field that in the data TLB is `physical`: the fills that are left, and whether the list has the entry.
  static let fillsField = 24
  static let listedField = 28

  /// The distance of an entry from the address that emitted code has of the state.
  static func displacement(set: Int, slot: Int) -> Int {
    offset + (set * slots + slot) * MemoryLayout<vm_tlb_entry>.stride - GuestRegisters.bias
  }
}

extension CPU {
  @inline(__always)
  private func microEntry(_ index: Int) -> UnsafeMutablePointer<vm_tlb_entry> {
    (UnsafeMutableRawPointer(s) + MicroTLB.offset).assumingMemoryBound(to: vm_tlb_entry.self) + index
  }

  /// The entry at a displacement in emitted code.
  @inline(__always)
  private func microEntry(at displacement: UInt32) -> UnsafeMutablePointer<vm_tlb_entry> {
    let place = UnsafeMutableRawPointer(s) + Int(displacement) + GuestRegisters.bias
    return place.assumingMemoryBound(to: vm_tlb_entry.self)
  }

  private var microList: UnsafeMutablePointer<UInt32> {
    (UnsafeMutableRawPointer(s) + MicroTLB.listOffset).assumingMemoryBound(to: UInt32.self)
  }

  /// Empties all entries, whatever they held; for memory that is not initialised yet.
  func eraseMicroTLB() {
    let base = UnsafeMutableRawPointer(s) + MicroTLB.offset
    base.initializeMemory(as: UInt8.self, repeating: 0, count: MicroTLB.bytes)
    for index in 0..<VM_MMU_COUNT * MicroTLB.slots { microEntry(index).pointee.physical = UInt64(MicroTLB.patience) }
    s.pointee.micro_locals = 0
    s.pointee.micro_used = ~0
    clearMicroTLB()
  }

  /// Empties the entries of the sets in use: a translation was dropped or lost rights.
  @inline(__always)
  func clearMicroTLB() {
    s.pointee.translation_drops &+= 1
    if s.pointee.micro_used != 0 { clearUsedMicroSets() }
  }

  /// The same when global translations stay.
  func clearLocalMicroTLB() {
    s.pointee.translation_drops &+= 1
    forgetMicroLocals { clear($0) }
  }

  /// The same when only a small page was dropped. `mayBeGlobal`: else it is known not to be.
  func clearMicroTLB(page: UInt64, mayBeGlobal: Bool) {
    s.pointee.translation_drops &+= 1
    guard mayBeGlobal else {
      for index in 0..<Int(s.pointee.micro_locals) {
        let entry = microEntry(at: microList[index])
        if entry.pointee.read_tag == page { clear(entry) }
      }
      return
    }
    for set in 0..<VM_MMU_COUNT where s.pointee.micro_used & Self.microByte(set) != 0 {
      let first = set &* MicroTLB.slots
      for index in first..<first &+ MicroTLB.slots where microEntry(index).pointee.read_tag == page {
        clear(microEntry(index))
      }
    }
  }

  @inline(__always)
  private static func microByte(_ set: Int) -> UInt32 { 0xff &<< UInt32(set &* 8) }

  @inline(never)
  private func clearUsedMicroSets() {
    forgetMicroLocals { _ in }
    for set in 0..<VM_MMU_COUNT where s.pointee.micro_used & Self.microByte(set) != 0 {
      for slot in 0..<MicroTLB.slots { clear(microEntry(set &* MicroTLB.slots &+ slot)) }
    }
    s.pointee.micro_used = 0
  }

  /// Empties the list, and calls `body` with each entry that it had.
  @inline(__always)
  private func forgetMicroLocals(_ body: (UnsafeMutablePointer<vm_tlb_entry>) -> Void) {
    for index in 0..<Int(s.pointee.micro_locals) {
      let entry = microEntry(at: microList[index])
      entry.pointee.physical &= 0xffff_ffff
      body(entry)
    }
    s.pointee.micro_locals = 0
  }

  /// There is no tag that no address matches, for all 64-bit numbers are addresses. The one of an empty entry is a page
  /// that is not canonical, of which no guest can know, and leads to a page of ours that nobody reads.
  @inline(__always)
  private func clear(_ entry: UnsafeMutablePointer<vm_tlb_entry>) {
    let tag = emptyMicroTag
    entry.pointee.read_tag = tag
    entry.pointee.write_tag = tag
    entry.pointee.addend = UInt64(UInt(bitPattern: UnsafeRawPointer(s) + MicroTLB.scratchOffset)) &- tag
  }

  /// The entry at `displacement` has been filled often. Says whether that was too often for what it saves.
  func microEntryThrashes(_ displacement: UInt32) -> Bool {
    let entry = microEntry(at: displacement)
    entry.pointee.physical = entry.pointee.physical & ~0xffff_ffff | UInt64(MicroTLB.patience)
    guard let translator else { return false }
    let index = entry - microEntry(0)
    let now = vm_monotonic_nanoseconds()
    let before = translator.microFilled[index]
    translator.microFilled[index] = now
    return now &- before < MicroTLB.haste
  }
}

extension Translator {
  /// The next entry for an access that no fixed one is meant for.
  func nextMicroSlot() -> Int {
    microCursor = microCursor + 1 < MicroTLB.slots ? microCursor + 1 : 2
    return microCursor
  }

  /// Emits the function that fills the micro-TLB entry at displacement R14 from the data TLB's set `set`, if that has,
  /// or gets, the page of the linear address in R15. RAX, R14 and R15 are kept, flags are not.
  func emitMicroFill(_ a: inout Assembler, set: Int, write: Bool, _ emptyTag: UInt64) {
    let rax = Host.rax
    let rcx = Host.rcx
    let first = GuestRegisters.first
    func entry(_ offset: Int) -> HostOperand {
      let start = CPU.tlbOffset + set * Int(VM_TLB_SIZE) * MemoryLayout<vm_tlb_entry>.stride + offset
      return .memory(base: GuestRegisters.state, index: rax, scale: 0, disp: Int32(start - GuestRegisters.bias))
    }
    func micro(_ offset: Int) -> HostOperand {
      .memory(base: GuestRegisters.state, index: first, scale: 0, disp: Int32(offset))
    }
    a.push(rax)
    a.push(rcx)
    a.arithmetic(5, micro(MicroTLB.fillsField), 1, size: 4)
    let exhausted = a.jumpIf(Condition.sign)
    let look = a.cursor
    a.move(rax, GuestRegisters.second, size: 4)
    a.shiftRight(rax, 7, size: 4)
    a.arithmetic(4, .register(rax), Int64((Int(VM_TLB_SIZE) - 1) << 5), size: 4)
    a.load(rcx, entry(write ? 8 : 0))
    a.emit(0x33, rcx, .register(GuestRegisters.second), size: 8)
    a.arithmetic(7, .register(rcx), 4096, size: 8)
    let missing = a.jumpIf(Condition.aboveOrEqual)
    for field in [0, 16] {
      a.load(rcx, entry(field))
      a.store(micro(field), rcx)
    }
    // The TLB's own tag of what may not be written is void in its slot only.
    a.load(rcx, entry(8))
    a.emit(0x33, rcx, .register(GuestRegisters.second), size: 8)
    a.arithmetic(7, .register(rcx), 4096, size: 8)
    a.load(rcx, entry(8))
    let isWritable = a.jumpIf(Condition.below)
    a.moveImmediate(rcx, emptyTag)
    Assembler.patch(isWritable, a.cursor)
    a.store(micro(8), rcx)
    a.emit(0xc6, 0, StateField.microUsed(set), size: 1)
    a.byte(1)
    a.emit(0xf6, 0, entry(24), size: 1)
    a.byte(UInt8(VM_TLB_GLOBAL))
    let isGlobal = a.jumpIf(Condition.notEqual)
    a.arithmetic(7, micro(MicroTLB.listedField), 0, size: 4)
    let isListed = a.jumpIf(Condition.notEqual)
    a.emit(0xc7, 0, micro(MicroTLB.listedField), size: 4)
    a.word32(1)
    a.load(rcx, StateField.microLocals, size: 4)
    let list = Int32(MicroTLB.listOffset - GuestRegisters.bias)
    a.store(.memory(base: GuestRegisters.state, index: rcx, scale: 2, disp: list), first, size: 4)
    a.arithmetic(0, StateField.microLocals, 1, size: 4)
    Assembler.patch(isGlobal, a.cursor)
    Assembler.patch(isListed, a.cursor)
    a.pop(rcx)
    a.pop(rax)
    a.byte(0xc3)
    Assembler.patch(missing, a.cursor)
    emitWalkCall(&a, set: set, write: write)
    a.emit(0x85, rax, .register(rax), size: 4)
    a.jump(to: look, if: Condition.notEqual)
    a.pop(rcx)
    a.pop(rax)
    a.byte(0xc3)
    Assembler.patch(exhausted, a.cursor)
    a.store(StateField.microExhausted, first, size: 4)
    a.pop(rcx)
    a.pop(rax)
    a.byte(0xc3)
  }
}
