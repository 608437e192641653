import Testing

@testable import Devices

enum VirtioBlockBench {
  static let allFeatures: UInt64 = 1 << 9 | 1 << 11 | 1 << 13 | 1 << 14 | 1 << 28 | 1 << 29

  static func make(
    sectors: Int = 256, legacy: Bool = false, readOnly: Bool = false, worker: any DiskWorker = InlineDiskWorker()
  ) throws -> (VirtioBench<VirtioBlock>, FaultyImage) {
    let image = FaultyImage((0..<sectors * 512).map { UInt8(truncatingIfNeeded: $0 / 512 &+ $0) }, readOnly: readOnly)
    let bench = try VirtioBench(legacy: legacy) {
      VirtioBlock(
        name: "virtio-disk1", image: image, serial: "VMCTL7", memory: $0.memory, ports: $0.ports,
        clock: $0.time.clock, fabric: $0.fabric, worker: worker)
    }
    return (bench, image)
  }
}

@Suite struct VirtioBlockTests {
  private typealias Bench = VirtioBench<VirtioBlock>

  private func header(_ type: UInt32, _ sector: UInt64 = 0) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: type >> ($0 * 8)) } + [0, 0, 0, 0]
      + (0..<8).map { UInt8(truncatingIfNeeded: sector >> ($0 * 8)) }
  }

  private func range(_ sector: UInt64, _ count: UInt32, _ flags: UInt32 = 0) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: sector >> ($0 * 8)) }
      + (0..<4).map { UInt8(truncatingIfNeeded: count >> ($0 * 8)) }
      + (0..<4).map { UInt8(truncatingIfNeeded: flags >> ($0 * 8)) }
  }

  /// Does a request.
  /// - Returns: status and what was read.
  private func request(_ bench: Bench, _ out: [[UInt8]], _ room: [Int] = []) -> (status: UInt8, data: [UInt8])? {
    let chain = bench.add(0, out: out, room: room + [1])
    bench.kick(0)
    guard bench.takeUsed(0) != nil else { return nil }
    let all = bench.content(chain, .max)
    return (all[all.count - 1], Array(all.dropLast()))
  }

  @Test func theConfigurationTellsTheDisk() throws {
    let (bench, _) = try VirtioBlockBench.make()
    #expect(bench.configuration(0, size: 4) == 256)
    #expect(bench.configuration(20, size: 4) == 512)
    #expect(bench.configuration(8, size: 4) == 65_536)
    #expect(bench.configuration(12, size: 4) == 126)
    #expect(bench.configuration(36, size: 4) > 0)
    #expect(bench.offered >> 5 & 1 == 0)
    #expect(try VirtioBlockBench.make(readOnly: true).0.offered >> 5 & 1 == 1)
  }

  @Test(arguments: [false, true]) func sectorsAreReadAndWritten(_ legacy: Bool) throws {
    let (bench, image) = try VirtioBlockBench.make(legacy: legacy)
    bench.start(1 << 9)
    let read = request(bench, [header(0, 3)], [512, 1024])
    #expect(read?.status == 0)
    #expect(read?.data == Array(image.bytes[1536..<3072]))
    let data = (0..<1024).map { UInt8(truncatingIfNeeded: $0 &* 5) }
    // Framing means nothing: the header may be cut, and stick to the data.
    let whole = header(1, 7) + data
    #expect(request(bench, [Array(whole[..<9]), Array(whole[9..<600]), Array(whole[600...])])?.status == 0)
    #expect(Array(image.bytes[3584..<4608]) == data)
    #expect(image.writes.count == 1)
    #expect(image.flushes == 0)
    #expect(request(bench, [header(4)])?.status == 0)
    #expect(image.flushes == 1)
  }

  @Test func theSerialNumberIsTold() throws {
    let (bench, _) = try VirtioBlockBench.make()
    bench.start()
    #expect(request(bench, [header(8)], [20])?.data == Array("VMCTL7".utf8) + [UInt8](repeating: 0, count: 14))
  }

  @Test func whoNeverFlushesIsWrittenThrough() throws {
    let (bench, image) = try VirtioBlockBench.make()
    bench.start()
    #expect(request(bench, [header(1, 0), [UInt8](repeating: 1, count: 512)])?.status == 0)
    #expect(image.flushes == 1)
    bench.start(1 << 9 | 1 << 11)
    #expect(request(bench, [header(1, 0), [UInt8](repeating: 1, count: 512)])?.status == 0)
    #expect(image.flushes == 1)
    bench.board.memory.writeIO(Bench.registers + 0x2000 + 32, size: 1, value: 0)
    #expect(bench.configuration(32) == 0)
    #expect(request(bench, [header(1, 0), [UInt8](repeating: 1, count: 512)])?.status == 0)
    #expect(image.flushes == 2)
  }

  @Test func zerosAreWrittenAndWhatIsDiscardedMayStay() throws {
    let (bench, image) = try VirtioBlockBench.make()
    bench.start(VirtioBlockBench.allFeatures)
    #expect(request(bench, [header(13), range(1, 2, 1) + range(9, 1)])?.status == 0)
    #expect(image.bytes[512..<1536].allSatisfy { $0 == 0 })
    #expect(image.bytes[4608..<5120].allSatisfy { $0 == 0 })
    #expect(image.bytes[1536] == 3)
    #expect(request(bench, [header(11), range(20, 4)])?.status == 0)
    // Beyond the end, with an unknown flag, half a range, too much at once.
    #expect(request(bench, [header(13), range(255, 2)])?.status == 1)
    #expect(request(bench, [header(13), range(1, 1, 2)])?.status == 1)
    #expect(request(bench, [header(11), range(1, 1, 1)])?.status == 1)
    #expect(request(bench, [header(13), Array(range(1, 1).dropLast())])?.status == 1)
    #expect(request(bench, [header(13), range(.max, .max)])?.status == 1)
    #expect(request(bench, [header(13), [UInt8](repeating: 0, count: 17 * 16)])?.status == 1)
  }

  @Test func whatIsNotPossibleFailsAndTheNextRequestDoesNot() throws {
    let (bench, image) = try VirtioBlockBench.make()
    image.badSectors = [5]
    bench.start(1 << 9)
    #expect(request(bench, [header(0, 5)], [512])?.status == 1, "a bad sector")
    #expect(request(bench, [header(0, 256)], [512])?.status == 1)
    #expect(request(bench, [header(0, .max)], [512])?.status == 1)
    #expect(request(bench, [header(0, 255)], [1024])?.status == 1)
    #expect(request(bench, [header(0, 0)], [100])?.status == 1)
    #expect(request(bench, [header(99)], [512])?.status == 2)
    #expect(request(bench, [header(13), range(1, 1)])?.status == 2, "not agreed on")
    #expect(request(bench, [Array(header(0).dropLast())], [512])?.status == 1)
    #expect(request(bench, [header(8)], [19])?.status == 1)
    #expect(request(bench, [header(0, 256)], [0])?.status == 0, "nothing, at the very end")
    #expect(request(bench, [header(0, 4)], [512])?.status == 0)
    let readOnly = try VirtioBlockBench.make(readOnly: true)
    readOnly.0.start(1 << 9)
    #expect(request(readOnly.0, [header(1), [UInt8](repeating: 0, count: 512)])?.status == 1)
    #expect(readOnly.1.writes.isEmpty)
  }

  @Test func aRequestWithoutAPlaceForTheStatusBreaksTheDevice() throws {
    let (bench, _) = try VirtioBlockBench.make()
    bench.start()
    bench.add(0, out: [header(0)])
    bench.kick(0)
    #expect(bench.status & 0x40 != 0)
  }

  // MARK: Off the machine lock

  @Test func theGuestRunsOnWhileTheHostReads() throws {
    let worker = HeldDiskWorker()
    let (bench, image) = try VirtioBlockBench.make(worker: worker)
    bench.start(1 << 9)
    let first = bench.add(0, out: [header(0, 1)], room: [512, 1])
    let second = bench.add(0, out: [header(0, 2)], room: [512, 1])
    bench.kick(0)
    #expect(worker.count == 2)
    #expect(bench.takeUsed(0) == nil)
    worker.finishOne()
    #expect(bench.takeUsed(0)?.head == first.head)
    #expect(bench.takeInterrupts() == 1)
    #expect(bench.content(first, 512) == Array(image.bytes[512..<1024]))
    // A pause waits for what is under way: a saved state has nothing.
    bench.device.pause()
    #expect(bench.takeUsed(0)?.head == second.head)
    #expect(worker.count == 0)
    let saved = try bench.device.save()
    bench.add(0, out: [header(0, 3)], room: [512, 1])
    bench.kick(0)
    #expect(worker.count == 0, "what comes while it is paused waits")
    #expect(try bench.device.save() == saved)
    bench.device.resume()
    #expect(worker.count == 1)
  }

  @Test func aResetForgetsWhatIsUnderWay() throws {
    let worker = HeldDiskWorker()
    let (bench, _) = try VirtioBlockBench.make(worker: worker)
    bench.start(1 << 9)
    let chain = bench.add(0, out: [header(0, 1)], room: [512, 1])
    bench.kick(0)
    bench.start(1 << 9)
    worker.finishOne()
    #expect(bench.takeUsed(0) == nil)
    #expect(bench.content(chain, 512).allSatisfy { $0 == 0 }, "the buffer is the driver's own again")
    bench.add(0, out: [header(0, 1)], room: [512, 1])
    bench.kick(0)
    worker.finishOne()
    #expect(bench.takeUsed(0)?.written == 513)
  }

  @Test func whatIsUnderWayIsBounded() throws {
    let worker = HeldDiskWorker()
    let (bench, _) = try VirtioBlockBench.make(sectors: 32_768, worker: worker)
    bench.start(1 << 9)
    // Eight megabytes each, into the same buffer.
    bench.writeDescriptor(bench.descriptors(0), 0, 0x30_0000, 16, 1, 1)
    bench.put(header(0), at: 0x30_0000)
    bench.writeDescriptor(bench.descriptors(0), 1, 0x30_1000, UInt32(VirtioBlockCore.dataLimit), 3, 2)
    bench.writeDescriptor(bench.descriptors(0), 2, 0x30_0800, 1, 2, 0)
    for _ in 0..<100 { bench.makeAvailable(0, 0) }
    bench.expose(0)
    bench.kick(0)
    #expect(worker.count == 2)
    var done = 0
    while worker.count > 0, done < 200 {
      worker.finishOne()
      #expect(worker.count <= 2)
      done += 1
      // The header lies where the data goes, after the first time; any answer will do.
      bench.board.time.advance(milliseconds: 1)
    }
    #expect(bench.takeAllUsed(0).count == 100)
  }
}
