/// Counts anew how often each cluster of an image is referred to, and mends counts that are wrong: what an image needs that was
/// not closed while it kept them lazily.
///
/// Source: QEMU, docs/interop/qcow2.txt, "Host cluster management" and "Snapshots".
struct Qcow2Check {
  /// What was found, in clusters.
  struct Findings: Equatable {
    /// Count as used, or as used more often, and are not: space is lost.
    var leaks = 0
    /// Are referred to more often than they count: they may be used for something else.
    var corruptions = 0
  }

  private let storage: any ClusterStorage
  private let header: Qcow2Header
  /// By cluster.
  private var references: [UInt32]

  /// More clusters than this are not counted.
  private static let clusterLimit: UInt64 = 1 << 26

  /// Clusters behind the end that may be referred to.
  private static let clustersBehind = 1 << 16

  private init(_ volume: Qcow2Volume) throws(DiskImageError) {
    storage = volume.storage
    header = volume.header
    let clusters = (try volume.storage.length + header.clusterSize - 1) >> UInt64(header.clusterBits)
    guard clusters <= Self.clusterLimit else {
      throw .unsupported(path: volume.storage.path, feature: "\(clusters) clusters to be counted")
    }
    references = [UInt32](repeating: 0, count: Int(clusters))
  }

  /// Compares the counts with the references.
  static func check(_ volume: Qcow2Volume) throws(DiskImageError) -> Findings {
    try volume.flush()
    var check = try Qcow2Check(volume)
    try check.count(volume)
    var findings = Findings()
    try check.compare(volume) { _, count, references throws(DiskImageError) in
      if count < references { findings.corruptions += 1 } else { findings.leaks += 1 }
    }
    return findings
  }

  /// Makes the counts those of the references, and takes away the mark that they may be wrong.
  static func repair(_ volume: Qcow2Volume) throws(DiskImageError) {
    try volume.prepareWriting()
    var check = try Qcow2Check(volume)
    try check.count(volume)
    try check.compare(volume) { cluster, _, references throws(DiskImageError) in
      try volume.refcounts.set(cluster, to: UInt64(references))
    }
    _ = try volume.refcounts.write()
    try volume.storage.sync()
    volume.header.incompatible.remove(.dirty)
    try volume.storage.write(
      CollectionOfOne(volume.header.incompatible.rawValue), at: UInt64(Qcow2Header.Field.incompatible))
    try volume.storage.sync()
  }

  private func compare(
    _ volume: Qcow2Volume,
    _ differs: (_ cluster: UInt64, _ count: UInt64, _ references: UInt32) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    for cluster in references.indices {
      let count = try volume.refcounts.count(of: UInt64(cluster))
      if count != UInt64(references[cluster]) { try differs(UInt64(cluster), count, references[cluster]) }
      _ = volume.refcounts.trim()
    }
  }

  private func corrupt(_ what: String) -> DiskImageError { .corrupt(path: storage.path, what: what) }

  private mutating func count(_ volume: Qcow2Volume) throws(DiskImageError) {
    try add(0, bytes: 1)
    try add(volume.refcounts.tableOffset, bytes: UInt64(volume.refcounts.tableClusters) << UInt64(header.clusterBits))
    for block in volume.refcounts.table where block != 0 { try add(block, bytes: 1) }
    try countTables(volume.tables.l1Offset, volume.tables.l1)
    guard header.snapshotCount > 0 else { return }
    var place = header.snapshotOffset
    for _ in 0..<header.snapshotCount {
      let head = try storage.bytes(at: place, count: 40)
      func number(_ offset: Int, _ count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 << 8 | UInt64(head[offset + $1]) }
      }
      let (l1Offset, l1Count) = (number(0, 8), Int(number(8, 4)))
      guard l1Count * 8 <= Qcow2Header.l1Limit, l1Offset & (header.clusterSize - 1) == 0 else {
        throw corrupt("a snapshot's L1 table has \(l1Count) entries at \(l1Offset)")
      }
      try countTables(l1Offset, try storage.numbers(at: l1Offset, count: l1Count))
      // The identifier, the name, and more data about it; entries begin at multiples of 8.
      let length = 40 + number(36, 4) + number(12, 2) + number(14, 2)
      place += (length + 7) & ~7
      guard place - header.snapshotOffset <= 64 << 20 else { throw corrupt("its snapshot table is too long") }
    }
    try add(header.snapshotOffset, bytes: place - header.snapshotOffset)
  }

  private mutating func countTables(_ offset: UInt64, _ l1: [UInt64]) throws(DiskImageError) {
    if !l1.isEmpty { try add(offset, bytes: UInt64(l1.count * 8)) }
    for entry in l1 {
      let l2 = Qcow2Tables.Entry(entry).offset
      guard l2 != 0 else { continue }
      guard l2 & (header.clusterSize - 1) == 0 else { throw corrupt("an L2 table lies at \(l2)") }
      try add(l2, bytes: 1)
      for value in try storage.numbers(at: l2, count: header.entriesPerTable) where value != 0 {
        let entry = Qcow2Tables.Entry(value)
        if entry.isCompressed {
          let range = entry.compressedRange(clusterBits: header.clusterBits)
          // Its last sectors may lie behind the end of the file.
          try add(range.lowerBound, bytes: UInt64(range.count))
        } else if entry.offset != 0 {
          try add(entry.offset, bytes: 1)
        }
      }
    }
  }

  private mutating func add(_ offset: UInt64, bytes: UInt64) throws(DiskImageError) {
    let bits = UInt64(header.clusterBits)
    let last = Int((offset + max(bytes, 1) - 1) >> bits)
    // What is referred to and was not written yet lies near the end; what is far behind it cannot be.
    guard last < references.count + Self.clustersBehind else { throw corrupt("a cluster lies at \(offset)") }
    if last >= references.count { references += [UInt32](repeating: 0, count: last + 1 - references.count) }
    for cluster in Int(offset >> bits)...last where references[cluster] < .max { references[cluster] += 1 }
  }
}
