import CHost

/// Translates one block: the guest's instructions one after another, then the stubs that they branch to.
///
/// Code does not know where it lies in the guest's linear memory: RIP is `code_page`, which cross-page branches set,
/// plus an offset. Each memory access has its TLB check inline; on a miss a stub hands the whole instruction to the
/// interpreter, which also finds its faults, and goes on behind it.
struct BlockTranslator {
  var a: Assembler
  let translator: Translator
  let block: UnsafeMutablePointer<vm_block>
  let ops: UnsafeMutablePointer<vm_op>
  let is64: Bool

  /// Where the guest's arithmetic flags are; nowhere when nobody can see them. Between blocks they are in RAX.
  var flags = FlagPlaces.rax
  /// How to have them again, when `flags` says so.
  var recipe = FlagRecipe()

  /// The instruction being translated.
  var index = 0
  /// A guest register that was just stored in its place, from where, and what has come since if that is where the code
  /// ends.
  var stored: (guest: UInt8, host: UInt8, at: UnsafeMutablePointer<UInt8>)?
  var misses: [Miss] = []
  private var leaves: [Leave] = []
  var indirectBranches: [IndirectBranch] = []
  /// For those who want to read the code; nil otherwise.
  var observer: CodeObserver?

  /// Accesses by a register and a displacement, and what was decided about them: see `Reference`.
  var references: [Reference] = []
  var isPlanned = false
  var referenceCursor = 0
  var leaders: [Leader] = []
  /// Accesses that are known to be aligned, and what they leave modulo 16.
  var alignments: [(reference: Reference, residue: Int)] = []
  var versions = RegisterVersions()
  /// Counts the interpreted instructions, after which no earlier check holds.
  var epoch: Int32 = 0
  /// Micro-TLB entries of this block.
  var slots: [(key: Int, slot: Int)] = []
  /// Times that accesses checked together may lie in two pages until there is a careful body, see `CarefulBody`.
  static let crossingLimit = 8
  var carefulLabels: [Int: UnsafeMutablePointer<UInt8>] = [:]

  /// Branches within a region: see `RegionBranches`.
  var departures: [Departure] = []
  var approaches: [Approach] = []

  /// A run of pushes and pops: see `StackRun`.
  var stackRun = StackRun()

  /// Where each body is left before its first instruction.
  var entries: [Entry] = []
  /// A loop is emitted twice, see `loopBack`: branches back, and the flags at them.
  var loopSites: [UnsafeMutablePointer<UInt8>] = []
  var loopFlags = FlagPlaces.recipe
  var loopRecipe = FlagRecipe()
  var body = CodeBody.first
  /// Where guest registers are, and what is exchanged for the second body.
  var homes = RegisterHomes.usual
  var exchanges: [RegisterExchange] = []
  /// The loop that the block is, and what is checked of it for many turns at once.
  var loop = LoopPlan()

  /// The guest's XMM registers are the host's from here on.
  var hasVectors = false
  var vectorLoads: [VectorLoad] = []
  /// The guest's x87 state is the host's from here on.
  var hasX87 = false
  /// The last x87 instruction whose address is not kept yet, or -1.
  var lastX87 = -1

  /// A way to the interpreter for one instruction.
  struct Miss {
    var index: Int
    var body: CodeBody
    var site: UnsafeMutablePointer<UInt8>
    /// Where the flags are when the check fails.
    var flags: FlagPlaces
    var recipe: FlagRecipe
    /// Where to go on, and where the flags must be there.
    var join: UnsafeMutablePointer<UInt8>?
    var joinFlags: FlagPlaces
    /// The last x87 instruction whose address is not kept yet, or -1.
    var x87: Int
    /// How to try again before the interpreter is asked, and where to go on if that helps.
    var refill: Refill?
    var again: UnsafeMutablePointer<UInt8>
  }

  /// The branches before a body's first instruction: something is pending, the page that follows is another, the budget
  /// does not suffice.
  struct Entry {
    var body: CodeBody
    var refusals: [UnsafeMutablePointer<UInt8>]
    var budget: UnsafeMutablePointer<UInt8>?
    var flags: FlagPlaces
  }

  /// A branch to another address of the page, not linked yet.
  private struct Leave {
    var site: UnsafeMutablePointer<UInt8>
    var offset: Int
  }

  init(translator: Translator, block: UnsafeMutablePointer<vm_block>) {
    self.translator = translator
    self.block = block
    ops = block.ops
    a = Assembler(cursor: translator.cursor)
    is64 = block.pointee.mode & UInt32(VM_MODE_CODE64) != 0
  }

