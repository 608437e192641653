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

  func isZero(_ page: Int) -> Bool { checksums[page] == PageChunkEncoder.zeroChecksum }

  /// Reads all of memory and compares it with what is recorded: the pages that differ, at most `limit`.
  func differences(from ram: UnsafeRawPointer, limit: Int = 8) -> [Int] {
    var found: [Int] = []
    for page in 0..<pageCount {
      let bytes = UnsafeRawBufferPointer(start: ram + page * PageChunk.pageSize, count: PageChunk.pageSize)
      if Checksum.of(bytes) != checksums[page] {
        found.append(page)
        if found.count == limit { break }
      }
    }
    return found
  }

  /// Bytes per second that `differences` manages on this host, measured on a few pages.
  static func scanRate(_ ram: UnsafeRawPointer, pageCount: Int) -> Double {
    let pages = min(pageCount, 512)
    let clock = ContinuousClock()
    var sum: UInt64 = 0
    let time = clock.measure {
      for page in 0..<pages {
        sum &+= Checksum.of(UnsafeRawBufferPointer(start: ram + page * PageChunk.pageSize, count: PageChunk.pageSize))
      }
    }
    let seconds = max(time / .seconds(1), 1e-6)
    return sum == 0 ? 1e9 : Double(pages * PageChunk.pageSize) / seconds
  }
}
