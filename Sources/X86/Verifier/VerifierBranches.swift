import CHost

/// Branches, calls and ways out.
extension CodeVerifier {
  /// What a conditional branch tells of the way that goes on and the one that is taken.
  func split(_ condition: UInt8, _ state: VerifierState, _ taken: VerifierState, _ number: Int) {
    let flags = state.flags
    taken.flags = .unknown
    // The host's flags stay what they are.
    state.flags = .unknown
    switch flags {
    case .unknown: break
    case .compared(let value, let register, let constant):
      switch condition {
      case Condition.above: learn(state, value, register, atMost: constant)
      case Condition.belowOrEqual: learn(taken, value, register, atMost: constant)
      case Condition.below: learn(taken, value, register, atMost: constant - 1)
      case Condition.aboveOrEqual: learn(state, value, register, atMost: constant - 1)
      default: break
      }
    case .jumpTag(let place):
      if condition == Condition.notEqual {
        state.jump = place
        state.hasJumpPage = false
      } else if condition == Condition.equal {
        taken.jump = place
        taken.hasJumpPage = false
      }
    case .turns(let value):
      if condition == Condition.aboveOrEqual {
        learnTurns(taken, value)
        state.isBelowTurns = true
      }
    case .ready(let field):
      func note(_ it: VerifierState) {
        if field == StateLayout.vectorReady { it.hasVectors = true } else { it.hasX87 = true }
      }
      if condition == Condition.equal { note(state) }
      if condition == Condition.notEqual { note(taken) }
    case .loaded(let vectors):
      guard condition == Condition.notEqual else { break }
      if vectors { taken.hasVectors = true } else { taken.hasX87 = true }
    case .decremented(let counter):
      if condition == Condition.sign {
        state.takeTurn(counter)
        taken.removeFacts { $0.counter == counter }
      } else {
        state.removeFacts { $0.counter == counter }
        taken.removeFacts { $0.counter == counter }
      }
    case .borrowed(let value):
      guard condition == Condition.below, case .wrapTurns(let place, let isUp, let bits, false) = value else { break }
      state[Host.r14] = .wrapTurns(place, isUp: isUp, bits: bits, isLess: true)
    }
  }

  /// A comparison has shown that a value is at most a constant.
  private func learn(_ state: VerifierState, _ value: HostValue, _ register: UInt8, atMost most: Int64) {
    guard most >= 0 else { return }
    switch value {
    case .xored(let address, let cell, let write, let site, 0):
      guard most < 4096 else { return }
      let span = 4096 - most
      if address.isCut {
        guard address.constant == 0, address.terms.isEmpty else { return }
        state.add(
          Fact(
            write: write, isCut: true, terms: Terms(cell), cut: address.cut, low: address.inner,
            high: address.inner + span, site: site))
      } else if let terms = address.terms.adding(cell, 1) {
        state.add(
          Fact(write: write, terms: terms, low: address.constant, high: address.constant + span, site: site))
      }
    case .runEnd(let address, let count, let size):
      guard most <= 4096, !address.isCut else { return }
      state.add(
        Fact(
          kind: .run, terms: address.terms, low: address.constant, high: address.constant + 1, step: Int64(size),
          counter: count))
    case .own: state.bound(Place(register), most)
    case .sum(let sum):
      if sum.constant == 0, let place = sum.single { state.bound(place, most) }
    default: break
    }
  }

  /// `turns_left` is at most `value`.
  func learnTurns(_ state: VerifierState, _ value: HostValue) {
    var it = value
    // A step of one byte needs no division.
    if case .room(let site, let isUp, let total) = value { it = .turns(site: site, isUp: isUp, total: total, step: 1) }
    if case .offset(let site) = value { it = .turns(site: site, isUp: false, total: 0, step: 1) }
    switch it {
    case .turns(let site, let isUp, let total, let step):
      for index in 0..<state.factCount where state.facts[index].kind == .access && state.facts[index].site == site {
        let fact = state.facts[index]
        // All of what was checked stays in the page.
        guard !isUp || fact.high - fact.low <= 4096 - total else { continue }
        var copy = fact
        copy.kind = .stride
        copy.step = isUp ? step : -step
        copy.counter = StateLayout.turns
        state.add(copy)
      }
    case .wrapTurns(let place, let isUp, let bits, true) where state.isShort(place):
      let step = Int64(1) << Int64(bits)
      state.add(
        Fact(
          kind: .noCarry, terms: Terms(place), low: 0, high: 1, step: isUp ? step : -step, counter: StateLayout.turns))
    default: break
    }
  }

