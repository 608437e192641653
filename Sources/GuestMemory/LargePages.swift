#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension PhysicalMemory {
  /// Whether the host gives memory in large pages where it can. A page that arrives alone is not worth zeroing 2 MiB for,
  /// while its guest waits.
  public func useLargePages(_ wanted: Bool) {
    madvise(ram, Int(size), wanted ? 14 : 15)  // MADV_HUGEPAGE, MADV_NOHUGEPAGE
  }

  /// Makes large pages of the small ones that are there, piece by piece while the guest runs. Takes its time; for a thread
  /// of its own. Without effect where the host cannot (Linux before 6.1).
  public func joinPages() {
    let large = 2 << 20
    let pages = large / Self.pageSize
    for first in stride(from: 0, to: pageCount - pages + 1, by: pages) {
      // One that is mostly empty is left as it is.
      guard touchedPages(in: first..<first + pages).count >= pages / 4 else { continue }
      let result = madvise(ram + first * Self.pageSize, large, 25)  // MADV_COLLAPSE
      if result != 0 && errno == EINVAL { return }
      usleep(1000)
    }
  }
}
