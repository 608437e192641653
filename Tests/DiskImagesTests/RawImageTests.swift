import Foundation
import Testing

@testable import DiskImages

/// A folder that goes away with the test.
final class ScratchFolder {
  let url = FileManager.default.temporaryDirectory.appendingPathComponent("vmctl-\(UUID().uuidString)")
  init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(at: url) }
  func path(_ name: String) -> String { url.appendingPathComponent(name).path }
  func file(_ name: String, _ bytes: [UInt8]) throws -> String {
    try Data(bytes).write(to: url.appendingPathComponent(name))
    return path(name)
  }
}

func read(_ image: any DiskImage, _ offset: UInt64, _ count: Int) throws -> [UInt8] {
  var bytes = [UInt8](repeating: 0xEE, count: count)
  let result = Result { try bytes.withUnsafeMutableBytes { try image.read(at: offset, into: $0) } }
  try result.get()
  return bytes
}

func write(_ image: any DiskImage, _ offset: UInt64, _ bytes: [UInt8]) throws {
  try bytes.withUnsafeBytes { try image.write(at: offset, from: $0) }
}

@Suite struct RawImageTests {
  let folder: ScratchFolder
  init() throws { folder = try ScratchFolder() }

  /// Bytes of storage that the host has given the file.
  private func allocated(_ path: String) -> Int {
    var status = stat()
    stat(path, &status)
    return Int(status.st_blocks) * 512
  }

  @Test func zerosAreWrittenAsHolesOrNot() throws {
    let path = try folder.file("disk.img", [UInt8](repeating: 7, count: 1 << 20))
    let image = try RawImage(path: path)
    try image.flush()
    try image.writeZeroes(at: 512, count: 65_536, mayUnmap: false)
    #expect(try read(image, 0, 512) == Array(repeating: 7, count: 512))
    #expect(try read(image, 512, 65_536) == Array(repeating: 0, count: 65_536))
    #expect(try read(image, 512 + 65_536, 512) == Array(repeating: 7, count: 512))
    let before = allocated(path)
    try image.writeZeroes(at: 0, count: 1 << 19, mayUnmap: true)
    try image.discard(at: 1 << 19, count: 1 << 18)
    try image.flush()
    #expect(try read(image, 0, 1 << 19) == Array(repeating: 0, count: 1 << 19))
    #expect(allocated(path) < before - (1 << 19))
    #expect(image.recentlyWritten.contains(0))
    #expect(image.size == 1 << 20)
    #expect(throws: DiskImageError.self) { try image.writeZeroes(at: 1 << 20, count: 512, mayUnmap: true) }
    #expect(throws: DiskImageError.self) { try image.discard(at: .max, count: .max) }
    let readOnly = try RawImage(path: path, readOnly: true)
    #expect(throws: DiskImageError.readOnly(path: path)) { try readOnly.discard(at: 0, count: 512) }
  }

  @Test func whereTheHostHasNoHolesZerosAreWritten() throws {
    let path = try folder.file("disk.img", [UInt8](repeating: 7, count: 3 << 20))
    try RawImage(path: path).fillWithZeros(at: 512, count: 2 << 20)
    let image = try RawImage(path: path)
    #expect(try read(image, 0, 512) == Array(repeating: 7, count: 512))
    #expect(try read(image, 512, 2 << 20).allSatisfy { $0 == 0 })
    #expect(try read(image, 512 + (2 << 20), 512) == Array(repeating: 7, count: 512))
  }

  @Test func aCreatedImageIsSparseAndReadsAsZeros() throws {
    let path = folder.path("disk.img")
    try RawImage.createRaw(path: path, size: 1 << 30)
    let image = try RawImage(path: path)
    #expect(image.size == 1 << 30)
    #expect(image.sectorCount == 1 << 21)
    #expect(try read(image, (1 << 30) - 512, 512) == Array(repeating: 0, count: 512))
    var status = stat()
    #expect(stat(path, &status) == 0)
    #expect(status.st_blocks < 1000)
  }