  // MARK: Leaving

  /// Guest registers hold what is the guest's.
  func requireGuestRegisters(_ number: Int, _ state: VerifierState) throws(CodeRefusal) {
    for (_, host) in GuestRegisters.resident where state.isForeign(host) {
      throw refuse(number, "leaves with what is the host's own in a guest register")
    }
  }

  func leave(_ number: Int, _ state: VerifierState) throws(CodeRefusal) {
    guard let target = instructions[number].target else { return try leaveIndirect(number, state) }
    guard emitted.code + target == translator.exitThunk else { throw refuse(number, "leads out of the block") }
    try requireGuestRegisters(number, state)
    guard let exit = state.exit else { throw refuse(number, "leaves without a reason in the state") }
    switch exit {
    case UInt64(VM_EXIT_ENTRY), UInt64(VM_EXIT_REFUSED): break
    case UInt64(VM_EXIT_INDIRECT), UInt64(VM_EXIT_CROSSED):
      guard state.isLeftByKnown else { throw refuse(number, "leaves without saying by which instruction") }
    default:
      guard linkAddresses.contains(exit) else { throw refuse(number, "leaves for a reason that is none") }
    }
  }

  private func leaveIndirect(_ number: Int, _ state: VerifierState) throws(CodeRefusal) {
    let it = instructions[number]
    guard let memory = it.memory, it.first == HostInstruction.none else {
      throw refuse(number, "leads where no table has said")
    }
    try requireGuestRegisters(number, state)
    guard case .jump(let place, InlineCaches.codeField) = try locate(number, memory, state), state.jump == place else {
      throw refuse(number, "the entry's tag was not compared")
    }
    guard state.hasJumpPage else { throw refuse(number, "the entry's page is not in the state") }
    // A dead block empties the inline cache that R14 names.
    switch place {
    case .indexed(Host.r14): break
    case .fixed(let entry):
      let own = Int64(CPU.jumpCacheOffset + entry - GuestRegisters.bias)
      guard state[Host.r14].isConstant == own else {
        throw refuse(number, "R14 does not say which inline cache leads on")
      }
    default: throw refuse(number, "R14 does not say which entry leads on")
    }
  }

  // MARK: Calls

  /// Returns whether it comes back.
  func call(_ number: Int, _ state: VerifierState) throws(CodeRefusal) -> Bool {
    guard let target = instructions[number].target else { throw refuse(number, "calls what nobody has said") }
    let thunk = emitted.code + target
    state.flags = .unknown
    if thunk == translator.stepThunk || thunk == translator.plainStepThunk {
      return try step(number, state, reloads: thunk == translator.stepThunk)
    } else if thunk == translator.vectorThunk {
      // All registers are kept, or all but R14 and R15.
      state.flags = .loaded(vectors: true)
    } else if thunk == translator.x87Thunk {
      for register in [Host.r14, Host.r15] { state.set(register, .own, isForeign: true) }
      state.flags = .loaded(vectors: false)
    } else if thunk == translator.displacedThunk || thunk == translator.lookupThunk {
      try lookUpTarget(number, state, isCache: thunk == translator.lookupThunk)
    } else if let kind = translator.fillThunks.firstIndex(of: thunk) {
      try fill(number, state, kind)
    } else if let kind = translator.missThunks.firstIndex(of: thunk) {
      try miss(number, state, kind)
    } else {
      throw refuse(number, "calls what is no function for emitted code")
    }
    return true
  }

