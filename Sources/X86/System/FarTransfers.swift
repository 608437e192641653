import CHost

/// Far JMP, CALL and RET (Intel SDM vol. 2A and vol. 3A, 5.8).
extension CPU {
  /// A far pointer in memory: offset of `operand_size` bytes, then the selector.
  func loadFarPointer(_ op: UnsafePointer<vm_op>) throws(GuestFault) -> (selector: UInt16, offset: UInt64) {
    let size = Int(op.pointee.operand_size)
    let start = operandOffset(op)
    let segment = Int(op.pointee.segment)
    let linear = try segmentLinear(segment, start, size: size &+ 2, write: false)
    let offset: UInt64
    switch size {
    case 2: offset = UInt64(try load(linear, as: UInt16.self))
    case 4: offset = UInt64(try load(linear, as: UInt32.self))
    default: offset = try load(linear, as: UInt64.self)
    }
    return (try load(linear &+ UInt64(size), as: UInt16.self), offset)
  }

  func directPointer(_ op: UnsafePointer<vm_op>) -> (selector: UInt16, offset: UInt64) {
    let mask: UInt64 = op.pointee.operand_size == 2 ? 0xffff : 0xffff_ffff
    return (UInt16(truncatingIfNeeded: op.pointee.disp), UInt64(bitPattern: op.pointee.imm) & mask)
  }

  // MARK: Code segments

  /// Checks that `offset` may be the next RIP in `descriptor`: the limit, or a canonical address.
  func checkTarget(_ descriptor: Descriptor, _ offset: UInt64) throws(GuestFault) {
    if isLongMode && descriptor.isLong {
      guard CPU.isCanonical(offset) else { throw .protection(0) }
    } else if offset > UInt64(descriptor.limit) {
      throw .protection(0)
    }
  }

  /// The checks of a code segment that a jump or call names directly.
  private func checkDirectCode(_ descriptor: Descriptor, _ selector: UInt16) throws(GuestFault) {
    let code = selector.errorCode
    let cpl = s.pointee.cpl
    if descriptor.isConforming {
      guard descriptor.dpl <= cpl else { throw .protection(code) }
    } else {
      guard selector.rpl <= cpl, descriptor.dpl == cpl else { throw .protection(code) }
    }
    if isLongMode && descriptor.isLong && descriptor.isBig { throw .protection(code) }
    guard descriptor.isPresent else { throw .notPresent(code) }
  }

  /// Loads CS with RPL `cpl` and goes on at `offset`. The mode is the caller's to update.
  func enterCode(_ descriptor: Descriptor, _ selector: UInt16, cpl: UInt32, _ offset: UInt64) {
    var register = descriptor.register(selector & ~3 | UInt16(cpl))
    register.attributes |= SegmentAttributes.accessed
    segmentRegister(Seg.cs).pointee = register
    s.pointee.rip = isLongMode && descriptor.isLong ? offset : offset & 0xffff_ffff
  }

  private func farReal(_ selector: UInt16, _ offset: UInt64) throws(GuestFault) {
    guard offset <= UInt64(segmentRegister(Seg.cs).pointee.limit) else { throw .protection(0) }
    loadRealSegment(Seg.cs, selector)
    s.pointee.rip = offset
    updateMode()
  }

  // MARK: JMP

