import CHost

/// Inline caches: a jump or call to an address from a register or memory, and a direct branch to another page, keeps where
/// it has led last in an entry at a fixed place that it has for its own. Led there again, it goes on without looking for
/// its target.
///
/// The entries are like those of the jump cache and lie behind them, so that whatever voids or clears those does the same
/// here. A tag names RIP and the key, so that two branches may have one entry; they are many, and entries are given
/// out in turn. Code memory is not written for them.
///
/// A branch that leads elsewhere goes out of line to the jump cache and takes the entry found there over. Out of line
/// costs more than the cache saves: a branch that often comes there is watched for a while, in which it finds its entry
/// empty each time. If it has then not led to the same place again and again its block is translated anew, to
/// look into the jump cache at once, as an interpreter's dispatch should. A flush, which voids all entries, brings each
/// branch out of line once, and convicts none.
///
/// Returns look into the jump cache at once. With inline caches programs that return to many places were no faster, and
/// recursive ones that nearly always return to the same were up to a fourth slower.
enum InlineCaches {
  static let count = 4096
  /// The distance of the first entry from the CPU's state.
  static let offset = CPU.jumpCacheOffset + MemoryLayout<vm_jump_entry>.stride << Translator.jumpCacheBits
  /// Visits out of line until a branch is watched are as many as a byte can count; then these.
  static let watchedVisits: UInt32 = 64
  /// Of those, the visits that must have led where the one before did. At this share it makes no difference.
  static let enoughRepeats: UInt32 = 56

  static let tagField = 0
  static let codeField = 8
  static let pageField = 16
  static let visitsField = 24
  static let repeatsField = 28

  /// The distance of an entry from the address that emitted code has of the state.
  static func displacement(_ number: Int) -> Int {
    offset + number * MemoryLayout<vm_jump_entry>.stride - GuestRegisters.bias
  }
}

/// An indirect branch whose way out of line is still to be emitted.
struct IndirectBranch {
  var index: Int
  /// Where it goes when its target is not known at once.
  var miss: UnsafeMutablePointer<UInt8>
  /// Where the entry's displacement is to be filled in; nil for one that uses the jump cache alone.
  var cache: CacheSites?

  struct CacheSites {
    var tag: UnsafeMutablePointer<UInt8>
    var page: UnsafeMutablePointer<UInt8>
    var own: UnsafeMutablePointer<UInt8>
    var code: UnsafeMutablePointer<UInt8>
  }
}

extension StateField {
  static let cacheDue = GuestRegisters.field(\.cache_due)
}

extension CPU {
  /// A near jump or call to an address from a register or memory.
  static func mayWander(_ op: Op) -> Bool {
    switch OpKind(trusted: op.pointee.kind) {
    case .jmpR64, .jmpIndirect, .callR64, .callIndirect: true
    default: false
    }
  }

  /// Emitted code was left by an indirect branch that has come out of line often, or has been watched long enough.
  @inline(never)
  func judgeInlineCache(_ translator: Translator) {
    let place = UnsafeMutableRawPointer(s) + Int(s.pointee.cache_due) + GuestRegisters.bias
    let entry = place.assumingMemoryBound(to: vm_jump_entry.self)
    s.pointee.cache_due = 0
    let repeats = entry.pointee.repeats
    entry.pointee = vm_jump_entry()
    guard repeats != 0 else {
      entry.pointee.visits = 256 - InlineCaches.watchedVisits
      entry.pointee.repeats = 1
      return
    }
    // A direct branch to another page leads to one place; if it is here it shares its entry.
    guard repeats - 1 < InlineCaches.enoughRepeats, let op = s.pointee.code_left_by, CPU.mayWander(op) else {
      return
    }
    let block = blockHolding(op)
    guard block.pointee.dead == 0 else { return }
    block.pointee.wanders = 1
    translator.statistics.wanderers += 1
    translator.drop(block)
  }
}

extension BlockTranslator {
  /// Goes to the RIP in R15. Flags are in RAX.
  mutating func leaveIndirect() {
    let op = ops + index
    let kind = OpKind(trusted: op.pointee.kind)
    if kind == .ret64 || kind == .ret || block.pointee.wanders != 0 && CPU.mayWander(op) {
      leaveByJumpCache()
    } else {
      leaveByInlineCache()
    }
  }

  private mutating func leaveByJumpCache() {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    Translator.emitJumpSlot(&a, first, second)
    a.emit(0x33, second, StateField.jumpKey, size: 8)
    a.emit(0x3b, second, Translator.jumpField(first, InlineCaches.tagField), size: 8)
    indirectBranches.append(IndirectBranch(index: index, miss: a.jumpIf(Condition.notEqual), cache: nil))
    a.load(second, Translator.jumpField(first, InlineCaches.pageField))
    a.store(StateField.page, second)
    a.emit(0xff, 4, Translator.jumpField(first, InlineCaches.codeField), size: 4)
  }

  private mutating func leaveByInlineCache() {
    let second = GuestRegisters.second
    // Filled in later: a block may be emitted twice, and entries are few.
    let unknown = HostOperand.at(GuestRegisters.state, Int(Int32.max))
    a.emit(0x33, second, StateField.jumpKey, size: 8)
    a.emit(0x3b, second, unknown, size: 8)
    let tag = a.cursor - 4
    let miss = a.jumpIf(Condition.notEqual)
    a.load(second, unknown)
    let page = a.cursor - 4
    a.store(StateField.page, second)
    // For `DeadEntries`.
    a.moveImmediate(GuestRegisters.first, UInt64(Int32.max))
    let own = a.cursor - 4
    a.emit(0xff, 4, unknown, size: 4)
    let cache = IndirectBranch.CacheSites(tag: tag, page: page, own: own, code: a.cursor - 4)
    indirectBranches.append(IndirectBranch(index: index, miss: miss, cache: cache))
  }

