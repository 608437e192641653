/// A network behind address translation: who is where in it, and what of the host leads into it.
///
/// In a network of 10.0.2.0/24 the gateway, which also stands for the host, is 10.0.2.2, the name server 10.0.2.3, and
/// DHCP hands out addresses from 10.0.2.15 on.
public struct NATConfiguration: Codable, Equatable, Sendable {
  /// How many port forwards a card may have.
  public static let forwardLimit = 64

  /// The network's first address.
  public private(set) var network = IPv4Address(bits: 0x0A00_0200)
  /// Bits that are the same for all of the network: 8 to 27.
  public private(set) var prefixLength = 24
  /// Rules that hold from the start.
  public var forwards: [PortForward] = []

  /// The file that DHCP tells those who boot from the network; nil: none.
  public var bootFile: String?

  /// 10.0.2.0/24 without rules.
  public init() {}

  /// - Parameter text: "10.0.2.0/24".
  /// - Throws: `HostNetworkError` for what is no network that has room for gateway, name server and guests.
  public init(network text: String, forwards: [PortForward] = []) throws(HostNetworkError) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, let address = IPv4Address(parts[0]), let length = Int(parts[1]), (8...27).contains(length)
    else {
      throw HostNetworkError(
        "\"\(text)\" is no network",
        remedy: "give its first address and how many bits all have in common, 8 to 27: 10.0.2.0/24")
    }
    guard address.bits & ~Self.mask(length) == 0 else {
      let first = IPv4Address(bits: address.bits & Self.mask(length))
      throw HostNetworkError("\(parts[0]) is not the first address of a network", remedy: "say \(first)/\(length)")
    }
    network = address
    prefixLength = length
    self.forwards = forwards
  }

  private static func mask(_ length: Int) -> UInt32 { ~UInt32(0) << UInt32(32 - length) }

  /// Why a port forward cannot lead into this network; nil when it can.
  public func problem(with rule: PortForward) -> HostNetworkError? {
    guard let guest = rule.guestAddress.flatMap({ IPv4Address($0) }) else { return nil }
    guard guest.bits & Self.mask(prefixLength) == network.bits else {
      return HostNetworkError(
        "port forward \(rule.name): the guest's address \(guest) is not in the network \(text)",
        remedy: "give one that is, or none for \(firstGuest)")
    }
    let taken = [network.bits, gateway.bits, nameServer.bits, network.bits | ~Self.mask(prefixLength)]
    guard !taken.contains(guest.bits) else {
      return HostNetworkError(
        "port forward \(rule.name): \(guest) is no guest's address in the network \(text)",
        remedy: "give another, or none for \(firstGuest)")
    }
    return nil
  }

  /// The network as it is given: "10.0.2.0/24".
  public var text: String { "\(network)/\(prefixLength)" }

  /// The network's mask.
  public var mask: IPv4Address { IPv4Address(bits: Self.mask(prefixLength)) }
  /// Who routes, and stands for the host.
  public var gateway: IPv4Address { IPv4Address(bits: network.bits + 2) }
  /// Who answers DNS, with what the host's own resolver says.
  public var nameServer: IPv4Address { IPv4Address(bits: network.bits + 3) }
  /// The first address that DHCP hands out.
  public var firstGuest: IPv4Address { IPv4Address(bits: network.bits + 15) }
}
