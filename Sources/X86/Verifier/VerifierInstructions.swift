import CHost

/// What instructions other than branches do.
extension CodeVerifier {
  /// Host registers that hold nothing of the guest's between instructions.
  private static func isTemporary(_ register: UInt8) -> Bool {
    register == Host.rax || register == Host.r14 || register == Host.r15
  }

  func execute(_ number: Int, _ state: VerifierState) throws(CodeRefusal) {
    let it = instructions[number]
    guard it.writes & (1 << UInt16(Host.rsp) | 1 << UInt16(Host.rbp)) == 0 else {
      throw refuse(number, "writes RSP or RBP")
    }
    if it.usesVectors && !state.hasVectors { throw refuse(number, "vector registers that are not the guest's yet") }
    if it.usesX87 && !state.hasX87 { throw refuse(number, "x87 registers that are not the guest's yet") }
    // Flags of what comes before; those that matter are set below.
    let keepsFlags = it.kind == .move || it.kind == .address || it.kind == .extend
    if !keepsFlags { state.flags = .unknown }
    switch it.kind {
    case .move: try move(number, it, state)
    case .address: try address(number, it, state)
    case .add, .subtract, .increment, .decrement: try add(number, it, state)
    case .exclusiveOr: try exclusiveOr(number, it, state)
    case .and: try and(number, it, state)
    case .compare: try compare(number, it, state)
    case .copyString, .fillString: try string(number, it, state)
    case .not, .shiftLeft, .shiftRight, .rotateRight, .extract, .multiply:
      try generic(number, it, state, value: derived(number, it, state))
    case .extend: try extend(number, it, state)
    default: try generic(number, it, state)
    }
  }

  private func extend(_ number: Int, _ it: HostInstruction, _ state: VerifierState) throws(CodeRefusal) {
    // Of a byte that has just been written nothing is left of what the register held before.
    if it.memory == nil, it.second != HostInstruction.none, it.secondSize == 1, number > 0, !isMeeting(number) {
      let before = instructions[number - 1]
      if before.first == it.second, before.size == 1, before.kind == .plain, before.memory == nil,
        before.writes == 1 << UInt16(it.second), before.reads == 0
      {
        return state.set(it.first, .own)
      }
    }
    try generic(number, it, state)
  }

  /// Any instruction: its memory operand is looked at, and what it writes is not known but for `value`, of its first
  /// operand.
  private func generic(
    _ number: Int, _ it: HostInstruction, _ state: VerifierState, value: HostValue = .own
  ) throws(CodeRefusal) {
    var isForeign = false
    for register in 0..<16 as Range<UInt8> where it.reads >> UInt16(register) & 1 != 0 && state.isForeign(register) {
      // Registers of an address are read for that.
      let isOfAddress = it.memory.map { $0.base == register || $0.index == register } ?? false
      isForeign = isForeign || !isOfAddress || it.first == register || it.second == register
    }
    if let memory = it.memory {
      if memory.isRead {
        let loaded = try load(number, memory, state)
        isForeign = isForeign || loaded.isForeign
      }
      if memory.isWritten {
        try store(number, memory, state, HostInstruction.none)
        if isForeign { throw refuse(number, "writes what is the host's own") }
      }
    }
    for register in 0..<16 as Range<UInt8> where it.writes >> UInt16(register) & 1 != 0 {
      let isPart = register == it.first && it.size < 4 && state.isForeign(register)
      state.set(register, register == it.first ? value : .own, isForeign: isForeign || isPart)
    }
  }

  // MARK: Moves

  private func move(_ number: Int, _ it: HostInstruction, _ state: VerifierState) throws(CodeRefusal) {
    if it.isMemoryFirst, let memory = it.memory {
      if it.second == HostInstruction.none && it.immediate == nil { return try generic(number, it, state) }
      return try store(number, memory, state, it.second, constant: it.immediate)
    }
    guard it.first != HostInstruction.none, it.size >= 4 else { return try generic(number, it, state) }
    let to = it.first
    if let immediate = it.immediate {
      guard Self.isTemporary(to) else { return state.set(to, .own) }
      return state.set(to, .sum(Sum(constant: it.size == 4 ? immediate & 0xffff_ffff : immediate)))
    }
    if let memory = it.memory {
      let (value, isForeign) = try load(number, memory, state)
      if case .state(StateLayout.turnsLeft) = try locate(number, memory, state) {
        state.set(to, .own, isForeign: true)
        state.copyCounter(Place(to), from: StateLayout.turns)
        return
      }
      // Of a guest register's lower half the sums of addresses are better made by the register itself.
      if it.size == 4 && !Self.isTemporary(to) { return state.set(to, .own, isForeign: isForeign) }
      return state.set(to, value, isForeign: isForeign)
    }
    guard it.second != HostInstruction.none else { return try generic(number, it, state) }
    let isForeign = state.isForeign(it.second)
    guard Self.isTemporary(to) else {
      if to == it.second && it.size == 8 { return }
      return state.set(to, .own, isForeign: isForeign)
    }
    let value = state[it.second]
    switch value {
    case .own, .sum:
      let sum = state.sum(it.second)
      let moved = it.size == 8 ? sum : sum?.low()
      state.set(to, moved.map { .sum($0) } ?? .own, isForeign: isForeign)
    case .offset, .room, .turns, .wrapRoom, .wrapTurns, .masked, .pageOffset, .index:
      state.set(to, value, isForeign: isForeign)
    default: state.set(to, it.size == 8 ? value : .own, isForeign: isForeign)
    }
  }

