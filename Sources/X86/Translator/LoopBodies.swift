import CHost

/// A guest register without a host register of its own that takes another's for the time of a loop.
struct RegisterExchange {
  var guest: UInt8
  /// Not used in the loop.
  var other: UInt8
  var host: UInt8
}

/// A block may be emitted several times; each of its bodies can go on to the block's end.
enum CodeBody {
  /// As any block.
  case first
  /// A loop's turns behind its first.
  case again
  /// The same where the accesses of many turns have been checked at once: see `StridedLoops`.
  case strided
  /// See `CarefulBody`.
  case careful

  /// Reached by the loop's branch back only.
  var isLoop: Bool { self == .again || self == .strided }

  func purpose(_ index: Int) -> CodeObserver.Purpose {
    switch self {
    case .first: .instruction(index)
    case .again: .loop(index)
    case .strided: .strided(index)
    case .careful: .careful(index)
    }
  }
}

/// Blocks that end with a branch to their own start are emitted twice: the first body as any block, for the first turn,
/// the second for those that follow. The second takes the flags as the branch finds them, if they can be made again from
/// registers, and guest registers that are elsewhere in the state have host registers there. Whoever leaves it puts
/// everything back first.
extension BlockTranslator {
  /// The block ends with a branch to its own start.
  var branchesBack: Bool {
    let last = ops + (Int(block.pointee.count) - 1)
    let isJump = last.pointee.kind == OpKind.jmp.rawValue && last.pointee.disp != 0xffff
    return (isJump || CPU.isConditionalJump(last)) && last.pointee.imm == 0
  }

  mutating func emitBodies() {
    emitBody()
    guard !loopSites.isEmpty else { return }
    let first = loopSites
    loopSites = []
    let start = a.cursor
    observer?.mark(.loopEntry, start)
    enter(.again)
    emitExchange(back: false)
    if hasStrides { emitFirstTurns() }
    let firstReference = isPlanned ? referenceCursor : references.count
    versions.beginRange()
    loop.head = versions
    emitLoopBody()
    loop.end = versions
    loop.isUniform = !loopSites.isEmpty && epoch == loop.epoch
    loop.references = firstReference..<(isPlanned ? referenceCursor : references.count)
    for site in first { Assembler.patch(site, start) }
    if hasStrides && !loopSites.isEmpty { emitStridedBody() }
  }

  /// Emits the body that the loop's branch back leads to, from its first instruction.
  mutating func emitLoopBody() {
    let again = a.cursor
    loopSites = []
    flags = loopFlags
    recipe = loopRecipe
    stored = nil
    index = 0
    epoch += 1
    loop.epoch = epoch
    emitBody()
    for site in loopSites { Assembler.patch(site, again) }
  }

  /// A branch back to the block's start leads to a second body; `condition` is nil when it is always taken. Returns false
  /// when it has to leave the block.
  mutating func loopBack(_ op: Op, _ condition: UInt8?) -> Bool {
    guard branchesBack && body != .careful else { return false }
    let isAlike = body == .first || loopFlags == .recipe && recipe.isLike(loopRecipe)
    if flags.contains(.recipe) && isAlike {
      if let condition { requireFlags(for: condition) }
      if flags.contains(.recipe) {
        jumpBack(op, condition)
        loopRecipe = recipe
        return true
      }
    }
    let isWorthIt = !exchanges.isEmpty || (isPlanned ? hasStrides : !references.isEmpty)
    guard isWorthIt && (body == .first || loopFlags == .rax) else { return false }
    if condition == nil { flagsToAccumulator() } else { requireFlagsAndAccumulator() }
    jumpBack(op, condition)
    loopFlags = .rax
    return true
  }

  private mutating func jumpBack(_ op: Op, _ condition: UInt8?) {
    guard let condition else {
      loopSites.append(a.jump())
      return
    }
    loopSites.append(a.jumpIf(condition))
    leave(to: nextOffset(op))
  }

  // MARK: Exchanged registers

  var isExchanged: Bool { body.isLoop && !exchanges.isEmpty || body == .strided && !loop.parked.isEmpty }

  /// Finds guest registers in the state that the loop uses, and for each a host register whose guest register it does not.
  mutating func planExchanges() {
    guard branchesBack else { return }
    var wanted: UInt16 = 0
    var used: UInt16 = 0
    for index in 0..<Int(block.pointee.count) {
      let op = ops[index]
      let kind = OpKind(trusted: op.kind)
      if Self.hasHiddenRegisters(kind) { return }
      var bases: UInt16 = 0
      if op.prefixes & UInt8(VM_PREFIX_MEMORY) != 0 || kind == .lea32 || kind == .lea64 || kind == .lea16 {
        if op.base < 16 { bases |= 1 << UInt16(op.base) }
        if op.index < 16 { bases |= 1 << UInt16(op.index) }
      }
      // Byte registers are numbered by their place in the state.
      let plain: UInt16 = 1 << UInt16(op.reg & 15) | 1 << UInt16(op.rm & 15)
      let bytes: UInt16 = 1 << UInt16(op.reg >> 3 & 15) | 1 << UInt16(op.rm >> 3 & 15)
      used |= bases | plain | bytes
      wanted |= bases
      if kind != .simd && kind != .x87 { wanted |= op.operand_size == 1 ? bytes : plain }
    }
    // What instructions use without naming it is never exchanged: RAX, RCX, RDX, RSP.
    let hidden: [UInt8] = [0, 1, 2, 4]
    var free = GuestRegisters.resident.filter { !hidden.contains($0.guest) && used >> UInt16($0.guest) & 1 == 0 }
    for guest in 0..<16 as Range<UInt8> where wanted >> UInt16(guest) & 1 != 0 && RegisterHomes.usual.host(guest) == nil
    {
      guard let other = free.popLast() else { return }
      exchanges.append(RegisterExchange(guest: guest, other: other.guest, host: other.host))
    }
    loop.spares = free
  }

  /// Whether the code of such an instruction uses registers that its fields do not name, besides RAX, RCX, RDX and RSP.
  private static func hasHiddenRegisters(_ kind: OpKind) -> Bool {
    switch kind {
    case .movs, .stos, .lods, .scas, .cmps, .leaveFrame, .enter, .pushAll, .popAll, .xlat, .cmpxchg8b, .cmpxchg16b,
      .system:
      true
    default: false
    }
  }

  /// What is emitted next belongs to `body`: guest registers are where it has them.
  mutating func enter(_ body: CodeBody) {
    self.body = body
    homes = .usual
    guard body.isLoop else { return }
    for each in exchanges { homes.exchange(each.guest, for: each.other) }
    if body == .strided { for each in loop.parked { homes.park(each.other) } }
  }

  /// Exchanges the registers, or has them as usual again. Flags are left alone.
  mutating func emitExchange(back: Bool) {
    for each in exchanges {
      a.store(GuestRegisters.slot(back ? each.guest : each.other), each.host)
      a.load(each.host, GuestRegisters.slot(back ? each.other : each.guest))
    }
    if body == .strided { emitParking(back: back) }
  }
}
