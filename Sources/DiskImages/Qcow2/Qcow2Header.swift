/// The first cluster of a qcow2 image: what it is and where its tables lie.
///
/// Source: QEMU, docs/interop/qcow2.txt, "Header" and "Header extensions".
struct Qcow2Header: Equatable, Sendable {
  /// 2 or 3.
  var version: UInt32 = 3
  /// 1 << clusterBits bytes are a cluster.
  var clusterBits = 16
  /// Bytes that the guest sees.
  var virtualSize: UInt64 = 0
  /// Entries.
  var l1Count = 0
  var l1Offset: UInt64 = 0
  var refcountTableOffset: UInt64 = 0
  var refcountTableClusters = 0
  var snapshotCount = 0
  var snapshotOffset: UInt64 = 0
  var incompatible = Incompatible()
  var compatible: UInt64 = 0
  var autoclear: UInt64 = 0
  /// A reference count has 1 << refcountOrder bits.
  var refcountOrder = 4
  var compression = Compression.zlib
  /// As the image names it; nil: it stands for itself.
  var backingFile: String?
  /// As the image names it: "raw", "qcow2".
  var backingFormat: String?

  var clusterSize: UInt64 { 1 << UInt64(clusterBits) }
  /// Entries of an L2 table, and of a cluster of L1 or refcount table.
  var entriesPerTable: Int { 1 << (clusterBits - 3) }
  /// Clusters whose counts are in one refcount block.
  var countsPerBlock: UInt64 { 1 << UInt64(clusterBits + 3 - refcountOrder) }
  /// L1 entries that the size needs.
  var l1Needed: Int { Self.l1Needed(virtualSize, clusterBits: clusterBits) }

  static func l1Needed(_ size: UInt64, clusterBits: Int) -> Int {
    let shift = UInt64(2 * clusterBits - 3)
    return Int((size >> shift) + (size & (1 << shift - 1) == 0 ? 0 : 1))
  }

  /// Features without which an image cannot be read.
  struct Incompatible: OptionSet, Sendable {
    var rawValue: UInt64 = 0
    /// The reference counts may be wrong: the image was not closed.
    static let dirty = Incompatible(rawValue: 1 << 0)
    /// Somebody has found it damaged: nobody writes it before it is mended.
    static let corrupt = Incompatible(rawValue: 1 << 1)
    /// The guest's data are in another file.
    static let dataFile = Incompatible(rawValue: 1 << 2)
    static let compression = Incompatible(rawValue: 1 << 3)
    /// L2 entries have 128 bits.
    static let extendedL2 = Incompatible(rawValue: 1 << 4)
    static let supported: Incompatible = [.dirty, .corrupt, .compression]
  }

  enum Compression: UInt8, Sendable { case zlib = 0, zstd = 1 }

  static let magic: UInt32 = 0x5146_49FB
  /// Where fields lie that are changed alone. Each is in the first sector, which is written at one blow.
  enum Field {
    static let size = 24
    static let l1 = 36
    static let refcountTable = 48
    static let incompatible = 72
    static let autoclear = 88
  }
  private static let lengthOfVersion2 = 72
  private static let lengthOfVersion3 = 104
  private static let backingFormatExtension: UInt32 = 0xE279_2ACA

  /// Limits of what a table may take in memory, which QEMU has as well.
  static let l1Limit = 32 << 20
  static let refcountTableLimit = 8 << 20
  private static let snapshotLimit = 65536
  private static let nameLimit = 1023

  // MARK: Reading

