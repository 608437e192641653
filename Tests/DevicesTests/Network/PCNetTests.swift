import GuestMemory
import Testing

@testable import Devices

/// A card on a board with memory, driven as a driver drives it.
final class PCNetBench {
  static let address = E1000Bench.address
  static let ports: UInt16 = 0xC000
  static let block: UInt64 = 0x8000
  static let receiveRing: UInt64 = 0x10000
  static let transmitRing: UInt64 = 0x20000
  static let receiveBuffers: UInt64 = 0x40000
  static let transmitBuffers: UInt64 = 0x100000
  static let own: UInt32 = 1 << 31

  let board: TestBoard
  let card: PCNet
  private(set) var sent: [[UInt8]] = []
  private(set) var roomNotices = 0
  var wireRoom = Int.max
  /// Software style and the size of the receive buffers.
  private var style: UInt16 = 2
  private var receiveSize = 1544
  private var nextTransmit = 0
  private var ringSize = 16

  init() throws {
    board = try TestBoard(megabytes: 4)
    card = PCNet(name: "nic1", address: Self.address, memory: board.memory, ports: board.ports, clock: board.time.clock)
    board.pci.attach(card, slot: 3)
    card.onSend = { [unowned self] in
      sent.append($0)
      if wireRoom != .max { wireRoom -= 1 }
    }
    card.wireHasRoom = { [unowned self] in wireRoom >= 2 }
    card.onReceiveRoom = { [unowned self] in roomNotices += 1 }
    map()
  }

  func map() {
    board.configWrite(3, 0, 0x10, UInt32(Self.ports))
    board.configWrite(3, 0, 0x14, 0xFEB0_0000)
    board.configWrite(3, 0, 0x04, 7, size: 2)
  }

  func takeSent() -> [[UInt8]] {
    defer { sent = [] }
    return sent
  }

  subscript(csr index: UInt16) -> UInt16 {
    get {
      board.out(Self.ports + 0x12, UInt32(index), size: 2)
      return UInt16(board.in(Self.ports + 0x10, size: 2))
    }
    set {
      board.out(Self.ports + 0x12, UInt32(index), size: 2)
      board.out(Self.ports + 0x10, UInt32(newValue), size: 2)
    }
  }

  subscript(bcr index: UInt16) -> UInt16 {
    get {
      board.out(Self.ports + 0x12, UInt32(index), size: 2)
      return UInt16(board.in(Self.ports + 0x16, size: 2))
    }
    set {
      board.out(Self.ports + 0x12, UInt32(index), size: 2)
      board.out(Self.ports + 0x16, UInt32(newValue), size: 2)
    }
  }

  func phy(_ register: UInt16) -> UInt16 {
    self[bcr: 33] = 30 << 5 | register
    return self[bcr: 34]
  }

  // MARK: Rings

  /// Initialises and starts the controller with rings of sixteen.
  func start(style: UInt16 = 2, mode: UInt16 = 0, receiveSize: Int = 1544, given: Int = 16, filter: [UInt8] = []) {
    self.style = style
    self.receiveSize = receiveSize
    nextTransmit = 0
    self[csr: 0] = 4
    self[bcr: 20] = style
    let filter = filter + [UInt8](repeating: 0, count: 8 - filter.count)
    var block: [UInt8] = [UInt8(mode & 0xFF), UInt8(mode >> 8)]
    func long(_ value: UInt64) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
    if style == 0 {
      block += Self.address.bytes + filter
      block += long(Self.receiveRing | 4 << 29) + long(Self.transmitRing | 4 << 29)
    } else {
      block += [0x40, 0x40] + Self.address.bytes + [0, 0] + filter + long(Self.receiveRing) + long(Self.transmitRing)
    }
    put(block, at: Self.block)
    for index in 0..<16 {
      put([UInt8](repeating: 0, count: 16), at: Self.transmitRing + UInt64(index * 16))
      give(index, isGiven: index < given)
    }
    self[csr: 1] = UInt16(Self.block & 0xFFFF)
    self[csr: 2] = UInt16(Self.block >> 16)
    self[csr: 0] = 1
    self[csr: 0] = 0x0142
  }

