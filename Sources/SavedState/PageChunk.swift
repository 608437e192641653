import Foundation

/// A piece of RAM as it is saved and as it is sent: some of the pages in `first ..< first + count`.
///
/// Layout, little-endian: first page (8 bytes), count (4), kind (1). Kind 0: every page of the range is zero, and the
/// range may be long. Kind 1: at most `maxPages` pages; then two bitmaps of (count + 7) / 8 bytes, which pages are
/// present and which of those are zero; then the other present pages, concatenated and compressed with zstd. Kind 2, where the
/// reader has the pages as they were last: as kind 1, but with a third bitmap, of the pages that are the difference (exclusive
/// or) to what they were.
public struct PageChunk {
  /// Bytes of a page.
  public static let pageSize = 4096
  /// Pages in a chunk with data: 1 MiB.
  public static let maxPages = 256
  /// The most bytes a valid chunk has: incompressible pages grow a little.
  public static let maxEncodedBytes = maxPages * pageSize + 65536
  static let headerBytes = 13

  /// The bytes of a run of zero pages.
  public static func encodeZeroRun(first: Int, count: Int) -> [UInt8] {
    var writer = ByteWriter()
    writer.put(UInt64(first))
    writer.put(UInt32(count))
    writer.put(0 as UInt8)
    return writer.bytes
  }

  /// Whether the page's 4096 bytes are all 0.
  @inline(__always)
  public static func isZero(_ page: UnsafeRawPointer) -> Bool {
    // A page that equals itself shifted by eight bytes repeats its first eight bytes.
    guard page.load(as: UInt64.self) == 0 else { return false }
    return memcmp(page, page + 8, pageSize - 8) == 0
  }
}

/// Gathers pages of one window into chunks. The page is copied first and then looked at, so that a guest which goes on
/// writing cannot make the checksum and the bytes differ.
public final class PageChunkEncoder {
  private let compressor = ZstdCompressor(level: 1)
  private let buffer: UnsafeMutableRawPointer
  private var first = 0
  private var present: [UInt8]
  private var zero: [UInt8]
  private var different: [UInt8]
  private var count = 0
  private var dataPages = 0
  private var zeroRun: (first: Int, count: Int)?
  /// Whether pages that are not zero are compressed, or stored as they are.
  public var compresses = true
  /// What the reader has of pages that were added before; nil: it remembers none.
  public var sent: SentPages?
  /// Called for every page as it is taken: number, checksum, whether it is zero.
  public var onPage: (Int, UInt64, Bool) -> Void = { _, _, _ in }

  /// The checksum of a page of zeros.
  public static let zeroChecksum: UInt64 = Checksum.of(Array(repeating: 0, count: PageChunk.pageSize))

  public init() {
    buffer = .allocate(byteCount: PageChunk.maxPages * PageChunk.pageSize, alignment: 4096)
    present = Array(repeating: 0, count: PageChunk.maxPages / 8)
    zero = present
    different = present
  }

  deinit { buffer.deallocate() }

  /// Adds a page; pages come in ascending order. Chunks that are complete go to `emit`, whose error is
  /// thrown on.
  public func add(page: Int, at source: UnsafeRawPointer, emit: ([UInt8]) throws -> Void) throws {
    let slot = buffer + dataPages * PageChunk.pageSize
    // A zero page is told apart in place; if the guest writes it meanwhile, its dirty bit is set and it comes again.
    if PageChunk.isZero(source) { return try addZero(page: page, emit: emit) }
    try flushZeroRun(emit)
    if count > 0 && page - first >= PageChunk.maxPages { try flushData(emit) }
    let target = count == 0 ? buffer : slot
    target.copyMemory(from: source, byteCount: PageChunk.pageSize)
    onPage(page, Checksum.of(UnsafeRawBufferPointer(start: target, count: PageChunk.pageSize)), false)
    let change = sent?.replace(page, target) ?? .whole
    if change == .none { return }
    if count == 0 { first = page }
    let index = page - first
    if change == .difference { different[index >> 3] |= 1 << UInt8(index & 7) }
    present[index >> 3] |= 1 << UInt8(index & 7)
    count = index + 1
    dataPages += 1
  }

  /// Adds a page that is known to be zero; throws what `emit` throws.
  public func addZero(page: Int, emit: ([UInt8]) throws -> Void) throws {
    onPage(page, Self.zeroChecksum, true)
    sent?.forget(page)
    try addZero(page, emit)
  }

  /// Emits what is still held.
  public func flush(emit: ([UInt8]) throws -> Void) throws {
    try flushZeroRun(emit)
    try flushData(emit)
  }

  /// Few zero pages between others go into the chunk's bitmap; a long run becomes a chunk of its own.
  private func addZero(_ page: Int, _ emit: ([UInt8]) throws -> Void) throws {
    if let run = zeroRun, run.first + run.count == page, run.count < Int(UInt32.max) {
      zeroRun = (run.first, run.count + 1)
      if count > 0 && run.count + 1 >= PageChunk.maxPages / 4 { try flushData(emit) }
      return
    }
    try flushZeroRun(emit)
    zeroRun = (page, 1)
  }

