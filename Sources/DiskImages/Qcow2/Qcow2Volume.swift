/// What a qcow2 image is based on: what it does not have itself is read there.
protocol BackingContent: AnyObject, Sendable {
  /// Bytes; behind them are zeros.
  var size: UInt64 { get }
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError)
}

/// The content of a qcow2 image, of version 2 or 3, as its guest sees it. Used by one thread at a time.
///
/// What the guest writes goes to the image at once; which cluster it is in, and that this cluster is in use, is kept in memory
/// until `flush` or until there is too much of it. It is then written in an order that leaves the image whole wherever it is
/// cut, by the end of the process or of the host, and whatever of it comes to stable storage first (`commit`): what was
/// flushed is there, no cluster is referred to that counts as free, and no cluster is used for something new as long as an
/// old reference to it may come back. What may be left are clusters that count as used and are not (leaks).
///
/// Source: QEMU, docs/interop/qcow2.txt.
final class Qcow2Volume {
  typealias Entry = Qcow2Tables.Entry

  let storage: any ClusterStorage
  let isReadOnly: Bool
  var header: Qcow2Header
  let backing: (any BackingContent)?
  let tables: Qcow2Tables
  let refcounts: Qcow2Refcounts
  /// Clusters to be freed when nothing on stable storage refers to them any more, with how many.
  var released: [(cluster: UInt64, count: Int)] = []
  /// Clusters that are tables: a guest's data are never written there, whatever the tables say.
  private var reserved: Set<UInt64> = []
  /// The image has turned out to be damaged, or may be after a failure: nothing is written any more.
  var failure: DiskImageError?
  /// Behind it nothing was ever written.
  private var end: UInt64
  private var isWritten = false
  /// The compressed cluster that was read last.
  private var expanded: (entry: UInt64, bytes: [UInt8])?

  /// - Parameter backing: what `header` says that the image is based on.
  init(
    _ storage: any ClusterStorage, header: Qcow2Header, backing: (any BackingContent)?, isReadOnly: Bool
  ) throws(DiskImageError) {
    self.storage = storage
    self.header = header
    self.backing = backing
    self.isReadOnly = isReadOnly
    tables = try Qcow2Tables(header, storage)
    refcounts = try Qcow2Refcounts(header, storage)
    end = try storage.length
    guard !isReadOnly else { return }
    guard !header.incompatible.contains(.corrupt) else {
      throw .corrupt(path: storage.path, what: "it is marked as corrupt")
    }
    reserve()
  }

  var clusterSize: UInt64 { header.clusterSize }
  var clusterMask: UInt64 { clusterSize - 1 }
  /// In whole sectors.
  var size: UInt64 { (header.virtualSize + 511) & ~511 }

  func corrupt(_ what: String) -> DiskImageError { .corrupt(path: storage.path, what: what) }

  func reserve() {
    let bits = UInt64(header.clusterBits)
    reserved = [0]
    func add(_ offset: UInt64, bytes: UInt64) {
      guard bytes > 0 else { return }
      for cluster in (offset >> bits)...((offset + bytes - 1) >> bits) { reserved.insert(cluster) }
    }
    add(tables.l1Offset, bytes: UInt64(tables.l1.count * 8))
    add(refcounts.tableOffset, bytes: UInt64(refcounts.tableClusters) << bits)
    if header.snapshotCount > 0 { add(header.snapshotOffset, bytes: 1) }
    for entry in tables.l1 where Entry(entry).offset != 0 { reserved.insert(Entry(entry).offset >> bits) }
    for entry in refcounts.table where entry != 0 { reserved.insert(entry >> bits) }
  }

  // MARK: Reading

  /// What a stretch of the guest's bytes is.
  private enum Content: Equatable {
    /// From this byte of the image on.
    case data(UInt64)
    case zero
    /// What the image is based on has it.
    case absent
    case compressed(UInt64)
  }

  private func content(_ entry: Entry, within: UInt64) throws(DiskImageError) -> Content {
    if entry.isCompressed { return .compressed(entry.rawValue) }
    if entry.isZero, header.version > 2 { return .zero }
    guard entry.offset != 0 else { return .absent }
    guard entry.offset & clusterMask == 0 else { throw corrupt("a cluster lies at \(entry.offset)") }
    return .data(entry.offset + within)
  }

