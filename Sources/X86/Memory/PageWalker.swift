import CHost
import GuestMemory

/// What an access wants of a page (Intel SDM vol. 3A, 4.6).
struct PageAccess {
  var write = false
  var fetch = false
  /// A user-mode access: CPL 3, and not an implicit supervisor access.
  var user = false
  /// A supervisor access that SMAP keeps from user pages.
  var smap = false
  /// A look ahead: it sets no flags and asks no device; where it would have to, it finds nothing.
  var isQuiet = false
}

/// A page as the walk found it.
struct PageTranslation {
  /// Guest-physical address of the 4 KiB piece.
  var physical: UInt64
  /// Writes through this translation need no further walk: allowed, and the dirty flag is set.
  var writable: Bool
  var global: Bool
  var size: PageSize
}

/// The four structures a 4-level walk may pass, to set accessed flags once the access is known to be good.
private struct WalkPath {
  var address: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
  var value: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
  var count = 0

  @inline(__always)
  mutating func append(_ physical: UInt64, _ entry: UInt64) {
    switch count {
    case 0: (address.0, value.0) = (physical, entry)
    case 1: (address.1, value.1) = (physical, entry)
    case 2: (address.2, value.2) = (physical, entry)
    default: (address.3, value.3) = (physical, entry)
    }
    count &+= 1
  }

  @inline(__always)
  func at(_ index: Int) -> (UInt64, UInt64) {
    switch index {
    case 0: (address.0, value.0)
    case 1: (address.1, value.1)
    case 2: (address.2, value.2)
    default: (address.3, value.3)
    }
  }
}

/// Bits of paging-structure entries (Intel SDM vol. 3A, tables 4-5 to 4-20).
private enum PTE {
  static let present: UInt64 = 1 << 0
  static let writable: UInt64 = 1 << 1
  static let user: UInt64 = 1 << 2
  static let accessed: UInt64 = 1 << 5
  static let dirty: UInt64 = 1 << 6
  static let large: UInt64 = 1 << 7
  static let global: UInt64 = 1 << 8
  static let noExecute: UInt64 = 1 << 63
  static let frame: UInt64 = 0x000f_ffff_ffff_f000
}

extension CPU {
  /// Finds the page of `linear`, checks the access and sets accessed and dirty flags.
  ///
  /// A refused access sets CR2 and throws #PF; an address that is not canonical throws #GP(0).
  func walk(_ linear: UInt64, _ access: PageAccess) throws(GuestFault) -> PageTranslation {
    if s.pointee.efer & EFER.lma != 0 {
      guard CPU.isCanonical(linear) else {
        latches.refusedAddress = linear
        throw .protection(0)
      }
    }
    if s.pointee.cr0 & CR0.pg == 0 { return unpaged(linear) }
    // Another CPU may change an entry between our reading it and setting its flags: then the walk starts again.
    while true {
      if let found = try walkOnce(linear, access) { return found }
    }
  }

  /// The page of `linear` when the access would succeed and leave no trace but in the TLB: no accessed or dirty flag
  /// is to be set, and all paging structures are in memory. Else nil.
  @inline(__always)
  func find(_ linear: UInt64, _ access: PageAccess) -> PageTranslation? {
    if s.pointee.efer & EFER.lma != 0 && !CPU.isCanonical(linear) { return nil }
    if s.pointee.cr0 & CR0.pg == 0 { return unpaged(linear) }
    var quiet = access
    quiet.isQuiet = true
    return try? walkOnce(linear, quiet)
  }

  @inline(__always)
  private func unpaged(_ linear: UInt64) -> PageTranslation {
    PageTranslation(physical: linear & ~0xfff & s.pointee.a20_mask, writable: true, global: false, size: .small)
  }

  @inline(__always)
  static func isCanonical(_ linear: UInt64) -> Bool {
    UInt64(bitPattern: Int64(bitPattern: linear &<< 16) &>> 16) == linear
  }

