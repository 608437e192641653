import CHost
import GuestMemory

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What the code cache knows of one page of memory that holds decoded code. The buckets of its blocks follow the
/// struct.
struct CodePage {
  /// All pages in use, for `CodeCache.reset`.
  var next: UnsafeMutablePointer<CodePage>?
  /// Bit n: bytes 64n to 64n + 63 hold decoded code.
  var granules: UInt64 = 0
  /// RAM page number, or -1 for ROM.
  var ramPage: Int
  var blockCount = 0
  /// Writes that took the slow path only because there is code elsewhere in the page.
  var idleWrites = 0
  /// The number of them after which the page's code is dropped. Grows with each drop.
  var patience = 64
  /// Host address of the page's first byte.
  let host: UInt64
  /// A block whose only instruction begins in this page and ends in `following`, whose `preceding` this page is.
  fileprivate(set) var tail: UnsafeMutablePointer<vm_block>?
  fileprivate(set) var following: UnsafeMutablePointer<CodePage>?
  fileprivate var preceding: UnsafeMutablePointer<CodePage>?
  /// This CPU has said that it holds code of the page: nobody writes it unseen.
  var isClaimed = false
  /// Where blocks that had host code began when they were overwritten last: what comes in their place is as hot. -1: none.
  private var hotStarts = SIMD4<Int16>(repeating: -1)
  private var nextHot = 0

  static let bucketCount = 128

  init(ramPage: Int, host: UInt64) {
    self.ramPage = ramPage
    self.host = host
  }

  /// Nothing decoded depends on the page's bytes.
  var isEmpty: Bool { blockCount == 0 && tail == nil && preceding == nil }

  mutating func noteHot(_ start: Int) {
    hotStarts[nextHot] = Int16(start)
    nextHot = (nextHot + 1) & 3
  }

  /// Whether a hot block was overwritten there since this was asked last.
  mutating func takeHot(_ start: Int) -> Bool {
    for index in 0..<4 where Int(hotStarts[index]) == start {
      hotStarts[index] = -1
      return true
    }
    return false
  }
}

extension UnsafeMutablePointer where Pointee == CodePage {
  @inline(__always)
  var buckets: UnsafeMutablePointer<UnsafeMutablePointer<vm_block>?> {
    UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: UnsafeMutablePointer<vm_block>?.self)
  }

  @inline(__always)
  func bucket(_ offset: Int) -> UnsafeMutablePointer<UnsafeMutablePointer<vm_block>?> {
    buckets + ((offset ^ offset &>> 7) & (CodePage.bucketCount &- 1))
  }

  /// What the translator is to run from `offset` on: the region there, if there is one, else the block.
  @inline(__always)
  func findTranslated(_ offset: Int, _ mode: UInt32) -> UnsafeMutablePointer<vm_block>? {
    // A region is made of its first block, and so stands before it.
    var candidate = bucket(offset).pointee
    while let block = candidate {
      if Int(block.pointee.start) == offset && block.pointee.mode & ~UInt32(VM_BLOCK_REGION) == mode { return block }
      candidate = block.pointee.next
    }
    return nil
  }

  /// The block that starts at `offset`, decoded for `mode`.
  @inline(__always)
  func find(_ offset: Int, _ mode: UInt32) -> UnsafeMutablePointer<vm_block>? {
    var candidate = bucket(offset).pointee
    while let block = candidate {
      if Int(block.pointee.start) == offset && block.pointee.mode == mode { return block }
      candidate = block.pointee.next
    }
    return nil
  }
}

extension UnsafeMutablePointer where Pointee == vm_block {
  /// It was made of several blocks, see `CPU.makeRegion`.
  @inline(__always)
  var isRegion: Bool { pointee.mode & UInt32(VM_BLOCK_REGION) != 0 }

  @inline(__always)
  var ops: UnsafeMutablePointer<vm_op> { UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: vm_op.self) }
}

