import Testing

@testable import Devices

/// A card with a wire that keeps what was sent.
final class VirtioNetBench {
  static let address = E1000Bench.address
  static let features = VirtioNetCore.Feature.all.rawValue | 1 << 28 | 1 << 29
  static let headerOnly = [UInt8](repeating: 0, count: 12)

  let bench: VirtioBench<VirtioNet>
  private(set) var sent: [[UInt8]] = []
  private(set) var roomNotices = 0
  var wireRoom = Int.max

  static func make(legacy: Bool = false) throws -> VirtioBench<VirtioNet> {
    try VirtioBench(legacy: legacy) {
      VirtioNet(
        name: "nic1", address: address, memory: $0.memory, ports: $0.ports, clock: $0.time.clock, fabric: $0.fabric)
    }
  }

  init(_ features: UInt64 = VirtioNetBench.features, legacy: Bool = false, size: UInt16? = nil) throws {
    bench = try Self.make(legacy: legacy)
    card.onSend = { [unowned self] in
      sent.append($0)
      if wireRoom != .max { wireRoom -= 1 }
    }
    card.wireHasRoom = { [unowned self] in wireRoom >= 2 }
    card.onReceiveRoom = { [unowned self] in roomNotices += 1 }
    bench.start(features, size: size)
  }

  var card: VirtioNet { bench.device }

  func takeSent() -> [[UInt8]] {
    defer { sent = [] }
    return sent
  }

  func send(_ packet: [UInt8], _ offload: FrameOffload = FrameOffload(), pieces: Int = 2) {
    var out = [offload.header + [0, 0]]
    let size = (packet.count + pieces - 1) / pieces
    for start in stride(from: 0, to: packet.count, by: max(1, size)) {
      out.append(Array(packet[start..<min(packet.count, start + size)]))
    }
    bench.add(1, out: out)
    bench.kick(1)
  }

  /// Gives the card buffers for what comes.
  @discardableResult
  func offer(_ count: Int, _ size: Int = 1600) -> [VirtioBench<VirtioNet>.Chain] {
    let chains = (0..<count).map { _ in bench.add(0, out: [], room: [size]) }
    bench.kick(0)
    return chains
  }

  /// A command on the control queue.
  /// - Returns: the answer: 0 done, 1 not.
  func command(_ number: UInt8, _ sub: UInt8, _ data: [UInt8]) -> UInt8? {
    let chain = bench.add(2, out: [[number, sub], data], room: [1])
    bench.kick(2)
    return bench.takeUsed(2)?.written == 1 ? bench.content(chain, 1)[0] : nil
  }
}

@Suite struct VirtioNetTests {
  // MARK: Sending

  @Test(arguments: [(false, UInt64(0), 12), (true, 0, 10), (true, 1 << 15, 12)])
  func aFrameLeavesWithoutItsHeader(_ legacy: Bool, _ features: UInt64, _ headerLength: Int) throws {
    let net = try VirtioNetBench(features, legacy: legacy)
    let frame = SampleFrame.ethernet()
    let chain = net.bench.add(1, out: [[UInt8](repeating: 0, count: headerLength) + frame])
    net.bench.kick(1)
    #expect(net.takeSent() == [frame])
    #expect(net.bench.takeUsed(1)?.head == chain.head)
  }

  @Test func headerAndFrameMayBeCutAnywhere() throws {
    let net = try VirtioNetBench()
    let frame = SampleFrame.ethernet((0..<200).map { UInt8($0) })
    let whole = VirtioNetBench.headerOnly + frame
    for cut in [1, 5, 12, 13, 100, whole.count - 1] {
      net.bench.add(1, out: [Array(whole[..<cut]), [], Array(whole[cut...])], indirect: cut & 1 != 0)
      net.bench.kick(1)
      #expect(net.takeSent() == [frame], "cut at \(cut)")
    }
  }

  @Test func aChecksumThatIsLeftToTheDeviceIsFilledIn() throws {
    let net = try VirtioNetBench()
    let right = SampleFrame.tcp4([UInt8](repeating: 0x5A, count: 77))
    var frame = right
    // The driver leaves the pseudo header's sum where the checksum belongs.
    frame.setWord(at: 14 + 20 + 16, SampleFrame.naive([10, 0, 2, 15, 10, 0, 2, 2, 0, 6, 0, 97]))
    var offload = FrameOffload()
    offload.needsChecksum = true
    offload.checksumStart = 34
    offload.checksumOffset = 16
    net.send(frame, offload)
    #expect(net.takeSent() == [right])
  }

