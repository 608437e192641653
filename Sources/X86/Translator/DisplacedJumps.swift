import CHost

/// The jump cache's second places. A target has one place in the jump cache; of two that a guest goes to in turn and that
/// have the same one, each would displace the other, and emitted code would be left every time. So what is displaced moves
/// to a place that is had in another way, and is looked for there, out of line, before code is left.
///
/// The entries lie behind those of the inline caches: whatever voids or clears those does the same here.
enum DisplacedJumps {
  static let bits = 12
  static let count = 1 << bits
  static let first = 1 << Translator.jumpCacheBits + InlineCaches.count
  /// Its upper bits say where an address is after a multiplication by this (2 to the 32nd by the golden ratio).
  static let multiplier: UInt32 = 0x9e37_79b1
}

extension Translator {
  /// The second place of an address. Emitted code does the same: see `emitDisplacedSlot`.
  @inline(__always)
  func displacedEntry(_ rip: UInt64) -> UnsafeMutablePointer<vm_jump_entry> {
    let mixed = UInt32(truncatingIfNeeded: rip) &* DisplacedJumps.multiplier
    return jumpCache + (DisplacedJumps.first + Int(mixed &>> UInt32(32 - DisplacedJumps.bits)))
  }

  /// Emits the offset from the jump cache of the second place of the RIP in `rip`, which may be the same register.
  static func emitDisplacedSlot(_ a: inout Assembler, _ slot: UInt8, _ rip: UInt8) {
    a.emit(0x69, slot, .register(rip), size: 4)  // imul
    a.word32(Int32(bitPattern: DisplacedJumps.multiplier))
    a.shiftRight(slot, UInt8(32 - DisplacedJumps.bits), size: 4)
    // 32 bytes an entry.
    a.shiftLeft(slot, 5, size: 4)
    a.arithmetic(0, .register(slot), Int64(DisplacedJumps.first * MemoryLayout<vm_jump_entry>.stride), size: 4)
  }

  /// Emits the function for a branch whose place in the jump cache is another's: R15 is RIP XORed with the key. Does not
  /// come back when the second place has it; else RIP is in the state.
  func emitDisplaced(_ a: inout Assembler) {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    a.move(first, second)
    a.emit(0x33, first, StateField.jumpKey, size: 8)
    a.store(StateField.rip, first)
    Self.emitDisplacedSlot(&a, first, first)
    a.emit(0x3b, second, Self.jumpField(first, InlineCaches.tagField), size: 8)
    let missing = a.jumpIf(Condition.notEqual)
    a.load(second, Self.jumpField(first, InlineCaches.pageField))
    a.store(StateField.page, second)
    a.arithmetic(0, .register(Host.rsp), 8, size: 8)
    a.emit(0xff, 4, Self.jumpField(first, InlineCaches.codeField), size: 4)
    Assembler.patch(missing, a.cursor)
    a.byte(0xc3)
  }
}
