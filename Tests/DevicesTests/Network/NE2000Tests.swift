import Testing

@testable import Devices

/// An NE2000 in the form of either bus, driven as the drivers of its time drive it.
final class NE2000Bench {
  static let address = E1000Bench.address
  let board: TestBoard
  let card: any NetworkCard
  let base: UInt16
  private let line = InterruptLine.unconnected
  private(set) var sent: [[UInt8]] = []
  private(set) var roomNotices = 0
  var wireRoom = Int.max
  /// The page from which the driver reads next.
  private var next = 0x47

  init(isPCI: Bool) throws {
    board = try TestBoard()
    if isPCI {
      let card = NE2000PCI(name: "nic1", address: Self.address, ports: board.ports, clock: board.time.clock)
      board.pci.attach(card, slot: 3)
      self.card = card
      base = 0xC100
      board.configWrite(3, 0, 0x10, 0xC100)
      board.configWrite(3, 0, 0x04, 1, size: 2)
    } else {
      card = NE2000ISA(name: "nic1", address: Self.address, line: line, ports: board.ports, clock: board.time.clock)
      base = 0x300
    }
    card.onSend = { [unowned self] in
      sent.append($0)
      if wireRoom != .max { wireRoom -= 1 }
    }
    card.wireHasRoom = { [unowned self] in wireRoom >= 2 }
    card.onReceiveRoom = { [unowned self] in roomNotices += 1 }
  }

  subscript(_ register: UInt16) -> UInt8 {
    get { UInt8(board.in(base + register)) }
    set { board.out(base + register, UInt32(newValue)) }
  }

  func takeSent() -> [[UInt8]] {
    defer { sent = [] }
    return sent
  }

  var interruptLevel: Bool { (card as? PCIDevice)?.interruptLevel ?? line.level }

  /// Sets the controller up as ne.c does: six pages to send from, the rest to receive into.
  func start(receive: UInt8 = 0x04, wide: Bool = true) {
    self[0x00] = 0x21
    self[0x0E] = wide ? 0x49 : 0x48
    self[0x0A] = 0
    self[0x0B] = 0
    self[0x0C] = 0x20
    self[0x0D] = 0x02
    self[0x01] = 0x46
    self[0x02] = 0x80
    self[0x03] = 0x7F
    self[0x07] = 0xFF
    self[0x0F] = 0x7F
    self[0x00] = 0x61
    for (index, byte) in Self.address.bytes.enumerated() { self[0x01 + UInt16(index)] = byte }
    self[0x07] = 0x46
    self[0x00] = 0x22
    self[0x0D] = 0
    self[0x0C] = receive
    next = 0x46
  }

  func read(_ address: Int, _ count: Int, size: Int = 2) -> [UInt8] {
    setRemote(address, count)
    self[0x00] = 0x0A
    var bytes: [UInt8] = []
    while bytes.count < count {
      let value = board.in(base + 0x10, size: size)
      for index in 0..<size { bytes.append(UInt8(truncatingIfNeeded: value >> UInt32(index * 8))) }
    }
    return Array(bytes.prefix(count))
  }

  func write(_ address: Int, _ bytes: [UInt8]) {
    let bytes = bytes + [UInt8](repeating: 0, count: bytes.count & 1)
    setRemote(address, bytes.count)
    self[0x00] = 0x12
    for place in stride(from: 0, to: bytes.count, by: 2) {
      board.out(base + 0x10, UInt32(bytes[place]) | UInt32(bytes[place + 1]) << 8, size: 2)
    }
  }

  private func setRemote(_ address: Int, _ count: Int) {
    self[0x00] = 0x22
    self[0x08] = UInt8(address & 0xFF)
    self[0x09] = UInt8(address >> 8)
    self[0x0A] = UInt8(count & 0xFF)
    self[0x0B] = UInt8(count >> 8)
  }

  func send(_ frame: [UInt8]) {
    write(0x4000, frame)
    self[0x04] = 0x40
    self[0x05] = UInt8(frame.count & 0xFF)
    self[0x06] = UInt8(frame.count >> 8)
    self[0x00] = 0x26
  }

  /// Takes the next frame out of the ring as a driver does, moves the boundary, and checks the header.
  func takeReceived() -> [UInt8]? {
    self[0x00] = 0x62
    let current = Int(self[0x07])
    self[0x00] = 0x22
    guard current != next else { return nil }
    let header = read(next << 8, 4)
    let count = Int(header[2]) | Int(header[3]) << 8
    let frame = read(next << 8 | 4, count - 4)
    #expect(header[0] & 1 == 1)
    next = Int(header[1])
    // As Linux does it: in front of the ring, where the next page is its first.
    self[0x03] = UInt8(next - 1)
    return frame
  }
}

