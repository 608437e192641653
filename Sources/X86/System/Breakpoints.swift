import CHost

/// Breakpoints of the debug registers (Intel SDM vol. 3B, 18.2).
///
/// While DR7 enables any, VM_PENDING_DEBUG stays set: one instruction runs at a time, with the checks around it. Pages
/// that hold watched data get no tags in the TLB, so that each access to them comes to `noteDataAccess`.
/// A debugger's own stops, which the guest does not see, are in `DebuggerStops.swift`.
extension CPU {
  private enum Kind {
    static let execute: UInt64 = 0
    static let write: UInt64 = 1
    static let port: UInt64 = 2
    static let readWrite: UInt64 = 3
  }

  /// Rebuilds what is derived from DR0-DR7, CR4.DE and TF. Called after any of them changed.
  func updateDebug() {
    let control = debugRegisters[7]
    let watchedData = latches.watchesData
    latches.watchesData = !debugger.watchpoints.isEmpty
    latches.trapsOnData = false
    latches.watchesCode = false
    latches.watchesPorts = false
    for index in 0..<4 where control &>> UInt64(index * 2) & 3 != 0 {
      switch breakpointKind(index) {
      case Kind.execute: latches.watchesCode = true
      case Kind.port: latches.watchesPorts = s.pointee.cr4 & CR4.de != 0
      default:
        latches.watchesData = true
        latches.trapsOnData = true
      }
    }
    if watchedData || latches.watchesData { flushAllTranslations() }
    updateDebugPending()
  }

  /// Sets VM_PENDING_DEBUG when instructions must run one at a time, else clears it.
  @inline(__always)
  func updateDebugPending() {
    let stepping = s.pointee.eflags & EFLAGS.tf != 0 || latches.trapsOnData || latches.watchesCode
    let needed = stepping || latches.isTraced || latches.watchesPorts || latches.debugHits != 0 || debugger.hit != nil
    let isSet = vm_load_relaxed(&s.pointee.pending) & UInt32(VM_PENDING_DEBUG) != 0
    if needed != isSet {
      if needed { post(UInt32(VM_PENDING_DEBUG)) } else { withdraw(UInt32(VM_PENDING_DEBUG)) }
    }
  }

  private func breakpointKind(_ index: Int) -> UInt64 { debugRegisters[7] &>> UInt64(16 + index * 4) & 3 }

  private func breakpointLength(_ index: Int) -> UInt64 {
    switch debugRegisters[7] &>> UInt64(18 + index * 4) & 3 {
    case 0: 1
    case 1: 2
    case 2: 8
    default: 4
    }
  }

  /// Whether an enabled data breakpoint lies on the page, or a watchpoint of the debugger's.
  func isWatched(_ page: UInt64) -> Bool {
    if debugger.watches(page) { return true }
    let control = debugRegisters[7]
    for index in 0..<4 where control &>> UInt64(index * 2) & 3 != 0 {
      let kind = breakpointKind(index)
      guard kind == Kind.write || kind == Kind.readWrite else { continue }
      let address = debugRegisters[index]
      if address & ~0xfff == page { return true }
    }
    return false
  }

  /// Remembers the breakpoints that an access of `size` bytes hits; `finishStep` raises #DB.
  func noteDataAccess(_ linear: UInt64, size: Int, write: Bool) {
    if latches.trapsOnData {
      noteHits(linear, UInt64(size)) { $0 == Kind.readWrite || (write && $0 == Kind.write) }
    }
    if !debugger.watchpoints.isEmpty { noteWatched(linear, size: size, write: write) }
  }

  func notePortAccess(_ port: UInt16, size: Int) {
    noteHits(UInt64(port), UInt64(size)) { $0 == Kind.port }
  }

  private func noteHits(_ address: UInt64, _ size: UInt64, _ matches: (UInt64) -> Bool) {
    let control = debugRegisters[7]
    var hits: UInt64 = 0
    var enabled = false
    for index in 0..<4 where matches(breakpointKind(index)) {
      let length = breakpointLength(index)
      let start = debugRegisters[index] & ~(length &- 1)
      guard address &- start < length || start &- address < size else { continue }
      hits |= 1 &<< UInt64(index)
      if control &>> UInt64(index * 2) & 3 != 0 { enabled = true }
    }
    // Only an enabled breakpoint traps; the others that match are reported with it.
    if enabled {
      latches.debugHits |= hits
      post(UInt32(VM_PENDING_DEBUG))
    }
  }

  /// DR6 bits of the enabled instruction breakpoints at `linear`.
  func instructionBreakpoints(_ linear: UInt64) -> UInt64 {
    let control = debugRegisters[7]
    var hits: UInt64 = 0
    for index in 0..<4 where control &>> UInt64(index * 2) & 3 != 0 {
      if breakpointKind(index) == Kind.execute && debugRegisters[index] == linear { hits |= 1 &<< UInt64(index) }
    }
    return hits
  }
}
