import Foundation
import Testing

@testable import DiskImages

/// Images whose tables lie. Whatever they hold, there is an error or an answer, soon, and nothing traps.
@Suite struct Qcow2HostileTests {
  /// An image with all kinds of entries: data, zeros, nothing, and a snapshot's worth of references.
  private func sample(_ clusterBits: Int, _ order: Int) throws -> [UInt8] {
    var header = Qcow2Header()
    (header.virtualSize, header.clusterBits, header.refcountOrder) = (1 << 18, clusterBits, order)
    let disk = SimulatedDisk()
    try Qcow2Volume.create(header, on: disk)
    let volume = try Qcow2Volume(disk, header: Qcow2Header(readFrom: disk), backing: nil, isReadOnly: false)
    for place in stride(from: 0, to: 1 << 18, by: 24_576) {
      try volume.write([UInt8](repeating: 7, count: 5120), at: UInt64(place))
    }
    try volume.writeZeroes(at: 98_304, count: 8192, mayUnmap: false)
    try volume.discard(at: 24_576, count: 8192)
    try volume.flush()
    return disk.content
  }

  /// All that can be done with an image.
  private func use(_ bytes: [UInt8]) throws {
    let disk = SimulatedDisk(bytes)
    disk.limit = bytes.count + (8 << 20)
    let header = try Qcow2Header(readFrom: disk)
    for isReadOnly in [true, false] {
      guard let volume = try? Qcow2Volume(disk, header: header, backing: nil, isReadOnly: isReadOnly) else { continue }
      let end = volume.size
      for place in [0, 24_576, 98_304, end / 2 & ~511, end &- 4096] where place <= end && end - place >= 4096 {
        _ = try? volume.bytes(at: place, count: 4096)
        try? volume.write([UInt8](repeating: 1, count: 1536), at: place)
        try? volume.writeZeroes(at: place, count: 4096, mayUnmap: true)
        try? volume.write([UInt8](repeating: 2, count: 4096), at: place)
        try? volume.discard(at: place, count: 2048)
        try? volume.flush()
      }
      _ = try? Qcow2Check.check(volume)
      if !isReadOnly {
        try? Qcow2Check.repair(volume)
        try? volume.grow(to: (end + 4096) & ~511)
      }
    }
  }

  @Test(arguments: [(9, 4), (12, 0), (9, 6), (16, 4)])
  func randomBytesInTablesAreAnswered(_ clusterBits: Int, _ order: Int) throws {
    let whole = try sample(clusterBits, order)
    var random = SeededRandom(UInt64(clusterBits * 10 + order))
    let tables = min(whole.count, 24 << clusterBits)
    var opened = 0
    for round in 0..<400 {
      var bytes = whole
      for _ in 0...Int.random(in: 0..<6, using: &random) {
        // A byte, or a whole entry: mostly of the header and the tables behind it.
        let place = Int.random(in: 0..<(round % 2 == 0 ? 112 : tables), using: &random)
        if Bool.random(using: &random) {
          bytes[place] = UInt8.random(in: 0...255, using: &random)
        } else {
          let values: [UInt64] = [
            0, .max, 1 << 62, 1 << 63, 1 << 56, UInt64(whole.count), 1 << UInt64(clusterBits), random.next(),
            (1 << 63) | (2 << UInt64(clusterBits)), 1,
          ]
          let value = values[Int.random(in: 0..<values.count, using: &random)].bigEndian
          withUnsafeBytes(of: value) { bytes.replaceSubrange((place & ~7)..<((place & ~7) + 8), with: $0) }
        }
      }
      do {
        try use(bytes)
        opened += 1
      } catch { #expect(error is DiskImageError) }
    }
    #expect(opened > 20)
  }

  @Test func anImageThatIsCutIsAnswered() throws {
    let whole = try sample(9, 4)
    for count in (0...600).map({ $0 }) + stride(from: 600, to: whole.count, by: 97) {
      do { try use(Array(whole.prefix(count))) } catch { #expect(error is DiskImageError) }
    }
  }

  /// A guest's data never go to where a table is, and a table is never taken for free.
  @Test func tablesAreNotOverwrittenByTheGuest() throws {
    let whole = try sample(9, 4)
    let disk = SimulatedDisk(whole)
    let header = try Qcow2Header(readFrom: disk)
    let tables = try Qcow2Tables(header, disk)
    let l2 = Int(Qcow2Tables.Entry(tables.l1[0]).offset)
    for target in [0, header.l1Offset, header.refcountTableOffset, UInt64(l2)] {
      var bytes = whole
      let entry = Qcow2Tables.Entry(own: target).rawValue | (target == 0 ? 1 << 9 : 0)
      withUnsafeBytes(of: entry.bigEndian) { bytes.replaceSubrange(l2..<(l2 + 8), with: $0) }
      let broken = SimulatedDisk(bytes)
      let volume = try Qcow2Volume(broken, header: header, backing: nil, isReadOnly: false)
      if target != 0 {
        #expect(throws: DiskImageError.self) { try volume.write([UInt8](repeating: 9, count: 512), at: 0) }
        #expect(broken.content == bytes)
        // From then on it is not written at all.
        #expect(throws: DiskImageError.self) { try volume.write([UInt8](repeating: 9, count: 512), at: 65_536) }
      }
    }
    // Counts of 0 everywhere, and no counts at all: the first thing that is allocated would be the header.
    let block = Int(try disk.numbers(at: header.refcountTableOffset, count: 1)[0])
    for zeros in [block..<(block + 512), Int(header.refcountTableOffset)..<Int(header.refcountTableOffset + 512)] {
      var free = whole
      for place in zeros { free[place] = 0 }
      let volume = try Qcow2Volume(SimulatedDisk(free), header: header, backing: nil, isReadOnly: false)
      #expect(throws: DiskImageError.self) { try volume.write([UInt8](repeating: 9, count: 512), at: 8192 * 2 + 512) }
    }
  }
}
