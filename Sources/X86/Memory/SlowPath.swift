import CHost
import GuestMemory

/// A page that an access may use: where its bytes are.
struct PageReach {
  /// Guest-physical address of the page.
  var physical: UInt64
  var target: PageTarget
}

/// What the TLB's tags refuse: misses, page crossings, MMIO, pages with code, watchpoints, alignment checks.
extension CPU {
  /// Linear addresses outside 64-bit code are 32 bits wide; in long mode the implicit accesses of the processor are not.
  @inline(__always)
  func dataLinear(_ linear: UInt64) -> UInt64 { isLongMode ? linear : linear & 0xffff_ffff }

  @inline(__always)
  func checkAlignment(_ linear: UInt64, size: Int, set: Int) throws(GuestFault) {
    if latches.alignmentChecks && set == VM_MMU_USER && linear & UInt64(size &- 1) != 0 {
      // An address that is not canonical is refused as such.
      if isLongMode && !CPU.isCanonical(linear) { return }
      throw .alignment
    }
  }

  /// Translates one page, through the TLB when it knows, and gives the entry the tags it may have.
  func reach(_ linear: UInt64, write: Bool, set: Int) throws(GuestFault) -> PageReach {
    let page = linear & ~0xfff
    let slot = Int(truncatingIfNeeded: page &>> 12) & (CPU.dataSetSize - 1)
    let entry = dataTLBs + (set &* CPU.dataSetSize &+ slot)
    let known = entry.pointee.physical
    var physical: UInt64
    var flags: UInt64
    if entry.pointee.read_tag == page && (!write || known & TLBFlag.writable != 0) {
      physical = known & ~0xfff
      flags = known & 0xfff
      if flags & TLBFlag.empty != 0 { return PageReach(physical: physical, target: memory.empty) }
    } else {
      var access = PageAccess()
      access.write = write
      access.user = set == VM_MMU_USER
      access.smap = set == VM_MMU_SUPERVISOR_SMAP
      let found = try walk(linear, access)
      physical = found.physical
      flags = entryFlags(page, found)
    }
    let target = memory.target(physical)
    if write && target.ramPage >= 0 && memory.dirtyLog.isLogging { memory.dirtyLog.mark(page: target.ramPage) }
    fill(entry, set: set, slot: slot, page: page, physical: physical, flags: flags, target: target)
    return PageReach(physical: physical, target: target)
  }

  /// What `vm_tlb_entry.physical` holds of a translation besides the address.
  @inline(__always)
  private func entryFlags(_ page: UInt64, _ found: PageTranslation) -> UInt64 {
    var flags = found.size.rawValue &<< TLBFlag.sizeShift
    if found.global { flags |= UInt64(VM_TLB_GLOBAL) }
    if found.writable { flags |= TLBFlag.writable }
    if found.size != .small { noteLargePage(page, found.size) }
    return flags
  }

  /// Gives the page of `linear` the entry in the data TLB that an access through `reach` would give it, when that
  /// leaves no other trace. False when it would, or when the entry would not have the tag wanted: a fault, an accessed
  /// or dirty flag to be set, a device, code, a clean page of the dirty log.
  @inline(never)
  func fillQuietly(_ linear: UInt64, write: Bool, set: Int) -> Bool {
    // An address that a 32-bit program lets wrap is cut by whoever runs the instruction.
    if linear &>> 32 != 0 && !isCode64 { return false }
    if latches.alignmentChecks && set == VM_MMU_USER { return false }
    let page = linear & ~0xfff
    let slot = Int(truncatingIfNeeded: page &>> 12) & (CPU.dataSetSize - 1)
    let entry = dataTLBs + (set &* CPU.dataSetSize &+ slot)
    if entry.pointee.read_tag == page { return !write || entry.pointee.write_tag == page }
    var access = PageAccess()
    access.write = write
    access.user = set == VM_MMU_USER
    access.smap = set == VM_MMU_SUPERVISOR_SMAP
    guard let found = find(linear, access) else { return false }
    let target = memory.target(found.physical)
    guard target.read != nil else { return false }
    let flags = entryFlags(page, found)
    fill(entry, set: set, slot: slot, page: page, physical: found.physical, flags: flags, target: target)
    return (write ? entry.pointee.write_tag : entry.pointee.read_tag) == page
  }

