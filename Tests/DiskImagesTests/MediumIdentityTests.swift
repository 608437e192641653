import Foundation
import Testing

@testable import DiskImages

/// Which file it is, and whether it has changed.
@Suite struct MediumIdentityTests {
  let folder: ScratchFolder
  let path: String

  init() throws {
    folder = try ScratchFolder()
    path = folder.path("disk.img")
    try RawImage.createRaw(path: path, size: 8 << 20)
  }

  // MARK: The mark

  @Test(arguments: [UInt64(1), 1 << 63, 0x0123_4567_89AB_CDEF, .max])
  func whoHasTheSameFileSeesTheMark(mark: UInt64) throws {
    let source = try RawImage(path: path)
    try source.lock()
    try source.setMark(mark)
    try FileManager.default.linkItem(atPath: path, toPath: folder.path("hard"))
    try FileManager.default.createSymbolicLink(atPath: folder.path("soft"), withDestinationPath: path)
    for name in ["disk.img", "hard", "soft"] {
      #expect(try RawImage(path: folder.path(name)).identity.mark == mark)
      #expect(try RawImage(path: folder.path(name), readOnly: true).identity.mark == mark)
    }
    #expect(source.identity.mark == mark)
    try source.share()
    #expect(try RawImage(path: path).identity.mark == mark, "it stays when the medium is shared")
    try source.setMark(nil)
    #expect(try RawImage(path: path).identity.mark == nil)
    #expect(throws: DiskImageError.self) { try RawImage(path: path).lock() }
    source.unlock()
    try RawImage(path: path).lock()
  }

  @Test func aCopyDoesNotHaveTheMark() throws {
    let copy = folder.path("copy.img")
    try FileManager.default.copyItem(atPath: path, toPath: copy)
    let source = try RawImage(path: path)
    try source.lock()
    try source.setMark(5)
    let other = try RawImage(path: copy)
    #expect(other.identity.mark == nil)
    #expect(source.identity.doubt(about: other.identity, isWritten: true)?.contains("another file") == true)
    // Another machine that is just being teleported as well.
    try other.lock()
    try other.setMark(6)
    #expect(source.identity.doubt(about: try RawImage(path: copy).identity, isWritten: true) != nil)
    #expect(source.identity.doubt(about: try RawImage(path: path).identity, isWritten: true) == nil)
  }

  @Test func theMarkGoesWithTheLockAndWithTheProcess() throws {
    var source: RawImage? = try RawImage(path: path)
    try source?.lock()
    try source?.setMark(5)
    source?.unlock()
    #expect(try RawImage(path: path).identity.mark == nil)
    try source?.setMark(5)
    source = nil
    #expect(try RawImage(path: path).identity.mark == nil)
  }

  @Test func theMarkKeepsNobodyFromTheMedium() throws {
    let source = try RawImage(path: path)
    try source.share()
    try source.setMark(.max)
    try RawImage(path: path).share()
  }

  // MARK: Two hosts

  private func identity(mark: UInt64? = nil, names: [String]? = nil) -> MediumIdentity {
    var identity = MediumIdentity(path: "/dev/sdb", size: 512, device: 6, inode: 7)
    identity.mark = mark
    identity.deviceNames = names
    return identity
  }

  @Test func blockDevicesAreProvedByTheirOwnNames() {
    let here = identity(mark: 3, names: ["naa.5000c500a1b2c3d4", "host a 8:16 3"])
    #expect(here.doubt(about: identity(names: ["naa.5000c500a1b2c3d4", "host b 8:32 9"]), isWritten: true) == nil)
    let other = here.doubt(about: identity(names: ["host b 8:16 3"]), isWritten: true)
    #expect(other?.contains("SCSI or NVMe") == true)
    #expect(here.doubt(about: identity(names: []), isWritten: true) != nil)
  }

  @Test func anotherSizeIsToldFirst() {
    var smaller = identity(mark: 3)
    smaller.size = 511
    #expect(identity(mark: 3).doubt(about: smaller, isWritten: true) == "it has 511 bytes instead of 512")
  }

  // MARK: Two moments

