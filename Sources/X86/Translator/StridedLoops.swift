import CHost

/// Accesses of a loop whose address moves by the same number of bytes each turn.
struct Stride {
  /// Which registers move, and with that what the pointer is: the host's address of
  enum Kind {
    /// what is checked, of which nothing moves;
    case fixed
    /// the same, less the register that moves: base or index;
    case base
    case index
    /// the page, less its linear address.
    case both
  }

  var kind: Kind
  var address: Address
  /// What is checked for a turn, relative to the address that the registers hold at the turn's beginning.
  var low: Int
  var high: Int
  var write: Bool
  /// Bytes that it moves in a turn.
  var step: Int
  /// What is added to the register that moves, of the kinds `base` and `index`.
  var registerStep = 0
  /// The displacement, modulo 16, of the accesses that must be multiples of 16; nil: none has to be.
  var residue: Int?
  /// Accesses that need no check of their own.
  var uses: Int
  /// Holds the pointer in the loop; `Host.none`: it is in the state.
  var host = Host.none

  var span: Int { high - low }
}

/// A guest register that a loop does not use, whose host register holds a pointer or the turns left meanwhile.
struct ParkedRegister {
  var other: UInt8
  var host: UInt8
  /// Where what it holds comes from.
  var place: HostOperand
}

/// What is known of a block that branches back to its own start.
struct LoopPlan {
  var strides: [Stride] = []
  var parked: [ParkedRegister] = []
  /// Host registers that may be parked.
  var spares: [(guest: UInt8, host: UInt8)] = []
  /// Of the body `again`: its accesses, and the registers at its beginning and at the branch back.
  var references = 0..<0
  var head = RegisterVersions()
  var end = RegisterVersions()
  var epoch: Int32 = 0
  /// It branches back to itself, and nothing in it ends what has been checked.
  var isUniform = false
  /// Where the turns of the bodies `again` and `strided` begin when they have been counted.
  var againStart: UnsafeMutablePointer<UInt8>?
  var stridedStart: UnsafeMutablePointer<UInt8>?
  /// Branches of the body `again` to its refusal and to the checks, and of `strided` there.
  var refused: UnsafeMutablePointer<UInt8>?
  var againOut: UnsafeMutablePointer<UInt8>?
  var stridedOut: UnsafeMutablePointer<UInt8>?
}

/// Loops over arrays: an access whose registers move by constants stays in its page for a number of turns that is known
/// beforehand. After some turns that check each access, what moves like this, or does not move at all, is checked once for
/// as many turns as all of it stays in its pages, and those are run by a third body that has a counter of turns instead.
/// Then it is checked again. When a check fails, or something lies in two pages, the second body goes on for some turns.
///
/// What is pending is looked for when turns are checked; there are so few of them that this makes no difference but to
/// interrupts that the guest's own access causes, after which the counter is set to 0.
extension BlockTranslator {
  /// Turns that check each access when a check of many has failed.
  private static let pause = 15
  /// The fewest turns that are worth it.
  private static let fewest = 3
  /// Guest instructions that may run until somebody looks for what is pending.
  private static let longest = 16 << 10
  /// The most bytes that an access moves in a turn: of longer steps too few stay in a page.
  private static let furthest = 128
  /// The furthest apart, in bytes, that accesses of one stride may reach.
  private static let reach = 1024
  /// Strides of a loop; the state has places for some more pointers.
  private static let most = 6

  var hasStrides: Bool { !loop.strides.isEmpty }

  // MARK: Planning

