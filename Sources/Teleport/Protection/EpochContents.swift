import DiskImages
import Foundation
import Machine
import SavedState

/// How what a checkpoint consists of crosses, besides memory.
enum EpochContents {
  /// Bytes of a run in one frame at most.
  static let runBytes = 256 << 10

  // MARK: Disks

  /// What one disk is to hold: the number of the disk in the list that both sides have (1 byte), kind (1), place (8), count (8)
  /// and, for kind 1, the bytes, compressed. Kind 0: zeros.
  static func encode(disk: Int, _ blocks: [WriteGate.Block], emit: ([UInt8]) throws -> Void) throws {
    var run: (offset: UInt64, bytes: [UInt8])?
    var zeros: (offset: UInt64, count: UInt64)?
    func flush() throws {
      if let done = run {
        run = nil
        try emit(encode(disk: disk, at: done.offset, done.bytes))
      }
      if let done = zeros {
        zeros = nil
        try emit(encode(disk: disk, zerosAt: done.offset, count: done.count))
      }
    }
    for block in blocks {
      if let bytes = block.bytes {
        if let before = run, before.offset + UInt64(before.bytes.count) == block.offset, before.bytes.count < runBytes {
          run?.bytes += bytes
        } else {
          try flush()
          run = (block.offset, bytes)
        }
      } else if let before = zeros, before.offset + before.count == block.offset {
        zeros?.count += UInt64(WriteGate.blockBytes)
      } else {
        try flush()
        zeros = (block.offset, UInt64(WriteGate.blockBytes))
      }
    }
    try flush()
  }

  static func encode(disk: Int, at offset: UInt64, _ bytes: [UInt8]) throws -> [UInt8] {
    if bytes.withUnsafeBytes(\.isZero) { return encode(disk: disk, zerosAt: offset, count: UInt64(bytes.count)) }
    var writer = header(disk, 1, offset, UInt64(bytes.count))
    let compressed = try bytes.withUnsafeBytes { bytes in
      Result { () throws(SavedStateError) in try ZstdCompressor(level: 1).compress(bytes) }
    }.get()
    writer.put(bytes: compressed)
    return writer.bytes
  }

  private static func encode(disk: Int, zerosAt offset: UInt64, count: UInt64) -> [UInt8] {
    header(disk, 0, offset, count).bytes
  }

  private static func header(_ disk: Int, _ kind: UInt8, _ offset: UInt64, _ count: UInt64) -> ByteWriter {
    var writer = ByteWriter()
    writer.put(UInt8(truncatingIfNeeded: disk))
    writer.put(kind)
    writer.put(offset)
    writer.put(count)
    return writer
  }

  /// - Parameter sizes: of the disks that both sides have, in bytes.
  /// - Throws: `SavedStateError` for what lies outside of them or is damaged.
  static func decode(
    disk payload: [UInt8], sizes: [UInt64], _ body: (_ disk: Int, _ block: WriteGate.Block) throws -> Void
  ) throws {
    var reader = ByteReader(payload, subject: "disk writes")
    let disk = Int(try reader.number(UInt8.self))
    let kind = try reader.number(UInt8.self)
    let offset = try reader.number(UInt64.self)
    var count = try reader.number(UInt64.self)
    guard disk < sizes.count, count > 0, offset <= sizes[disk] else {
      throw SavedStateError.corrupt("disk writes: disk \(disk), \(count) bytes at \(offset)")
    }
    let room = sizes[disk] - offset
    if kind == 0 {
      try reader.end()
      // A disk's last block may be shorter than a block.
      count = min(count, room)
      var position = offset
      while position < offset + count {
        try body(disk, WriteGate.Block(offset: position, bytes: nil))
        position += UInt64(WriteGate.blockBytes)
      }
      return
    }
    guard kind == 1, count <= UInt64(2 * runBytes), count <= room else {
      throw SavedStateError.corrupt("disk writes: kind \(kind), \(count) bytes at \(offset)")
    }
    var bytes = [UInt8](repeating: 0, count: Int(count))
    let compressed = Array(try reader.take(reader.remaining))
    try bytes.withUnsafeMutableBytes { target in
      try compressed.withUnsafeBytes { source in
        try ZstdDecompressor().decompress(source, into: target, subject: "disk writes")
      }
    }
    try body(disk, WriteGate.Block(offset: offset, bytes: bytes))
  }

  // MARK: Consoles

  /// The port (4 bytes) and what was written on it.
  static func encode(console: ConsoleOutput) -> [[UInt8]] {
    stride(from: 0, to: console.bytes.count, by: runBytes).map { start in
      var writer = ByteWriter()
      writer.put(UInt32(truncatingIfNeeded: console.slot))
      writer.put(bytes: console.bytes[start..<min(start + runBytes, console.bytes.count)])
      return writer.bytes
    }
  }

  static func decode(console payload: [UInt8]) throws -> ConsoleOutput {
    var reader = ByteReader(payload, subject: "console output")
    let slot = Int(try reader.number(UInt32.self))
    return ConsoleOutput(slot: slot, bytes: Array(try reader.take(reader.remaining)))
  }
}

/// The state of the devices as it was sent last: of the next one only what is different crosses.
struct SectionDelta {
  private var known: [String: StateSection] = [:]
  private var order: [String] = []

  /// Everything that was sent so far.
  var sections: [StateSection] { order.compactMap { known[$0] } }

  /// For each section its name and whether it follows; then its length (8 bytes) and itself (`SectionCodec`).
  mutating func encode(_ sections: [StateSection]) throws -> [UInt8] {
    var writer = ByteWriter()
    writer.put(UInt32(sections.count))
    for section in sections {
      writer.put(name: section.name)
      if let before = known[section.name], before == section {
        writer.put(0 as UInt8)
        continue
      }
      let bytes = try SectionCodec.encode(section)
      writer.put(1 as UInt8)
      writer.put(UInt64(bytes.count))
      writer.put(bytes: bytes)
      known[section.name] = section
    }
    order = sections.map(\.name)
    return writer.bytes
  }

  /// - Parameter budget: bytes that all of the state may come to.
  /// - Throws: `SavedStateError` for what is damaged or too much; then it is of no use any more.
  mutating func decode(_ payload: [UInt8], budget: Int) throws {
    var reader = ByteReader(payload, subject: "device state")
    let count = Int(try reader.number(UInt32.self))
    guard count <= SectionCodec.maxSections else { throw SavedStateError.corrupt("\(count) sections") }
    var order: [String] = []
    var left = budget
    for _ in 0..<count {
      let name = try reader.name()
      guard try reader.number(UInt8.self) != 0 else {
        guard known[name] != nil else { throw SavedStateError.corrupt("section \(name) was never sent") }
        order.append(name)
        continue
      }
      let length = try reader.number(UInt64.self)
      guard length <= UInt64(reader.remaining) else { throw SavedStateError.corrupt("section \(name): length") }
      let section = try SectionCodec.decode(Array(try reader.take(Int(length))), budget: &left)
      guard section.name == name else { throw SavedStateError.corrupt("section \(name): it is \(section.name)") }
      known[name] = section
      order.append(name)
    }
    try reader.end()
    let total = known.values.reduce(0) { $0 + $1.fields.count + $1.blob.count }
    guard total <= budget, Set(order).count == order.count else {
      throw SavedStateError.corrupt("more state than a machine has")
    }
    self.order = order
  }
}