  private func walkOnce(_ linear: UInt64, _ access: PageAccess) throws(GuestFault) -> PageTranslation? {
    let wide = s.pointee.cr4 & CR4.pae != 0
    var path = WalkPath()
    var allowed = PTE.writable | PTE.user
    var noExecute = false
    let leaf: UInt64
    let size: PageSize
    if !wide {
      let directory = s.pointee.cr3 & 0xffff_f000 &+ (linear &>> 22 & 0x3ff) &* 4
      let pde = readTable32(directory, access)
      guard pde & PTE.present != 0 else { throw pageFault(linear, access, 0) }
      path.append(directory, pde)
      allowed &= pde
      if pde & PTE.large != 0 && s.pointee.cr4 & CR4.pse != 0 {
        // PSE-36: bits 13-20 are physical address bits 32-39.
        guard pde & (1 << 21) == 0 else { throw pageFault(linear, access, 0b1001) }
        let base = pde & 0xffc0_0000 | (pde &>> 13 & 0xff) &<< 32
        leaf = base | linear & 0x3f_f000
        size = .large4M
      } else {
        let table = pde & 0xffff_f000 &+ (linear &>> 12 & 0x3ff) &* 4
        let pte = readTable32(table, access)
        guard pte & PTE.present != 0 else { throw pageFault(linear, access, 0) }
        path.append(table, pte)
        allowed &= pte
        leaf = pte & 0xffff_f000
        size = .small
      }
    } else {
      let long = s.pointee.efer & EFER.lma != 0
      let reserved = reservedBits(long: long)
      var table: UInt64
      if long {
        let root = s.pointee.cr3 & PTE.frame &+ (linear &>> 39 & 0x1ff) &* 8
        let pml4e = readTable64(root, access)
        guard pml4e & PTE.present != 0 else { throw pageFault(linear, access, 0) }
        guard pml4e & (reserved | PTE.large) == 0 else { throw pageFault(linear, access, 0b1001) }
        path.append(root, pml4e)
        allowed &= pml4e
        if pml4e & PTE.noExecute != 0 { noExecute = true }
        let pointers = pml4e & PTE.frame &+ (linear &>> 30 & 0x1ff) &* 8
        let pdpte = readTable64(pointers, access)
        guard pdpte & PTE.present != 0 else { throw pageFault(linear, access, 0) }
        var wrong = reserved
        if pdpte & PTE.large != 0 { wrong |= latches.hugePages ? 0x3fff_e000 : PTE.large }
        guard pdpte & wrong == 0 else { throw pageFault(linear, access, 0b1001) }
        path.append(pointers, pdpte)
        allowed &= pdpte
        if pdpte & PTE.noExecute != 0 { noExecute = true }
        if pdpte & PTE.large != 0 {
          let frame = pdpte & 0x000f_ffff_c000_0000 | linear & 0x3fff_f000
          return try finishWalk(linear, access, path, allowed, noExecute, frame, .huge1G, wide: true)
        }
        table = pdpte & PTE.frame
      } else {
        let pdpte = withUnsafePointer(to: &s.pointee.pdpte) {
          UnsafeRawPointer($0).load(fromByteOffset: Int(linear &>> 30 & 3) &* 8, as: UInt64.self)
        }
        guard pdpte & PTE.present != 0 else { throw pageFault(linear, access, 0) }
        table = pdpte & PTE.frame
      }
      let directory = table &+ (linear &>> 21 & 0x1ff) &* 8
      let pde = readTable64(directory, access)
      guard pde & PTE.present != 0 else { throw pageFault(linear, access, 0) }
      let wrong = pde & PTE.large != 0 ? reserved | 0x1f_e000 : reserved
      guard pde & wrong == 0 else { throw pageFault(linear, access, 0b1001) }
      path.append(directory, pde)
      allowed &= pde
      if pde & PTE.noExecute != 0 { noExecute = true }
      if pde & PTE.large != 0 {
        leaf = pde & 0x000f_ffff_ffe0_0000 | linear & 0x1f_f000
        size = .large2M
      } else {
        table = pde & PTE.frame &+ (linear &>> 12 & 0x1ff) &* 8
        let pte = readTable64(table, access)
        guard pte & PTE.present != 0 else { throw pageFault(linear, access, 0) }
        guard pte & reserved == 0 else { throw pageFault(linear, access, 0b1001) }
        path.append(table, pte)
        allowed &= pte
        if pte & PTE.noExecute != 0 { noExecute = true }
        leaf = pte & PTE.frame
        size = .small
      }
    }
    return try finishWalk(linear, access, path, allowed, noExecute, leaf, size, wide: wide)
  }

  /// Bits that must be 0 in every PAE or 4-level entry.
  @inline(__always)
  private func reservedBits(long: Bool) -> UInt64 {
    var bits: UInt64 = 0x000f_ffff_ffff_ffff & ~((1 &<< latches.physicalBits) &- 1)
    if !long { bits |= 0x7ff0_0000_0000_0000 }
    if s.pointee.efer & EFER.nxe == 0 { bits |= PTE.noExecute }
    return bits
  }

