import Foundation
import Testing

@testable import DiskImages

/// A medium with a gate in front.
private final class Gated {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("vmctl-gate-\(UUID().uuidString)").path
  let base: RawImage
  let gate: WriteGate

  init(size: UInt64 = 10 * 4096 + 512) throws {
    try RawImage.createRaw(path: path, size: size)
    base = try RawImage(path: path, readOnly: false)
    gate = WriteGate(base)
  }
  deinit { unlink(path) }

  func write(_ byte: UInt8, _ count: Int, at offset: UInt64) throws {
    try gate.write([UInt8](repeating: byte, count: count), at: offset)
  }
  var seen: [UInt8] { get throws { try read(gate, 0, Int(gate.size)) } }
  var stored: [UInt8] { get throws { try read(base, 0, Int(base.size)) } }
}

struct WriteGateTests {
  @Test func nothingReachesTheMediumBeforeItsTime() throws {
    let disk = try Gated()
    try disk.write(1, 4096, at: 0)
    #expect(try disk.stored[0] == 1)
    disk.gate.holdWrites {}
    try disk.write(2, 512, at: 4096 - 512)
    try disk.write(3, 1024, at: 10 * 4096 - 512)
    try disk.gate.writeZeroes(at: 512, count: 512, mayUnmap: true)
    let seen = try disk.seen
    #expect(seen[0] == 1 && seen[512] == 0 && seen[1024] == 1 && seen[4095] == 2 && seen[4096] == 0)
    #expect(seen[10 * 4096 - 512] == 3 && seen[10 * 4096 + 511] == 3)
    #expect(try disk.stored[4095] == 1)

    let blocks = disk.gate.seal()
    #expect(blocks.map(\.offset) == [0, 9 * 4096, 10 * 4096])
    #expect(blocks[2].bytes?.count == 512)
    // What is written now belongs to the next checkpoint.
    try disk.write(4, 4096, at: 0)
    #expect(try disk.seen[0] == 4)
    try disk.gate.commit()
    #expect(try disk.stored[4095] == 2 && disk.stored[512] == 0 && disk.stored[0] == 1)
    #expect(try disk.seen[0] == 4)
    try disk.gate.open()
    #expect(try disk.stored == disk.seen)
    try disk.write(5, 512, at: 0)
    #expect(try disk.stored[0] == 5)
  }

  @Test func whatTheMediumDoesNotTakeIsStillThere() throws {
    let disk = try Gated()
    let failing = FailingImage(disk.base)
    let gate = WriteGate(failing)
    gate.holdWrites {}
    try gate.write([UInt8](repeating: 7, count: 4096), at: 4096)
    _ = gate.seal()
    failing.fails = true
    #expect(throws: DiskImageError.noSpace(path: disk.path)) { try gate.commit() }
    #expect(try read(gate, 4096, 1) == [7])
    try gate.write([UInt8](repeating: 8, count: 4096), at: 8192)
    _ = gate.seal()
    failing.fails = false
    try gate.commit()
    #expect(try disk.stored[4096] == 7 && disk.stored[8192] == 8)
  }

