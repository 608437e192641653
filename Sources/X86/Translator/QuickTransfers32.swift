import CHost

/// The ways into a 32-bit kernel and out of it: INT n through a 32-bit gate, IRET, SYSENTER, SYSEXIT, and the loads of
/// segment registers around them. Each checks first that it is the plain case: flat segments, descriptors that are marked
/// accessed, pages that the TLB holds. When it is not, nothing has been done, and the interpreter does it all.
extension CPU {
  // MARK: Memory that the TLB holds

  /// What lies at a linear address, read with the rights of the processor itself; nil when the TLB does not hold its page, or
  /// the value goes over the page's end.
  @inline(__always)
  func known<T: FixedWidthInteger>(_ linear: UInt64, as type: T.Type) -> T? {
    let entry = dataEntry(linear, set: VM_MMU_SUPERVISOR)
    guard linear ^ entry.pointee.read_tag <= UInt64(4096 &- MemoryLayout<T>.size) else { return nil }
    return CPU.host(linear &+ entry.pointee.addend).loadUnaligned(as: T.self)
  }

  /// Host address of `size` bytes of a stack of privilege level `cpl`, of which all may be written, or only read.
  @inline(__always)
  func knownStack(_ linear: UInt64, size: UInt64, cpl: UInt32, write: Bool) -> UnsafeMutableRawPointer? {
    let entry = dataEntry(linear, set: tlbSet(cpl: cpl))
    let tag = write ? entry.pointee.write_tag : entry.pointee.read_tag
    guard linear ^ tag <= 4096 &- size, !latches.watchesData else { return nil }
    return CPU.host(linear &+ entry.pointee.addend)
  }

  /// A descriptor of the GDT.
  @inline(__always)
  func knownDescriptor(_ selector: UInt16) -> Descriptor? {
    let offset = UInt64(selector & 0xfff8)
    guard selector & 4 == 0, offset != 0, offset &+ 7 <= UInt64(s.pointee.gdtr.limit) else { return nil }
    let address = s.pointee.gdtr.base &+ offset
    return known(address, as: UInt64.self).map { Descriptor(low: $0, address: address) }
  }

  /// Bits of a descriptor besides base and limit: granular, big, present, a segment, type and DPL.
  private static func isFlat(_ descriptor: Descriptor, type: UInt64, dpl: UInt32) -> Bool {
    // Base 0, limit FFFFFH in pages; AVL does not matter.
    descriptor.low & 0xffef_ffff_ffff_ffff == 0x00cf_8000_0000_ffff | (0x10 | type | UInt64(dpl) &<< 5) &<< 40
  }

  /// The flat code segment of `dpl` that a selector names, and the stack segment: readable or not, both accessed.
  func knownCode(_ selector: UInt16, dpl: UInt32) -> Descriptor? {
    guard let found = knownDescriptor(selector) else { return nil }
    return CPU.isFlat(found, type: 0xb, dpl: dpl) || CPU.isFlat(found, type: 0x9, dpl: dpl) ? found : nil
  }
  func knownStackSegment(_ selector: UInt16, dpl: UInt32) -> Descriptor? {
    guard selector.rpl == dpl, let found = knownDescriptor(selector) else { return nil }
    return CPU.isFlat(found, type: 0x3, dpl: dpl) ? found : nil
  }

  // MARK: Transfers

  /// False: nothing was done. Flags are in `raw_flags` before and after.
  func transferQuickly32(_ operation: SystemOp?, _ op: Op, _ next: UInt64, _ rare: UInt64) -> Bool {
    let flat = UInt32(VM_MODE_PROTECTED | VM_MODE_CODE32 | VM_MODE_STACK32)
    guard s.pointee.mode & flat == flat else { return false }
    switch operation {
    case .int: return quickInterrupt(UInt8(truncatingIfNeeded: op.pointee.imm), next)
    case .interruptReturn: return op.pointee.operand_size == 4 && quickInterruptReturn(rare)
    case .sysenter: return quickSystemEnter32()
    case .sysexit: return quickSystemExit32()
    default: return false
    }
  }

  /// EFLAGS as it is pushed.
  var rawImage: UInt64 {
    let raw = UInt64(s.pointee.raw_flags)
    return s.pointee.eflags | (raw &>> 8 & 0xd5) | (raw & 1) &<< 11 | 2
  }

  func setRawFlags(_ image: UInt64) {
    s.pointee.raw_flags = UInt32(truncatingIfNeeded: (image & 0xd5) &<< 8 | image &>> 11 & 1)
  }

