import CHost

/// How a CPU executes guest code. May change between two calls of `run`.
public enum Accelerator: String, CaseIterable, Sendable {
  /// x86 to x86-64 translation, on hosts that can; the interpreter for what is cold or rare.
  case translator
  case interpreter
}

/// The dispatcher: finds blocks, has cold ones interpreted, translates hot ones, enters emitted code and sees to what it
/// was left for.
extension CPU {
  /// A guest decides how many there are.
  private static let loggedRefusals = 8

  /// The translator, made on first use; nil when the host refuses.
  private func readyTranslator() -> Translator? {
    if let translator { return translator }
    #if arch(x86_64)
      let jumpCache = (UnsafeMutableRawPointer(s) + CPU.jumpCacheOffset).assumingMemoryBound(to: vm_jump_entry.self)
      if let made = Translator(
        jumpCache: jumpCache, codeBytes: codeMemory, emptyTag: emptyMicroTag, step: CPU.stepFromCode)
      {
        translator = made
        made.verifiesCode = verifiesCode
        made.onRefusal = { [unowned self, unowned made] refusal in
          onRefusal?(refusal)
          guard made.statistics.refusedBlocks <= Self.loggedRefusals else { return }
          environment.log("cpu \(index): host code was refused, and its block is interpreted: \(refusal)")
        }
        if translationThreshold == 0 { made.turnsBeforeStrides = 1 }
        code.translator = made
        return made
      }
      if index == 0 { environment.log("The host refuses executable memory: guest code is interpreted") }
    #endif
    accelerator = .interpreter
    return nil
  }

  /// What the translator has done so far; nil: this CPU interprets.
  public var translatorStatistics: TranslatorStatistics? { translator?.statistics }

  /// The same as text, nil when nothing was ever translated.
  public var translationReport: String? {
    guard let translator else { return nil }
    let now = translator.statistics
    return """
      cpu \(index) blocks translated: \(now.blocks), \(now.regions) of them of several, \(now.stridedLoops) loops checked for many turns at once
      cpu \(index) instructions translated: \(now.instructions)
      cpu \(index) host code emitted: \(now.bytes) bytes
      cpu \(index) host code in memory: \(translator.bytesInUse) of \(translator.memory.size) bytes
      cpu \(index) times the oldest code made room: \(now.evictions), \(now.evictedBlocks) blocks
      cpu \(index) longest pause for that: \(now.longestEviction / 1000) us
      cpu \(index) times all code was dropped: \(now.flushes)
      cpu \(index) entries to host code: \(now.entries)
      cpu \(index) exits to link a branch: \(now.linkExits)
      cpu \(index) exits by an indirect branch: \(now.indirectExits)
      cpu \(index) indirect branches to many places: \(now.wanderers)
      cpu \(index) exits before a block: \(now.entryExits)
      cpu \(index) exits by an interpreted instruction: \(now.stepExits)
      cpu \(index) interpreted instructions within host code: \(now.steps)
      cpu \(index) interpreted turns between: \(now.interpretedBlocks)
      cpu \(index) blocks verified: \(now.verifiedBlocks), refused: \(now.refusedBlocks)\(now.lastRefusal.map { ", the last at \($0)" } ?? "")
      """
  }