  /// Segments as a receiver sees them, put together again.
  private func payloads(_ frames: [[UInt8]], headers: Int) -> [UInt8] { frames.flatMap { Array($0[headers...]) } }

  @Test func aLargePacketIsCutAsTCPWouldHaveSentIt() throws {
    let net = try VirtioNetBench()
    let payload = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    var packet = SampleFrame.tcp4(payload)
    packet[14 + 20 + 13] = 0x99  // CWR, ACK, PSH, FIN
    var offload = FrameOffload()
    offload.needsChecksum = true
    offload.checksumStart = 34
    offload.checksumOffset = 16
    offload.segmentation = .tcp4
    offload.hasECN = true
    offload.segmentSize = 1448
    net.send(packet, offload)
    let frames = net.takeSent()
    #expect(frames.count == 7)
    #expect(payloads(frames, headers: 54) == payload)
    for (index, frame) in frames.enumerated() {
      let isLast = index == frames.count - 1
      #expect(Int(frame.word(at: 16)) == frame.count - 14)
      #expect(frame.word(at: 18) == 9 + UInt16(index))
      #expect(frame.long(at: 38) == UInt32(256 + index * 1448))
      #expect(frame[47] == (isLast ? 0x19 : 0x10) | (index == 0 ? 0x80 : 0))
      let ip = try #require(IPPacket(frame, end: frame.count))
      #expect(ip.isHeaderSound)
      #expect(ip.isPayloadSound == true)
    }
    #expect(net.bench.takeUsed(1) != nil)
  }

