import CHost

enum TaskSwitchKind {
  case jump, call, interruptReturn, event
}

/// Hardware task switches (Intel SDM vol. 3A, 7.3).
extension CPU {
  /// The TSS descriptor that a task gate names.
  func taskOfGate(_ gate: Descriptor, ext: UInt32) throws(GuestFault) -> (Descriptor, UInt16) {
    let selector = gate.gateSelector
    let code = selector.errorCode | ext
    guard !selector.isNullSelector, selector & 4 == 0 else { throw .protection(code) }
    let task = try requireDescriptor(selector, ext: ext)
    let isTask = !task.isSegment && (task.systemType == SystemType.tss16 || task.systemType == SystemType.tss32)
    guard isTask else { throw .protection(code) }
    guard task.isPresent else { throw .notPresent(code) }
    return (task, selector)
  }

  /// IRET with NT set: back to the task that the link field names.
  func returnFromTask(next: UInt64) throws(GuestFault) {
    let link = try loadSupervisor(segmentRegister(Seg.tr).pointee.base, as: UInt16.self)
    let code = link.errorCode
    guard link & 4 == 0, !link.isNullSelector, let task = try readDescriptor(link) else { throw .invalidTSS(code) }
    let type = task.systemType
    let isBusy = type == SystemType.busyTSS16 || type == SystemType.busyTSS32
    guard !task.isSegment, isBusy else { throw .invalidTSS(code) }
    guard task.isPresent else { throw .notPresent(code) }
    try switchTask(task, link, .interruptReturn, next: next)
    try checkTaskEntry()
  }

  /// Switches to the task of `descriptor`, which is present and of the right type. Faults up to the commit leave the old
  /// task running; later ones are raised in the new task, whose RIP is then in place.
  /// - Parameter image: EFLAGS as the old task's TSS keeps them, for an event; nil: as they are.
  func switchTask(
    _ descriptor: Descriptor, _ selector: UInt16, _ kind: TaskSwitchKind, next: UInt64, ext: UInt32 = 0,
    image: UInt64? = nil
  ) throws(GuestFault) {
    let wide = descriptor.systemType & 8 != 0
    guard descriptor.limit >= (wide ? 0x67 : 0x2b) else { throw .invalidTSS(selector.errorCode | ext) }
    let old = segmentRegister(Seg.tr).pointee
    let oldWide = old.attributes & 8 != 0
    let base = descriptor.base
    let new = try readTask(base, wide: wide)

    // Every page of the old TSS that will be written is touched first.
    var flags = image ?? flagsImage()
    if kind == .interruptReturn { flags &= ~EFLAGS.nt }
    try saveTask(old.base, wide: oldWide, flags: flags, next: next)
    if kind == .call || kind == .event { try storeSupervisor(base, old.selector) }
    if kind == .jump || kind == .interruptReturn {
      if let address = descriptorAddress(old.selector) { try setBusy(address, false) }
    }
    if kind != .interruptReturn { try setBusy(descriptor.address, true) }

    // The commit.
    latches.taskSwitched = true
    var register = descriptor.register(selector)
    register.attributes |= 2
    segmentRegister(Seg.tr).pointee = register
    s.pointee.cr0 |= CR0.ts
    debugRegisters[7] &= ~0x155
    updateDebug()
    if wide && s.pointee.cr0 & CR0.pg != 0 {
      if s.pointee.cr4 & CR4.pae != 0 { try loadPDPTEs(new.cr3) }
      s.pointee.cr3 = new.cr3
      flushNonGlobal()
    }
    try enterTask(new, wide: wide, nested: kind == .call || kind == .event, ext: ext)
  }

  /// The trap flag of the new task's TSS: a #DB before its first instruction.
  func checkTaskEntry() throws(GuestFault) {
    let task = segmentRegister(Seg.tr).pointee
    guard task.attributes & 8 != 0 else { return }
    if try loadSupervisor(task.base &+ 100, as: UInt16.self) & 1 != 0 {
      debugRegisters[6] |= 1 << 15
      throw .debug
    }
  }

  /// What a TSS holds of a task.
  struct TaskImage {
    var cr3: UInt64 = 0
    var rip: UInt64 = 0
    var flags: UInt64 = 0
    var registers: [UInt64] = []
    /// ES, CS, SS, DS, FS, GS.
    var segments: [UInt16] = []
    var ldt: UInt16 = 0
  }

  private func readTask(_ base: UInt64, wide: Bool) throws(GuestFault) -> TaskImage {
    var image = TaskImage()
    if wide {
      image.cr3 = UInt64(try loadSupervisor(base &+ 28, as: UInt32.self))
      image.rip = UInt64(try loadSupervisor(base &+ 32, as: UInt32.self))
      image.flags = UInt64(try loadSupervisor(base &+ 36, as: UInt32.self))
      for index in 0..<8 {
        image.registers.append(UInt64(try loadSupervisor(base &+ UInt64(40 &+ index &* 4), as: UInt32.self)))
      }
      for index in 0..<6 {
        image.segments.append(try loadSupervisor(base &+ UInt64(72 &+ index &* 4), as: UInt16.self))
      }
      image.ldt = try loadSupervisor(base &+ 96, as: UInt16.self)
    } else {
      image.rip = UInt64(try loadSupervisor(base &+ 14, as: UInt16.self))
      image.flags = UInt64(try loadSupervisor(base &+ 16, as: UInt16.self))
      for index in 0..<8 {
        image.registers.append(UInt64(try loadSupervisor(base &+ UInt64(18 &+ index &* 2), as: UInt16.self)))
      }
      for index in 0..<4 {
        image.segments.append(try loadSupervisor(base &+ UInt64(34 &+ index &* 2), as: UInt16.self))
      }
      image.segments += [0, 0]
      image.ldt = try loadSupervisor(base &+ 42, as: UInt16.self)
    }
    return image
  }