  func runTranslated(budget: Int) -> RunExit {
    guard let translator = readyTranslator() else { return interpret(budget: budget) }
    let s = self.s
    let limit = s.pointee.instructions &+ UInt64(min(max(budget, 0), 1 << 62))
    codeLimit = limit
    // A reset clears the whole state.
    s.pointee.owner = Unmanaged.passUnretained(self).toOpaque()
    s.pointee.host_mxcsr = 0x1f80
    // Code that counts is for those who stop by number; a budget that no run uses up needs none.
    let counts = budget < 1 << 36
    if counts != translator.counts {
      translator.counts = counts
      flushCode()
    }
    /// The branch that was left by, to be linked to the block it leads to.
    var link: UnsafeMutablePointer<vm_code_link>?
    var fillsJumpCache = false
    /// Counts the times that code, and with it `link`, may have gone.
    var generation = 0
    /// Flags are in `raw_flags`.
    var raw = false

    while true {
      let mode = s.pointee.mode
      var turn = 0
      if vm_load_relaxed(&s.pointee.pending) != 0 || Int(s.pointee.activity) != VM_ACTIVE {
        turn = 1
      } else if !BlockTranslator.handles(mode) {
        turn = 2_000
      }
      if turn == 0 {
        if s.pointee.instructions >= limit {
          if raw { s.lazyFlagsFromRaw() }
          return .budget
        }
        if var block = knownBlock(s.pointee.rip, mode) ?? crossingBlock(s.pointee.rip, mode)
          ?? blockAtOnce(s.pointee.rip)
        {
          if block.pointee.code == 0 { block = warm(block, translator) }
          if block.pointee.code != 0 {
            if code.generation &+ translator.statistics.evictions == generation {
              if let link { translator.connect(link, to: block) }
              if fillsJumpCache {
                let key = translator.jumpKey(mode)
                translator.fillJump(s.pointee.rip, key: key, code: block.pointee.code)
              }
            }
            link = nil
            fillsJumpCache = false
            generation = code.generation &+ translator.statistics.evictions
            if !raw { s.rawFlagsFromLazy() }
            enter(translator, block.pointee.code, limit)
            raw = true
            switch s.pointee.code_exit {
            case UInt64(VM_EXIT_INDIRECT):
              translator.statistics.indirectExits &+= 1
              if s.pointee.cache_due != 0 { judgeInlineCache(translator) }
              if mode & UInt32(VM_MODE_CODE64) != 0 && !CPU.isCanonical(s.pointee.rip) {
                s.lazyFlagsFromRaw()
                raw = false
                refuseBranch(limit)
                continue
              }
              fillsJumpCache = true
              continue
            case UInt64(VM_EXIT_REFUSED):
              translator.statistics.entryExits &+= 1
              turn = 1
            case UInt64(VM_EXIT_CROSSED):
              raw = finishBlock(translator, limit)
              continue
            case UInt64(VM_EXIT_STEP):
              translator.statistics.stepExits &+= 1
              raw = false
              fillsJumpCache = true
              continue
            case UInt64(VM_EXIT_ENTRY):
              translator.statistics.entryExits &+= 1
              if leftDeadBlock(translator, limit) {
                // The jump cache is told what stands in its place.
                fillsJumpCache = true
                continue
              }
              // Something pending, or less budget left than the block needs: the interpreter gets on.
              turn = 1
            default:
              translator.statistics.linkExits &+= 1
              link = UnsafeMutablePointer(bitPattern: UInt(s.pointee.code_exit))
              continue
            }
          } else {
            turn = 1
          }
        } else {
          turn = 1
        }
      }
      if raw {
        s.lazyFlagsFromRaw()
        raw = false
      }
      link = nil
      fillsJumpCache = false
      translator.statistics.interpretedBlocks &+= 1
      let left = limit &- s.pointee.instructions
      let began = s.pointee.rip
      let exit = interpret(budget: s.pointee.instructions >= limit ? 0 : min(turn, Int(left)))
      if began & 0xfff > 4096 - 15 && turn == 1 { makeCrossingBlock(began, mode) }
      if exit != .budget || s.pointee.instructions >= limit { return exit }
    }
  }

  /// Whether emitted code was left before a block because that is dead, and for no other reason.
  @inline(__always)
  private func leftDeadBlock(_ translator: Translator, _ limit: UInt64) -> Bool {
    guard vm_load_relaxed(&s.pointee.pending) == 0 else { return false }
    return !translator.counts || limit &- s.pointee.instructions >= UInt64(CodeCache.blockLimit)
  }

  /// Where emitted code may go on at RIP without the dispatcher, 0 when that is not known. Flags are in lazy form before
  /// and in `raw_flags` after.
  @inline(__always)
  func resumeCode(_ translator: Translator) -> UInt64 {
    let mode = s.pointee.mode
    guard BlockTranslator.handles(mode), Int(s.pointee.activity) == VM_ACTIVE else { return 0 }
    let key = translator.jumpKey(mode)
    let address = translator.findJump(s.pointee.rip, key: key)
    guard address != 0 else { return 0 }
    prepareEntry(key)
    s.rawFlagsFromLazy()
    return address
  }

  func blockHolding(_ op: Op) -> UnsafeMutablePointer<vm_block> {
    var first = op
    while first.pointee.offset != 0 { first -= 1 }
    return UnsafeMutableRawPointer(first).assumingMemoryBound(to: vm_block.self) - 1
  }

  /// Accesses that were to be checked together do not lie in one page. The interpreter runs the rest of the block, up to
  /// where interrupts are looked for next. Returns whether flags are in `raw_flags`.
  @inline(never)
  private func finishBlock(_ translator: Translator, _ limit: UInt64) -> Bool {
    guard let op = s.pointee.code_left_by else { return true }
    let block = blockHolding(op)
    // The entry may only not have been filled, to ask whether that is done too often.
    let crosses = s.pointee.micro_exhausted == 0
    if !crosses {
      _ = microEntryThrashes(s.pointee.micro_exhausted)
      s.pointee.micro_exhausted = 0
    }
    let outcome = stepOn(block, from: op - block.ops + 1)
    if translator.counts { s.pointee.instructions = limit &- UInt64(bitPattern: s.pointee.code_budget) }
    if crosses { noteCrossing(block, translator) }
    // The code that a step would have gone on in is found again by RIP.
    return outcome != 1
  }

  /// Where that happens often the block is translated anew, with code that checks each access by itself.
  private func noteCrossing(_ block: UnsafeMutablePointer<vm_block>, _ translator: Translator) {
    guard block.pointee.dead == 0, block.pointee.careful == 0 else { return }
    block.pointee.crossings += 1
    guard block.pointee.crossings >= UInt8(BlockTranslator.crossingLimit) else { return }
    block.pointee.careful = 1
    translator.drop(block)
  }

