import Foundation
import Testing

/// A machine on a bridge that two hosts share, which runs on the first of them, with two connections of a client to it: one
/// asks, one streams.
struct BridgedMachine {
  static let address = "192.0.2.9"

  let hosts: TwoHosts
  let lab: NetworkLab
  /// The two, each with its namespace.
  let places: [(host: TestHost, namespace: NetworkNamespace)]
  /// The guest's shell.
  let console: ConsoleClient
  let session: EchoConnection
  let bulk: EchoStream

  /// - Parameters: card, driver: of the network. disk: megabytes of a disk that each host has. variables: of the first host's
  ///   process.
  init(
    card: String, driver: String, faults: Wire.Faults = .init(), disk: Int? = nil, _ variables: [String: String] = [:]
  ) throws {
    let words = "card=\(driver) address=\(Self.address)/24 gateway=\(NetworkLab.peer) shell"
    hosts = try TwoHosts(
      memory: 160,
      [
        "--kernel", Guests.kernel("network-amd64"), "--initrd", Guests.folder("network-amd64") + "/initrd", "--append",
        "console=ttyS0 quiet \(words)", "--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0", "--nic1", "bridged",
        "--bridge-adapter1", "tap0", "--nic-type1", card, "--teleporter-password", "secret",
      ])
    try hosts.b.modify("box", ["--mac-address1", try #require(try hosts.a.fact("box", "macaddress1"))])
    if let disk {
      for host in [hosts.a, hosts.b] {
        try host.attach("box", to: "virtio", port: 0, try host.makeDisk("own.img", megabytes: disk))
      }
    }
    lab = try NetworkLab(folder: hosts.shared, faults: faults)
    places = [(hosts.a, lab.hosts[0]), (hosts.b, lab.hosts[1])]
    for (index, place) in places.enumerated() {
      try place.host.modify("box", ["--teleporter-address", NetworkLab.addresses[index]])
    }
    do {
      let (hosts, first) = (hosts, lab.hosts[0])
      console = try first.run {
        try hosts.start(hosts.a, variables)
        return try hosts.a.console("box")
      }
      try console.expect("network-ready", within: 240)
      try console.expect("guest# ")
      try console.shell("exchange serve 5300 >/dev/null 2>&1 &")
      (session, bulk) = try first.run {
        (try EchoConnection(Self.address, 5300), try EchoStream(Self.address, 5300))
      }
    } catch {
      lab.wire.stop()
      throw error
    }
  }

  /// To be called when the test is over, whatever came of it.
  func end() {
    bulk.cut()
    lab.wire.stop()
  }

  /// Returns when so many bytes more have come back.
  func awaitStream(_ count: Int) throws {
    let before = bulk.received
    try poll("more of the stream", within: 240) { bulk.received >= before + count ? () : nil }
  }

  // MARK: Protection

  /// Has a host wait for the machine, at the same port each time.
  func await(on host: Int, _ variables: [String: String]) throws {
    let (hosts, place) = (hosts, places[host])
    try place.namespace.run { _ = try hosts.await(place.host, ["--teleporter-port", "6000"], variables) }
  }

  /// Begins to protect the machine, which runs on one host, by the other.
  func remus(from: Int, to: Int) throws -> Child {
    let (hosts, place) = (hosts, places[from])
    let secret = try hosts.a.write("secret", Array("secret\n".utf8))
    return try place.namespace.run {
      try place.host.begin([
        "remus", "box", NetworkLab.addresses[to], "-p", "6000", "--passwordfile", secret, "-i", "50", "--witness",
        "file:\(hosts.shared)/witness",
      ])
    }
  }

  /// What some hosts send to the other one is lost, of the way that teleports go; or is not any more.
  func cut(from hosts: [Int], _ isCut: Bool) throws {
    for host in hosts {
      let verb = isCut ? "add" : "del"
      try NetworkLab.shell(
        places[host].namespace, self.hosts.shared, "ip route \(verb) blackhole \(NetworkLab.addresses[1 - host])/32")
    }
  }
}
