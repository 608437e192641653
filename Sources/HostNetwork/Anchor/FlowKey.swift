import Foundation

/// What names a flow through address translation: protocol, addresses and ports, the same for both directions.
struct FlowKey: Hashable, Codable, Sendable {
  enum Transport: UInt8, Codable, Sendable {
    case tcp = 6
    case udp = 17
  }

  /// An address and a port. An IPv4 address is in the low 32 bits.
  struct End: Hashable, Codable, Sendable {
    var high: UInt64 = 0
    var low: UInt64 = 0
    var port: UInt16
  }

  var transport: Transport
  var isIPv6 = false
  var guest: End
  var remote: End
}

extension FlowKey: CustomStringConvertible {
  /// "tcp 10.0.2.15:43210 10.0.2.2:80": the guest's end first.
  var description: String {
    "\(transport == .tcp ? "tcp" : "udp") \(text(of: guest)) \(text(of: remote))"
  }

  private func text(of end: End) -> String {
    guard isIPv6 else { return "\(IPv4Address(bits: UInt32(truncatingIfNeeded: end.low))):\(end.port)" }
    var address = in6_addr()
    withUnsafeMutableBytes(of: &address) {
      $0.storeBytes(of: end.high.bigEndian, as: UInt64.self)
      $0.storeBytes(of: end.low.bigEndian, toByteOffset: 8, as: UInt64.self)
    }
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    inet_ntop(AF_INET6, &address, &text, socklen_t(text.count))
    return "[\(String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))]:\(end.port)"
  }
}

/// A TCP segment's header, as far as flows are concerned (RFC 9293, 3.1).
struct TCPHeader: Equatable, Sendable {
  struct Flags: OptionSet, Sendable {
    var rawValue: UInt8
    static let fin = Flags(rawValue: 0x01)
    static let syn = Flags(rawValue: 0x02)
    static let rst = Flags(rawValue: 0x04)
    static let ack = Flags(rawValue: 0x10)
  }

  var flags: Flags
  var sequence: UInt32
  var acknowledged: UInt32
  /// Bytes of data.
  var length: Int

  /// Begins a connection.
  var opens: Bool { flags.intersection([.syn, .ack, .rst]) == .syn }
  /// The number behind it: SYN and FIN count as a byte each.
  var next: UInt32 {
    sequence &+ UInt32(length) &+ (flags.contains(.syn) ? 1 : 0) &+ (flags.contains(.fin) ? 1 : 0)
  }
}

/// What a frame is for who decides where it goes.
enum FramePacket: Equatable, Sendable {
  enum Direction: Sendable { case fromGuest, toGuest }

  case flow(FlowKey, TCPHeader?)
  /// Says where somebody is: a reply of ARP, a neighbour advertisement, an announcement.
  case whereabouts
  /// Asks where somebody is.
  case question
  /// ICMP, but for what IPv6 finds its neighbours and routers with.
  case icmp
  /// What each stack says for itself: addresses and routers.
  case configuration
  /// A part of an IPv4 packet: only the first has ports.
  case fragment
  /// Anything else: other protocols, what is damaged.
  case other

  private static let dhcp: Set<UInt16> = [67, 68, 546, 547]

  init(_ frame: [UInt8], _ direction: Direction) {
    self = frame.withUnsafeBufferPointer { Self.parse($0, direction) }
  }

  private static func parse(_ frame: UnsafeBufferPointer<UInt8>, _ direction: Direction) -> FramePacket {
    guard frame.count >= 34 else { return .other }
    switch number(frame, 12, 2) {
    case 0x0800: return ipv4(frame, direction)
    case 0x86DD: return ipv6(frame, direction)
    case 0x0806: return arp(frame)
    // RARP: an announcement (Plan 9's and QEMU's use of RFC 903).
    case 0x8035: return .whereabouts
    default: return .other
    }
  }

  private static func number(_ frame: UnsafeBufferPointer<UInt8>, _ offset: Int, _ count: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in offset..<offset + count { value = value << 8 | UInt64(frame[index]) }
    return value
  }

  /// RFC 826. Who asks for its own address announces it.
  private static func arp(_ frame: UnsafeBufferPointer<UInt8>) -> FramePacket {
    guard frame.count >= 42 else { return .other }
    if number(frame, 20, 2) == 2 || number(frame, 28, 4) == number(frame, 38, 4) { return .whereabouts }
    return .question
  }

  private static func ipv4(_ frame: UnsafeBufferPointer<UInt8>, _ direction: Direction) -> FramePacket {
    let header = Int(frame[14] & 0x0F) * 4
    let total = Int(number(frame, 16, 2))
    guard frame[14] >> 4 == 4, header >= 20, total >= header, frame.count >= 14 + total else { return .other }
    if number(frame, 20, 2) & 0x3FFF != 0 { return .fragment }
    if frame[23] == 1 { return .icmp }
    let source = FlowKey.End(low: number(frame, 26, 4), port: 0)
    let destination = FlowKey.End(low: number(frame, 30, 4), port: 0)
    return transport(
      frame, at: 14 + header, length: total - header, protocol: frame[23], source, destination, isIPv6: false, direction
    )
  }

  private static func ipv6(_ frame: UnsafeBufferPointer<UInt8>, _ direction: Direction) -> FramePacket {
    guard frame.count >= 54, frame[14] >> 4 == 6 else { return .other }
    let length = Int(number(frame, 18, 2))
    guard frame.count >= 54 + length else { return .other }
    if frame[20] == 58 {
      guard length > 0 else { return .other }
      // RFC 4861: solicitation and advertisement of routers, then of neighbours, then a redirection.
      switch frame[54] {
      case 133, 134, 137: return .configuration
      case 135: return .question
      case 136: return .whereabouts
      default: return .icmp
      }
    }
    let source = FlowKey.End(high: number(frame, 22, 8), low: number(frame, 30, 8), port: 0)
    let destination = FlowKey.End(high: number(frame, 38, 8), low: number(frame, 46, 8), port: 0)
    return transport(
      frame, at: 54, length: length, protocol: frame[20], source, destination, isIPv6: true, direction)
  }

  private static func transport(
    _ frame: UnsafeBufferPointer<UInt8>, at start: Int, length: Int, protocol number: UInt8, _ source: FlowKey.End,
    _ destination: FlowKey.End, isIPv6: Bool, _ direction: Direction
  ) -> FramePacket {
    guard let transport = FlowKey.Transport(rawValue: number), length >= (transport == .tcp ? 20 : 8) else {
      return .other
    }
    var (source, destination) = (source, destination)
    source.port = UInt16(Self.number(frame, start, 2))
    destination.port = UInt16(Self.number(frame, start + 2, 2))
    var header: TCPHeader?
    if transport == .tcp {
      let offset = Int(frame[start + 12] >> 4) * 4
      guard offset >= 20, offset <= length else { return .other }
      header = TCPHeader(
        flags: .init(rawValue: frame[start + 13]), sequence: UInt32(Self.number(frame, start + 4, 4)),
        acknowledged: UInt32(Self.number(frame, start + 8, 4)), length: length - offset)
    } else if dhcp.contains(source.port), dhcp.contains(destination.port) {
      return .configuration
    }
    let (guest, remote) = direction == .fromGuest ? (source, destination) : (destination, source)
    return .flow(FlowKey(transport: transport, isIPv6: isIPv6, guest: guest, remote: remote), header)
  }
}
