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

  /// - Parameters: card, driver: of the network. variables: of the first host's process.
  init(
    card: String, driver: String, faults: Wire.Faults = .init(), _ variables: [String: String] = [:]
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
}