  @inline(__always)
  private func fill(
    _ entry: UnsafeMutablePointer<vm_tlb_entry>, set: Int, slot: Int, page: UInt64, physical: UInt64, flags: UInt64,
    target: PageTarget
  ) {
    let invalid = CPU.invalidTag(slot)
    let unaligned = latches.alignmentChecks && set == VM_MMU_USER
    let watched = latches.watchesData && isWatched(page)
    guard let read = target.read, !unaligned, !watched else {
      // A translation of this page must not linger with older rights.
      if entry.pointee.read_tag == page {
        entry.pointee = vm_tlb_entry(read_tag: invalid, write_tag: invalid, addend: 0, physical: 0)
        clearMicroTLB()
      }
      return
    }
    var mayWrite = flags & TLBFlag.writable != 0 && target.write == target.read && target.ramPage >= 0
    if mayWrite {
      if !mayWriteUnseen(target.ramPage) { mayWrite = false }
      if memory.dirtyLog.isLogging && !memory.dirtyLog.isDirty(page: target.ramPage) { mayWrite = false }
    }
    let addend = UInt64(UInt(bitPattern: read)) &- page
    entry.pointee = vm_tlb_entry(
      read_tag: page, write_tag: mayWrite ? page : invalid, addend: addend,
      physical: physical | flags | (target.isEmpty ? TLBFlag.empty : 0))
    pageAddends[set &* CPU.dataSetSize &+ slot] = addend
    noteUse(set: set, slot: slot, flags: flags)
    if flags & UInt64(VM_TLB_GLOBAL) != 0 && CPU.isLow(page) { latches.lowGlobals = true }
  }

  // MARK: Loads

  @inline(never)
  func loadSlow(_ address: UInt64, size: Int, set: Int) throws(GuestFault) -> UInt64 {
    let linear = dataLinear(address)
    try checkAlignment(linear, size: size, set: set)
    let offset = Int(linear & 0xfff)
    let first = try reach(linear, write: false, set: set)
    var value: UInt64
    if offset &+ size <= 4096 {
      value = readPiece(first, offset, size)
    } else {
      let split = 4096 &- offset
      let second = try reach(dataLinear(linear &+ UInt64(split)), write: false, set: set)
      value = readPiece(first, offset, split)
      value |= readPiece(second, 0, size &- split) &<< UInt64(split &* 8)
    }
    if latches.watchesData { noteDataAccess(linear, size: size, write: false) }
    return value
  }

  /// Reads up to 8 bytes within one page.
  private func readPiece(_ reach: PageReach, _ offset: Int, _ size: Int) -> UInt64 {
    if let host = reach.target.read {
      let bytes = host + offset
      switch size {
      case 1: return UInt64(bytes.load(as: UInt8.self))
      case 2: return UInt64(bytes.loadUnaligned(as: UInt16.self))
      case 4: return UInt64(bytes.loadUnaligned(as: UInt32.self))
      case 8: return bytes.loadUnaligned(as: UInt64.self)
      default:
        var value: UInt64 = 0
        for index in 0..<size {
          value |= UInt64(bytes.load(fromByteOffset: index, as: UInt8.self)) &<< UInt64(index &* 8)
        }
        return value
      }
    }
    var value: UInt64 = 0
    var done = 0
    while done < size {
      let piece = CPU.busPiece(size &- done)
      let part = environment.readIO(reach.physical &+ UInt64(offset &+ done), size: piece)
      let mask: UInt64 = piece == 8 ? .max : (1 &<< UInt64(piece &* 8)) &- 1
      value |= (part & mask) &<< UInt64(done &* 8)
      done &+= piece
    }
    return value
  }

  /// The widest bus access within `left` bytes.
  @inline(__always)
  private static func busPiece(_ left: Int) -> Int { left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1 }

  func loadBytesSlow(_ address: UInt64, _ buffer: UnsafeMutableRawPointer, _ count: Int, set: Int) throws(GuestFault) {
    var done = 0
    while done < count {
      let linear = dataLinear(address &+ UInt64(done))
      let piece = min(count &- done, 4096 &- Int(linear & 0xfff))
      let page = try reach(linear, write: false, set: set)
      if let host = page.target.read {
        (buffer + done).copyMemory(from: host + Int(linear & 0xfff), byteCount: piece)
      } else {
        var at = 0
        while at < piece {
          let part = CPU.busPiece(piece &- at)
          let value = readPiece(page, Int(linear & 0xfff) &+ at, part)
          for index in 0..<part {
            let byte = UInt8(truncatingIfNeeded: value &>> UInt64(index &* 8))
            (buffer + done + at + index).storeBytes(of: byte, as: UInt8.self)
          }
          at &+= part
        }
      }
      done &+= piece
    }
    if latches.watchesData { noteDataAccess(dataLinear(address), size: count, write: false) }
  }

  // MARK: Stores

