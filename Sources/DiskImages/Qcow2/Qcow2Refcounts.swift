/// How often each cluster of an image is referred to: the refcount table, which points to refcount blocks, which have a count
/// for each cluster.
///
/// Changes stay in memory until `write` is called; whoever owns this sees to it that a count is on stable storage before
/// whatever refers to the cluster.
///
/// Source: QEMU, docs/interop/qcow2.txt, "Host cluster management".
final class Qcow2Refcounts {
  private let storage: any ClusterStorage
  private let clusterBits: Int
  private let order: Int
  /// Offsets of the blocks; 0: none, and so all counts are 0.
  private(set) var table: [UInt64]
  /// Where the table lies.
  private(set) var tableOffset: UInt64
  private(set) var tableClusters: Int
  private var blocks: [Int: Block] = [:]
  private var uses: UInt64 = 0
  /// Entries of the table whose blocks are new.
  private var newEntries: Set<Int> = []
  /// The table has been made larger and lies elsewhere: the header is to say so.
  private var hasMoved = false
  private var hasEverMoved = false
  /// Where the table was, to be freed when the header does not name it any more.
  private var oldTable: [(offset: UInt64, clusters: Int)] = []
  /// No cluster below it is free.
  private var cursor: UInt64 = 0

  private final class Block {
    let offset: UInt64
    var bytes: [UInt8]
    var isDirty = false
    var lastUse: UInt64 = 0
    init(offset: UInt64, bytes: [UInt8]) {
      self.offset = offset
      self.bytes = bytes
    }
  }

  /// Memory that blocks may take.
  private static let cacheBytes = 8 << 20

  init(_ header: Qcow2Header, _ storage: any ClusterStorage) throws(DiskImageError) {
    self.storage = storage
    clusterBits = header.clusterBits
    order = header.refcountOrder
    tableOffset = header.refcountTableOffset
    tableClusters = header.refcountTableClusters
    table = try storage.numbers(at: tableOffset, count: tableClusters << (clusterBits - 3))
    let end = try storage.length
    var seen: Set<UInt64> = []
    for entry in table where entry != 0 {
      // Bits 0 to 8 are reserved.
      guard entry & ((1 << UInt64(clusterBits)) - 1) == 0, entry < end else {
        throw corrupt("a refcount block lies at \(entry)")
      }
      guard seen.insert(entry).inserted else { throw corrupt("two refcount blocks lie at \(entry)") }
    }
  }

  private func corrupt(_ what: String) -> DiskImageError { .corrupt(path: storage.path, what: what) }
  private var clusterSize: UInt64 { 1 << UInt64(clusterBits) }
  private var countsPerBlock: UInt64 { 1 << UInt64(clusterBits + 3 - order) }

  // MARK: Counts

  func count(of cluster: UInt64) throws(DiskImageError) -> UInt64 {
    let place = cluster / countsPerBlock
    guard place < table.count, let block = try block(Int(place)) else { return 0 }
    return get(block, Int(cluster % countsPerBlock))
  }

  func set(_ cluster: UInt64, to value: UInt64) throws(DiskImageError) {
    let place = cluster / countsPerBlock
    guard place < table.count, let block = try block(Int(place)) else {
      if value == 0 { return }
      try makeBlocks(for: cluster..<(cluster + 1))
      return try set(cluster, to: value)
    }
    guard order == 6 || value >> (1 << UInt64(order)) == 0 else {
      throw corrupt("cluster \(cluster) is referred to more often than can be counted")
    }
    put(block, Int(cluster % countsPerBlock), value)
    block.isDirty = true
    if value == 0 { cursor = min(cursor, cluster) }
  }

  /// One reference less.
  func release(_ cluster: UInt64) throws(DiskImageError) {
    let now = try count(of: cluster)
    guard now > 0 else { throw corrupt("cluster \(cluster) is in use and counted as free") }
    try set(cluster, to: now - 1)
  }

  private func get(_ block: Block, _ index: Int) -> UInt64 {
    if order < 3 {
      let perByte = 8 >> order
      return UInt64(block.bytes[index / perByte] >> UInt8((index % perByte) << order)) & (1 << (1 << UInt64(order)) - 1)
    }
    let width = 1 << (order - 3)
    return (0..<width).reduce(0) { $0 << 8 | UInt64(block.bytes[index * width + $1]) }
  }

  private func put(_ block: Block, _ index: Int, _ value: UInt64) {
    if order < 3 {
      let perByte = 8 >> order
      let shift = UInt8((index % perByte) << order)
      let mask = UInt8(truncatingIfNeeded: 1 << (1 << order) - 1) << shift
      block.bytes[index / perByte] = block.bytes[index / perByte] & ~mask | UInt8(value) << shift
      return
    }
    let width = 1 << (order - 3)
    for byte in 0..<width {
      block.bytes[index * width + byte] = UInt8(truncatingIfNeeded: value >> UInt64((width - 1 - byte) * 8))
    }
  }

  private func block(_ place: Int) throws(DiskImageError) -> Block? {
    uses += 1
    if let block = blocks[place] {
      block.lastUse = uses
      return block
    }
    guard table[place] != 0 else { return nil }
    let block = Block(
      offset: table[place], bytes: try storage.bytes(at: table[place], count: Int(clusterSize)))
    block.lastUse = uses
    blocks[place] = block
    return block
  }

  // MARK: Allocation

