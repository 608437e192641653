import CHost

/// Memory operands.
extension CodeVerifier {
  /// What a memory operand is.
  enum Location {
    /// Bytes of the state, by their offset.
    case state(Int)
    /// A field of a micro-TLB entry, or of the data TLB's entry whose addend is `cell`.
    case micro(slot: Int, field: Int)
    case data(cell: Place, address: Sum, field: Int)
    case pageAddend(Sum)
    case jump(JumpPlace, Int)
    case fetchEntry
    /// Guest memory, by the host's address.
    case guest(Sum)
  }

  func locate(
    _ number: Int, _ memory: HostInstruction.Memory, _ state: VerifierState
  ) throws(CodeRefusal) -> Location {
    guard !memory.isOdd else { throw refuse(number, "an address that emitted code does not have") }
    guard memory.base != Host.rsp, memory.index != Host.rbp else { throw refuse(number, "accesses the host's stack") }
    if memory.base == Host.rbp { return try locateByState(number, memory, state) }
    var address = Sum(constant: memory.displacement)
    if memory.base != HostInstruction.none {
      if case .fetchEntry = state[memory.base], memory.index == HostInstruction.none {
        let fits =
          memory.displacement >= 0 && Int(memory.displacement) + memory.size <= MemoryLayout<vm_fetch_entry>.stride
        guard fits, !memory.isWritten else { throw refuse(number, "not within an entry of the execute TLB") }
        return .fetchEntry
      }
      guard let base = state.sum(memory.base), let sum = base.adding(address, 1) else {
        throw refuse(number, "the base is no address")
      }
      address = sum
    }
    if memory.index != HostInstruction.none {
      guard let index = state.sum(memory.index), let sum = add(address, index, Int(memory.scale)) else {
        throw refuse(number, "the index is no part of an address")
      }
      address = sum
    }
    return .guest(address)
  }

  private func add(_ address: Sum, _ index: Sum, _ scale: Int) -> Sum? {
    if let sum = address.adding(index, scale) { return sum }
    return nil
  }

  private func locateByState(
    _ number: Int, _ memory: HostInstruction.Memory, _ state: VerifierState
  ) throws(CodeRefusal) -> Location {
    let offset = Int(memory.displacement) + GuestRegisters.bias
    let region = StateLayout.region(offset)
    guard memory.index != HostInstruction.none else {
      switch region {
      case .state(let field) where field + memory.size <= StateLayout.bytes: return .state(field)
      case .micro(let entrySet, let slot, let field):
        guard entrySet == set else { throw refuse(number, "a micro-TLB entry of another mode") }
        return .micro(slot: slot, field: field)
      case .jump(let entry) where StateLayout.inlineCaches.contains(entry):
        let field = entry % MemoryLayout<vm_jump_entry>.stride
        return .jump(.fixed(entry - field), field)
      default: throw refuse(number, "beyond what emitted code accesses of the state")
      }
    }
    switch (state[memory.index], region) {
    case (.index(let address, let cell), .data(let entrySet, let field))
    where memory.scale == 1 && field < MemoryLayout<vm_tlb_entry>.stride:
      guard entrySet == set else { throw refuse(number, "the data TLB of another mode") }
      return .data(cell: cell, address: address, field: field)
    case (.pageNumber(let address), .pageAddend(let entrySet, 0)) where memory.scale == 8:
      guard entrySet == set else { throw refuse(number, "the data TLB of another mode") }
      return .pageAddend(address)
    case (.masked(let most, _), .jump(let field))
    where memory.scale == 1 && field < MemoryLayout<vm_jump_entry>.stride && most < StateLayout.jumpTableBytes:
      return .jump(.indexed(memory.index), field)
    default: throw refuse(number, "an index that was not made for a table behind the state")
    }
  }

  /// Guest memory may be accessed there.
  func requireAccess(
    _ number: Int, _ address: Sum, _ size: Int, _ state: VerifierState, write: Bool
  ) throws(CodeRefusal) {
    guard size > 0, state.allows(address, size, write: write) else {
      let isRead = write && state.allows(address, size, write: false)
      throw refuse(number, isRead ? "checked for reading only" : "no check has found these bytes")
    }
  }

  // MARK: Loads

