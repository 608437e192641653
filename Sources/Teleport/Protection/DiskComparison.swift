import CSodium
import DiskImages
import SavedState

/// A stretch of a disk by digests of its pieces: of a disk that the other side has most of already only the rest crosses.
///
/// It does not matter why the two are different, or for how long: a host that was away, or lost its power in the middle of a
/// write, gets what it lacks.
struct DiskComparison: Equatable {
  /// Of a piece, as `WriteGate` notes what is written; the last one of a disk may be shorter.
  static let pieceBytes = Int(WriteGate.pieceBytes)
  /// Pieces in one frame at most: an answer is awaited for each frame, and on a long line takes its time.
  static let mostPieces = 256
  /// BLAKE2b with 128 bits: nothing that a guest writes passes for something else.
  static let digestBytes = 16

  /// The number of the disk in the list that both sides have.
  var disk: Int
  /// In bytes: where the first piece begins.
  var offset: UInt64
  /// One after the other.
  var digests: [UInt8]

  /// - Parameter bytes: what the disk holds from there on: whole pieces, or all to its end.
  init(disk: Int, offset: UInt64, _ bytes: [UInt8]) {
    (self.disk, self.offset, digests) = (disk, offset, Self.digests(of: bytes))
  }

  /// For each piece its digest.
  static func digests(of bytes: [UInt8]) -> [UInt8] {
    let count = (bytes.count + pieceBytes - 1) / pieceBytes
    return [UInt8](unsafeUninitializedCapacity: count * digestBytes) { target, written in
      bytes.withUnsafeBytes { source in
        for piece in 0..<count {
          let start = piece * pieceBytes
          crypto_generichash(
            target.baseAddress! + piece * digestBytes, digestBytes,
            source.baseAddress!.advanced(by: start).assumingMemoryBound(to: UInt8.self),
            UInt64(min(pieceBytes, bytes.count - start)), nil, 0)
        }
      }
      written = count * digestBytes
    }
  }

  /// The disk (1 byte), the offset (8) and the digests.
  func encoded() -> [UInt8] {
    var writer = ByteWriter()
    writer.put(UInt8(truncatingIfNeeded: disk))
    writer.put(offset)
    writer.put(bytes: digests)
    return writer.bytes
  }

  /// - Parameter sizes: of the disks that both sides have, in bytes.
  /// - Throws: `SavedStateError` for what lies outside of them or is damaged.
  init(decoding payload: [UInt8], sizes: [UInt64]) throws {
    var reader = ByteReader(payload, subject: "a comparison of disks")
    disk = Int(try reader.number(UInt8.self))
    offset = try reader.number(UInt64.self)
    digests = Array(try reader.take(reader.remaining))
    let pieces = UInt64(digests.count / Self.digestBytes)
    guard disk < sizes.count, offset < sizes[disk], offset % WriteGate.pieceBytes == 0, pieces > 0,
      pieces <= UInt64(Self.mostPieces), digests.count % Self.digestBytes == 0,
      offset + (pieces - 1) * WriteGate.pieceBytes < sizes[disk]
    else { throw SavedStateError.corrupt("a comparison of \(pieces) pieces at \(offset) of disk \(disk)") }
  }

  /// How many bytes of a disk of this size it speaks of.
  func byteCount(size: UInt64) -> Int {
    Int(min(UInt64(digests.count / Self.digestBytes) * WriteGate.pieceBytes, size - offset))
  }

  /// Which pieces are others here, a bit each from the lowest on.
  /// - Parameter bytes: what is here in their place.
  func differences(from bytes: [UInt8]) -> [UInt8] {
    let mine = Self.digests(of: bytes)
    let pieces = digests.count / Self.digestBytes
    var bits = [UInt8](repeating: 0, count: (pieces + 7) / 8)
    for piece in 0..<pieces {
      let place = piece * Self.digestBytes..<(piece + 1) * Self.digestBytes
      if place.upperBound > mine.count || mine[place] != digests[place] { bits[piece / 8] |= 1 << UInt8(piece % 8) }
    }
    return bits
  }

  /// The offsets that an answer names, in bytes from this one on.
  /// - Throws: `SavedStateError` when it is no answer to this.
  func offsets(in answer: [UInt8]) throws -> [Int] {
    let pieces = digests.count / Self.digestBytes
    guard answer.count == (pieces + 7) / 8 else {
      throw SavedStateError.corrupt("an answer of \(answer.count) bytes for \(pieces) pieces")
    }
    return (0..<pieces).filter { answer[$0 / 8] & 1 << UInt8($0 % 8) != 0 }.map { $0 * Self.pieceBytes }
  }
}