  private func finishWalk(
    _ linear: UInt64, _ access: PageAccess, _ path: WalkPath, _ allowed: UInt64, _ noExecute: Bool,
    _ physical: UInt64, _ size: PageSize, wide: Bool
  ) throws(GuestFault) -> PageTranslation? {
    let userPage = allowed & PTE.user != 0
    let writable = allowed & PTE.writable != 0
    let mayWrite = writable || (!access.user && s.pointee.cr0 & CR0.wp == 0)
    var refused = access.user && !userPage
    if access.write && !mayWrite { refused = true }
    if access.fetch {
      if noExecute { refused = true }
      if !access.user && userPage && s.pointee.cr4 & CR4.smep != 0 { refused = true }
    } else if access.smap && userPage {
      refused = true
    }
    if refused { throw pageFault(linear, access, 1) }

    let last = path.count &- 1
    for index in 0..<last {
      let (address, value) = path.at(index)
      if value & PTE.accessed == 0 {
        if access.isQuiet || !setTableBits(address, value, PTE.accessed, wide: wide) { return nil }
      }
    }
    let (address, value) = path.at(last)
    let wanted = access.write ? PTE.accessed | PTE.dirty : PTE.accessed
    if value & wanted != wanted {
      if access.isQuiet || !setTableBits(address, value, wanted, wide: wide) { return nil }
    }
    let dirty = (value | wanted) & PTE.dirty != 0
    let global = value & PTE.global != 0 && s.pointee.cr4 & CR4.pge != 0
    return PageTranslation(
      physical: physical & s.pointee.a20_mask, writable: mayWrite && dirty, global: global, size: size)
  }

  /// Sets CR2 and makes the #PF. `cause` holds the P and RSVD bits.
  private func pageFault(_ linear: UInt64, _ access: PageAccess, _ cause: UInt32) -> GuestFault {
    if access.isQuiet { return .page(0) }
    s.pointee.cr2 = linear
    var code = cause
    if access.write { code |= 2 }
    if access.user { code |= 4 }
    if access.fetch {
      let noExecute = s.pointee.efer & EFER.nxe != 0 && s.pointee.cr4 & CR4.pae != 0
      if noExecute || s.pointee.cr4 & CR4.smep != 0 { code |= 16 }
    }
    return .page(code)
  }

  // MARK: Paging structures in memory

  @inline(__always)
  private func readTable32(_ address: UInt64, _ access: PageAccess) -> UInt64 {
    let physical = address & s.pointee.a20_mask
    if physical >= 0x100000, let offset = memory.ramOffset(physical) {
      return UInt64((memory.ram + Int(offset)).load(as: UInt32.self))
    }
    return readTableBesideRAM(physical, size: 4, access) & 0xffff_ffff
  }

  @inline(__always)
  private func readTable64(_ address: UInt64, _ access: PageAccess) -> UInt64 {
    let physical = address & s.pointee.a20_mask
    if physical >= 0x100000, let offset = memory.ramOffset(physical) {
      return (memory.ram + Int(offset)).load(as: UInt64.self)
    }
    return readTableBesideRAM(physical, size: 8, access)
  }

  /// In the first MiB, in ROM, or where a device answers.
  @inline(never)
  private func readTableBesideRAM(_ physical: UInt64, size: Int, _ access: PageAccess) -> UInt64 {
    if let page = memory.target(physical).read {
      let host = page + Int(physical & 0xfff)
      return size == 4 ? UInt64(host.load(as: UInt32.self)) : host.load(as: UInt64.self)
    }
    return access.isQuiet ? 0 : environment.readIO(physical, size: size)
  }

  /// Sets flags in an entry that held `value`, atomically. False when it has changed meanwhile.
  private func setTableBits(_ address: UInt64, _ value: UInt64, _ bits: UInt64, wide: Bool) -> Bool {
    let physical = address & s.pointee.a20_mask
    let target = memory.target(physical)
    guard let page = target.write else { return true }
    let host = page + Int(physical & 0xfff)
    if memory.dirtyLog.isLogging { memory.dirtyLog.mark(page: target.ramPage) }
    if wide {
      var expected = value
      let word = host.assumingMemoryBound(to: UInt64.self)
      guard vm_cas64(word, &expected, value | bits) != 0 else { return false }
    } else {
      var expected = UInt32(truncatingIfNeeded: value)
      let word = host.assumingMemoryBound(to: UInt32.self)
      guard vm_cas32(word, &expected, expected | UInt32(truncatingIfNeeded: bits)) != 0 else { return false }
    }
    noteWrite(target.ramPage, physical, wide ? 8 : 4)
    return true
  }

  /// Loads the four PDPTEs that `cr3` points at (Intel SDM vol. 3A, 4.4.1); a reserved bit set is #GP(0).
  func loadPDPTEs(_ cr3: UInt64) throws(GuestFault) {
    let base = cr3 & 0xffff_ffe0
    let reserved = 0x1e6 | ~((1 &<< latches.physicalBits) &- 1)
    var values: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    values.0 = readTable64(base, PageAccess())
    values.1 = readTable64(base &+ 8, PageAccess())
    values.2 = readTable64(base &+ 16, PageAccess())
    values.3 = readTable64(base &+ 24, PageAccess())
    for value in [values.0, values.1, values.2, values.3] where value & 1 != 0 && value & reserved != 0 {
      throw .protection(0)
    }
    s.pointee.pdpte = values
  }
}
