import Devices
import Foundation
import Synchronization
import Testing

@testable import HostNetwork

/// Links to networks other than NAT, with the two ends of a cable in the test's hands.
@Suite struct LinkTests {
  private static func frame(_ from: UInt8, to: UInt8, _ text: String) -> [UInt8] {
    [2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xB5] + Array(text.utf8)
  }
  private static let everyone: [UInt8] = [255, 255, 255, 255, 255, 255]

  private static func wait<Value>(_ what: String, _ ask: () -> Value?) throws -> Value {
    let end = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < end {
      if let value = ask() { return value }
      usleep(1000)
    }
    throw HostNetworkError("waited for \(what)")
  }

  private static func next(_ pipe: FramePipe) throws -> [UInt8] { try wait("a frame") { pipe.toDevice.take(1).first } }

  private final class Folder {
    let path: String
    init() throws {
      var template = Array("/tmp/vmctl-link-XXXXXX".utf8CString)
      guard let made = mkdtemp(&template) else { throw HostNetworkError("no folder") }
      path = String(cString: made)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }
  }

  // MARK: Streams

  @Test("whoever moves frames waits for room in the socket as long as some are left in the cable")
  func leavesNothingBehind() throws {
    let (socket, other) = try Descriptors.pair()
    defer { for end in [socket, other] { close(end) } }
    for end in [socket, other] { Descriptors.setNonBlocking(end) }
    let output = FrameOutput()
    output.attach(socket)
    var mover = FrameMover(output)
    let pipe = FramePipe(capacity: 8)
    // Full, and as much waits before it as may.
    while output.count < FrameMover.outputLimit {
      pipe.toHost.send([UInt8](repeating: 1, count: 10_000))
      #expect(mover.send(pipe) == true)
    }
    pipe.toHost.send([2])
    // Then all that waits finds room at once.
    var buffer = [UInt8](repeating: 0, count: 1 << 17)
    while case .moved = Descriptors.read(other, into: &buffer) {}
    let sends = mover.send(pipe)
    #expect(sends == true)
    #expect(pipe.toHost.count == 0 || mover.events(pipe, sends: sends) & Int16(POLLOUT) != 0)
  }

  private static func stream(_ place: StreamPlace) throws -> (StreamLink, FramePipe) {
    let link = try StreamLink(
      place,
      connectPath: {
        guard case .connectPath(let path) = place else { return -1 }
        return try StreamSockets.connect(path: path)
      }, log: { _ in })
    let pipe = FramePipe(capacity: 8)
    try link.start()
    link.connect(pipe)
    return (link, pipe)
  }

  /// Two ends find each other, whichever is there first, and again when one has been away.
  private static func meet(_ listen: StreamPlace, _ connect: (StreamLink) throws -> StreamPlace) throws {
    let (server, serverPipe) = try stream(listen)
    defer { server.stop() }
    for round in 0..<2 {
      let (client, clientPipe) = try stream(try connect(server))
      defer { client.stop() }
      _ = try wait("the connection") {
        server.description.hasSuffix(", connected") && client.description.hasSuffix(", connected") ? () : nil
      }
      clientPipe.toHost.send(frame(1, to: 2, "there \(round)"))
      #expect(try next(serverPipe) == frame(1, to: 2, "there \(round)"))
      serverPipe.toHost.send(frame(2, to: 1, "and back"))
      #expect(try next(clientPipe) == frame(2, to: 1, "and back"))
      client.stop()
      _ = try wait("the end of the connection") { server.description.hasSuffix(", not connected") ? () : nil }
    }
  }

