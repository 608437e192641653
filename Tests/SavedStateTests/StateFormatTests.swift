import Foundation
import Testing

@testable import SavedState

/// A small machine's worth of state.
private struct Sample {
  static let pages = 700
  let memory: [UInt8]
  let sections: [StateSection]

  init(pages: Int = Sample.pages) throws {
    var memory = [UInt8](repeating: 0, count: pages * 4096)
    var random = Random(seed: 5)
    for page in 0..<pages where page % 7 == 3 || (400..<420).contains(page) {
      for offset in stride(from: 0, to: 4096, by: page % 2 == 0 ? 1 : 97) {
        memory[page * 4096 + offset] = UInt8(truncatingIfNeeded: random.next())
      }
    }
    self.memory = memory
    sections = [
      try StateSection(name: "uart1", kind: "uart16550", version: 1, state: ["lcr": 3, "dll": 12]),
      StateSection(
        name: "vga", kind: "vga", version: 2, fields: Data("{}".utf8), blob: Data(repeating: 7, count: 100_000)),
    ]
  }

  func write() throws -> [UInt8] {
    var bytes: [UInt8] = []
    let writer = try StateWriter { bytes += $0 }
    for section in sections { try writer.write(section) }
    try memory.withUnsafeBytes { try writer.writeMemory($0.baseAddress!, pageCount: memory.count / 4096) }
    try writer.finish()
    return bytes
  }
}

struct Random: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state &* 0x2545_F491_4F6C_DD1D
  }
}

private func read(_ bytes: [UInt8]) throws -> (sections: [StateSection], memory: [UInt8]) {
  let reader = try StateReader(bytes)
  let decoder = PageChunkDecoder()
  var sections: [StateSection] = []
  var memory: [UInt8] = []
  while let item = try reader.next() {
    switch item {
    case .section(let section): sections.append(section)
    case .memory(let count):
      guard count <= 100_000 else { throw SavedStateError.corrupt("more than the test has") }
      memory = Array(repeating: 0xEE, count: count * 4096)
    case .chunk(let chunk):
      try decoder.decode(chunk, pageCount: memory.count / 4096) { page, content in
        for offset in 0..<4096 {
          switch content {
          case .zero: memory[page * 4096 + offset] = 0
          case .data(let bytes): memory[page * 4096 + offset] = bytes.load(fromByteOffset: offset, as: UInt8.self)
          case .difference: Issue.record("a file has no differences")
          }
        }
      }
    }
  }
  return (sections, memory)
}

@Suite struct StateFormatTests {
  @Test func whatIsWrittenIsReadBack() throws {
    let sample = try Sample()
    let (sections, memory) = try read(try sample.write())
    #expect(sections == sample.sections)
    #expect(memory == sample.memory)
  }

  @Test func theSameStateGivesTheSameBytes() throws {
    #expect(try Sample().write() == Sample().write())
  }

  @Test func zeroPagesCostBytes() throws {
    var bytes = 0
    let writer = try StateWriter { bytes += $0.count }
    let memory = [UInt8](repeating: 0, count: 4096 * 4096)
    try memory.withUnsafeBytes { try writer.writeMemory($0.baseAddress!, pageCount: 4096) }
    try writer.finish()
    #expect(bytes < 300)
  }

  @Test func aTruncationAnywhereIsNoticed() throws {
    let bytes = try Sample(pages: 20).write()
    for length in 0..<bytes.count {
      #expect(throws: SavedStateError.self) { try read(Array(bytes[..<length])) }
    }
  }

  @Test func bytesAfterTheEndAreNoticed() throws {
    #expect(throws: SavedStateError.self) { try read(try Sample(pages: 20).write() + [0]) }
  }

  @Test func aFlippedBitAnywhereIsNoticed() throws {
    let bytes = try Sample(pages: 20).write()
    for position in bytes.indices {
      var damaged = bytes
      damaged[position] ^= 1 << UInt8(position & 7)
      #expect(throws: SavedStateError.self, "at \(position)") { try read(damaged) }
    }
  }

