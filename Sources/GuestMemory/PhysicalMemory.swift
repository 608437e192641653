import CHost

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What could not be had from the host.
public enum GuestMemoryError: Error, CustomStringConvertible {
  case cannotMap(bytes: UInt64, reason: String)
  case badSize(bytes: UInt64)

  public var description: String {
    switch self {
    case .cannotMap(let bytes, let reason):
      "cannot map \(bytes >> 20) MB of guest memory: \(reason)"
    case .badSize(let bytes): "guest memory of \(bytes) bytes is not a positive multiple of 4096"
    }
  }
}

/// A device that answers to guest-physical addresses. Called with the machine lock held.
public protocol MemoryMappedIO: AnyObject {
  /// - Parameters: offset: from the region's start. size: 1, 2, 4 or 8 bytes, never crossing the region's end.
  func readMemory(offset: UInt64, size: Int) -> UInt64
  func writeMemory(offset: UInt64, size: Int, value: UInt64)
}

/// How one 4 KiB guest-physical page is reached.
public struct PageTarget {
  /// Host address of the page's first byte for reads and fetches; nil: `PhysicalMemory.readIO`.
  public var read: UnsafeMutableRawPointer?
  /// For writes; nil: `PhysicalMemory.writeIO` (which drops writes to ROM).
  public var write: UnsafeMutableRawPointer?
  /// The RAM page number behind `write` (index into the dirty log), or -1.
  public var ramPage: Int
  /// Neither memory nor a device: reads find all ones at `read`, and writes go nowhere.
  public var isEmpty: Bool

  @inlinable @inline(__always)
  init(read: UnsafeMutableRawPointer?, write: UnsafeMutableRawPointer?, ramPage: Int, isEmpty: Bool = false) {
    self.read = read
    self.write = write
    self.ramPage = ramPage
    self.isEmpty = isEmpty
  }
}

/// Guest-physical memory: RAM, ROM and the address map.
///
/// RAM is one host mapping. The part that fits below `lowLimit` (3 GiB) lies at 0, the rest from 4 GiB. RAM page
/// numbers count host pages, so the hole has none.
///
/// The page table of the first MiB is kept apart because the chipset remaps it (i440FX PAM, 3.2.12 of the data sheet).
public final class PhysicalMemory: @unchecked Sendable {
  /// Bytes of a page.
  public static let pageSize = 4096
  /// Bytes below the hole at most: there the addresses of devices begin.
  public static let lowLimit: UInt64 = 0xC000_0000
  /// The physical address at which memory goes on above the hole.
  public static let highBase: UInt64 = 0x1_0000_0000

  public let size: UInt64
  /// The host's address of the guest's memory, which has no hole.
  public let ram: UnsafeMutableRawPointer
  /// Bytes of RAM that lie below 4 GiB.
  public let lowSize: UInt64
  /// What has been written since it was last asked.
  public let dirtyLog: DirtyLog
  /// A word a RAM page, a bit a CPU: which CPUs hold decoded code of it. While it is not 0 writes must take the slow
  /// path.
  public let codePages: UnsafeMutablePointer<UInt16>
  /// A word a RAM page, a bit a CPU: which CPUs may hold a translation that lets them write it without being seen.
  public let writers: UnsafeMutablePointer<UInt16>

  /// Called after a page with `codePages` set was written by other than a CPU (guest-physical address, length).
  public var onCodeWritten: (UInt64, Int) -> Void = { _, _ in }
  /// Called after the address map changed: every translation is to be dropped.
  public var onMapChanged: () -> Void = {}

  struct Region {
    var start: UInt64
    var end: UInt64  // one past the last byte
    var rom: UnsafeMutableRawPointer?
    var io: (any MemoryMappedIO)?
    var name: String
  }
  private var regions: [Region] = []
  /// What reads find where nothing answers: a page of ones, never written.
  private let ones = UnsafeMutableRawPointer.allocate(byteCount: pageSize, alignment: pageSize)

