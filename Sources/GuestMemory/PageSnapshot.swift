import CHost

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Pages of RAM as they were at one moment, read at leisure while the guest goes on: whoever is about to write one of them
/// copies it aside first (`DirtyLog.mark` sees to that), and the reader copies the others. So the guest does not stand still
/// for copying, however many pages there are.
public final class PageSnapshot: @unchecked Sendable {
  private let ram: UnsafeRawPointer
  /// The pages. They change at a safe point only, like the buffer and the ranks.
  public private(set) var pages: PageBitmap
  /// How many they are.
  public private(set) var count = 0
  /// For each word of the bitmap, how many pages come before it.
  private let ranks: UnsafeMutablePointer<UInt32>
  /// A bit for each page whose copy nobody has begun.
  private let unclaimed: UnsafeMutablePointer<UInt64>
  /// A bit for each page whose copy is not complete.
  private let unsaved: UnsafeMutablePointer<UInt64>
  private var buffer: UnsafeMutableRawPointer?
  private var capacity = 0

  /// Copies that take more than this, in bytes, are not kept for the next time.
  private static let kept = 64 << 20

  /// Of no page yet.
  public init(_ memory: PhysicalMemory) {
    ram = UnsafeRawPointer(memory.ram)
    pages = PageBitmap(pageCount: memory.pageCount)
    let words = memory.dirtyLog.wordCount
    ranks = .allocate(capacity: words)
    ranks.initialize(repeating: 0, count: words)
    unclaimed = .allocate(capacity: words)
    unclaimed.initialize(repeating: 0, count: words)
    unsaved = .allocate(capacity: words)
    unsaved.initialize(repeating: 0, count: words)
  }

  deinit {
    ranks.deallocate()
    unclaimed.deallocate()
    unsaved.deallocate()
    buffer?.deallocate()
  }

  /// Begins anew with the pages of `words` as they are now. At a safe point.
  func begin(_ words: UnsafePointer<UInt64>) {
    count = 0
    for index in pages.words.indices {
      let word = words[index]
      pages.words[index] = word
      ranks[index] = UInt32(count)
      unclaimed[index] = word
      unsaved[index] = word
      count += word.nonzeroBitCount
    }
    if count > capacity {
      buffer?.deallocate()
      capacity = count + count / 4
      // The host gives it memory where something is copied to.
      buffer = .allocate(byteCount: capacity * PhysicalMemory.pageSize, alignment: PhysicalMemory.pageSize)
    }
  }

  /// Copies a page aside, unless that is done already. When this returns the page may be written. Any thread.
  @inline(never)
  func save(_ page: Int) {
    let (index, bit) = (page >> 6, UInt64(1) << UInt64(page & 63))
    guard vm_load64(unsaved + index) & bit != 0 else { return }
    guard vm_fetch_and64(unclaimed + index, ~bit) & bit != 0 else {
      // Another thread copies it.
      while vm_load64(unsaved + index) & bit != 0 { sched_yield() }
      return
    }
    place(of: page).copyMemory(from: ram + page * PhysicalMemory.pageSize, byteCount: PhysicalMemory.pageSize)
    _ = vm_fetch_and64(unsaved + index, ~bit)
  }

  private func place(of page: Int) -> UnsafeMutableRawPointer {
    let below = pages.words[page >> 6] & ((1 << UInt64(page & 63)) - 1)
    return buffer! + (Int(ranks[page >> 6]) + below.nonzeroBitCount) * PhysicalMemory.pageSize
  }

  /// Each page in ascending order with the 4096 bytes it had, valid during the call. On one thread, before the next beginning.
  /// - Throws: what `body` throws.
  public func forEach(_ body: (Int, UnsafeRawPointer) throws -> Void) rethrows {
    try pages.forEach { (page: Int) throws in
      save(page)
      try body(page, place(of: page))
    }
  }

  /// What was copied is not wanted any more; all of it has been read.
  public func trim() {
    guard capacity * PhysicalMemory.pageSize > Self.kept else { return }
    // Whoever writes finds nothing left to save.
    precondition((0..<pages.words.count).allSatisfy { vm_load64(unsaved + $0) == 0 })
    buffer?.deallocate()
    (buffer, capacity) = (nil, 0)
  }
}
