import GuestMemory
import SavedState

/// Pages of a checkpoint, copied aside while the machine stood.
final class CopiedPages {
  private var buffer: UnsafeMutableRawPointer
  private var capacity: Int
  private(set) var pages: PageBitmap
  private(set) var count = 0

  init(pageCount: Int) {
    capacity = 1024
    buffer = .allocate(byteCount: capacity * PageChunk.pageSize, alignment: 4096)
    pages = PageBitmap(pageCount: pageCount)
  }

  deinit { buffer.deallocate() }

  /// Replaces what it has.
  func copy(_ wanted: PageBitmap, from ram: UnsafeRawPointer) {
    count = wanted.count
    if count > capacity {
      buffer.deallocate()
      capacity = count + count / 2
      buffer = .allocate(byteCount: capacity * PageChunk.pageSize, alignment: 4096)
    }
    pages = wanted
    var place = buffer
    wanted.forEach { page in
      place.copyMemory(from: ram + page * PageChunk.pageSize, byteCount: PageChunk.pageSize)
      place += PageChunk.pageSize
    }
  }

  /// Each page with where its copy is, in ascending order.
  func forEach(_ body: (Int, UnsafeRawPointer) throws -> Void) rethrows {
    var place = UnsafeRawPointer(buffer)
    try pages.forEach { (page: Int) throws in
      try body(page, place)
      place += PageChunk.pageSize
    }
  }
}