  @Test func twoMeetOverTCP() throws {
    try Self.meet(.listen(host: "127.0.0.1", port: 0)) { .connect(host: "127.0.0.1", port: try #require($0.port)) }
  }

  @Test func twoMeetAtAPath() throws {
    let folder = try Folder()
    try Self.meet(.listenPath(folder.path + "/s")) { _ in .connectPath(folder.path + "/s") }
  }

  @Test func aPlaceInUseIsToldAndADeadOneIsTaken() throws {
    let folder = try Folder()
    let path = folder.path + "/s"
    let (link, _) = try Self.stream(.listenPath(path))
    defer { link.stop() }
    let error = #expect(throws: HostNetworkError.self) { try Self.stream(.listenPath(path)) }
    #expect(error?.description.contains("in use") == true && error?.remedy != nil)
    let dead = folder.path + "/dead"
    close(try StreamSockets.listen(path: dead))
    let (other, _) = try Self.stream(.listenPath(dead))
    other.stop()
    let port = try #require(try Self.stream(.listen(host: "127.0.0.1", port: 0)).0.port)
    #expect(throws: HostNetworkError.self) { try Self.stream(.listen(host: "127.0.0.1", port: port)) }
  }

  @Test func whatIsNoStreamOfFramesEndsTheConnectionOnly() throws {
    let folder = try Folder()
    let (link, pipe) = try Self.stream(.listenPath(folder.path + "/s"))
    defer { link.stop() }
    let wrong = try StreamSockets.connect(path: folder.path + "/s")
    _ = write(wrong, Array("GET / HTTP/1.1\r\n".utf8), 16)
    var byte: UInt8 = 0
    #expect(read(wrong, &byte, 1) <= 0, "cut")
    close(wrong)
    let right = try StreamSockets.connect(path: folder.path + "/s")
    defer { close(right) }
    var bytes: [UInt8] = []
    FrameStream.encode(Self.frame(1, to: 2, "x"), to: &bytes)
    _ = write(right, bytes, bytes.count)
    #expect(try Self.next(pipe) == Self.frame(1, to: 2, "x"))
  }

  @Test(arguments: [
    ("127.0.0.1:4000", StreamPlace.connect(host: "127.0.0.1", port: 4000)),
    ("listen:[::1]:1", .listen(host: "::1", port: 1)), ("/run/s", .connectPath("/run/s")),
    ("listen:/run/s", .listenPath("/run/s")),
  ])
  func aPlaceIsReadAndWrittenTheSame(_ text: String, _ place: StreamPlace) throws {
    #expect(try StreamPlace(text) == place)
    #expect(place.text == text)
  }

  // MARK: Internal networks

  /// A packet with nothing left to do: what goes over an internal network has headers.
  private static func packet(_ frame: [UInt8]) -> [UInt8] { FrameOffload.packet(frame) }

  private static func join(_ folder: Folder, _ member: String) throws -> (any NetworkLink, FramePipe) {
    let link = try InternalNetwork.link("lab", folder: folder.path, member: member)
    let pipe = FramePipe(capacity: 64)
    try link.start()
    link.connect(pipe)
    return (link, pipe)
  }

  @Test func machinesOfANetworkHearEachOtherAndWhatIsForOneGoesToHimAlone() throws {
    let folder = try Folder()
    let (one, a) = try Self.join(folder, "a")
    let (two, b) = try Self.join(folder, "b")
    let (three, c) = try Self.join(folder, "c")
    defer { for link in [one, two, three] { link.stop() } }
    let hello = Self.packet(Self.everyone + [2, 0, 0, 0, 0, 1, 0x88, 0xB5])
    a.toHost.send(hello)
    #expect(try Self.next(b) == hello)
    #expect(try Self.next(c) == hello)
    // b has learnt where 1 is.
    b.toHost.send(Self.packet(Self.frame(2, to: 1, "for a")))
    #expect(try Self.next(a) == Self.packet(Self.frame(2, to: 1, "for a")))
    b.toHost.send(Self.packet(Self.everyone + [2, 0, 0, 0, 0, 2, 0x88, 0xB5, 9]))
    #expect(try Self.next(c).last == 9, "the first that c hears of b")
    #expect(a.toHost.counters.dropped == 0)
  }

  @Test func whoDoesNotReadHoldsNobodyElseUp() throws {
    let folder = try Folder()
    let (one, a) = try Self.join(folder, "a")
    let (two, b) = try Self.join(folder, "b")
    // Has a socket, and reads nothing.
    let deaf = try InternalNetwork.link("lab", folder: folder.path, member: "deaf")
    defer { for link in [one, two, deaf] { link.stop() } }
    for index in 0..<200 as Range<UInt8> {
      a.toHost.send(Self.packet(Self.everyone + [2, 0, 0, 0, 0, 1, 0x88, 0xB5, index]))
      #expect(try Self.next(b).last == index)
    }
  }

  @Test func whoHasDiedIsForgottenAndWhoComesBackIsHeard() throws {
    let folder = try Folder()
    let (one, a) = try Self.join(folder, "a")
    defer { one.stop() }
    do {
      // Died: its socket is closed and still there.
      let dead = folder.path + "/lab/dead"
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(dead.utf8)) }
      let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
      let status = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
      #expect(status == 0)
      close(descriptor)
    }
    a.toHost.send(Self.packet(Self.everyone + [2, 0, 0, 0, 0, 1, 0x88, 0xB5, 1]))
    let (two, b) = try Self.join(folder, "b")
    #expect(access(folder.path + "/lab/dead", F_OK) != 0, "who joins tidies up")
    a.toHost.send(Self.packet(Self.everyone + [2, 0, 0, 0, 0, 1, 0x88, 0xB5, 2]))
    // The first may have left when b was there already.
    let first = try Self.next(b).last
    #expect(try first == 2 || Self.next(b).last == 2)
    two.stop()
    let (again, c) = try Self.join(folder, "b2")
    defer { again.stop() }
    a.toHost.send(Self.packet(Self.everyone + [2, 0, 0, 0, 0, 1, 0x88, 0xB5, 3]))
    #expect(try Self.next(c).last == 3)
  }

