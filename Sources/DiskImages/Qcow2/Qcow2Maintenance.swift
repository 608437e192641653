/// What is done to an image as a whole: it is made, made larger, made smaller on the host.
extension Qcow2Volume {
  /// A new image's tables, and how many bytes they are.
  struct Layout {
    var header: Qcow2Header
    /// Clusters in use: the header, refcount table and blocks, L1.
    var clusters: UInt64
    var blocks: Int
    var blockOffset: UInt64

    /// - Throws: `DiskImageError.badSize` when the tables for that size would be too large.
    init(_ wanted: Qcow2Header, path: String) throws(DiskImageError) {
      header = wanted
      header.l1Count = wanted.l1Needed
      guard header.l1Count * 8 <= Qcow2Header.l1Limit, header.encoded.count <= Int(wanted.clusterSize) else {
        throw .badSize(path: path, bytes: wanted.virtualSize)
      }
      let bits = UInt64(header.clusterBits)
      let l1 = (UInt64(header.l1Count * 8) + header.clusterSize - 1) >> bits
      // Each block may make one more necessary, for itself.
      var (blocks, tables): (UInt64, UInt64) = (1, 1)
      while true {
        let clusters = 1 + tables + blocks + l1
        let neededBlocks = (clusters + header.countsPerBlock - 1) / header.countsPerBlock
        let neededTables = (neededBlocks * 8 + header.clusterSize - 1) >> bits
        if neededBlocks <= blocks, neededTables <= tables { break }
        (blocks, tables) = (max(blocks, neededBlocks), max(tables, neededTables))
      }
      header.refcountTableOffset = header.clusterSize
      header.refcountTableClusters = Int(tables)
      blockOffset = (1 + tables) << bits
      self.blocks = Int(blocks)
      header.l1Offset = (1 + tables + blocks) << bits
      clusters = 1 + tables + blocks + l1
    }
  }

  /// Makes an empty image in an empty file.
  static func create(_ wanted: Qcow2Header, on storage: any ClusterStorage) throws(DiskImageError) {
    let layout = try Layout(wanted, path: storage.path)
    let bits = UInt64(wanted.clusterBits)
    try storage.resize(to: layout.clusters << bits)
    let blocks = (0..<UInt64(layout.blocks)).map { layout.blockOffset + $0 << bits }
    try storage.write(blocks, at: layout.header.refcountTableOffset)
    let counts = try Qcow2Refcounts(layout.header, storage)
    for cluster in 0..<layout.clusters { try counts.set(cluster, to: 1) }
    _ = try counts.write()
    try storage.sync()
    // A file that is cut short before this is no image.
    try storage.write(layout.header.encoded, at: 0)
    try storage.sync()
  }

  /// Gives the guest more bytes, which read as zeros.
  /// - Throws: `DiskImageError.badSize` when there would be fewer, or the tables too large.
  func grow(to size: UInt64) throws(DiskImageError) {
    guard size >= header.virtualSize, size % 512 == 0, size <= UInt64(Int64.max) - 511 else {
      throw .badSize(path: storage.path, bytes: size)
    }
    guard header.version > 2 || header.snapshotCount == 0 else {
      throw .unsupported(
        path: storage.path, feature: "snapshots and version 2 of qcow2 and so cannot be resized, which")
    }
    try prepareWriting()
    let count = Qcow2Header.l1Needed(size, clusterBits: header.clusterBits)
    guard count * 8 <= Qcow2Header.l1Limit else { throw .badSize(path: storage.path, bytes: size) }
    let old = (offset: tables.l1Offset, count: tables.l1.count)
    if backing.map({ $0.size > header.virtualSize }) ?? false {
      // What the image is based on would come to light behind its old end.
      try hideBacking(from: header.virtualSize, to: size)
    }
    guard count > old.count else {
      try flush()
      try storage.write(CollectionOfOne(size), at: UInt64(Qcow2Header.Field.size))
      header.virtualSize = size
      return try storage.sync()
    }
    let clusters = (UInt64(count * 8) + clusterMask) >> UInt64(header.clusterBits)
    let place = try refcounts.allocate(clusters) << UInt64(header.clusterBits)
    try flush()
    try storage.write(tables.l1 + [UInt64](repeating: 0, count: count - old.count), at: place)
    // The rest of the last cluster.
    try storage.sync()
    var fields = [UInt8]()
    withUnsafeBytes(of: size.bigEndian) { fields += $0 }
    withUnsafeBytes(of: UInt32(0).bigEndian) { fields += $0 }
    withUnsafeBytes(of: UInt32(count).bigEndian) { fields += $0 }
    withUnsafeBytes(of: place.bigEndian) { fields += $0 }
    try storage.write(fields, at: UInt64(Qcow2Header.Field.size))
    try storage.sync()
    header.virtualSize = size
    (header.l1Count, header.l1Offset) = (count, place)
    tables.moveL1(to: place, count: count)
    let oldClusters = Int((UInt64(old.count * 8) + clusterMask) >> UInt64(header.clusterBits))
    if oldClusters > 0 { released.append((old.offset >> UInt64(header.clusterBits), oldClusters)) }
    reserve()
    try flush()
  }