@Suite struct NE2000Tests {
  @Test(arguments: [false, true]) func theAddressIsInThePROMTwice(_ isPCI: Bool) throws {
    let bench = try NE2000Bench(isPCI: isPCI)
    bench.start()
    let prom = bench.read(0, 32)
    #expect((0..<6).map { prom[$0 * 2] } == NE2000Bench.address.bytes)
    #expect((0..<16).allSatisfy { prom[$0 * 2] == prom[$0 * 2 + 1] })
    #expect(prom[28] == 0x57 && prom[30] == 0x57)
    // In word mode a driver that looks at bytes sees each once.
    #expect(Array(bench.read(0, 16, size: 1).prefix(6)) == NE2000Bench.address.bytes)
    if isPCI {
      #expect(bench.board.configRead(3, 0, 0) == 0x8029_10EC)
      #expect(bench[0x0A] == 0x50 && bench[0x0B] == 0x43)
    }
  }

  @Test func theResetPortStopsTheCardAndSaysSo() throws {
    let bench = try NE2000Bench(isPCI: false)
    bench.start()
    #expect(bench[0x07] & 0x80 == 0)
    _ = bench[0x1F]
    #expect(bench[0x07] & 0x80 != 0)
    #expect(bench[0x00] == 0x21)
    #expect(bench.card.receive(SampleFrame.ethernet()))
    bench.start()
    #expect(bench.takeReceived() == nil)
  }

  @Test(arguments: [1, 2, 4]) func theMemoryIsReadAndWrittenThroughTheDataPort(_ size: Int) throws {
    let bench = try NE2000Bench(isPCI: true)
    let bytes = (0..<256).map { UInt8($0) }
    bench.start()
    bench.write(0x5000, bytes)
    #expect(bench[0x07] & 0x40 != 0, "remote DMA done")
    bench.start(wide: size > 1)
    #expect(bench.read(0x5000, 256, size: size) == bytes)
    #expect(bench.read(0xC000, 4, size: size) == [0xFF, 0xFF, 0xFF, 0xFF], "nothing is there")
  }

  @Test(arguments: [false, true]) func framesGoBothWaysAsOftenAsTheRingWraps(_ isPCI: Bool) throws {
    let bench = try NE2000Bench(isPCI: isPCI)
    bench.start()
    for round in 0..<200 {
      let frame = SampleFrame.ethernet((0..<(60 + round * 7)).map { UInt8(truncatingIfNeeded: $0 &+ round) })
      bench.send(frame)
      #expect(bench.takeSent() == [frame])
      #expect(bench[0x04] & 1 == 1)
      #expect(bench[0x07] & 2 == 2)
      #expect(bench[0x00] & 4 == 0)
      #expect(bench.card.receive(frame))
      #expect(bench[0x07] & 1 == 1)
      #expect(bench.interruptLevel)
      bench[0x07] = 0x7F
      #expect(!bench.interruptLevel)
      guard bench.takeReceived() == frame else {
        Issue.record("round \(round)")
        return
      }
    }
  }

  @Test func aFullRingRefusesAndIsAskedForAgainWhenTheBoundaryMoves() throws {
    let bench = try NE2000Bench(isPCI: true)
    bench.start()
    let frame = SampleFrame.ethernet([UInt8](repeating: 4, count: 1486))
    var count = 0
    while bench.card.receive(frame), count < 100 { count += 1 }
    #expect(count == 9, "58 pages, six each")
    #expect(bench.roomNotices == 0)
    #expect(bench.takeReceived() == frame)
    #expect(bench.roomNotices == 1)
    #expect(bench.card.receive(frame))
    #expect(!bench.card.receive(frame))
  }

  @Test func aCommandWithNeitherStartNorStopLeavesTheCardAtWork() throws {
    let bench = try NE2000Bench(isPCI: false)
    bench.start()
    bench[0x00] = 0x20
    #expect(bench.card.receive(SampleFrame.ethernet()))
    #expect(bench.takeReceived() == SampleFrame.ethernet())
    bench[0x00] = 0x21
    bench[0x00] = 0x20
    #expect(bench.card.receive(SampleFrame.ethernet()))
    bench[0x00] = 0x22
    #expect(bench.takeReceived() == nil, "it was stopped")
  }

