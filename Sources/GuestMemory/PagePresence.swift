#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension PhysicalMemory {
  /// The pages of a range to which the host has given memory; all others of it have never been touched and are zero.
  /// What is written while this looks may be missing: whoever cares has the dirty log running.
  ///
  /// From /proc/self/pagemap (the kernel's Documentation/admin-guide/mm/pagemap.rst): eight bytes a page, of which bits
  /// 61 to 63 say that there is something. All pages, when the host does not tell.
  public func touchedPages(in range: Range<Int>) -> PageBitmap {
    let everything = PageBitmap(pageCount: pageCount, filled: true)
    let file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return everything }
    defer { close(file) }
    var touched = PageBitmap(pageCount: pageCount)
    var entries = [UInt64](repeating: 0, count: min(1 << 16, range.count))
    let first = Int(bitPattern: ram) / Self.pageSize
    var page = range.lowerBound
    while page < range.upperBound {
      let wanted = min(entries.count, range.upperBound - page)
      let bytes = entries.withUnsafeMutableBytes { pread(file, $0.baseAddress, wanted * 8, (first + page) * 8) }
      guard bytes >= 8 else { return everything }
      let count = bytes / 8
      entries.withUnsafeBufferPointer { entries in
        for index in 0..<count where entries[index] >> 61 != 0 { touched.insert(page + index) }
      }
      page += count
    }
    return touched
  }
}