  @Test func nothingLeavesAMachineThatStandsStill() throws {
    let folder = try Folder()
    let (one, a) = try Self.join(folder, "a")
    let (two, b) = try Self.join(folder, "b")
    defer { for link in [one, two] { link.stop() } }
    a.toHost.close()
    a.toHost.send(Self.packet(Self.everyone + [2, 0, 0, 0, 0, 1, 0x88, 0xB5, 1]))
    // The other way is open, and the link is at work.
    b.toHost.send(Self.packet(Self.everyone + [2, 0, 0, 0, 0, 2, 0x88, 0xB5, 2]))
    #expect(try Self.next(a).last == 2)
    #expect(a.toHost.count == 1 && b.toDevice.count == 0)
    a.toHost.open()
    #expect(try Self.next(b).last == 1)
  }

  @Test func manyPacketsCrossInOrderWithTheirHeaders() throws {
    let folder = try Folder()
    let (one, a) = try Self.join(folder, "a")
    let (two, b) = try Self.join(folder, "b")
    defer { for link in [one, two] { link.stop() } }
    b.toHost.send(Self.packet(Self.everyone + [2, 0, 0, 0, 0, 2, 0x88, 0xB5]))
    _ = try Self.next(a)
    // Of all lengths, up to the longest; what is none is left out.
    a.toHost.send([1, 2, 3])
    for index in 0..<300 {
      let length = index % 7 == 0 ? FrameStream.longestFrame - 14 : index * 11 % 1500
      let payload = String(repeating: Character(Unicode.Scalar(UInt8(97 + index % 26))), count: length)
      let packet: [UInt8] = [1, 0, 0, 0, 0, 0, UInt8(index & 7), 0, 2, 0, 0, 0] + Self.frame(1, to: 2, payload)
      _ = try Self.wait("room") { a.toHost.hasRoom(for: 1) ? () : nil }
      a.toHost.send(packet)
      #expect(try Self.next(b) == packet, "packet \(index)")
    }
  }