  /// R14 names an instruction of this block, R15 is its number. Comes back with the guest's registers as that has left them;
  /// a branch goes on elsewhere, and so does what faults in any
  /// case.
  private func step(_ number: Int, _ state: VerifierState, reloads: Bool) throws(CodeRefusal) -> Bool {
    let ops = emitted.block.ops
    guard let address = state[Host.r14].isConstant,
      let index = state[Host.r15].isConstant,
      index >= 0, index < Int64(emitted.block.pointee.count),
      UInt64(bitPattern: address) == UInt64(UInt(bitPattern: ops + Int(index)))
    else { throw refuse(number, "has something interpreted that is no instruction of the block") }
    try requireGuestRegisters(number, state)
    let kind = ops[Int(index)].kind
    let isInvalid = kind == OpKind.undefined.rawValue || kind == OpKind.tooLong.rawValue
    if kind >= OpKind.jo.rawValue && kind <= OpKind.jcxz.rawValue || isInvalid { return false }
    let effects = GuestEffects(ops + Int(index), is64: is64)
    for register in [Host.rax, Host.r14, Host.r15] { state.set(register, .own, isForeign: register != Host.rax) }
    // All are stored in their places, and loaded from there.
    state.spill(GuestRegisters.resident, changed: effects.changed)
    if effects.stackBytes != 0 {
      let stack = Place(Host.r12)
      if is64 { state.shift(stack, effects.stackBytes) } else { state.shiftLow(stack, effects.stackBytes) }
    }
    state.dropLookups()
    if effects.endsAll { state.forgetFacts() }
    state.kill(Places.cell(StateLayout.rawFlags & ~7))
    state.kill(Places.cell(StateLayout.rip))
    state.jump = nil
    state.exit = nil
    state.isLeftByKnown = false
    if !reloads {
      state.hasVectors = false
      state.hasX87 = false
    }
    state.flags = .unknown
    return true
  }

  /// R15 is RIP XORed with the key. Comes back with RIP in the state when nobody knows the target.
  private func lookUpTarget(_ number: Int, _ state: VerifierState, isCache: Bool) throws(CodeRefusal) {
    try requireGuestRegisters(number, state)
    guard state[Host.r15] == .keyed else {
      throw refuse(number, "looks up what was not XORed with the key")
    }
    if isCache {
      guard let own = state[Host.r14].isConstant,
        case .jump(let entry) = StateLayout.region(Int(own) + GuestRegisters.bias),
        StateLayout.inlineCaches.contains(entry), entry % MemoryLayout<vm_jump_entry>.stride == 0
      else { throw refuse(number, "R14 names no inline cache") }
    }
    for register in [Host.r14, Host.r15] { state.set(register, .own, isForeign: true) }
    state.jump = nil
    state.kill(StateLayout.pageCell)
    state.kill(Places.cell(StateLayout.rip))
  }

  /// R14 names a micro-TLB entry, which is filled for the address in R15, or not.
  private func fill(_ number: Int, _ state: VerifierState, _ kind: Int) throws(CodeRefusal) {
    guard let place = state[Host.r14].isConstant,
      case .micro(let entrySet, let slot, 0) = StateLayout.region(Int(place) + GuestRegisters.bias),
      entrySet == set, kind / 2 == set
    else { throw refuse(number, "R14 names no micro-TLB entry of this mode") }
    state.kill(Places.micro(slot))
    state.dropLookups()
  }

  /// R14 is the offset of a data TLB entry, R15 an address XORed with its tag, and afterwards with the tag that is there then.
  private func miss(_ number: Int, _ state: VerifierState, _ kind: Int) throws(CodeRefusal) {
    guard case .index(let address, let cell) = state[Host.r14],
      case .xored(let sum, cell, let write, _, 0) = state[Host.r15],
      sum.low() == address, kind == 2 * set + (write ? 1 : 0)
    else { throw refuse(number, "R14 and R15 are not of a check of the data TLB") }
    state.dropLookups(except: cell)
    // The entry's addend is another.
    state.removeFacts { $0.contains(cell) }
    for register in 0..<16 as Range<UInt8> {
      if case .sum(let sum) = state[register], sum.contains(cell) { state.materialize(Int(register)) }
    }
    state.noteLookup(cell, address)
  }
}
