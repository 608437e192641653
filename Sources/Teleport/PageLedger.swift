import Foundation
import GuestMemory
import SavedState

/// One checksum for each page of RAM, as it was last sent or received, and their sum, keyed with the page's number: a
/// digest of all of memory that costs nothing to have at hand.
final class PageLedger {
  let pageCount: Int
  private let checksums: UnsafeMutablePointer<UInt64>
  private(set) var digest: UInt64 = 0

  /// Starts as memory that is all zero.
  init(pageCount: Int) {
    self.pageCount = pageCount
    checksums = .allocate(capacity: max(pageCount, 1))
    checksums.initialize(repeating: PageChunkEncoder.zeroChecksum, count: max(pageCount, 1))
    for page in 0..<pageCount { digest &+= Self.keyed(PageChunkEncoder.zeroChecksum, page) }
  }

  deinit { checksums.deallocate() }

  @inline(__always)
  private static func keyed(_ checksum: UInt64, _ page: Int) -> UInt64 {
    Checksum.mix(checksum &+ Checksum.mix(UInt64(truncatingIfNeeded: page)))
  }

  func set(_ page: Int, _ checksum: UInt64) {
    digest = digest &- Self.keyed(checksums[page], page) &+ Self.keyed(checksum, page)
    checksums[page] = checksum
  }

  /// Whether the page is what is recorded.
  func holds(_ page: Int, _ bytes: UnsafeRawPointer) -> Bool {
    if isZero(page) { return PageChunk.isZero(bytes) }
    return Checksum.of(UnsafeRawBufferPointer(start: bytes, count: PageChunk.pageSize)) == checksums[page]
  }

  func isZero(_ page: Int) -> Bool { checksums[page] == PageChunkEncoder.zeroChecksum }

  /// Reads all of memory and compares it with what is recorded: some of the pages that differ.
  func differences(from ram: UnsafeRawPointer, limit: Int = 8) -> [Int] {
    let pieces = threads
    let size = (pageCount + pieces - 1) / pieces
    let work = Scan(ledger: self, ram: ram)
    DispatchQueue.concurrentPerform(iterations: pieces) { piece in
      work.look(at: piece * size..<min((piece + 1) * size, work.ledger.pageCount), limit: limit)
    }
    return Array(work.all.sorted().prefix(limit))
  }

  /// How long `differences` will take on this host, measured on a few pages of each kind.
  func scanMS(of ram: UnsafeRawPointer) -> Double {
    let zero = cost(of: ram) { isZero($0) }
    let data = cost(of: ram) { !isZero($0) }
    return (zero + data) / Double(threads)
  }

  /// The milliseconds for one thread to read all pages that are `wanted`.
  private func cost(of ram: UnsafeRawPointer, _ wanted: (Int) -> Bool) -> Double {
    let sample = 256
    var count = 0
    var pages: [Int] = []
    // From the end: what was looked at last is still in the host's caches.
    for page in stride(from: pageCount - 1, through: 0, by: -1) where wanted(page) {
      count += 1
      if pages.count < sample { pages.append(page) }
    }
    guard count > 0 else { return 0 }
    let watch = Stopwatch()
    // The guest may be writing: what is found here means nothing, and is kept only so that it is looked for.
    for page in pages where holds(page, ram + page * PageChunk.pageSize) { sampled &+= 1 }
    return watch.milliseconds / Double(pages.count) * Double(count)
  }

  private var sampled = 0

  /// The guest stands still during a scan: all of the host's processors may help.
  private var threads: Int { max(1, min(ProcessInfo.processInfo.activeProcessorCount, 8, pageCount / 4096)) }
}

/// Several threads look at parts of memory.
private final class Scan: @unchecked Sendable {
  let ledger: PageLedger
  private let ram: UnsafeRawPointer
  private let lock = NSLock()
  private var found: [Int] = []

  init(ledger: PageLedger, ram: UnsafeRawPointer) {
    self.ledger = ledger
    self.ram = ram
  }

  var all: [Int] { lock.withLock { found } }

  func look(at pages: Range<Int>, limit: Int) {
    var wrong: [Int] = []
    for page in pages where !ledger.holds(page, ram + page * PageChunk.pageSize) {
      wrong.append(page)
      if wrong.count == limit { break }
    }
    if !wrong.isEmpty { lock.withLock { found += wrong } }
  }
}
