import Testing

@testable import Devices

/// The split ring: order, wrapping, chains of every form, who tells whom; and rings that no driver makes.
@Suite struct VirtqueueTests {
  private typealias Bench = VirtioBench<VirtioEntropy>
  private static let eventIndex: UInt64 = 1 << 29
  private static let indirect: UInt64 = 1 << 28

  @Test(arguments: [0, eventIndex, indirect, eventIndex | indirect])
  func ringsWrapAsOftenAsTheyLike(_ features: UInt64) throws {
    let bench = try Bench(counting: ())
    bench.start(features, size: 8)
    var expected: UInt8 = 0
    // Past the end of the ring, and of the 16-bit index.
    for round in 0..<70_000 {
      let chain = bench.add(0, out: [], room: [1, 2], indirect: features & Self.indirect != 0 && round & 1 == 0)
      bench.kick(0)
      let used = bench.takeUsed(0)
      guard used?.head == chain.head, used?.written == 3 else {
        Issue.record("round \(round): \(String(describing: used))")
        return
      }
      guard bench.content(chain, 3) == [expected &+ 1, expected &+ 2, expected &+ 3] else {
        Issue.record("round \(round): not what the device has given")
        return
      }
      expected &+= 3
    }
  }

  @Test func manyChainsAreServedInTheOrderInWhichTheyWereMadeAvailable() throws {
    let bench = try Bench(counting: ())
    bench.start(0, size: 16)
    let chains = (0..<8).map { _ in bench.add(0, out: [], room: [1, 1], expose: false) }
    bench.kick(0)
    #expect(bench.takeUsed(0) == nil, "the index has not moved")
    bench.expose(0)
    bench.kick(0)
    #expect(bench.takeAllUsed(0).map(\.head) == chains.map(\.head))
    #expect(chains.flatMap { bench.content($0, 2) } == Array(1...16))
  }

  @Test func buffersMayBeEmptyAndLieAcrossPages() throws {
    let bench = try Bench(counting: ())
    bench.start()
    let place: UInt64 = 0x30_0FFE
    bench.writeDescriptor(bench.descriptors(0), 0, place, 5, 3, 1)
    bench.writeDescriptor(bench.descriptors(0), 1, 0x31_0000, 0, 3, 2)
    bench.writeDescriptor(bench.descriptors(0), 2, 0x32_0FFF, 2, 2, 0)
    bench.makeAvailable(0, 0)
    bench.expose(0)
    bench.kick(0)
    #expect(bench.takeUsed(0)?.written == 7)
    #expect(bench.bytes(at: place, 5) == [1, 2, 3, 4, 5])
    #expect(bench.bytes(at: 0x32_0FFF, 2) == [6, 7])
  }

  @Test func aDriverThatWantsNoInterruptGetsNone() throws {
    let bench = try Bench(counting: ())
    bench.start()
    bench.board.memory.write(bench.available(0), 1 as UInt16)
    bench.add(0, out: [], room: [1])
    bench.kick(0)
    #expect(bench.takeUsed(0) != nil)
    #expect(!bench.device.interruptLevel)
  }

  @Test func withEventIndexTheInterruptComesAtTheEntryThatTheDriverNames() throws {
    let bench = try Bench(counting: ())
    bench.start(Self.eventIndex, size: 8)
    let event = bench.available(0) + 4 + 8 * 2
    bench.board.memory.write(event, 2 as UInt16)
    for index in 0..<4 {
      bench.add(0, out: [], room: [1])
      bench.kick(0)
      #expect(bench.takeInterrupts() == (index == 2 ? 1 : 0), "entry \(index)")
    }
    // The device says in turn from which entry on it wants to be told.
    #expect(bench.board.memory.read(bench.used(0) + 4 + 8 * 8, as: UInt16.self) == 4)
  }

  // MARK: Rings that cannot be

  private func breaks(_ bench: Bench, sourceLocation: SourceLocation = #_sourceLocation) {
    bench.expose(0)
    bench.kick(0)
    #expect(bench.status & 0x40 != 0, "DEVICE_NEEDS_RESET", sourceLocation: sourceLocation)
    #expect(bench.takeInterrupts() == 2, "a change of the configuration", sourceLocation: sourceLocation)
    #expect(bench.takeUsed(0) == nil, sourceLocation: sourceLocation)
    // Nothing goes on until a reset, and then everything does.
    bench.start(Self.indirect, size: 8)
    bench.add(0, out: [], room: [4])
    bench.kick(0)
    #expect(bench.takeUsed(0)?.written == 4, sourceLocation: sourceLocation)
  }

  private func broken() throws -> Bench {
    let bench = try Bench(counting: ())
    bench.start(Self.indirect, size: 8)
    return bench
  }

  @Test func aLoopOfDescriptorsEnds() throws {
    let bench = try broken()
    bench.writeDescriptor(bench.descriptors(0), 0, 0x30_0000, 16, 3, 1)
    bench.writeDescriptor(bench.descriptors(0), 1, 0x30_0000, 16, 3, 0)
    bench.makeAvailable(0, 0)
    breaks(bench)
  }

