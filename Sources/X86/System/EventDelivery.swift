import CHost

/// Where an event comes from: it decides the gate's DPL check, the pushed RIP and flags, and the EXT bit.
enum EventSource {
  /// A fault or trap of the processor.
  case exception
  /// NMI or an external interrupt.
  case external
  /// INT n; `next` is pushed.
  case software
  /// INT3, INTO, INT1: software, but not subject to IOPL in virtual-8086 mode.
  case trapInstruction
}

/// Exceptions and interrupts through IVT and IDT (Intel SDM vol. 3A, chapter 6).
extension CPU {
  // MARK: Entry points

  /// Delivers an exception of the instruction at RIP (for a trap: RIP is the next instruction). A fault on the way becomes
  /// a double fault as table 6-5 says, and a fault of that one shuts the processor down.
  func deliver(_ fault: GuestFault) {
    latches.traceArmed = false
    latches.stackShadow = false
    if s.pointee.shadow != 0 {
      s.pointee.shadow = 0
      withdraw(UInt32(VM_PENDING_SHADOW))
    }
    var current = fault
    while true {
      do throws(GuestFault) {
        try raise(current)
        latches.taskSwitched = false
        return
      } catch {
        latches.taskSwitched = false
        if current.vector == 8 { return shutDown() }
        if CPU.makesDoubleFault(current.vector, error.vector) {
          current = .doubleFault
        } else {
          current = error
        }
      }
    }
  }

  /// Delivers an external interrupt (or the NMI, vector 2).
  func deliverInterrupt(vector: UInt8) {
    s.pointee.activity = UInt32(VM_ACTIVE)
    latches.traceArmed = false
    do throws(GuestFault) {
      try interrupt(vector, errorCode: nil, source: .external, next: s.pointee.rip)
      latches.taskSwitched = false
    } catch {
      deliver(error)
    }
  }

  private func shutDown() {
    s.pointee.activity = UInt32(VM_SHUTDOWN)
    // The run loop is to come by `servicePending`.
    post(UInt32(VM_PENDING_SHADOW))
    environment.log(
      "cpu\(index): triple fault at \(String(segmentRegister(Seg.cs).pointee.selector, radix: 16)):"
        + "\(String(s.pointee.rip, radix: 16))")
    environment.tripleFault()
  }

  private static func isContributory(_ vector: UInt8) -> Bool { vector == 0 || (vector >= 10 && vector <= 13) }

  private static func makesDoubleFault(_ first: UInt8, _ second: UInt8) -> Bool {
    if first == 14 { return second == 14 || isContributory(second) }
    return isContributory(first) && isContributory(second)
  }

  private func raise(_ fault: GuestFault) throws(GuestFault) {
    if fault.vector == 1 {
      debugRegisters[7] &= ~(1 << 13)
      s.pointee.debugctl &= ~DebugControl.branchTrapFlag
    }
    let code: UInt32? = fault.hasErrorCode ? fault.errorCode : nil
    try interrupt(fault.vector, errorCode: code, source: .exception, next: s.pointee.rip)
  }

  // MARK: Delivery

  /// Saves the interrupted state and enters the handler; `next` is the pushed RIP.
  func interrupt(
    _ vector: UInt8, errorCode: UInt32?, source: EventSource, next: UInt64
  ) throws(GuestFault) {
    environment.willDeliver(vector, errorCode: errorCode, isExternal: source == .external)
    let isSoftware = source == .software || source == .trapInstruction
    let ext: UInt32 = isSoftware ? 0 : 1
    var image = flagsImage()
    // Faults set RF in the pushed image so that an instruction breakpoint does not hit twice, and so does what comes between
    // two turns of a repeated instruction; #DB for an instruction breakpoint leaves it (Intel SDM vol. 3B, 18.3.1.1).
    let isFault = source == .exception && vector != 1 && vector != 3 && vector != 4
    let isBetweenTurns = latches.isWithinRepeat && (source == .external || vector == 1)
    if isFault || isBetweenTurns || latches.generalDetect { image |= EFLAGS.rf }
    latches.isWithinRepeat = false
    latches.generalDetect = false
    if isSoftware { image &= ~EFLAGS.rf }
    if s.pointee.cr0 & CR0.pe == 0 {
      try interruptReal(vector, image, next: next)
    } else if isLongMode {
      try interruptLong(vector, errorCode, image, next: next, software: isSoftware, ext: ext)
    } else {
      try interruptProtected(vector, errorCode, image, next: next, software: isSoftware, ext: ext)
    }
    latches.traceArmed = false
    updateDebugPending()
  }

  private func interruptReal(_ vector: UInt8, _ image: UInt64, next: UInt64) throws(GuestFault) {
    let offset = UInt64(vector) &* 4
    guard offset &+ 3 <= UInt64(s.pointee.idtr.limit) else { throw .protection(UInt32(vector) &* 8 &+ 2) }
    let entry = try loadSupervisor(s.pointee.idtr.base &+ offset, as: UInt32.self)
    var stack = currentStack()
    try push(&stack, image, 2)
    try push(&stack, UInt64(segmentRegister(Seg.cs).pointee.selector), 2)
    try push(&stack, next, 2)
    commit(stack)
    loadRealSegment(Seg.cs, UInt16(truncatingIfNeeded: entry &>> 16))
    s.pointee.rip = UInt64(entry & 0xffff)
    setFlags(0, mask: EFLAGS.if | EFLAGS.tf | EFLAGS.ac | EFLAGS.rf)
    updateMode()
  }