  /// Decides what is checked for many turns at once.
  mutating func planStrides() {
    guard loop.isUniform else { return }
    for leader in loop.references where references[leader].leader < 0 {
      let members = loop.references.filter { $0 == leader || references[$0].leader == leader }
      guard var it = stride(of: leader, members) else { continue }
      let known = loop.strides.firstIndex {
        $0.address == it.address && max($0.high, it.high) - min($0.low, it.low) <= Self.reach
          && ($0.residue == nil || it.residue == nil || $0.residue == it.residue)
      }
      guard let place = known ?? (loop.strides.count < Self.most ? loop.strides.count : nil) else { continue }
      if let known {
        let other = loop.strides[known]
        it.low = min(it.low, other.low)
        it.high = max(it.high, other.high)
        it.write = it.write || other.write
        it.residue = it.residue ?? other.residue
        it.uses += other.uses
        loop.strides[known] = it
      } else {
        loop.strides.append(it)
      }
      for member in members { references[member].stride = place }
    }
    guard hasStrides else { return }
    // The counter, then the pointers that are used most, go where no guest register is needed.
    var spares = loop.spares[...]
    guard let counter = spares.popLast() else { return }
    loop.parked.append(ParkedRegister(other: counter.guest, host: counter.host, place: StateField.turnsLeft))
    for place in loop.strides.indices.sorted(by: { loop.strides[$0].uses > loop.strides[$1].uses }) {
      guard let spare = spares.popLast() else { break }
      loop.strides[place].host = spare.host
      loop.parked.append(
        ParkedRegister(other: spare.guest, host: spare.host, place: StateField.stridePointer(place)))
    }
  }

  /// The stride of an access that checks for `members`, itself among them; nil when it moves in another way.
  private func stride(of leader: Int, _ members: [Int]) -> Stride? {
    let it = references[leader]
    let address = it.address
    guard it.epoch == loop.epoch, loop.end.version(address) == loop.head.version(address),
      !(is64 && address.width == 4)
    else { return nil }
    let head = loop.head.deltas(address)
    let end = loop.end.deltas(address)
    let baseStep = end.base - head.base
    let indexStep = (end.index - head.index) << address.scale
    let step = baseStep + indexStep
    let kind: Stride.Kind = baseStep != 0 ? (indexStep != 0 ? .both : .base) : indexStep != 0 ? .index : .fixed
    guard abs(step) <= Self.furthest else { return nil }
    // Pushes and pops that follow each other move it later.
    if kind != .fixed && (address.base == GuestRegisters.rsp || address.index == GuestRegisters.rsp) { return nil }
    let origin = loop.head.delta(address)
    let registerStep = kind == .base ? baseStep : kind == .index ? end.index - head.index : 0
    // A register of 32 bits must not wrap: in a turn it goes to where it is in the next, and no further. See `emitLimits`.
    if !is64 && registerStep != 0 {
      let start = kind == .base ? head.base : head.index
      let range = loop.end.range(kind == .base ? address.base : address.index)
      let allowed = min(0, registerStep)...max(0, registerStep)
      guard allowed.contains(range.lowerBound - start), allowed.contains(range.upperBound - start) else { return nil }
    }
    var residue: Int?
    for member in members {
      let other = references[member]
      // The pointer has what does not move.
      if kind == .base && other.parts.1 != head.index || kind == .index && other.parts.0 != head.base { return nil }
      guard other.aligned else { continue }
      let own = (other.moved + other.disp - origin) & 15
      if step & 15 != 0 || residue ?? own != own { return nil }
      residue = own
    }
    return Stride(
      kind: kind, address: address, low: it.low - origin, high: it.high - origin, write: it.write, step: step,
      registerStep: registerStep, residue: residue, uses: members.count)
  }

  /// A second body was emitted that is no better than the first.
  var hasIdleBody: Bool { loop.epoch != 0 && !hasStrides && exchanges.isEmpty && loopFlags == .rax }

  // MARK: The loop's bodies

  /// On the way into the body `again`.
  mutating func emitFirstTurns() {
    setTurns(translator.turnsBeforeStrides)
    loop.refused = refuseIfPending()
  }

  private mutating func setTurns(_ turns: Int) {
    a.emit(0xc7, 0, StateField.turnsLeft, size: 4)
    a.word32(Int32(turns))
  }

  /// The next turn looks for what is pending. Flags are left alone.
  mutating func endTurns() { setTurns(0) }

  private var counter: HostOperand {
    if body == .strided, let parked = loop.parked.first { return .register(parked.host) }
    return StateField.turnsLeft
  }

