import CHost
import GuestMemory

/// Layout of `CPU.tlbUse`: for each of the three data sets and three fetch sets one summary word and a bit per slot.
/// First come the slots in use, then those that may hold translations which are not global. Flushing walks the set bits
/// only, so that the CR3 load of a context switch costs as much as the TLB holds of the old address space.
enum TLBUse {
  /// Words of a set: a summary (bit n: word n is not zero), then the slots.
  static let stride = 1 + Int(VM_TLB_SIZE) / 64
  static let dataSets = VM_MMU_COUNT
  static let sets = 2 * dataSets
  static let words = stride * sets * 2
}

/// Bits of `vm_tlb_entry.physical` beyond VM_TLB_GLOBAL: what the slow path and INVLPG want to know.
enum TLBFlag {
  /// The translation allows writes and the page's dirty flag is set: a write needs no walk.
  static let writable: UInt64 = 2
  /// Bits 2-3: 0 for a 4 KiB page, else a piece of a 2 MiB, 4 MiB or 1 GiB page.
  static let sizeShift: UInt64 = 2
  static let sizeMask: UInt64 = 3 << 2
  /// There is neither memory nor a device: writes are dropped.
  static let empty: UInt64 = 1 << 4
}

/// The size of a page as `TLBFlag` writes it.
enum PageSize: UInt64 {
  case small, large2M, large4M, huge1G

  /// Number of low linear address bits within the page.
  var bits: UInt64 {
    switch self {
    case .small: 12
    case .large2M: 21
    case .large4M: 22
    case .huge1G: 30
    }
  }
}

extension CPU {
  static let dataSetSize = Int(VM_TLB_SIZE)
  static let fetchSetSize = Int(VM_FETCH_SIZE)

  /// A tag that no access to `slot` can match, canonical address or not: its own index bits are another slot's.
  @inline(__always)
  static func invalidTag(_ slot: Int) -> UInt64 {
    slot == 0 ? VM_TLB_INVALIDATED | 0x1000 : VM_TLB_INVALIDATED
  }

  /// Fills every slot with nothing, whatever it held; for memory that is not initialised yet.
  func eraseTranslations() {
    for slot in 0..<Self.dataSetSize * TLBUse.dataSets { clearData(slot) }
    for slot in 0..<Self.fetchSetSize * TLBUse.dataSets { clearFetch(slot) }
    tlbUse.initialize(repeating: 0, count: TLBUse.words)
  }

  @inline(__always)
  private func clearData(_ slot: Int) {
    let tag = Self.invalidTag(slot & (Self.dataSetSize - 1))
    (dataTLBs + slot).initialize(to: vm_tlb_entry(read_tag: tag, write_tag: tag, addend: 0, physical: 0))
  }

  @inline(__always)
  private func clearFetch(_ slot: Int) {
    (fetchTLBs + slot).initialize(to: vm_fetch_entry(tag: VM_TLB_INVALIDATED, physical: 0, host: 0, page: nil))
  }

  /// Notes that a slot of data set `set` (or fetch set `set - 3`) is in use, for a translation with these flags.
  @inline(__always)
  func noteUse(set: Int, slot: Int, flags: UInt64) {
    Self.noteUse(tlbUse + set &* TLBUse.stride, slot)
    if flags & UInt64(VM_TLB_GLOBAL) == 0 { Self.noteUse(tlbUse + (set &+ TLBUse.sets) &* TLBUse.stride, slot) }
  }

  @inline(__always)
  private static func noteUse(_ use: UnsafeMutablePointer<UInt64>, _ slot: Int) {
    use.pointee |= 1 &<< UInt64(slot &>> 6)
    (use + 1 + slot &>> 6).pointee |= 1 &<< UInt64(slot & 63)
  }