  /// Takes so many clusters in a row that nobody refers to. Their counts are 1.
  /// - Returns: the first one's number.
  func allocate(_ count: UInt64 = 1) throws(DiskImageError) -> UInt64 {
    var run: UInt64 = 0
    var cluster = cursor
    while true {
      let place = cluster / countsPerBlock
      guard place < table.count, let block = try block(Int(place)) else { break }
      let index = Int(cluster % countsPerBlock)
      if get(block, index) == 0 {
        run += 1
        if run == count { return try claim(cluster + 1 - count, count) }
      } else {
        run = 0
        if count == 1 { cursor = cluster + 1 }
      }
      cluster += 1
    }
    // Behind what has counts. What is free at its end is part of it.
    let start = cluster - run
    let behind = table.lastIndex { $0 != 0 }.map { UInt64($0) + 1 } ?? 0
    if behind * countsPerBlock > cluster {
      // There are blocks behind a place without one.
      try makeBlocks(for: cluster..<(cluster + 1))
      return try allocate(count)
    }
    try makeBlocks(for: start..<(start + count))
    return try claim(start, count)
  }

  private func claim(_ first: UInt64, _ count: UInt64) throws(DiskImageError) -> UInt64 {
    for cluster in first..<(first + count) { try set(cluster, to: 1) }
    return first
  }

  /// Makes the blocks that these clusters need. Those lie behind them, where there are none yet.
  private func makeBlocks(for clusters: Range<UInt64>) throws(DiskImageError) {
    let first = clusters.lowerBound / countsPerBlock
    var places: [Int] = []
    var end = clusters.upperBound
    var place = first
    // Each new block has a cluster, which may need one more block.
    while place * countsPerBlock < end {
      if place >= table.count || table[Int(place)] == 0 {
        places.append(Int(place))
        end += 1
      }
      place += 1
    }
    guard !places.isEmpty else { return }
    guard place * 8 <= UInt64(Qcow2Header.refcountTableLimit) else { throw .noSpace(path: storage.path) }
    // What is behind may be in use where a block without counts lies between others.
    var home = clusters.upperBound
    var homes: [UInt64] = []
    while homes.count < places.count {
      let itsPlace = home / countsPerBlock
      let isFree =
        itsPlace >= table.count || table[Int(itsPlace)] == 0 ? true : try self.count(of: home) == 0
      if isFree { homes.append(home) }
      home += 1
    }
    let needed = Int((home - 1) / countsPerBlock) + 1
    var isLarger = false
    if needed > table.count {
      let perCluster = 1 << (clusterBits - 3)
      let least = max(needed, table.count + table.count / 2)
      // With room for the blocks that the table's own clusters need.
      let room = least / perCluster / Int(clamping: countsPerBlock) + 3
      let size = (least + room + perCluster - 1) / perCluster * perCluster
      guard size * 8 <= Qcow2Header.refcountTableLimit else { throw .noSpace(path: storage.path) }
      table += [UInt64](repeating: 0, count: size - table.count)
      isLarger = true
    }
    for (place, home) in zip(places, homes) {
      table[place] = home << UInt64(clusterBits)
      let block = Block(offset: table[place], bytes: [UInt8](repeating: 0, count: Int(clusterSize)))
      block.isDirty = true
      blocks[place] = block
      newEntries.insert(place)
    }
    for home in homes { try set(home, to: 1) }
    if isLarger { try moveTable(keeping: clusters) }
  }

  /// Finds a place for a table that does not fit where it was.
  private func moveTable(keeping clusters: Range<UInt64>) throws(DiskImageError) {
    // They are not marked yet, and must not be taken.
    for cluster in clusters { try set(cluster, to: 1) }
    let count = table.count >> (clusterBits - 3)
    let place = try allocate(UInt64(count))
    for cluster in clusters { try set(cluster, to: 0) }
    oldTable.append((tableOffset, tableClusters))
    tableOffset = place << UInt64(clusterBits)
    tableClusters = count
    (hasMoved, hasEverMoved) = (true, true)
  }

  // MARK: Writing

  var isDirty: Bool { hasMoved || blocks.values.contains { $0.isDirty } }

  /// Writes what has changed. It need not be on stable storage when this returns; what a new place in the table or header
  /// leads to is.
  /// - Returns: clusters that are in use no more as soon as all that is written is on stable storage.
  func write() throws(DiskImageError) -> [(offset: UInt64, clusters: Int)] {
    for block in blocks.values.sorted(by: { $0.offset < $1.offset }) where block.isDirty {
      try storage.write(block.bytes, at: block.offset)
      block.isDirty = false
    }
    guard hasMoved || !newEntries.isEmpty else { return [] }
    if hasMoved { try storage.write(table, at: tableOffset) }
    try storage.sync()
    if hasMoved {
      var field: [UInt8] = []
      withUnsafeBytes(of: tableOffset.bigEndian) { field += $0 }
      withUnsafeBytes(of: UInt32(tableClusters).bigEndian) { field += $0 }
      try storage.write(field, at: UInt64(Qcow2Header.Field.refcountTable))
    } else {
      for place in newEntries { try storage.write(CollectionOfOne(table[place]), at: tableOffset + UInt64(place) * 8) }
    }
    defer { oldTable = [] }
    (newEntries, hasMoved) = ([], false)
    return oldTable
  }

  /// What was written may not have come to stable storage: all that is in memory is to be written again.
  func distrust() {
    for block in blocks.values { block.isDirty = true }
    newEntries.formUnion(blocks.keys)
    hasMoved = hasMoved || hasEverMoved
  }

  /// Forgets blocks that were not used lately, where they take too much memory and are not changed.
  /// - Returns: whether that is not enough.
  func trim() -> Bool {
    let most = max(4, Self.cacheBytes >> clusterBits)
    guard blocks.count > most else { return false }
    for (place, block) in blocks.sorted(by: { $0.value.lastUse < $1.value.lastUse }) where !block.isDirty {
      if blocks.count <= most / 2 { break }
      blocks[place] = nil
    }
    return blocks.count > most
  }
}
