/// Pages whose entries in the fetch TLB were displaced while the jump cache may still lead into them: an address map that
/// may say yes for a page that is not in it, never no for one that is.
struct EvictedPages {
  private var bits = SIMD16<UInt64>()
  /// Parts of the address space that some are in, so that a user's page is never taken for a kernel's.
  private var parts: UInt16 = 0
  private(set) var hasAny = false
  private(set) var hasNonGlobal = false

  @inline(__always)
  private func place(_ page: UInt64) -> (word: Int, bit: UInt64) {
    let number = page &>> 12 ^ page &>> 22
    return (Int(truncatingIfNeeded: number &>> 6) & 15, 1 &<< (number & 63))
  }

  /// Eighths of the lowest 4 GiB, and of the whole.
  @inline(__always)
  private func part(_ page: UInt64) -> UInt16 { 1 &<< UInt16(page &>> 32 == 0 ? page &>> 29 : 8 | page &>> 61) }

  mutating func add(_ page: UInt64, global: Bool) {
    let (word, bit) = place(page)
    bits[word] |= bit
    parts |= part(page)
    hasAny = true
    if !global { hasNonGlobal = true }
  }

  func mayHold(_ page: UInt64) -> Bool {
    let (word, bit) = place(page)
    return parts & part(page) != 0 && bits[word] & bit != 0
  }
}
