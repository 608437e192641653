import CHost

/// Places where the guest's arithmetic flags can be.
struct FlagPlaces: OptionSet {
  var rawValue: UInt8
  /// The host's EFLAGS.
  static let host = FlagPlaces(rawValue: 1)
  /// RAX, as LAHF and SETO AL leave them.
  static let rax = FlagPlaces(rawValue: 2)
  /// `raw_flags`, in the same form.
  static let memory = FlagPlaces(rawValue: 4)
  /// Registers that still hold what the flags were made of: see `FlagRecipe`.
  static let recipe = FlagPlaces(rawValue: 8)
  /// The host's EFLAGS, all but CF.
  static let hostButCarry = FlagPlaces(rawValue: 16)
}

/// How to make the guest's flags once more from registers that have not changed since: a comparison is done again, an
/// addition or subtraction is taken back and done again, and a logical operation has left them in its result. So they
/// need not be saved where they only might be wanted, before each access to memory that may fault.
struct FlagRecipe {
  enum Kind: UInt8 {
    /// Compare or test the register with another or a constant.
    case compare, compareConstant, test, testConstant
    /// ADD, SUB of another register or a constant: the register holds the result.
    case add, addConstant, subtract, subtractConstant
    /// AND, OR, XOR: the register holds the result.
    case result
    case zero
    /// INC and DEC leave CF as `carry` makes it.
    case increment, decrement
  }

  /// One instruction.
  struct Part {
    var kind = Kind.zero
    var size = 4
    var register: UInt8 = 0
    var other: UInt8 = 0
    var constant: Int64 = 0
    /// The registers' versions and what has been added to them, see `RegisterVersions`.
    var version: (Int32, Int) = (0, 0)
    var otherVersion: (Int32, Int) = (0, 0)

    var usesOther: Bool { kind == .compare || kind == .test || kind == .add || kind == .subtract }

    func uses(_ guest: UInt8) -> Bool { kind != .zero && (register == guest || usesOther && other == guest) }

    mutating func rebase(_ versions: RegisterVersions) {
      version = (versions.version(register), versions.delta(register))
      otherVersion = (versions.version(other), versions.delta(other))
    }

    func isLike(_ part: Part) -> Bool {
      kind == part.kind && size == part.size && register == part.register && other == part.other
        && constant == part.constant
    }

    func holds(_ versions: RegisterVersions) -> Bool {
      if kind == .zero { return true }
      guard version == (versions.version(register), versions.delta(register)) else { return false }
      return !usesOther || otherVersion == (versions.version(other), versions.delta(other))
    }
  }

  var main = Part()
  /// What made CF before INC or DEC.
  var carry: Part?

  func holds(_ versions: RegisterVersions) -> Bool {
    main.holds(versions) && (carry?.holds(versions) ?? true)
  }

  func uses(_ guest: UInt8) -> Bool { main.uses(guest) || carry?.uses(guest) ?? false }

  /// It holds for what the registers hold now, by whatever versions.
  mutating func rebase(_ versions: RegisterVersions) {
    main.rebase(versions)
    carry?.rebase(versions)
  }

  /// Whether the other does the same with the same registers, whatever those hold.
  func isLike(_ other: FlagRecipe) -> Bool {
    guard main.isLike(other.main) else { return false }
    guard let carry, let others = other.carry else { return carry == nil && other.carry == nil }
    return carry.isLike(others)
  }
}

/// Where the flags are, and bringing them where they are needed.
extension BlockTranslator {
  /// The instruction just emitted has written all arithmetic flags.
  @inline(__always)
  mutating func flagsWritten() { flags = .host }

