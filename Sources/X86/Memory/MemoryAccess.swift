import CHost
import GuestMemory

/// Loads and stores of the running instruction, at the current privilege.
///
/// The fast path compares one tag of the software TLB: it refuses another page, a page crossing, and whatever the slow
/// path in `SlowPath.swift` must see (MMIO, code, watched and clean pages).
extension CPU {
  @inline(__always)
  func dataEntry(_ linear: UInt64) -> UnsafeMutablePointer<vm_tlb_entry> {
    s.pointee.data_tlb + Int(truncatingIfNeeded: (linear &>> 12) & UInt64(CPU.dataSetSize - 1))
  }

  /// The same of TLB set `set`.
  @inline(__always)
  func dataEntry(_ linear: UInt64, set: Int) -> UnsafeMutablePointer<vm_tlb_entry> {
    dataTLBs + (set &* CPU.dataSetSize &+ Int(truncatingIfNeeded: (linear &>> 12) & UInt64(CPU.dataSetSize - 1)))
  }

  /// Reads little-endian `T` at a linear address.
  @inline(__always)
  func load<T: FixedWidthInteger & UnsignedInteger>(_ linear: UInt64, as type: T.Type) throws(GuestFault) -> T {
    let entry = dataEntry(linear)
    if linear ^ entry.pointee.read_tag <= UInt64(4096 - MemoryLayout<T>.size) {
      return CPU.host(linear &+ entry.pointee.addend).loadUnaligned(as: T.self)
    }
    let size = MemoryLayout<T>.size
    return T(truncatingIfNeeded: try loadSlow(linear, size: size, set: Int(s.pointee.mmu)))
  }

  /// Writes little-endian `T` at a linear address.
  @inline(__always)
  func store<T: FixedWidthInteger & UnsignedInteger>(_ linear: UInt64, _ value: T) throws(GuestFault) {
    let entry = dataEntry(linear)
    if linear ^ entry.pointee.write_tag <= UInt64(4096 - MemoryLayout<T>.size) {
      CPU.host(linear &+ entry.pointee.addend).storeBytes(of: value, as: T.self)
      return
    }
    let wide = UInt64(truncatingIfNeeded: value)
    try storeSlow(linear, size: MemoryLayout<T>.size, wide, set: Int(s.pointee.mmu))
  }

  /// A host address from the TLB: never 0 on a hit.
  @inline(__always)
  static func host(_ address: UInt64) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: UInt(address)).unsafelyUnwrapped
  }

  func load128(_ linear: UInt64) throws(GuestFault) -> vm_xmm {
    let entry = dataEntry(linear)
    if linear ^ entry.pointee.read_tag <= 4096 - 16 {
      let host = CPU.host(linear &+ entry.pointee.addend)
      return vm_xmm(
        lo: host.loadUnaligned(as: UInt64.self), hi: host.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }
    var value = vm_xmm(lo: 0, hi: 0)
    try loadBytes(linear, into: &value, count: 16)
    return value
  }

  func store128(_ linear: UInt64, _ value: vm_xmm) throws(GuestFault) {
    let entry = dataEntry(linear)
    if linear ^ entry.pointee.write_tag <= 4096 - 16 {
      let host = CPU.host(linear &+ entry.pointee.addend)
      host.storeBytes(of: value.lo, as: UInt64.self)
      host.storeBytes(of: value.hi, toByteOffset: 8, as: UInt64.self)
      return
    }
    var copy = value
    try storeBytes(linear, from: &copy, count: 16)
  }

  /// Reads `count` bytes, over as many pages as they take.
  func loadBytes(_ linear: UInt64, into buffer: UnsafeMutableRawPointer, count: Int) throws(GuestFault) {
    try loadBytesSlow(linear, buffer, count, set: Int(s.pointee.mmu))
  }

  /// Writes `count` bytes; every page is checked before the first byte is written.
  func storeBytes(_ linear: UInt64, from buffer: UnsafeRawPointer, count: Int) throws(GuestFault) {
    try storeBytesSlow(linear, buffer, count, set: Int(s.pointee.mmu))
  }

  /// The TLB set of implicit supervisor accesses (descriptor tables, TSS): SMAP holds whatever EFLAGS.AC says.
  @inline(__always)
  var supervisorSet: Int {
    s.pointee.cr4 & CR4.smap != 0 ? VM_MMU_SUPERVISOR_SMAP : VM_MMU_SUPERVISOR
  }

  /// Reads as the processor itself does: supervisor privilege whatever the CPL.
  func loadSupervisor<T: FixedWidthInteger & UnsignedInteger>(
    _ linear: UInt64, as type: T.Type
  ) throws(GuestFault) -> T {
    let address = supervisorLinear(linear)
    let set = supervisorSet
    let entry = dataEntry(address, set: set)
    if address ^ entry.pointee.read_tag <= UInt64(4096 - MemoryLayout<T>.size) {
      return CPU.host(address &+ entry.pointee.addend).loadUnaligned(as: T.self)
    }
    return T(truncatingIfNeeded: try loadSlow(address, size: MemoryLayout<T>.size, set: set))
  }

  func storeSupervisor<T: FixedWidthInteger & UnsignedInteger>(_ linear: UInt64, _ value: T) throws(GuestFault) {
    let address = supervisorLinear(linear)
    let wide = UInt64(truncatingIfNeeded: value)
    try storeSlow(address, size: MemoryLayout<T>.size, wide, set: supervisorSet)
  }

  @inline(__always)
  private func supervisorLinear(_ linear: UInt64) -> UInt64 { isLongMode ? linear : linear & 0xffff_ffff }

  /// The host address of `size` bytes that may be updated in place (locked operations): write permission is checked and
  /// the page is marked dirty. Nil when the bytes must go through `store`: MMIO, ROM, a page crossing, code or a
  /// watchpoint.
  func hostPointerForUpdate(_ linear: UInt64, size: Int) throws(GuestFault) -> UnsafeMutableRawPointer? {
    let entry = dataEntry(linear)
    if linear ^ entry.pointee.write_tag <= UInt64(4096 &- size) {
      return CPU.host(linear &+ entry.pointee.addend)
    }
    try probeWrite(linear, size: size)
    let again = dataEntry(linear)
    guard linear ^ again.pointee.write_tag <= UInt64(4096 &- size) else { return nil }
    return CPU.host(linear &+ again.pointee.addend)
  }

  /// The host address of a byte for reading up to the page's end; nil for MMIO and watched pages.
  func hostPointerForRead(_ linear: UInt64) throws(GuestFault) -> UnsafeRawPointer? {
    let entry = dataEntry(linear)
    if linear ^ entry.pointee.read_tag <= 4095 {
      return UnsafeRawPointer(CPU.host(linear &+ entry.pointee.addend))
    }
    _ = try reach(dataLinear(linear), write: false, set: Int(s.pointee.mmu))
    let again = dataEntry(linear)
    guard linear ^ again.pointee.read_tag <= 4095 else { return nil }
    return UnsafeRawPointer(CPU.host(linear &+ again.pointee.addend))
  }

  /// Checks that `size` bytes may be written, as a write would, without writing.
  func probeWrite(_ linear: UInt64, size: Int) throws(GuestFault) {
    let set = Int(s.pointee.mmu)
    try checkAlignment(linear, size: size, set: set)
    var address = linear
    var left = size
    while left > 0 {
      _ = try reach(dataLinear(address), write: true, set: set)
      let piece = min(left, 4096 &- Int(address & 0xfff))
      address = address &+ UInt64(piece)
      left &-= piece
    }
  }
}
