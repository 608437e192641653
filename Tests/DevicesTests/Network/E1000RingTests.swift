import Testing

@testable import Devices

/// Frames in and out of the guest's rings.
@Suite struct E1000RingTests {
  // MARK: Receiving

  @Test func aFrameComesIntoTheBufferWithItsCRC() throws {
    let bench = try E1000Bench()
    bench.startReceiving()
    bench[0xD0] = 0x80
    let frame = SampleFrame.ethernet()
    #expect(bench.card.receive(frame))
    let descriptor = bench.received(0)
    #expect(descriptor.length == 68)
    #expect(descriptor.status == 0x07, "DD, EOP, no checksums")
    #expect(Array(bench.buffer(0, 64)) == frame)
    // The CRC over a frame and its CRC is a constant (IEEE 802.3, 3.2.9).
    var crc: UInt32 = .max
    for byte in bench.buffer(0, 68) {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 != 0 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
    }
    #expect(crc == 0xDEBB_20E3)
    #expect(bench[0x2810] == 1)
    #expect(bench.card.interruptLevel)
    #expect(bench[0xC0] & 0x80 != 0)
  }

  @Test func aShortFrameIsPaddedAndTheCRCStrippedOnDemand() throws {
    let bench = try E1000Bench()
    bench.startReceiving(control: 0x0400_8002)
    #expect(bench.card.receive(SampleFrame.ethernet([1, 2, 3])))
    #expect(bench.received(0).length == 60)
    #expect(bench.buffer(0, 20)[14...] == [1, 2, 3, 0, 0, 0])
  }