  @Test func aWriteIsSeenAndAMoveIsNone() throws {
    let image = try RawImage(path: path)
    let before = image.identity
    #expect(image.identity.change(since: before) == nil)
    try FileManager.default.moveItem(atPath: path, toPath: folder.path("moved.img"))
    #expect(try RawImage(path: folder.path("moved.img")).identity.change(since: before) == nil)
    chmod(folder.path("moved.img"), 0o600)
    #expect(image.identity.change(since: before) == nil)
    usleep(20_000)
    try write(image, 4096, [1])
    #expect(image.identity.change(since: before)?.contains("modified at") == true)
  }

  @Test func timesAreToldInUTCAndWholeSecondsAreEnough() {
    var before = MediumIdentity(path: "/d", size: 512, device: 1, inode: 1)
    before.modified = 1_709_210_096_123_456_789
    var now = before
    now.modified = 1_709_210_096_000_000_000
    #expect(now.change(since: before) == nil)
    now.modified = 1_709_210_097_000_000_001
    #expect(
      now.change(since: before)
        == "it was modified at 2024-02-29T12:34:57.000000001Z, and when the state was saved that was 2024-02-29T12:34:56.123456789Z"
    )
  }

  @Test func aBlockDeviceIsUnchangedWhileItsCounterStandsStill() {
    var before = MediumIdentity(path: "/dev/sdb", size: 512, device: 1, inode: 1)
    before.writes = "boot1 8:16 3 100 800"
    var now = before
    #expect(now.change(since: before) == nil)
    now.writes = "boot1 8:16 3 101 808"
    #expect(now.change(since: before) == "it has been written since")
    now.writes = "boot2 8:16 3 7 8"
    #expect(now.change(since: before) == nil, "after a start of the host only the samples can tell")
  }

  // MARK: Samples

  @Test func aChangeIsFoundInHeadersTheEndAndWhatWasWrittenLast() throws {
    let image = try RawImage(path: path)
    // A partition at 3 MiB.
    var record = [UInt8](repeating: 0, count: 512)
    record[446 + 9] = 0x18
    (record[510], record[511]) = (0x55, 0xAA)
    try write(image, 0, record)
    try write(image, 5_000_000, [1, 2, 3])
    let samples = try image.samples(.many)
    #expect(try image.firstDifference(from: samples) == nil)
    let other = try RawImage(path: path)
    for offset: UInt64 in [0, 1024, 65_536, 3_145_728, 3_211_264, 5_000_001, 8_388_607] {
      let old = try read(other, offset, 1)
      try write(other, offset, [old[0] ^ 1])
      #expect(try image.firstDifference(from: samples) == offset / 4096 * 4096, "\(offset)")
      try write(other, offset, old)
    }
    #expect(try image.firstDifference(from: samples) == nil)
    let copy = try JSONDecoder().decode(MediumSamples.self, from: JSONEncoder().encode(samples))
    #expect(copy == samples)
  }

  @Test func whatWasWrittenLastIsRememberedByTheNextProcess() throws {
    let first = try RawImage(path: path)
    for block in 0..<100 { try write(first, UInt64(block) * 50_000, [7]) }
    #expect(first.recentlyWritten.count == MediumSamples.recentBlocks)
    let samples = try first.samples(.many)
    let second = try RawImage(path: path)
    try second.noteRecent(from: samples)
    #expect(try second.samples(.many) == samples)
  }

  @Test func samplesThatNoMediumCanHaveAreADifference() throws {
    let image = try RawImage(path: path)
    var samples = try image.samples(.few)
    samples.blocks[0].offset = .max
    #expect(try image.firstDifference(from: samples) != nil)
    let small = folder.path("small.img")
    try RawImage.createRaw(path: small, size: 512)
    #expect(try RawImage(path: small).samples(.many).blocks.count == 1)
  }

  @Test func partitionTablesOfAnyKindAreReadWithoutATrap() {
    #expect(PartitionStarts.find(head: [], second: []) == [])
    var head = [UInt8](repeating: 0xFF, count: 4096)
    (head[510], head[511]) = (0x55, 0xAA)
    _ = PartitionStarts.find(head: head, second: head)
    head = [UInt8](repeating: 0, count: 4096)
    (head[510], head[511]) = (0x55, 0xAA)
    head.replaceSubrange(512..<520, with: Array("EFI PART".utf8))
    head[1024 + 33] = 8
    #expect(PartitionStarts.find(head: head, second: []) == [2048 * 512])
  }
}