  /// The same of one that can be done again. Its registers are guest registers, of 4 or 8 bytes when they were changed.
  mutating func flagsWritten(
    _ kind: FlagRecipe.Kind, _ register: UInt8, other: UInt8 = 0, constant: Int64 = 0, size: Int
  ) {
    flags = .host
    let changes = kind.rawValue >= FlagRecipe.Kind.add.rawValue && kind != .zero
    let isDoubled = register == other && (kind == .add || kind == .subtract)
    if changes && size < 4 || isDoubled || (register | other) & Self.highByte != 0 { return }
    let version = (versions.version(register), versions.delta(register))
    let otherVersion = (versions.version(other), versions.delta(other))
    recipe = FlagRecipe(
      main: FlagRecipe.Part(
        kind: kind, size: size, register: register, other: other, constant: constant, version: version,
        otherVersion: otherVersion))
    flags = [.host, .recipe]
  }

  /// INC or DEC of `register` is about to be emitted: CF in the host's flags, unless it can be had again later.
  /// - Returns: what makes CF in the second case.
  mutating func carryBeforeIncrement(_ register: UInt8, size: Int) -> FlagRecipe.Part? {
    // A branch wants CF at once.
    let isLast = index + 2 >= Int(block.pointee.count)
    let isWanted = isLast ? !branchesBack : CPU.isConditionalJump(ops + (index + 1))
    if flags.contains(.recipe) && size >= 4 && register & Self.highByte == 0 && !isWanted {
      let part = recipe.main.kind == .increment || recipe.main.kind == .decrement ? recipe.carry : recipe.main
      if let part, !part.uses(register) { return part }
    }
    requireCarry()
    return nil
  }

  /// INC (0) or DEC (1) of `register` has been emitted; `carry` is what `carryBeforeIncrement` has said.
  mutating func flagsIncremented(_ operation: UInt8, _ register: UInt8, size: Int, carry: FlagRecipe.Part?) {
    guard let carry else {
      flagsWritten()
      return
    }
    flagsWritten(operation == 0 ? .increment : .decrement, register, size: size)
    recipe.carry = carry
    flags = [.hostButCarry, .recipe]
  }

  /// The same of an instruction whose flags nobody can see.
  @inline(__always)
  mutating func flagsLost() { flags = [] }

  /// The host's flags are about to be destroyed, and RAX too if `accumulator`: keeps the guest's.
  mutating func keepFlags(accumulator: Bool) {
    guard !flags.isEmpty else { return }
    if flags.isDisjoint(with: [.rax, .memory, .recipe]) {
      a.lahf()
      a.setOverflowAL()
      flags.insert(.rax)
    }
    if accumulator && flags.isDisjoint(with: [.memory, .recipe]) {
      a.store(StateField.rawFlags, Host.rax, size: 4)
      flags.insert(.memory)
    }
    flags.subtract([.host, .hostButCarry])
    if accumulator { flags.remove(.rax) }
  }

  /// The instruction may write registers that the recipe needs, and leaves the flags alone: they must be elsewhere.
  mutating func keepFlagsFromWrites(_ op: Op) {
    guard mayWriteSource(op) else { return }
    if flags.isDisjoint(with: [.host, .rax, .memory]) { flagsToAccumulator() }
    flags.remove(.recipe)
  }

