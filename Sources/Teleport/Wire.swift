import Foundation
import Machine
import SavedState

/// The wire format: no sockets here, only bytes in and frames out.
///
/// Each side opens with the 16 bytes of `Wire.preface`; frames follow: type (1 byte), three zero bytes, length of the
/// payload (4), checksum of the payload keyed with the type (8), payload. Numbers are little-endian.
public enum Wire {
  /// What both sides send first.
  public static let preface: [UInt8] = Array("VMCTL-TELEPORT\r\n".utf8)
  /// Bytes before a frame's payload.
  public static let headerBytes = 16
  /// Protocol versions this build speaks.
  public static let versions: ClosedRange<Int> = 1...4
  /// Those it sends a machine with: a target of version 1 wants the media for itself alone while the source still has
  /// its share, and one of version 2 knows the hardware's settings by fields of their own only and takes any file of the
  /// same path and size for the same medium. With a password no less than 4: what crosses before that can be read by who
  /// listens, and the password tried on it.
  static func sourceVersions(withPassword: Bool) -> ClosedRange<Int> { withPassword ? 4...4 : 3...4 }

  /// What a frame is; docs/teleport-protocol.md has who sends which when.
  public enum FrameType: UInt8, Sendable, CaseIterable {
    case hello = 1
    case proof = 2
    case hardware = 3
    case accept = 4
    case refuse = 5
    case pages = 6
    case roundEnd = 7
    case roundDone = 8
    case devices = 9
    case devicesLoaded = 10
    case verify = 11
    case verified = 12
    case prepare = 13
    case prepared = 14
    case commit = 15
    case running = 16
    case discarded = 17
    case unknown = 18
    case done = 19
    case abort = 20
    case anchor = 21
    case definition = 22
    case place = 23
    case report = 24
    case protect = 25
    case ready = 26
    case disk = 27
    case console = 28
    case epoch = 29
    case epochDone = 30
    case beat = 31
    case takeOver = 32
    case unprotect = 33
    case compare = 34
    case differs = 35

    /// Longer payloads are not believed.
    var maxPayload: Int {
      switch self {
      case .hello: 16 << 10
      case .hardware: 4 << 20
      case .refuse, .report: 1 << 20
      case .pages: PageChunk.maxEncodedBytes
      case .devices: Wire.devicePieceBytes + 1
      case .abort, .unprotect: 4 << 10
      case .disk, .console: 2 * EpochContents.runBytes + 4096
      case .protect: 64 << 10
      case .compare: DiskComparison.mostPieces * DiskComparison.digestBytes + 64
      case .anchor: 1 << 10
      case .prepare, .definition: 256 << 10
      default: 256
      }
    }
  }

  /// The device state crosses in pieces of this size.
  static let devicePieceBytes = 1 << 20
  /// All pieces together.
  static let maxDeviceBytes = 512 << 20

  /// The device state in its pieces, of which the last one is marked.
  static func deviceFrames(_ bytes: [UInt8]) -> [Frame] {
    stride(from: 0, to: max(bytes.count, 1), by: devicePieceBytes).map { position in
      let end = min(position + devicePieceBytes, bytes.count)
      return Frame(.devices, [end == bytes.count ? 1 : 0] + bytes[position..<end])
    }
  }

  /// One message on the wire.
  public struct Frame: Equatable, Sendable {
    /// What it is.
    public var type: FrameType
    /// What it carries, without the header.
    public var payload: [UInt8]
    public init(_ type: FrameType, _ payload: [UInt8] = []) {
      self.type = type
      self.payload = payload
    }
  }

  public static func encode(_ frame: Frame) -> [UInt8] { header(of: frame) + frame.payload }

  /// What goes before the payload.
  static func header(of frame: Frame) -> [UInt8] {
    var writer = ByteWriter()
    writer.put(UInt32(frame.type.rawValue))
    writer.put(UInt32(frame.payload.count))
    writer.put(Checksum.of(frame.payload, seed: UInt64(frame.type.rawValue)))
    return writer.bytes
  }

  /// Takes bytes in any split and yields frames. After it has thrown it yields nothing more.
  public struct Decoder: Sendable {
    private var buffer: [UInt8] = []
    private var start = 0
    private var hasPreface = false
    private var failure: TeleportError?
    /// A frame of memory whose payload is on its way, with the checksum that it must have: it is read into its place.
    private var large: (type: FrameType, checksum: UInt64)?
    private var largePayload: [UInt8] = []
    private var largeCount = 0

    /// Payloads of so many bytes are not gathered in the buffer.
    private static let largeBytes = 16 << 10

    public init() {}

