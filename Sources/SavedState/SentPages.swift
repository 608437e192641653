/// Pages as they were sent last: of one that is sent again only what has changed need cross. It remembers as many as it has
/// room for; of pages whose numbers lead to the same place, the last.
public final class SentPages {
  /// What of a page has to cross.
  public enum Change: Equatable, Sendable {
    case whole
    /// The exclusive or with what it was.
    case difference
    /// It is as it was.
    case none
  }

  private let places: Int
  private let buffer: UnsafeMutableRawPointer
  /// The page in each place; -1: none.
  private var numbers: [Int]

  /// - Parameter bytes: how much of it may be remembered; at least a page.
  public init(bytes: Int) {
    places = max(1, bytes / PageChunk.pageSize)
    // The host gives it memory where something is put.
    buffer = .allocate(byteCount: places * PageChunk.pageSize, alignment: PageChunk.pageSize)
    numbers = Array(repeating: -1, count: places)
  }

  deinit { buffer.deallocate() }

  /// Remembers a page. Where the difference to what it was is what is to cross, `bytes` become that.
  func replace(_ page: Int, _ bytes: UnsafeMutableRawPointer) -> Change {
    let place = page % places
    let old = buffer + place * PageChunk.pageSize
    guard numbers[place] == page else {
      numbers[place] = page
      old.copyMemory(from: bytes, byteCount: PageChunk.pageSize)
      return .whole
    }
    let changed = Self.changedWords(bytes, old)
    if changed == 0 { return .none }
    // Two pages that have little in common: their difference is no smaller than either.
    guard changed <= PageChunk.pageSize / 8 / 2 else {
      old.copyMemory(from: bytes, byteCount: PageChunk.pageSize)
      return .whole
    }
    let (new, before) = (bytes.assumingMemoryBound(to: Lanes.self), old.assumingMemoryBound(to: Lanes.self))
    for index in 0..<PageChunk.pageSize / MemoryLayout<Lanes>.size {
      let now = new[index]
      new[index] = now ^ before[index]
      before[index] = now
    }
    return .difference
  }

  private typealias Lanes = SIMD8<UInt64>

  private static func changedWords(_ one: UnsafeMutableRawPointer, _ other: UnsafeMutableRawPointer) -> Int {
    let (one, other) = (one.assumingMemoryBound(to: Lanes.self), other.assumingMemoryBound(to: Lanes.self))
    var same = Lanes.zero
    for index in 0..<PageChunk.pageSize / MemoryLayout<Lanes>.size {
      same &+= Lanes.zero.replacing(with: 1, where: one[index] .== other[index])
    }
    return PageChunk.pageSize / 8 - Int(same.wrappedSum())
  }

  /// The page has become something that is not told here.
  func forget(_ page: Int) {
    let place = page % places
    if numbers[place] == page { numbers[place] = -1 }
  }

  /// Puts a page's difference to what stands at `place` there: what it is now.
  public static func apply(_ difference: UnsafeRawPointer, to place: UnsafeMutableRawPointer) {
    for offset in stride(from: 0, to: PageChunk.pageSize, by: 8) {
      let now = place.load(fromByteOffset: offset, as: UInt64.self)
      // A frame's bytes lie anywhere.
      let change = difference.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      place.storeBytes(of: now ^ change, toByteOffset: offset, as: UInt64.self)
    }
  }
}