  private func flushZeroRun(_ emit: ([UInt8]) throws -> Void) throws {
    guard let run = zeroRun else { return }
    zeroRun = nil
    let last = run.first + run.count - 1
    if count > 0 && last - first < PageChunk.maxPages {
      for page in run.first...last {
        let index = page - first
        present[index >> 3] |= 1 << UInt8(index & 7)
        zero[index >> 3] |= 1 << UInt8(index & 7)
      }
      count = last - first + 1
      return
    }
    try flushData(emit)
    try emit(PageChunk.encodeZeroRun(first: run.first, count: run.count))
  }

  private func flushData(_ emit: ([UInt8]) throws -> Void) throws {
    guard count > 0 else { return }
    var writer = ByteWriter()
    writer.put(UInt64(first))
    writer.put(UInt32(count))
    let hasDifferences = different.contains { $0 != 0 }
    writer.put(hasDifferences ? 2 : 1 as UInt8)
    let bitmapBytes = (count + 7) / 8
    writer.put(bytes: present[..<bitmapBytes])
    writer.put(bytes: zero[..<bitmapBytes])
    if hasDifferences { writer.put(bytes: different[..<bitmapBytes]) }
    let pages = UnsafeRawBufferPointer(start: buffer, count: dataPages * PageChunk.pageSize)
    var chunk = writer.bytes
    if compresses { chunk += try compressor.compress(pages) } else { ZstdCompressor.store(pages, appendingTo: &chunk) }
    for index in present.indices {
      present[index] = 0
      zero[index] = 0
      different[index] = 0
    }
    count = 0
    dataPages = 0
    try emit(chunk)
  }
}

/// Puts chunks that nobody vouches for into memory.
public final class PageChunkDecoder {
  private let decompressor = ZstdDecompressor()
  private let buffer: UnsafeMutableRawPointer
  private let takesDifferences: Bool

  /// - Parameter takesDifferences: whoever decodes has the pages as they were last.
  public init(takesDifferences: Bool = false) {
    buffer = .allocate(byteCount: PageChunk.maxPages * PageChunk.pageSize, alignment: 4096)
    self.takesDifferences = takesDifferences
  }

  deinit { buffer.deallocate() }

  /// What becomes of a run of pages.
  public enum Content {
    case zero
    /// The page's 4096 bytes, at any address, valid during the call.
    case data(UnsafeRawPointer)
    /// The exclusive or of what it was and what it is, likewise; only where differences are taken.
    case difference(UnsafeRawPointer)
  }

  /// Calls `body` with every page of the chunk. Nothing is called unless the whole chunk is sound.
  public func decode(
    _ bytes: [UInt8], pageCount: Int, _ body: (_ page: Int, _ content: Content) throws -> Void
  ) throws {
    var reader = ByteReader(bytes, subject: "memory chunk")
    let first64 = try reader.number(UInt64.self)
    let count = Int(try reader.number(UInt32.self))
    let kind = try reader.number(UInt8.self)
    guard count > 0, first64 < UInt64(pageCount), count <= pageCount - Int(first64) else {
      throw SavedStateError.corrupt("memory chunk of \(count) pages at \(first64), and there are \(pageCount)")
    }
    let first = Int(first64)
    switch kind {
    case 0:
      try reader.end()
      for page in first..<first + count { try body(page, .zero) }
    case 1, 2:
      guard kind == 1 || takesDifferences else { throw SavedStateError.corrupt("memory chunk of kind 2") }
      guard count <= PageChunk.maxPages else { throw SavedStateError.corrupt("memory chunk of \(count) pages") }
      let bitmapBytes = (count + 7) / 8
      let present = Array(try reader.take(bitmapBytes))
      let zero = Array(try reader.take(bitmapBytes))
      let different = kind == 2 ? Array(try reader.take(bitmapBytes)) : []
      func bit(_ bitmap: [UInt8], _ index: Int) -> Bool { bitmap[index >> 3] >> UInt8(index & 7) & 1 != 0 }
      var dataPages = 0
      for index in 0..<bitmapBytes * 8 where bit(present, index) || bit(zero, index) {
        guard index < count, bit(present, index) else {
          throw SavedStateError.corrupt("memory chunk at page \(first): bitmap")
        }
        if !bit(zero, index) { dataPages += 1 }
      }
      for index in 0..<different.count * 8 where bit(different, index) {
        guard index < count, bit(present, index), !bit(zero, index) else {
          throw SavedStateError.corrupt("memory chunk at page \(first): differences")
        }
      }
      try reader.take(reader.remaining).withUnsafeBytes { frame in
        let size = dataPages * PageChunk.pageSize
        // Pages that were not compressed are taken from where they are; a page lies within a block.
        let isStored = StoredFrame.isStored(frame, size)
        if !isStored {
          try decompressor.decompress(
            frame, into: UnsafeMutableRawBufferPointer(start: buffer, count: size),
            subject: "memory chunk at page \(first)")
        }
        var offset = 0
        for index in 0..<count where bit(present, index) {
          if bit(zero, index) {
            try body(first + index, .zero)
            continue
          }
          var place = UnsafeRawPointer(buffer + offset)
          if isStored, let base = frame.baseAddress { place = base + StoredFrame.place(of: offset) }
          let isDifference = !different.isEmpty && bit(different, index)
          try body(first + index, isDifference ? .difference(place) : .data(place))
          offset += PageChunk.pageSize
        }
      }
    default: throw SavedStateError.corrupt("memory chunk of kind \(kind)")
    }
  }
}