    /// Room for the next bytes of a large payload, if it is one that they belong to.
    /// - Parameter read: fills the front of it and returns how many bytes.
    /// - Returns: nil: they are for `feed`.
    mutating func fill<Failed: Error>(
      _ read: (UnsafeMutableRawBufferPointer) -> Result<Int, Failed>
    ) -> Result<Int, Failed>? {
      guard large != nil, start == buffer.count, largeCount < largePayload.count else { return nil }
      let result = largePayload.withUnsafeMutableBytes {
        read(UnsafeMutableRawBufferPointer(rebasing: $0[largeCount...]))
      }
      if case .success(let count) = result { largeCount += count }
      return result
    }

    /// Adds bytes as they came; `next` gives the frames that they complete.
    public mutating func feed(_ bytes: some Collection<UInt8>) {
      if start > 0 && start == buffer.count {
        buffer.removeAll(keepingCapacity: true)
        start = 0
      } else if start > 1 << 20 {
        buffer.removeFirst(start)
        start = 0
      }
      buffer.append(contentsOf: bytes)
    }

    /// The next complete frame, or nil when more bytes are needed.
    public mutating func next() throws(TeleportError) -> Frame? {
      if let failure { throw failure }
      do {
        return try parse()
      } catch {
        failure = error
        throw error
      }
    }

    private mutating func parse() throws(TeleportError) -> Frame? {
      if !hasPreface {
        let seen = buffer[start...].prefix(Wire.preface.count)
        guard Wire.preface.starts(with: seen) else { throw .otherProtocol(Self.describe(buffer[start...])) }
        guard seen.count == Wire.preface.count else { return nil }
        hasPreface = true
        start += Wire.preface.count
      }
      if large != nil { return try endLarge() }
      guard buffer.count - start >= Wire.headerBytes else { return nil }
      let head = UInt32(littleEndian: number(at: start))
      let length = Int(UInt32(littleEndian: number(at: start + 4)))
      let checksum = UInt64(littleEndian: number(at: start + 8))
      guard head <= 255, let type = FrameType(rawValue: UInt8(head)) else {
        throw .damaged("a frame of unknown type \(head)")
      }
      guard length <= type.maxPayload else { throw .damaged("a frame \(type) of \(length) bytes") }
      // Only memory: of other frames a stranger may announce one, and send nothing.
      if type == .pages && length >= Self.largeBytes {
        large = (type, checksum)
        largePayload = [UInt8](repeating: 0, count: length)
        largeCount = 0
        start += Wire.headerBytes
        return try endLarge()
      }
      guard buffer.count - start - Wire.headerBytes >= length else { return nil }
      let payload = Array(buffer[start + Wire.headerBytes..<start + Wire.headerBytes + length])
      guard Checksum.of(payload, seed: UInt64(head)) == checksum else {
        throw .damaged("a frame \(type) whose checksum does not match")
      }
      start += Wire.headerBytes + length
      return Frame(type, payload)
    }

    /// Takes what has come of the payload; a frame when that is all of it.
    private mutating func endLarge() throws(TeleportError) -> Frame? {
      guard let large else { return nil }
      let count = min(buffer.count - start, largePayload.count - largeCount)
      if count > 0 {
        let (from, to) = (start, largeCount)
        buffer.withUnsafeBytes { source in
          largePayload.withUnsafeMutableBytes {
            $0[to..<to + count].copyBytes(from: source[from..<from + count])
          }
        }
        start += count
        largeCount += count
      }
      guard largeCount == largePayload.count else { return nil }
      let frame = Frame(large.type, largePayload)
      self.large = nil
      largePayload = []
      guard Checksum.of(frame.payload, seed: UInt64(large.type.rawValue)) == large.checksum else {
        throw .damaged("a frame \(large.type) whose checksum does not match")
      }
      return frame
    }

    private func number<T: FixedWidthInteger>(at offset: Int) -> T {
      buffer.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: T.self) }
    }

    /// Whether a frame has begun to arrive.
    public var isWithinFrame: Bool { start < buffer.count || large != nil }

    private static func describe(_ bytes: ArraySlice<UInt8>) -> String {
      let text = bytes.prefix(24).map { (32..<127).contains($0) ? String(UnicodeScalar($0)) : "." }.joined()
      return "it opens with \"\(text)\""
    }
  }
}

/// What frames carry.
enum Message {
  enum Intent: String, Codable {
    case teleport, settle, anchor, protect
    /// Whether it brings a machine, which takes the password.
    var bringsMachine: Bool { self == .teleport || self == .protect }
  }

