import Foundation
import Testing

/// A machine on a bridge travels between two hosts with connections open, of which nothing may be lost.
@Suite(
  .enabled(if: Guests.hasNetworkGuest, "needs the network guest: run scripts/build-network-guest"),
  .enabled(if: NetworkLab.obstacle == nil, "\(NetworkLab.obstacle ?? "")"), .serialized)
struct NetworkJourneyTests {
  /// A card, its driver, how many bytes are to come back between two journeys, and how many journeys there are.
  struct Traveller: Sendable, CustomTestStringConvertible {
    let card: String
    let driver: String
    let enough: Int
    let hops: Int
    var testDescription: String { "\(card), \(hops) journeys" }
  }

  /// All cards with `VMCTL_TEST_HOPS`, which says how often each travels, or the one that `VMCTL_TEST_CARD` names; else the two
  /// that most machines have, and not often.
  /// The others travel with the guests of their rings all the same (`TeleportTravelTests`).
  static var travellers: [Traveller] {
    let environment = ProcessInfo.processInfo.environment
    let hops = Int(environment["VMCTL_TEST_HOPS"] ?? "")
    let usual = [
      Traveller(card: "virtio", driver: "virtio_net", enough: 1_000_000, hops: hops ?? 2),
      Traveller(card: "82540EM", driver: "e1000", enough: 500_000, hops: hops ?? 1),
    ]
    guard let hops else { return usual }
    let all =
      usual + [
        Traveller(card: "Am79C973", driver: "pcnet32", enough: 200_000, hops: hops),
        Traveller(card: "NE2000PCI", driver: "ne2k-pci", enough: 20_000, hops: hops),
      ]
    return environment["VMCTL_TEST_CARD"].map { card in all.filter { $0.card == card } } ?? all
  }

  @Test(
    "connections of a machine on a bridge, echoing all the time, live through its teleports and a saved state, byte by byte",
    arguments: travellers)
  func journey(_ traveller: Traveller) throws {
    let (card, driver, enough) = (traveller.card, traveller.driver, traveller.enough)
    let machine = try BridgedMachine(card: card, driver: driver, faults: .init(delay: 0.1, jitter: 0.2))
    defer { machine.end() }
    let (hosts, lab, places, session, bulk) = (
      machine.hosts, machine.lab, machine.places, machine.session, machine.bulk
    )
    try session.exchange("before")
    let tools = try lab.hosts[0].run {
      try Visitors(BridgedMachine.address, folder: hosts.shared, machine.console, isWhole: card == "virtio")
    }
    func expectAlive(_ word: String) throws {
      try session.exchange(word)
      try machine.awaitStream(enough)
      try tools.expectAlive(word)
    }
    try expectAlive("at home")
    for hop in 0..<traveller.hops {
      let (from, to) = (hop & 1, 1 - hop & 1)
      let port = try places[to].namespace.run { try hosts.await(places[to].host) }
      let child = try places[from].namespace.run {
        try hosts.send(
          places[from].host, to: port, ["--host", NetworkLab.addresses[to], "--password", "secret"])
      }
      guard try child.wait() == 0 else { throw Failure("teleport \(hop): \(child.errors)") }
      try expectAlive("hop \(hop)")
    }
    let lost = try tools.lost()
    print(
      "network: \(card): echoes of the ping lost in each of \(lost.count) journeys: \(lost), \(bulk.received) bytes came back"
    )
    #expect(lost.count == traveller.hops && lost.allSatisfy { $0 <= 2 }, "\(lost)")

    let (home, namespace) = places[traveller.hops & 1]
    try home.vmctl("controlvm", "box", "savestate")
    try poll("the end of its process") { home.processID("box") == nil ? () : nil }
    try namespace.run { try hosts.start(home) }
    try expectAlive("from a file")
    #expect(try bulk.finish() > 4 * enough)
    #expect(try home.fact("box", "nicbytesreceived1").flatMap(Int.init) ?? 0 > enough)
    try home.vmctl("controlvm", "box", "poweroff")
  }
}

/// What people have open to a machine: a ping every 10 ms, and where it is to be the whole, an ssh session and iperf3.
private final class Visitors {
  private let ping: Child
  private var iperf: Child?
  private var ssh: SecureShell?
  private var shell: String?
  /// The last echo before each journey, and the last of all.
  private var marks: [Int] = []

  init(_ address: String, folder: String, _ console: ConsoleClient, isWhole: Bool) throws {
    let streams = Child.Streams.files(folder: folder, input: nil)
    let environment = ["PATH": "/usr/bin:/bin", "HOME": folder]
    ping = try Child("ping", ["-n", "-i", "0.01", address], environment: environment, streams: streams)
    guard isWhole else { return }
    try console.shell("mkdir -p /dev/pts; mount -t devpts devpts /dev/pts; /usr/sbin/sshd")
    ssh = try SecureShell(folder: folder, host: address, port: 22) { key in
      try console.shell("echo '\(key)' >>/root/.ssh/authorized_keys")
    }
    // Not on every computer, nor in every guest.
    if access("/usr/bin/iperf3", X_OK) == 0 {
      try console.shell("iperf3 -s >/dev/null 2>&1 &")
      usleep(500_000)
      iperf = try Child(
        "iperf3", ["-c", address, "-t", "36000", "-b", "20M", "-i", "1", "--forceflush"], environment: environment,
        streams: streams)
    }
  }

  /// Numbers of the echoes that have come back.
  private var echoes: [Int] {
    ping.output.split(separator: "\n").dropLast().compactMap { line in
      line.range(of: "icmp_seq=").flatMap { Int(line[$0.upperBound...].prefix { $0.isNumber }) }
    }
  }

  /// Intervals in which iperf3 has sent something: "[  5]   3.00-4.00   sec  2.38 MBytes ...".
  private var intervals: Int {
    (iperf?.output ?? "").split(separator: "\n").filter { $0.contains("sec") && !$0.contains(" 0.00 Bytes") }.count
  }

  /// Everything answers after this.
  func expectAlive(_ word: String) throws {
    let before = echoes.max() ?? 0
    try poll("an echo \(word)") { (echoes.max() ?? 0) > before ? () : nil }
    marks.append(echoes.max() ?? 0)
    if let ssh {
      let answer = try ssh.ask("here").split(separator: " ").first.map(String.init)
      guard shell == nil || answer == shell else { throw Failure("another shell: \(answer ?? "") for \(shell ?? "")") }
      shell = answer
    }
    if let iperf {
      let seen = intervals
      try poll("more of iperf3 \(word)") {
        guard iperf.isRunning else {
          throw Failure("iperf3 has ended \(word): \(iperf.output.suffix(500)) \(iperf.errors)")
        }
        return intervals > seen + 1 ? () : nil
      }
    }
  }

  /// How many echoes were lost in each journey, by their numbers: a journey is what is between two calls of `expectAlive`.
  /// The ping goes on.
  func lost() throws -> [Int] {
    let last = marks.last ?? 0
    try poll("the last echo") { (echoes.max() ?? 0) > last + 10 ? () : nil }
    let there = Set(echoes)
    return zip(marks, marks.dropFirst()).map { from, to in (from + 1...to).filter { !there.contains($0) }.count }
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

  /// Ends it wherever it is.
  func cut() {
    lock.withLock { isEnding = true }
    shutdown(descriptor, Int32(SHUT_RDWR))
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