  private func address(_ number: Int, _ it: HostInstruction, _ state: VerifierState) throws(CodeRefusal) {
    guard let memory = it.memory, it.first != HostInstruction.none else {
      throw refuse(number, "an address of nothing")
    }
    var isForeign = false
    var sum: Sum? = Sum(constant: memory.displacement)
    for (register, scale) in [(memory.base, 1), (memory.index, Int(memory.scale))] {
      guard register != HostInstruction.none else { continue }
      guard register != Host.rsp, register != Host.rbp else { throw refuse(number, "an address of the host's") }
      isForeign = isForeign || state.isForeign(register)
      sum = state.sum(register).flatMap { own in sum?.adding(own, scale) }
    }
    // What is left of the page and the bytes of a string.
    if case .pageOffset(let page) = memory.base == HostInstruction.none ? .own : state[memory.base],
      memory.index != HostInstruction.none, memory.displacement == 0, it.size == 8,
      let count = state.sum(memory.index), count.constant == 0, let place = count.single
    {
      return state.set(it.first, .runEnd(page, count: place, size: Int(memory.scale)), isForeign: true)
    }
    if it.size < 4 || memory.isOdd { return try generic(number, it, state) }
    assign(it.first, it.size == 4 ? sum?.low() : sum, it.size, state, isForeign: isForeign)
  }

  /// A register gets a sum. One of the guest's that is not moved by a constant is its own afterwards, so that what is found
  /// out by it outlives the registers that it was made of.
  private func assign(_ register: UInt8, _ sum: Sum?, _ size: Int, _ state: VerifierState, isForeign: Bool) {
    let place = Place(register)
    if case .own = state[register] {
      if size == 8, let sum, sum.single == place { return state.shift(place, sum.constant) }
      if size == 4, let sum, sum.isCut, sum.terms.isEmpty, sum.constant == 0, sum.cut.single == place {
        return state.shiftLow(place, sum.inner)
      }
    }
    guard let sum else { return state.set(register, .own, isForeign: isForeign) }
    let isMoved = sum.single != nil && sum.single == state.sum(register)?.single
    if Self.isTemporary(register) || isMoved || sum.isForeign {
      state.set(register, .sum(sum), isForeign: isForeign)
    } else {
      state.set(register, .own, isForeign: isForeign)
    }
  }

  // MARK: Arithmetic