  /// INT n of a program, through a 32-bit interrupt or trap gate to level 0, or of level 0 itself.
  private func quickInterrupt(_ vector: UInt8, _ next: UInt64) -> Bool {
    let offset = UInt64(vector) &* 8
    guard offset &+ 7 <= UInt64(s.pointee.idtr.limit),
      let low = known(s.pointee.idtr.base &+ offset, as: UInt64.self)
    else { return false }
    let gate = Descriptor(low: low, address: 0)
    let cpl = s.pointee.cpl
    let type = gate.systemType
    guard !gate.isSegment, type == SystemType.interruptGate32 || type == SystemType.trapGate32, gate.isPresent,
      gate.dpl >= cpl, cpl == 0 || cpl == 3, let code = knownCode(gate.gateSelector, dpl: 0)
    else { return false }
    let image = rawImage
    let oldCode = UInt64(segmentRegister(Seg.cs).pointee.selector)
    if cpl == 0 {
      let top = (slots[Reg.rsp] &- 12) & 0xffff_ffff
      guard s.pointee.mode & UInt32(VM_MODE_FLAT) != 0,
        let stack = knownStack(top, size: 12, cpl: 0, write: true)
      else { return false }
      storeFrame(stack, next, oldCode, image)
      slots[Reg.rsp] = top
    } else {
      let task = segmentRegister(Seg.tr).pointee
      guard task.attributes & 8 != 0, task.limit >= 9,
        let pointer = known(task.base &+ 4, as: UInt32.self), let selector = known(task.base &+ 8, as: UInt16.self),
        let segment = knownStackSegment(selector, dpl: 0)
      else { return false }
      let top = (UInt64(pointer) &- 20) & 0xffff_ffff
      guard let stack = knownStack(top, size: 20, cpl: 0, write: true) else { return false }
      storeFrame(stack, next, oldCode, image)
      CPU.storeWord(stack, 3, slots[Reg.rsp])
      CPU.storeWord(stack, 4, UInt64(segmentRegister(Seg.ss).pointee.selector))
      segmentRegister(Seg.ss).pointee = segment.register(selector)
      slots[Reg.rsp] = top
    }
    segmentRegister(Seg.cs).pointee = code.register(gate.gateSelector & ~3)
    s.pointee.eflags &= ~(EFLAGS.nt | (type == SystemType.interruptGate32 ? EFLAGS.if : 0))
    s.pointee.rip = gate.gateOffset
    updateMode()
    return true
  }

  @inline(__always)
  private static func storeWord(_ host: UnsafeMutableRawPointer, _ index: Int, _ word: UInt64) {
    host.storeBytes(of: UInt32(truncatingIfNeeded: word), toByteOffset: index &* 4, as: UInt32.self)
  }

  @inline(__always)
  private func storeFrame(_ stack: UnsafeMutableRawPointer, _ next: UInt64, _ code: UInt64, _ image: UInt64) {
    CPU.storeWord(stack, 0, next)
    CPU.storeWord(stack, 1, code)
    CPU.storeWord(stack, 2, image)
  }

  /// IRETD of level 0, to itself or to a program.
  private func quickInterruptReturn(_ rare: UInt64) -> Bool {
    guard s.pointee.cpl == 0, s.pointee.eflags & EFLAGS.nt == 0, s.pointee.nmi_blocked == 0,
      s.pointee.mode & UInt32(VM_MODE_FLAT) != 0,
      let frame = knownStack(slots[Reg.rsp] & 0xffff_ffff, size: 20, cpl: 0, write: false)
    else { return false }
    func word(_ index: Int) -> UInt64 { UInt64(frame.loadUnaligned(fromByteOffset: index &* 4, as: UInt32.self)) }
    let selector = UInt16(truncatingIfNeeded: word(1))
    let image = word(2)
    guard image & (rare | EFLAGS.nt) == 0, image & EFLAGS.if == 0 || s.pointee.interrupt_waiting == 0,
      let code = knownCode(selector, dpl: selector.rpl)
    else { return false }
    if selector.rpl == 3 {
      let stackSelector = UInt16(truncatingIfNeeded: word(4))
      guard let segment = knownStackSegment(stackSelector, dpl: 3) else { return false }
      slots[Reg.rsp] = word(3)
      segmentRegister(Seg.ss).pointee = segment.register(stackSelector)
    } else if selector.rpl == 0 {
      slots[Reg.rsp] = (slots[Reg.rsp] &+ 12) & 0xffff_ffff
    } else {
      return false
    }
    segmentRegister(Seg.cs).pointee = code.register(selector)
    s.pointee.rip = word(0)
    setRawFlags(image)
    let mask = EFLAGS.df | EFLAGS.id | EFLAGS.if | EFLAGS.iopl | EFLAGS.vif | EFLAGS.vip
    s.pointee.eflags = s.pointee.eflags & ~mask | image & mask | 2
    if selector.rpl == 3 {
      s.pointee.cpl = 3
      dropInnerDataSegments(cpl: 3)
      s.pointee.plain_segments = plainSegments
    }
    updateMode()
    return true
  }

