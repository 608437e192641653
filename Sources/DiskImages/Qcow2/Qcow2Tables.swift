/// The two levels of tables by which a guest's cluster is found in the image. Changes stay in memory until they are written.
///
/// Source: QEMU, docs/interop/qcow2.txt, "Cluster mapping".
final class Qcow2Tables {
  /// An entry of an L1 or L2 table.
  struct Entry: Equatable {
    var rawValue: UInt64
    /// The cluster that it names has no other reference.
    static let isCopied: UInt64 = 1 << 63
    static let isCompressed: UInt64 = 1 << 62
    /// Reads as zeros, whatever the cluster holds.
    static let isZero: UInt64 = 1
    static let offsetMask: UInt64 = 0x00FF_FFFF_FFFF_FE00

    init(_ rawValue: UInt64) { self.rawValue = rawValue }
    /// A cluster of the image's own that nobody else refers to.
    init(own offset: UInt64, isZero: Bool = false) {
      rawValue = offset | Self.isCopied | (isZero ? Self.isZero : 0)
    }
    static let none = Entry(0)

    var isCompressed: Bool { rawValue & Self.isCompressed != 0 }
    var isZero: Bool { !isCompressed && rawValue & Self.isZero != 0 }
    /// Of one that is not compressed; 0: it has no cluster.
    var offset: UInt64 { rawValue & Self.offsetMask }
    var isOwn: Bool { !isCompressed && rawValue & Self.isCopied != 0 && offset != 0 }

    /// Bytes of the image that a compressed cluster is in.
    func compressedRange(clusterBits: Int) -> Range<UInt64> {
      let bits = UInt64(62 - (clusterBits - 8))
      let start = rawValue & ((1 << bits) - 1)
      let sectors = (rawValue & (Self.isCompressed - 1)) >> bits
      return start..<((start & ~511) + (sectors + 1) * 512)
    }
  }

  final class Table {
    let offset: UInt64
    private let entries: UnsafeMutableBufferPointer<UInt64>
    /// The entries that have changed.
    fileprivate(set) var dirty: Range<Int>?
    fileprivate var lastUse: UInt64 = 0

    init(offset: UInt64, count: Int) {
      self.offset = offset
      entries = .allocate(capacity: count)
      entries.initialize(repeating: 0)
    }
    deinit { entries.deallocate() }

    /// Big endian, as they are in the image.
    var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(entries) }

    subscript(index: Int) -> Entry {
      get { Entry(UInt64(bigEndian: entries[index])) }
      set {
        entries[index] = newValue.rawValue.bigEndian
        dirty = min(dirty?.lowerBound ?? index, index)..<max(dirty?.upperBound ?? 0, index + 1)
      }
    }
    func copy(from other: Table) {
      bytes.copyMemory(from: UnsafeRawBufferPointer(other.bytes))
      markAll()
    }
    fileprivate func markAll() { dirty = 0..<entries.count }
  }

  private let storage: any ClusterStorage
  private let clusterBits: Int
  private(set) var l1: [UInt64]
  private(set) var l1Offset: UInt64
  private var l1Dirty: Set<Int> = []
  private var tables: [Int: Table] = [:]
  /// The table that was used last.
  private var last: (index: Int, table: Table)?
  private var uses: UInt64 = 0

  /// Memory that tables may take.
  private static let cacheBytes = 32 << 20

  init(_ header: Qcow2Header, _ storage: any ClusterStorage) throws(DiskImageError) {
    self.storage = storage
    clusterBits = header.clusterBits
    l1Offset = header.l1Offset
    l1 = try storage.numbers(at: header.l1Offset, count: header.l1Count)
  }

  private var entriesPerTable: Int { 1 << (clusterBits - 3) }

  // MARK: Finding

  /// The L2 table of this index in L1; nil where there is none.
  func table(_ index: Int) throws(DiskImageError) -> Table? {
    if let last, last.index == index { return last.table }
    uses += 1
    if let table = tables[index] {
      table.lastUse = uses
      last = (index, table)
      return table
    }
    let offset = Entry(l1[index]).offset
    guard offset != 0 else { return nil }
    guard offset & (1 << UInt64(clusterBits) - 1) == 0, offset < (try storage.length) else {
      throw .corrupt(path: storage.path, what: "an L2 table lies at \(offset)")
    }
    let table = Table(offset: offset, count: entriesPerTable)
    try storage.read(at: offset, into: table.bytes)
    keep(table, index)
    return table
  }

  /// Nobody else refers to it.
  func isOwn(_ index: Int) -> Bool { Entry(l1[index]).isOwn }

  private func keep(_ table: Table, _ index: Int) {
    uses += 1
    table.lastUse = uses
    tables[index] = table
    last = (index, table)
  }

  /// Puts an empty table, or a copy of the one that is there, at `offset`, a cluster that has been allocated.
  func makeTable(_ index: Int, at offset: UInt64) throws(DiskImageError) -> Table {
    let table = Table(offset: offset, count: entriesPerTable)
    if let old = try self.table(index) { table.copy(from: old) }
    table.markAll()
    keep(table, index)
    l1[index] = Entry(own: offset).rawValue
    l1Dirty.insert(index)
    return table
  }

  // MARK: Writing

  var isDirty: Bool { !l1Dirty.isEmpty || tables.values.contains { $0.dirty != nil } }
  var isL1Dirty: Bool { !l1Dirty.isEmpty }

  /// Writes the L2 tables. What their entries name is on stable storage.
  func writeTables() throws(DiskImageError) {
    for table in tables.values.sorted(by: { $0.offset < $1.offset }) {
      guard let dirty = table.dirty else { continue }
      // Whole sectors.
      let start = dirty.lowerBound * 8 & ~511
      let end = min((dirty.upperBound * 8 + 511) & ~511, table.bytes.count)
      try storage.write(
        at: table.offset + UInt64(start), from: UnsafeRawBufferPointer(rebasing: table.bytes[start..<end]))
      table.dirty = nil
    }
  }

  /// Writes L1. The L2 tables that it names are on stable storage.
  func writeL1() throws(DiskImageError) {
    for index in l1Dirty.sorted() { try storage.write(CollectionOfOne(l1[index]), at: l1Offset + UInt64(index) * 8) }
    l1Dirty = []
  }

  /// L1 lies elsewhere, and is longer.
  func moveL1(to offset: UInt64, count: Int) {
    l1Offset = offset
    if count > l1.count { l1 += [UInt64](repeating: 0, count: count - l1.count) }
  }

  /// What was written may not have come to stable storage: all that is in memory is to be written again.
  func distrust() {
    for (index, table) in tables {
      table.markAll()
      l1Dirty.insert(index)
    }
  }

  /// Forgets tables that were not used lately, where they take too much memory and are not changed.
  /// - Returns: whether that is not enough.
  func trim() -> Bool {
    let most = max(4, Self.cacheBytes >> clusterBits)
    guard tables.count > most else { return false }
    last = nil
    for (index, table) in tables.sorted(by: { $0.value.lastUse < $1.value.lastUse }) where table.dirty == nil {
      if tables.count <= most / 2 { break }
      tables[index] = nil
    }
    return tables.count > most
  }
}