  /// The beginning of a turn.
  mutating func emitTurn() {
    a.arithmetic(5, counter, 1, size: 4)
    let out = a.jumpIf(Condition.sign)
    if body == .strided {
      loop.stridedOut = out
      loop.stridedStart = a.cursor
    } else {
      loop.againOut = out
      loop.againStart = a.cursor
    }
  }

  mutating func emitStridedBody() {
    enter(.strided)
    versions.restart(as: loop.head)
    loopRecipe.rebase(versions)
    referenceCursor = loop.references.lowerBound
    emitLoopBody()
  }

  /// The host registers of parked guest registers get what they are for, or their own again.
  mutating func emitParking(back: Bool) {
    if back, let counter = loop.parked.first { a.store(counter.place, counter.host, size: 4) }
    for each in loop.parked {
      if !back { a.store(GuestRegisters.slot(each.other), each.host) }
      a.load(each.host, back ? GuestRegisters.slot(each.other) : each.place)
    }
  }

  /// The operand of an access that has been checked for many turns.
  mutating func strided(_ it: Reference, _ moved: Int, accumulator: Bool) -> Access {
    if accumulator { keepFlags(accumulator: true) }
    let stride = loop.strides[it.stride]
    let second = GuestRegisters.second
    var other = Host.none
    switch stride.kind {
    case .fixed: break
    case .base: other = value(it.address.base, second)
    case .index: other = value(it.address.index, second)
    case .both:
      emitAddress(components(it.address, Int64(it.disp)), to: second, size: it.address.width)
      other = second
    }
    var pointer = stride.host
    if pointer == Host.none {
      pointer = GuestRegisters.first
      a.load(pointer, StateField.stridePointer(it.stride))
    }
    var free = GuestRegisters.first
    if pointer == free { free = other == second ? Host.none : second }
    let disp: Int
    switch stride.kind {
    case .fixed: disp = moved - loop.head.delta(it.address) + it.disp - stride.low
    case .base, .index: disp = it.disp - stride.low
    case .both: disp = 0
    }
    let isIndex = stride.kind == .index
    return Access(
      operand: .memory(
        base: isIndex || other == Host.none ? pointer : other,
        index: isIndex ? other : other == Host.none ? Host.none : pointer,
        scale: isIndex ? it.address.scale : 0, disp: Int32(truncatingIfNeeded: disp)),
      free: free)
  }

  // MARK: Checks

  /// Out of line: where the bodies go when the turns that they may run are done.
  mutating func emitStrideChecks() {
    guard let againStart = loop.againStart, let stridedStart = loop.stridedStart else {
      assert(!hasStrides, "a loop that was planned to have a third body has none")
      return
    }
    observer?.mark(.strideCheck, a.cursor)
    if let out = loop.stridedOut { Assembler.patch(out, a.cursor) }
    enter(.strided)
    emitParking(back: true)
    enter(.again)
    if let out = loop.againOut { Assembler.patch(out, a.cursor) }
    let pending = refuseIfPending()
    if let entry = entries.firstIndex(where: { $0.body == .again }) {
      entries[entry].refusals.append(pending)
      if let site = loop.refused { entries[entry].refusals.append(site) }
    }
    setTurns(max(Self.pause, Self.longest / Int(block.pointee.count)))
    var failures: [UnsafeMutablePointer<UInt8>] = []
    for place in loop.strides.indices { emitCheck(place, &failures) }
    a.arithmetic(7, StateField.turnsLeft, Int64(Self.fewest), size: 4)
    failures.append(a.jumpIf(Condition.below))
    emitParking(back: false)
    a.jump(to: stridedStart)
    for site in failures { Assembler.patch(site, a.cursor) }
    setTurns(Self.pause)
    a.jump(to: againStart)
  }

