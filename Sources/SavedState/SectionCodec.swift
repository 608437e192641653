import Foundation

/// A `StateSection` as bytes: name, kind, version (4 bytes), length of the fields (4), length of the blob (8), its
/// compressed length (8), fields, blob compressed with zstd.
public enum SectionCodec {
  /// Bytes of a section's fields at most.
  public static let maxFieldBytes = 64 << 20
  /// The largest video memory is 256 MiB.
  public static let maxBlobBytes = 320 << 20
  /// A machine has some dozens of devices.
  public static let maxSections = 4096

  /// What all sections of a machine may come to, inflated.
  public static let maxStateBytes = 640 << 20

  public static func encode(_ section: StateSection) throws(SavedStateError) -> [UInt8] {
    guard section.fields.count <= maxFieldBytes, section.blob.count <= maxBlobBytes else {
      throw .unsupported("section \(section.name) is too large")
    }
    guard !section.fields.isEmpty else { throw .unsupported("section \(section.name) cannot be encoded") }
    guard section.version >= 0, section.version <= Int(UInt32.max) else {
      throw .unsupported("section \(section.name) has version \(section.version)")
    }
    var compressed: [UInt8] = []
    if !section.blob.isEmpty {
      let compressor = ZstdCompressor()
      let result = section.blob.withUnsafeBytes { bytes in
        Result { () throws(SavedStateError) in try compressor.compress(bytes) }
      }
      compressed = try result.get()
    }
    var writer = ByteWriter()
    writer.put(name: section.name)
    writer.put(name: section.kind)
    writer.put(UInt32(section.version))
    writer.put(UInt32(section.fields.count))
    writer.put(UInt64(section.blob.count))
    writer.put(UInt64(compressed.count))
    writer.put(bytes: section.fields)
    writer.put(bytes: compressed)
    return writer.bytes
  }

  /// Takes a section apart; throws when it is damaged or larger than the limits.
  /// - Parameter budget: bytes that it may come to; what it has come to is taken off.
  public static func decode(_ bytes: [UInt8], budget: inout Int) throws(SavedStateError) -> StateSection {
    var reader = ByteReader(bytes, subject: "section")
    let section = try decode(&reader, &budget)
    try reader.end()
    return section
  }

  /// Takes a section apart; throws when it is damaged or larger than the limits.
  public static func decode(_ bytes: [UInt8]) throws(SavedStateError) -> StateSection {
    var budget = Int.max
    return try decode(bytes, budget: &budget)
  }

  private static func decode(
    _ reader: inout ByteReader, _ budget: inout Int
  ) throws(SavedStateError) -> StateSection {
    let name = try reader.name()
    let kind = try reader.name()
    let version = Int(try reader.number(UInt32.self))
    let fieldBytes = Int(try reader.number(UInt32.self))
    let blobBytes = try reader.number(UInt64.self)
    let compressedBytes = try reader.number(UInt64.self)
    // Every device has fields, if only an empty table.
    guard (1...maxFieldBytes).contains(fieldBytes), blobBytes <= UInt64(maxBlobBytes),
      compressedBytes <= UInt64(reader.remaining), (blobBytes == 0) == (compressedBytes == 0)
    else { throw .corrupt("section \(name): lengths") }
    // A few bytes may say that they inflate to many: that is counted before room is made for it.
    guard fieldBytes + Int(blobBytes) <= budget else {
      throw .corrupt("section \(name): more state than a machine has")
    }
    budget -= fieldBytes + Int(blobBytes)
    let fields = Data(try reader.take(fieldBytes))
    let compressed = try reader.take(Int(compressedBytes))
    var blob = Data()
    if blobBytes > 0 {
      blob = Data(count: Int(blobBytes))
      let result = blob.withUnsafeMutableBytes { target in
        compressed.withUnsafeBytes { source in
          Result { () throws(SavedStateError) in
            try ZstdDecompressor().decompress(source, into: target, subject: "section \(name)")
          }
        }
      }
      try result.get()
    }
    return StateSection(name: name, kind: kind, version: version, fields: fields, blob: blob)
  }

  /// Several sections as one run of bytes: their number, then length and bytes of each.
  public static func encodeAll(_ sections: [StateSection]) throws(SavedStateError) -> [UInt8] {
    var writer = ByteWriter()
    writer.put(UInt32(sections.count))
    for section in sections {
      let bytes = try encode(section)
      writer.put(UInt64(bytes.count))
      writer.put(bytes: bytes)
    }
    return writer.bytes
  }

  /// Takes sections one after the other apart; throws when one is damaged or a name comes twice.
  /// - Parameter limit: bytes that all of them may come to.
  public static func decodeAll(_ bytes: [UInt8], limit: Int = maxStateBytes) throws(SavedStateError) -> [StateSection] {
    var budget = limit
    var reader = ByteReader(bytes, subject: "device state")
    let count = Int(try reader.number(UInt32.self))
    guard count <= maxSections else { throw .corrupt("device state of \(count) sections") }
    var sections: [StateSection] = []
    var names: Set<String> = []
    for _ in 0..<count {
      let length = try reader.number(UInt64.self)
      guard length <= UInt64(reader.remaining) else { throw .truncated("device state") }
      let section = try decode(Array(try reader.take(Int(length))), budget: &budget)
      guard names.insert(section.name).inserted else { throw .corrupt("section \(section.name) comes twice") }
      sections.append(section)
    }
    try reader.end()
    return sections
  }
}