  @Test func aLongFrameTakesSeveralBuffersAndTheRingWraps() throws {
    let bench = try E1000Bench()
    bench.startReceiving(8, control: 0x0403_8022)  // 256-byte buffers, long packets, no CRC
    for _ in 0..<5 { #expect(bench.card.receive(SampleFrame.ethernet())) }
    bench[0x2818] = 4
    let frame = SampleFrame.ethernet((0..<1000).map { UInt8(truncatingIfNeeded: $0) })
    #expect(bench.card.receive(frame))
    #expect(bench[0x2810] == 1, "5, 6, 7 and 0")
    #expect((0..<4).map { bench.received(UInt32(5 + $0) % 8).length } == [256, 256, 256, 246])
    #expect((0..<4).map { bench.received(UInt32(5 + $0) % 8).status & 3 } == [1, 1, 1, 3])
    #expect((0..<4).flatMap { bench.buffer(UInt32(5 + $0) % 8, [256, 256, 256, 246][$0]) } == frame)
  }

  @Test func withoutRoomTheFrameWaitsAndIsAskedForAgain() throws {
    let bench = try E1000Bench()
    bench.startReceiving(8, given: 2)
    #expect(bench.card.receive(SampleFrame.ethernet()))
    #expect(bench.card.receive(SampleFrame.ethernet()))
    #expect(!bench.card.receive(SampleFrame.ethernet()))
    #expect(!bench.card.receive(SampleFrame.ethernet()))
    #expect(bench[0x40A0] == 1, "a frame that is refused again counts once")
    #expect(bench.roomNotices == 0)
    bench[0x2818] = 3
    #expect(bench.roomNotices == 1)
    #expect(bench.card.receive(SampleFrame.ethernet()))
  }

  @Test func whatCanNeverFitIsDroppedAndCounted() throws {
    let bench = try E1000Bench()
    bench.startReceiving(8, control: 0x0003_8022)
    #expect(bench.card.receive(SampleFrame.ethernet([UInt8](repeating: 1, count: 4000))))
    #expect(bench[0x4010] == 1)
    bench[0x100] = 0x8002
    #expect(bench.card.receive(SampleFrame.ethernet([UInt8](repeating: 1, count: 1600))))
    #expect(bench[0x40AC] == 1, "longer than Ethernet's")
    #expect(bench[0x2810] == 0)
  }

  @Test func eachFilterTakesItsFramesAndNoOthers() throws {
    let broadcast = [UInt8](repeating: 0xFF, count: 6)
    let own = E1000Bench.address.bytes
    let stranger: [UInt8] = [0x02, 1, 2, 3, 4, 5]
    let group: [UInt8] = [0x01, 0x00, 0x5E, 0, 0, 0xFB]
    // Control, destinations taken of own, stranger, group, broadcast.
    for (control, taken) in [
      (0x0000_0002, [own]), (0x0000_8002, [own, broadcast]), (0x0000_000A, [own, stranger]),
      (0x0000_0012, [own, group, broadcast]), (0x0000_801A, [own, stranger, group, broadcast]), (0x0000_8000, []),
    ] as [(UInt32, [[UInt8]])] {
      let bench = try E1000Bench()
      bench.startReceiving(control: control)
      for destination in [own, stranger, group, broadcast] {
        let before = bench[0x2810]
        #expect(bench.card.receive(SampleFrame.ethernet(to: destination)))
        #expect((bench[0x2810] != before) == taken.contains(destination), "RCTL \(control), to \(destination)")
      }
    }
  }

  @Test(arguments: [(0, 0xFB0), (1, 0xFB0 << 1 & 0xFFF), (2, 0xFB0 << 2 & 0xFFF), (3, 0xB00)])
  func theMulticastTableIsIndexedByTheBitsThatSoftwareChooses(_ offset: UInt32, _ index: Int) throws {
    // 33:33:00:00:00:fb: bytes 4 and 5 are 00 and FB.
    let destination: [UInt8] = [0x33, 0x33, 0, 0, 0, 0xFB]
    let bench = try E1000Bench()
    bench.startReceiving(control: 0x2 | offset << 12)
    #expect(bench.card.receive(SampleFrame.ethernet(to: destination)))
    #expect(bench[0x2810] == 0)
    bench[0x5200 + index / 32 * 4] = 1 << UInt32(index % 32)
    #expect(bench.card.receive(SampleFrame.ethernet(to: destination)))
    #expect(bench[0x2810] == 1)
    #expect(bench.received(0).status & 0x80 != 0, "PIF: it may be another's")
  }

  @Test func vlanTagsAreFilteredAndTakenOut() throws {
    let bench = try E1000Bench()
    bench.startReceiving(control: 0x0004_8002)
    bench[0x00] = bench[0x00] | 1 << 30
    let tagged = SampleFrame.ethernet(type: 0x8100, [0x20, 0x05, 0x88, 0xB5] + [UInt8](repeating: 9, count: 60))
    #expect(bench.card.receive(tagged))
    #expect(bench[0x2810] == 0, "VLAN 5 is not in the table")
    bench[0x5600] = 1 << 5
    #expect(bench.card.receive(tagged))
    #expect(bench.received(0).special == 0x2005)
    #expect(bench.received(0).status & 8 == 8)
    #expect(bench.buffer(0, 16)[12...] == [0x88, 0xB5, 9, 9])
  }

  @Test func checksumsOfWhatComesAreToldToTheGuest() throws {
    let bench = try E1000Bench()
    bench.startReceiving()
    bench[0x5000] = 0x300
    let good = SampleFrame.tcp4([1, 2, 3, 4, 5])
    var badHeader = good
    badHeader[22] ^= 1
    var badPayload = good
    badPayload[56] ^= 1
    for frame in [good, badHeader, badPayload, SampleFrame.ethernet()] { #expect(bench.card.receive(frame)) }
    #expect((0..<4).map { bench.received($0).status & 0x64 } == [0x60, 0x60, 0x60, 0x04])
    #expect((0..<4).map { bench.received($0).errors } == [0, 0x40, 0x20, 0])
  }

  // MARK: Sending

  @Test func aLegacyDescriptorSendsItsBuffer() throws {
    let bench = try E1000Bench()
    bench.startTransmitting()
    bench[0xD0] = 1
    let frame = SampleFrame.ethernet()
    bench.put(frame)
    bench.descriptor(E1000Bench.transmitBuffers, 0x0900_0000 | UInt64(frame.count))
    bench.go()
    #expect(bench.takeSent() == [frame])
    #expect(bench.transmitted(0) & 1 == 1)
    #expect(bench[0x3810] == 1)
    #expect(bench.card.interruptLevel)
    #expect(bench[0xC0] & 3 == 3, "written back, and the queue is empty")
    #expect(bench[0x4080] == 1)
    #expect(bench[0x4080] == 0, "statistics clear when read")
  }

  @Test func aPacketOfSeveralDescriptorsIsOneFrame() throws {
    let bench = try E1000Bench()
    bench.startTransmitting(8)
    let frame = SampleFrame.ethernet((0..<200).map { UInt8($0) })
    for _ in 0..<3 {  // around the ring
      bench.put(frame)
      for (start, end) in [(0, 14), (14, 14), (14, 100), (100, 214)] {
        let last: UInt64 = end == 214 ? 0x0100_0000 : 0
        bench.descriptor(E1000Bench.transmitBuffers + UInt64(start), last | UInt64(end - start))
      }
      bench.go()
      #expect(bench.takeSent() == [frame])
    }
  }

  @Test func theChecksumOfALegacyDescriptorIsInserted() throws {
    let bench = try E1000Bench()
    bench.startTransmitting()
    let expected = SampleFrame.tcp4([5, 6, 7])
    var frame = expected
    let addresses: [UInt8] = [10, 0, 2, 15, 10, 0, 2, 2]
    frame.setWord(at: 50, SampleFrame.naive(addresses + [0, 6, 0, 23]))
    bench.put(frame)
    // IC, checksum at 50 from 34 on.
    bench.descriptor(E1000Bench.transmitBuffers, 34 << 40 | 0x0500_0000 | 50 << 16 | UInt64(frame.count))
    bench.go()
    #expect(bench.takeSent() == [expected + [UInt8](repeating: 0, count: max(0, 60 - expected.count))])
  }

  /// IP at 14, TCP at 34; MSS and TSE as given.
  private func context(_ bench: E1000Bench, payload: Int, mss: UInt64, segmented: Bool) {
    let command: UInt64 = 0x20 | 3 | (segmented ? 4 : 0)  // DEXT, IP, TCP, TSE
    bench.descriptor(
      14 | 24 << 8 | 33 << 16 | 34 << 32 | 50 << 40, UInt64(payload) | command << 24 | 54 << 40 | mss << 48)
  }

  @Test func aDataDescriptorInsertsBothChecksums() throws {
    let bench = try E1000Bench()
    bench.startTransmitting()
    let expected = SampleFrame.tcp4([UInt8](repeating: 0x5A, count: 99))
    var frame = expected
    frame.setWord(at: 24, 0)
    frame.setWord(at: 50, SampleFrame.naive([10, 0, 2, 15, 10, 0, 2, 2, 0, 6, 0, 119]))
    bench.put(frame)
    context(bench, payload: 0, mss: 0, segmented: false)
    bench.descriptor(E1000Bench.transmitBuffers, 3 << 40 | 0x2910_0000 << 0 | UInt64(frame.count))
    bench.go()
    #expect(bench.takeSent() == [expected])
    #expect(bench.transmitted(1) & 1 == 1)
  }

  @Test(arguments: [1, 99, 100, 101, 1000, 2999, 3000]) func aLargePacketIsCutIntoSegments(_ size: Int) throws {
    let bench = try E1000Bench()
    bench.startTransmitting()
    let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    var whole = SampleFrame.tcp4(payload)
    whole[47] = 0x19  // ACK, PSH, FIN
    // As Linux has it: length 0, no IP checksum, the pseudo header's sum without the length.
    whole.setWord(at: 16, 0)
    whole.setWord(at: 24, 0)
    whole.setWord(at: 50, SampleFrame.naive([10, 0, 2, 15, 10, 0, 2, 2, 0, 6]))
    bench.put(whole)
    context(bench, payload: size, mss: 100, segmented: true)
    // Header and payload in descriptors that end nowhere in particular.
    let cuts = [0, 54, min(whole.count, 54 + 37), whole.count]
    for (start, end) in zip(cuts, cuts.dropFirst()) {
      let last: UInt64 = end == whole.count ? 0x0900_0000 : 0
      bench.descriptor(
        E1000Bench.transmitBuffers + UInt64(start), 3 << 40 | 0x2410_0000 | last | UInt64(end - start))
      if end == whole.count { break }
    }
    bench.go()
    let segments = bench.takeSent()
    #expect(segments.count == (size + 99) / 100)
    var joined: [UInt8] = []
    for (index, segment) in segments.enumerated() {
      let packet = try #require(IPPacket(segment, end: segment.count))
      #expect(packet.isHeaderSound)
      #expect(packet.isPayloadSound == true)
      #expect(segment.word(at: 18) == 9 &+ UInt16(index), "identification")
      #expect(segment.long(at: 38) == 0x100 + UInt32(index * 100), "sequence number")
      #expect(segment[47] == (index == segments.count - 1 ? 0x19 : 0x10))
      joined += segment[54..<14 + Int(segment.word(at: 16))]
    }
    #expect(joined == payload)
    #expect(bench[0x40F8] == 1)
  }

  @Test func aTagIsInsertedWhereTheDescriptorAsksForIt() throws {
    let bench = try E1000Bench()
    bench.startTransmitting()
    bench[0x00] = bench[0x00] | 1 << 30
    let frame = SampleFrame.ethernet()
    bench.put(frame)
    bench.descriptor(E1000Bench.transmitBuffers, 0x2005 << 48 | 0x4100_0000 | UInt64(frame.count))
    bench.go()
    #expect(bench.takeSent() == [Array(frame[0..<12]) + [0x81, 0x00, 0x20, 0x05] + frame[12...]])
  }

  @Test func aWireWithoutRoomHoldsTheGuestUp() throws {
    let bench = try E1000Bench()
    bench.startTransmitting()
    bench.put(SampleFrame.ethernet())
    for _ in 0..<8 { bench.descriptor(E1000Bench.transmitBuffers, 0x0900_0000 | 64) }
    bench.wireRoom = 4
    bench.go()
    #expect(bench.takeSent().count == 3)
    #expect(bench[0x3810] == 3, "the others wait in the ring")
    bench.wireRoom = .max
    bench.card.wireRoomChanged()
    #expect(bench.takeSent().count == 5)
    #expect(bench[0x3810] == 8)
  }

  @Test func whatIsSentInLoopbackComesBackAndDoesNotLeave() throws {
    let bench = try E1000Bench()
    bench.startReceiving()
    bench.startTransmitting()
    bench.mdio(0, write: 0x4140)
    let frame = SampleFrame.ethernet()
    bench.put(frame)
    bench.descriptor(E1000Bench.transmitBuffers, 0x0900_0000 | UInt64(frame.count))
    bench.go()
    #expect(bench.takeSent().isEmpty)
    #expect(bench.buffer(0, frame.count) == frame)
  }

  // MARK: The journey

  @Test func aPacketCutInTheMiddleByASaveGoesOnElsewhere() throws {
    let bench = try E1000Bench()
    bench.startTransmitting()
    let frame = SampleFrame.ethernet((0..<200).map { UInt8($0) })
    bench.put(frame)
    bench.descriptor(E1000Bench.transmitBuffers, 100)
    bench.go()
    bench.card.pause()
    let saved = try bench.card.save()
    let other = try E1000Bench()
    other.put(frame)
    other.card.pause()
    try other.card.load(saved)
    other.board.memory.write(E1000Bench.transmitRing + 16, E1000Bench.transmitBuffers + 100)
    other.board.memory.write(E1000Bench.transmitRing + 24, 0x0900_0000 | UInt64(frame.count - 100))
    other.card.resume()
    other[0x3818] = 2
    #expect(other.takeSent() == [frame])
  }

  @Test func nothingMovesWhileTheMachineStandsStill() throws {
    let bench = try E1000Bench()
    bench.startReceiving()
    bench.card.pause()
    let saved = try bench.card.save()
    #expect(!bench.card.receive(SampleFrame.ethernet()))
    #expect(try bench.card.save() == saved)
    bench.card.resume()
    #expect(bench.roomNotices == 1)
    #expect(bench.card.receive(SampleFrame.ethernet()))
  }

  @Test func itPassesTheSharedSuite() throws {
    var benches: [E1000Bench] = []
    try DeviceUnderTest(
      "e1000",
      make: {
        let bench = try E1000Bench()
        benches.append(bench)
        return bench.card
      },
      disturb: { card in
        guard let bench = benches.first(where: { $0.card === card }) else { return }
        bench.startReceiving()
        bench.startTransmitting()
        bench[0xC4] = 500
        bench[0x3820] = 8
        bench[0xD0] = 0x95
        bench[0x5204] = 77
        bench.mdio(4, write: 0x01E1)
        #expect(card.receive(SampleFrame.ethernet()))
        bench.put(SampleFrame.ethernet())
        bench.descriptor(E1000Bench.transmitBuffers, 0x8800_0000 | 64)
        bench.go()
        card.setCarrier(false)
      }
    ).run()
  }

  // MARK: Hostile guests

  @Test(arguments: 0..<20) func randomRegistersAndRingsNeverTrapOrHang(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let bench = try E1000Bench()
    bench.startReceiving()
    bench.startTransmitting()
    bench.wireRoom = .max
    let interesting = [
      0x00, 0x10, 0x14, 0x20, 0xC0, 0xC4, 0xC8, 0xD0, 0x100, 0x400, 0x2800, 0x2804, 0x2808, 0x2810, 0x2818, 0x2820,
      0x3800,
      0x3804, 0x3808, 0x3810, 0x3818, 0x3828, 0x5000, 0x5200, 0x5400, 0x5600,
    ]
    for _ in 0..<300 {
      let value = UInt32(truncatingIfNeeded: random.next()) >> UInt32(random.next() % 32)
      switch random.next() % 6 {
      case 0: bench[interesting[Int(random.next() % UInt64(interesting.count))]] = value
      case 1: bench[Int(random.next() % 0x8000) * 4] = value
      case 2: _ = bench[Int(random.next() % 0x8000) * 4]
      case 3:
        let place = E1000Bench.transmitRing + random.next() % 16 * 16
        bench.board.memory.write(place, random.next() >> (random.next() % 64))
        bench.board.memory.write(place + 8, random.next() & ~(random.next() % 2 * 0xF0000) | 1 << 29)
      case 4:
        let frame = SampleFrame.ethernet([UInt8](repeating: 3, count: Int(random.next() % 3000)))
        _ = bench.card.receive(frame)
      default:
        bench[0x400] = 2
        bench[0x100] = 0x801A
        bench[0x00] = 0x40
        bench[0x3818] = UInt32(random.next() % 16)
      }
      bench.board.time.advance(microseconds: 10)
      _ = bench.takeSent()
    }
    bench.card.pause()
    let saved = try bench.card.save()
    try bench.card.load(saved)
    #expect(try bench.card.save() == saved)
  }

  @Test func aRingOfTheLargestDescriptorsIsWorkedOffInShares() throws {
    let bench = try E1000Bench()
    bench.startTransmitting(8)
    // Segments of one byte: 1 MiB of them in each descriptor.
    bench.descriptor(0, 0x2400_0000 | 14 << 40 | 1 << 48)
    bench.descriptor(0, 0x2510_0000 | 0xF_FFFF)
    bench.go()
    #expect(bench.takeSent().count <= E1000Core.transmitBudget / 256 + 2)
    #expect(bench[0x3810] == 1, "the rest comes later")
    bench.board.time.advance(microseconds: 50)
    let share = bench.takeSent().count
    #expect(share > 1000 && share <= E1000Core.transmitBudget / 256 + 2)
  }
}