  private func saveTask(_ base: UInt64, wide: Bool, flags: UInt64, next: UInt64) throws(GuestFault) {
    if wide {
      try storeSupervisor(base &+ 32, UInt32(truncatingIfNeeded: next))
      try storeSupervisor(base &+ 36, UInt32(truncatingIfNeeded: flags))
      for index in 0..<8 {
        try storeSupervisor(base &+ UInt64(40 &+ index &* 4), UInt32(truncatingIfNeeded: slots[index]))
      }
      for index in 0..<6 {
        try storeSupervisor(base &+ UInt64(72 &+ index &* 4), segmentRegister(index).pointee.selector)
      }
    } else {
      try storeSupervisor(base &+ 14, UInt16(truncatingIfNeeded: next))
      try storeSupervisor(base &+ 16, UInt16(truncatingIfNeeded: flags))
      for index in 0..<8 {
        try storeSupervisor(base &+ UInt64(18 &+ index &* 2), UInt16(truncatingIfNeeded: slots[index]))
      }
      for index in 0..<4 {
        try storeSupervisor(base &+ UInt64(34 &+ index &* 2), segmentRegister(index).pointee.selector)
      }
    }
  }

  /// Loads the new task's registers, then its segments with their checks.
  private func enterTask(_ new: TaskImage, wide: Bool, nested: Bool, ext: UInt32) throws(GuestFault) {
    // The upper halves are not kept by a 16-bit TSS (Intel SDM vol. 3A, 7.6: modified and not maintained): all ones is what
    // processors leave (Bochs, cpu/tasking.cc, and QEMU).
    for index in 0..<8 { slots[index] = wide ? new.registers[index] : 0xffff_0000 | new.registers[index] }
    s.pointee.rip = new.rip
    var flags = new.flags
    if nested { flags |= EFLAGS.nt }
    // The upper half is not in a 16-bit TSS; VM, RF and the others there are cleared (vol. 3A, 17.2.5 and 7.6).
    setFlags(flags, mask: EFLAGS.defined)
    latches.resumes = s.pointee.eflags & EFLAGS.rf != 0
    for index in 0..<6 {
      segmentRegister(index).pointee = vm_segment(base: 0, limit: 0, selector: new.segments[index], attributes: 0)
    }
    let ldtr = segmentRegister(Seg.ldtr)
    ldtr.pointee = vm_segment(base: 0, limit: 0, selector: new.ldt, attributes: 0)
    let v86 = s.pointee.eflags & EFLAGS.vm != 0
    if v86 {
      for index in 0..<6 { loadRealSegment(index, new.segments[index]) }
    } else {
      // Until SS is loaded the CPL is that of the new CS.
      segmentRegister(Seg.ss).pointee.attributes = UInt16(new.segments[Seg.cs].rpl) &<< 5
    }
    updateMode()
    updateDebugPending()

    if !new.ldt.isNullSelector {
      let code = new.ldt.errorCode | ext
      guard new.ldt & 4 == 0, let table = try readDescriptor(new.ldt) else { throw .invalidTSS(code) }
      guard !table.isSegment, table.systemType == SystemType.ldt, table.isPresent else { throw .invalidTSS(code) }
      ldtr.pointee = table.register(new.ldt)
    }
    if v86 { return }

    let cs = new.segments[Seg.cs]
    let cpl = cs.rpl
    let csCode = cs.errorCode | ext
    guard !cs.isNullSelector, var code = try readDescriptor(cs), code.isCode else { throw .invalidTSS(csCode) }
    guard code.isConforming ? code.dpl <= cpl : code.dpl == cpl else { throw .invalidTSS(csCode) }
    guard code.isPresent else { throw .notPresent(csCode) }
    try markAccessed(&code)
    segmentRegister(Seg.cs).pointee = code.register(cs)

    let ss = new.segments[Seg.ss]
    let ssCode = ss.errorCode | ext
    guard !ss.isNullSelector, var stack = try readDescriptor(ss) else { throw .invalidTSS(ssCode) }
    try checkStack(stack, ss, cpl: cpl, ext: ext) { code in .invalidTSS(code) }
    try markAccessed(&stack)
    segmentRegister(Seg.ss).pointee = stack.register(ss)
    updateMode()

    for index in [Seg.es, Seg.ds, Seg.fs, Seg.gs] {
      let selector = new.segments[index]
      guard !selector.isNullSelector else { continue }
      let dataCode = selector.errorCode | ext
      guard var data = try readDescriptor(selector), data.isSegment, data.isData || data.isWritable else {
        throw .invalidTSS(dataCode)
      }
      let conforming = data.isCode && data.isConforming
      guard conforming || data.dpl >= max(cpl, selector.rpl) else { throw .invalidTSS(dataCode) }
      guard data.isPresent else { throw .notPresent(dataCode) }
      try markAccessed(&data)
      segmentRegister(index).pointee = data.register(selector)
    }
    updateMode()
    guard new.rip <= UInt64(segmentRegister(Seg.cs).pointee.limit) else { throw .protection(ext) }
  }
}