  private func add(_ number: Int, _ it: HostInstruction, _ state: VerifierState) throws(CodeRefusal) {
    let sign: Int64 = it.kind == .subtract || it.kind == .decrement ? -1 : 1
    let isOne = it.kind == .increment || it.kind == .decrement
    let immediate = isOne ? 1 : it.immediate
    if it.isMemoryFirst, let memory = it.memory {
      _ = try load(number, memory, state)
      if case .state(let offset) = try locate(number, memory, state), let immediate {
        if offset == StateLayout.turnsLeft && immediate == 1 && sign < 0 && it.size == 4 {
          return state.flags = .decremented(StateLayout.turns)
        }
        if it.size == 8 && offset < 128 { return state.shift(Places.cell(offset), sign &* immediate) }
      }
      if it.second != HostInstruction.none && state.isForeign(it.second) {
        throw refuse(number, "adds what is the host's own")
      }
      return try store(number, memory, state, HostInstruction.none)
    }
    guard it.first != HostInstruction.none, it.size >= 4 else { return try generic(number, it, state) }
    let to = it.first
    let before = state[to]
    if let immediate {
      let constant = sign &* immediate
      switch before {
      case .own where it.size == 4 && constant == -1 && state.hasFact(where: { $0.counter == Place(to) }):
        state.flags = .decremented(Place(to))
        return
      case .own, .sum:
        let isCarry = to == Host.r14 && it.size == 4 && constant == -1
        let sum = state.sum(to)?.adding(constant)
        assign(to, it.size == 4 ? sum?.low() : sum, it.size, state, isForeign: state.isForeign(to))
        // Of a step of one byte what is left is not shifted.
        if isCarry, case .sum(let sum) = before, sum.isCut, let place = sum.cut.single, sum.inner == 0,
          sum.constant == 0,
          sum.terms.isEmpty
        {
          state.flags = .borrowed(.wrapTurns(place, isUp: false, bits: 0, isLess: false))
        }
      case .xored(let sum, let cell, let write, let site, let delta) where it.size == 8:
        state[to] = .xored(sum, cell: cell, write: write, site: site, delta: delta &+ constant)
      case .wrapTurns(_, _, _, false) where it.size == 4 && constant == -1 && to == Host.r14:
        state.set(to, .own, isForeign: state.isForeign(to))
        state.flags = .borrowed(before)
      case .wrapRoom(let place, let isUp) where it.size == 4 && constant == -1 && to == Host.r14:
        state.set(to, .own, isForeign: state.isForeign(to))
        state.flags = .borrowed(.wrapTurns(place, isUp: isUp, bits: 0, isLess: false))
      case .rotated(let sum) where it.size == 4 && constant == -1 && to == Host.r14:
        state.set(to, .own, isForeign: state.isForeign(to))
        if let place = sum.cut.single, sum.inner == 0, sum.terms.isEmpty, sum.constant == 0 {
          state.flags = .borrowed(.wrapTurns(place, isUp: false, bits: 7, isLess: false))
        }
      default: state.set(to, .own, isForeign: state.isForeign(to))
      }
      return
    }
    var operand: Sum?
    var isForeign = state.isForeign(to)
    if let memory = it.memory {
      let (value, isStranger) = try load(number, memory, state)
      if case .sum(let sum) = value { operand = sum }
      isForeign = isForeign || isStranger
      // FS and GS, flat 32-bit code: what is kept in 8 bytes counts by its low half.
      if value == .own, it.size == 4 { operand = nil }
      if case .masked = before, case .state(StateLayout.fetchTLB) = try locate(number, memory, state), it.size == 8 {
        return state.set(to, .fetchEntry, isForeign: true)
      }
    } else if it.second != HostInstruction.none {
      operand = state.sum(it.second)
      isForeign = isForeign || state.isForeign(it.second)
      if sign < 0, let total = before.isConstant, case .offset(let site) = state[it.second], it.size == 4 {
        return state.set(to, .room(site: site, isUp: true, total: total), isForeign: true)
      }
    }
    addSum(number, it, operand, sign, isForeign: isForeign, state)
  }

  private func addSum(
    _ number: Int, _ it: HostInstruction, _ operand: Sum?, _ sign: Int64, isForeign: Bool, _ state: VerifierState
  ) {
    let to = it.first
    guard let operand else { return state.set(to, .own, isForeign: isForeign) }
    // A pointer of a string instruction becomes the host's address: what it was goes on to be known.
    if case .own = state[to], it.size == 8, operand.isForeign {
      let ghost = Places.value(number)
      state.rename(to, to: ghost)
      state[to] = Sum(ghost).adding(operand, Int(sign)).map { .sum($0) } ?? .own
      state.setForeign(to, true)
      return
    }
    let before = it.size == 4 ? state.sum(to)?.uncut : state.sum(to)
    guard let other = it.size == 4 ? operand.uncut : operand, let sum = before?.adding(other, Int(sign)) else {
      return state.set(to, .own, isForeign: isForeign)
    }
    // It is the guest's again.
    if let place = sum.single, place >= Places.firstValue { return state.set(to, .own) }
    let isPointer = it.size == 8 && (operand.isForeign || before?.isForeign ?? false)
    guard Self.isTemporary(to) || isPointer else { return state.set(to, .own, isForeign: isForeign) }
    let result = it.size == 4 ? sum.low() : sum
    state.set(to, result.map { .sum($0) } ?? .own, isForeign: isForeign)
  }

  // MARK: Checks