  /// The indirect branch that was left by leads to an address that is not canonical: it faults itself. A call has been
  /// checked before.
  @inline(never)
  private func refuseBranch(_ limit: UInt64) {
    guard let op = s.pointee.code_left_by else { return }
    let block = blockHolding(op)
    let kind = OpKind(trusted: op.pointee.kind)
    if kind == .ret64 || kind == .ret {
      let release = kind == .ret ? UInt64(op.pointee.imm & 0xffff) : 0
      s.slots[4] &-= 8 &+ release
    }
    s.pointee.rip = s.pointee.code_page &+ UInt64(block.pointee.start) &+ UInt64(op.pointee.offset)
    s.pointee.instructions &-= 1
    deliver(.protection(0))
  }

  /// The block, or region, at `rip` if it has been decoded and its page is in the execute TLB.
  @inline(__always)
  private func knownBlock(_ rip: UInt64, _ mode: UInt32) -> UnsafeMutablePointer<vm_block>? {
    let slot = Int(truncatingIfNeeded: rip &>> 12) & (Int(VM_FETCH_SIZE) &- 1)
    let entry = s.pointee.fetch_tlb + slot
    guard entry.pointee.tag == rip & ~0xfff, let record = entry.pointee.page else { return nil }
    return record.assumingMemoryBound(to: CodePage.self).findTranslated(Int(rip & 0xfff), mode)
  }

  /// Without a threshold blocks are decoded here, so that none is interpreted first.
  private func blockAtOnce(_ rip: UInt64) -> UnsafeMutablePointer<vm_block>? {
    guard translationThreshold == 0, let block = try? findBlock(rip, single: false) else { return nil }
    return block == code.scratch ? nil : block
  }

  /// Counts a run of a block that has no code, and translates it when it is hot, or the region that begins with it.
  ///
  /// - Returns: what has got code, else `block`.
  @inline(__always)
  private func warm(
    _ block: UnsafeMutablePointer<vm_block>, _ translator: Translator
  ) -> UnsafeMutablePointer<vm_block> {
    if block.pointee.refused != 0 { return block }
    if block.pointee.heat < translationThreshold {
      block.pointee.heat &+= 1
      return block
    }
    let whole = block.isRegion ? block : makeRegion(block) ?? block
    translate(whole, translator)
    return whole
  }

  @inline(never)
  private func translate(_ block: UnsafeMutablePointer<vm_block>, _ translator: Translator) {
    translator.makeRoom(for: block)
    var work = BlockTranslator(translator: translator, block: block)
    work.translate()
  }

  @inline(__always)
  func currentJumpKey() -> UInt64 { translator?.jumpKey(s.pointee.mode) ?? 0 }

  /// What emitted code expects in the state. Neither vector registers nor the x87 state are loaded.
  @inline(__always)
  private func prepareEntry(_ key: UInt64) {
    s.pointee.code_page = s.pointee.rip & ~0xfff
    s.pointee.jump_key = key
    s.pointee.vectors_allowed = vectorsAllowed ? 1 : 0
    s.pointee.x87_allowed = x87Allowed ? 1 : 0
    s.pointee.plain_segments = plainSegments
  }

  @inline(__always)
  private func enter(_ translator: Translator, _ address: UInt64, _ limit: UInt64) {
    s.pointee.code_budget = Int64(bitPattern: limit &- s.pointee.instructions)
    s.pointee.vector_ready = 0
    s.pointee.x87_ready = 0
    prepareEntry(translator.jumpKey(s.pointee.mode))
    translator.statistics.entries &+= 1
    vm_code_enter(translator.enterThunk, s, address)
    if translator.counts { s.pointee.instructions = limit &- UInt64(bitPattern: s.pointee.code_budget) }
  }

  /// The same of x87 instructions. The host must have PEXT and PDEP.
  @inline(__always)
  var x87Allowed: Bool {
    s.pointee.cr0 & 0xc == 0 && s.pointee.fpu_control & 0x3f == 0x3f && s.pointee.fpu_status & 0x80 == 0
      && Translator.hasRotate
  }

  /// FS and GS (bits 4 and 5) when they are present, writable and as large as the address space.
  @inline(__always)
  var plainSegments: UInt32 {
    var plain: UInt32 = 0
    if s.pointee.segments.4.limit == .max && s.pointee.segments.4.attributes & 0x9e == 0x92 { plain |= 16 }
    if s.pointee.segments.5.limit == .max && s.pointee.segments.5.attributes & 0x9e == 0x92 { plain |= 32 }
    return plain
  }

  /// Whether SSE instructions may run as they are: an exception that is not masked must be found by the interpreter.
  @inline(__always)
  var vectorsAllowed: Bool {
    s.pointee.cr0 & 0xc == 0 && s.pointee.cr4 & 0x200 != 0 && s.pointee.mxcsr & 0x1f80 == 0x1f80
  }
}