  /// Whether blocks of this mode can be translated: 64-bit code, and flat 32-bit code with a 32-bit stack.
  @inline(__always)
  static func handles(_ mode: UInt32) -> Bool {
    if mode & UInt32(VM_MODE_CODE64) != 0 { return true }
    let needed = UInt32(VM_MODE_CODE32 | VM_MODE_FLAT | VM_MODE_STACK32 | VM_MODE_PROTECTED)
    return mode & (needed | UInt32(VM_MODE_V86)) == needed
  }

  /// Emits the block's code. `translator.makeRoom` has been called.
  mutating func translate() {
    let entry = a.cursor
    let firstLink = translator.linkCount
    planExchanges()
    let start = self
    emitBodies()
    let isGrouped = planReferences()
    planStrides()
    if isGrouped || hasStrides || hasIdleBody {
      let planned = references
      let strides = loop.strides
      let parked = loop.parked
      self = start
      references = planned
      loop.strides = strides
      loop.parked = parked
      isPlanned = true
      observer?.restart()
      emitBodies()
    }
    emitCarefulBody()
    emitMisses()
    emitStrideChecks()
    emitRegionBranches()
    enter(.first)
    emitIndirectMisses()
    emitVectorLoads()
    emitLeaves()
    emitEntryStubs()

    let used = a.cursor - entry
    guard translator.accepts(block, code: entry, length: used, firstLink: firstLink) else {
      block.pointee.refused = 1
      return
    }
    block.pointee.code = translator.executable(entry)
    block.pointee.code_bytes = UInt32(used)
    translator.enter(block, end: a.cursor)
    translator.statistics.blocks += 1
    if block.isRegion { translator.statistics.regions += 1 }
    if hasStrides { translator.statistics.stridedLoops += 1 }
    translator.statistics.instructions += Int(block.pointee.count)
    translator.statistics.bytes += used
  }

  /// Emits the straight path.
  mutating func emitBody() {
    let count = Int(block.pointee.count)
    if body != .again { observer?.mark(body == .first ? .entry : .stridedEntry, a.cursor) }
    var entry = Entry(body: body, refusals: [], budget: nil, flags: flags)
    if hasStrides && body.isLoop { emitTurn() } else { entry.refusals.append(refuseIfPending()) }
    entry.refusals += requireFollowingPage()
    if translator.counts {
      a.arithmetic(5, StateField.budget, Int64(count), size: 8)
      entry.budget = a.jumpIf(Condition.sign)
    }
    entries.append(entry)
    emitInstructions()
  }

  /// Returns the branch to the way out.
  mutating func refuseIfPending() -> UnsafeMutablePointer<UInt8> {
    a.arithmetic(7, StateField.pending, 0, size: 4)
    return a.jumpIf(Condition.notEqual)
  }

  /// Emits instructions from `index` to the end of the block.
  mutating func emitInstructions() {
    let count = Int(block.pointee.count)
    var ended = false
    while index < count {
      let op = ops + index
      if body == .careful { meetCareful() }
      if block.isRegion { meetApproaches() }
      if flags.contains(.recipe) { keepFlagsFromWrites(op) }
      let firstMiss = misses.count
      let firstLeader = leaders.count
      beginInStackRun(op)
      observer?.mark(body.purpose(index), a.cursor)
      if index == count - 1 && CPU.endsBlock(OpKind(trusted: op.pointee.kind)) {
        ended = true
        noteLastX87()
        if !branch(op) { step() }
        // Most system instructions go on behind.
        if OpKind(trusted: op.pointee.kind) == .system {
          joinMisses(from: firstMiss)
          leave(to: nextOffset(op))
        }
      } else if CPU.isConditionalJump(op) {
        branchWithin(op)
      } else if !instruction(op) {
        step()
      }
      if flags.contains(.recipe) && !recipe.holds(versions) {
        flags.remove(.recipe)
        assert(!flags.isEmpty, "flags were lost")
      }
      // Who comes from a miss has not stored it.
      if misses.count > firstMiss {
        stored = nil
        stackRun.leader = -1
      }
      joinMisses(from: firstMiss)
      noteMoves(ofLeadersFrom: firstLeader)
      index += 1
    }
    if body == .first { observer?.mark(.end, a.cursor) }
    endStackRun()
    if !ended { noteLastX87() }
    if !ended { leave(to: Int(block.pointee.start) + Int(block.pointee.bytes)) }
  }