  private func exclusiveOr(_ number: Int, _ it: HostInstruction, _ state: VerifierState) throws(CodeRefusal) {
    guard it.first != HostInstruction.none, !it.isMemoryFirst else { return try generic(number, it, state) }
    let to = it.first
    if it.second == to && it.size >= 4 {
      return state.set(to, Self.isTemporary(to) ? .sum(Sum(constant: 0)) : .own)
    }
    guard it.size == 8, Self.isTemporary(to) else { return try generic(number, it, state) }
    let before = state[to]
    if let memory = it.memory {
      let (value, isForeign) = try load(number, memory, state)
      if case .state(StateLayout.jumpKey) = try locate(number, memory, state) {
        return state.set(to, .keyed, isForeign: true)
      }
      guard case .tag(let cell, let write, let indexed) = value else {
        return state.set(to, .own, isForeign: isForeign)
      }
      if case .xored(let sum, cell, write, _, 0) = before {
        return state.set(to, .sum(sum), isForeign: state.isForeign(.sum(sum)))
      }
      if case .own = before {
        let ghost = Places.value(number)
        let wasForeign = state.isForeign(to)
        state.rename(to, to: ghost)
        state[to] = .sum(Sum(ghost))
        state.setForeign(to, wasForeign)
      }
      guard case .sum(let sum) = state[to], indexed == nil || sum.low() == indexed else {
        return state.set(to, .own, isForeign: true)
      }
      return state.set(to, .xored(sum, cell: cell, write: write, site: number, delta: 0), isForeign: true)
    }
    if case .tag(let cell, let write, let indexed) = before, it.second != HostInstruction.none,
      let sum = state.sum(it.second), indexed == nil || sum.low() == indexed
    {
      return state.set(to, .xored(sum, cell: cell, write: write, site: number, delta: 0), isForeign: true)
    }
    try generic(number, it, state)
  }

  private func and(_ number: Int, _ it: HostInstruction, _ state: VerifierState) throws(CodeRefusal) {
    guard it.first != HostInstruction.none, let mask = it.immediate, it.size == 4, mask >= 0, Self.isTemporary(it.first)
    else { return try generic(number, it, state) }
    let to = it.first
    switch state[to] {
    case .rotated(let address) where mask == (Int64(VM_TLB_SIZE) - 1) << 5:
      let cell = Places.addend(number)
      state.kill(cell)
      state.set(to, .index(address, cell: cell), isForeign: true)
      if case .index = state[to] { state.noteLookup(cell, address) }
    case .sum(let sum) where mask == 4095: state.set(to, sum.uncut.map { .pageOffset($0) } ?? .own)
    default:
      guard mask & 31 == 0 else { return try generic(number, it, state) }
      let isForeign = state.isForeign(to)
      state.set(to, .masked(Int(mask), isForeign: isForeign), isForeign: isForeign)
    }
  }

  private func compare(_ number: Int, _ it: HostInstruction, _ state: VerifierState) throws(CodeRefusal) {
    if let memory = it.memory {
      let location = try locate(number, memory, state)
      switch location {
      case .jump(let place, InlineCaches.tagField):
        guard it.size == 8, it.first != HostInstruction.none, state[it.first] == .keyed else {
          throw refuse(number, "compares a tag with what was not XORed with the key")
        }
        return state.flags = .jumpTag(place)
      case .fetchEntry: return
      default: _ = try load(number, memory, state)
      }
      guard case .state(let offset) = location else { return }
      if it.isMemoryFirst, it.immediate == 0, it.size == 4 { state.flags = .ready(offset) }
      if it.isMemoryFirst, it.immediate == 0, offset != StateLayout.vectorReady, offset != StateLayout.x87Ready {
        state.flags = .unknown
      }
      if !it.isMemoryFirst, offset == StateLayout.turnsLeft, it.first == Host.r14, it.size == 4 {
        state.flags = .turns(state[Host.r14])
      }
      return
    }
    guard let immediate = it.immediate, it.first != HostInstruction.none, it.size == 8 else { return }
    state.flags = .compared(state[it.first], register: it.first, immediate)
  }