  @inline(never)
  func storeSlow(_ address: UInt64, size: Int, _ value: UInt64, set: Int) throws(GuestFault) {
    let linear = dataLinear(address)
    try checkAlignment(linear, size: size, set: set)
    let offset = Int(linear & 0xfff)
    let first = try reach(linear, write: true, set: set)
    if offset &+ size <= 4096 {
      writePiece(first, offset, size, value)
    } else {
      let split = 4096 &- offset
      let second = try reach(dataLinear(linear &+ UInt64(split)), write: true, set: set)
      writePiece(first, offset, split, value)
      writePiece(second, 0, size &- split, value &>> UInt64(split &* 8))
    }
    if latches.watchesData { noteDataAccess(linear, size: size, write: true) }
  }

  /// Writes up to 8 bytes within one page. The page has been marked dirty by `reach`.
  private func writePiece(_ reach: PageReach, _ offset: Int, _ size: Int, _ value: UInt64) {
    let physical = reach.physical &+ UInt64(offset)
    if let host = reach.target.write {
      let bytes = host + offset
      // What is there already leaves decoded code as it is. With several CPUs another may be about to change it.
      if isAlone && size <= 8 && readPiece(reach, offset, size) == value & (.max &>> UInt64(64 &- size &* 8)) { return }
      switch size {
      case 1: bytes.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
      case 2: bytes.storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
      case 4: bytes.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
      case 8: bytes.storeBytes(of: value, as: UInt64.self)
      default:
        for index in 0..<size {
          let byte = UInt8(truncatingIfNeeded: value &>> UInt64(index &* 8))
          bytes.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
        }
      }
      noteWrite(reach.target.ramPage, physical, size)
      return
    }
    if reach.target.isEmpty { return }
    var done = 0
    while done < size {
      let piece = CPU.busPiece(size &- done)
      let mask: UInt64 = piece == 8 ? .max : (1 &<< UInt64(piece &* 8)) &- 1
      environment.writeIO(
        physical &+ UInt64(done), size: piece, value: (value &>> UInt64(done &* 8)) & mask)
      done &+= piece
    }
  }

  func storeBytesSlow(_ address: UInt64, _ buffer: UnsafeRawPointer, _ count: Int, set: Int) throws(GuestFault) {
    var done = 0
    while done < count {
      let linear = dataLinear(address &+ UInt64(done))
      _ = try reach(linear, write: true, set: set)
      done &+= min(count &- done, 4096 &- Int(linear & 0xfff))
    }
    done = 0
    while done < count {
      let linear = dataLinear(address &+ UInt64(done))
      let offset = Int(linear & 0xfff)
      let piece = min(count &- done, 4096 &- offset)
      let page = try reach(linear, write: true, set: set)
      if let host = page.target.write {
        (host + offset).copyMemory(from: buffer + done, byteCount: piece)
        noteWrite(page.target.ramPage, page.physical &+ UInt64(offset), piece)
      } else {
        var at = 0
        while at < piece {
          let part = CPU.busPiece(piece &- at)
          var value: UInt64 = 0
          for index in 0..<part {
            let byte = buffer.load(fromByteOffset: done &+ at &+ index, as: UInt8.self)
            value |= UInt64(byte) &<< UInt64(index &* 8)
          }
          writePiece(page, offset &+ at, part, value)
          at &+= part
        }
      }
      done &+= piece
    }
    if latches.watchesData { noteDataAccess(dataLinear(address), size: count, write: true) }
  }

  // MARK: Fetches

  /// The execute translation of the page at `linear`. `page` of a new one is nil, `host` is 0 when it is not memory.
  func fetchEntry(_ linear: UInt64) throws(GuestFault) -> UnsafeMutablePointer<vm_fetch_entry> {
    let page = linear & ~0xfff
    let slot = Int(truncatingIfNeeded: page &>> 12) & (CPU.fetchSetSize - 1)
    let entry = s.pointee.fetch_tlb + slot
    if entry.pointee.tag == page { return entry }
    var access = PageAccess()
    access.fetch = true
    access.user = s.pointee.cpl == 3
    let found = try walk(linear, access)
    var flags = found.size.rawValue &<< TLBFlag.sizeShift
    if found.global { flags |= UInt64(VM_TLB_GLOBAL) }
    if found.size != .small { noteLargePage(page, found.size) }
    let host = memory.target(found.physical).read
    // Targets in the jump cache outlive their page's entry here: flushes are told.
    if entry.pointee.tag != VM_TLB_INVALIDATED {
      translator?.noteEviction(
        set: access.user ? VM_MMU_USER : VM_MMU_SUPERVISOR, page: entry.pointee.tag,
        global: entry.pointee.physical & UInt64(VM_TLB_GLOBAL) != 0)
    }
    entry.pointee = vm_fetch_entry(
      tag: page, physical: found.physical | flags, host: UInt64(UInt(bitPattern: host)), page: nil)
    let set = access.user ? VM_MMU_USER : VM_MMU_SUPERVISOR
    noteUse(set: set &+ TLBUse.dataSets, slot: slot, flags: flags)
    return entry
  }
}