  @Test func indicesBeyondTheTableAreNotFollowed() throws {
    var bench = try broken()
    bench.makeAvailable(0, 8)
    breaks(bench)
    bench = try broken()
    bench.writeDescriptor(bench.descriptors(0), 0, 0x30_0000, 16, 3, 0xFFFF)
    bench.makeAvailable(0, 0)
    breaks(bench)
  }

  @Test func moreThanTheRingHoldsCannotBeAvailable() throws {
    let bench = try broken()
    for _ in 0..<9 { bench.makeAvailable(0, 0) }
    breaks(bench)
  }

  @Test func aBufferToReadDoesNotFollowOneToWrite() throws {
    let bench = try broken()
    bench.writeDescriptor(bench.descriptors(0), 0, 0x30_0000, 16, 3, 1)
    bench.writeDescriptor(bench.descriptors(0), 1, 0x30_0000, 16, 0, 0)
    bench.makeAvailable(0, 0)
    breaks(bench)
  }

  /// Flags and length of the descriptor that names the table, flags of the table's first entry.
  @Test(arguments: [(5, 16, 2), (4, 15, 2), (4, 0, 2), (4, 16, 4), (4, 16, 3)] as [(UInt16, UInt32, UInt16)])
  func tablesOfDescriptorsHaveTheirRules(_ flags: UInt16, _ length: UInt32, _ inner: UInt16) throws {
    let bench = try broken()
    bench.writeDescriptor(0x30_0000, 0, 0x31_0000, 16, inner, 1)
    bench.writeDescriptor(bench.descriptors(0), 0, 0x30_0000, length, flags, 1)
    bench.writeDescriptor(bench.descriptors(0), 1, 0x31_0000, 16, 2, 0)
    bench.makeAvailable(0, 0)
    breaks(bench)
  }

  @Test func withoutTheFeatureThereAreNoTables() throws {
    let bench = try Bench(counting: ())
    bench.start(0, size: 8)
    bench.add(0, out: [], room: [4], indirect: true)
    breaks(bench)
  }

  /// Anything at all in the rings and registers, on every kind of device.
  @Test(arguments: 0..<40) func randomRingsNeverTrapHangOrGrow(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    switch seed & 3 {
    case 0: try torment(Bench(counting: ()), &random)
    case 1: try torment(VirtioNetBench.make(), &random)
    case 2: try torment(VirtioBlockBench.make().0, &random)
    default:
      try torment(
        VirtioBench {
          VirtioConsole(memory: $0.memory, ports: $0.ports, clock: $0.time.clock, fabric: $0.fabric)
        }, &random)
    }
  }

  private func torment<D: VirtioPCI & Device>(_ bench: VirtioBench<D>, _ random: inout SplitMix64) throws {
    let memory = bench.board.memory
    bench.start(bench.offered & 0xFFFF_FFFF, size: 16)
    for _ in 0..<400 {
      let queue = Int(random.next() % 3)
      let base = 0x10_000 + UInt64(queue) * 0x8000
      let value = random.next() >> (random.next() % 64)
      switch random.next() % 12 {
      case 0: bench.start(bench.offered & random.next() & 0xFFFF_FFFF, size: 1 << UInt16(random.next() % 5))
      case 1: bench.common(random.next() % 64, size: 1 << Int(random.next() % 3), write: value)
      case 2: bench.board.configWrite(5, 0, Int(random.next() % 48 + 16) * 4, UInt32(truncatingIfNeeded: value))
      case 3:
        bench.port(
          UInt16(random.next() % 128), size: 1 << Int(random.next() % 3), write: UInt32(truncatingIfNeeded: value))
      case 4: bench.board.memory.writeIO(Bench.table + random.next() % 0x400 * 4, size: 4, value: value & 0xFFFF_FFFF)
      case 5: memory.write(base + 0x4002, memory.read(base + 0x4002, as: UInt16.self) &+ UInt16(random.next() % 4))
      case 6: memory.write(base + 0x4000 + random.next() % 64 * 2, UInt16(truncatingIfNeeded: value))
      case 7:
        if let net = bench.device as? VirtioNet {
          _ = net.receive(SampleFrame.ethernet([UInt8](repeating: 3, count: Int(random.next() % 3000))))
        }
      default:
        let index = UInt16(random.next() % 16)
        let flags = UInt16(random.next() % 8)
        let length = UInt32(truncatingIfNeeded: random.next() >> (32 + random.next() % 32))
        bench.writeDescriptor(
          base, index, random.next() % 3 == 0 ? value : base + random.next() % 0x8000, length, flags,
          UInt16(random.next() % 17))
        memory.write(base + 0x4004 + random.next() % 16 * 2, index)
        memory.write(base + 0x4002, memory.read(base + 0x4002, as: UInt16.self) &+ 1)
      }
      if bench.board.configRead(5, 0, 4, size: 2) & 7 != 7 || bench.device.barAddress(4) != Bench.registers {
        bench.map()
      }
      if bench.device.transport.queues.count > queue { bench.kick(queue) }
      bench.board.time.advance(microseconds: 60)
    }
    bench.device.pause()
    let saved = try bench.device.save()
    try bench.device.load(saved)
    #expect(try bench.device.save() == saved)
  }
}
