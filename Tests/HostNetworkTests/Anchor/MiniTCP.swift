@testable import HostNetwork

/// TCP segments by hand, of a guest and of what it talks to.
struct MiniTCP {
  var guest: (ip: [UInt8], port: UInt16) = ([10, 0, 2, 15], 40000)
  var remote: (ip: [UInt8], port: UInt16) = ([10, 0, 2, 2], 80)
  static let guestMAC: [UInt8] = MiniGuest.address
  static let gatewayMAC: [UInt8] = [0x52, 0x55, 10, 0, 2, 2]

  private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }

  /// A frame, with checksums that are right.
  func frame(
    _ direction: FramePacket.Direction, _ flags: TCPHeader.Flags, sequence: UInt32 = 0, acknowledged: UInt32 = 0,
    _ data: [UInt8] = []
  ) -> [UInt8] {
    let (from, to) = direction == .fromGuest ? (guest, remote) : (remote, guest)
    var tcp = Self.bytes(from.port) + Self.bytes(to.port) + Self.bytes(sequence) + Self.bytes(acknowledged)
    tcp += [0x50, flags.rawValue, 0xFF, 0xFF, 0, 0, 0, 0] + data
    let pseudo =
      from.ip + to.ip
      + (from.ip.count == 4 ? [0, 6] + Self.bytes(UInt16(tcp.count)) : Self.bytes(UInt32(tcp.count)) + [0, 0, 0, 6])
    tcp.replaceSubrange(16..<18, with: Self.bytes(MiniGuest.sum(pseudo + tcp)))
    var header: [UInt8]
    if from.ip.count == 4 {
      header = [0x45, 0] + Self.bytes(UInt16(20 + tcp.count)) + [0, 1, 0, 0, 64, 6, 0, 0] + from.ip + to.ip
      header.replaceSubrange(10..<12, with: Self.bytes(MiniGuest.sum(header)))
    } else {
      header = [0x60, 0, 0, 0] + Self.bytes(UInt16(tcp.count)) + [6, 64] + from.ip + to.ip
    }
    let addresses = direction == .fromGuest ? Self.gatewayMAC + Self.guestMAC : Self.guestMAC + Self.gatewayMAC
    return addresses + (from.ip.count == 4 ? [8, 0] : [0x86, 0xDD]) + header + tcp
  }

  /// Whether the sums of a frame's headers come out right.
  static func isIntact(_ frame: [UInt8]) -> Bool {
    let isIPv6 = frame[12] == 0x86
    let start = isIPv6 ? 54 : 34
    let tcp = Array(frame[start...])
    if !isIPv6, MiniGuest.sum(Array(frame[14..<34])) != 0 { return false }
    let addresses = isIPv6 ? Array(frame[22..<54]) : Array(frame[26..<34])
    let pseudo = addresses + (isIPv6 ? bytes(UInt32(tcp.count)) + [0, 0, 0, 6] : [0, 6] + bytes(UInt16(tcp.count)))
    return MiniGuest.sum(pseudo + tcp) == 0
  }

  static func header(_ frame: [UInt8], _ direction: FramePacket.Direction) -> TCPHeader? {
    guard case .flow(_, let header) = FramePacket(frame, direction) else { return nil }
    return header
  }
}