  /// Calls `body` with each slot in use of a set; a slot for which it returns false is no longer in use.
  @inline(__always)
  private func sweep(_ set: Int, _ body: (Int) -> Bool) {
    let use = tlbUse + set &* TLBUse.stride
    var summary = use.pointee
    while summary != 0 {
      let index = summary.trailingZeroBitCount
      summary &= summary &- 1
      var bits = (use + 1 + index).pointee
      var kept = bits
      while bits != 0 {
        let bit = bits.trailingZeroBitCount
        bits &= bits &- 1
        if !body(index &* 64 &+ bit) { kept &= ~(1 &<< UInt64(bit)) }
      }
      (use + 1 + index).pointee = kept
      if kept == 0 { use.pointee &= ~(1 &<< UInt64(index)) }
    }
  }

  /// The same with each slot of a set that may hold what is not global; none is noted as such afterwards.
  @inline(__always)
  private func sweepLocal(_ set: Int, _ body: (Int) -> Bool) {
    let use = tlbUse + set &* TLBUse.stride
    let local = tlbUse + (set &+ TLBUse.sets) &* TLBUse.stride
    var summary = local.pointee
    local.pointee = 0
    while summary != 0 {
      let index = summary.trailingZeroBitCount
      summary &= summary &- 1
      var bits = (local + 1 + index).pointee
      (local + 1 + index).pointee = 0
      var dropped: UInt64 = 0
      while bits != 0 {
        let bit = bits.trailingZeroBitCount
        bits &= bits &- 1
        if !body(index &* 64 &+ bit) { dropped |= 1 &<< UInt64(bit) }
      }
      (use + 1 + index).pointee &= ~dropped
      if (use + 1 + index).pointee == 0 { use.pointee &= ~(1 &<< UInt64(index)) }
    }
  }

  /// Drops every translation, global ones too.
  func flushAllTranslations() {
    clearMicroTLB()
    for set in 0..<TLBUse.dataSets {
      sweep(set) { slot in
        clearData(set &* Self.dataSetSize &+ slot)
        return false
      }
      sweepLocal(set) { _ in true }
      sweepLocal(set + TLBUse.dataSets) { _ in true }
      var dropped = translator?.evictions(set: set).hasAny ?? false
      sweep(set + TLBUse.dataSets) { slot in
        clearFetch(set &* Self.fetchSetSize &+ slot)
        dropped = true
        return false
      }
      if dropped { translator?.invalidateJumps(set: set) }
    }
    latches.largeLow = .max
    latches.largeHigh = 0
    latches.lowGlobals = false
  }

  /// Drops what a load of CR3 drops: all but global translations.
  func flushNonGlobal() {
    clearLocalMicroTLB()
    for set in 0..<TLBUse.dataSets {
      sweepLocal(set) { slot in
        let index = set &* Self.dataSetSize &+ slot
        if (dataTLBs + index).pointee.physical & UInt64(VM_TLB_GLOBAL) != 0 { return true }
        clearData(index)
        return false
      }
      var dropped = translator?.evictions(set: set).hasNonGlobal ?? false
      sweepLocal(set + TLBUse.dataSets) { slot in
        let index = set &* Self.fetchSetSize &+ slot
        if (fetchTLBs + index).pointee.physical & UInt64(VM_TLB_GLOBAL) != 0 { return true }
        clearFetch(index)
        dropped = true
        return false
      }
      if dropped { translator?.invalidateJumps(set: set) }
    }
  }

  /// Drops the user set's translations: alignment checking was switched.
  func flushUserData() {
    clearMicroTLB()
    let set = VM_MMU_USER
    sweep(set) { slot in
      clearData(set &* Self.dataSetSize &+ slot)
      return false
    }
  }