  @Test func aDriverThatLeavesFramesInTheRingIsRemindedOfThem() throws {
    let bench = try NE2000Bench(isPCI: true)
    bench.start()
    for _ in 0..<20 { #expect(bench.card.receive(SampleFrame.ethernet())) }
    for _ in 0..<10 { #expect(bench.takeReceived() != nil) }
    bench[0x07] = 0x7F
    #expect(!bench.interruptLevel)
    bench.board.time.advance(milliseconds: 1)
    #expect(bench[0x07] & 1 == 1)
    #expect(bench.interruptLevel)
    for _ in 0..<10 { #expect(bench.takeReceived() != nil) }
    bench[0x07] = 0x7F
    bench.board.time.advance(milliseconds: 5)
    #expect(!bench.interruptLevel)
    #expect(bench.board.time.clock.nextDeadline == nil, "an idle card has no timer")
  }

  @Test func eachFilterTakesItsFramesAndNoOthers() throws {
    let broadcast = [UInt8](repeating: 0xFF, count: 6)
    let own = NE2000Bench.address.bytes
    let stranger: [UInt8] = [0x02, 1, 2, 3, 4, 5]
    let group: [UInt8] = [0x01, 0x00, 0x5E, 0, 0, 0xFB]
    // The hash as the data sheet draws it: the register shifts towards its highest bit.
    var crc: UInt32 = .max
    for byte in group {
      for bit in 0..<8 {
        let carry = crc >> 31 ^ UInt32(byte >> UInt8(bit)) & 1
        crc <<= 1
        if carry != 0 { crc ^= 0x04C1_1DB7 }
      }
    }
    let index = Int(crc >> 26)
    for (control, hasFilter, taken) in [
      (0x04, false, [own, broadcast]), (0x00, false, [own]), (0x08, false, [own]),
      (0x0C, true, [own, group, broadcast]),
      (0x04, true, [own, broadcast]), (0x14, false, [own, stranger, broadcast]), (0x24, false, []),
    ] as [(UInt8, Bool, [[UInt8]])] {
      let bench = try NE2000Bench(isPCI: true)
      bench.start(receive: control)
      bench[0x00] = 0x62
      for byte in 0..<8 as Range<UInt16> {
        bench[0x08 + byte] = hasFilter && index / 8 == byte ? 1 << UInt8(index % 8) : 0
      }
      bench[0x00] = 0x22
      for destination in [own, stranger, group, broadcast] {
        #expect(bench.card.receive(SampleFrame.ethernet(to: destination)))
        #expect((bench.takeReceived() != nil) == taken.contains(destination), "RCR \(control), to \(destination)")
      }
    }
  }

  @Test func withoutRoomOnTheWireTheTransmissionIsUnderWay() throws {
    let bench = try NE2000Bench(isPCI: true)
    bench.start()
    bench.wireRoom = 0
    bench.send(SampleFrame.ethernet())
    #expect(bench.takeSent().isEmpty)
    #expect(bench[0x00] & 4 == 4)
    #expect(bench[0x07] & 2 == 0)
    bench.card.pause()
    let saved = try bench.card.save()
    let other = try NE2000Bench(isPCI: true)
    try other.card.load(saved)
    other.card.resume()
    #expect(other.takeSent() == [SampleFrame.ethernet()])
    bench.wireRoom = .max
    bench.card.wireRoomChanged()
    #expect(bench.takeSent().isEmpty, "it is paused")
    bench.card.resume()
    #expect(bench.takeSent() == [SampleFrame.ethernet()])
    #expect(bench[0x07] & 2 == 2)
  }

  @Test func sendPacketReadsTheNextFrameAndMovesTheBoundary() throws {
    let bench = try NE2000Bench(isPCI: false)
    bench.start()
    bench[0x03] = 0x46
    let frame = SampleFrame.ethernet()
    #expect(bench.card.receive(frame))
    bench[0x00] = 0x1A
    var bytes: [UInt8] = []
    for _ in 0..<34 {
      let value = bench.board.in(bench.base + 0x10, size: 2)
      bytes += [UInt8(value & 0xFF), UInt8(value >> 8)]
    }
    #expect(Array(bytes[4..<68]) == frame)
  }

  @Test(arguments: 0..<20) func randomRegistersNeverTrapOrHang(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let bench = try NE2000Bench(isPCI: seed & 1 == 0)
    for _ in 0..<1000 {
      let value = UInt32(truncatingIfNeeded: random.next())
      switch random.next() % 8 {
      case 0: bench.start(receive: UInt8(truncatingIfNeeded: value))
      case 1...4:
        bench.board.out(bench.base + UInt16(random.next() % 32), value, size: 1 << Int(random.next() % 3))
      case 5: _ = bench.board.in(bench.base + UInt16(random.next() % 32), size: 1 << Int(random.next() % 3))
      case 6: _ = bench.card.receive(SampleFrame.ethernet([UInt8](repeating: 3, count: Int(random.next() % 20_000))))
      default: bench[0x00] = 0x26
      }
      _ = bench.takeSent()
    }
    bench.card.pause()
    let saved = try bench.card.save()
    try bench.card.load(saved)
    #expect(try bench.card.save() == saved)
  }
}