  func farJump(_ selector: UInt16, _ offset: UInt64, next: UInt64) throws(GuestFault) {
    guard isProtected else { return try farReal(selector, offset) }
    guard !selector.isNullSelector else { throw .protection(0) }
    var descriptor = try requireDescriptor(selector)
    if descriptor.isCode {
      try checkDirectCode(descriptor, selector)
      try checkTarget(descriptor, offset)
      try markAccessed(&descriptor)
      enterCode(descriptor, selector, cpl: s.pointee.cpl, offset)
      updateMode()
      return
    }
    guard !descriptor.isSegment else { throw .protection(selector.errorCode) }
    switch descriptor.systemType {
    case SystemType.callGate16 where !isLongMode, SystemType.callGate32:
      let gate = try checkGate(descriptor, selector)
      var target = try gateTarget(gate)
      let cpl = s.pointee.cpl
      let code = gate.gateSelector.errorCode
      let reachable = target.isConforming ? target.dpl <= cpl : target.dpl == cpl
      guard reachable else { throw .protection(code) }
      guard target.isPresent else { throw .notPresent(code) }
      let entry = gateEntry(gate)
      try checkTarget(target, entry)
      try markAccessed(&target)
      enterCode(target, gate.gateSelector, cpl: cpl, entry)
      updateMode()
    default: try taskTransfer(descriptor, selector, .jump, next: next)
    }
  }

  /// A TSS or a task gate as the target of a jump or call.
  private func taskTransfer(
    _ descriptor: Descriptor, _ selector: UInt16, _ kind: TaskSwitchKind, next: UInt64
  ) throws(GuestFault) {
    let code = selector.errorCode
    guard !isLongMode else { throw .protection(code) }
    let cpl = s.pointee.cpl
    switch descriptor.systemType {
    case SystemType.tss16, SystemType.tss32:
      guard descriptor.dpl >= cpl, descriptor.dpl >= selector.rpl, selector & 4 == 0 else { throw .protection(code) }
      guard descriptor.isPresent else { throw .notPresent(code) }
      try switchTask(descriptor, selector, kind, next: next)
    case SystemType.taskGate:
      guard descriptor.dpl >= cpl, descriptor.dpl >= selector.rpl else { throw .protection(code) }
      guard descriptor.isPresent else { throw .notPresent(code) }
      let (task, name) = try taskOfGate(descriptor, ext: 0)
      try switchTask(task, name, kind, next: next)
    default: throw .protection(code)
    }
    try checkTaskEntry()
  }

  // MARK: Call gates

  /// Checks the gate itself and completes a 16-byte one.
  private func checkGate(_ descriptor: Descriptor, _ selector: UInt16) throws(GuestFault) -> Descriptor {
    let code = selector.errorCode
    guard descriptor.dpl >= s.pointee.cpl, descriptor.dpl >= selector.rpl else { throw .protection(code) }
    guard descriptor.isPresent else { throw .notPresent(code) }
    guard isLongMode else { return descriptor }
    guard let wide = try extend(descriptor, selector), wide.high &>> 40 & 0x1f == 0 else { throw .protection(code) }
    return wide
  }

  private func gateEntry(_ gate: Descriptor) -> UInt64 {
    gate.systemType == SystemType.callGate16 ? gate.gateOffset & 0xffff : gate.gateOffset
  }

  /// The code segment a call gate names.
  private func gateTarget(_ gate: Descriptor) throws(GuestFault) -> Descriptor {
    let selector = gate.gateSelector
    guard !selector.isNullSelector else { throw .protection(0) }
    let target = try requireDescriptor(selector)
    let code = selector.errorCode
    guard target.isCode, target.dpl <= s.pointee.cpl else { throw .protection(code) }
    if isLongMode { guard target.isLong, !target.isBig else { throw .protection(code) } }
    return target
  }

  // MARK: CALL

  func farCall(_ selector: UInt16, _ offset: UInt64, size: Int, next: UInt64) throws(GuestFault) {
    var stack = currentStack()
    let oldCS = UInt64(segmentRegister(Seg.cs).pointee.selector)
    guard isProtected else {
      guard offset <= UInt64(segmentRegister(Seg.cs).pointee.limit) else { throw .protection(0) }
      try push(&stack, oldCS, size)
      try push(&stack, next, size)
      commit(stack)
      return try farReal(selector, offset)
    }
    guard !selector.isNullSelector else { throw .protection(0) }
    var descriptor = try requireDescriptor(selector)
    if descriptor.isCode {
      try checkDirectCode(descriptor, selector)
      try checkTarget(descriptor, offset)
      try push(&stack, oldCS, size)
      try push(&stack, next, size)
      try markAccessed(&descriptor)
      commit(stack)
      enterCode(descriptor, selector, cpl: s.pointee.cpl, offset)
      updateMode()
      return
    }
    guard !descriptor.isSegment else { throw .protection(selector.errorCode) }
    switch descriptor.systemType {
    case SystemType.callGate16 where !isLongMode, SystemType.callGate32:
      try callThroughGate(descriptor, selector, next: next)
    default: try taskTransfer(descriptor, selector, .call, next: next)
    }
  }

