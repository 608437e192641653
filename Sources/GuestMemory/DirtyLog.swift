import CHost

/// Which pages of RAM have been written since the log was last taken: one bit for a 4 KiB page.
///
/// While logging is on, a CPU may hold a write translation only for a page whose bit is already set: its first write to
/// a clean page takes the slow path, which calls `mark`. Device DMA calls `mark` through `PhysicalMemory.write`. Both do so
/// before they write: the page may have to be copied aside first (`PageSnapshot`).
///
/// `take` must run while every CPU is at a safe point and the machine lock is held, and the CPUs must drop their write
/// translations before they go on. Then no write can be missed: a later write finds no translation and marks anew.
public final class DirtyLog: @unchecked Sendable {
  /// Pages of guest memory.
  public let pageCount: Int
  /// Words of 64 bits that a bit for each page takes.
  public let wordCount: Int
  @usableFromInline let words: UnsafeMutablePointer<UInt64>
  /// Whether writes are being recorded. Changed at a safe point only.
  public private(set) var isLogging = false
  /// What wants pages as they are before they are written. Changed at a safe point only.
  private(set) var snapshot: PageSnapshot?

  init(pageCount: Int) {
    self.pageCount = pageCount
    wordCount = (pageCount + 63) / 64
    words = .allocate(capacity: max(wordCount, 1))
    words.initialize(repeating: 0, count: max(wordCount, 1))
  }

  deinit { words.deallocate() }

  /// Starts with every page clean. The CPUs must drop their write translations before they go on.
  public func start() {
    words.update(repeating: 0, count: wordCount)
    isLogging = true
  }

  /// Writes are not logged any more; what is marked stays.
  public func stop() { (isLogging, snapshot) = (false, nil) }

  /// Notes that a page is about to be written. Any thread may.
  @inline(__always)
  public func mark(page: Int) {
    let word = words + page >> 6
    let bit = 1 as UInt64 &<< UInt64(page & 63)
    guard vm_load64(word) & bit == 0 else { return }
    // Whoever finds the bit set may write: the copy comes first.
    snapshot?.save(page)
    _ = vm_fetch_or64(word, bit)
  }

  /// Whether a page has been written since it was last taken.
  @inlinable @inline(__always)
  public func isDirty(page: Int) -> Bool { (words + page >> 6).pointee &>> UInt64(page & 63) & 1 != 0 }

  /// Moves the bits into `bitmap` (ORed to what it holds) and leaves every page clean.
  /// - Returns: the number of pages that were dirty.
  public func take(into bitmap: inout PageBitmap) -> Int {
    precondition(bitmap.pageCount == pageCount)
    var count = 0
    for index in 0..<wordCount {
      let word = words[index]
      if word != 0 {
        count += word.nonzeroBitCount
        bitmap.words[index] |= word
        words[index] = 0
      }
    }
    return count
  }

  /// Moves the bits into `snapshot`, whose pages are then what they are now, and leaves every page clean.
  public func take(into snapshot: PageSnapshot) {
    snapshot.begin(words)
    words.update(repeating: 0, count: wordCount)
    self.snapshot = snapshot
  }

  /// Puts the bits of a transfer that failed back, so that a next one loses none of them.
  public func restore(_ bitmap: PageBitmap) {
    for index in 0..<wordCount where bitmap.words[index] != 0 { _ = vm_fetch_or64(words + index, bitmap.words[index]) }
  }

  /// Pages that are marked, at about this moment where CPUs run.
  public var dirtyCount: Int { (0..<wordCount).reduce(0) { $0 + vm_load_relaxed64(words + $1).nonzeroBitCount } }
}

/// A set of RAM page numbers.
public struct PageBitmap: Sendable {
  /// Pages of guest memory.
  public let pageCount: Int
  /// A bit for each page, lowest first.
  public var words: [UInt64]

  /// No page is in the set, or all are.
  public init(pageCount: Int, filled: Bool = false) {
    self.pageCount = pageCount
    words = Array(repeating: filled ? .max : 0, count: (pageCount + 63) / 64)
    if filled && pageCount & 63 != 0 { words[words.count - 1] = (1 << UInt64(pageCount & 63)) - 1 }
  }

  /// Pages in the set.
  public var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

  /// Whether a page, below `pageCount`, is in the set.
  public func contains(_ page: Int) -> Bool { words[page >> 6] >> UInt64(page & 63) & 1 != 0 }
  /// Adds a page.
  public mutating func insert(_ page: Int) { words[page >> 6] |= 1 << UInt64(page & 63) }
  /// Takes a page away.
  public mutating func remove(_ page: Int) { words[page >> 6] &= ~(1 << UInt64(page & 63)) }

  /// Calls `body` with each page number in ascending order.
  public func forEach<E>(_ body: (Int) throws(E) -> Void) throws(E) {
    for (index, word) in words.enumerated() {
      var rest = word
      while rest != 0 {
        try body(index * 64 + rest.trailingZeroBitCount)
        rest &= rest - 1
      }
    }
  }
}