  private func place(_ offset: UInt64) -> (l1: Int, l2: Int, within: UInt64) {
    let bits = UInt64(header.clusterBits)
    let index = offset >> bits
    return (Int(index >> (bits - 3)), Int(index & (1 << (bits - 3) - 1)), offset & clusterMask)
  }

  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    // What cannot be written for now does not keep anybody from reading.
    try? trim()
    var done = 0
    while done < buffer.count {
      let position = offset + UInt64(done)
      let (l1, l2, within) = place(position)
      let table = try tables.table(l1)
      let left = UInt64(buffer.count - done)
      var length = min(clusterSize - within, left)
      let first = try content(table?[l2] ?? .none, within: within)
      // As much as is alike in a row.
      var next = l2 + 1
      while length < left, next < header.entriesPerTable {
        let following = try content(table?[next] ?? .none, within: 0)
        switch (first, following) {
        case (.data(let start), .data(let more)) where more == start + length: break
        case (.zero, .zero), (.absent, .absent): break
        default: next = header.entriesPerTable
        }
        guard next < header.entriesPerTable else { break }
        length = min(length + clusterSize, left)
        next += 1
      }
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<(done + Int(length))])
      try read(first, at: position, within: within, into: part)
      done += Int(length)
    }
  }

  /// What is there, as its own tables say, and for how many bytes in a row.
  func ownStretch(at position: UInt64, most: UInt64) throws(DiskImageError) -> (Qcow2Image.Stretch, UInt64) {
    try? trim()
    let (l1, first, within) = place(position)
    let table = try tables.table(l1)
    func kind(_ index: Int) throws(DiskImageError) -> Qcow2Image.Stretch {
      switch try content(table?[index] ?? .none, within: 0) {
      case .absent: .below
      case .zero: .zero
      case .data, .compressed: .data
      }
    }
    let found = try kind(first)
    var count = clusterSize - within
    var index = first + 1
    while count < most, index < header.entriesPerTable, try kind(index) == found {
      count += clusterSize
      index += 1
    }
    return (found, min(count, most))
  }

  private func read(
    _ content: Content, at position: UInt64, within: UInt64, into part: UnsafeMutableRawBufferPointer
  ) throws(DiskImageError) {
    switch content {
    case .data(let host): try storage.read(at: host, into: part)
    case .zero: part.initializeMemory(as: UInt8.self, repeating: 0)
    case .absent: try readBacking(at: position, into: part)
    case .compressed(let entry):
      let bytes = try expand(entry)
      bytes.withUnsafeBytes { part.copyMemory(from: .init(rebasing: $0[Int(within)..<(Int(within) + part.count)])) }
    }
    // The last sector may be more than there is.
    if position + UInt64(part.count) > header.virtualSize {
      let left = Int(header.virtualSize - min(position, header.virtualSize))
      UnsafeMutableRawBufferPointer(rebasing: part[left...]).initializeMemory(as: UInt8.self, repeating: 0)
    }
  }

  private func readBacking(at position: UInt64, into part: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    var there = 0
    if let backing, position < backing.size {
      there = Int(min(UInt64(part.count), backing.size - position))
      try backing.read(at: position, into: UnsafeMutableRawBufferPointer(rebasing: part[..<there]))
    }
    UnsafeMutableRawBufferPointer(rebasing: part[there...]).initializeMemory(as: UInt8.self, repeating: 0)
  }

  private func expand(_ entry: UInt64) throws(DiskImageError) -> [UInt8] {
    if let expanded, expanded.entry == entry { return expanded.bytes }
    let range = Entry(entry).compressedRange(clusterBits: header.clusterBits)
    // One that did not become shorter is not compressed.
    guard range.lowerBound < end, range.count <= 2 * Int(clusterSize) else {
      throw corrupt("a compressed cluster lies at \(range.lowerBound)")
    }
    let input = try storage.bytes(at: range.lowerBound, count: range.count)
    var output = [UInt8](repeating: 0, count: Int(clusterSize))
    let isWhole = output.withUnsafeMutableBytes { Qcow2Compression.expand(input, header.compression, into: $0) }
    guard isWhole else { throw corrupt("the compressed cluster at \(range.lowerBound) cannot be expanded") }
    expanded = (entry, output)
    return output
  }

  // MARK: Writing

  func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError) {
    try prepareWriting()
    var done = 0
    while done < buffer.count {
      try trim()
      let (l1, l2, within) = place(offset + UInt64(done))
      let table = try ownTable(l1)
      // Up to the end of the table.
      let most = UInt64(header.entriesPerTable - l2) * clusterSize - within
      let length = Int(min(most, UInt64(buffer.count - done)))
      try write(
        at: offset + UInt64(done), from: UnsafeRawBufferPointer(rebasing: buffer[done..<(done + length)]), table)
      done += length
    }
  }

  /// Clusters in a row in the image, whose bytes are written at one blow.
  private struct Run {
    var host: UInt64 = 0
    var bytes = 0..<0
    /// What the table says when they are there.
    var entries: [(index: Int, old: Entry, new: Entry)] = []
  }

  /// Writes what lies within one table.
  private func write(
    at offset: UInt64, from buffer: UnsafeRawBufferPointer, _ table: Qcow2Tables.Table
  ) throws(DiskImageError) {
    var run = Run()
    var done = 0
    // Allocated and not in the run yet.
    var loose: UInt64?
    do throws(DiskImageError) {
      while done < buffer.count {
        let (_, index, within) = place(offset + UInt64(done))
        let length = Int(min(clusterSize - within, UInt64(buffer.count - done)))
        let old = table[index]
        if old.isOwn, !old.isZero || header.version == 2 {
          try check(old.offset)
          try extend(&run, buffer, table, at: old.offset + within, done..<(done + length))
        } else {
          let host = old.isOwn ? old.offset : try allocate()
          if old.isOwn { try check(host) } else { loose = host }
          let new = Entry(own: host)
          var isBlank = host >= end && storage.growsWithZeros
          if isBlank { isBlank = try readsAsZeros(old, at: offset + UInt64(done) - within) }
          if length == Int(clusterSize) {
            try extend(&run, buffer, table, at: host, done..<(done + length))
            run.entries.append((index, old, new))
          } else if isBlank {
            end = max(end, host + clusterSize)
            try extend(&run, buffer, table, at: host + within, done..<(done + length))
            run.entries.append((index, old, new))
          } else {
            try finish(&run, buffer, table)
            run.entries.append((index, old, new))
            let part = UnsafeRawBufferPointer(rebasing: buffer[done..<(done + length)])
            try writeWhole(at: offset + UInt64(done) - within, within, part, old, to: host)
            try finish(&run, buffer, table)
          }
          loose = nil
        }
        done += length
      }
      try finish(&run, buffer, table)
    } catch {
      // What was allocated and did not come to be is free again.
      for (_, old, new) in run.entries where !old.isOwn {
        try? refcounts.set(new.offset >> UInt64(header.clusterBits), to: 0)
      }
      if let loose, !run.entries.contains(where: { $0.new.offset == loose }) {
        try? refcounts.set(loose >> UInt64(header.clusterBits), to: 0)
      }
      throw error
    }
  }

  private func extend(
    _ run: inout Run, _ buffer: UnsafeRawBufferPointer, _ table: Qcow2Tables.Table, at host: UInt64, _ bytes: Range<Int>
  ) throws(DiskImageError) {
    if run.bytes.isEmpty {
      (run.host, run.bytes) = (host, bytes)
    } else if run.host + UInt64(run.bytes.count) == host {
      run.bytes = run.bytes.lowerBound..<bytes.upperBound
    } else {
      try finish(&run, buffer, table)
      (run.host, run.bytes) = (host, bytes)
    }
  }

  private func finish(
    _ run: inout Run, _ buffer: UnsafeRawBufferPointer, _ table: Qcow2Tables.Table
  ) throws(DiskImageError) {
    if !run.bytes.isEmpty {
      try storage.write(at: run.host, from: UnsafeRawBufferPointer(rebasing: buffer[run.bytes]))
      end = max(end, run.host + UInt64(run.bytes.count))
    }
    for (index, old, new) in run.entries {
      table[index] = new
      if !old.isOwn { release(old) }
    }
    run = Run()
  }

  /// Writes a cluster of which the guest has written a part.
  private func writeWhole(
    at position: UInt64, _ within: UInt64, _ part: UnsafeRawBufferPointer, _ old: Entry, to host: UInt64
  ) throws(DiskImageError) {
    let cluster = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(clusterSize), alignment: 4096)
    defer { cluster.deallocate() }
    // Before and behind what is written.
    let behind = Int(within) + part.count
    for range in [0..<Int(within), behind..<Int(clusterSize)] where !range.isEmpty {
      let content = try content(old, within: UInt64(range.lowerBound))
      let rest = UnsafeMutableRawBufferPointer(rebasing: cluster[range])
      guard position + UInt64(range.lowerBound) < header.virtualSize else {
        rest.initializeMemory(as: UInt8.self, repeating: 0)
        continue
      }
      try read(content, at: position + UInt64(range.lowerBound), within: UInt64(range.lowerBound), into: rest)
    }
    UnsafeMutableRawBufferPointer(rebasing: cluster[Int(within)..<behind]).copyMemory(from: part)
    try storage.write(at: host, from: UnsafeRawBufferPointer(cluster))
    end = max(end, host + clusterSize)
  }

  func readsAsZeros(_ entry: Entry, at position: UInt64) throws(DiskImageError) -> Bool {
    switch try content(entry, within: 0) {
    case .zero: true
    case .absent: backing.map { position >= $0.size } ?? true
    case .data, .compressed: false
    }
  }

  // MARK: Zeros

  /// Makes bytes read as zeros. Clusters are given back with `mayUnmap`.
  func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(DiskImageError) {
    try prepareWriting()
    let start = min((offset + clusterMask) & ~clusterMask, offset + count)
    // The rest of the last cluster is nobody's.
    let isLast = offset + count >= size
    let stop = max(isLast ? offset + count : (offset + count) & ~clusterMask, start)
    try fillWithZeros(offset..<start)
    try zeroClusters(start..<stop, mayUnmap: mayUnmap, writes: true)
    try fillWithZeros(stop..<(offset + count))
  }

  /// The guest has no use for what these bytes hold: whole clusters are given back, and read as zeros.
  func discard(at offset: UInt64, count: UInt64) throws(DiskImageError) {
    try prepareWriting()
    let start = (offset + clusterMask) & ~clusterMask
    let stop = offset + count >= size ? offset + count : (offset + count) & ~clusterMask
    guard start < stop else { return }
    try zeroClusters(start..<stop, mayUnmap: true, writes: false)
  }

  private func fillWithZeros(_ range: Range<UInt64>) throws(DiskImageError) {
    guard !range.isEmpty else { return }
    let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: range.count, alignment: 16)
    defer { zeros.deallocate() }
    zeros.initializeMemory(as: UInt8.self, repeating: 0)
    try write(at: range.lowerBound, from: UnsafeRawBufferPointer(zeros))
  }

  /// - Parameter writes: where a cluster cannot be made to read as zeros otherwise, they are written.
  private func zeroClusters(_ range: Range<UInt64>, mayUnmap: Bool, writes: Bool) throws(DiskImageError) {
    var position = range.lowerBound
    while position < range.upperBound {
      try trim()
      let (l1, first, _) = place(position)
      // Where there is nothing, and nothing shines through, zeros are there already.
      let step = UInt64(header.entriesPerTable - first) * clusterSize
      let shinesThrough = try !readsAsZeros(.none, at: position)
      if Entry(tables.l1[l1]).offset == 0, !shinesThrough {
        position += min(step, range.upperBound - position)
        continue
      }
      let table = try ownTable(l1)
      for index in first..<header.entriesPerTable where position < range.upperBound {
        let old = table[index]
        if header.version > 2 {
          let keeps = old.isOwn && !mayUnmap
          let readsZero = try readsAsZeros(old, at: position)
          if !readsZero || old.offset != 0 {
            let new = keeps ? Entry(own: old.offset, isZero: true) : Entry(Entry.isZero)
            if new != old {
              table[index] = new
              if !keeps { release(old) }
            }
          }
        } else if try readsAsZeros(.none, at: position), mayUnmap {
          if old != .none {
            table[index] = .none
            release(old)
          }
        } else if writes {
          try fillWithZeros(position..<min(position + clusterSize, range.upperBound))
        }
        position += clusterSize
      }
    }
  }

  // MARK: Clusters

  func prepareWriting() throws(DiskImageError) {
    guard !isReadOnly else { throw .readOnly(path: storage.path) }
    if let failure { throw failure }
    guard !isWritten else { return }
    // Bitmaps and what else is only right while everybody who writes keeps it so.
    if header.autoclear != 0 {
      try storage.write(CollectionOfOne(0), at: UInt64(Qcow2Header.Field.autoclear))
      try storage.sync()
      header.autoclear = 0
    }
    isWritten = true
  }

  /// The guest's data do not go to where a table is.
  private func check(_ offset: UInt64) throws(DiskImageError) {
    guard offset & clusterMask == 0, !reserved.contains(offset >> UInt64(header.clusterBits)) else {
      throw giveUp("the guest's data and a table lie at \(offset)")
    }
    // Behind the end there may be what was allocated and not written yet.
    guard offset >= end else { return }
    guard try refcounts.count(of: offset >> UInt64(header.clusterBits)) > 0 else {
      throw giveUp("a cluster lies at \(offset), behind its end")
    }
  }

  /// Nothing is written any more.
  func abandon(_ error: DiskImageError) { failure = error }

  func giveUp(_ what: String) -> DiskImageError {
    let error = corrupt(what)
    failure = error
    return error
  }

  /// A cluster that nobody refers to, at whatever place.
  func allocate() throws(DiskImageError) -> UInt64 {
    let cluster = try refcounts.allocate()
    guard !reserved.contains(cluster) else {
      throw giveUp("the table at \(cluster << UInt64(header.clusterBits)) counts as free")
    }
    guard cluster < 1 << (56 - UInt64(header.clusterBits)) else { throw .noSpace(path: storage.path) }
    return cluster << UInt64(header.clusterBits)
  }

  /// The table at this place of L1, to be changed.
  private func ownTable(_ index: Int) throws(DiskImageError) -> Qcow2Tables.Table {
    if tables.isOwn(index), let table = try tables.table(index) { return table }
    let shared = Entry(tables.l1[index]).offset
    // It is read before its place counts as taken.
    _ = try tables.table(index)
    let offset = try allocate()
    let table = try tables.makeTable(index, at: offset)
    reserved.insert(offset >> UInt64(header.clusterBits))
    if shared != 0 { release(Entry(shared)) }
    return table
  }

  /// Nothing in memory refers to it any more.
  func release(_ entry: Entry) {
    let bits = UInt64(header.clusterBits)
    if entry.isCompressed {
      let range = entry.compressedRange(clusterBits: header.clusterBits)
      if expanded?.entry == entry.rawValue { expanded = nil }
      let first = range.lowerBound >> bits
      released.append((first, Int((range.upperBound - 1) >> bits - first) + 1))
    } else if entry.offset != 0 {
      released.append((entry.offset >> bits, 1))
    }
  }

  // MARK: Flushing

  /// What is kept in memory has been written. What was flushed before may rest in memory again when this returns.
  var isClean: Bool { released.isEmpty && !refcounts.isDirty && !tables.isDirty }

  /// Keeps memory within bounds.
  func trim() throws(DiskImageError) {
    let tablesAreMany = tables.trim()
    let blocksAreMany = refcounts.trim()
    guard tablesAreMany || blocksAreMany || released.count > 65536 else { return }
    guard !isReadOnly else { return }
    try commit()
    _ = tables.trim()
    _ = refcounts.trim()
  }

  /// Everything that was written is on stable storage when this returns.
  func flush() throws(DiskImageError) {
    guard !isReadOnly else { return }
    if !(try commit()) { try sync() }
  }

  /// Writes what is kept in memory, each step when that which it refers to is on stable storage: data and counts, then L2
  /// tables, then L1. What is referred to no more is freed last.
  /// - Returns: whether all of it is on stable storage.
  @discardableResult
  func commit() throws(DiskImageError) -> Bool {
    if let failure { throw failure }
    guard !isClean else { return false }
    for (offset, clusters) in try refcounts.write() {
      released.append((offset >> UInt64(header.clusterBits), clusters))
    }
    if tables.isDirty {
      try sync()
      try tables.writeTables()
      if tables.isL1Dirty {
        try sync()
        try tables.writeL1()
      }
    }
    guard !released.isEmpty else { return false }
    try sync()
    try free()
    return true
  }

  func sync() throws(DiskImageError) {
    do throws(DiskImageError) {
      try storage.sync()
    } catch {
      // What the host has forgotten of it, nobody knows.
      tables.distrust()
      refcounts.distrust()
      throw error
    }
  }

  /// Nothing on stable storage refers to them any more.
  private func free() throws(DiskImageError) {
    let list = released
    released = []
    var holes: [(UInt64, Int)] = []
    for (first, count) in list {
      for cluster in first..<(first + UInt64(count)) {
        do throws(DiskImageError) {
          try refcounts.release(cluster)
          guard try refcounts.count(of: cluster) == 0 else { continue }
        } catch {
          if case .corrupt = error { failure = error }
          throw error
        }
        reserved.remove(cluster)
        if let last = holes.last, last.0 + UInt64(last.1) == cluster {
          holes[holes.count - 1].1 += 1
        } else {
          holes.append((cluster, 1))
        }
      }
    }
    for (offset, clusters) in try refcounts.write() {
      released.append((offset >> UInt64(header.clusterBits), clusters))
    }
    let bits = UInt64(header.clusterBits)
    for (cluster, count) in holes { _ = storage.punchHole(at: cluster << bits, count: UInt64(count) << bits) }
  }
}