  /// The gate's own checks, common to all modes.
  private func checkEventGate(_ gate: Descriptor, _ name: UInt32, software: Bool, ext: UInt32) throws(GuestFault) {
    if software && gate.dpl < s.pointee.cpl { throw .protection(name) }
    guard gate.isPresent else { throw .notPresent(name | ext) }
  }

  private func interruptLong(
    _ vector: UInt8, _ errorCode: UInt32?, _ image: UInt64, next: UInt64, software: Bool, ext: UInt32
  ) throws(GuestFault) {
    let name = UInt32(vector) &* 8 | 2
    let offset = UInt64(vector) &* 16
    guard offset &+ 15 <= UInt64(s.pointee.idtr.limit) else { throw .protection(name | ext) }
    let address = s.pointee.idtr.base &+ offset
    let gate = Descriptor(
      low: try loadSupervisor(address, as: UInt64.self), high: try loadSupervisor(address &+ 8, as: UInt64.self),
      address: address)
    let type = gate.systemType
    let isGate = type == SystemType.interruptGate32 || type == SystemType.trapGate32
    guard !gate.isSegment, isGate else { throw .protection(name | ext) }
    try checkEventGate(gate, name, software: software, ext: ext)

    let selector = gate.gateSelector
    guard !selector.isNullSelector else { throw .protection(ext) }
    var target = try requireDescriptor(selector, ext: ext)
    let code = selector.errorCode | ext
    let cpl = s.pointee.cpl
    guard target.isCode, target.dpl <= cpl, target.isLong, !target.isBig else { throw .protection(code) }
    guard target.isPresent else { throw .notPresent(code) }
    let newCPL = target.isConforming ? cpl : target.dpl
    guard CPU.isCanonical(gate.gateOffset) else { throw .protection(ext) }

    var pointer = slots[Reg.rsp]
    let ist = gate.gateStackTable
    if ist != 0 {
      let task = segmentRegister(Seg.tr).pointee
      let at = UInt64(28 &+ ist &* 8)
      guard at &+ 7 <= UInt64(task.limit) else { throw .invalidTSS(task.selector.errorCode | ext) }
      pointer = try loadSupervisor(task.base &+ at, as: UInt64.self)
    } else if newCPL < cpl {
      pointer = try innerStack(cpl: newCPL, ext: ext).1
    }
    let oldStack = segmentRegister(Seg.ss).pointee
    var stack = StackCursor(
      segment: oldStack, pointer: pointer & ~15, mask: .max, set: tlbSet(cpl: newCPL), long: true, errorCode: ext)
    try push(&stack, UInt64(oldStack.selector), 8)
    try push(&stack, slots[Reg.rsp], 8)
    try push(&stack, image, 8)
    try push(&stack, UInt64(segmentRegister(Seg.cs).pointee.selector), 8)
    try push(&stack, next, 8)
    if let errorCode { try push(&stack, UInt64(errorCode), 8) }
    try markAccessed(&target)
    if newCPL < cpl { segmentRegister(Seg.ss).pointee = nullStack(UInt16(newCPL), cpl: newCPL) }
    commit(stack)
    enterCode(target, selector, cpl: newCPL, gate.gateOffset)
    var cleared = EFLAGS.tf | EFLAGS.nt | EFLAGS.rf | EFLAGS.vm
    if type == SystemType.interruptGate32 { cleared |= EFLAGS.if }
    setFlags(0, mask: cleared)
    updateMode()
  }