  /// Gives the card a receive buffer.
  func give(_ index: Int, isGiven: Bool = true) {
    let address = UInt32(Self.receiveBuffers) + UInt32(index * 2048)
    write(
      Self.receiveRing, index, address: address, status: (isGiven ? Self.own : 0) | UInt32(0x1000 - receiveSize) & 0xFFF
    )
  }

  private func write(_ ring: UInt64, _ index: Int, address: UInt32, status: UInt32) {
    let place = ring + UInt64(index * (style == 0 ? 8 : 16))
    let memory = board.memory
    switch style {
    case 2:
      memory.write(place, address)
      memory.write(place + 4, status)
      memory.write(place + 8, 0 as UInt32)
    case 3:
      memory.write(place, 0 as UInt32)
      memory.write(place + 8, address)
      memory.write(place + 4, status)
    default:
      memory.write(place, address & 0xFF_FFFF | status & 0xFF00_0000)
      memory.write(place + 4, status & 0xFFF | 0xF000)
    }
  }

  /// Status (bits 24 to 31) and length of a receive descriptor.
  func received(_ index: Int) -> (status: UInt32, length: Int) {
    let place = Self.receiveRing + UInt64(index * (style == 0 ? 8 : 16))
    let memory = board.memory
    switch style {
    case 2: return (memory.read(place + 4, as: UInt32.self), Int(memory.read(place + 8, as: UInt32.self)))
    case 3: return (memory.read(place + 4, as: UInt32.self), Int(memory.read(place, as: UInt32.self)))
    default: return (memory.read(place, as: UInt32.self), Int(memory.read(place + 6, as: UInt16.self)))
    }
  }

  func buffer(_ index: Int, _ count: Int) -> [UInt8] { bytes(at: Self.receiveBuffers + UInt64(index * 2048), count) }

  func bytes(at address: UInt64, _ count: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: count)
    result.withUnsafeMutableBytes { board.memory.read(address, into: $0) }
    return result
  }

  func put(_ bytes: [UInt8], at address: UInt64) {
    bytes.withUnsafeBytes { board.memory.write(address, from: $0) }
  }

  /// Puts a frame into the ring, in pieces, and demands transmission.
  func send(_ frame: [UInt8], pieces: Int = 1, demand: Bool = true) {
    let size = (frame.count + pieces - 1) / pieces
    for start in stride(from: 0, to: frame.count, by: size) {
      let piece = Array(frame[start..<min(frame.count, start + size)])
      let address = UInt32(Self.transmitBuffers) + UInt32(nextTransmit * 2048 + 1)
      put(piece, at: UInt64(address))
      let bits: UInt32 = (start == 0 ? 1 << 25 : 0) | (start + size >= frame.count ? 1 << 24 : 0)
      write(
        Self.transmitRing, nextTransmit, address: address,
        status: Self.own | bits | UInt32(0x1000 - piece.count) & 0xFFF)
      nextTransmit = (nextTransmit + 1) % ringSize
    }
    if demand { self[csr: 0] = 0x48 }
  }
}

@Suite struct PCNetTests {
  @Test func itIsAnAm79C973WithItsAddressInThePROM() throws {
    let bench = try PCNetBench()
    #expect(bench.board.configRead(3, 0, 0) == 0x2000_1022)
    #expect((0..<6).map { UInt8(bench.board.in(PCNetBench.ports + $0)) } == PCNetBench.address.bytes)
    #expect(bench.board.in(PCNetBench.ports + 14, size: 2) == 0x5757)
    let sum = (0..<16).filter { $0 != 12 && $0 != 13 }.reduce(0) { $0 + bench.board.in(PCNetBench.ports + UInt16($1)) }
    #expect(bench.board.in(PCNetBench.ports + 12, size: 2) == sum)
    #expect(UInt32(bench[csr: 88]) | UInt32(bench[csr: 89]) << 16 == 0x0262_5003)
    #expect(bench[csr: 0] == 4)
  }