  /// The value that an instruction of one register makes of another, or of itself.
  private func derived(_ number: Int, _ it: HostInstruction, _ state: VerifierState) -> HostValue {
    guard it.memory == nil, it.first != HostInstruction.none, Self.isTemporary(it.first) else { return .own }
    let before = state[it.first]
    switch it.kind {
    case .rotateRight:
      guard it.second != HostInstruction.none, it.size == 4, it.immediate == 7, let sum = state.sum(it.second)?.low()
      else {
        return .own
      }
      return .rotated(sum)
    case .extract:
      let fields = Int64(VM_TLB_BITS) << 8 | 12
      guard it.third != HostInstruction.none, it.second != HostInstruction.none,
        state[it.third].isConstant == fields, let sum = state.sum(it.second)?.low()
      else { return .own }
      return .pageNumber(sum)
    case .not:
      guard it.size == 4, case .sum(let sum) = before, sum.isCut, sum.terms.isEmpty, sum.constant == 0, sum.inner == 0,
        let place = sum.cut.single
      else { return .own }
      return .wrapRoom(place, isUp: true)
    case .shiftLeft:
      guard it.size == 8, let count = it.immediate, count <= 3, case .sum(let sum) = before, !sum.isCut else {
        return .own
      }
      return Sum(constant: 0).adding(sum, 1 << Int(count)).map { .sum($0) } ?? .own
    case .shiftRight: return shiftedRight(it, before)
    case .multiply:
      guard it.size == 8, it.second == it.first, let factor = it.immediate, factor > 1, factor < 1 << 25 else {
        return .own
      }
      switch before {
      case .room(let site, let isUp, let total) where total >= 0 && total <= 4096:
        return .product(site: site, isUp: isUp, total: total, factor: factor)
      case .offset(let site): return .product(site: site, isUp: false, total: 4096, factor: factor)
      default: return .own
      }
    default: return .own
    }
  }

  private func shiftedRight(_ it: HostInstruction, _ before: HostValue) -> HostValue {
    guard let count = it.immediate, count > 0, count < 32 else { return .own }
    switch before {
    case .sum(let sum) where it.size == 4 && sum.isCut && sum.terms.isEmpty && sum.constant == 0:
      if count == 7 { return .rotated(sum) }
      guard sum.inner == 0, let place = sum.cut.single else { return .own }
      return .wrapTurns(place, isUp: false, bits: Int(count), isLess: false)
    case .wrapRoom(let place, let isUp) where it.size == 4:
      return .wrapTurns(place, isUp: isUp, bits: Int(count), isLess: false)
    case .room(let site, let isUp, let total) where it.size == 4:
      return .turns(site: site, isUp: isUp, total: total, step: 1 << count)
    case .offset(let site) where it.size == 4: return .turns(site: site, isUp: false, total: 0, step: 1 << count)
    case .product(let site, let isUp, let total, let factor) where it.size == 8 && count == 24:
      // The quotient must never be too large.
      let step = (1 << 24) / (factor - 1)
      let isQuotient = step > 0 && (1...4096 / step + 1).allSatisfy { (($0 * step - 1) * factor) >> 24 < $0 }
      return isQuotient ? .turns(site: site, isUp: isUp, total: total, step: step) : .own
    default: return .own
    }
  }

  // MARK: Strings

  /// MOVS and STOS go forward: DF of the host is clear by the calling convention.
  private func string(_ number: Int, _ it: HostInstruction, _ state: VerifierState) throws(CodeRefusal) {
    let copies = it.kind == .copyString
    let size = it.size
    if it.memory?.isOdd ?? true { throw refuse(number, "an address that emitted code does not have") }
    let count = state.sum(Host.rcx).flatMap { $0.constant == 0 ? $0.single : nil } ?? Places.none
    for (register, write) in copies ? [(Host.rsi, false), (Host.rdi, true)] : [(Host.rdi, true)] {
      guard let address = state.sum(register) else { throw refuse(number, "a pointer that is no address") }
      try requireAccess(number, address, it.repeats ? 1 : size, state, write: write)
      guard it.repeats else { continue }
      // All of it lies in the page of its first byte.
      let isBounded = state.bounds.contains { $0.place == count && $0.most <= 4096 }
      let fits = state.hasFact { fact in
        guard fact.kind == .run, fact.counter == count, fact.step >= Int64(size), fact.low == address.constant,
          let addend = address.terms.adding(fact.terms, -1), let cell = addend.single
        else { return false }
        return Places.isForeign(cell)
      }
      guard isBounded && fits else { throw refuse(number, "not known to stay in a page") }
    }
    if !copies, state.isForeign(Host.rax) { throw refuse(number, "writes what is the host's own into guest memory") }
    for register in copies ? [Host.rsi, Host.rdi] : [Host.rdi] {
      // Still the host's address of something of the guest's.
      guard case .sum(let sum) = state[register] else { continue }
      let ghost = register == Host.rdi ? Places.value(number) : Places.otherValue(number)
      state.kill(ghost)
      var moved = Sum(ghost)
      for index in 0..<4 where sum.terms.places[index] != Places.none && Places.isForeign(sum.terms.places[index]) {
        moved = moved.adding(Sum(sum.terms.places[index]), Int(sum.terms.times[index])) ?? moved
      }
      state.set(register, .sum(moved), isForeign: true)
    }
    if it.repeats { state.set(Host.rcx, .own) }
  }
}
