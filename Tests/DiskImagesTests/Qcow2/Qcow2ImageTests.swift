import Foundation
import Testing

@testable import DiskImages

/// Images in the format qcow2, with qemu-img as the judge.
@Suite struct Qcow2ImageTests {
  let folder: ScratchFolder
  init() throws { folder = try ScratchFolder() }

  private func raw(_ name: String, _ bytes: [UInt8]) throws -> String { try folder.file(name, bytes) }

  private func noise(_ count: Int, _ seed: UInt64) -> [UInt8] {
    var random = SeededRandom(seed)
    return [UInt8](unsafeUninitializedCapacity: count + 8) { buffer, initialized in
      let raw = UnsafeMutableRawBufferPointer(buffer)
      for place in stride(from: 0, to: count, by: 8) {
        raw.storeBytes(of: random.next(), toByteOffset: place, as: UInt64.self)
      }
      initialized = count
    }
  }

  /// Random writes, zeros and discards to an image and to an array, which hold the same afterwards.
  private func exercise(
    _ image: any DiskImage, _ model: inout [UInt8], _ random: inout SeededRandom, steps: Int = 80
  ) throws {
    let sectors = Int(image.sectorCount)
    for _ in 0..<steps {
      let first = Int.random(in: 0..<sectors, using: &random)
      let most = min(sectors - first, [1, 9, 200, 3000][Int.random(in: 0..<4, using: &random)])
      let count = Int.random(in: 1...most, using: &random)
      let range = (first * 512)..<((first + count) * 512)
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<5:
        let bytes = noise(range.count, random.next())
        try write(image, UInt64(range.lowerBound), bytes)
        model.replaceSubrange(range, with: bytes)
      case 5, 6:
        let mayUnmap = Bool.random(using: &random)
        try image.writeZeroes(at: UInt64(range.lowerBound), count: UInt64(range.count), mayUnmap: mayUnmap)
        model.replaceSubrange(range, with: repeatElement(0, count: range.count))
      case 7:
        // What it leaves is read back.
        try image.discard(at: UInt64(range.lowerBound), count: UInt64(range.count))
        let left = try read(image, UInt64(range.lowerBound), range.count)
        #expect(zip(range, left).allSatisfy { $1 == 0 || $1 == model[$0] })
        model.replaceSubrange(range, with: left)
      case 8: try image.flush()
      default: #expect(try read(image, UInt64(range.lowerBound), range.count) == Array(model[range]))
      }
    }
    #expect(try read(image, 0, model.count) == model)
  }

  /// qemu-img finds nothing wrong with the image, not even a leak, and reads what was written.
  private func expectSound(_ path: String, _ model: [UInt8]) throws {
    #expect(try QEMU.failure("check", "-f", "qcow2", path) == nil)
    let plain = try raw("plain-\(UUID().uuidString).img", model)
    #expect(try QEMU.failure("compare", "-f", "qcow2", "-F", "raw", path, plain) == nil)
    try FileManager.default.removeItem(atPath: plain)
  }

  @Test(arguments: [
    ["cluster_size=512"], ["cluster_size=4096,refcount_bits=1"], ["cluster_size=1024,refcount_bits=64"], [],
    ["compat=0.10"], ["cluster_size=2M"], ["lazy_refcounts=on"], ["cluster_size=8192,refcount_bits=2"],
    ["preallocation=metadata"], ["cluster_size=512,refcount_bits=64,preallocation=falloc"],
  ])
  func imagesOfQEMUsAreReadAndWritten(_ options: [String]) throws {
    let path = folder.path("disk.qcow2")
    let size = 3 << 20
    let words = ["create", "-q", "-f", "qcow2"] + options.flatMap { ["-o", $0] } + [path, "\(size)"]
    #expect(try QEMU.run("qemu-img", words).status == 0)
    var model = [UInt8](repeating: 0, count: size)
    var random = SeededRandom(UInt64(options.count + size))
    for _ in 0..<3 {
      let image = try Qcow2Image(path: path)
      try image.lock()
      #expect(image.size == UInt64(size))
      try exercise(image, &model, &random)
      image.unlock()
      #expect(try image.problems() == (0, 0))
      try expectSound(path, model)
      // What QEMU writes is read.
      let sector = Int.random(in: 0..<(size / 512), using: &random) * 512
      let written = try QEMU.run("qemu-io", ["-f", "qcow2", "-c", "write -P 90 \(sector) 512", path])
      #expect(written.status == 0, "\(written.output)")
      model.replaceSubrange(sector..<(sector + 512), with: repeatElement(90, count: 512))
    }
    let last = try Qcow2Image(path: path, readOnly: true)
    #expect(try read(last, 0, size) == model)
  }

  @Test func ourImagesAreSoundAndChainsAreRead() throws {
    let size = 3 << 20
    let base = try raw("base.img", noise(size - 1000, 1))
    let bottom = [UInt8](try Data(contentsOf: URL(fileURLWithPath: base)))
    try Qcow2Image.create(path: folder.path("one.qcow2"), size: UInt64(size), base: ("base.img", .raw))
    var model = bottom + [UInt8](repeating: 0, count: 1000)
    try expectSound(folder.path("one.qcow2"), model)
    var random = SeededRandom(3)
    let one = try Qcow2Image(path: folder.path("one.qcow2"))
    try one.lock()
    try exercise(one, &model, &random)
    one.unlock()
    try expectSound(folder.path("one.qcow2"), model)
    // One on top of it, larger, by an absolute name.
    try Qcow2Image.create(
      path: folder.path("two.qcow2"), size: UInt64(size) * 2, base: (folder.path("one.qcow2"), .qcow2))
    let two = try Qcow2Image(path: folder.path("two.qcow2"))
    try two.lock()
    var upper = model + [UInt8](repeating: 0, count: size)
    try exercise(two, &upper, &random)
    two.unlock()
    try expectSound(folder.path("two.qcow2"), upper)
    try expectSound(folder.path("one.qcow2"), model)
    #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: base))) == bottom)
    #expect(two.files.map { URL(fileURLWithPath: $0).lastPathComponent } == ["two.qcow2", "one.qcow2", "base.img"])
    #expect(ImageChain.files(of: folder.path("two.qcow2"), format: .qcow2) == two.files)
  }

  @Test(arguments: ["zlib", "zstd"])
  func compressedClustersAreRead(_ kind: String) throws {
    var bytes = [UInt8](repeating: 0, count: 4 << 20)
    // Compressible, and different everywhere.
    for place in stride(from: 0, to: bytes.count, by: 64) {
      bytes[place] = UInt8(truncatingIfNeeded: place >> 6 ^ place >> 14)
    }
    bytes.replaceSubrange((1 << 20)..<(2 << 20), with: noise(1 << 20, 5))
    let plain = try raw("plain.img", bytes)
    let path = folder.path("small.qcow2")
    let words = ["convert", "-c", "-O", "qcow2", "-o", "compression_type=\(kind)", "-f", "raw", plain, path]
    #expect(try QEMU.run("qemu-img", words).status == 0)
    let image = try Qcow2Image(path: path)
    try image.lock()
    #expect(try read(image, 0, bytes.count) == bytes)
    #expect(try read(image, 70_144, 1024) == Array(bytes[70_144..<71_168]))
    var random = SeededRandom(8)
    try exercise(image, &bytes, &random)
    image.unlock()
    try expectSound(path, bytes)
  }

  /// What a snapshot of QEMU's has stays as it is while the disk goes on.
  @Test func internalSnapshotsStay() throws {
    let path = folder.path("disk.qcow2")
    let size = 4 << 20
    #expect(try QEMU.failure("create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", path, "\(size)") == nil)
    var model = [UInt8](repeating: 0, count: size)
    var random = SeededRandom(9)
    var image = try Qcow2Image(path: path)
    try image.lock()
    try exercise(image, &model, &random)
    image.unlock()
    let before = model
    #expect(try QEMU.failure("snapshot", "-c", "first", path) == nil)
    image = try Qcow2Image(path: path)
    #expect(image.internalSnapshots == 1)
    try image.lock()
    try exercise(image, &model, &random)
    image.unlock()
    #expect(try image.problems() == (0, 0))
    try expectSound(path, model)
    #expect(try QEMU.failure("snapshot", "-a", "first", path) == nil)
    try expectSound(path, before)
  }

  /// Images that were not closed while their counts were kept lazily are mended by the first write.
  @Test func aDirtyImageIsMended() throws {
    let path = folder.path("disk.qcow2")
    #expect(try QEMU.failure("create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", path, "4M") == nil)
    let killed = try QEMU.run(
      "qemu-io", ["-f", "qcow2", "-c", "write -P 7 0 1M", "-c", "flush", "-c", "sigraise 9", path])
    #expect(killed.status == 9)
    let image = try Qcow2Image(path: path)
    try image.lock()
    var model = [UInt8](repeating: 7, count: 1 << 20) + [UInt8](repeating: 0, count: 3 << 20)
    #expect(try read(image, 0, model.count) == model)
    try write(image, 2 << 20, [UInt8](repeating: 9, count: 4096))
    model.replaceSubrange((2 << 20)..<((2 << 20) + 4096), with: repeatElement(9, count: 4096))
    image.unlock()
    try expectSound(path, model)
  }

  @Test func whatIsNotThereIsRefusedByName() throws {
    func make(_ words: String...) throws { #expect(try QEMU.run("qemu-img", ["create", "-q"] + words).status == 0) }
    func refusal(_ name: String) -> String {
      do {
        _ = try Qcow2Image(path: folder.path(name))
        return "opened"
      } catch { return "\(error)" }
    }
    try make("-f", "qcow2", "-o", "data_file=\(folder.path("data")),data_file_raw=on", folder.path("a"), "1M")
    #expect(refusal("a").contains("external data file"))
    try make("-f", "qcow2", "-o", "extended_l2=on", folder.path("b"), "1M")
    #expect(refusal("b").contains("extended L2"))
    try make("-f", "qcow2", folder.path("d"), "1M")
    var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.path("d"))))
    bytes[35] = 2
    _ = try folder.file("c", bytes)
    #expect(refusal("c").contains("LUKS"))
    bytes[35] = 0
    bytes[72] = 0x40
    _ = try folder.file("e", bytes)
    #expect(refusal("e").contains("feature 62"))
    bytes[72] = 0
    bytes[79] = 2
    _ = try folder.file("f", bytes)
    #expect(refusal("f").contains("marked as corrupt"))
    #expect(throws: Never.self) { _ = try Qcow2Image(path: folder.path("f"), readOnly: true) }
    _ = try folder.file("g", Array(bytes.prefix(300)))
    #expect(refusal("g").contains("outside of the file"))
  }

  @Test func basesThatCannotBeAreToldInOneLine() throws {
    func create(_ name: String, on base: String, _ format: String) throws {
      let words = ["create", "-q", "-u", "-f", "qcow2", "-F", format, "-b", base, folder.path(name), "1M"]
      #expect(try QEMU.run("qemu-img", words).status == 0)
    }
    try create("a", on: "b", "qcow2")
    try create("b", on: "a", "qcow2")
    #expect(
      throws: DiskImageError.backing(path: folder.path("a"), of: folder.path("b"), reason: "it is based on itself")
    ) {
      _ = try Qcow2Image(path: folder.path("a"))
    }
    try create("c", on: "missing", "raw")
    let missing = DiskImageError.backing(
      path: folder.path("missing"), of: folder.path("c"),
      reason: "\(DiskImageError.notFound(path: folder.path("missing")))")
    #expect(throws: missing) { _ = try Qcow2Image(path: folder.path("c")) }
    try create("d", on: "nbd://localhost/x", "raw")
    #expect(throws: DiskImageError.self) { _ = try Qcow2Image(path: folder.path("d")) }
    // Without a format it is raw, and what looks otherwise is not guessed at.
    var header = Qcow2Header()
    (header.virtualSize, header.backingFile) = (1 << 20, "a")
    try Qcow2Volume.create(header, on: MediumFile.create(path: folder.path("e")))
    #expect(throws: DiskImageError.backingFormat(path: folder.path("a"), of: folder.path("e"), format: .qcow2)) {
      _ = try Qcow2Image(path: folder.path("e"))
    }
    // A tower is no image.
    _ = try raw("t0", [UInt8](repeating: 1, count: 512))
    for level in 1...70 { try create("t\(level)", on: "t\(level - 1)", level == 1 ? "raw" : "qcow2") }
    #expect(try Qcow2Image(path: folder.path("t63")).files.count == 64)
    #expect(throws: DiskImageError.self) { _ = try Qcow2Image(path: folder.path("t70")) }
    #expect(ImageChain.files(of: folder.path("t70"), format: .qcow2).count == 65)
  }

  // MARK: Locks and identity

  @Test func basesAreSharedAndNobodyWritesThem() throws {
    let base = try raw("base.img", noise(1 << 20, 2))
    for name in ["a", "b"] { try Qcow2Image.create(path: folder.path(name), size: nil, base: ("base.img", .raw)) }
    let (a, b) = (try Qcow2Image(path: folder.path("a")), try Qcow2Image(path: folder.path("b")))
    try a.lock()
    try b.lock()
    let again = try Qcow2Image(path: folder.path("a"))
    #expect(throws: DiskImageError.inUse(path: folder.path("a"))) { try again.lock() }
    let writer = try RawImage(path: base)
    #expect(throws: DiskImageError.inUse(path: base)) { try writer.lock() }
    a.unlock()
    b.unlock()
    try writer.lock()
    // Who cannot have the base has nothing.
    #expect(throws: DiskImageError.inUse(path: base)) { try a.lock() }
    #expect(a.hold == .none)
    writer.unlock()
    try a.lock()
    #expect(a.hold == .exclusive)
  }

  @Test func aBaseThatChangesIsNoticed() throws {
    let base = try raw("base.img", noise(1 << 20, 2))
    try Qcow2Image.create(path: folder.path("a"), size: nil, base: ("base.img", .raw))
    let before = try Qcow2Image(path: folder.path("a")).identity
    #expect(try Qcow2Image(path: folder.path("a")).identity.change(since: before) == nil)
    let writer = try RawImage(path: base)
    try write(writer, 4096, [1, 2, 3, 4] + [UInt8](repeating: 0, count: 508))
    // A second later at least, by the clock of files.
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSinceNow: 10)], ofItemAtPath: base)
    let now = try Qcow2Image(path: folder.path("a")).identity
    #expect(now.change(since: before)?.contains("base.img") == true)
    // A copy of the base is as good as itself for another host, and another content is not.
    var (ours, theirs) = (now, now)
    (ours.mark, theirs.mark) = (5, 5)
    theirs.bases?[0].path = "/elsewhere/base.img"
    theirs.bases?[0].inode += 1
    #expect(ours.doubt(about: theirs, isWritten: true) == nil)
    theirs.bases = before.bases
    #expect(ours.doubt(about: theirs, isWritten: true)?.contains("based on") == true)
    theirs.bases = nil
    #expect(ours.doubt(about: theirs, isWritten: true)?.contains("stands on 0") == true)
    var asRaw = now
    asRaw.format = nil
    #expect(ours.doubt(about: asRaw, isWritten: true)?.contains("read as raw") == true)
    #expect(asRaw.change(since: now) != nil)
  }

  /// The target of a teleport opens what its source still writes.
  @Test func tablesAreReadWhenTheMediumIsTaken() throws {
    let path = folder.path("disk")
    try Qcow2Image.create(path: path, size: 64 << 20)
    let source = try Qcow2Image(path: path)
    try source.lock()
    let target = try Qcow2Image(path: path)
    #expect(try read(target, 0, 512) == [UInt8](repeating: 0, count: 512))
    try write(source, 0, [UInt8](repeating: 5, count: 512))
    try write(source, 40 << 20, [UInt8](repeating: 6, count: 512))
    try source.share()
    #expect(throws: Never.self) { try target.share() }
    #expect(try read(target, 0, 512) == [UInt8](repeating: 5, count: 512))
    #expect(try read(target, 40 << 20, 512) == [UInt8](repeating: 6, count: 512))
    // It runs there, while the source has not let go yet.
    try write(target, 50 << 20, [UInt8](repeating: 7, count: 512))
    source.unlock()
    try target.lock()
    #expect(target.hold == .exclusive)
    target.unlock()
    var model = [UInt8](repeating: 0, count: 64 << 20)
    for (place, value) in [(0, 5), (40 << 20, 6), (50 << 20, 7)] {
      model.replaceSubrange(place..<(place + 512), with: repeatElement(UInt8(value), count: 512))
    }
    try expectSound(path, model)
  }

  // MARK: As a whole

  @Test func anImageGrows() throws {
    let base = try raw("base.img", [UInt8](repeating: 3, count: 2 << 20))
    for (name, bits) in [("a", 16), ("b", 9)] {
      var header = Qcow2Header()
      (header.virtualSize, header.clusterBits) = (1 << 20, bits)
      (header.backingFile, header.backingFormat) = (base, "raw")
      try Qcow2Volume.create(header, on: MediumFile.create(path: folder.path(name)))
    }
    try Qcow2Image.create(path: folder.path("c"), size: 1 << 20)
    for (name, sizes) in [("a", [2 << 20]), ("c", [5 << 20, 1 << 30, 9 << 30])] {
      for size in sizes {
        let image = try Qcow2Image(path: folder.path(name))
        try image.lock()
        let end = image.size
        try write(image, end - 512, [UInt8](repeating: 8, count: 512))
        try image.grow(to: UInt64(size))
        image.unlock()
        let larger = try Qcow2Image(path: folder.path(name))
        #expect(larger.size == UInt64(size))
        #expect(try read(larger, end - 512, 512) == [UInt8](repeating: 8, count: 512))
        // Nothing of the base comes to light.
        #expect(try read(larger, end, 1024) == [UInt8](repeating: 0, count: 1024))
        try larger.lock()
        try write(larger, UInt64(size) - 1024, [UInt8](repeating: 9, count: 1024))
        larger.unlock()
        #expect(try QEMU.failure("check", "-f", "qcow2", folder.path(name)) == nil)
      }
      let image = try Qcow2Image(path: folder.path(name))
      #expect(throws: DiskImageError.self) { try image.grow(to: 1 << 20) }
    }
  }

  @Test func zerosAreGivenBack() throws {
    let path = folder.path("disk")
    try Qcow2Image.create(path: path, size: 16 << 20)
    let image = try Qcow2Image(path: path)
    try image.lock()
    var model = noise(16 << 20, 4)
    try write(image, 0, model)
    for place in [0..<(3 << 20), (10 << 20)..<(16 << 20)] {
      model.replaceSubrange(place, with: repeatElement(0, count: place.count))
      try write(image, UInt64(place.lowerBound), Array(model[place]))
    }
    try image.flush()
    let before = try image.file.length
    try image.compact()
    image.unlock()
    #expect(try image.file.length < before - (5 << 20))
    try expectSound(path, model)
  }

  /// The host's disk is full: what was written before is there, and it goes on when there is room.
  @Test func aFullDiskLosesNothing() throws {
    for limit in 0..<40 {
      let disk = SimulatedDisk()
      var header = Qcow2Header()
      (header.virtualSize, header.clusterBits) = (1 << 20, 9)
      try Qcow2Volume.create(header, on: disk)
      let volume = try Qcow2Volume(disk, header: Qcow2Header(readFrom: disk), backing: nil, isReadOnly: false)
      var model = [UInt8](repeating: 0, count: 1 << 20)
      disk.failsAfter = disk.events.count + limit
      var failures = 0
      for step in 0..<30 {
        let bytes = noise(3000, UInt64(step))
        let place = step * 31_000 + 100 * 512
        do {
          try volume.write(Array(bytes.prefix(2560)), at: UInt64(place & ~511))
          model.replaceSubrange((place & ~511)..<((place & ~511) + 2560), with: bytes.prefix(2560))
          if step % 7 == 0 { try volume.flush() }
        } catch {
          failures += 1
          // It may be there in part.
          let now = try volume.bytes(at: UInt64(place & ~511), count: 2560)
          model.replaceSubrange((place & ~511)..<((place & ~511) + 2560), with: now)
        }
      }
      #expect(failures > 0)
      disk.failsAfter = .max
      try volume.write(noise(512, 99), at: 0)
      model.replaceSubrange(0..<512, with: noise(512, 99))
      try volume.flush()
      let again = try Qcow2Volume(disk, header: Qcow2Header(readFrom: disk), backing: nil, isReadOnly: false)
      #expect(try again.bytes(at: 0, count: model.count) == model)
      #expect(try Qcow2Check.check(again).corruptions == 0)
    }
  }
}