  /// Whether an instruction that leaves flags alone may write a register of the recipe.
  private func mayWriteSource(_ op: Op) -> Bool {
    var implicit = true
    var writesReg = true
    var writesRM = true
    /// Fields of byte registers are places in the state.
    var areBytes = false
    switch OpKind(trusted: op.pointee.kind) {
    case .nop, .movMR8, .movMR16, .movMR32, .movMR64, .movMI8, .movMI16, .movMI32, .movMI64: return false
    case .movRR8, .movRR16, .movRR32, .movRR64, .movRI8, .movRI16, .movRI32, .movRI64:
      implicit = false
      writesReg = false
      areBytes = op.pointee.operand_size == 1
    case .movRM8: return recipe.uses(op.pointee.reg >> 3)
    case .movRM16, .movRM32, .movRM64, .movzxR8, .movzxM8, .movzxR16, .movzxM16, .movsxR8, .movsxM8, .movsxR16,
      .movsxM16, .movsxdR, .movsxdM, .extend, .lea32, .lea64, .lea16:
      implicit = false
      writesRM = false
    case .bswap: implicit = false
    case .not, .xchg:
      implicit = false
      areBytes = op.pointee.operand_size == 1
    case .simd:
      switch Int(SIMDTable.rows[Int(op.pointee.sub)].shape) {
      case VM_SIMD_XX, VM_SIMD_LOAD, VM_SIMD_BLENDV, VM_SIMD_STORE, VM_SIMD_STORE_HIGH, VM_SIMD_XI, VM_SIMD_XG,
        VM_SIMD_PP, VM_SIMD_PSTORE, VM_SIMD_PI, VM_SIMD_PG, VM_SIMD_EMMS, VM_SIMD_FENCE, VM_SIMD_MOVNTI:
        return false
      case VM_SIMD_GX, VM_SIMD_GP, VM_SIMD_EX, VM_SIMD_EP: implicit = false
      default: break
      }
    // FNSTSW AX is the one that writes a general register.
    case .x87: return recipe.uses(0)
    case .movs, .stos: return recipe.uses(1) || recipe.uses(6) || recipe.uses(7)
    case .call64, .call, .callR64, .callIndirect, .ret64, .ret: return recipe.uses(GuestRegisters.rsp)
    case .push64, .pushImmediate64, .push: return recipe.uses(GuestRegisters.rsp)
    case .pop64, .pop: return recipe.uses(GuestRegisters.rsp) || recipe.uses(op.pointee.rm)
    case .leaveFrame, .cbw, .cwd, .divide, .cmpxchg8b, .cmpxchg16b: break
    default:
      // Those that write or read flags have the old ones by then, as far as they need them; the others are interpreted
      // or end the block, which puts the flags into RAX.
      return false
    }
    if implicit {
      // RAX, RCX, RDX, RSP and RBP.
      for register in [0, 1, 2, 4, 5] as [UInt8] where recipe.uses(register) { return true }
    }
    let shift: UInt8 = areBytes ? 3 : 0
    return writesReg && recipe.uses(op.pointee.reg >> shift) || writesRM && recipe.uses(op.pointee.rm >> shift)
  }

  /// RAX is needed as a temporary; the host's flags are left alone.
  mutating func takeAccumulator() {
    if flags == .rax {
      a.store(StateField.rawFlags, Host.rax, size: 4)
      flags.insert(.memory)
    }
    flags.remove(.rax)
  }

  /// The guest's flags in the host's. Uses RAX unless they are there.
  mutating func requireFlags() {
    if flags.contains(.host) || flags.isEmpty { return }
    if flags.isDisjoint(with: [.rax, .memory]) {
      emit(recipe)
    } else {
      if !flags.contains(.rax) { a.load(Host.rax, StateField.rawFlags, size: 4) }
      a.restoreOverflow()
      a.sahf()
    }
    flags.insert(.host)
    flags.subtract([.rax, .hostButCarry])
  }

  /// CF in the host's flags; the others there are lost. The next instruction writes all flags, or all but CF.
  mutating func requireCarry() {
    if flags.contains(.host) || flags.isEmpty { return }
    if flags.contains(.rax) {
      a.sahf()
    } else if flags.contains(.memory) {
      // LAHF has CF at bit 8.
      a.emit(0x0fba, 4, StateField.rawFlags, size: 4)
      a.byte(8)
    } else {
      emit(recipe.carry ?? recipe.main)
    }
  }

  /// Has in the host's flags what a Jcc with `condition` looks at.
  mutating func requireFlags(for condition: UInt8) {
    // O, S, P, L, LE and their opposites do without CF; Z does.
    let readsCarry = condition >> 1 == 1 || condition >> 1 == 3
    if readsCarry || !flags.contains(.hostButCarry) { requireFlags() }
  }

  /// The flags in RAX, where the ends of blocks and the interpreter's thunk want them; those of the host stay.
  mutating func flagsToAccumulator() {
    if flags.isEmpty || flags.contains(.rax) { return }
    if flags.isDisjoint(with: [.host, .memory]) { requireFlags() }
    if flags.contains(.host) {
      a.lahf()
      a.setOverflowAL()
    } else {
      a.load(Host.rax, StateField.rawFlags, size: 4)
    }
    flags.insert(.rax)
  }

