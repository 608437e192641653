import Foundation
import SavedState
import Testing

/// Pages of which only what has changed crosses.
@Suite struct SentPagesTests {
  /// Memory here and there, and what crosses between them.
  private struct Pair {
    static let pageCount = 600
    var mine = [UInt8](repeating: 0, count: pageCount * 4096)
    var others = [UInt8](repeating: 0, count: pageCount * 4096)
    let encoder = PageChunkEncoder()
    let decoder = PageChunkDecoder(takesDifferences: true)
    var checksums = [UInt64](repeating: PageChunkEncoder.zeroChecksum, count: pageCount)

    init(remembered pages: Int) { encoder.sent = SentPages(bytes: pages * 4096) }

    /// - Returns: how many bytes crossed.
    mutating func send(_ pages: [Int]) throws -> Int {
      var chunks: [[UInt8]] = []
      var told: [(Int, UInt64)] = []
      encoder.onPage = { page, checksum, _ in told.append((page, checksum)) }
      try mine.withUnsafeBytes { bytes in
        for page in pages { try encoder.add(page: page, at: bytes.baseAddress! + page * 4096) { chunks.append($0) } }
      }
      try encoder.flush { chunks.append($0) }
      #expect(told.map(\.0) == pages)
      for (page, checksum) in told { checksums[page] = checksum }
      for chunk in chunks {
        #expect(chunk.count <= PageChunk.maxEncodedBytes)
        try decoder.decode(chunk, pageCount: Self.pageCount) { page, content in
          others.withUnsafeMutableBytes { bytes in
            let place = bytes.baseAddress! + page * 4096
            switch content {
            case .zero: memset(place, 0, 4096)
            case .data(let from): place.copyMemory(from: from, byteCount: 4096)
            case .difference(let from): SentPages.apply(from, to: place)
            }
          }
        }
      }
      return chunks.reduce(0) { $0 + $1.count }
    }
  }

  @Test(arguments: [(1, true), (64, true), (600, true), (600, false)])
  func whatArrivesIsWhatWasSent(_ remembered: Int, _ compresses: Bool) throws {
    var random = Random(seed: UInt64(remembered))
    var pair = Pair(remembered: remembered)
    pair.encoder.compresses = compresses
    for _ in 0..<60 {
      let pages = (0..<Pair.pageCount).filter { _ in Int.random(in: 0..<4, using: &random) == 0 }
      for page in pages {
        let start = page * 4096
        switch Int.random(in: 0..<6, using: &random) {
        case 0: break
        case 1: for offset in 0..<4096 { pair.mine[start + offset] = 0 }
        case 2: for offset in 0..<4096 { pair.mine[start + offset] = UInt8.random(in: 0...255, using: &random) }
        case 3: for offset in 0..<2048 { pair.mine[start + offset] &+= 1 }
        default: pair.mine[start + Int.random(in: 0..<4096, using: &random)] &+= 1
        }
      }
      _ = try pair.send(pages)
      #expect(pair.others == pair.mine)
    }
    for page in 0..<Pair.pageCount {
      #expect(pair.checksums[page] == Checksum.of(Array(pair.mine[page * 4096..<page * 4096 + 4096])))
    }
  }

  @Test func littleThatHasChangedCostsLittle() throws {
    var random = Random(seed: 3)
    var pair = Pair(remembered: 600)
    pair.mine = (0..<Pair.pageCount * 4096).map { _ in UInt8.random(in: 0...255, using: &random) }
    let all = Array(0..<Pair.pageCount)
    #expect(try pair.send(all) > Pair.pageCount * 4096)
    #expect(try pair.send(all) == 0, "nothing has changed")
    for page in all { pair.mine[page * 4096 + page] &+= 1 }
    #expect(try pair.send(all) < Pair.pageCount * 40)
    #expect(pair.others == pair.mine)
  }

  @Test func differencesAreTakenOnlyWhereTheyAreAskedFor() throws {
    var pair = Pair(remembered: 600)
    for offset in 0..<4096 { pair.mine[offset] = UInt8(truncatingIfNeeded: offset / 3) }
    _ = try pair.send([0])
    pair.mine[77] = 9
    var chunks: [[UInt8]] = []
    try pair.mine.withUnsafeBytes { try pair.encoder.add(page: 0, at: $0.baseAddress!) { chunks.append($0) } }
    try pair.encoder.flush { chunks.append($0) }
    let chunk = try #require(chunks.first)
    #expect { try PageChunkDecoder().decode(chunk, pageCount: 600) { _, _ in } } throws: { "\($0)".contains("kind 2") }
    // A difference of a page that is not there, or is zero.
    for (position, value) in [(13 + 2, 2 as UInt8), (13 + 1, 1), (13, 0)] {
      var damaged = chunk
      damaged[position] = value
      #expect(throws: SavedStateError.self, "\(position)") {
        try PageChunkDecoder(takesDifferences: true).decode(damaged, pageCount: 600) { _, _ in }
      }
    }
  }
}