  /// - Throws: `DiskImageError.corrupt` or `.unsupported`, which says what.
  init(readFrom storage: any ClusterStorage) throws(DiskImageError) {
    let path = storage.path
    func bad(_ what: String) -> DiskImageError { .corrupt(path: path, what: what) }
    let bytes = try storage.bytes(at: 0, count: 512)
    func number(_ offset: Int, _ count: Int) -> UInt64 {
      (0..<count).reduce(0) { $0 << 8 | UInt64(bytes[offset + $1]) }
    }
    guard number(0, 4) == UInt64(Self.magic) else { throw bad("it is no qcow2 image") }
    version = UInt32(number(4, 4))
    guard version == 2 || version == 3 else {
      throw .unsupported(path: path, feature: "version \(version) of qcow2")
    }
    clusterBits = Int(number(20, 4))
    guard (9...21).contains(clusterBits) else { throw bad("its clusters have 2^\(clusterBits) bytes") }
    virtualSize = number(24, 8)
    guard virtualSize > 0 else { throw .empty(path: path) }
    guard virtualSize <= UInt64(Int64.max) - 511 else { throw bad("it has \(virtualSize) bytes") }
    switch number(32, 4) {
    case 0: break
    case 2: throw .unsupported(path: path, feature: "encryption by LUKS")
    default: throw .unsupported(path: path, feature: "encryption")
    }
    l1Count = Int(number(36, 4))
    l1Offset = number(40, 8)
    refcountTableOffset = number(48, 8)
    refcountTableClusters = Int(number(56, 4))
    snapshotCount = Int(number(60, 4))
    snapshotOffset = number(64, 8)
    var length = Self.lengthOfVersion2
    if version == 3 {
      incompatible = Incompatible(rawValue: number(72, 8))
      compatible = number(80, 8)
      autoclear = number(88, 8)
      let order = number(96, 4)
      guard order <= 6 else { throw bad("its reference counts have 2^\(order) bits") }
      refcountOrder = Int(order)
      length = Int(number(100, 4))
      guard length >= Self.lengthOfVersion3, length % 8 == 0, UInt64(length) <= clusterSize else {
        throw bad("its header has \(length) bytes")
      }
      if length > 104 {
        guard let known = Compression(rawValue: bytes[104]) else {
          throw .unsupported(path: path, feature: "compression \(bytes[104])")
        }
        compression = known
      }
    }
    let names = try readNames(storage, from: length, bytes: bytes)
    if incompatible.contains(.dataFile) { throw .unsupported(path: path, feature: "an external data file") }
    if incompatible.contains(.extendedL2) {
      throw .unsupported(path: path, feature: "extended L2 entries (subclusters)")
    }
    let unknown = incompatible.subtracting(.supported).rawValue
    if unknown != 0 {
      let bits = (0..<64).filter { unknown >> UInt64($0) & 1 != 0 }
      let list = bits.map { names[$0].map { "\"\(ForeignName.clean($0))\"" } ?? "incompatible feature \($0)" }
      throw .unsupported(path: path, feature: list.joined(separator: ", "))
    }
    guard (compression == .zlib) != incompatible.contains(.compression) else {
      throw bad("its kind of compression contradicts its features")
    }
    try checkTables(try storage.length, bad)
  }

  private func checkTables(_ end: UInt64, _ bad: (String) -> DiskImageError) throws(DiskImageError) {
    func isThere(_ offset: UInt64, _ count: UInt64) -> Bool {
      offset > 0 && offset & (clusterSize - 1) == 0 && offset <= end && count <= end - offset
    }
    guard l1Count * 8 <= Self.l1Limit else { throw bad("its L1 table has \(l1Count) entries") }
    guard l1Count >= l1Needed else { throw bad("its L1 table is too short for its size") }
    guard l1Count == 0 || isThere(l1Offset, UInt64(l1Count * 8)) else {
      throw bad("its L1 table lies outside of the file")
    }
    let tableBytes = UInt64(refcountTableClusters) << UInt64(clusterBits)
    guard refcountTableClusters > 0, tableBytes <= UInt64(Self.refcountTableLimit) else {
      throw bad("its refcount table has \(refcountTableClusters) clusters")
    }
    guard isThere(refcountTableOffset, tableBytes) else { throw bad("its refcount table lies outside of the file") }
    guard snapshotCount <= Self.snapshotLimit else { throw bad("it has \(snapshotCount) snapshots") }
    guard snapshotCount == 0 || isThere(snapshotOffset, 0) else {
      throw bad("its snapshot table lies outside of the file")
    }
  }