  private func callThroughGate(_ found: Descriptor, _ selector: UInt16, next: UInt64) throws(GuestFault) {
    let gate = try checkGate(found, selector)
    var target = try gateTarget(gate)
    let name = gate.gateSelector
    guard target.isPresent else { throw .notPresent(name.errorCode) }
    let size = isLongMode ? 8 : gate.systemType == SystemType.callGate16 ? 2 : 4
    let entry = gateEntry(gate)
    let oldCS = UInt64(segmentRegister(Seg.cs).pointee.selector)
    let cpl = s.pointee.cpl
    if target.isConforming || target.dpl == cpl {
      var stack = currentStack()
      // A call from compatibility mode through a 64-bit gate pushes 8-byte words on the same stack.
      try checkTarget(target, entry)
      try push(&stack, oldCS, size)
      try push(&stack, next, size)
      try markAccessed(&target)
      commit(stack)
      enterCode(target, name, cpl: cpl, entry)
      updateMode()
      return
    }
    let newCPL = target.dpl
    let oldSS = UInt64(segmentRegister(Seg.ss).pointee.selector)
    let old = currentStack()
    let (segment, pointer) = try innerStack(cpl: newCPL, ext: 0)
    var stack = newStack(segment, pointer: pointer, cpl: newCPL, ext: 0)
    if isLongMode {
      stack.long = true
      stack.mask = .max
    }
    try checkTarget(target, entry)
    try push(&stack, oldSS, size)
    try push(&stack, old.pointer & (size == 2 ? 0xffff : .max), size)
    if !isLongMode {
      // Parameters, the last pushed one last again.
      var index = gate.gateParameters
      while index > 0 {
        index &-= 1
        try push(&stack, try peek(old, UInt64(index &* size), size), size)
      }
    }
    try push(&stack, oldCS, size)
    try push(&stack, next, size)
    try markAccessed(&target)
    segmentRegister(Seg.ss).pointee = segment
    commit(stack)
    enterCode(target, name, cpl: newCPL, entry)
    updateMode()
  }

  /// SS and stack pointer of an inner level from the TSS, checked; in long mode SS is null.
  func innerStack(cpl: UInt32, ext: UInt32) throws(GuestFault) -> (vm_segment, UInt64) {
    let task = segmentRegister(Seg.tr).pointee
    let code = task.selector.errorCode | ext
    let level = UInt64(cpl)
    if isLongMode {
      let at = 4 &+ level &* 8
      guard at &+ 7 <= UInt64(task.limit) else { throw .invalidTSS(code) }
      let pointer = try loadSupervisor(task.base &+ at, as: UInt64.self)
      return (nullStack(UInt16(cpl), cpl: cpl), pointer)
    }
    let selector: UInt16
    let pointer: UInt64
    if task.attributes & 8 != 0 {
      let at = 4 &+ level &* 8
      guard at &+ 5 <= UInt64(task.limit) else { throw .invalidTSS(code) }
      pointer = UInt64(try loadSupervisor(task.base &+ at, as: UInt32.self))
      selector = try loadSupervisor(task.base &+ at &+ 4, as: UInt16.self)
    } else {
      let at = 2 &+ level &* 4
      guard at &+ 3 <= UInt64(task.limit) else { throw .invalidTSS(code) }
      pointer = UInt64(try loadSupervisor(task.base &+ at, as: UInt16.self))
      selector = try loadSupervisor(task.base &+ at &+ 2, as: UInt16.self)
    }
    guard !selector.isNullSelector else { throw .invalidTSS(ext) }
    guard var descriptor = try readDescriptor(selector) else { throw .invalidTSS(selector.errorCode | ext) }
    try checkStack(descriptor, selector, cpl: cpl, ext: ext) { code in .invalidTSS(code) }
    try markAccessed(&descriptor)
    return (descriptor.register(selector), pointer)
  }

