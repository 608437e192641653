import CHost

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// MOVS, STOS, LODS, SCAS, CMPS (Intel SDM vol. 1, 7.3.9; vol. 2B, REP).
///
/// Each function returns false when a REP has more to do but something is pending: RIP then stays at the instruction.
/// After every chunk or element rSI, rDI and rCX are right, so that a fault or an interrupt finds restartable state.
extension CPU {
  /// Registers and steps of the running string instruction.
  private struct Walk {
    var mask: UInt64
    var step: UInt64
    var size: Int
    /// The size's logarithm.
    var shift: UInt64
    var repeats: Bool
    var forward: Bool
  }

  private func walk(_ op: Op) -> Walk {
    let size = Int(op.pointee.operand_size)
    let forward = s.pointee.eflags & Flag.df == 0
    let step = forward ? UInt64(size) : 0 &- UInt64(size)
    let repeats = Int(op.pointee.prefixes) & (VM_PREFIX_REP | VM_PREFIX_REPNE) != 0
    let shift = UInt64(size.trailingZeroBitCount)
    return Walk(mask: addressMask(op), step: step, size: size, shift: shift, repeats: repeats, forward: forward)
  }

  /// Moves rSI (6) or rDI (7) by `bytes` within the address size.
  @inline(__always)
  private func advance(_ register: UInt8, _ op: Op, _ bytes: UInt64) {
    setRegister(register, s.slots[Int(register)] &+ bytes, size: op.pointee.address_size)
  }

  @inline(__always)
  private func sourceLinear(_ op: Op, _ offset: UInt64, size: Int) throws(GuestFault) -> UInt64 {
    let form = Int(op.pointee.form)
    if form == VM_FORM_FLAT64 || form == VM_FORM_FLAT32 { return offset }
    return try segmentLinear(Int(op.pointee.segment), offset, size: size, write: false)
  }

  @inline(__always)
  private func targetLinear(_ offset: UInt64, size: Int, write: Bool) throws(GuestFault) -> UInt64 {
    if s.pointee.mode & UInt32(VM_MODE_FLAT | VM_MODE_CODE64) != 0 { return offset }
    return try segmentLinear(VM_ES, offset, size: size, write: write)
  }

  /// Elements from `offset` on that one chunk may cover: not beyond the page, nor beyond the address size.
  @inline(__always)
  private func room(_ linear: UInt64, _ offset: UInt64, _ walk: Walk) -> UInt64 {
    let page = 4096 &- (linear & 0xfff)
    let wrap = walk.mask &- offset
    let bytes = wrap < page ? wrap &+ 1 : page
    return bytes &>> walk.shift
  }

  /// In single steps each repetition counts.
  @inline(__always)
  private var isStepping: Bool { vm_load_relaxed(&s.pointee.pending) & UInt32(VM_PENDING_DEBUG) != 0 }

  @inline(__always)
  private var isInterrupted: Bool { vm_load_relaxed(&s.pointee.pending) != 0 }

  // MARK: MOVS

  @inline(never)
  func executeMovs(_ op: Op) throws(GuestFault) -> Bool {
    let walk = walk(op)
    if !walk.repeats {
      try moveElement(op, walk)
      return true
    }
    var count = countRegister(op)
    while count != 0 {
      let done = walk.forward && !isStepping && !latches.alignmentChecks ? try moveChunk(op, walk, count) : 0
      if done == 0 {
        try moveElement(op, walk)
        count = count &- 1
      } else {
        count = count &- done
      }
      setCountRegister(op, count)
      if count != 0 && isInterrupted { return false }
    }
    return true
  }

  private func moveElement(_ op: Op, _ walk: Walk) throws(GuestFault) {
    let source = try sourceLinear(op, s.slots[6] & walk.mask, size: walk.size)
    let target = s.slots[7] & walk.mask
    switch walk.size {
    case 1:
      let value = try load(source, as: UInt8.self)
      try store(targetLinear(target, size: 1, write: true), value)
    case 2:
      let value = try load(source, as: UInt16.self)
      try store(targetLinear(target, size: 2, write: true), value)
    case 4:
      let value = try load(source, as: UInt32.self)
      try store(targetLinear(target, size: 4, write: true), value)
    default:
      let value = try load(source, as: UInt64.self)
      try store(targetLinear(target, size: 8, write: true), value)
    }
    advance(6, op, walk.step)
    advance(7, op, walk.step)
  }

