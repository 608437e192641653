import Testing

@testable import Devices

/// How a driver finds a virtio device, and what both agree on.
@Suite struct VirtioTransportTests {
  private typealias Bench = VirtioBench<VirtioEntropy>

  /// BAR and offset of each part of the registers, by its number; 0x11: the table of MSI-X.
  private func parts<D>(_ bench: VirtioBench<D>) -> [UInt32: [UInt32]] {
    var found: [UInt32: [UInt32]] = [:]
    var place = Int(bench.board.configRead(5, 0, 0x34, size: 1))
    var seen = 0
    while place != 0, seen < 16 {
      let head = bench.board.configRead(5, 0, place)
      let (bar, offset) = (bench.board.configRead(5, 0, place + 4), bench.board.configRead(5, 0, place + 8))
      if head & 0xFF == 9 {
        found[head >> 24] = [bar & 0xFF, offset]
        let length = bench.board.configRead(5, 0, place + 12)
        #expect(head >> 24 == 5 || length > 0, "drivers refuse a part of no length")
      }
      if head & 0xFF == 0x11 { found[0x11] = [bar & 7, offset & 7] }
      place = Int(head >> 8 & 0xFF)
      seen += 1
    }
    return found
  }

  @Test func itIsTransitionalAndItsPartsAreFoundByCapabilities() throws {
    let bench = try Bench(counting: ())
    #expect(bench.board.configRead(5, 0, 0) == 0x1005_1AF4)
    #expect(bench.board.configRead(5, 0, 0x2C) == 0x0004_1AF4)
    #expect(bench.board.configRead(5, 0, 0x08) & 0xFF == 0, "revision of a transitional device")
    #expect(bench.board.configRead(5, 0, 0x06, size: 2) & 0x10 != 0)
    let always: [UInt32: [UInt32]] = [1: [4, 0], 2: [4, 0x3000], 3: [4, 0x1000], 5: [0, 0], 0x11: [1, 1]]
    #expect(parts(bench) == always)
    #expect(parts(try VirtioNetBench.make()) == always.merging([4: [4, 0x2000]]) { $1 })
  }

  @Test func featuresThatWereNotOfferedAreRefused() throws {
    let bench = try Bench(counting: ())
    #expect(bench.offered == 1 << 32 | 1 << 29 | 1 << 28)
    bench.status = 3
    bench.common(8, write: 0)
    bench.common(0xC, write: 1 << 5)
    bench.status = 11
    #expect(bench.status == 3, "FEATURES_OK does not stay")
    bench.common(0xC, write: 1 << 28)
    bench.status = 11
    #expect(bench.status == 11)
    bench.common(0xC, write: 0)
    #expect(bench.common(0xC) == 1 << 28, "what was agreed on stands")
  }

  @Test func writingZeroToTheStatusResetsEverything() throws {
    let bench = try Bench(counting: ())
    bench.start(1 << 29)
    bench.add(0, out: [], room: [4])
    bench.kick(0)
    #expect(bench.takeUsed(0) != nil)
    #expect(bench.device.interruptLevel)
    bench.status = 0
    #expect(bench.status == 0)
    #expect(!bench.device.interruptLevel)
    #expect(bench.common(0x1C, size: 2) == 0)
    #expect(bench.common(0x20) == 0)
    bench.start()
    bench.add(0, out: [], room: [4])
    bench.kick(0)
    #expect(bench.takeUsed(0)?.written == 4)
  }

  @Test func theInterruptStatusClearsAsItIsReadAndThePinWithIt() throws {
    let bench = try Bench(counting: ())
    bench.start()
    bench.add(0, out: [], room: [4])
    bench.kick(0)
    #expect(bench.device.interruptLevel)
    #expect(bench.takeInterrupts() == 1)
    #expect(!bench.device.interruptLevel)
    #expect(bench.takeInterrupts() == 0)
  }

