import Foundation

/// A port of the host behind which a port of the guest is: `NAME,tcp|udp,HOSTIP,HOSTPORT,GUESTIP,GUESTPORT`.
public struct PortForward: Codable, Equatable, Sendable {
  /// What is forwarded.
  public enum Transport: String, Codable, CaseIterable, Sendable { case tcp, udp }

  /// By which the rule is deleted.
  public var name: String
  /// TCP or UDP.
  public var transport: Transport
  /// IPv4 address of the host to listen on; nil: its loopback address.
  public var hostAddress: String?
  /// Port of the host, 1 to 65535.
  public var hostPort: Int
  /// IPv4 address of the guest; nil: the first that DHCP hands out.
  public var guestAddress: String?
  /// Port of the guest, 1 to 65535.
  public var guestPort: Int

  /// The form of a rule, for messages and helps.
  public static let form = "NAME,tcp|udp,[HOSTIP],HOSTPORT,[GUESTIP],GUESTPORT"

  /// - Throws: `HostNetworkError` that says which part is wrong.
  public init(_ text: String) throws(HostNetworkError) {
    let parts = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    func wrong(_ what: String) -> HostNetworkError {
      HostNetworkError(
        "port forward \"\(text)\": \(what)", remedy: "give it as \(Self.form), for example ssh,tcp,,2222,,22")
    }
    guard parts.count == 6 else { throw wrong("it has \(parts.count) parts, not 6") }
    guard !parts[0].isEmpty, parts[0].utf8.count <= 64, parts[0].utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
      throw wrong("a rule has a name of up to 64 bytes without control characters")
    }
    guard let transport = Transport(rawValue: parts[1]) else { throw wrong("\"\(parts[1])\" is neither tcp nor udp") }
    for address in [parts[2], parts[4]] where !address.isEmpty && IPv4Address(address) == nil {
      throw wrong("\"\(address)\" is no IPv4 address")
    }
    for port in [parts[3], parts[5]] where Self.port(port) == nil {
      throw wrong("\"\(port)\" is no port from 1 to 65535")
    }
    name = parts[0]
    self.transport = transport
    hostAddress = parts[2].isEmpty ? nil : parts[2]
    hostPort = Self.port(parts[3]) ?? 0
    guestAddress = parts[4].isEmpty ? nil : parts[4]
    guestPort = Self.port(parts[5]) ?? 0
  }

  private static func port(_ text: String) -> Int? {
    guard text.allSatisfy({ $0.isASCII && $0.isNumber }), let port = Int(text), (1...65535).contains(port) else {
      return nil
    }
    return port
  }

  /// Why the two cannot both hold; nil when they can.
  public func conflict(with other: PortForward) -> HostNetworkError? {
    if name == other.name {
      return HostNetworkError(
        "there is a port forward \(name) already", remedy: "delete it first, or choose another name")
    }
    guard sharesPort(with: other) else { return nil }
    return HostNetworkError(
      "the port forward \(other.name) has port \(hostPort)/\(transport.rawValue) already", remedy: "choose another port"
    )
  }

  /// Whether both are of one port of the host's.
  public func sharesPort(with other: PortForward) -> Bool {
    let anywhere = "0.0.0.0"
    let (one, two) = (hostAddress ?? "127.0.0.1", other.hostAddress ?? "127.0.0.1")
    return transport == other.transport && hostPort == other.hostPort
      && (one == two || one == anywhere || two == anywhere)
  }

  /// The rule as it is given.
  public var text: String {
    "\(name),\(transport.rawValue),\(hostAddress ?? ""),\(hostPort),\(guestAddress ?? ""),\(guestPort)"
  }
}

/// An IPv4 address.
public struct IPv4Address: Hashable, Codable, Sendable, CustomStringConvertible {
  /// Its 32 bits, the first byte highest.
  public var bits: UInt32

  /// - Parameter bits: the first byte highest.
  public init(bits: UInt32) { self.bits = bits }

  /// From four decimal numbers with dots; nil for anything else.
  public init?(_ text: String) {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var bits: UInt32 = 0
    for part in parts {
      guard (1...3).contains(part.count), part.allSatisfy({ $0.isASCII && $0.isNumber }), let byte = UInt8(part) else {
        return nil
      }
      bits = bits << 8 | UInt32(byte)
    }
    self.bits = bits
  }

  /// With dots.
  public var description: String { [24, 16, 8, 0].map { String(bits >> UInt32($0) & 0xFF) }.joined(separator: ".") }
}
