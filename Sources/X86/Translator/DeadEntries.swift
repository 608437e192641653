import CHost

/// Entries of blocks whose bytes have been overwritten. The jump cache and inline caches may still lead there: which of
/// them do is not known, and they are not searched. The entry calls `deadThunk`, and behind the call is where the block
/// began in its page: so what has come in its place is found in the jump cache, and an inline cache that has led there is
/// emptied. When the jump cache leads to the same dead block, or nowhere, code is left; the dispatcher then tells it what to
/// enter.
enum DeadEntries {
  /// The offset follows the call. No entry is shorter than both: it compares and branches.
  static let callBytes: Int64 = 5
}

extension Translator {
  /// Emits `deadThunk`. Flags are in RAX; R14 is an inline cache's displacement if that has led here, else something that
  /// is none: a place in the jump cache, relative to that, or an address of code.
  func emitDeadEntry(_ a: inout Assembler) {
    let rcx = Host.rcx
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    a.pop(second)
    a.push(rcx)
    let caches = InlineCaches.displacement(0)
    assert(caches >= Self.jumpEntries * MemoryLayout<vm_jump_entry>.stride)
    a.emit(0x8d, rcx, .at(first, -caches), size: 8)
    a.arithmetic(7, .register(rcx), Int64(InlineCaches.count * MemoryLayout<vm_jump_entry>.stride), size: 8)
    let isOther = a.jumpIf(Condition.aboveOrEqual)
    let tag = HostOperand.memory(base: GuestRegisters.state, index: first, scale: 0, disp: Int32(InlineCaches.tagField))
    a.emit(0xc7, 0, tag, size: 8)
    a.word32(0)
    Assembler.patch(isOther, a.cursor)
    a.move(first, second)
    a.load(second, .at(first, 0), size: 4)
    a.emit(0x03, second, StateField.page, size: 8)
    a.store(StateField.rip, second)
    Self.emitJumpSlot(&a, rcx, second)
    a.emit(0x33, second, StateField.jumpKey, size: 8)
    a.emit(0x3b, second, Self.jumpField(rcx, InlineCaches.tagField), size: 8)
    let unknown = a.jumpIf(Condition.notEqual)
    a.arithmetic(5, .register(first), DeadEntries.callBytes, size: 8)
    a.emit(0x3b, first, Self.jumpField(rcx, InlineCaches.codeField), size: 8)
    let isItself = a.jumpIf(Condition.equal)
    a.load(second, Self.jumpField(rcx, InlineCaches.codeField))
    a.move(first, rcx)
    a.pop(rcx)
    a.emit(0xff, 4, .register(second), size: 4)  // jmp r15
    Assembler.patch(unknown, a.cursor)
    Assembler.patch(isItself, a.cursor)
    a.pop(rcx)
    a.moveImmediate(first, UInt64(VM_EXIT_ENTRY))
    a.store(StateField.exit, first)
    a.jump(to: exitThunk)
  }
}