  /// What lies out of line.
  mutating func emitIndirectMisses() {
    for branch in indirectBranches {
      Assembler.patch(branch.miss, a.cursor)
      if let cache = branch.cache {
        observer?.mark(.cacheMiss(branch.index), a.cursor)
        let entry = InlineCaches.displacement(translator.nextInlineCache())
        func fill(_ site: UnsafeMutablePointer<UInt8>, _ field: Int) {
          UnsafeMutableRawPointer(site).storeBytes(of: Int32(entry + field), as: Int32.self)
        }
        fill(cache.tag, InlineCaches.tagField)
        fill(cache.page, InlineCaches.pageField)
        fill(cache.own, 0)
        fill(cache.code, InlineCaches.codeField)
        a.moveImmediate(GuestRegisters.first, UInt64(entry))
        a.call(translator.lookupThunk)
      } else {
        observer?.mark(.indirectMiss(branch.index), a.cursor)
        a.call(translator.displacedThunk)
      }
      a.moveImmediate(GuestRegisters.first, UInt64(UInt(bitPattern: ops + branch.index)))
      a.store(StateField.leftBy, GuestRegisters.first)
      exit(UInt64(VM_EXIT_INDIRECT))
    }
  }
}

extension Translator {
  /// Entries of the jump cache, of inline caches, and displaced ones.
  static let jumpEntries = DisplacedJumps.first + DisplacedJumps.count

  func nextInlineCache() -> Int {
    cacheCursor = (cacheCursor + 1) & (InlineCaches.count - 1)
    return cacheCursor
  }

  /// A field of the jump cache's entry at the offset in `slot`.
  static func jumpField(_ slot: UInt8, _ field: Int) -> HostOperand {
    let disp = CPU.jumpCacheOffset + field - GuestRegisters.bias
    return .memory(base: GuestRegisters.state, index: slot, scale: 0, disp: Int32(disp))
  }

  /// Emits the offset in the jump cache of the entry for the RIP in `rip`: see `jumpEntry`. 32 bytes an entry.
  static func emitJumpSlot(_ a: inout Assembler, _ slot: UInt8, _ rip: UInt8) {
    a.move(slot, rip, size: 4)
    a.emit(0xc1, 0, .register(slot), size: 4)  // rol
    a.byte(5)
    a.emit(0x33, slot, .register(rip), size: 4)
    a.arithmetic(4, .register(slot), Int64((1 << jumpCacheBits) - 1) << 5, size: 4)
  }

  /// Emits the function for an indirect branch whose inline cache, at displacement R14, does not lead to the RIP which,
  /// XORed with the key, is in R15. Does not come back when the jump cache has it; else RIP is in the state.
  func emitLookup(_ a: inout Assembler) {
    let rax = Host.rax
    let rcx = Host.rcx
    let second = GuestRegisters.second
    func own(_ field: Int) -> HostOperand {
      .memory(base: GuestRegisters.state, index: GuestRegisters.first, scale: 0, disp: Int32(field))
    }
    a.push(rax)
    a.push(rcx)
    a.load(rcx, StateField.jumpKey)
    a.emit(0x33, rcx, .register(second), size: 8)
    Self.emitJumpSlot(&a, rax, rcx)
    a.emit(0x3b, second, Self.jumpField(rax, InlineCaches.tagField), size: 8)
    let displaced = a.jumpIf(Condition.notEqual)
    let found = a.cursor
    a.arithmetic(0, own(InlineCaches.visitsField), 1, size: 1)
    let due = a.jumpIf(Condition.below)
    a.arithmetic(7, own(InlineCaches.repeatsField), 0, size: 4)
    let watched = a.jumpIf(Condition.notEqual)

    a.store(own(InlineCaches.tagField), second)
    a.load(second, Self.jumpField(rax, InlineCaches.pageField))
    a.store(own(InlineCaches.pageField), second)
    a.store(StateField.page, second)
    a.load(second, Self.jumpField(rax, InlineCaches.codeField))
    a.store(own(InlineCaches.codeField), second)
    let go = a.cursor
    a.pop(rcx)
    a.pop(rax)
    a.arithmetic(0, .register(Host.rsp), 8, size: 8)
    a.emit(0xff, 4, .register(second), size: 4)  // jmp r15

    // The tag stays empty; the page's place has the one of last time.
    Assembler.patch(watched, a.cursor)
    a.emit(0x33, rcx, .register(rcx), size: 4)
    a.emit(0x3b, second, own(InlineCaches.pageField), size: 8)
    a.emit(0x0f94, 0, .register(rcx), size: 1)  // sete cl
    a.emit(0x01, rcx, own(InlineCaches.repeatsField), size: 4)
    a.store(own(InlineCaches.pageField), second)
    a.load(second, Self.jumpField(rax, InlineCaches.pageField))
    a.store(StateField.page, second)
    a.load(second, Self.jumpField(rax, InlineCaches.codeField))
    a.jump(to: go)

    Assembler.patch(displaced, a.cursor)
    Self.emitDisplacedSlot(&a, rax, rcx)
    a.emit(0x3b, second, Self.jumpField(rax, InlineCaches.tagField), size: 8)
    a.jump(to: found, if: Condition.equal)
    let missing = a.jump()
    Assembler.patch(due, a.cursor)
    a.store(StateField.cacheDue, GuestRegisters.first, size: 4)
    Assembler.patch(missing, a.cursor)
    a.store(StateField.rip, rcx)
    a.pop(rcx)
    a.pop(rax)
    a.byte(0xc3)
  }
}