  @Test func aLargePacketOfIPv6IsCutToo() throws {
    let net = try VirtioNetBench()
    let payload = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 3) }
    let addresses = [0xFD] + [UInt8](repeating: 0, count: 14) + [2] + [0xFD] + [UInt8](repeating: 0, count: 14) + [3]
    let segment: [UInt8] = [0x12, 0x34, 0, 80, 0, 0, 1, 0, 0, 0, 2, 0, 0x80, 0x18, 0x10, 0, 0, 0, 0, 0]
    let header: [UInt8] = [0x60, 0, 0, 0, 0, 0, 6, 64] + addresses
    let options = [UInt8](repeating: 1, count: 12)
    let packet = SampleFrame.ethernet(type: 0x86DD, header + segment + options + payload)
    var offload = FrameOffload()
    offload.needsChecksum = true
    offload.checksumStart = 54
    offload.checksumOffset = 16
    offload.segmentation = .tcp6
    offload.segmentSize = 1428
    net.send(packet, offload, pieces: 5)
    let frames = net.takeSent()
    #expect(frames.count == 4)
    #expect(payloads(frames, headers: 86) == payload)
    for frame in frames {
      #expect(Int(frame.word(at: 18)) == frame.count - 54)
      #expect(try #require(IPPacket(frame, end: frame.count)).isPayloadSound == true)
    }
  }

  /// Each makes one thing of a packet that can be cut impossible.
  @Test(arguments: 0..<8) func whatCannotBeDoneIsDropped(_ fault: Int) throws {
    let net = try VirtioNetBench()
    var packet = SampleFrame.tcp4([UInt8](repeating: 1, count: 3000))
    var offload = FrameOffload()
    offload.needsChecksum = fault != 0
    offload.checksumStart = fault == 1 ? 0xFFFF : fault == 2 ? 30 : 34
    offload.checksumOffset = 16
    offload.segmentation = fault == 3 ? .tcp6 : .tcp4
    offload.segmentSize = fault == 4 ? 0 : 1448
    if fault == 5 { packet[46] = 0xF0; packet.removeLast(2990) }
    if fault == 6 { packet[12] = 0x09 }
    if fault == 7 { packet.removeLast(packet.count - 40) }
    net.send(packet, offload)
    #expect(net.takeSent().isEmpty)
    #expect(net.bench.takeUsed(1) != nil, "the buffers are the driver's again")
    net.send(SampleFrame.ethernet())
    #expect(net.takeSent().count == 1)
  }

  @Test func withoutRoomOnTheWireThePacketWaitsInTheMiddle() throws {
    let net = try VirtioNetBench()
    net.wireRoom = 4
    let payload = [UInt8](repeating: 7, count: 10_000)
    var offload = FrameOffload()
    offload.needsChecksum = true
    offload.checksumStart = 34
    offload.checksumOffset = 16
    offload.segmentation = .tcp4
    offload.segmentSize = 1000
    net.send(SampleFrame.tcp4(payload), offload)
    #expect(net.takeSent().count == 3)
    // It is carried by a saved state, in the middle of the packet.
    net.card.pause()
    let saved = try net.card.save()
    let other = try VirtioNetBench()
    try other.card.load(saved)
    other.card.resume()
    #expect(other.takeSent().count == 7)
    net.card.resume()
    #expect(net.takeSent().isEmpty)
    net.wireRoom = .max
    net.card.wireRoomChanged()
    #expect(net.takeSent().count == 7)
  }

  @Test func aShareOfWorkIsDoneAtATimeAndTheRestByATimer() throws {
    let net = try VirtioNetBench()
    let frame = [UInt8](repeating: 9, count: 60_000)
    for _ in 0..<64 { net.bench.add(1, out: [VirtioNetBench.headerOnly + frame]) }
    net.bench.kick(1)
    let first = net.takeSent().count
    #expect(first < 20)
    net.bench.board.time.advance(milliseconds: 1)
    #expect(net.takeSent().count == 64 - first)
  }

  @Test func withoutACableNothingLeavesAndNothingComes() throws {
    let net = try VirtioNetBench()
    net.offer(1)
    net.card.setCarrier(false)
    #expect(net.bench.configuration(6) == 0)
    #expect(net.bench.takeInterrupts() & 2 != 0)
    net.send(SampleFrame.ethernet())
    #expect(net.takeSent().isEmpty)
    #expect(net.bench.takeUsed(1) != nil)
    #expect(net.card.receive(SampleFrame.ethernet()))
    #expect(net.bench.takeUsed(0) == nil)
    net.card.setCarrier(true)
    #expect(net.bench.configuration(6) == 1)
  }

  // MARK: Receiving

  @Test(arguments: [(false, UInt64(0), 12), (true, 0, 10), (true, 1 << 15, 12)])
  func aFrameComesBehindItsHeader(_ legacy: Bool, _ features: UInt64, _ headerLength: Int) throws {
    let net = try VirtioNetBench(features, legacy: legacy)
    let chain = net.offer(1)[0]
    let frame = SampleFrame.ethernet()
    #expect(net.card.receive(frame))
    #expect(net.bench.takeUsed(0)?.written == headerLength + frame.count)
    let header = [UInt8](repeating: 0, count: 10) + (headerLength == 12 ? [1, 0] : [])
    #expect(net.bench.content(chain, headerLength + frame.count) == header + frame)
    #expect(net.bench.takeInterrupts() == 1)
  }

  @Test func aLongFrameTakesSeveralBuffersAndTellsHowMany() throws {
    let net = try VirtioNetBench(size: 8)
    let frame = SampleFrame.ethernet((0..<1400).map { UInt8(truncatingIfNeeded: $0) })
    for _ in 0..<20 {
      let chains = net.offer(3, 512)
      #expect(net.card.receive(frame))
      let used = net.bench.takeAllUsed(0)
      #expect(used.map(\.head) == chains.map(\.head))
      #expect(used.map(\.written) == [512, 512, 12 + 1414 - 1024])
      let bytes = zip(chains, used).flatMap { net.bench.content($0, $1.written) }
      #expect(bytes == [UInt8](repeating: 0, count: 10) + [3, 0] + frame)
    }
  }

  @Test func withoutRoomTheFrameWaitsAndIsAskedForAgain() throws {
    let net = try VirtioNetBench()
    net.offer(2, 700)
    let frame = SampleFrame.ethernet([UInt8](repeating: 1, count: 1000))
    #expect(net.card.receive(frame))
    #expect(!net.card.receive(frame))
    #expect(net.roomNotices == 0)
    net.offer(1, 700)
    #expect(net.roomNotices == 1)
    #expect(!net.card.receive(frame), "one of two")
    net.offer(1, 700)
    #expect(net.roomNotices == 2)
    #expect(net.card.receive(frame))
  }

  @Test func aDriverIsAskedForWhatIsMissingNotForWhatIsThere() throws {
    let net = try VirtioNetBench(size: 8)
    let event = net.bench.used(0) + 4 + 8 * 8
    net.offer(3, 700)
    let frame = SampleFrame.ethernet([UInt8](repeating: 1, count: 2700))
    #expect(!net.card.receive(frame), "three of four")
    // The driver tells when it goes beyond this index (2.7.10): with the next buffer.
    #expect(net.bench.board.memory.read(event, as: UInt16.self) == 3)
    net.offer(1, 700)
    #expect(net.card.receive(frame))
  }

  @Test func aPacketThatIsNotFinishedLeavesWithItsHeader() throws {
    let net = try VirtioNetBench()
    var packets: [[UInt8]] = []
    net.card.onSendPacket = { packets.append($0) }
    var offload = FrameOffload()
    offload.needsChecksum = true
    offload.isChecked = true
    offload.segmentation = .tcp4
    offload.segmentSize = 1448
    offload.checksumStart = 34
    offload.checksumOffset = 16
    let frame = SampleFrame.tcp4([UInt8](repeating: 8, count: 9000))
    net.send(frame, offload)
    // That it is checked is what a device says, not a driver.
    offload.isChecked = false
    #expect(packets == [offload.header + [0, 0] + frame] && net.takeSent().isEmpty)
    // What cannot be understood goes nowhere.
    net.bench.add(1, out: [[0, 3] + [UInt8](repeating: 0, count: 10), frame])
    net.bench.kick(1)
    #expect(packets.count == 1)
  }

  @Test func whatCanNeverFitIsDropped() throws {
    var net = try VirtioNetBench(size: 8)
    net.offer(8, 100)
    #expect(net.card.receive(SampleFrame.ethernet([UInt8](repeating: 1, count: 1000))))
    #expect(net.bench.takeUsed(0) == nil)
    #expect(net.card.receive(SampleFrame.ethernet()))
    #expect(net.bench.takeUsed(0) != nil, "the buffers are still there")
    net = try VirtioNetBench(0)
    net.offer(1, 100)
    #expect(net.card.receive(SampleFrame.ethernet([UInt8](repeating: 1, count: 1000))))
    #expect(net.bench.takeUsed(0) == nil)
  }

  @Test func checksumsThatAreRightAreToldToBe() throws {
    let net = try VirtioNetBench()
    let chains = net.offer(3)
    var frame = SampleFrame.tcp4([1, 2, 3])
    #expect(net.card.receive(frame))
    frame[60 - 4] ^= 1
    #expect(net.card.receive(frame))
    #expect(net.card.receive(SampleFrame.ethernet()))
    #expect(chains.map { net.bench.content($0, 1) } == [[2], [0], [0]])
  }

  @Test func aPacketThatIsNotCutComesToWhoTakesIt() throws {
    let net = try VirtioNetBench()
    var offload = FrameOffload()
    offload.needsChecksum = true
    offload.segmentation = .tcp4
    offload.segmentSize = 1448
    offload.checksumStart = 34
    offload.checksumOffset = 16
    #expect(net.card.takes(offload))
    #expect(!(try VirtioNetBench(1 << 15).card.takes(offload)))
    let chains = net.offer(4, 4096)
    let frame = SampleFrame.tcp4([UInt8](repeating: 8, count: 9000))
    #expect(net.card.receive(packet: offload.header + [0, 0] + frame, offload))
    #expect(net.bench.content(chains[0], 12) == [1, 1, 0, 0, 0xA8, 5, 34, 0, 16, 0, 3, 0])
  }

  @Test func whileTheMachineStandsStillFramesWait() throws {
    let net = try VirtioNetBench()
    net.offer(1)
    net.card.pause()
    #expect(!net.card.receive(SampleFrame.ethernet()))
    net.send(SampleFrame.ethernet())
    #expect(net.takeSent().isEmpty)
    net.card.resume()
    #expect(net.roomNotices == 1)
    #expect(net.takeSent().count == 1)
  }

  // MARK: Filters and commands

  @Test func eachModeTakesItsFramesAndNoOthers() throws {
    let broadcast = [UInt8](repeating: 0xFF, count: 6)
    let own = VirtioNetBench.address.bytes
    let stranger: [UInt8] = [0x02, 1, 2, 3, 4, 5]
    let group: [UInt8] = [0x01, 0x00, 0x5E, 0, 0, 0xFB]
    let all = [own, stranger, group, broadcast]
    for (modes, taken) in [
      ([], all), ([(0, 0)], [own, broadcast]), ([(0, 0), (1, 1)], [own, group, broadcast]),
      ([(0, 0), (2, 1)], [own, stranger, broadcast]), ([(0, 0), (1, 1), (3, 1)], [own, broadcast]),
      ([(0, 0), (4, 1)], [broadcast]), ([(0, 0), (5, 1)], [own]), ([(5, 1)], all),
    ] as [([(UInt8, UInt8)], [[UInt8]])] {
      let net = try VirtioNetBench()
      for (mode, value) in modes { #expect(net.command(0, mode, [value]) == 0) }
      for destination in all {
        net.offer(1)
        #expect(net.card.receive(SampleFrame.ethernet(to: destination)))
        #expect((net.bench.takeUsed(0) != nil) == taken.contains(destination), "modes \(modes), to \(destination)")
      }
    }
  }

  @Test func addressesAreSetByCommand() throws {
    let net = try VirtioNetBench()
    #expect((0..<6).map { UInt8(net.bench.configuration($0)) } == VirtioNetBench.address.bytes)
    #expect(net.command(0, 0, [0]) == 0)
    #expect(net.command(1, 1, [2, 0, 0, 0, 0, 9]) == 0)
    #expect((0..<6).map { net.bench.configuration($0) } == [2, 0, 0, 0, 0, 9])
    #expect(net.command(1, 0, [1, 0, 0, 0, 2, 1, 1, 1, 1, 1] + [1, 0, 0, 0, 3, 1, 1, 1, 1, 1]) == 0)
    for (destination, isTaken) in [
      ([2, 0, 0, 0, 0, 9], true), (VirtioNetBench.address.bytes, false), ([2, 1, 1, 1, 1, 1], true),
      ([3, 1, 1, 1, 1, 1], true), ([3, 1, 1, 1, 1, 2], false),
    ] as [([UInt8], Bool)] {
      net.offer(1)
      _ = net.card.receive(SampleFrame.ethernet(to: destination))
      #expect((net.bench.takeUsed(0) != nil) == isTaken, "to \(destination)")
    }
    // More than the table holds: all of the kind are taken.
    let many = (0..<65).flatMap { _ in [3, 9, 9, 9, 9, 9] as [UInt8] }
    #expect(net.command(1, 0, [0, 0, 0, 0, 65, 0, 0, 0] + many) == 0)
    net.offer(1)
    _ = net.card.receive(SampleFrame.ethernet(to: [3, 7, 7, 7, 7, 7]))
    #expect(net.bench.takeUsed(0) != nil)
    #expect(net.command(1, 0, [255, 255, 255, 255]) == 1)
    #expect(net.command(1, 1, [2, 0]) == 1)
    #expect(net.command(77, 0, []) == 1)
  }

  @Test func vlansAreFiltered() throws {
    let net = try VirtioNetBench()
    let tagged = SampleFrame.ethernet(type: 0x8100, [0x20, 0x05, 0x88, 0xB5] + [UInt8](repeating: 9, count: 60))
    net.offer(3)
    _ = net.card.receive(tagged)
    #expect(net.bench.takeUsed(0) == nil)
    #expect(net.command(2, 0, [5, 0]) == 0)
    _ = net.card.receive(tagged)
    #expect(net.bench.takeUsed(0) != nil)
    #expect(net.command(2, 1, [5, 0]) == 0)
    _ = net.card.receive(tagged)
    #expect(net.bench.takeUsed(0) == nil)
    #expect(net.command(2, 0, [0, 16]) == 1)
  }

  @Test func theGuestIsAskedToAnnounceItselfAndSaysThatItDid() throws {
    let net = try VirtioNetBench()
    net.card.askToAnnounce()
    #expect(net.bench.configuration(6) == 3)
    #expect(net.bench.takeInterrupts() == 2)
    #expect(net.command(3, 0, []) == 0)
    #expect(net.bench.configuration(6) == 1)
    #expect(net.command(3, 0, []) == 1)
    let other = try VirtioNetBench(1 << 16)
    other.card.askToAnnounce()
    #expect(other.bench.takeInterrupts() == 0, "this driver does not do it")
  }

  @Test func aResetInTheMiddleLeavesNothingBehind() throws {
    let net = try VirtioNetBench()
    net.wireRoom = 2
    var offload = FrameOffload()
    offload.needsChecksum = true
    offload.checksumStart = 34
    offload.checksumOffset = 16
    offload.segmentation = .tcp4
    offload.segmentSize = 1000
    net.send(SampleFrame.tcp4([UInt8](repeating: 7, count: 10_000)), offload)
    #expect(!net.card.receive(SampleFrame.ethernet()))
    net.bench.status = 0
    #expect(net.roomNotices == 1, "who waits for room is told")
    net.wireRoom = .max
    net.card.wireRoomChanged()
    #expect(net.takeSent().count == 1)
    net.bench.start(VirtioNetBench.features)
    net.send(SampleFrame.ethernet())
    #expect(net.takeSent() == [SampleFrame.ethernet()])
  }
}
