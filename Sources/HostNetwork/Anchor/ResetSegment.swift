/// Frames that end a TCP connection at once (RFC 9293, 3.5.2), made for a flow whose other end is gone.
enum ResetSegment {
  /// For the guest, as if its peer had sent them. One is where the guest said last that it expects; where more has been sent to
  /// it meanwhile another one is behind that, since a reset counts only exactly where it is expected (RFC 5961, 3).
  static func forGuest(_ flow: Flow) -> [[UInt8]] {
    guard flow.key.transport == .tcp, flow.guestAddress.count == 6 else { return [] }
    let places = flow.marks.contains(.guestHasAcknowledged) ? [flow.guestExpects, flow.remoteNext] : [flow.remoteNext]
    let distinct = places.count == 2 && (places[0] == places[1] || places[1] == 0) ? [places[0]] : places
    return distinct.map {
      segment(
        flow, from: flow.key.remote, flow.gatewayAddress, to: flow.key.guest, flow.guestAddress, sequence: $0,
        acknowledged: flow.guestNext)
    }
  }

  /// For the other end, as if the guest had sent it.
  static func forRemote(_ flow: Flow) -> [UInt8]? {
    guard flow.key.transport == .tcp, flow.guestAddress.count == 6 else { return nil }
    return segment(
      flow, from: flow.key.guest, flow.guestAddress, to: flow.key.remote, flow.gatewayAddress, sequence: flow.guestNext,
      acknowledged: flow.remoteNext)
  }

  private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }

  private static func segment(
    _ flow: Flow, from source: FlowKey.End, _ sourceAddress: [UInt8], to destination: FlowKey.End,
    _ destinationAddress: [UInt8], sequence: UInt32, acknowledged: UInt32
  ) -> [UInt8] {
    let flags: TCPHeader.Flags = [.rst, .ack]
    var tcp = bytes(source.port) + bytes(destination.port) + bytes(sequence) + bytes(acknowledged)
    tcp += [0x50, flags.rawValue, 0, 0, 0, 0, 0, 0]
    func address(_ end: FlowKey.End) -> [UInt8] {
      flow.key.isIPv6 ? bytes(end.high) + bytes(end.low) : bytes(UInt32(truncatingIfNeeded: end.low))
    }
    let addresses = address(source) + address(destination)
    tcp.replaceSubrange(16..<18, with: bytes(sum(addresses + bytes(UInt32(20)) + [0, 0, 0, 6] + tcp)))
    var header: [UInt8]
    if flow.key.isIPv6 {
      header = [0x60, 0, 0, 0, 0, 20, 6, 64] + addresses
    } else {
      header = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0] + addresses
      header.replaceSubrange(10..<12, with: bytes(sum(header)))
    }
    return destinationAddress + sourceAddress + (flow.key.isIPv6 ? [0x86, 0xDD] : [0x08, 0x00]) + header + tcp
  }

  /// RFC 1071, of an even number of bytes.
  private static func sum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for index in stride(from: 0, to: bytes.count - 1, by: 2) {
      sum += UInt32(bytes[index]) << 8 | UInt32(bytes[index + 1])
    }
    while sum > 0xFFFF { sum = (sum & 0xFFFF) + (sum >> 16) }
    return ~UInt16(sum)
  }
}