  /// Reads the extensions and the backing file's name.
  /// - Returns: the names of incompatible features that the image itself tells.
  private mutating func readNames(
    _ storage: any ClusterStorage, from start: Int, bytes: [UInt8]
  ) throws(DiskImageError) -> [Int: String] {
    func bad(_ what: String) -> DiskImageError { .corrupt(path: storage.path, what: what) }
    func number(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> Int {
      (0..<count).reduce(0) { $0 << 8 | Int(bytes[offset + $1]) }
    }
    let nameOffset = number(bytes, 8, 8)
    let nameLength = number(bytes, 16, 4)
    if nameOffset != 0 {
      guard (1...Self.nameLimit).contains(nameLength), nameOffset > 0, nameOffset <= Int(clusterSize) - nameLength
      else {
        throw bad("the name of what it is based on lies outside of its header")
      }
      let name = try storage.bytes(at: UInt64(nameOffset), count: nameLength)
      guard !name.contains(0) else { throw bad("the name of what it is based on is no name") }
      backingFile = String(decoding: name, as: UTF8.self)
    }
    let end = nameOffset > 0 ? nameOffset : Int(clusterSize)
    var features: [Int: String] = [:]
    var place = start
    while place + 8 <= end {
      let head = try storage.bytes(at: UInt64(place), count: 8)
      let (kind, length) = (UInt32(number(head, 0, 4)), number(head, 4, 4))
      place += 8
      if kind == 0 { break }
      guard length <= end - place else { throw bad("a header extension has \(length) bytes") }
      if kind == Self.backingFormatExtension, length <= 64 {
        let name = try storage.bytes(at: UInt64(place), count: length)
        backingFormat = String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
      } else if kind == 0x6803_F857 {
        let table = try storage.bytes(at: UInt64(place), count: min(length, 48 * 64))
        for entry in stride(from: 0, through: table.count - 48, by: 48) where table[entry] == 0 {
          let name = table[(entry + 2)..<(entry + 48)].prefix { $0 != 0 }
          features[Int(table[entry + 1])] = String(decoding: name, as: UTF8.self)
        }
      }
      place += (length + 7) & ~7
    }
    return features
  }

  // MARK: Writing

  init() {}

  /// The header's cluster of a new image, from its first byte on.
  var encoded: [UInt8] {
    var bytes: [UInt8] = []
    func put(_ value: some FixedWidthInteger) { withUnsafeBytes(of: value.bigEndian) { bytes += $0 } }
    let name = Array((backingFile ?? "").utf8)
    var extensions: [UInt8] = []
    if let backingFormat {
      let format = Array(backingFormat.utf8)
      for value in [Self.backingFormatExtension, UInt32(format.count)] {
        withUnsafeBytes(of: value.bigEndian) { extensions += $0 }
      }
      extensions += format + [UInt8](repeating: 0, count: (8 - format.count % 8) % 8)
    }
    extensions += [UInt8](repeating: 0, count: 8)
    let length = version == 3 ? 112 : Self.lengthOfVersion2
    put(Self.magic)
    put(version)
    put(UInt64(name.isEmpty ? 0 : length + extensions.count))
    put(UInt32(name.count))
    put(UInt32(clusterBits))
    put(virtualSize)
    put(UInt32(0))
    put(UInt32(l1Count))
    put(l1Offset)
    put(refcountTableOffset)
    put(UInt32(refcountTableClusters))
    put(UInt32(snapshotCount))
    put(snapshotOffset)
    if version == 3 {
      put(incompatible.rawValue)
      put(compatible)
      put(autoclear)
      put(UInt32(refcountOrder))
      put(UInt32(length))
      put(UInt64(compression.rawValue) << 56)
    }
    return bytes + extensions + name
  }
}

/// Names from an image, which may hold what a terminal would obey.
enum ForeignName {
  static func clean(_ text: String) -> String {
    String(text.prefix(64).map { $0.isASCII && ($0.asciiValue ?? 0) >= 0x20 && $0 != "\u{7F}" ? $0 : "?" })
  }
}