  struct Hello: Codable, Equatable {
    var minVersion: Int
    var maxVersion: Int
    var build: String
    var name: String
    var uuid: String
    var intent: Intent
    /// 32 random bytes in hexadecimal, new for each connection.
    var nonce: String
    /// The target: whether it asks for a password. The source: whether it has one.
    var password: Bool
    /// Whether the machine is to arrive paused.
    var paused: Bool
    /// Settling: the transfer's alias (`SettlementKey`), where its name must not be heard.
    var transfer: String?
    /// The target's answer to that: whether it knows the transfer. Then TLS follows.
    var knows: Bool?
    /// The source: it only asks what stands against the machine's coming. An older target takes it for one that gives up.
    var check: Bool?
    /// The target: it has no machine, and makes one of the definition that it is sent after the password.
    var receives: Bool?
  }

  /// What a target says to a source that asks only.
  struct Report: Codable, Equatable {
    var obstacles: [TeleportObstacle]
    /// The target's name for its machine.
    var machine: String
  }

  /// Where a receiver has made a machine wait.
  struct Place: Codable, Equatable { var port: Int }

  /// The target's consent, with the transfer's name.
  struct Accept: Codable, Equatable {
    var transfer: String
    /// The network cards whose flows the target lets the source carry on. nil: an older target, which lets it carry none.
    var anchors: [Int]?
    /// For a protection: the disks which both sides have the same files of.
    var shared: [HardwareDescription.StorageSlot.Place]?
    /// For a protection: pages may cross as what has changed in them. nil: an older target, which takes none.
    var takesDifferences: Bool?
  }

  /// What a machine's protection is to be.
  struct Protect: Codable, Equatable {
    /// A name for it that no other has.
    var session: String
    /// The machine's UUID at the source.
    var machine: String
    /// The witness, in words of whoever made it.
    var witness: String
    /// The disks whose writes cross, in the order in which they are numbered.
    var disks: [HardwareDescription.StorageSlot.Place]
    /// Their sizes in bytes.
    var sizes: [UInt64]
    /// What the backup does when it has taken the machine over; an older one does nothing.
    var reprotection: Reprotection?
  }

  /// The end of a checkpoint.
  struct Epoch: Codable, Equatable {
    var number: UInt64
    /// The digest of all of memory.
    var memory: UInt64
    /// The checksum of the device state's bytes.
    var devices: UInt64
  }

  /// What a connection with the intent `anchor` is for, and the target's consent.
  struct Anchor: Codable, Equatable {
    var transfer: String
    var card: Int
    /// What is sent on it afterwards is encrypted with this, 32 random bytes. nil: nothing is, as nothing of the transfer is.
    var key: Data?
  }

  struct Refusal: Codable, Equatable {
    enum Code: String, Codable { case busy, version, password, hardware, damaged, machine, media, other }
    var code: Code
    var message: String
    /// For the code `hardware`. (Version 2 had them as texts, under the name `mismatches`.)
    var differences: [HardwareMismatch]?
    /// The target's name for its machine.
    var machine: String?
  }

  /// What the source's media hold, now that it writes to them no more.
  struct Prepare: Codable, Equatable { var media: [MediumSample] }

  struct Verify: Codable, Equatable {
    var memory: UInt64
    var devices: UInt64
    /// Whether all of memory is to be read again for this.
    var full: Bool
  }

  static func encode(_ message: some Encodable) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    // Plain structs of strings, numbers and lists cannot fail to encode.
    return (try? encoder.encode(message)).map(Array.init) ?? []
  }

  /// A message for people: what a terminal would obey in its texts becomes spaces.
  static func decodeText<T: Decodable>(_ type: T.Type, _ frame: Wire.Frame) throws(TeleportError) -> T {
    try decode(type, Wire.Frame(frame.type, ForeignText.clean(json: frame.payload)))
  }

  static func decode<T: Decodable>(_ type: T.Type, _ frame: Wire.Frame) throws(TeleportError) -> T {
    do {
      return try JSONDecoder().decode(type, from: Data(frame.payload))
    } catch {
      throw .damaged("a frame \(frame.type) that cannot be understood")
    }
  }

  static func agree(_ mine: ClosedRange<Int>, _ theirs: Hello, who: String) throws(TeleportError) -> Int {
    guard theirs.minVersion <= theirs.maxVersion else { throw .damaged("versions in the greeting") }
    let version = min(mine.upperBound, theirs.maxVersion)
    guard version >= mine.lowerBound, version >= theirs.minVersion else {
      throw .version(
        "the \(who) (\(theirs.build)) speaks teleport protocol \(theirs.minVersion) to \(theirs.maxVersion), this build "
          + "(\(StateFormat.build)) \(mine.lowerBound) to \(mine.upperBound); use the same vmctl on both hosts")
    }
    return version
  }
}
