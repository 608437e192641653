import Foundation

/// The saved-state format, written front to back. docs/saved-state.md describes it.
///
/// A file opens with `StateFormat.magic` and the format's version; records follow, each with type, length and checksum;
/// the last is the seal, a SHA-256 over everything before it.
public enum StateFormat {
  /// The first bytes of every state.
  public static let magic: [UInt8] = Array("VMCTLSAV".utf8)
  /// The format that is written, and the only one that is read.
  public static let version: UInt32 = 1
  /// The build that wrote a state or speaks on a teleport's wire; for people, never compared.
  public static let build = Release.name

  enum Record: UInt32 {
    /// Text: the build that wrote it.
    case build = 1
    /// A `StateSection`.
    case section = 2
    /// Number of RAM pages (8 bytes); the chunks follow.
    case memory = 3
    case chunk = 4
    /// SHA-256 of everything before this record.
    case seal = 5

    /// Larger ones are not believed.
    var maxBytes: UInt64 {
      switch self {
      case .build: 255
      case .section: UInt64(SectionCodec.maxFieldBytes + SectionCodec.maxBlobBytes)
      case .memory: 8
      case .chunk: UInt64(PageChunk.maxEncodedBytes)
      case .seal: 32
      }
    }
  }
  /// Type, reserved (4 bytes each), length, checksum of the content keyed with the type (8 bytes each).
  static let recordHeaderBytes = 24
}

/// Writes a state to a sink: file or anything else.
public final class StateWriter {
  private let sink: (UnsafeRawBufferPointer) throws -> Void
  private var digest = SHA256()
  private var pending: [UInt8] = []
  private var pageCount: Int?

  /// - Parameter sink: takes all the bytes it is given or throws.
  public init(sink: @escaping (UnsafeRawBufferPointer) throws -> Void) throws {
    self.sink = sink
    var header = ByteWriter()
    header.put(bytes: StateFormat.magic)
    header.put(StateFormat.version)
    header.put(0 as UInt32)
    try put(header.bytes)
    try record(.build, Array(StateFormat.build.utf8))
  }

  public func write(_ section: StateSection) throws { try record(.section, SectionCodec.encode(section)) }

  /// All of RAM: to be called once, with the machine at rest.
  public func writeMemory(_ base: UnsafeRawPointer, pageCount: Int, progress: (Int) throws -> Void = { _ in }) throws {
    precondition(self.pageCount == nil, "memory is written once")
    self.pageCount = pageCount
    var header = ByteWriter()
    header.put(UInt64(pageCount))
    try record(.memory, header.bytes)
    let encoder = PageChunkEncoder()
    for page in 0..<pageCount {
      try encoder.add(page: page, at: base + page * PageChunk.pageSize) { try record(.chunk, $0) }
      if page & 0xfff == 0xfff { try progress(page + 1) }
    }
    try encoder.flush { try record(.chunk, $0) }
    try progress(pageCount)
  }

  /// Seals the state. Nothing may follow. Throws what the sink throws.
  public func finish() throws {
    try record(.seal, digest.finalize())
    try drain()
  }

  private func record(_ type: StateFormat.Record, _ content: [UInt8]) throws {
    var header = ByteWriter()
    header.put(type.rawValue)
    header.put(0 as UInt32)
    header.put(UInt64(content.count))
    header.put(Checksum.of(content, seed: UInt64(type.rawValue)))
    try put(header.bytes)
    try put(content)
  }

  private func put(_ bytes: [UInt8]) throws {
    digest.update(bytes)
    pending += bytes
    if pending.count >= 1 << 20 { try drain() }
  }

  private func drain() throws {
    try pending.withUnsafeBytes { try sink($0) }
    pending.removeAll(keepingCapacity: true)
  }
}
