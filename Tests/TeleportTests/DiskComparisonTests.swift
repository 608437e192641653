import DiskImages
import SavedState
import Testing

@testable import Teleport

struct DiskComparisonTests {
  private static let piece = DiskComparison.pieceBytes

  @Test func theDigestIsBLAKE2b() {
    // RFC 7693's function with an output of 16 bytes, of nothing but "abc": by `b2sum -l 128`.
    let expected: [UInt8] = [
      0xcf, 0x4a, 0xb7, 0x91, 0xc6, 0x2b, 0x8d, 0x2b, 0x21, 0x09, 0xc9, 0x02, 0x75, 0x28, 0x78, 0x16,
    ]
    #expect(DiskComparison.digests(of: Array("abc".utf8)) == expected)
  }

  @Test func whatIsDifferentIsFoundByPieces() throws {
    let size = UInt64(Self.piece * 10 + 512)
    var theirs = [UInt8](repeating: 7, count: Self.piece * 9 + 512)
    let comparison = DiskComparison(disk: 1, offset: UInt64(Self.piece), theirs)
    let arrived = try DiskComparison(decoding: comparison.encoded(), sizes: [0, size])
    #expect(arrived == comparison && arrived.byteCount(size: size) == theirs.count)
    #expect(try comparison.offsets(in: arrived.differences(from: theirs)) == [])
    for place in [0, Self.piece - 1, 3 * Self.piece, 9 * Self.piece + 511] { theirs[place] ^= 1 }
    #expect(try comparison.offsets(in: arrived.differences(from: theirs)) == [0, 3, 9].map { $0 * Self.piece })
    // A disk that ends sooner has another last piece.
    #expect(try comparison.offsets(in: arrived.differences(from: [])).count == 10)
  }

  @Test func whatIsNoComparisonIsRefused() throws {
    let sizes: [UInt64] = [UInt64(3 * Self.piece)]
    func bytes(disk: Int = 0, offset: UInt64 = 0, pieces: Int = 1, more: Int = 0) -> [UInt8] {
      var writer = ByteWriter()
      writer.put(UInt8(disk))
      writer.put(offset)
      writer.put(bytes: [UInt8](repeating: 0, count: pieces * DiskComparison.digestBytes + more))
      return writer.bytes
    }
    #expect(throws: Never.self) { try DiskComparison(decoding: bytes(pieces: 3), sizes: sizes) }
    for bad in [
      [], bytes(disk: 1), bytes(offset: 4096), bytes(offset: sizes[0]), bytes(offset: .max), bytes(pieces: 0),
      bytes(pieces: 4), bytes(offset: UInt64(Self.piece), pieces: 3), bytes(pieces: 257), bytes(more: 1),
      bytes(offset: UInt64(bitPattern: -65536)),
    ] {
      #expect(throws: SavedStateError.self) { try DiskComparison(decoding: bad, sizes: sizes) }
    }
    let comparison = DiskComparison(disk: 0, offset: 0, [UInt8](repeating: 0, count: 3 * Self.piece))
    for answer in [[], [1, 0]] as [[UInt8]] {
      #expect(throws: SavedStateError.self) { try comparison.offsets(in: answer) }
    }
    // Bits that stand for no piece are none.
    #expect(try comparison.offsets(in: [0xFF]).count == 3)
  }
}
