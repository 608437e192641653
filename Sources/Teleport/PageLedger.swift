import Foundation
import GuestMemory
import SavedState

/// One checksum for each page of RAM, as it was last sent or received, and their sum, keyed with the page's number: a
/// digest of all of memory that costs nothing to have at hand.
final class PageLedger {
  let pageCount: Int
  private let checksums: UnsafeMutablePointer<UInt64>
  /// A bit a page: whether it is recorded as other than zero.
  private let dataWords: UnsafeMutablePointer<UInt64>
  private(set) var digest: UInt64 = 0

  /// Starts as memory that is all zero.
  init(pageCount: Int) {
    self.pageCount = pageCount
    let wordCount = (pageCount + 63) / 64
    checksums = .allocate(capacity: max(pageCount, 1))
    checksums.initialize(repeating: PageChunkEncoder.zeroChecksum, count: max(pageCount, 1))
    dataWords = .allocate(capacity: wordCount)
    dataWords.initialize(repeating: 0, count: wordCount)
    let zero = PageChunkEncoder.zeroChecksum
    for page in 0..<pageCount { digest &+= Self.keyed(zero, page) }
  }

  deinit {
    checksums.deallocate()
    dataWords.deallocate()
  }

  @inline(__always)
  private static func keyed(_ checksum: UInt64, _ page: Int) -> UInt64 {
    Checksum.mix(checksum &+ Checksum.mix(UInt64(truncatingIfNeeded: page)))
  }

  func set(_ page: Int, _ checksum: UInt64) {
    guard checksums[page] != checksum else { return }
    digest = digest &- Self.keyed(checksums[page], page) &+ Self.keyed(checksum, page)
    checksums[page] = checksum
    let bit = 1 as UInt64 &<< UInt64(page & 63)
    if isZero(page) { dataWords[page >> 6] &= ~bit } else { dataWords[page >> 6] |= bit }
  }

  /// 64 pages from the one numbered 64 times `word` on: a bit for each that is recorded as other than zero.
  func dataPages(_ word: Int) -> UInt64 { dataWords[word] }

  /// Whether the page is what is recorded.
  func holds(_ page: Int, _ bytes: UnsafeRawPointer) -> Bool {
    if isZero(page) { return PageChunk.isZero(bytes) }
    return Checksum.of(UnsafeRawBufferPointer(start: bytes, count: PageChunk.pageSize)) == checksums[page]
  }

  func isZero(_ page: Int) -> Bool { checksums[page] == PageChunkEncoder.zeroChecksum }

  /// Reads all of memory and compares it with what is recorded: some of the pages that differ.
  func differences(from memory: PhysicalMemory) -> [Int] {
    beginScan(of: memory, except: PageBitmap(pageCount: pageCount)).differences()
  }

  /// Begins to read all of memory but the pages of `rest`, on other threads; `set` may be called for these meanwhile.
  func beginScan(of memory: PhysicalMemory, except rest: PageBitmap) -> Scan {
    let scan = Scan(ledger: self, memory: memory, except: rest)
    scan.begin(helpers: threads - 1)
    return scan
  }

  /// How long reading all of memory will take on this host, measured on a few pages of each kind.
  func scanMS(of memory: PhysicalMemory) -> Double {
    let watch = Stopwatch()
    let touched = memory.touchedPages(in: 0..<pageCount)
    let looking = watch.milliseconds
    let ram = UnsafeRawPointer(memory.ram)
    let zero = cost(of: ram) { touched.words[$0] & ~dataWords[$0] }
    let data = cost(of: ram) { dataWords[$0] }
    return (looking + zero + data) / Double(threads)
  }

  /// The milliseconds for one thread to read all pages that are `wanted`, as bits for 64 of them.
  private func cost(of ram: UnsafeRawPointer, _ wanted: (Int) -> UInt64) -> Double {
    let sample = 256
    var count = 0
    var pages: [Int] = []
    // From the end: what was looked at last is still in the host's caches.
    for word in stride(from: (pageCount + 63) / 64 - 1, through: 0, by: -1) {
      var bits = wanted(word)
      count += bits.nonzeroBitCount
      while bits != 0 && pages.count < sample {
        pages.append(word * 64 + bits.trailingZeroBitCount)
        bits &= bits - 1
      }
    }
    guard count > 0 else { return 0 }
    let watch = Stopwatch()
    // The guest may be writing: what is found here means nothing, and is kept only so that it is looked for.
    for page in pages where holds(page, ram + page * PageChunk.pageSize) { sampled &+= 1 }
    return watch.milliseconds / Double(pages.count) * Double(count)
  }

  private var sampled = 0

  /// The guest stands still during a scan: all of the host's processors may help, this thread's as soon as it can.
  private var threads: Int { max(1, min(ProcessInfo.processInfo.activeProcessorCount, 8, pageCount / 4096)) }
}

/// Several threads look at parts of memory.
final class Scan: @unchecked Sendable {
  private let ledger: PageLedger
  private let memory: PhysicalMemory
  private let rest: PageBitmap
  private let group = DispatchGroup()
  private let lock = NSLock()
  private var next = 0
  private var found: [Int] = []
  private static let limit = 8
  private static let pieceSize = 4096

  fileprivate init(ledger: PageLedger, memory: PhysicalMemory, except rest: PageBitmap) {
    self.ledger = ledger
    self.memory = memory
    self.rest = rest
  }

  fileprivate func begin(helpers: Int) {
    for _ in 0..<helpers {
      DispatchQueue.global(qos: .userInitiated).async(group: group) { [self] in work() }
    }
  }

  /// Takes pieces until none is left.
  private func work() {
    while let first = lock.withLock({ takePiece() }) {
      look(at: first..<min(first + Self.pieceSize, ledger.pageCount))
    }
  }

  private func takePiece() -> Int? {
    guard next < ledger.pageCount else { return nil }
    defer { next += Self.pieceSize }
    return next
  }

  private func look(at pages: Range<Int>) {
    // What the host has never given memory to is zero.
    let touched = memory.touchedPages(in: pages)
    var wrong: [Int] = []
    for word in pages.lowerBound / 64..<(pages.upperBound + 63) / 64 where wrong.count < Self.limit {
      var bits = (touched.words[word] | ledger.dataPages(word)) & ~rest.words[word]
      while bits != 0 {
        let page = word * 64 + bits.trailingZeroBitCount
        if !holds(page) { wrong.append(page) }
        bits &= bits - 1
      }
    }
    note(wrong)
  }

  private func holds(_ page: Int) -> Bool { ledger.holds(page, memory.ram + page * PageChunk.pageSize) }
  private func note(_ pages: [Int]) { lock.withLock { found += pages } }

  /// Helps, looks at the rest, too, and waits for the end.
  /// - Returns: some of the pages that differ.
  func differences() -> [Int] {
    work()
    rest.forEach { page in if !holds(page) { note([page]) } }
    group.wait()
    return Array(lock.withLock { found }.sorted().prefix(Self.limit))
  }
}