  // MARK: RET

  /// RETF: pops CS:RIP, and SS:RSP when it leads to an outer level; `release` bytes of parameters go from both stacks.
  func farReturn(size: Int, release bytes: UInt64) throws(GuestFault) {
    var stack = currentStack()
    let offset = try pop(&stack, size)
    let selector = UInt16(truncatingIfNeeded: try pop(&stack, size))
    guard isProtected else {
      guard offset <= UInt64(segmentRegister(Seg.cs).pointee.limit) else { throw .protection(0) }
      release(&stack, bytes)
      commit(stack)
      return try farReal(selector, offset)
    }
    var descriptor = try returnCode(selector)
    let outer = selector.rpl
    if outer == s.pointee.cpl {
      try checkTarget(descriptor, offset)
      try markAccessed(&descriptor)
      release(&stack, bytes)
      commit(stack)
      enterCode(descriptor, selector, cpl: outer, offset)
      updateMode()
      return
    }
    release(&stack, bytes)
    let pointer = try pop(&stack, size)
    let stackSelector = UInt16(truncatingIfNeeded: try pop(&stack, size))
    let segment = try returnStack(stackSelector, cpl: outer, toLong: isLongMode && descriptor.isLong)
    try checkTarget(descriptor, offset)
    try markAccessed(&descriptor)
    enterCode(descriptor, selector, cpl: outer, offset)
    enterOuter(segment, pointer: pointer, size: size, cpl: outer)
    var released = currentStack()
    release(&released, bytes)
    commit(released)
  }

  /// The checks of a code segment that RETF or IRET returns to.
  func returnCode(_ selector: UInt16) throws(GuestFault) -> Descriptor {
    guard !selector.isNullSelector else { throw .protection(0) }
    let code = selector.errorCode
    guard selector.rpl >= s.pointee.cpl else { throw .protection(code) }
    let descriptor = try requireDescriptor(selector)
    guard descriptor.isCode else { throw .protection(code) }
    if descriptor.isConforming {
      guard descriptor.dpl <= selector.rpl else { throw .protection(code) }
    } else {
      guard descriptor.dpl == selector.rpl else { throw .protection(code) }
    }
    if isLongMode && descriptor.isLong && descriptor.isBig { throw .protection(code) }
    guard descriptor.isPresent else { throw .notPresent(code) }
    return descriptor
  }

  /// SS of the outer level that a return names.
  func returnStack(_ selector: UInt16, cpl: UInt32, toLong: Bool) throws(GuestFault) -> vm_segment {
    if selector.isNullSelector {
      guard toLong, cpl != 3, selector.rpl == cpl else { throw .protection(0) }
      return nullStack(selector, cpl: cpl)
    }
    var descriptor = try requireDescriptor(selector)
    try checkStack(descriptor, selector, cpl: cpl) { code in .protection(code) }
    try markAccessed(&descriptor)
    return descriptor.register(selector)
  }

  /// Takes SS:RSP of the outer level; CS has been loaded.
  func enterOuter(_ segment: vm_segment, pointer: UInt64, size: Int, cpl: UInt32) {
    segmentRegister(Seg.ss).pointee = segment
    if size == 8 {
      slots[Reg.rsp] = pointer
    } else if segment.attributes & SegmentAttributes.big != 0 {
      slots[Reg.rsp] = pointer & 0xffff_ffff
    } else {
      slots[Reg.rsp] = slots[Reg.rsp] & ~0xffff | pointer & 0xffff
    }
    updateMode()
    dropInnerDataSegments(cpl: cpl)
    updateMode()
  }
}