  /// A guest must not be told that something is safe which is in this process's memory only.
  @Test func aGateThatCannotBeOpenedHasTheGuestSeeIt() throws {
    let disk = try Gated()
    let failing = FailingImage(disk.base)
    let gate = WriteGate(failing)
    gate.holdWrites {}
    try gate.write([UInt8](repeating: 7, count: 4096), at: 4096)
    try gate.flush()
    failing.fails = true
    #expect(throws: DiskImageError.noSpace(path: disk.path)) { try gate.open() }
    #expect(throws: DiskImageError.noSpace(path: disk.path)) { try gate.flush() }
    #expect(throws: DiskImageError.noSpace(path: disk.path)) {
      try gate.write([UInt8](repeating: 8, count: 512), at: 0)
    }
    #expect(try read(gate, 4096, 1) == [7] && read(gate, 0, 1) == [0])
    failing.fails = false
    try gate.flush()
    #expect(try disk.stored[4096] == 7 && gate.heldBytes == 0)
    try gate.write([UInt8](repeating: 9, count: 512), at: 0)
    #expect(try disk.stored[0] == 9)
  }

  @Test func randomWritesAreSeenAsWrittenAndCommittedAsSealed() throws {
    var random = SystemRandomNumberGenerator()
    let disk = try Gated(size: 64 * 512 * 9)
    var guest = [UInt8](repeating: 0, count: Int(disk.gate.size))
    var sealed = guest
    disk.gate.holdWrites {}
    for _ in 0..<400 {
      let sectors = UInt64(guest.count / 512)
      let first = UInt64.random(in: 0..<sectors, using: &random)
      let count = UInt64.random(in: 1...min(20, sectors - first), using: &random)
      let range = Int(first * 512)..<Int((first + count) * 512)
      switch UInt8.random(in: 0..<8, using: &random) {
      case 0:
        try disk.gate.writeZeroes(at: first * 512, count: count * 512, mayUnmap: true)
        guest.replaceSubrange(range, with: repeatElement(0, count: range.count))
      case 1:
        sealed = guest
        _ = disk.gate.seal()
        try disk.gate.commit()
        #expect(try disk.stored == sealed)
      default:
        let byte = UInt8.random(in: 1...255, using: &random)
        try disk.write(byte, range.count, at: first * 512)
        guest.replaceSubrange(range, with: repeatElement(byte, count: range.count))
      }
      #expect(try read(disk.gate, first * 512, range.count) == Array(guest[range]))
    }
    #expect(try disk.seen == guest)
    #expect(try disk.stored == sealed)
    try disk.gate.open()
    #expect(try disk.stored == guest)
  }

  @Test func whoCopiesTheMediumHearsOfEachWrite() throws {
    let disk = try Gated(size: 300 << 10)
    disk.gate.noteWrites()
    try disk.write(1, 1024, at: (64 << 10) - 512)
    #expect(disk.gate.takeWritten() == [0, 1])
    try disk.gate.writeZeroes(at: 256 << 10, count: 512, mayUnmap: false)
    #expect(disk.gate.takeWritten() == [4])
    #expect(disk.gate.takeWritten().isEmpty)
    disk.gate.stopNoting()
    try disk.write(1, 512, at: 0)
    #expect(disk.gate.takeWritten().isEmpty)
  }

  @Test func wrongPlacesAreRefusedWhileWritesAreHeld() throws {
    let disk = try Gated()
    disk.gate.holdWrites {}
    let size = disk.gate.size
    #expect(throws: DiskImageError.self) { try disk.write(1, 512, at: size) }
    #expect(throws: DiskImageError.self) { try disk.gate.writeZeroes(at: size - 512, count: 1024, mayUnmap: false) }
    #expect(disk.gate.heldBytes == 0)
  }
}

/// A medium that can be full.
private final class FailingImage: DiskImage, @unchecked Sendable {
  private let base: RawImage
  var fails = false
  init(_ base: RawImage) { self.base = base }
  var path: String { base.path }
  var size: UInt64 { base.size }
  var isReadOnly: Bool { base.isReadOnly }
  var identity: MediumIdentity { base.identity }
  var recentlyWritten: [UInt64] { base.recentlyWritten }
  var hold: MediumHold { base.hold }
  func lock() throws(DiskImageError) { try base.lock() }
  func share() throws(DiskImageError) { try base.share() }
  func unlock() { base.unlock() }
  func setMark(_ mark: UInt64?) throws(DiskImageError) { try base.setMark(mark) }
  func noteWritten(blocks: [UInt64]) { base.noteWritten(blocks: blocks) }
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    try base.read(at: offset, into: buffer)
  }
  func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError) {
    if fails { throw .noSpace(path: path) }
    try base.write(at: offset, from: buffer)
  }
  func flush() throws(DiskImageError) { try base.flush() }
}
