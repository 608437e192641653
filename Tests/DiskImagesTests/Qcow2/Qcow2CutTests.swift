import Foundation
import Testing

@testable import DiskImages

/// The power goes at each write: what was flushed is there, and the image is whole.
@Suite struct Qcow2CutTests {
  /// A guest that writes sectors of one number each, and knows what it may read after a cut.
  private struct Guest {
    /// What each sector may hold now.
    var now: [Set<UInt64>]
    /// What was written since, by the event before which that began.
    var written: [(event: Int, sector: Int, values: Set<UInt64>)] = []
    /// Flushes: how many events were done when one returned, how many writes before it, and what each sector might hold then.
    var floors: [(event: Int, writes: Int, values: [Set<UInt64>])] = []
    var next: UInt64 = 1 << 32

    init(_ content: [UInt64]) {
      now = content.map { [$0] }
      floors = [(0, 0, now)]
    }

    /// What a sector may hold when the power goes before `event`.
    func allowed(at event: Int) -> [Set<UInt64>] {
      let floor = floors.last { $0.event <= event } ?? floors[0]
      var allowed = floor.values
      for change in written[floor.writes...] where change.event < event {
        allowed[change.sector].formUnion(change.values)
      }
      return allowed
    }
  }

  private static func sector(_ value: UInt64) -> [UInt8] {
    withUnsafeBytes(of: value) { word in (0..<64).flatMap { _ in Array(word) } }
  }

  private static func values(_ bytes: [UInt8]) -> [UInt64?] {
    bytes.withUnsafeBytes { buffer in
      (0..<(buffer.count / 512)).map { sector in
        let first = buffer.loadUnaligned(fromByteOffset: sector * 512, as: UInt64.self)
        // Each word is the one before it.
        let isWhole = memcmp(buffer.baseAddress! + sector * 512, buffer.baseAddress! + sector * 512 + 8, 504) == 0
        return isWhole ? first : nil
      }
    }
  }

  struct Kind: CustomStringConvertible, Sendable {
    var clusterBits: Int
    var version: UInt32 = 3
    var order = 4
    var sectors: Int
    var hasBase = false
    var description: String { "2^\(clusterBits), version \(version), order \(order), base \(hasBase)" }
  }

  @Test(arguments: [
    Kind(clusterBits: 9, sectors: 512, hasBase: true), Kind(clusterBits: 9, order: 6, sectors: 700),
    Kind(clusterBits: 9, version: 2, sectors: 300, hasBase: true), Kind(clusterBits: 12, order: 0, sectors: 1024),
    Kind(clusterBits: 10, version: 2, sectors: 400), Kind(clusterBits: 16, sectors: 2048, hasBase: true),
  ])
  func noCutLosesWhatWasFlushedOrLeavesCorruption(_ kind: Kind) throws {
    let folder = try ScratchFolder()
    for seed in 0..<(kind.clusterBits == 16 ? 1 : 2) as Range<UInt64> {
      var random = SeededRandom(seed &* 77 &+ UInt64(kind.clusterBits))
      try run(kind, &random, folder)
    }
  }

  private func run(_ kind: Kind, _ random: inout SeededRandom, _ folder: ScratchFolder) throws {
    let base = kind.hasBase ? BlockContent((0..<kind.sectors).flatMap { Self.sector(UInt64($0 + 1)) }) : nil
    var header = Qcow2Header()
    header.version = kind.version
    header.clusterBits = kind.clusterBits
    header.refcountOrder = kind.order
    header.virtualSize = UInt64(kind.sectors * 512)
    let made = SimulatedDisk()
    try Qcow2Volume.create(header, on: made)
    let start = made.content
    let disk = SimulatedDisk(start)
    let volume = try Qcow2Volume(
      disk, header: Qcow2Header(readFrom: disk), backing: base, isReadOnly: false)
    var guest = Guest((0..<kind.sectors).map { kind.hasBase ? UInt64($0 + 1) : 0 })
    for _ in 0..<60 { try step(volume, disk, &guest, &random) }
    try #require(disk.events.count > 50)

    var durable = (content: start, events: 0)
    var looked = 0
    for cut in 0...disk.events.count {
      let rest = disk.remains(at: cut, after: &durable, &random)
      let remains = SimulatedDisk(rest)
      let again = try Qcow2Volume(
        remains, header: Qcow2Header(readFrom: remains), backing: base, isReadOnly: false)
      let found = Self.values(try again.bytes(at: 0, count: kind.sectors * 512))
      let allowed = guest.allowed(at: cut)
      for sector in 0..<kind.sectors {
        guard let value = found[sector], allowed[sector].contains(value) else {
          Issue.record(
            "cut \(cut): sector \(sector) has \(found[sector].map(String.init) ?? "a mixture"), \(allowed[sector])")
          return
        }
      }
      let findings = try Qcow2Check.check(again)
      guard findings.corruptions == 0 else {
        Issue.record("cut \(cut): \(findings)")
        return
      }
      // Some of them for QEMU, before and after going on.
      guard cut % max(disk.events.count / 6, 1) == 0 else { continue }
      looked += 1
      let path = folder.path("cut-\(cut).qcow2")
      try Data(rest).write(to: URL(fileURLWithPath: path))
      #expect(try QEMU.corruption(in: path) == nil)
      for _ in 0..<20 { try step(again, remains, &guest, &random, isKnown: false) }
      try again.flush()
      #expect(try Qcow2Check.check(again).corruptions == 0)
      try Data(remains.content).write(to: URL(fileURLWithPath: path))
      #expect(try QEMU.corruption(in: path) == nil)
    }
    #expect(looked >= 6)
  }

  /// - Parameter isKnown: the guest keeps account of it.
  private func step(
    _ volume: Qcow2Volume, _ disk: SimulatedDisk, _ guest: inout Guest, _ random: inout SeededRandom,
    isKnown: Bool = true
  ) throws {
    let sectors = guest.now.count
    let first = Int.random(in: 0..<sectors, using: &random)
    let most = min(sectors - first, [1, 3, 40, 300][Int.random(in: 0..<4, using: &random)])
    let count = Int.random(in: 1...most, using: &random)
    let began = disk.events.count
    func note(_ values: (Int) -> Set<UInt64>) {
      guard isKnown else { return }
      for sector in first..<(first + count) {
        guest.now[sector] = values(sector)
        guest.written.append((began, sector, guest.now[sector]))
      }
    }
    switch Int.random(in: 0..<10, using: &random) {
    case 0..<6:
      let start = guest.next
      guest.next += UInt64(count)
      note { [start + UInt64($0 - first)] }
      try volume.write((0..<count).flatMap { Self.sector(start + UInt64($0)) }, at: UInt64(first * 512))
    case 6:
      note { _ in [0] }
      let mayUnmap = Bool.random(using: &random)
      try volume.writeZeroes(at: UInt64(first * 512), count: UInt64(count * 512), mayUnmap: mayUnmap)
    case 7:
      // What is not discarded, since it is less than a cluster, stays.
      let before = guest.now
      note { before[$0].union([0]) }
      try volume.discard(at: UInt64(first * 512), count: UInt64(count * 512))
    default:
      let values = guest.now
      try volume.flush()
      if isKnown { guest.floors.append((disk.events.count, guest.written.count, values)) }
    }
  }
}