  /// Drops the translation of the page at `linear`, of all of it when it is a large page (INVLPG).
  func flushPage(_ linear: UInt64) {
    let page = linear & ~0xfff
    if page >= latches.largeLow && page < latches.largeHigh {
      clearMicroTLB()
      flushPiecesOfLargePage(page)
    } else {
      clearMicroTLB(page: page, mayBeGlobal: !Self.isLow(page) || latches.lowGlobals)
    }
    let dataSlot = Int(truncatingIfNeeded: page &>> 12) & (Self.dataSetSize - 1)
    let fetchSlot = Int(truncatingIfNeeded: page &>> 12) & (Self.fetchSetSize - 1)
    for set in 0..<TLBUse.dataSets {
      let data = set &* Self.dataSetSize &+ dataSlot
      let entry = dataTLBs + data
      if entry.pointee.read_tag == page || entry.pointee.write_tag == page { clearData(data) }
      let fetch = set &* Self.fetchSetSize &+ fetchSlot
      if (fetchTLBs + fetch).pointee.tag == page {
        clearFetch(fetch)
        translator?.invalidateJumps(set: set)
      } else if let translator, translator.evictions(set: set).mayHold(page) {
        translator.invalidateJumps(set: set)
      }
    }
  }

  private func flushPiecesOfLargePage(_ page: UInt64) {
    for set in 0..<TLBUse.dataSets {
      sweep(set) { slot in
        let index = set &* Self.dataSetSize &+ slot
        let entry = (dataTLBs + index).pointee
        guard Self.isPiece(entry.physical, entry.read_tag, of: page) else { return true }
        clearData(index)
        return false
      }
      sweep(set + TLBUse.dataSets) { slot in
        let index = set &* Self.fetchSetSize &+ slot
        let entry = (fetchTLBs + index).pointee
        guard Self.isPiece(entry.physical, entry.tag, of: page) else { return true }
        clearFetch(index)
        translator?.invalidateJumps(set: set)
        return false
      }
      if let translator, translator.evictions(set: set).hasAny { translator.invalidateJumps(set: set) }
    }
  }

  @inline(__always)
  private static func isPiece(_ physical: UInt64, _ tag: UInt64, of page: UInt64) -> Bool {
    guard let size = PageSize(rawValue: (physical & TLBFlag.sizeMask) &>> TLBFlag.sizeShift), size != .small else {
      return false
    }
    return (tag ^ page) &>> size.bits == 0
  }

  /// Takes the write tags away: the dirty log was started or taken. Called at a safe point.
  public func dropWriteTranslations() {
    clearMicroTLB()
    for set in 0..<TLBUse.dataSets {
      sweep(set) { slot in
        (dataTLBs + (set &* Self.dataSetSize &+ slot)).pointee.write_tag = Self.invalidTag(slot)
        return true
      }
    }
  }

  /// Takes the write tags of one guest-physical page away: code of it has been decoded.
  func dropWriteTranslations(physical: UInt64) {
    clearMicroTLB()
    let page = physical & ~0xfff
    for set in 0..<TLBUse.dataSets {
      sweep(set) { slot in
        let entry = dataTLBs + (set &* Self.dataSetSize &+ slot)
        if entry.pointee.physical & ~0xfff == page { entry.pointee.write_tag = Self.invalidTag(slot) }
        return true
      }
    }
  }

  /// Drops the fetch translations only; the code cache threw its pages away.
  func dropFetchTranslations() {
    translator?.invalidateJumps()
    for set in 0..<TLBUse.dataSets {
      sweep(set + TLBUse.dataSets) { slot in
        clearFetch(set &* Self.fetchSetSize &+ slot)
        return false
      }
    }
  }

  /// Where operating systems have what is not global.
  @inline(__always)
  static func isLow(_ linear: UInt64) -> Bool { linear &>> 63 == 0 && (linear &>> 31 == 0 || linear &>> 32 != 0) }

  /// Remembers where large pages have been split into TLB entries, for `flushPage`.
  @inline(__always)
  func noteLargePage(_ linear: UInt64, _ size: PageSize) {
    let start = linear & ~((1 &<< size.bits) &- 1)
    let (end, overflow) = start.addingReportingOverflow(1 &<< size.bits)
    latches.largeLow = min(latches.largeLow, start)
    latches.largeHigh = max(latches.largeHigh, overflow ? .max : end)
  }
}

/// VM_TLB_INVALID as Swift sees it (the C macro has a suffix that the importer refuses).
let VM_TLB_INVALIDATED: UInt64 = 0xfff0_0000_0000_0fff