  @Test func thePortsAreWordsUntilADoubleWordIsWritten() throws {
    let bench = try PCNetBench()
    bench.board.out(PCNetBench.ports + 0x12, 88, size: 2)
    #expect(bench.board.in(PCNetBench.ports + 0x12, size: 2) == 88)
    bench.board.out(PCNetBench.ports + 0x10, 0, size: 4)
    bench.board.out(PCNetBench.ports + 0x14, 88, size: 4)
    #expect(bench.board.in(PCNetBench.ports + 0x14, size: 4) == 88)
    #expect(bench.board.in(PCNetBench.ports + 0x10, size: 4) == 0x5003)
    bench.board.out(PCNetBench.ports + 0x14, 18, size: 4)
    #expect(bench.board.in(PCNetBench.ports + 0x1C, size: 4) & 0x80 != 0)
    // Memory shows the same.
    #expect(bench.board.memory.readIO(0xFEB0_0014, size: 4) == 18)
    bench.card.reset()
    bench.map()
    bench.board.out(PCNetBench.ports + 0x12, 88, size: 2)
    #expect(bench.board.in(PCNetBench.ports + 0x10, size: 2) == 0x5003)
  }

  @Test func thePHYTellsOfTheLink() throws {
    let bench = try PCNetBench()
    #expect(bench.phy(1) == 0x786D)
    #expect(bench.phy(2) != 0xFFFF)
    #expect(bench.phy(5) & 0x0100 != 0)
    bench[bcr: 33] = 1 << 5 | 1
    #expect(bench[bcr: 34] == 0xFFFF, "no other PHY answers")
    #expect(bench[bcr: 4] & 0x8000 != 0)
    bench.card.setCarrier(false)
    #expect(bench.phy(1) & 0x24 == 0)
    #expect(bench[bcr: 4] & 0x8000 == 0)
  }

  @Test(arguments: [0, 2, 3] as [UInt16]) func framesGoBothWaysInEachSoftwareStyle(_ style: UInt16) throws {
    let bench = try PCNetBench()
    bench.start(style: style)
    #expect(bench[csr: 0] & 0x33 == 0x33, "TXON, RXON, INIT, STRT")
    for round in 0..<40 {
      let frame = SampleFrame.ethernet((0..<(300 + round)).map { UInt8(truncatingIfNeeded: $0 &+ round) })
      bench.send(frame, pieces: 1 + round % 3)
      #expect(bench.takeSent() == [frame])
      #expect(bench[csr: 0] & 0x200 != 0, "TINT")
      bench[csr: 0] = 0x240
      #expect(bench.card.receive(frame))
      #expect(bench.card.interruptLevel)
      #expect(bench[csr: 0] & 0x480 == 0x480, "RINT, INTR")
      bench[csr: 0] = 0x440
      #expect(!bench.card.interruptLevel)
      let slot = round % 16
      #expect(bench.received(slot).status >> 24 == 3 | 0, "STP and ENP, no longer the card's")
      #expect(bench.received(slot).length == frame.count + 4)
      #expect(bench.buffer(slot, frame.count) == frame)
      bench.give(slot)
    }
  }

  @Test func aLongFrameTakesSeveralBuffersAndTheRingWraps() throws {
    let bench = try PCNetBench()
    bench.start(receiveSize: 256)
    let frame = SampleFrame.ethernet((0..<1000).map { UInt8(truncatingIfNeeded: $0) })
    for round in 0..<10 {
      #expect(bench.card.receive(frame))
      let slots = (0..<4).map { (round * 4 + $0) % 16 }
      #expect(slots.map { bench.received($0).status >> 24 } == [2, 0, 0, 1])
      #expect(bench.received(slots[3]).length == 1018)
      #expect(Array(slots.flatMap { bench.buffer($0, 256) }.prefix(1014)) == frame)
      for slot in slots { bench.give(slot) }
    }
  }

  @Test func withoutABufferTheFrameWaitsAndTheCardLooksForOne() throws {
    let bench = try PCNetBench()
    bench.start(given: 1)
    #expect(bench.card.receive(SampleFrame.ethernet()))
    #expect(!bench.card.receive(SampleFrame.ethernet()))
    bench.board.time.advance(milliseconds: 5)
    #expect(bench.roomNotices == 0)
    bench.give(1)
    bench.board.time.advance(milliseconds: 1)
    #expect(bench.roomNotices == 1)
    #expect(bench.card.receive(SampleFrame.ethernet()))
    #expect(bench.received(1).status >> 31 == 0)
  }

