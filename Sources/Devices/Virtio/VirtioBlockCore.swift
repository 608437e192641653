/// The block device of virtio: its configuration and what a request asks for. Pure.
///
/// Source: virtio 1.2, 5.2.
struct VirtioBlockCore {
  /// Feature bits (5.2.3).
  enum Feature {
    static let segmentSize = VirtioFeatures.bit(1)
    static let segmentCount = VirtioFeatures.bit(2)
    static let geometry = VirtioFeatures.bit(4)
    static let readOnly = VirtioFeatures.bit(5)
    static let blockSize = VirtioFeatures.bit(6)
    static let flush = VirtioFeatures.bit(9)
    static let writeCache = VirtioFeatures.bit(11)
    static let discard = VirtioFeatures.bit(13)
    static let writeZeroes = VirtioFeatures.bit(14)

    static func all(isReadOnly: Bool) -> VirtioFeatures {
      let always: VirtioFeatures = [segmentSize, segmentCount, geometry, blockSize, flush, writeCache]
      return always.union(isReadOnly ? readOnly : [discard, writeZeroes])
    }
  }

  /// Sizes that a driver keeps to: together they bound what a request moves.
  static let segmentSize = 65_536
  static let segmentCount = 126
  /// Bytes of data that one request has at most.
  static let dataLimit = segmentSize * segmentCount
  /// Sectors that one command may discard, or fill with zeros; ranges in one command.
  static let discardLimit: UInt32 = 1 << 22
  static let zeroLimit: UInt32 = 1 << 15
  static let rangeLimit = 16
  static let headerLength = 16
  static let serialLength = 20
  static let configurationBytes = 60

  /// What becomes of a request (5.2.6).
  enum Status: UInt8 {
    case done = 0
    case failed = 1
    case unsupported = 2
  }

  /// A stretch of the medium, in bytes.
  struct Stretch: Equatable, Sendable {
    var offset: UInt64
    var count: UInt64
    var mayUnmap = false
  }

  enum Request: Equatable, Sendable {
    case read(Stretch)
    case write(Stretch)
    case flush
    case identify
    case discard([Stretch])
    case writeZeroes([Stretch])
    case refused(Status)
  }

  /// Sectors of 512 bytes.
  let sectors: UInt64
  let isReadOnly: Bool
  /// The driver has chosen that writes are done when they are on stable storage, or not.
  var hasWriteCache = true

  init(sectors: UInt64, isReadOnly: Bool) {
    self.sectors = sectors
    self.isReadOnly = isReadOnly
  }

  /// Configuration (5.2.4).
  var configuration: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.configurationBytes)
    func put(_ value: some FixedWidthInteger) {
      withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    put(sectors)
    put(UInt32(Self.segmentSize))
    put(UInt32(Self.segmentCount))
    // Sixteen heads of 63 sectors, as far as cylinders go.
    put(UInt16(clamping: sectors / (16 * 63)))
    put(16 as UInt8)
    put(63 as UInt8)
    put(512 as UInt32)
    put(0 as UInt64)  // topology: not told
    put(hasWriteCache ? 1 as UInt8 : 0)
    put(0 as UInt8)
    put(1 as UInt16)  // queues
    put(Self.discardLimit)
    put(UInt32(Self.rangeLimit))
    put(8 as UInt32)  // the host's blocks of 4 KiB
    put(Self.zeroLimit)
    put(UInt32(Self.rangeLimit))
    put(1 as UInt8)  // zeros may become holes
    bytes.append(contentsOf: [UInt8](repeating: 0, count: Self.configurationBytes - bytes.count))
    return bytes
  }

  /// What a request asks for (5.2.6).
  /// - Parameters:
  ///   - bytes: what the driver has written: the header and up to `rangeLimit` ranges.
  ///   - outLength: of what follows the header.
  ///   - inLength: of what the device may write, without the status.
  func request(_ bytes: [UInt8], outLength: Int, inLength: Int, _ features: VirtioFeatures) -> Request {
    guard bytes.count >= Self.headerLength else { return .refused(.failed) }
    let sector = Self.number(bytes, 8, 8)
    switch Self.number(bytes, 0, 4) {
    case 0: return stretch(sector, inLength).map(Request.read) ?? .refused(.failed)
    case 1:
      guard !isReadOnly else { return .refused(.failed) }
      return stretch(sector, outLength).map(Request.write) ?? .refused(.failed)
    case 4: return .flush
    case 8: return inLength >= Self.serialLength ? .identify : .refused(.failed)
    case 11 where features.contains(Feature.discard):
      return ranges(bytes, outLength, most: Self.discardLimit, flags: 0).map(Request.discard) ?? .refused(.failed)
    case 13 where features.contains(Feature.writeZeroes):
      return ranges(bytes, outLength, most: Self.zeroLimit, flags: 1).map(Request.writeZeroes) ?? .refused(.failed)
    default: return .refused(.unsupported)
    }
  }

  private static func number(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> UInt64 {
    (0..<count).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64($1 * 8) }
  }

  private func stretch(_ sector: UInt64, _ count: Int) -> Stretch? {
    guard count % 512 == 0, count <= Self.dataLimit, sector <= sectors, UInt64(count / 512) <= sectors - sector else {
      return nil
    }
    return Stretch(offset: sector * 512, count: UInt64(count))
  }

  /// The ranges of a discard or write zeroes command: sector, number, flags. nil when one of them is not possible.
  private func ranges(_ bytes: [UInt8], _ outLength: Int, most: UInt32, flags: UInt64) -> [Stretch]? {
    guard !isReadOnly, outLength % 16 == 0, outLength > 0, outLength / 16 <= Self.rangeLimit,
      bytes.count == Self.headerLength + outLength
    else { return nil }
    var result: [Stretch] = []
    for place in stride(from: Self.headerLength, to: bytes.count, by: 16) {
      let (sector, count) = (Self.number(bytes, place, 8), Self.number(bytes, place + 8, 4))
      let flag = Self.number(bytes, place + 12, 4)
      guard count <= most, sector <= sectors, count <= sectors - sector, flag & ~flags == 0 else { return nil }
      result.append(Stretch(offset: sector * 512, count: count * 512, mayUnmap: flag & 1 != 0))
    }
    return result
  }
}
