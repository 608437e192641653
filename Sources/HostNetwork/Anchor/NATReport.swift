import Foundation

/// What hangs on a NAT process: the flows of its card, by the host that has their sockets.
public struct NATReport: Codable, Equatable, Sendable {
  /// The flows that one host has.
  public struct Host: Codable, Equatable, Sendable {
    /// Its name and how it is reached; nil: this host.
    public var name: String?
    /// Connections of TCP.
    public var tcp = 0
    /// Flows of datagrams.
    public var udp = 0

    /// - Parameters: name: nil: this host. tcp, udp: flows.
    public init(name: String? = nil, tcp: Int = 0, udp: Int = 0) {
      self.name = name
      self.tcp = tcp
      self.udp = udp
    }

    /// "2 TCP, 1 UDP".
    public var counts: String {
      [tcp > 0 || udp == 0 ? "\(tcp) TCP" : nil, udp > 0 ? "\(udp) UDP" : nil].compactMap { $0 }.joined(separator: ", ")
    }
  }

  /// A flow: "tcp 10.0.2.15:43210 10.0.2.2:80", the guest's end first.
  public struct Flow: Codable, Equatable, Sendable {
    public var name: String
    /// nil: this host.
    public var host: String?
  }

  /// Flows that are told one by one, at most.
  public static let flowLimit = 64

  /// The hosts, this one first.
  public var hosts: [Host] = []
  /// The first of the flows.
  public var flows: [Flow] = []
  /// Connections that were reset because their host was lost.
  public var resets: UInt64 = 0

  /// The flows that other hosts carry, by host: "2 TCP by a 192.0.2.1 (tcp 10.0.2.15:22 192.0.2.7:4000, ...)"; nil: there are
  /// none.
  public var carried: String? {
    let others = hosts.filter { $0.name != nil }
    guard !others.isEmpty else { return nil }
    return others.map { host in
      "\(host.counts) by \(host.name ?? "")\(Self.list(flows.filter { $0.host == host.name }, of: host))"
    }
    .joined(separator: "; ")
  }

  /// All of them, whoever has their sockets.
  public var whole: String {
    let all = Host(tcp: hosts.reduce(0) { $0 + $1.tcp }, udp: hosts.reduce(0) { $0 + $1.udp })
    return all.counts + Self.list(flows, of: all)
  }

  /// A few of the flows by name, in brackets.
  private static func list(_ flows: [Flow], of host: Host) -> String {
    guard !flows.isEmpty else { return "" }
    let most = 8
    let names = flows.prefix(most).map(\.name) + (host.tcp + host.udp > most ? ["..."] : [])
    return " (\(names.joined(separator: ", ")))"
  }

  /// Flows in all.
  public var count: Int { hosts.reduce(0) { $0 + $1.tcp + $1.udp } }

  mutating func add(_ flow: FlowKey, host: String?) {
    let index =
      hosts.firstIndex { $0.name == host }
      ?? {
        hosts.append(Host(name: host))
        return hosts.count - 1
      }()
    if flow.transport == .tcp { hosts[index].tcp += 1 } else { hosts[index].udp += 1 }
    if flows.count < Self.flowLimit { flows.append(Flow(name: flow.description, host: host)) }
  }
}

/// What an anchor says of itself in the file that it was given (`AnchorFile`).
public struct AnchorStatus: Codable, Equatable, Sendable {
  /// Its process.
  public var process: Int32
  /// The card that it has served, 1 to 8.
  public var card: Int
  /// Where the machine has gone.
  public var towards: String
  /// Since when.
  public var since: Date
  /// The port forwards that it listens for.
  public var forwards: [PortForward]?
  /// The flows that it still has; nil before it has looked.
  public var report: NATReport?

  public init(process: Int32, card: Int, towards: String, since: Date = Date(), forwards: [PortForward] = []) {
    self.process = process
    self.card = card
    self.towards = towards
    self.since = since
    self.forwards = forwards
  }
}
