import Foundation
import Testing

/// A machine on a bridge travels between two hosts with connections open, of which nothing may be lost.
@Suite(
  .enabled(if: Guests.hasNetworkGuest, "needs the network guest: run scripts/build-network-guest"),
  .enabled(if: NetworkLab.obstacle == nil, "\(NetworkLab.obstacle ?? "")"), .serialized)
struct NetworkJourneyTests {
  /// How often it travels: `VMCTL_TEST_HOPS`.
  private static let hops = Int(ProcessInfo.processInfo.environment["VMCTL_TEST_HOPS"] ?? "") ?? 2
  private static let address = "192.0.2.9"

  @Test(
    "connections of a machine on a bridge, echoing all the time, live through its teleports and a saved state, byte by byte",
    arguments: [
      ("virtio", "virtio_net", 1_000_000), ("82540EM", "e1000", 500_000), ("Am79C973", "pcnet32", 200_000),
      ("NE2000PCI", "ne2k-pci", 20_000),
    ])
  func journey(_ card: String, _ driver: String, _ enough: Int) throws {
    let words = "card=\(driver) address=\(Self.address)/24 gateway=\(NetworkLab.peer) shell"
    let hosts = try TwoHosts(
      memory: 128,
      [
        "--kernel", Guests.kernel("network-amd64"), "--initrd", Guests.folder("network-amd64") + "/initrd", "--append",
        "console=ttyS0 quiet \(words)", "--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0", "--nic1", "bridged",
        "--bridge-adapter1", "tap0", "--nic-type1", card, "--teleporter-password", "secret",
      ])
    try hosts.b.modify("box", ["--mac-address1", try #require(try hosts.a.fact("box", "macaddress1"))])
    let lab = try NetworkLab(folder: hosts.shared, faults: .init(delay: 0.1, jitter: 0.2))
    defer { lab.wire.stop() }
    let places = [(hosts.a, lab.hosts[0]), (hosts.b, lab.hosts[1])]
    for (index, place) in places.enumerated() {
      try place.0.modify("box", ["--teleporter-address", NetworkLab.addresses[index]])
    }

    let console = try lab.hosts[0].run {
      try hosts.start(hosts.a)
      return try hosts.a.console("box")
    }
    try console.expect("network-ready", within: 240)
    try console.expect("guest# ")
    try console.shell("exchange serve 5300 >/dev/null 2>&1 &")
    let (session, bulk) = try lab.hosts[0].run {
      (try EchoConnection(Self.address, 5300), try EchoStream(Self.address, 5300))
    }
    try session.exchange("before")
    let ping = try lab.hosts[0].run {
      try Child(
        "ping", ["-q", "-i", "0.01", Self.address], environment: ["PATH": "/usr/bin:/bin"],
        streams: .files(folder: hosts.shared, input: nil))
    }
    func expectAlive(_ word: String) throws {
      try session.exchange(word)
      let before = bulk.received
      try poll("more of the stream", within: 240) { bulk.received >= before + enough ? () : nil }
    }
    try expectAlive("at home")
    for hop in 0..<Self.hops {
      let (from, to) = (hop & 1, 1 - hop & 1)
      let port = try places[to].1.run { try hosts.await(places[to].0) }
      let child = try places[from].1.run {
        try hosts.send(
          places[from].0, to: port, ["--host", NetworkLab.addresses[to], "--password", "secret"])
      }
      guard try child.wait() == 0 else { throw Failure("teleport \(hop): \(child.errors)") }
      try expectAlive("hop \(hop)")
    }
    ping.signal(SIGINT)
    try ping.wait()
    let lost = try Self.lost(ping.output)
    print(
      "network: \(card): \(lost) echoes of the ping were lost in \(Self.hops) journeys, \(bulk.received) bytes came back"
    )

    let (home, namespace) = places[Self.hops & 1]
    try home.vmctl("controlvm", "box", "savestate")
    try poll("the end of its process") { home.processID("box") == nil ? () : nil }
    try namespace.run { try hosts.start(home) }
    try expectAlive("from a file")
    #expect(try bulk.finish() > 4 * enough)
    #expect(try home.fact("box", "nicbytesreceived1").flatMap(Int.init) ?? 0 > enough)
    try home.vmctl("controlvm", "box", "poweroff")
  }

  /// "100 packets transmitted, 98 received, ..."
  private static func lost(_ text: String) throws -> Int {
    let words = text.split(whereSeparator: { " ,\n".contains($0) }).map(String.init)
    guard let sent = words.firstIndex(of: "packets"), let received = words.firstIndex(of: "received"), sent > 0,
      let all = Int(words[sent - 1]), let back = Int(words[received - 1])
    else { throw Failure("ping said: \(text)") }
    return all - back
  }
}

extension Guests {
  /// Whether scripts/build-network-guest has run.
  static var hasNetworkGuest: Bool {
    access(kernel("network-amd64"), R_OK) == 0 && access(folder("network-amd64") + "/initrd", R_OK) == 0
  }
}

/// A connection to a server that sends back what it gets.
class EchoConnection {
  let descriptor: Int32

  init(_ address: String, _ port: UInt16) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    let socket = descriptor
    var place = sockaddr_in()
    place.sin_family = sa_family_t(AF_INET)
    place.sin_port = port.bigEndian
    place.sin_addr.s_addr = inet_addr(address)
    try poll("the echo server") {
      withUnsafePointer(to: &place) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 || errno == EISCONN ? () : nil
        }
      }
    }
  }

  deinit { close(descriptor) }

  /// Sends a text and waits until it has come back.
  func exchange(_ text: String) throws {
    let bytes = Array(text.utf8)
    guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
      throw Failure("\(text): cut")
    }
    var back: [UInt8] = []
    try poll("the answer to \(text)", within: 240) {
      var buffer = [UInt8](repeating: 0, count: 4096)
      let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      guard count != 0 else { throw Failure("\(text): the connection has ended") }
      if count > 0 { back += buffer[..<count] }
      return back.count >= bytes.count ? () : nil
    }
    guard back == bytes else { throw Failure("\(text) came back as \(back)") }
  }
}