  /// The flags in `raw_flags` alone.
  mutating func flagsToMemory() {
    if !flags.isEmpty && !flags.contains(.memory) {
      flagsToAccumulator()
      a.store(StateField.rawFlags, Host.rax, size: 4)
    }
    flags = .memory
  }

  /// The flags both in RAX and in the host's. R14 is used.
  mutating func requireFlagsAndAccumulator() {
    flagsToAccumulator()
    if flags.contains(.host) || flags.isEmpty { return }
    a.move(GuestRegisters.first, Host.rax, size: 4)
    a.restoreOverflow()
    a.sahf()
    a.move(Host.rax, GuestRegisters.first, size: 4)
    flags.insert(.host)
  }

  /// Out of line: the flags from where they were at a check to RAX.
  mutating func emitFlags(from places: FlagPlaces, _ recipe: FlagRecipe) {
    if places.isEmpty || places.contains(.rax) { return }
    if places.contains(.memory) {
      a.load(Host.rax, StateField.rawFlags, size: 4)
    } else {
      emit(recipe)
      a.lahf()
      a.setOverflowAL()
    }
  }

  /// Out of line: the flags from where they were at a branch to RAX.
  mutating func emitFlags(atBranch places: FlagPlaces, _ recipe: FlagRecipe) {
    if places.contains(.host) && !places.contains(.rax) {
      a.lahf()
      a.setOverflowAL()
    } else {
      emitFlags(from: places, recipe)
    }
  }

  // MARK: Recipes

  private mutating func emit(_ recipe: FlagRecipe) {
    if let carry = recipe.carry { emit(carry) }
    emit(recipe.main)
  }

  /// Makes the flags of one instruction again. Uses RAX.
  private mutating func emit(_ part: FlagRecipe.Part) {
    let rax = Host.rax
    let size = part.size
    let narrow: UInt32 = size == 1 ? 0 : 1
    let register = place(part.register)
    switch part.kind {
    case .compare:
      a.emit(0x3a | narrow, inHost(part.register), place(part.other), size: size)
    case .test:
      a.emit(0x84 | narrow, inHost(part.register), place(part.other), size: size)
    case .compareConstant: a.arithmetic(7, register, part.constant, size: size)
    case .testConstant:
      a.emit(0xf6 | narrow, 0, register, size: size)
      a.immediate(part.constant, size)
    case .add, .subtract:
      let isAdd = part.kind == .add
      a.load(rax, register, size: size)
      a.emit(isAdd ? 0x2b : 0x03, rax, place(part.other), size: size)
      a.emit(isAdd ? 0x03 : 0x2b, rax, place(part.other), size: size)
    case .addConstant, .subtractConstant:
      let isAdd = part.kind == .addConstant
      a.load(rax, register, size: size)
      a.arithmetic(isAdd ? 5 : 0, .register(rax), part.constant, size: size)
      a.arithmetic(isAdd ? 0 : 5, .register(rax), part.constant, size: size)
    case .result: a.emit(0x85, inHost(part.register), .register(inHost(part.register, load: false)), size: size)
    case .zero: a.emit(0x31, rax, .register(rax), size: 4)
    case .increment, .decrement:
      // CF is kept: MOV and LEA do not touch it.
      let isIncrement = part.kind == .increment
      a.load(rax, register, size: size)
      a.emit(0x8d, rax, .at(rax, isIncrement ? -1 : 1), size: size)
      a.emit(0xff, isIncrement ? 0 : 1, .register(rax), size: size)
    }
  }

  /// The guest register in its host register, or in RAX.
  private mutating func inHost(_ guest: UInt8, load: Bool = true) -> UInt8 {
    if let host = homes.host(guest) { return host }
    if load { a.load(Host.rax, GuestRegisters.slot(guest)) }
    return Host.rax
  }
}
