import Synchronization

/// The blocks of `MediumSamples` that were written last, and who is told of failures: what every image keeps beside its
/// content.
final class ImageJournal: Sendable {
  private let recent = Mutex<[UInt64]>([])
  private let failures = Mutex<(@Sendable (DiskImageError) -> Void)?>(nil)

  func onFailure(_ body: @escaping @Sendable (DiskImageError) -> Void) { failures.withLock { $0 = body } }

  func note(failure: DiskImageError) { failures.withLock { $0 }?(failure) }

  var recentlyWritten: [UInt64] { recent.withLock { $0 } }

  func noteWritten(blocks: [UInt64]) {
    recent.withLock { $0 = Array((blocks + $0).suffix(MediumSamples.recentBlocks)) }
  }

  /// Of a long write, first and last block.
  func noteWrite(at offset: UInt64, count: Int) {
    let first = offset / MediumSamples.blockSize
    let last = (offset + UInt64(max(count, 1)) - 1) / MediumSamples.blockSize
    recent.withLock { list in
      for block in first == last ? [first] : [first, last] where !list.suffix(2).contains(block) {
        if list.count == MediumSamples.recentBlocks { list.removeFirst() }
        list.append(block)
      }
    }
  }
}