  /// Copies within one page of each side when both are memory. Returns the elements done; 0: take the slow way.
  private func moveChunk(_ op: Op, _ walk: Walk, _ count: UInt64) throws(GuestFault) -> UInt64 {
    let from = s.slots[6] & walk.mask
    let to = s.slots[7] & walk.mask
    let source = try sourceLinear(op, from, size: walk.size)
    let target = try targetLinear(to, size: walk.size, write: true)
    let elements = min(count, min(room(source, from, walk), room(target, to, walk)))
    guard elements > 1 else { return 0 }
    let bytes = Int(elements) &* walk.size
    guard fits(op, from, to, bytes) else { return 0 }
    guard let sourceHost = try hostPointerForRead(source),
      let targetHost = try hostPointerForUpdate(target, size: bytes)
    else { return 0 }
    let distance = UInt(bitPattern: targetHost) &- UInt(bitPattern: sourceHost)
    if distance != 0 && distance < UInt(bytes) {
      // The pattern repeats itself: element by element, as the processor does.
      var at = 0
      while at < bytes {
        switch walk.size {
        case 1:
          targetHost.storeBytes(
            of: sourceHost.load(fromByteOffset: at, as: UInt8.self), toByteOffset: at, as: UInt8.self)
        case 2:
          let value = sourceHost.loadUnaligned(fromByteOffset: at, as: UInt16.self)
          targetHost.storeBytes(of: value, toByteOffset: at, as: UInt16.self)
        case 4:
          let value = sourceHost.loadUnaligned(fromByteOffset: at, as: UInt32.self)
          targetHost.storeBytes(of: value, toByteOffset: at, as: UInt32.self)
        default:
          let value = sourceHost.loadUnaligned(fromByteOffset: at, as: UInt64.self)
          targetHost.storeBytes(of: value, toByteOffset: at, as: UInt64.self)
        }
        at &+= walk.size
      }
    } else {
      memmove(targetHost, sourceHost, bytes)
    }
    advance(6, op, UInt64(bytes))
    advance(7, op, UInt64(bytes))
    return elements
  }

  /// Whether a whole chunk lies within its segments.
  private func fits(_ op: Op, _ from: UInt64?, _ to: UInt64, _ bytes: Int) -> Bool {
    do throws(GuestFault) {
      if let from { _ = try sourceLinear(op, from, size: bytes) }
      _ = try targetLinear(to, size: bytes, write: true)
      return true
    } catch {
      return false
    }
  }

  // MARK: STOS

  @inline(never)
  func executeStos(_ op: Op) throws(GuestFault) -> Bool {
    let walk = walk(op)
    if !walk.repeats {
      try storeElement(op, walk)
      return true
    }
    var count = countRegister(op)
    while count != 0 {
      let done = walk.forward && !isStepping && !latches.alignmentChecks ? try fillChunk(op, walk, count) : 0
      if done == 0 {
        try storeElement(op, walk)
        count = count &- 1
      } else {
        count = count &- done
      }
      setCountRegister(op, count)
      if count != 0 && isInterrupted { return false }
    }
    return true
  }

  private func storeElement(_ op: Op, _ walk: Walk) throws(GuestFault) {
    let target = try targetLinear(s.slots[7] & walk.mask, size: walk.size, write: true)
    switch walk.size {
    case 1: try store(target, s.get(0, UInt8.self))
    case 2: try store(target, s.get(0, UInt16.self))
    case 4: try store(target, s.get(0, UInt32.self))
    default: try store(target, s.get(0, UInt64.self))
    }
    advance(7, op, walk.step)
  }

  private func fillChunk(_ op: Op, _ walk: Walk, _ count: UInt64) throws(GuestFault) -> UInt64 {
    let to = s.slots[7] & walk.mask
    let target = try targetLinear(to, size: walk.size, write: true)
    let elements = min(count, room(target, to, walk))
    guard elements > 1 else { return 0 }
    let bytes = Int(elements) &* walk.size
    guard fits(op, nil, to, bytes) else { return 0 }
    guard let host = try hostPointerForUpdate(target, size: bytes) else {
      // What is written where nothing is goes nowhere.
      let isEmpty = try reach(dataLinear(target), write: true, set: Int(s.pointee.mmu)).target.isEmpty
      guard isEmpty && !latches.watchesData else { return 0 }
      advance(7, op, UInt64(bytes))
      return elements
    }
    let pattern = fillPattern(walk.size)
    if pattern == (pattern & 0xff) &* 0x0101_0101_0101_0101 {
      memset(host, Int32(pattern & 0xff), bytes)
    } else {
      var at = 0
      while at &+ 8 <= bytes {
        host.storeBytes(of: pattern, toByteOffset: at, as: UInt64.self)
        at &+= 8
      }
      while at < bytes {
        let byte = UInt8(truncatingIfNeeded: pattern &>> UInt64((at & 7) &* 8))
        host.storeBytes(of: byte, toByteOffset: at, as: UInt8.self)
        at &+= 1
      }
    }
    advance(7, op, UInt64(bytes))
    return elements
  }

  /// The accumulator repeated to 8 bytes.
  private func fillPattern(_ size: Int) -> UInt64 {
    switch size {
    case 1: UInt64(s.get(0, UInt8.self)) &* 0x0101_0101_0101_0101
    case 2: UInt64(s.get(0, UInt16.self)) &* 0x0001_0001_0001_0001
    case 4: UInt64(s.get(0, UInt32.self)) &* 0x0000_0001_0000_0001
    default: s.slots[0]
    }
  }

