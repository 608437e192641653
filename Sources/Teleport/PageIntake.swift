import Foundation
import GuestMemory
import SavedState

/// Where arriving pages go: into a memory that no CPU uses, with their checksums into a ledger.
final class PageIntake {
  let ledger: PageLedger
  private let memory: PhysicalMemory
  private let decoder: PageChunkDecoder

  /// - Parameters: memory: of which nothing has arrived yet, and which is zero. takesDifferences: pages may arrive as what has
  ///   changed in them since they arrived last.
  init(_ memory: PhysicalMemory, takesDifferences: Bool = false) {
    self.memory = memory
    decoder = PageChunkDecoder(takesDifferences: takesDifferences)
    ledger = PageLedger(pageCount: memory.pageCount)
    // They come one by one.
    memory.useLargePages(false)
  }

  /// Puts the pages of one frame in their places.
  /// - Returns: how many they were.
  /// - Throws: `SavedStateError` when they are none; those before it are in their places.
  @discardableResult
  func take(_ payload: [UInt8]) throws -> Int {
    var count = 0
    try decoder.decode(payload, pageCount: ledger.pageCount) { page, content in
      let place = memory.ram + page * PageChunk.pageSize
      count += 1
      switch content {
      case .zero:
        // Fresh memory is zero and stays untouched.
        guard !ledger.isZero(page) else { return }
        memset(place, 0, PageChunk.pageSize)
        ledger.set(page, PageChunkEncoder.zeroChecksum)
        return
      case .data(let bytes): place.copyMemory(from: bytes, byteCount: PageChunk.pageSize)
      case .difference(let bytes): SentPages.apply(bytes, to: place)
      }
      ledger.set(page, Checksum.of(UnsafeRawBufferPointer(start: place, count: PageChunk.pageSize)))
    }
    return count
  }
}