  @Test func whatIsNoPacketOnAnInternalNetworkIsLeftOut() throws {
    let folder = try Folder()
    let (one, a) = try Self.join(folder, "a")
    defer { one.stop() }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array((folder.path + "/lab/a").utf8)) }
    let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    defer { close(descriptor) }
    let packet = Self.packet(Self.frame(3, to: 1, "right"))
    let right: [UInt8] = [0, 0, 0, UInt8(packet.count)] + packet
    let wrong: [[UInt8]] = [
      [], [0], [0, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFF] + packet, [0, 0, 0, 5, 1, 2, 3, 4, 5], Array(right.dropLast()),
    ]
    for bytes in wrong.flatMap({ [$0, right + $0] }) + [right + right] {
      let status = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          sendto(descriptor, bytes, bytes.count, 0, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
      #expect(status == bytes.count)
      if bytes.starts(with: right) { #expect(try Self.next(a) == packet) }
    }
    #expect(try Self.next(a) == packet, "the second of the last")
    #expect(a.toDevice.count == 0)
  }

  // MARK: A machine that goes from one bridge to another

  private static func bridged() throws -> (link: FrameLink, network: Int32) {
    var ends: [Int32] = [0, 0]
    guard socketpair(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0, &ends) == 0 else { throw HostNetworkError("no sockets") }
    let link = try FrameLink("bridged test", TapDevice(ends[0]))
    try link.start()
    return (link, ends[1])
  }

  @Test(arguments: [nil, [UInt8](repeating: 7, count: 32)])
  func whatItsNetworkSendsToTheHostItHasLeftComesAfterAMachine(key: [UInt8]?) throws {
    let address = try #require(MACAddress("020000000001"))
    let (source, before) = try Self.bridged()
    let (target, after) = try Self.bridged()
    defer {
      source.stop()
      target.stop()
      for descriptor in [before, after] { close(descriptor) }
    }
    func send(_ frame: [UInt8], _ network: Int32) { #expect(write(network, frame, frame.count) == frame.count) }
    let (here, there) = (FramePipe(capacity: 8), FramePipe(capacity: 8))
    source.connect(here)
    send(Self.frame(9, to: 1, "while it runs"), before)
    #expect(try Self.next(here) == Self.frame(9, to: 1, "while it runs"))
    // It stands still: its state has been taken, and what comes now is in no state.
    here.toHost.close()
    send(Self.frame(9, to: 1, "while it stands still"), before)
    send(Self.everyone + Self.frame(9, to: 1, "to everyone").dropFirst(6), before)
    send(Self.frame(9, to: 3, "to another"), before)
    // Of before the machine came: not for it.
    send(Self.frame(9, to: 1, "too early"), after)

    var sockets: [Int32] = [0, 0]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &sockets) == 0)
    target.join(sockets[1], key: key, address: address) { _ in }
    target.connect(there)
    source.leave(sockets[0], key: key, address: address)
    send(Self.frame(9, to: 1, "when it has gone"), before)
    #expect(try Self.next(there) == Self.frame(9, to: 1, "while it stands still"))
    #expect(try Self.next(there) == Self.frame(9, to: 1, "when it has gone"))
    send(Self.frame(9, to: 1, "where it is"), after)
    #expect(try Self.next(there) == Self.frame(9, to: 1, "where it is"))
    source.waitUntilLeft()
    #expect(here.toDevice.count == 0 && there.toDevice.count == 0)
  }

  @Test func aCardThatTakesLittleAtATimeGetsAllThatIsSentAfterItsMachine() throws {
    let address = try #require(MACAddress("020000000001"))
    let (source, before) = try Self.bridged()
    let (target, after) = try Self.bridged()
    defer {
      source.stop()
      target.stop()
      for descriptor in [before, after] { close(descriptor) }
    }
    let (here, there) = (FramePipe(capacity: 8), FramePipe(capacity: 2))
    source.connect(here)
    here.toHost.close()
    let frames = (0..<12).map { Self.frame(9, to: 1, "frame \($0)") }
    for frame in frames { #expect(write(before, frame, frame.count) == frame.count) }
    var sockets: [Int32] = [0, 0]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &sockets) == 0)
    target.join(sockets[1], key: nil, address: address) { _ in }
    target.connect(there)
    source.leave(sockets[0], key: nil, address: address)
    for frame in frames { #expect(try Self.next(there) == frame) }
    source.waitUntilLeft()
  }

  @Test func aHostThatIsLostWhileItSendsAfterAMachineIsNoMatter() throws {
    let address = try #require(MACAddress("020000000001"))
    let (target, network) = try Self.bridged()
    defer {
      target.stop()
      close(network)
    }
    var sockets: [Int32] = [0, 0]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &sockets) == 0)
    // Nothing that an anchor says.
    let nonsense: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3]
    #expect(write(sockets[0], nonsense, nonsense.count) == nonsense.count)
    close(sockets[0])
    target.join(sockets[1], key: nil, address: address) { _ in }
    let pipe = FramePipe(capacity: 8)
    target.connect(pipe)
    let frame = Self.frame(9, to: 1, "goes on")
    #expect(write(network, frame, frame.count) == frame.count)
    #expect(try Self.next(pipe) == frame)
  }

  @Test(arguments: ["", "a/b", "..", "a b", "ü", "-a", String(repeating: "a", count: 33)])
  func whatIsNoNameOfANetworkIsRefused(_ name: String) { #expect(!InternalNetwork.isName(name)) }

  @Test func anInterfaceThatIsNotThereOrNoneOfOursIsToldWithTheRemedy() {
    for name in ["vmctl-no-such", "lo"] {
      let error = #expect(throws: HostNetworkError.self) { try TapDevice.link(name) }
      #expect(error?.description.contains(name) == true && error?.remedy != nil)
    }
    #expect(!TapDevice.isName("a/b") && !TapDevice.isName("") && TapDevice.isName("tap0"))
  }
}