  // MARK: LODS

  @inline(never)
  func executeLods(_ op: Op) throws(GuestFault) -> Bool {
    let walk = walk(op)
    var count = walk.repeats ? countRegister(op) : 1
    while count != 0 {
      let source = try sourceLinear(op, s.slots[6] & walk.mask, size: walk.size)
      switch walk.size {
      case 1: s.set(0, try load(source, as: UInt8.self))
      case 2: s.set(0, try load(source, as: UInt16.self))
      case 4: s.set(0, try load(source, as: UInt32.self))
      default: s.set(0, try load(source, as: UInt64.self))
      }
      advance(6, op, walk.step)
      count = count &- 1
      if walk.repeats { setCountRegister(op, count) }
      if count != 0 && isInterrupted { return false }
    }
    return true
  }

  // MARK: SCAS, CMPS

  @inline(never)
  func executeScas(_ op: Op) throws(GuestFault) -> Bool {
    switch op.pointee.operand_size {
    case 1: try compareElements(op, UInt8.self, scan: true)
    case 2: try compareElements(op, UInt16.self, scan: true)
    case 4: try compareElements(op, UInt32.self, scan: true)
    default: try compareElements(op, UInt64.self, scan: true)
    }
  }

  @inline(never)
  func executeCmps(_ op: Op) throws(GuestFault) -> Bool {
    switch op.pointee.operand_size {
    case 1: try compareElements(op, UInt8.self, scan: false)
    case 2: try compareElements(op, UInt16.self, scan: false)
    case 4: try compareElements(op, UInt32.self, scan: false)
    default: try compareElements(op, UInt64.self, scan: false)
    }
  }

  /// Flags are written when the instruction ends or is interrupted; a fault leaves those of before.
  @inline(__always)
  private func compareElements<T: Word>(_ op: Op, _ type: T.Type, scan: Bool) throws(GuestFault) -> Bool {
    let walk = walk(op)
    var count = walk.repeats ? countRegister(op) : 1
    if count == 0 { return true }
    let whileEqual = Int(op.pointee.prefixes) & VM_PREFIX_REP != 0
    while true {
      if count > 8 && walk.forward && !isStepping {
        count = count &- (try skipRun(op, walk, count, scan: scan, whileEqual: whileEqual))
        setCountRegister(op, count)
      }
      var a = s.get(0, T.self)
      if !scan { a = try load(sourceLinear(op, s.slots[6] & walk.mask, size: walk.size), as: T.self) }
      let target = try targetLinear(s.slots[7] & walk.mask, size: walk.size, write: false)
      let b = try load(target, as: T.self)
      if !scan { advance(6, op, walk.step) }
      advance(7, op, walk.step)
      count = count &- 1
      if walk.repeats { setCountRegister(op, count) }
      if !walk.repeats || count == 0 || (a == b) != whileEqual {
        _ = Sub.apply(s, a, b)
        return true
      }
      if isInterrupted {
        _ = Sub.apply(s, a, b)
        return false
      }
    }
  }

  /// Goes over elements that end nothing: within a page of each side, and short of the last one, which
  /// `compareElements` is to find. Returns how many; 0 when it is not plain memory.
  private func skipRun(
    _ op: Op, _ walk: Walk, _ count: UInt64, scan: Bool, whileEqual: Bool
  ) throws(GuestFault) -> UInt64 {
    let to = s.slots[7] & walk.mask
    let target = try targetLinear(to, size: walk.size, write: false)
    var elements = min(count &- 1, room(target, to, walk))
    let from = s.slots[6] & walk.mask
    var source: UInt64 = 0
    if !scan {
      source = try sourceLinear(op, from, size: walk.size)
      elements = min(elements, room(source, from, walk))
    }
    // Whether an access that is not aligned faults is for the single elements to find out.
    guard elements > 1, (target | source) & UInt64(walk.size &- 1) == 0 else { return 0 }
    let bytes = Int(elements) &* walk.size
    do throws(GuestFault) {
      if !scan { _ = try sourceLinear(op, from, size: bytes) }
      _ = try targetLinear(to, size: bytes, write: false)
    } catch {
      return 0
    }
    let done: UInt64
    if scan {
      guard let targetHost = try hostPointerForRead(target) else { return 0 }
      done = vm_run_length(targetHost, s.slots, Int32(walk.size), elements, 1, whileEqual ? 1 : 0)
    } else {
      // The source's fault comes first.
      guard let sourceHost = try hostPointerForRead(source), let targetHost = try hostPointerForRead(target) else {
        return 0
      }
      done = vm_run_length(sourceHost, targetHost, Int32(walk.size), elements, 0, whileEqual ? 1 : 0)
      advance(6, op, done &* walk.step)
    }
    advance(7, op, done &* walk.step)
    return done
  }
}