  /// Checks what a stride accesses this turn, keeps its pointer, and lowers `turns_left` to the turns that follow in its
  /// page. R14 and R15 are used; RAX may hold flags.
  private mutating func emitCheck(_ place: Int, _ failures: inout [UnsafeMutablePointer<UInt8>]) {
    let stride = loop.strides[place]
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    emitAddress(components(stride.address, Int64(stride.low)), to: second, size: stride.address.width)
    let tag = entryField(stride.write ? 8 : 0)
    entryOffset(second)
    a.emit(0x33, second, tag, size: 8)
    comparePage(second, span: stride.span)
    let holds = a.jumpIf(Condition.belowOrEqual)
    a.call(translator.missThunks[2 * mmuSet + (stride.write ? 1 : 0)])
    comparePage(second, span: stride.span)
    failures.append(a.jumpIf(Condition.above))
    Assembler.patch(holds, a.cursor)
    if let residue = stride.residue {
      // `low` itself may be no multiple.
      let distance = (residue - stride.low) & 15
      if distance != 0 { a.arithmetic(0, .register(second), Int64(distance), size: 8) }
      a.emit(0xf6, 0, .register(second), size: 1)
      a.byte(15)
      failures.append(a.jumpIf(Condition.notEqual))
      if distance != 0 { a.arithmetic(5, .register(second), Int64(distance), size: 8) }
    }
    a.store(StateField.stridePointer(place), second)
    a.emit(0x33, second, tag, size: 8)
    // R15 is the linear address again; its offset in the page is kept for later.
    a.load(first, entryField(16))
    if stride.kind != .both { a.emit(0x03, first, .register(second), size: 8) }
    if stride.kind == .base { a.emit(0x2b, first, self.place(stride.address.base), size: 8) }
    if stride.kind == .index {
      a.load(second, self.place(stride.address.index))
      if stride.address.scale != 0 { a.shiftLeft(second, stride.address.scale, size: 8) }
      a.emit(0x2b, first, .register(second), size: 8)
    }
    if stride.step != 0 { a.load(second, StateField.stridePointer(place), size: 4) }
    a.store(StateField.stridePointer(place), first)
    if stride.step != 0 { emitLimits(stride, &failures) }
  }

  /// R15 is the offset in the page: lowers `turns_left`.
  private mutating func emitLimits(_ stride: Stride, _ failures: inout [UnsafeMutablePointer<UInt8>]) {
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    if stride.step > 0 {
      a.moveImmediate(first, UInt64(4096 - stride.span))
      a.emit(0x2b, first, .register(second), size: 4)
    } else {
      a.move(first, second, size: 4)
    }
    let step = abs(stride.step)
    if step & (step - 1) == 0 {
      if step > 1 { a.shiftRight(first, UInt8(step.trailingZeroBitCount), size: 4) }
    } else {
      // The quotient by a reciprocal that is too large by less than matters below 4096.
      a.emit(0x69, first, .register(first), size: 8)  // imul
      a.word32(Int32((1 << 24) / step + 1))
      a.shiftRight(first, 24, size: 8)
    }
    lowerTurns()
    // The pointer counts on a register that does not wrap, though the address may be a sum that is cut to 32 bits. In the
    // last turn too it may move before it is used.
    guard !is64, stride.registerStep != 0 else { return }
    let register = stride.kind == .base ? stride.address.base : stride.address.index
    a.load(first, place(register), size: 4)
    if stride.registerStep > 0 { a.emit(0xf7, 2, .register(first), size: 4) }  // not
    let bits = Int.bitWidth - (abs(stride.registerStep) - 1).leadingZeroBitCount
    if bits > 0 { a.shiftRight(first, UInt8(bits), size: 4) }
    a.arithmetic(5, .register(first), 1, size: 4)
    failures.append(a.jumpIf(Condition.below))
    lowerTurns()
  }

  /// To R14, if that is less.
  private mutating func lowerTurns() {
    let first = GuestRegisters.first
    a.emit(0x3b, first, StateField.turnsLeft, size: 4)
    let isMore = a.jumpIf(Condition.aboveOrEqual)
    a.store(StateField.turnsLeft, first, size: 4)
    Assembler.patch(isMore, a.cursor)
  }
}