  @Test func randomBytesAreRefused() throws {
    var random = Random(seed: 77)
    let header = Array(try Sample(pages: 4).write()[..<16])
    for round in 0..<2000 {
      let noise = (0..<Int.random(in: 0...400, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      #expect(throws: SavedStateError.self) { try read(round % 2 == 0 ? noise : header + noise) }
    }
  }

  @Test func randomChunksAndSectionsAreRefusedOrHarmless() throws {
    var random = Random(seed: 78)
    let decoder = PageChunkDecoder(takesDifferences: true)
    let section = try SectionCodec.encode(try Sample(pages: 1).sections[1])
    for _ in 0..<5000 {
      var chunk = PageChunk.encodeZeroRun(first: 3, count: 9)
      chunk += (0..<Int.random(in: 0...60, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      chunk[12] = UInt8.random(in: 0...2, using: &random)
      var seen = 0
      try? decoder.decode(chunk, pageCount: 16) { page, _ in
        #expect((0..<16).contains(page))
        seen += 1
      }
      #expect(seen <= 16)
      var damaged = section
      for _ in 0..<3 {
        damaged[Int.random(in: 0..<damaged.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      _ = try? SectionCodec.decode(damaged)
    }
  }

  @Test func aNewerFormatIsRefusedByName() throws {
    var bytes = try Sample(pages: 1).write()
    bytes[8] = 9
    #expect { try read(bytes) } throws: { "\($0)".contains("format 9") }
  }

  @Test(arguments: [0, 1, 4096, 128 << 10, (128 << 10) + 1, 1 << 20])
  func storedBytesAreWhatAnyDecoderTakes(count: Int) throws {
    var random = Random(seed: UInt64(count))
    let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
    let stored = bytes.withUnsafeBytes { ZstdCompressor.store($0) }
    var got = [UInt8](repeating: 0, count: count)
    try got.withUnsafeMutableBytes { target in
      try stored.withUnsafeBytes { try ZstdDecompressor().decompress($0, into: target, subject: "") }
    }
    #expect(got == bytes)
    #expect(stored.count <= count + count / 1000 + 12, "no more than it takes")
  }

  @Test func storedPagesThatAreDamagedAreRefused() throws {
    let memory = (0..<40 * 4096).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
    let encoder = PageChunkEncoder()
    encoder.compresses = false
    var chunks: [[UInt8]] = []
    try memory.withUnsafeBytes { bytes in
      for page in 0..<40 { try encoder.add(page: page, at: bytes.baseAddress! + page * 4096) { chunks.append($0) } }
    }
    try encoder.flush { chunks.append($0) }
    let chunk = try #require(chunks.first)
    #expect(chunks.count == 1)
    // Header and bitmaps; then the frame's header, and that of its second block.
    let frame = 13 + 2 * 5
    let second = frame + 9 + 3 + (128 << 10)
    for position in Array(frame..<frame + 12) + Array(second..<second + 3) {
      var damaged = chunk
      damaged[position] ^= 0x84
      #expect(throws: SavedStateError.self, "at \(position)") {
        try PageChunkDecoder().decode(damaged, pageCount: 40) { _, _ in }
      }
    }
    for short in [chunk.dropLast(), chunk + [0]] {
      #expect(throws: SavedStateError.self) { try PageChunkDecoder().decode(Array(short), pageCount: 40) { _, _ in } }
    }
  }

  @Test(arguments: [true, false])
  func scatteredPagesCrossInChunks(compressed: Bool) throws {
    var random = Random(seed: 9)
    let memory = try Sample().memory
    for _ in 0..<50 {
      let pages = (0..<Sample.pages).filter { _ in Int.random(in: 0..<9, using: &random) == 0 }
      var chunks: [[UInt8]] = []
      let encoder = PageChunkEncoder()
      encoder.compresses = compressed
      var told: [Int] = []
      encoder.onPage = { page, _, _ in told.append(page) }
      try memory.withUnsafeBytes { bytes in
        for page in pages { try encoder.add(page: page, at: bytes.baseAddress! + page * 4096) { chunks.append($0) } }
      }
      try encoder.flush { chunks.append($0) }
      var got: [Int: [UInt8]] = [:]
      let decoder = PageChunkDecoder()
      for chunk in chunks {
        #expect(chunk.count <= PageChunk.maxEncodedBytes)
        try decoder.decode(chunk, pageCount: Sample.pages) { page, content in
          #expect(got[page] == nil)
          switch content {
          case .zero: got[page] = Array(repeating: 0, count: 4096)
          case .data(let bytes): got[page] = Array(UnsafeRawBufferPointer(start: bytes, count: 4096))
          case .difference: Issue.record("a difference to nothing")
          }
        }
      }
      #expect(told == pages)
      #expect(got.keys.sorted() == pages)
      for page in pages { #expect(got[page] == Array(memory[page * 4096..<page * 4096 + 4096])) }
    }
  }

  @Test func aSectionWithoutFieldsIsNone() throws {
    // "a" of kind "b", version 1, no fields, no blob: nothing writes that, and so nothing reads it.
    let bytes: [UInt8] = [1, 97, 1, 98, 1, 0, 0, 0, 0, 0, 0, 0] + [UInt8](repeating: 0, count: 16)
    #expect(throws: SavedStateError.self) { try SectionCodec.decode(bytes) }
    var whole = bytes
    whole[8] = 2
    #expect(try SectionCodec.decode(whole + Array("{}".utf8)).name == "a")
  }

  @Test func sectionsCrossTogether() throws {
    let sections = try Sample(pages: 1).sections
    let bytes = try SectionCodec.encodeAll(sections)
    #expect(try SectionCodec.decodeAll(bytes) == sections)
    for length in 0..<bytes.count {
      #expect(throws: SavedStateError.self) { try SectionCodec.decodeAll(Array(bytes[..<length])) }
    }
    #expect(throws: SavedStateError.self) { try SectionCodec.decodeAll(SectionCodec.encodeAll(sections + sections)) }
  }
}

@Suite struct StateFileTests {
  private func folder() throws -> URL {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("statefile-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    return url
  }

  @Test func aFailedWriteLeavesTheOldFileAndNothingElse() throws {
    struct Full: Error {}
    let folder = try folder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("state").path
    try StateFile.replace(path) { write in try Array("old".utf8).withUnsafeBytes { try write($0) } }
    #expect(throws: Full.self) {
      try StateFile.replace(path) { write in
        try Array("new".utf8).withUnsafeBytes { try write($0) }
        throw Full()
      }
    }
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "old")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["state"])
  }

  @Test func aFullDiskIsATypedError() throws {
    // /dev/full answers every write with ENOSPC; a link makes it the temporary file.
    let folder = try folder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("state").path
    let temporary = "\(path).\(ProcessInfo.processInfo.processIdentifier).part"
    try FileManager.default.createSymbolicLink(atPath: temporary, withDestinationPath: "/dev/full")
    #expect {
      try StateFile.replace(path) { write in try [UInt8](repeating: 1, count: 99).withUnsafeBytes { try write($0) } }
    } throws: { ($0 as? StateFileError)?.code == ENOSPC && "\($0)".contains("no space left") }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
  }

  @Test func aMissingFileIsNamed() {
    #expect { try StateFile.read("/nonexistent/state") { _ in } } throws: { "\($0)".contains("/nonexistent/state") }
  }

  /// A few bytes that inflate to many are refused before room is made for them.
  @Test func sectionsStayWithinABudgetForAllOfThem() throws {
    let sections = (0..<4).map {
      StateSection(name: "s\($0)", kind: "k", version: 1, fields: Data([1, 2]), blob: Data(count: 1 << 20))
    }
    let bytes = try SectionCodec.encodeAll(sections)
    #expect(bytes.count < 4096)
    let whole = 4 * ((1 << 20) + 2)
    #expect(try SectionCodec.decodeAll(bytes, limit: whole) == sections)
    #expect(throws: SavedStateError.corrupt("section s3: more state than a machine has")) {
      try SectionCodec.decodeAll(bytes, limit: whole - 1)
    }
  }
}
