import CHost

/// The system instructions that a kernel's entry and exit are full of. What is rare of them goes to the interpreter: other
/// privilege levels than 0, flags that change how instructions run, an interrupt that waits.
extension BlockTranslator {
  /// Returns false when the instruction is left to the interpreter.
  mutating func system(_ op: Op) -> Bool {
    if op.pointee.sub == SystemOp.movFromSegment.rawValue { return moveFromSegment(op) }
    guard Int(block.pointee.mode >> UInt32(VM_MODE_MMU_SHIFT)) & 3 != VM_MMU_USER else { return false }
    let size = Int(op.pointee.operand_size)
    switch SystemOp(rawValue: op.pointee.sub) {
    case .cli:
      requireSupervisor()
      a.arithmetic(4, StateField.eflags, ~Int64(EFLAGS.if), size: 4)
    case .sti: return setInterruptFlag()
    case .swapgs:
      guard is64 else { return false }
      requireSupervisor()
      let base = StateField.segments + VM_GS * MemoryLayout<vm_segment>.stride
      let current = HostOperand.at(GuestRegisters.state, base - GuestRegisters.bias)
      a.load(GuestRegisters.first, current)
      a.load(GuestRegisters.second, StateField.kernelGSBase)
      a.store(current, GuestRegisters.second)
      a.store(StateField.kernelGSBase, GuestRegisters.first)
    case .pushFlags:
      guard isNativeWidth(size) else { return false }
      pushFlags(size)
    case .popFlags:
      guard isNativeWidth(size) else { return false }
      popFlags(size)
    default: return false
    }
    return true
  }

  private mutating func moveFromSegment(_ op: Op) -> Bool {
    let segment = Int(op.pointee.reg)
    guard segment < 6 else { return false }
    let selector = StateField.selector(segment)
    if isMemory(op) {
      guard canReach(op) else { return false }
      var access = memory(op, size: 2, write: true, accumulator: false)
      let temporary = freeTemporary(&access)
      a.emit(0x0fb7, temporary, selector, size: 4)
      a.store(access.operand, temporary, size: 2)
    } else {
      guard op.pointee.operand_size >= 4 else { return false }
      let register = target(op.pointee.rm, GuestRegisters.second)
      a.emit(0x0fb7, register, selector, size: 4)
      commit(op.pointee.rm, register)
    }
    return true
  }

  /// The guest's flags are kept, the host's are free.
  private mutating func requireSupervisor() {
    keepFlags(accumulator: false)
    a.arithmetic(7, StateField.cpl, 0, size: 4)
    missIf(Condition.notEqual)
  }

  /// Interrupts are held off until after the next instruction: it follows in this block, and only a block's entry looks for
  /// interrupts.
  private mutating func setInterruptFlag() -> Bool {
    guard index + 1 < Int(block.pointee.count) else { return false }
    requireSupervisor()
    // One that waited is the interpreter's.
    a.arithmetic(7, StateField.interruptWaiting, 0, size: 4)
    missIf(Condition.notEqual)
    a.arithmetic(1, StateField.eflags, Int64(EFLAGS.if), size: 4)
    return true
  }

  private mutating func pushFlags(_ size: Int) {
    flagsToMemory()
    var top = stack(GuestRegisters.rsp, -size, size: size, write: true, accumulator: true)
    let image = freeTemporary(&top)
    a.load(image, StateField.rawFlags, size: 4)
    a.move(Host.rax, image, size: 4)
    a.arithmetic(4, .register(Host.rax), 1, size: 4)
    a.shiftLeft(Host.rax, 11, size: 4)
    a.shiftRight(image, 8, size: 4)
    a.arithmetic(4, .register(image), 0xd5, size: 4)
    a.emit(0x0b, image, .register(Host.rax), size: 4)
    a.load(Host.rax, StateField.eflags, size: 4)
    a.arithmetic(4, .register(Host.rax), ~Int64(EFLAGS.vm | EFLAGS.rf), size: 4)
    a.emit(0x0b, image, .register(Host.rax), size: 4)
    a.store(top.operand, image, size: size)
    moveStackPointer(-size)
  }

  private mutating func popFlags(_ size: Int) {
    let image = GuestRegisters.second
    let changed = GuestRegisters.first
    requireSupervisor()
    a.arithmetic(7, StateField.interruptWaiting, 0, size: 4)
    missIf(Condition.notEqual)
    let top = stack(GuestRegisters.rsp, 0, size: size, write: false, accumulator: false)
    a.load(image, top.operand, size: 4)
    a.load(changed, StateField.eflags, size: 4)
    a.emit(0x33, changed, .register(image), size: 4)
    let rare = EFLAGS.tf | EFLAGS.nt | EFLAGS.rf | EFLAGS.ac | EFLAGS.id | EFLAGS.iopl
    a.emit(0xf7, 0, .register(changed), size: 4)
    a.immediate(Int64(rare), 4)
    missIf(Condition.notEqual)
    a.arithmetic(4, .register(changed), Int64(EFLAGS.if | EFLAGS.df), size: 4)
    a.emit(0x31, changed, StateField.eflags, size: 4)
    // As LAHF and SETO AL leave them.
    a.move(Host.rax, image, size: 4)
    a.shiftLeft(Host.rax, 8, size: 4)
    a.emit(0x0fba, 4, .register(image), size: 4)
    a.byte(11)
    a.emit(0x0f92, 0, .register(Host.rax), size: 1)  // setc al
    moveStackPointer(size)
    flags = .rax
  }
}

extension StateField {
  static let eflags = GuestRegisters.field(\.eflags)
  static let cpl = GuestRegisters.field(\.cpl)
  static let interruptWaiting = GuestRegisters.field(\.interrupt_waiting)
  static let kernelGSBase = GuestRegisters.field(\.kernel_gs_base)
}