/// The decoded code of one CPU: blocks of `vm_op`, found by page of memory, offset and mode.
///
/// Blocks are bump-allocated from slabs and never freed one by one: a block whose bytes are overwritten is unlinked,
/// and its instructions are patched to leave, so that a running one stops after the instruction that did the write.
/// When the slabs are full everything is dropped at once.
final class CodeCache {
  let memory: PhysicalMemory
  /// Counts the times everything was dropped.
  private(set) var generation = 0
  /// Blocks decoded so far, for statistics and tests.
  private(set) var blocksDecoded = 0

  static let slabBytes = 4 << 20
  static let slabLimit = 24
  /// Instructions a block has at most.
  static let blockLimit = 64

  /// Whose code the blocks have.
  var translator: Translator?

  private var slabs: [UnsafeMutableRawPointer] = []
  private var slab = 0
  private var cursor: UnsafeMutableRawPointer
  private var end: UnsafeMutableRawPointer
  private let byRAMPage: UnsafeMutablePointer<UnsafeMutablePointer<CodePage>?>
  private var byROM: [UInt64: UnsafeMutablePointer<CodePage>] = [:]
  private var pages: UnsafeMutablePointer<CodePage>?
  /// For instructions that cross a page, single steps and code in device memory: made anew each time.
  let scratch: UnsafeMutablePointer<vm_block>
  /// The instruction that crossed a page last: in a loop it is not decoded again, but its bytes are compared.
  var crossing = CrossingInstruction()

  /// Offsets in pages at which a debugger has breakpoints, whatever the page: no block begins there or goes on there.
  private(set) var stops: Set<Int> = []
  private(set) var hasStops = false

  /// This CPU's bit in `PhysicalMemory.codePages` and `writers`.
  let cpuBit: UInt16