  private func quickSystemEnter32() -> Bool {
    let selector = UInt16(truncatingIfNeeded: s.pointee.sysenter_cs)
    guard !selector.isNullSelector else { return false }
    s.pointee.eflags &= ~EFLAGS.if
    segmentRegister(Seg.cs).pointee = CPU.flatCode(selector & 0xfffc, dpl: 0, long: false)
    segmentRegister(Seg.ss).pointee = CPU.flatStack((selector & 0xfffc) &+ 8, dpl: 0)
    slots[Reg.rsp] = s.pointee.sysenter_esp & 0xffff_ffff
    s.pointee.rip = s.pointee.sysenter_eip & 0xffff_ffff
    updateMode()
    return true
  }

  private func quickSystemExit32() -> Bool {
    let selector = UInt16(truncatingIfNeeded: s.pointee.sysenter_cs)
    guard !selector.isNullSelector, s.pointee.cpl == 0 else { return false }
    let base = selector & 0xfffc
    segmentRegister(Seg.cs).pointee = CPU.flatCode((base &+ 16) | 3, dpl: 3, long: false)
    segmentRegister(Seg.ss).pointee = CPU.flatStack((base &+ 24) | 3, dpl: 3)
    slots[Reg.rsp] = slots[Reg.rcx] & 0xffff_ffff
    s.pointee.rip = slots[Reg.rdx] & 0xffff_ffff
    updateMode()
    return true
  }

  // MARK: Segment registers

  /// PUSH, POP and MOV of ES, DS, FS or GS in 32-bit code. False: nothing was done. Flags and RIP are not touched, and what
  /// emitted code was made for still holds.
  @inline(__always)
  func moveSegmentQuickly(_ op: Op) -> Bool {
    guard op.pointee.kind == OpKind.system.rawValue, op.pointee.sub <= SystemOp.popSegment.rawValue else {
      return false
    }
    return moveSegment32(op)
  }

  private func moveSegment32(_ op: Op) -> Bool {
    let flat = UInt32(VM_MODE_PROTECTED | VM_MODE_CODE32 | VM_MODE_STACK32 | VM_MODE_FLAT)
    let number = Int(op.pointee.reg)
    guard s.pointee.mode & (flat | UInt32(VM_MODE_V86)) == flat, shared.pointee.awaited == 0,
      vm_load_relaxed(&s.pointee.pending) & UInt32(VM_PENDING_DEBUG) == 0, !latches.alignmentChecks,
      op.pointee.operand_size == 4
    else { return false }
    let top = slots[Reg.rsp] & 0xffff_ffff
    switch SystemOp(rawValue: op.pointee.sub) {
    case .pushSegment:
      let below = (top &- 4) & 0xffff_ffff
      guard let stack = knownStack(below, size: 4, cpl: s.pointee.cpl, write: true) else { return false }
      // Only the lower half of the slot is written.
      stack.storeBytes(of: segmentRegister(number).pointee.selector, as: UInt16.self)
      slots[Reg.rsp] = below
      return true
    case .popSegment:
      guard number != Seg.ss, number != Seg.cs,
        let stack = knownStack(top, size: 4, cpl: s.pointee.cpl, write: false),
        takeSegment(number, stack.loadUnaligned(as: UInt16.self))
      else { return false }
      slots[Reg.rsp] = (top &+ 4) & 0xffff_ffff
      return true
    case .movToSegment:
      guard number < 6, number != Seg.ss, number != Seg.cs, !hasMemoryOperand(op) else { return false }
      return takeSegment(number, UInt16(truncatingIfNeeded: slots[Int(op.pointee.rm)]))
    default: return false
    }
  }

  /// Loads ES or DS with a flat segment, FS or GS with any data segment, or none.
  private func takeSegment(_ number: Int, _ selector: UInt16) -> Bool {
    let register = segmentRegister(number)
    let isPlain = number >= Seg.fs
    if selector.isNullSelector {
      // Without ES or DS code is no longer flat.
      guard isPlain else { return false }
      register.pointee = vm_segment(base: 0, limit: register.pointee.limit, selector: selector, attributes: 0)
    } else {
      guard let found = knownDescriptor(selector), found.low & 1 << 40 != 0, found.isData, found.isPresent,
        found.dpl >= max(s.pointee.cpl, selector.rpl), isPlain || CPU.isFlat(found, type: 0x3, dpl: found.dpl)
      else { return false }
      register.pointee = found.register(selector)
    }
    s.pointee.plain_segments = plainSegments
    return true
  }
}