  private func interruptProtected(
    _ vector: UInt8, _ errorCode: UInt32?, _ image: UInt64, next: UInt64, software: Bool, ext: UInt32
  ) throws(GuestFault) {
    let name = UInt32(vector) &* 8 | 2
    let offset = UInt64(vector) &* 8
    guard offset &+ 7 <= UInt64(s.pointee.idtr.limit) else { throw .protection(name | ext) }
    let address = s.pointee.idtr.base &+ offset
    let gate = Descriptor(low: try loadSupervisor(address, as: UInt64.self), address: address)
    guard !gate.isSegment else { throw .protection(name | ext) }
    switch gate.systemType {
    case SystemType.taskGate:
      try checkEventGate(gate, name, software: software, ext: ext)
      try interruptTask(gate, errorCode, image, next: next, ext: ext)
      return
    case SystemType.interruptGate16, SystemType.trapGate16, SystemType.interruptGate32, SystemType.trapGate32: break
    default: throw .protection(name | ext)
    }
    try checkEventGate(gate, name, software: software, ext: ext)
    let wide = gate.systemType & 8 != 0
    let size = wide ? 4 : 2
    let entry = wide ? gate.gateOffset : gate.gateOffset & 0xffff

    let selector = gate.gateSelector
    guard !selector.isNullSelector else { throw .protection(ext) }
    var target = try requireDescriptor(selector, ext: ext)
    let code = selector.errorCode | ext
    let cpl = s.pointee.cpl
    let v86 = isV86
    guard target.isCode, target.dpl <= cpl else { throw .protection(code) }
    guard target.isPresent else { throw .notPresent(code) }
    let newCPL = target.isConforming ? cpl : target.dpl
    if v86 && newCPL != 0 { throw .protection(code) }
    guard entry <= UInt64(target.limit) else { throw .protection(ext) }

    let oldStack = segmentRegister(Seg.ss).pointee
    let oldPointer = slots[Reg.rsp]
    var stack = currentStack()
    stack.errorCode = ext
    if newCPL < cpl {
      let (segment, pointer) = try innerStack(cpl: newCPL, ext: ext)
      stack = newStack(segment, pointer: pointer, cpl: newCPL, ext: ext)
      if v86 {
        for segment in [Seg.gs, Seg.fs, Seg.ds, Seg.es] {
          try push(&stack, UInt64(segmentRegister(segment).pointee.selector), size)
        }
      }
      try push(&stack, UInt64(oldStack.selector), size)
      try push(&stack, oldPointer, size)
    }
    try push(&stack, image, size)
    try push(&stack, UInt64(segmentRegister(Seg.cs).pointee.selector), size)
    try push(&stack, next, size)
    if let errorCode { try push(&stack, UInt64(errorCode), size) }
    try markAccessed(&target)
    if v86 {
      for segment in [Seg.gs, Seg.fs, Seg.ds, Seg.es] {
        segmentRegister(segment).pointee = vm_segment(base: 0, limit: 0, selector: 0, attributes: 0)
      }
    }
    if newCPL < cpl { segmentRegister(Seg.ss).pointee = stack.segment }
    commit(stack)
    var cleared = EFLAGS.tf | EFLAGS.nt | EFLAGS.rf | EFLAGS.vm
    if gate.systemType & 1 == 0 { cleared |= EFLAGS.if }
    setFlags(0, mask: cleared)
    enterCode(target, selector, cpl: newCPL, entry)
    updateMode()
  }

  private func interruptTask(
    _ gate: Descriptor, _ errorCode: UInt32?, _ image: UInt64, next: UInt64, ext: UInt32
  ) throws(GuestFault) {
    let (task, selector) = try taskOfGate(gate, ext: ext)
    try switchTask(task, selector, .event, next: next, ext: ext, image: image)
    if let errorCode {
      var stack = currentStack()
      try push(&stack, UInt64(errorCode), segmentRegister(Seg.tr).pointee.attributes & 8 != 0 ? 4 : 2)
      commit(stack)
    }
    try checkTaskEntry()
  }

  // MARK: INT n

  func softwareInterrupt(_ vector: UInt8, next: UInt64) throws(GuestFault) {
    if isV86 {
      if s.pointee.cr4 & CR4.vme != 0, try !isRedirected(vector) {
        return try interruptVirtual(vector, next: next)
      }
      guard ioPrivilege == 3 else { throw .protection(0) }
    }
    try interrupt(vector, errorCode: nil, source: .software, next: next)
  }

  /// Whether the TSS's interrupt redirection bitmap sends INT n to the protected-mode handler (vol. 3B, 21.3).
  private func isRedirected(_ vector: UInt8) throws(GuestFault) -> Bool {
    let task = segmentRegister(Seg.tr).pointee
    guard task.attributes & 8 != 0, task.limit >= 0x67 else { throw .protection(0) }
    let map = try loadSupervisor(task.base &+ 102, as: UInt16.self)
    let at = UInt64(map) &- 32 &+ UInt64(vector &>> 3)
    guard map >= 32, at <= UInt64(task.limit) else { throw .protection(0) }
    return try loadSupervisor(task.base &+ at, as: UInt8.self) &>> (vector & 7) & 1 != 0
  }

  /// INT n through the 8086 program's own interrupt table.
  private func interruptVirtual(_ vector: UInt8, next: UInt64) throws(GuestFault) {
    let entry = try load(UInt64(vector) &* 4, as: UInt32.self)
    var image = flagsImage() & ~EFLAGS.rf
    let virtual = ioPrivilege < 3
    if virtual {
      image |= EFLAGS.iopl
      image = s.pointee.eflags & EFLAGS.vif != 0 ? image | EFLAGS.if : image & ~EFLAGS.if
    }
    var stack = currentStack()
    try push(&stack, image, 2)
    try push(&stack, UInt64(segmentRegister(Seg.cs).pointee.selector), 2)
    try push(&stack, next, 2)
    commit(stack)
    loadRealSegment(Seg.cs, UInt16(truncatingIfNeeded: entry &>> 16))
    s.pointee.rip = UInt64(entry & 0xffff)
    setFlags(0, mask: EFLAGS.tf | EFLAGS.rf | (virtual ? EFLAGS.vif : EFLAGS.if))
    latches.traceArmed = false
    updateDebugPending()
    updateMode()
  }
}