  /// What is at a place, for an instruction that reads `memory`.
  func load(
    _ number: Int, _ memory: HostInstruction.Memory, _ state: VerifierState
  ) throws(CodeRefusal) -> (value: HostValue, isForeign: Bool) {
    let location = try locate(number, memory, state)
    switch location {
    case .guest(let address):
      try requireAccess(number, address, memory.size, state, write: false)
      return (.own, false)
    case .state(let offset):
      let isForeign = StateLayout.isForeign(offset)
      guard offset & 7 == 0 else { return (.own, isForeign) }
      let cell = Places.cell(offset)
      if memory.size == 8 { return (.sum(Sum(cell)), isForeign) }
      guard memory.size == 4 else { return (.own, isForeign) }
      if StateLayout.strides.contains(offset) {
        if case .xored(_, _, _, let site, 0) = state[stride: (offset - StateLayout.stridePointers) >> 3],
          state.hasFact(where: { $0.site == site })
        {
          return (.offset(site: site), true)
        }
      }
      return (Sum(cell).low().map { .sum($0) } ?? .own, isForeign)
    case .micro(let slot, let field):
      guard memory.size == 8 else { throw refuse(number, "a part of a micro-TLB entry") }
      let cell = Places.micro(slot)
      switch field {
      case 0, 8: return (.tag(cell: cell, write: field == 8, indexed: nil), true)
      case 16: return (.sum(Sum(cell)), true)
      default: throw refuse(number, "a field of a micro-TLB entry that emitted code does not read")
      }
    case .data(let cell, let address, let field):
      guard memory.size == 8 else { throw refuse(number, "a part of a TLB entry") }
      switch field {
      case 0, 8: return (.tag(cell: cell, write: field == 8, indexed: address), true)
      case 16:
        guard state.lookups.contains(where: { $0.cell == cell }) else {
          throw refuse(number, "the entry may be another")
        }
        return (.sum(Sum(cell)), true)
      default: throw refuse(number, "a field of a TLB entry that emitted code does not read")
      }
    case .pageAddend(let address):
      guard memory.size == 8, let lookup = state.lookups.first(where: { $0.address == address }) else {
        throw refuse(number, "the addend of a page that was not looked up")
      }
      return (.sum(Sum(lookup.cell)), true)
    case .jump(let place, InlineCaches.pageField) where memory.size == 8 && state.jump == place:
      return (.jumpPage(place), true)
    case .jump: throw refuse(number, "an entry whose tag was not compared")
    case .fetchEntry: return (.own, true)
    }
  }

  // MARK: Stores

  /// `memory` is written; `value` and `sum` say what to, if that is known.
  func store(
    _ number: Int, _ memory: HostInstruction.Memory, _ state: VerifierState, _ register: UInt8,
    constant: Int64? = nil
  ) throws(CodeRefusal) {
    let isForeign = register != HostInstruction.none && state.isForeign(register)
    switch try locate(number, memory, state) {
    case .guest(let address):
      try requireAccess(number, address, memory.size, state, write: true)
      guard !isForeign else { throw refuse(number, "writes what is the host's own into guest memory") }
    case .state(let offset):
      let value =
        register == HostInstruction.none
        ? constant.map { .sum(Sum(constant: $0)) } ?? .own : state[register]
      let sum = register == HostInstruction.none ? constant.map { Sum(constant: $0) } : state.sum(register)
      try storeInState(number, offset, memory.size, state, register, value, sum, isForeign: isForeign)
    default: throw refuse(number, "writes a table")
    }
  }

  private func storeInState(
    _ number: Int, _ offset: Int, _ size: Int, _ state: VerifierState, _ register: UInt8, _ value: HostValue,
    _ sum: Sum?, isForeign: Bool
  ) throws(CodeRefusal) {
    guard StateLayout.isWritable(offset, size) else { throw refuse(number, "a field that emitted code does not write") }
    let cell = Places.cell(offset & ~7)
    switch offset {
    case StateLayout.page:
      guard case .jumpPage(let place) = value, state.jump == place, size == 8 else {
        throw refuse(number, "not the page of the entry that leads on")
      }
      state.kill(cell)
      state.hasJumpPage = true
    case StateLayout.exit:
      guard size == 8, let reason = value.isConstant else { throw refuse(number, "not a reason to leave") }
      state.kill(cell)
      state.exit = UInt64(bitPattern: reason)
    case StateLayout.leftBy:
      let ops = emitted.block.ops
      let first = UInt64(UInt(bitPattern: ops))
      let stride = UInt64(MemoryLayout<vm_op>.stride)
      // Or what stands behind the last, where nothing branches.
      let count = Int(emitted.block.pointee.count)
      let cells = ops[count].kind == OpKind.fallThrough.rawValue ? count + 1 : count
      guard size == 8, let address = value.isConstant.map({ UInt64(bitPattern: $0) }), address >= first,
        address < first + stride * UInt64(cells), (address - first) % stride == 0
      else { throw refuse(number, "not an instruction of the block") }
      state.kill(cell)
      state.isLeftByKnown = true
    case StateLayout.turnsLeft: storeTurns(state, register, value)
    case StateLayout.windows where size == 8: state.store(cell, value, sum)
    case StateLayout.strides where size == 8:
      let index = (offset - StateLayout.stridePointers) >> 3
      state.store(cell, value, sum)
      state[stride: index] = value
    default:
      guard !isForeign else { throw refuse(number, "writes what is the host's own into the guest's state") }
      if size == 8 && offset & 7 == 0 {
        if offset < 128 && (register == Host.r14 || register == Host.r15) {
          state.store(cell, from: register)
        } else {
          state.store(cell, value, sum)
        }
      } else {
        state.kill(cell)
      }
    }
  }

  /// `turns_left` is set: to 0, to less than it was, or to what a register counts; else nothing is known by it.
  private func storeTurns(_ state: VerifierState, _ register: UInt8, _ value: HostValue) {
    if value.isConstant == 0 { return }
    if register == Host.r14 && state.isBelowTurns {
      learnTurns(state, value)
      state.isBelowTurns = false
      return
    }
    state.kill(StateLayout.turns)
    if register != HostInstruction.none { state.copyCounter(StateLayout.turns, from: Place(register)) }
  }
}