  init(memory: PhysicalMemory, cpu: Int) {
    self.memory = memory
    cpuBit = 1 &<< UInt16(cpu & 15)
    let table = calloc(memory.pageCount, MemoryLayout<UnsafeMutablePointer<CodePage>?>.stride)
    byRAMPage = table!.assumingMemoryBound(to: UnsafeMutablePointer<CodePage>?.self)
    let first = UnsafeMutableRawPointer.allocate(byteCount: Self.slabBytes, alignment: 64)
    slabs.append(first)
    cursor = first
    end = first + Self.slabBytes
    let bytes = MemoryLayout<vm_op>.stride * 8
    scratch = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64).bindMemory(
      to: vm_block.self, capacity: 1)
    UnsafeMutableRawPointer(scratch).initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
  }

  deinit {
    reset()
    for slab in slabs { slab.deallocate() }
    free(byRAMPage)
    scratch.deallocate()
  }

  /// Whether a page record and a block of the largest size still fit: else `reset` is due.
  var hasRoom: Bool {
    if end - cursor >= Self.reserve { return true }
    return slab + 1 < Self.slabLimit
  }

  private static let pageBytes =
    (MemoryLayout<CodePage>.stride + CodePage.bucketCount * MemoryLayout<UnsafeMutableRawPointer?>.stride + 63) & ~63
  private static let blockBytes = MemoryLayout<vm_op>.stride * (blockLimit + 4)
  private static let reserve = pageBytes + blockBytes

  private func makeRoom() {
    guard end - cursor < Self.reserve else { return }
    slab += 1
    if slab == slabs.count {
      slabs.append(UnsafeMutableRawPointer.allocate(byteCount: Self.slabBytes, alignment: 64))
    }
    cursor = slabs[slab]
    end = cursor + Self.slabBytes
  }

  /// The record of the page whose bytes are at host address `host`, if it has one.
  func known(host: UInt64) -> UnsafeMutablePointer<CodePage>? {
    let offset = host &- UInt64(UInt(bitPattern: memory.ram))
    return offset < memory.size ? byRAMPage[Int(offset &>> 12)] : byROM[host]
  }

  /// The record of the page whose bytes are at host address `host`.
  func page(host: UInt64) -> UnsafeMutablePointer<CodePage> {
    let offset = host &- UInt64(UInt(bitPattern: memory.ram))
    let isRAM = offset < memory.size
    let known = isRAM ? byRAMPage[Int(offset &>> 12)] : byROM[host]
    if let known { return known }
    makeRoom()
    let page = cursor.bindMemory(to: CodePage.self, capacity: 1)
    page.initialize(to: CodePage(ramPage: isRAM ? Int(offset &>> 12) : -1, host: host))
    page.buckets.initialize(repeating: nil, count: CodePage.bucketCount)
    cursor += Self.pageBytes
    page.pointee.next = pages
    pages = page
    if isRAM { byRAMPage[Int(offset &>> 12)] = page } else { byROM[host] = page }
    return page
  }

  /// Where the next block is to be written; room for the largest.
  func nextBlock() -> UnsafeMutablePointer<vm_block> {
    makeRoom()
    return cursor.bindMemory(to: vm_block.self, capacity: 1)
  }

  /// Enters the block written at `nextBlock`, with a `vm_links` behind `cells` ops. The page is claimed already.
  func enter(_ block: UnsafeMutablePointer<vm_block>, page: UnsafeMutablePointer<CodePage>, cells: Int) {
    cursor += MemoryLayout<vm_op>.stride * (cells + 3)
    let start = Int(block.pointee.start)
    let bucket = page.bucket(start)
    block.pointee.next = bucket.pointee
    block.pointee.page = UnsafeMutableRawPointer(page)
    bucket.pointee = block
    page.pointee.granules |= Self.granules(start, Int(block.pointee.bytes))
    page.pointee.blockCount += 1
    blocksDecoded &+= 1
  }

  /// Enters a block written at `nextBlock` whose only instruction lies in two pages, both claimed.
  func enterTail(
    _ block: UnsafeMutablePointer<vm_block>, page: UnsafeMutablePointer<CodePage>,
    following: UnsafeMutablePointer<CodePage>, cells: Int
  ) {
    cursor += MemoryLayout<vm_op>.stride * (cells + 3)
    dropTail(page)
    if let other = following.pointee.preceding { dropTail(other) }
    block.pointee.page = UnsafeMutableRawPointer(page)
    page.pointee.tail = block
    page.pointee.following = following
    following.pointee.preceding = page
    blocksDecoded &+= 1
  }

  private func dropTail(_ page: UnsafeMutablePointer<CodePage>) {
    guard let block = page.pointee.tail else { return }
    kill(block)
    page.pointee.following?.pointee.preceding = nil
    page.pointee.following = nil
    page.pointee.tail = nil
  }

  /// Drops the instructions in two pages whose bytes in `page` are among those from `offset` on.
  private func dropCrossing(_ page: UnsafeMutablePointer<CodePage>, _ offset: Int, _ length: Int) -> Bool {
    var hit = false
    if let tail = page.pointee.tail, offset + length > Int(tail.pointee.start) {
      if tail.pointee.code != 0 { page.pointee.noteHot(Int(tail.pointee.start)) }
      dropTail(page)
      hit = true
    }
    if let preceding = page.pointee.preceding, let tail = preceding.pointee.tail,
      offset < Int(tail.pointee.start) + Int(tail.pointee.bytes) - 4096
    {
      dropTail(preceding)
      hit = true
    }
    return hit
  }

  /// Says that this CPU holds no code of the page any more.
  func release(_ page: UnsafeMutablePointer<CodePage>) {
    guard page.pointee.isClaimed else { return }
    page.pointee.isClaimed = false
    page.pointee.idleWrites = 0
    _ = vm_fetch_and16(memory.codePages + page.pointee.ramPage, ~cpuBit)
  }

  private static func granules(_ start: Int, _ length: Int) -> UInt64 {
    let first = start >> 6
    let last = min(63, (start + max(length, 1) - 1) >> 6)
    return (UInt64.max &<< UInt64(first)) & (UInt64.max &>> UInt64(63 - last))
  }

  // MARK: Dropping code

  /// Drops the blocks that overlap the written bytes, all in one page.
  func written(ramPage: Int, offset: Int, length: Int) {
    guard let page = byRAMPage[ramPage], page.pointee.isClaimed else { return }
    var hit = dropCrossing(page, offset, length)
    if page.pointee.granules & Self.granules(offset, length) != 0 {
      let dropped = drop(page) { block in
        let start = Int(block.pointee.start)
        guard start < offset + length && offset < start + Int(block.pointee.bytes) else { return false }
        if block.pointee.code != 0 { page.pointee.noteHot(start) }
        return true
      }
      if dropped { hit = true }
    }
    if hit { return }
    page.pointee.idleWrites += 1
    // In place of code that is gone new code may follow, or data.
    guard page.pointee.idleWrites >= (page.pointee.isEmpty ? 16 : page.pointee.patience) else { return }
    // Data beside code, or in its place: without code in the page its writes are fast again. Code that is still run comes
    // back.
    if !page.pointee.isEmpty {
      page.pointee.patience = min(page.pointee.patience * 2, 1 << 20)
      _ = drop(page) { _ in true }
      _ = dropCrossing(page, 0, 4096)
    }
    release(page)
  }

  private func drop(
    _ page: UnsafeMutablePointer<CodePage>, where matches: (UnsafeMutablePointer<vm_block>) -> Bool
  ) -> Bool {
    var dropped = false
    var granules: UInt64 = 0
    for index in 0..<CodePage.bucketCount {
      var link = page.buckets + index
      while let block = link.pointee {
        if matches(block) {
          link.pointee = block.pointee.next
          kill(block)
          page.pointee.blockCount -= 1
          dropped = true
        } else {
          granules |= Self.granules(Int(block.pointee.start), Int(block.pointee.bytes))
          link = UnsafeMutableRawPointer(block).assumingMemoryBound(to: UnsafeMutablePointer<vm_block>?.self)
        }
      }
    }
    page.pointee.granules = granules
    return dropped
  }

  // MARK: A debugger's breakpoints

  @inline(__always)
  func isStop(_ offset: Int) -> Bool { hasStops && stops.contains(offset) }

  /// Sets `stops`, and drops the blocks that go on at a new one. No block may be running.
  func setStops(_ offsets: Set<Int>) {
    let new = offsets.subtracting(stops)
    stops = offsets
    hasStops = !offsets.isEmpty
    guard !new.isEmpty else { return }
    var next = pages
    while let page = next {
      next = page.pointee.next
      if let tail = page.pointee.tail, new.contains(Int(tail.pointee.start)) { dropTail(page) }
      _ = drop(page) { block in
        let start = Int(block.pointee.start)
        return new.contains { start <= $0 && $0 < start + Int(block.pointee.bytes) }
      }
    }
  }

  /// Drops all blocks of the page whose bytes are at host address `host`: one that is running stops behind its instruction.
  func dropAll(host: UInt64) {
    guard let page = known(host: host) else { return }
    _ = drop(page) { _ in true }
  }

  private func kill(_ block: UnsafeMutablePointer<vm_block>) {
    block.pointee.dead = 1
    translator?.kill(block)
    for index in 0..<Int(block.pointee.count) { block.ops[index].kind = OpKind.leave.rawValue }
  }

  /// Drops everything. No block may be running but one that is about to look its next one up, and records in the fetch
  /// TLB must be dropped with it.
  func reset() {
    var next = pages
    while let page = next {
      next = page.pointee.next
      guard page.pointee.ramPage >= 0 else { continue }
      release(page)
      byRAMPage[page.pointee.ramPage] = nil
    }
    pages = nil
    byROM.removeAll()
    slab = 0
    cursor = slabs[0]
    end = cursor + Self.slabBytes
    generation += 1
    translator?.reset()
  }
}