  /// What the chipset makes of a 4 KiB page of the first MiB.
  public struct LowPage: Equatable, Sendable {
    /// Reads find memory; otherwise what lies behind it, such as a ROM.
    public var readRAM: Bool
    /// Writes go to memory; otherwise they are lost.
    public var writeRAM: Bool
    public init(readRAM: Bool, writeRAM: Bool) {
      self.readRAM = readRAM
      self.writeRAM = writeRAM
    }
  }
  private var lowPages: [LowPage]

  /// - Parameter size: bytes of RAM, a multiple of 4096.
  public init(size: UInt64) throws(GuestMemoryError) {
    guard size > 0, size % 4096 == 0, size <= 1 << 46 else { throw .badSize(bytes: size) }
    self.size = size
    lowSize = min(size, Self.lowLimit)
    ram = try Self.map(Int(size))
    let pages = Int(size / 4096)
    dirtyLog = DirtyLog(pageCount: pages)
    codePages = .allocate(capacity: pages)
    codePages.initialize(repeating: 0, count: pages)
    writers = .allocate(capacity: pages)
    writers.initialize(repeating: 0, count: pages)
    lowPages = Array(repeating: LowPage(readRAM: true, writeRAM: true), count: 256)
    for page in 0xA0..<0x100 { lowPages[page] = LowPage(readRAM: false, writeRAM: false) }
    memset(ones, 0xff, Self.pageSize)
  }