/// A connection on which bytes go out as fast as they can, and are compared when they come back.
final class EchoStream: EchoConnection, @unchecked Sendable {
  private let lock = NSLock()
  private var isEnding = false
  private var sent = 0
  private var back = 0
  private var failure: String?
  private let ended = DispatchSemaphore(value: 0)

  override init(_ address: String, _ port: UInt16) throws {
    try super.init(address, port)
    for body in [sendAll, receiveAll] as [@Sendable () -> Void] {
      Thread { [ended] in
        body()
        ended.signal()
      }.start()
    }
  }

  /// Bytes that have come back, all of them right so far.
  var received: Int { lock.withLock { failure == nil ? back : -1 } }

  /// Of a period that is no whole number of anything else.
  private static func fill(_ buffer: inout [UInt8], from position: Int) {
    for index in buffer.indices {
      buffer[index] = UInt8(truncatingIfNeeded: ((position + index) % 65_521) &* 167 &>> 3)
    }
  }

  @Sendable private func sendAll() {
    var buffer = [UInt8](repeating: 0, count: 1 << 14)
    var position = 0
    while !lock.withLock({ isEnding }) {
      Self.fill(&buffer, from: position)
      let count = Glibc.send(descriptor, buffer, buffer.count, Int32(MSG_NOSIGNAL))
      guard count > 0 else { return lock.withLock { failure = "cut after \(position) bytes" } }
      position += count
      lock.withLock { sent = position }
    }
    shutdown(descriptor, Int32(SHUT_WR))
  }

  @Sendable private func receiveAll() {
    var position = 0
    while true {
      var buffer = [UInt8](repeating: 0, count: 1 << 14)
      let count = read(descriptor, &buffer, buffer.count)
      guard count > 0 else { break }
      var right = [UInt8](repeating: 0, count: count)
      Self.fill(&right, from: position)
      guard buffer[..<count].elementsEqual(right) else {
        return lock.withLock { failure = "wrong bytes after \(position)" }
      }
      position += count
      lock.withLock { back = position }
    }
  }

  /// Sends no more and waits until all has come back.
  /// - Returns: how many bytes that was.
  func finish() throws -> Int {
    lock.withLock { isEnding = true }
    for _ in 0..<2 where ended.wait(timeout: .now() + 240) == .timedOut { throw Failure("the stream does not end") }
    return try lock.withLock {
      if let failure { throw Failure(failure) }
      guard back == sent else { throw Failure("\(sent) bytes went out and \(back) came back") }
      return back
    }
  }
}