  /// The interpreted instruction of those that have no place to go on yet goes on here.
  private mutating func joinMisses(from first: Int) {
    for miss in first..<misses.count where misses[miss].join == nil {
      misses[miss].join = a.cursor
      misses[miss].joinFlags = flags
    }
  }

  // MARK: Registers

  /// In a register number: bits 8 to 15 of register 0 to 3.
  static let highByte: UInt8 = 0x80

  /// A guest register as the source of an instruction. Of AH, CH, DH and BH a copy is made in R14.
  @inline(__always)
  mutating func source(_ guest: UInt8) -> HostOperand {
    if guest & Self.highByte != 0 { return .register(change(guest, GuestRegisters.first)) }
    return place(guest)
  }

  /// The guest register in a host register to be changed: itself, or `temporary` loaded with it.
  @inline(__always)
  mutating func change(_ guest: UInt8, _ temporary: UInt8) -> UInt8 {
    if guest & Self.highByte != 0 {
      // The whole register, turned so that the byte is the lowest.
      a.rotateRight(temporary, homes.host(guest & 3) ?? temporary, 8, size: 8)
      return temporary
    }
    if let host = homes.host(guest) { return host }
    if let stored, stored == (guest, temporary, a.cursor) { return temporary }
    a.load(temporary, GuestRegisters.slot(guest))
    return temporary
  }

  /// Where the guest register is: its host register, or its slot in the state, which an instruction may write only if it
  /// writes all 8 bytes.
  @inline(__always)
  func place(_ guest: UInt8) -> HostOperand {
    if let host = homes.host(guest) { return .register(host) }
    return GuestRegisters.slot(guest)
  }

  /// Whether an instruction of `size` bytes may have the guest register's place in the state as its destination.
  @inline(__always)
  func canChangeInPlace(_ guest: UInt8, _ size: Int) -> Bool {
    size == 8 && guest & Self.highByte == 0 && homes.host(guest) == nil
  }

  /// A guest register has been changed in its place; `adding`: it was a constant added.
  @inline(__always)
  mutating func committed(_ guest: UInt8, adding: Int64? = nil) {
    if let adding, abs(adding) < 1 << 16 {
      versions.add(guest, Int(adding))
    } else {
      versions.write(guest & ~Self.highByte)
    }
  }

  /// The host register that a guest register is to be written in; `commit` follows.
  @inline(__always)
  func target(_ guest: UInt8, _ temporary: UInt8) -> UInt8 { homes.host(guest) ?? temporary }

  /// The guest register has been written, in `host`; `adding`: it was a constant added, of the full width.
  @inline(__always)
  mutating func commit(_ guest: UInt8, _ host: UInt8, adding: Int64? = nil) {
    committed(guest, adding: adding)
    if guest & Self.highByte != 0 {
      a.rotateRight(homes.host(guest & 3) ?? host, host, 56, size: 8)
      return
    }
    if homes.host(guest) == nil {
      a.store(GuestRegisters.slot(guest), host)
      stored = (guest, host, a.cursor)
    }
  }

  /// The guest register in some host register, for reading only.
  @inline(__always)
  mutating func value(_ guest: UInt8, _ temporary: UInt8) -> UInt8 { change(guest, temporary) }

  @inline(__always)
  func isResident(_ guest: UInt8) -> Bool { homes.host(guest) != nil }

  // MARK: The interpreter

  /// Has this instruction interpreted.
  mutating func step() {
    endStackRun()
    flagsToAccumulator()
    noteLastX87()
    if isExchanged { emitExchange(back: true) }
    emitStep(index)
    if isExchanged { emitExchange(back: false) }
    flags = [.rax, .memory]
    epoch += 1
  }

  /// Flags are in RAX before and after, and in memory after.
  mutating func emitStep(_ index: Int) {
    a.moveImmediate(GuestRegisters.first, UInt64(UInt(bitPattern: ops + index)))
    a.moveImmediate(GuestRegisters.second, UInt64(index))
    let loads = body.isLoop ? !vectorLoads.isEmpty : vectorLoads.contains { $0.index <= index }
    a.call(loads ? translator.stepThunk : translator.plainStepThunk)
  }