@Suite struct PcapFileTests {
  private final class Reasons: Sendable { let all = Mutex<[String]>([]) }

  @Test func aTraceIsWhatItsReadersExpect() throws {
    let path = "/tmp/vmctl-pcap-\(UUID().uuidString)"
    defer { unlink(path) }
    let file = try PcapFile(path: path) { _ in }
    file.add([1, 2, 3])
    file.add([4])
    file.finish()
    file.add([5])
    let bytes = [UInt8](try #require(FileManager.default.contents(atPath: path)))
    func word(_ offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32(8 * $1) } }
    #expect([word(0), word(4), word(8), word(12), word(20)] == [0xA1B2_3C4D, 4 << 16 | 2, 0, 0, 1])
    #expect(word(16) >= 65535)
    #expect(bytes.count == 24 + 16 + 3 + 16 + 1)
    #expect([word(32), word(36)] == [3, 3] && Array(bytes[40..<43]) == [1, 2, 3])
    #expect(word(28) < 1_000_000_000, "nanoseconds")
    #expect([word(51), word(55)] == [1, 1] && bytes[59] == 4)
  }

  @Test func aFullDiskEndsTheTraceAndSaysSoOnce() throws {
    let reasons = Reasons()
    let file = try PcapFile(path: "/dev/full") { reason in reasons.all.withLock { $0.append(reason) } }
    #expect(!file.isOpen)
    file.add([1])
    file.finish()
    #expect(reasons.all.withLock { $0 } == ["No space left on device"])
  }

  @Test func aFileThatCannotBeWrittenIsTold() {
    let error = #expect(throws: HostNetworkError.self) { try PcapFile(path: "/proc/no/such") { _ in } }
    #expect(error?.remedy != nil)
  }
}