  /// Writes zeros where what lies below would be seen: the image's size is still the old one, its tables have room.
  private func hideBacking(from start: UInt64, to end: UInt64) throws(DiskImageError) {
    guard let backing else { return }
    let stop = min(end, (backing.size + 511) & ~511)
    guard Qcow2Header.l1Needed(stop, clusterBits: header.clusterBits) <= tables.l1.count else {
      throw .unsupported(path: storage.path, feature: "a smaller size than what it is based on; growing that")
    }
    let before = header.virtualSize
    header.virtualSize = stop
    defer { header.virtualSize = before }
    try writeZeroes(at: before, count: stop - before, mayUnmap: true)
  }

  /// Writes another name of what it is based on. All of the header is in one sector, unless the name is very long.
  func changeBase(to name: String, _ format: ImageFormat) throws(DiskImageError) {
    try prepareWriting()
    try flush()
    var changed = header
    (changed.backingFile, changed.backingFormat) = (name, format.rawValue)
    let bytes = changed.encoded
    guard bytes.count <= Int(clusterSize), name.utf8.count <= 1023 else {
      throw .unsupported(path: storage.path, feature: "no room for a name of \(name.utf8.count) bytes, which")
    }
    try storage.write(bytes, at: 0)
    try storage.sync()
    header = changed
  }

  /// Gives back clusters that hold zeros only, and what lies behind the last one in use.
  /// - Parameter progress: is told how far it is, in bytes of the guest's.
  func compact(_ progress: (UInt64) throws -> Void) throws {
    try prepareWriting()
    let cluster = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(clusterSize), alignment: 4096)
    defer { cluster.deallocate() }
    var position: UInt64 = 0
    while position < size {
      let index = position >> UInt64(header.clusterBits)
      let place = (
        Int(index >> UInt64(header.clusterBits - 3)), Int(index) & (header.entriesPerTable - 1)
      )
      guard let table = try tables.table(place.0) else {
        position += UInt64(header.entriesPerTable) * clusterSize
        continue
      }
      let entry = table[place.1]
      let count = min(clusterSize, size - position)
      if entry.isCompressed || entry.offset != 0 {
        let part = UnsafeMutableRawBufferPointer(rebasing: cluster[..<Int(count)])
        if entry.isZero {
          part.initializeMemory(as: UInt8.self, repeating: 0)
        } else {
          try read(at: position, into: part)
        }
        if part.allSatisfy({ $0 == 0 }) { try writeZeroes(at: position, count: count, mayUnmap: true) }
      }
      position += count
      try progress(position)
    }
    try flush()
    try flush()
    try cutEnd()
  }

  /// Cuts off what lies behind the last cluster in use.
  private func cutEnd() throws(DiskImageError) {
    let length = try storage.length
    let bits = UInt64(header.clusterBits)
    var last = (length + clusterMask) >> bits
    let before = last
    while last > 1, try refcounts.count(of: last - 1) == 0 { last -= 1 }
    guard last < before else { return }
    try storage.resize(to: last << bits)
  }
}