  @Test func whatCanNeverFitIsDropped() throws {
    let bench = try PCNetBench()
    bench.start(receiveSize: 16)
    #expect(bench.card.receive(SampleFrame.ethernet([UInt8](repeating: 1, count: 1000))))
    #expect(bench.card.receive(SampleFrame.ethernet([UInt8](repeating: 1, count: 5000))))
    #expect(bench.received(0).status >> 31 == 1)
  }

  @Test func eachFilterTakesItsFramesAndNoOthers() throws {
    let broadcast = [UInt8](repeating: 0xFF, count: 6)
    let own = PCNetBench.address.bytes
    let stranger: [UInt8] = [0x02, 1, 2, 3, 4, 5]
    let group: [UInt8] = [0x01, 0x00, 0x5E, 0, 0, 0xFB]
    // The multicast hash, bit by bit (data sheet, "Logical Address Filter").
    var crc: UInt32 = .max
    for byte in group {
      for bit in 0..<8 {
        let carry = crc ^ UInt32(byte >> UInt8(bit)) & 1
        crc = carry & 1 != 0 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1
      }
    }
    var filter = [UInt8](repeating: 0, count: 8)
    filter[Int(crc >> 29)] = 1 << UInt8(crc >> 26 & 7)
    for (mode, filter, taken) in [
      (0, [], [own, broadcast]), (0x4000, [], [own]), (0x2000, [], [broadcast]), (0, filter, [own, group, broadcast]),
      (0x8000, [], [own, stranger, group, broadcast]),
    ] as [(UInt16, [UInt8], [[UInt8]])] {
      let bench = try PCNetBench()
      bench.start(mode: mode, filter: filter)
      var slot = 0
      for destination in [own, stranger, group, broadcast] {
        #expect(bench.card.receive(SampleFrame.ethernet(to: destination)))
        let isTaken = bench.received(slot).status >> 31 == 0
        #expect(isTaken == taken.contains(destination), "mode \(mode), to \(destination)")
        if isTaken { slot += 1 }
      }
    }
  }

  @Test func masksKeepInterruptsBack() throws {
    let bench = try PCNetBench()
    bench[csr: 3] = 0x0400
    bench.start()
    #expect(bench.card.receive(SampleFrame.ethernet()))
    #expect(!bench.card.interruptLevel)
    bench.send(SampleFrame.ethernet())
    #expect(bench.card.interruptLevel)
    bench[csr: 0] = 0x240
    #expect(!bench.card.interruptLevel)
    bench[csr: 4] = 0x0195
    #expect(bench.card.interruptLevel, "the user's interrupt")
    bench[csr: 4] = 0x0155
    #expect(!bench.card.interruptLevel)
    bench[csr: 4] = 0x0111
    bench.send(SampleFrame.ethernet())
    bench[csr: 0] = 0x240
    #expect(bench.card.interruptLevel, "the start of a transmission, unmasked")
  }

  @Test func aSuspendedCardKeepsItsRingsAndTakesNewFilters() throws {
    let bench = try PCNetBench()
    bench.start()
    bench[csr: 15] = 0x8000
    #expect(bench[csr: 15] == 0, "not while it runs")
    bench[csr: 5] = 1
    #expect(bench[csr: 5] & 1 == 1)
    bench.send(SampleFrame.ethernet())
    #expect(bench.takeSent().isEmpty)
    bench[csr: 15] = 0x8000
    bench[csr: 5] = 0
    #expect(bench.takeSent().count == 1)
    #expect(bench.card.receive(SampleFrame.ethernet(to: [2, 9, 9, 9, 9, 9])))
    #expect(bench.received(0).status >> 31 == 0)
  }

  @Test func whatADriverDoesNotDemandIsFoundByLooking() throws {
    let bench = try PCNetBench()
    bench.start()
    bench.send(SampleFrame.ethernet(), demand: false)
    #expect(bench.takeSent().isEmpty)
    bench.board.time.advance(milliseconds: 20)
    #expect(bench.takeSent().count == 1)
    // A driver that demands is looked after once more, and then left alone.
    bench.send(SampleFrame.ethernet())
    bench.send(SampleFrame.ethernet(), demand: false)
    bench.board.time.advance(milliseconds: 20)
    #expect(bench.takeSent().count == 2)
    bench.board.time.advance(milliseconds: 100)
    #expect(bench.board.time.clock.nextDeadline == nil, "an idle card has no timer")
  }