  /// The host's large pages, where it gives them: fewer of its page faults and TLB misses, for the guest and for whoever
  /// reads all of memory.
  private static func map(_ size: Int) throws(GuestMemoryError) -> UnsafeMutableRawPointer {
    let large = 2 << 20
    let protection = PROT_READ | PROT_WRITE
    let mapping = mmap(nil, size + large, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let mapping, mapping != UnsafeMutableRawPointer(bitPattern: -1) else {
      throw .cannotMap(bytes: UInt64(size), reason: String(cString: strerror(errno)))
    }
    let head = (large - Int(bitPattern: mapping) % large) % large
    if head > 0 { munmap(mapping, head) }
    munmap(mapping + head + size, large - head)
    madvise(mapping + head, size, 14)  // MADV_HUGEPAGE
    return mapping + head
  }

  deinit {
    munmap(ram, Int(size))
    codePages.deallocate()
    writers.deallocate()
    ones.deallocate()
  }

  // MARK: RAM pages

  /// Pages of memory.
  public var pageCount: Int { dirtyLog.pageCount }

  /// Guest-physical address of RAM page number `page`.
  public func physicalAddress(ofPage page: Int) -> UInt64 {
    let offset = UInt64(page) << 12
    return offset < lowSize ? offset : offset - lowSize + Self.highBase
  }

  /// Offset into `ram` of a guest-physical address, or nil where there is no RAM. Ignores the chipset's remapping.
  @inlinable @inline(__always)
  public func ramOffset(_ physical: UInt64) -> UInt64? {
    if physical < lowSize { return physical }
    if physical >= Self.highBase && physical - Self.highBase < size - lowSize {
      return physical - Self.highBase + lowSize
    }
    return nil
  }

  // MARK: The address map

  /// Maps `device` at `start`. A region hides RAM below it only in the first MiB and where no RAM is.
  public func mapIO(_ device: any MemoryMappedIO, name: String, start: UInt64, length: UInt64) {
    regions.append(Region(start: start, end: start + length, rom: nil, io: device, name: name))
    onMapChanged()
  }

  /// Maps read-only memory; `bytes` (page-aligned host memory of `length` bytes) must live as long as this object.
  public func mapROM(_ bytes: UnsafeMutableRawPointer, name: String, start: UInt64, length: UInt64) {
    regions.append(Region(start: start, end: start + length, rom: bytes, io: nil, name: name))
    onMapChanged()
  }

  /// Takes a region of this name away; what lay under it is seen again.
  public func unmap(name: String) {
    regions.removeAll { $0.name == name }
    onMapChanged()
  }

  /// Takes everything that is not RAM away, for good: devices know their memory, and so memory that is not wanted any more must
  /// forget its devices. The guest runs no more.
  public func unmapAll() {
    regions = []
    onMapChanged = {}
  }

  /// Sets what the chipset makes of the pages from `first` on; used for PAM and the VGA window.
  public func setLowPages(_ range: Range<Int>, _ value: LowPage) {
    guard range.contains(where: { lowPages[$0] != value }) else { return }
    for page in range { lowPages[page] = value }
    onMapChanged()
  }

  /// How the page at `physical` (page-aligned or not) is reached.
  @inlinable @inline(__always)
  public func target(_ physical: UInt64) -> PageTarget {
    let page = physical & ~0xfff
    if page >= 0x100000, let offset = ramOffset(page) {
      return PageTarget(read: ram + Int(offset), write: ram + Int(offset), ramPage: Int(offset >> 12))
    }
    return targetBesideRAM(page)
  }

  /// Of a page of the first MiB, or one that is not RAM.
  @usableFromInline
  func targetBesideRAM(_ page: UInt64) -> PageTarget {
    if page < 0x100000 {
      let low = lowPages[Int(page >> 12)]
      let host = page < lowSize ? ram + Int(page) : nil
      if !low.readRAM && !low.writeRAM && isEmpty(page) { return empty }
      let rom = low.readRAM ? nil : region(at: page)?.romHost(page)
      return PageTarget(
        read: low.readRAM ? host : rom, write: low.writeRAM ? host : nil,
        ramPage: low.writeRAM && host != nil ? Int(page >> 12) : -1)
    }
    if isEmpty(page) { return empty }
    return PageTarget(read: region(at: page)?.romHost(page), write: nil, ramPage: -1)
  }

  /// The target of a page where nothing is.
  public var empty: PageTarget { PageTarget(read: ones, write: nil, ramPage: -1, isEmpty: true) }

  private func isEmpty(_ page: UInt64) -> Bool {
    // The last page ends where the addresses do.
    !regions.contains { $0.start <= page | 0xfff && page < $0.end }
  }

  private func region(at physical: UInt64) -> Region? {
    regions.last { $0.start <= physical && physical < $0.end }
  }

  /// A read that `target` has no host address for. Nothing there reads as all ones. Machine lock held.
  public func readIO(_ physical: UInt64, size: Int) -> UInt64 {
    let ones: UInt64 = size >= 8 ? .max : (1 << UInt64(size * 8)) - 1
    guard let region = region(at: physical) else { return ones }
    if let rom = region.rom {
      var value: UInt64 = 0
      for index in 0..<min(size, Int(region.end - physical)) {
        value |= UInt64((rom + Int(physical - region.start) + index).load(as: UInt8.self)) << UInt64(index * 8)
      }
      return value
    }
    return region.io!.readMemory(offset: physical - region.start, size: size) & ones
  }

  /// A write that `target` has no host address for. Dropped where nothing answers. Machine lock held.
  public func writeIO(_ physical: UInt64, size: Int, value: UInt64) {
    guard let region = region(at: physical), let io = region.io else { return }
    io.writeMemory(offset: physical - region.start, size: size, value: value)
  }

  /// The address map in lines, for a debugger.
  public var mapDescription: String {
    func line(_ start: UInt64, _ end: UInt64, _ what: String) -> String {
      "\(String(start, radix: 16))-\(String(end - 1, radix: 16)) \(what)"
    }
    var lines = [line(0, lowSize, "RAM")]
    if size > lowSize { lines.append(line(Self.highBase, Self.highBase + size - lowSize, "RAM")) }
    for region in regions.sorted(by: { $0.start < $1.start }) {
      lines.append(line(region.start, region.end, "\(region.rom != nil ? "ROM" : "I/O") \(region.name)"))
    }
    return lines.joined(separator: "\n")
  }

  // MARK: DMA

  /// Copies guest memory out, as a bus master sees it. What is not memory reads as 0xFF. Machine lock held.
  public func read(_ physical: UInt64, into buffer: UnsafeMutableRawBufferPointer) {
    forEachPiece(physical, buffer.count) { address, offset, length in
      if let host = target(address).read {
        (buffer.baseAddress! + offset).copyMemory(from: host + Int(address & 0xfff), byteCount: length)
      } else {
        memset(buffer.baseAddress! + offset, 0xff, length)
      }
    }
  }

  /// Copies into guest memory, marks the pages dirty and reports overwritten code. Machine lock held.
  public func write(_ physical: UInt64, from buffer: UnsafeRawBufferPointer) {
    forEachPiece(physical, buffer.count) { address, offset, length in
      let target = target(address)
      guard let host = target.write else { return }
      willBeWritten(target.ramPage)
      (host + Int(address & 0xfff)).copyMemory(from: buffer.baseAddress! + offset, byteCount: length)
      wasWritten(address, length, page: target.ramPage)
    }
  }

  private func forEachPiece(_ physical: UInt64, _ count: Int, _ body: (UInt64, Int, Int) -> Void) {
    var done = 0
    while done < count {
      let address = physical &+ UInt64(done)
      let length = min(count - done, 4096 - Int(address & 0xfff))
      body(address, done, length)
      done += length
    }
  }

  /// An integer whose address is a multiple of its size is read in one piece, as on a bus: what a CPU changes meanwhile is
  /// seen before or after. (Copies go byte by byte where the library likes.) Later reads see what its writer wrote before it.
  public func read<T: FixedWidthInteger>(_ physical: UInt64, as type: T.Type) -> T {
    if Self.isInOnePiece(physical, T.self), let page = target(physical).read {
      let host = page + Int(physical & 0xfff)
      switch MemoryLayout<T>.size {
      case 1: return T(truncatingIfNeeded: vm_load8(host.assumingMemoryBound(to: UInt8.self)))
      case 2: return T(truncatingIfNeeded: UInt16(littleEndian: vm_load16(host.assumingMemoryBound(to: UInt16.self))))
      case 4: return T(truncatingIfNeeded: UInt32(littleEndian: vm_load32(host.assumingMemoryBound(to: UInt32.self))))
      default: return T(truncatingIfNeeded: UInt64(littleEndian: vm_load64(host.assumingMemoryBound(to: UInt64.self))))
      }
    }
    var value: T = 0
    withUnsafeMutableBytes(of: &value) { read(physical, into: $0) }
    return T(littleEndian: value)
  }

  /// In one piece like `read`, and behind all that was written before.
  public func write<T: FixedWidthInteger>(_ physical: UInt64, _ value: T) {
    guard Self.isInOnePiece(physical, T.self) else {
      return withUnsafeBytes(of: value.littleEndian) { write(physical, from: $0) }
    }
    let target = target(physical)
    guard let page = target.write else { return }
    let host = page + Int(physical & 0xfff)
    willBeWritten(target.ramPage)
    switch MemoryLayout<T>.size {
    case 1: vm_store8(host.assumingMemoryBound(to: UInt8.self), UInt8(truncatingIfNeeded: value))
    case 2: vm_store16(host.assumingMemoryBound(to: UInt16.self), UInt16(truncatingIfNeeded: value).littleEndian)
    case 4: vm_store32(host.assumingMemoryBound(to: UInt32.self), UInt32(truncatingIfNeeded: value).littleEndian)
    default: vm_store64(host.assumingMemoryBound(to: UInt64.self), UInt64(truncatingIfNeeded: value).littleEndian)
    }
    wasWritten(physical, MemoryLayout<T>.size, page: target.ramPage)
  }

  private static func isInOnePiece<T>(_ physical: UInt64, _ type: T.Type) -> Bool {
    let size = MemoryLayout<T>.size
    return size <= 8 && size.nonzeroBitCount == 1 && physical & UInt64(size - 1) == 0
  }

  private func willBeWritten(_ page: Int) {
    if dirtyLog.isLogging { dirtyLog.mark(page: page) }
  }

  private func wasWritten(_ address: UInt64, _ length: Int, page: Int) {
    vm_fence()
    if vm_load16(codePages + page) != 0 { onCodeWritten(address, length) }
  }
}

extension PhysicalMemory.Region {
  fileprivate func romHost(_ page: UInt64) -> UnsafeMutableRawPointer? {
    guard let rom, page + 4096 <= end else { return nil }
    return rom + Int(page - start)
  }
}