  private mutating func emitMisses() {
    for miss in misses {
      observer?.mark(.miss(miss.index), a.cursor)
      enter(miss.body)
      Assembler.patch(miss.site, a.cursor)
      if isLeader(miss) && !carefulLabels.isEmpty {
        emitCarefulMiss(miss)
        continue
      }
      if let refill = miss.refill { emitRefill(refill, join: miss.again) }
      emitFlags(from: miss.flags, miss.recipe)
      if miss.x87 >= 0 { noteX87(miss.x87) }
      if isExchanged { emitExchange(back: true) }
      emitStep(miss.index)
      guard let join = miss.join else { continue }
      // What it has made pending is seen to before the next turn.
      if hasStrides && body.isLoop && !block.isRegion { endTurns() }
      if isExchanged { emitExchange(back: false) }
      for leader in leaders where leader.isAt(miss) {
        emitRecheck(leader) {
          if $0.isExchanged { $0.emitExchange(back: true) }
          $0.leaveCrossed(miss.index)
        }
      }
      if miss.joinFlags.contains(.host) {
        if miss.joinFlags.contains(.rax) { a.move(GuestRegisters.first, Host.rax, size: 4) }
        a.restoreOverflow()
        a.sahf()
        if miss.joinFlags.contains(.rax) { a.move(Host.rax, GuestRegisters.first, size: 4) }
      }
      a.jump(to: join)
    }
  }

  // MARK: Leaving

  /// The entry has taken `instructions` from the budget that are not run. The host's flags are destroyed.
  mutating func giveBack(_ instructions: Int) {
    if translator.counts { a.arithmetic(0, StateField.budget, Int64(instructions), size: 8) }
  }

  /// Goes to `offset` from the page's start, which may lie in another page. Flags go to RAX.
  mutating func leave(to offset: Int) {
    flagsToAccumulator()
    if isExchanged { emitExchange(back: true) }
    if offset >= 0 && offset < 4096 {
      leaves.append(Leave(site: a.jump(), offset: offset))
    } else {
      a.load(GuestRegisters.second, StateField.page)
      let address = HostOperand.at(GuestRegisters.second, offset)
      a.emit(0x8d, GuestRegisters.second, address, size: is64 ? 8 : 4)
      leaveIndirect()
    }
  }

  /// The same on a condition; else goes on here. Flags are in RAX and in the host's.
  mutating func leave(to offset: Int, if condition: UInt8) {
    if offset >= 0 && offset < 4096 && !isExchanged {
      leaves.append(Leave(site: a.jumpIf(condition), offset: offset))
    } else {
      let skip = a.jumpIf(condition ^ 1)
      leave(to: offset)
      Assembler.patch(skip, a.cursor)
    }
  }

  mutating func exit(_ reason: UInt64) {
    a.moveImmediate(GuestRegisters.first, reason)
    a.store(StateField.exit, GuestRegisters.first)
    a.jump(to: translator.exitThunk)
  }

  /// Goes to the dispatcher with RIP at an instruction of this block. Flags are in RAX.
  mutating func leaveForInterpreter(_ index: Int) {
    storeRip(Int(block.pointee.start) + Int(ops[index].offset))
    exit(UInt64(VM_EXIT_REFUSED))
  }

  /// Goes to the dispatcher behind instruction `index`, which the interpreter has run. Flags are in RAX.
  private mutating func leaveCrossed(_ index: Int) {
    a.moveImmediate(GuestRegisters.first, UInt64(UInt(bitPattern: ops + index)))
    a.store(StateField.leftBy, GuestRegisters.first)
    exit(UInt64(VM_EXIT_CROSSED))
  }

  private mutating func storeRip(_ offset: Int) {
    a.load(GuestRegisters.second, StateField.page)
    a.emit(0x8d, GuestRegisters.second, .at(GuestRegisters.second, offset), size: is64 ? 8 : 4)
    a.store(StateField.rip, GuestRegisters.second)
  }

  private mutating func emitLeaves() {
    for leave in leaves {
      let stub = a.cursor
      observer?.mark(.leave(leave.offset), stub)
      Assembler.patch(leave.site, stub)
      let link = translator.makeLink(site: leave.site, unlinked: stub)
      storeRip(leave.offset)
      exit(UInt64(UInt(bitPattern: link)))
    }
  }

  private mutating func emitEntryStubs() {
    for entry in entries {
      observer?.mark(.refusal, a.cursor)
      if let site = entry.budget {
        Assembler.patch(site, a.cursor)
        giveBack(Int(block.pointee.count))
      }
      for site in entry.refusals { Assembler.patch(site, a.cursor) }
      enter(entry.body)
      emitFlags(from: entry.flags, loopRecipe)
      if isExchanged { emitExchange(back: true) }
      storeRip(Int(block.pointee.start))
      exit(UInt64(VM_EXIT_ENTRY))
    }
  }
}