  @Test func aFrameIsSentWhenAllOfItIsThere() throws {
    let bench = try PCNetBench()
    bench.start()
    let memory = bench.board.memory
    bench.put(SampleFrame.ethernet(), at: PCNetBench.transmitBuffers)
    memory.write(PCNetBench.transmitRing, UInt32(PCNetBench.transmitBuffers))
    memory.write(PCNetBench.transmitRing + 4, UInt32(1 << 31 | 1 << 25 | (0x1000 - 30)))
    bench[csr: 0] = 0x48
    #expect(bench.takeSent().isEmpty)
    memory.write(PCNetBench.transmitRing + 16, UInt32(PCNetBench.transmitBuffers + 30))
    memory.write(PCNetBench.transmitRing + 20, UInt32(1 << 31 | 1 << 24 | (0x1000 - 34)))
    bench[csr: 0] = 0x48
    #expect(bench.takeSent() == [SampleFrame.ethernet()])
    #expect(memory.read(PCNetBench.transmitRing + 4, as: UInt32.self) >> 31 == 0)
  }

  @Test func withoutRoomOnTheWireFramesWaitInTheRing() throws {
    let bench = try PCNetBench()
    bench.start()
    bench.wireRoom = 3
    for _ in 0..<6 { bench.send(SampleFrame.ethernet()) }
    #expect(bench.takeSent().count == 2)
    bench.card.pause()
    bench.wireRoom = .max
    let saved = try bench.card.save()
    let other = try PCNetBench()
    let memory = [UInt8](bench.bytes(at: 0, 2 << 20))
    other.put(memory, at: 0)
    try other.card.load(saved)
    other.card.resume()
    #expect(other.takeSent().count == 4, "the rest leaves from where it was loaded")
    bench.card.resume()
    #expect(bench.takeSent().count == 4)
  }

  @Test func loopbackComesBackAndDoesNotLeave() throws {
    let bench = try PCNetBench()
    bench.start(mode: 4)
    bench.send(SampleFrame.ethernet())
    #expect(bench.takeSent().isEmpty)
    #expect(bench.received(0).length == 68)
  }

  @Test func aResetStopsTheCardAndLoadsTheAddress() throws {
    let bench = try PCNetBench()
    bench.start()
    #expect(bench.card.receive(SampleFrame.ethernet()))
    _ = bench.board.in(PCNetBench.ports + 0x14, size: 2)
    #expect(bench[csr: 0] == 4)
    #expect(!bench.card.interruptLevel)
    #expect(bench[csr: 12] == 0x0008)
    #expect(bench[bcr: 20] == 0x0302, "bus configuration stays")
    bench.send(SampleFrame.ethernet())
    #expect(bench.takeSent().isEmpty)
  }

  @Test(arguments: 0..<20) func randomRegistersAndRingsNeverTrapHangOrGrow(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let bench = try PCNetBench()
    for _ in 0..<400 {
      let value = UInt16(truncatingIfNeeded: random.next() >> (random.next() % 64))
      switch random.next() % 8 {
      case 0: bench.start(style: [0, 2, 3][Int(random.next() % 3)], mode: value & 0xFF04)
      case 1: bench[csr: UInt16(random.next() % 128)] = value
      case 2: bench[bcr: UInt16(random.next() % 64)] = value
      case 3: bench.put((0..<28).map { _ in UInt8(truncatingIfNeeded: random.next()) }, at: PCNetBench.block)
      case 4:
        let ring = random.next() & 1 == 0 ? PCNetBench.transmitRing : PCNetBench.receiveRing
        bench.board.memory.write(ring + random.next() % 64 * 8, random.next())
      case 5: _ = bench.card.receive(SampleFrame.ethernet([UInt8](repeating: 3, count: Int(random.next() % 5000))))
      case 6: bench[csr: 0] = [1, 3, 0x48, 0x4A, 4][Int(random.next() % 5)]
      default: bench.send(SampleFrame.ethernet(), pieces: Int(random.next() % 3) + 1)
      }
      bench.board.time.advance(microseconds: 300)
      _ = bench.takeSent()
    }
    bench.card.pause()
    let saved = try bench.card.save()
    try bench.card.load(saved)
    #expect(try bench.card.save() == saved)
  }
}
