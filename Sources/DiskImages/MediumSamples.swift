import SavedState

/// Checksums of some blocks of a medium, which tell two contents apart without reading all of them.
///
/// Equal samples prove nothing by themselves: a block that was not looked at may differ. They are taken where contents
/// that have gone separate ways differ soonest: the headers of disk, partitions and file systems, the end, the blocks
/// that were written last, and some spread over the rest.
public struct MediumSamples: Codable, Equatable, Sendable {
  /// How many bytes a block has.
  public static let blockSize: UInt64 = 4096
  /// How many of the blocks written last are remembered.
  public static let recentBlocks = 32

  /// What one block held.
  public struct Block: Codable, Equatable, Sendable {
    /// In bytes.
    public var offset: UInt64
    /// `Checksum` of its bytes.
    public var checksum: UInt64

    public init(offset: UInt64, checksum: UInt64) {
      self.offset = offset
      self.checksum = checksum
    }
  }
  /// By offset.
  public var blocks: [Block]

  public init(blocks: [Block]) { self.blocks = blocks }

  /// How many blocks are looked at.
  public enum Extent: Sendable {
    /// What is read in a moment: for while a guest waits.
    case few
    /// A few hundred: headers, the end, and more places in between.
    case many
  }

  /// Offset of the first block that differs, or that is not in both.
  public func firstDifference(from other: MediumSamples) -> UInt64? {
    for (mine, theirs) in zip(blocks, other.blocks) where mine != theirs { return min(mine.offset, theirs.offset) }
    guard blocks.count != other.blocks.count else { return nil }
    return (blocks.count > other.blocks.count ? blocks : other.blocks)[min(blocks.count, other.blocks.count)].offset
  }
}

extension DiskImage {
  /// Samples of what the medium holds now.
  public func samples(_ extent: MediumSamples.Extent) throws(DiskImageError) -> MediumSamples {
    let places = try samplePlaces(extent).union(recentlyWritten.filter { $0 < blockCount })
    return try samples(at: places.sorted().map { $0 * MediumSamples.blockSize })
  }

  /// Remembers those blocks as written last that were sampled elsewhere because they were.
  public func noteRecent(from samples: MediumSamples) throws(DiskImageError) {
    let others = try samplePlaces(.many)
    noteWritten(blocks: samples.blocks.map { $0.offset / MediumSamples.blockSize }.filter { !others.contains($0) })
  }

  private var blockCount: UInt64 { (size + MediumSamples.blockSize - 1) / MediumSamples.blockSize }

  /// The offset of the first of the sampled blocks that holds something else now, or does not exist.
  public func firstDifference(from samples: MediumSamples) throws(DiskImageError) -> UInt64? {
    let places = samples.blocks.map(\.offset)
    if let outside = places.first(where: { $0 >= size }) { return outside }
    return try self.samples(at: places).firstDifference(from: samples)
  }

  private func samples(at offsets: [UInt64]) throws(DiskImageError) -> MediumSamples {
    var blocks: [MediumSamples.Block] = []
    blocks.reserveCapacity(offsets.count)
    for offset in offsets {
      blocks.append(.init(offset: offset, checksum: Checksum.of(try block(at: offset))))
    }
    return MediumSamples(blocks: blocks)
  }

  private func block(at offset: UInt64) throws(DiskImageError) -> [UInt8] {
    try bytes(at: offset, count: Int(min(MediumSamples.blockSize, size - offset)))
  }

  /// Numbers of blocks: the same for the same size and partitions.
  private func samplePlaces(_ extent: MediumSamples.Extent) throws(DiskImageError) -> Set<UInt64> {
    let count = blockCount
    var numbers: Set<UInt64> = [0, count - 1]
    var state = size
    for _ in 0..<(extent == .few ? 8 : 64) {
      state = Checksum.mix(state)
      numbers.insert(state % count)
    }
    if extent == .many {
      numbers.formUnion(0..<min(count, 32))
      numbers.formUnion((count - min(count, 8))..<count)
      // File systems keep what they write at every mount within the first 128 KiB.
      for start in PartitionStarts.find(head: try block(at: 0), second: count > 1 ? try block(at: 4096) : []) {
        let first = start / MediumSamples.blockSize
        if first < count { numbers.formUnion(first..<min(count, first + 32)) }
      }
    }
    return numbers
  }
}

/// Where a disk's partitions begin, in bytes: the four entries of a master boot record and the first of a GUID partition
/// table (UEFI specification, 5.2 and 5.3). What is no table has none.
enum PartitionStarts {
  /// - Parameters: head, second: the disk's first and second 4096 bytes.
  static func find(head: [UInt8], second: [UInt8]) -> [UInt64] {
    guard head.count >= 4096, head[510] == 0x55, head[511] == 0xAA else { return [] }
    func number(_ bytes: [UInt8], _ place: Int, _ count: Int) -> UInt64 {
      (0..<count).reduce(0) { $0 | UInt64(bytes[place + $1]) << UInt64($1 * 8) }
    }
    var sectors = (0..<4).map { number(head, 446 + $0 * 16 + 8, 4) }
    if head[512..<520].elementsEqual(Array("EFI PART".utf8)) {
      // 128 bytes an entry, from the third sector on.
      sectors += (0..<24).map { number(head, 1024 + $0 * 128 + 32, 8) }
      if second.count >= 4096 { sectors += (0..<8).map { number(second, $0 * 128 + 32, 8) } }
    }
    return Set(sectors.filter { $0 > 0 && $0 < 1 << 48 }.map { $0 * 512 }).sorted()
  }
}
