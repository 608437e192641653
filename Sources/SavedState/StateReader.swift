import Foundation

/// Reads a saved state that nobody vouches for: lengths are bounded, every record's checksum is checked before its
/// content is used, and the seal is checked at the end. A caller that builds a machine from it must throw the machine
/// away when this throws.
public final class StateReader {
  /// What comes next in the file.
  public enum Item {
    case section(StateSection)
    /// The number of RAM pages; chunks follow.
    case memory(pageCount: Int)
    /// For a `PageChunkDecoder`.
    case chunk([UInt8])
  }

  private let source: (UnsafeMutableRawBufferPointer) throws -> Int
  private var digest = SHA256()
  private var isSealed = false
  private var hasMemory = false
  private var sections = 0
  /// Bytes that the sections still to come may inflate to.
  private var budget = SectionCodec.maxStateBytes
  private var names: Set<String> = []
  /// The build that wrote the state.
  public private(set) var build = ""

  /// - Parameter source: fills the front of the buffer and returns how many bytes, 0 at the end.
  /// - Throws: `SavedStateError` when the state does not begin as one, and what `source` throws.
  public init(source: @escaping (UnsafeMutableRawBufferPointer) throws -> Int) throws {
    self.source = source
    let header = try take(16, "its first bytes")
    guard Array(header[..<8]) == StateFormat.magic else { throw SavedStateError.corrupt("this is no saved state") }
    var reader = ByteReader(Array(header[8...]), subject: "header")
    let version = try reader.number(UInt32.self)
    guard version == StateFormat.version else {
      throw SavedStateError.unsupported(
        "format \(version); this build (\(StateFormat.build)) reads \(StateFormat.version)")
    }
    guard try reader.number(UInt32.self) == 0 else { throw SavedStateError.unsupported("unknown flags") }
    digest.update(header)
  }

  /// Reads a state that is in memory; throws when it does not begin as one.
  public convenience init(_ bytes: [UInt8]) throws {
    var position = 0
    try self.init { buffer in
      let count = min(buffer.count, bytes.count - position)
      buffer.copyBytes(from: bytes[position..<position + count])
      position += count
      return count
    }
  }

  /// The next item; nil once the seal has been found good and nothing follows it.
  public func next() throws -> Item? {
    while !isSealed {
      let header = try take(StateFormat.recordHeaderBytes, "a record")
      var reader = ByteReader(header, subject: "record")
      let number = try reader.number(UInt32.self)
      guard let type = StateFormat.Record(rawValue: number) else {
        throw SavedStateError.corrupt("a record of unknown type \(number)")
      }
      let reserved = try reader.number(UInt32.self)
      let length = try reader.number(UInt64.self)
      let checksum = try reader.number(UInt64.self)
      guard reserved == 0, length <= type.maxBytes else { throw SavedStateError.corrupt("a record of \(length) bytes") }
      let sealed = type == .seal ? digest.finalize() : []
      digest.update(header)
      let content = try take(Int(length), "a record's content")
      guard Checksum.of(content, seed: UInt64(number)) == checksum else {
        throw SavedStateError.corrupt("a record's checksum does not match")
      }
      digest.update(content)
      if let item = try item(type, content, sealed) { return item }
    }
    return nil
  }

  private func item(_ type: StateFormat.Record, _ content: [UInt8], _ sealed: [UInt8]) throws -> Item? {
    switch type {
    case .build:
      build = String(decoding: content, as: UTF8.self)
      return nil
    case .section:
      sections += 1
      let section = try SectionCodec.decode(content, budget: &budget)
      guard sections <= SectionCodec.maxSections, names.insert(section.name).inserted else {
        throw SavedStateError.corrupt("section \(section.name) comes twice, or there are too many")
      }
      return .section(section)
    case .memory:
      var reader = ByteReader(content, subject: "memory size")
      let count = try reader.number(UInt64.self)
      guard !hasMemory, count > 0, count <= 1 << 36 else { throw SavedStateError.corrupt("memory size") }
      hasMemory = true
      return .memory(pageCount: Int(count))
    case .chunk:
      guard hasMemory else { throw SavedStateError.corrupt("memory before its size") }
      return .chunk(content)
    case .seal:
      guard content == sealed else { throw SavedStateError.corrupt("the seal does not match") }
      guard try read(1).isEmpty else { throw SavedStateError.corrupt("bytes after the end") }
      isSealed = true
      return nil
    }
  }

  private func take(_ count: Int, _ what: String) throws -> [UInt8] {
    let bytes = try read(count)
    guard bytes.count == count else { throw SavedStateError.truncated(what) }
    return bytes
  }

  /// Up to `count` bytes; memory is taken as bytes arrive, so that a false length costs nothing.
  private func read(_ count: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
      let step = min(count - bytes.count, 1 << 20)
      var failure: (any Error)?
      let piece = [UInt8](unsafeUninitializedCapacity: step) { buffer, filled in
        do { filled = try source(UnsafeMutableRawBufferPointer(buffer)) } catch { failure = error }
      }
      if let failure { throw failure }
      if piece.isEmpty { break }
      if bytes.isEmpty { bytes = piece } else { bytes += piece }
    }
    return bytes
  }
}