  @Test func creatingNeverOverwrites() throws {
    let path = try folder.file("disk.img", [1, 2, 3])
    #expect(throws: DiskImageError.alreadyExists(path: path)) { try RawImage.createRaw(path: path, size: 512) }
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data([1, 2, 3]))
  }

  @Test(arguments: [0, 511, 513, UInt64.max]) func oddSizesAreRefused(size: UInt64) {
    let path = folder.path("disk.img")
    #expect(throws: DiskImageError.badSize(path: path, bytes: size)) { try RawImage.createRaw(path: path, size: size) }
  }

  @Test func whatIsWrittenIsReadBackByAnotherOpening() throws {
    let path = folder.path("disk.img")
    try RawImage.createRaw(path: path, size: 1 << 20)
    let bytes = (0..<1024).map { UInt8(truncatingIfNeeded: $0 * 7) }
    let image = try RawImage(path: path)
    try write(image, 4096, bytes)
    try image.flush()
    #expect(try read(RawImage(path: path, readOnly: true), 4096, 1024) == bytes)
  }

  @Test func aLastPartialSectorIsFilledUpWithZerosAndCompletedByAWrite() throws {
    let path = try folder.file("odd.img", Array(repeating: 7, count: 700))
    let image = try RawImage(path: path)
    #expect(image.size == 1024)
    let sector = try read(image, 512, 512)
    #expect(sector == Array(repeating: 7, count: 188) + Array(repeating: 0, count: 324))
    try write(image, 512, Array(repeating: 9, count: 512))
    #expect(try read(image, 512, 512) == Array(repeating: 9, count: 512))
    #expect(try RawImage(path: path).size == 1024)
  }

  @Test(arguments: [(UInt64(1024), 1), (0, 1025), (UInt64.max, 1), (1023, 2)])
  func accessOutsideTheImageIsRefused(offset: UInt64, count: Int) throws {
    let path = try folder.file("disk.img", Array(repeating: 0, count: 1024))
    let image = try RawImage(path: path)
    let error = DiskImageError.outOfRange(path: path, offset: offset, length: count)
    #expect(throws: error) { try read(image, offset, count) }
    #expect(throws: error) { try write(image, offset, Array(repeating: 0, count: count)) }
  }

  @Test func aReadOnlyImageRefusesWrites() throws {
    let path = try folder.file("cd.iso", Array(repeating: 1, count: 2048))
    let image = try RawImage(path: path, readOnly: true)
    #expect(image.isReadOnly)
    #expect(throws: DiskImageError.readOnly(path: path)) { try write(image, 0, [2]) }
    #expect(try read(image, 0, 1) == [1])
  }

  @Test func whatIsNoImageIsToldByName() throws {
    let missing = folder.path("none")
    #expect(throws: DiskImageError.notFound(path: missing)) { try RawImage(path: missing) }
    let empty = try folder.file("empty", [])
    #expect(throws: DiskImageError.empty(path: empty)) { try RawImage(path: empty) }
    #expect(throws: DiskImageError.notAFile(path: folder.url.path)) { try RawImage(path: folder.url.path) }
    #expect(throws: DiskImageError.notAFile(path: "/dev/null")) { try RawImage(path: "/dev/null", readOnly: true) }
  }

  @Test func anImageHasOneWriter() throws {
    let path = try folder.file("disk.img", Array(repeating: 0, count: 512))
    let first = try RawImage(path: path)
    let second = try RawImage(path: path)
    try first.lock()
    try first.lock()
    #expect(throws: DiskImageError.inUse(path: path)) { try second.lock() }
    #expect(!second.isLocked)
    let reader = try RawImage(path: path, readOnly: true)
    #expect(throws: DiskImageError.inUse(path: path)) { try reader.lock() }
    #expect(DiskImageError.inUse(path: path).description.contains("in use by another running machine"))
  }

  @Test func theLockPassesToAnotherAndBack() throws {
    let path = try folder.file("disk.img", Array(repeating: 0, count: 512))
    let source = try RawImage(path: path)
    let target = try RawImage(path: path)
    try source.lock()
    source.unlock()
    try target.lock()
    #expect(throws: DiskImageError.inUse(path: path)) { try source.lock() }
    target.unlock()
    try source.lock()
    #expect(source.isLocked && !target.isLocked)
  }

  @Test func aSharedHoldKeepsWritersOutAndLetsOthersShare() throws {
    let path = try folder.file("disk.img", Array(repeating: 0, count: 512))
    let source = try RawImage(path: path)
    let target = try RawImage(path: path)
    let thief = try RawImage(path: path)
    try source.lock()
    #expect(source.hold == .exclusive)
    #expect(throws: DiskImageError.inUse(path: path)) { try target.share() }
    try source.share()
    #expect(source.hold == .shared && source.isLocked)
    #expect(throws: DiskImageError.inUse(path: path)) { try thief.lock() }
    try target.share()
    #expect(throws: DiskImageError.inUse(path: path)) { try thief.lock() }
    // Neither becomes exclusive while both hold it; neither loses what it has by trying.
    for image in [source, target] {
      #expect(throws: DiskImageError.inUse(path: path)) { try image.lock() }
      #expect(image.hold == .shared)
      #expect(throws: DiskImageError.inUse(path: path)) { try thief.lock() }
    }
    source.unlock()
    #expect(throws: DiskImageError.inUse(path: path)) { try thief.lock() }
    try target.lock()
    #expect(target.hold == .exclusive && thief.hold == .none)
    #expect(throws: DiskImageError.inUse(path: path)) { try RawImage(path: path, readOnly: true).lock() }
  }

  @Test func aReaderSlipsInBesideASharedHoldOnly() throws {
    let path = try folder.file("disk.img", Array(repeating: 0, count: 512))
    let machine = try RawImage(path: path)
    let reader = try RawImage(path: path, readOnly: true)
    try machine.lock()
    #expect(throws: DiskImageError.inUse(path: path)) { try reader.lock() }
    try machine.share()
    try reader.lock()
    #expect(reader.hold == .shared)
    #expect(throws: DiskImageError.inUse(path: path)) { try machine.lock() }
    reader.unlock()
    try machine.lock()
    #expect(machine.hold == .exclusive)
  }

  @Test func readersShare() throws {
    let path = try folder.file("cd.iso", Array(repeating: 0, count: 2048))
    let first = try RawImage(path: path, readOnly: true)
    let second = try RawImage(path: path, readOnly: true)
    try first.lock()
    try second.lock()
    try first.share()
    #expect(first.hold == .shared && second.hold == .shared)
    #expect(throws: DiskImageError.inUse(path: path)) { try RawImage(path: path).lock() }
  }

  @Test func closingDropsTheLock() throws {
    let path = try folder.file("disk.img", Array(repeating: 0, count: 512))
    var first: RawImage? = try RawImage(path: path)
    try first?.lock()
    first = nil
    try RawImage(path: path).lock()
  }

  @Test func theIdentityIsTheSameThroughALink() throws {
    let path = try folder.file("disk.img", Array(repeating: 0, count: 512))
    let link = folder.path("link.img")
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
    let direct = try RawImage(path: path).identity
    #expect(try RawImage(path: link).identity == direct)
    #expect(direct.size == 512)
    let copy = try JSONDecoder().decode(MediumIdentity.self, from: JSONEncoder().encode(direct))
    #expect(copy == direct)
  }
}