  @Test(arguments: [false, true]) func messagesGoToTheVectorOfTheQueue(_ legacy: Bool) throws {
    let bench = try Bench(legacy: legacy, counting: ())
    let apic = LocalAPIC(index: 0, fabric: bench.board.fabric, clock: bench.board.time.clock)
    apic.write(0xF0, 0x1FF)
    // MSI-X on, vector 1 leads to interrupt 0x55 of CPU 0.
    bench.board.configWrite(5, 0, 0x42, 0x8000, size: 2)
    for (index, value) in [0xFEE0_0000, 0, 0x55, 0].enumerated() {
      bench.board.memory.writeIO(
        VirtioBench<VirtioEntropy>.table + 16 + UInt64(index) * 4, size: 4, value: UInt64(value))
    }
    bench.start()
    if legacy {
      bench.port(14, size: 2, write: 0)
      bench.port(22, size: 2, write: 1)
      #expect(bench.port(22, size: 2) == 1)
    } else {
      bench.common(0x16, size: 2, write: 0)
      bench.common(0x1A, size: 2, write: 1)
      #expect(bench.common(0x1A, size: 2) == 1)
      bench.common(0x10, size: 2, write: 7)
      #expect(bench.common(0x10, size: 2) == 0xFFFF, "there is no such vector")
    }
    bench.add(0, out: [], room: [4])
    bench.kick(0)
    #expect(bench.takeUsed(0) != nil)
    #expect(!bench.device.interruptLevel)
    #expect(apic.acknowledge() == 0x55)
    // Masked it waits, and comes when the mask goes.
    bench.board.memory.writeIO(Bench.table + 16 + 12, size: 4, value: 1)
    bench.add(0, out: [], room: [4])
    bench.kick(0)
    #expect(bench.board.memory.readIO(Bench.table + 0x800, size: 4) == 2)
    bench.board.memory.writeIO(Bench.table + 16 + 12, size: 4, value: 0)
    #expect(bench.board.memory.readIO(Bench.table + 0x800, size: 4) == 0)
    apic.write(0xB0, 0)
    #expect(apic.acknowledge() == 0x55)
  }

  @Test func theRegistersAreReachedThroughConfigurationSpaceToo() throws {
    let bench = try Bench(counting: ())
    let access = 0xA0
    func reach(_ offset: UInt32, _ size: UInt32) {
      bench.board.configWrite(5, 0, access + 4, 4, size: 1)
      bench.board.configWrite(5, 0, access + 8, offset)
      bench.board.configWrite(5, 0, access + 12, size)
    }
    reach(0x14, 1)
    bench.board.configWrite(5, 0, access + 16, 3)
    #expect(bench.status == 3)
    #expect(bench.board.configRead(5, 0, access + 16) & 0xFF == 3)
    reach(0x12, 2)
    #expect(bench.board.configRead(5, 0, access + 16) & 0xFFFF == 1)
    reach(0xFFFF_FFFC, 4)
    _ = bench.board.configRead(5, 0, access + 16)
  }

  @Test func aDeviceWithoutBusMasteringWaitsForIt() throws {
    let bench = try Bench(counting: ())
    bench.start()
    bench.board.configWrite(5, 0, 4, 3, size: 2)
    bench.add(0, out: [], room: [4])
    bench.kick(0)
    #expect(bench.takeUsed(0) == nil)
    bench.board.configWrite(5, 0, 4, 7, size: 2)
    #expect(bench.takeUsed(0)?.written == 4)
  }

  @Test func oldDriversSetQueuesUpByPage() throws {
    let bench = try Bench(legacy: true, counting: ())
    #expect(bench.offered == 1 << 29 | 1 << 28 | 1 << 27)
    bench.start(1 << 28)
    #expect(bench.size(0) == 64)
    let chain = bench.add(0, out: [], room: [3, 5], indirect: true)
    bench.kick(0)
    #expect(bench.takeUsed(0)?.written == 8)
    #expect(bench.content(chain, 8) == [1, 2, 3, 4, 5, 6, 7, 8])
    #expect(bench.takeInterrupts() == 1)
    bench.port(14, size: 2, write: 0)
    #expect(bench.port(8, size: 4) == 0x10)
  }
}
