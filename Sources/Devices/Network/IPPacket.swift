/// The IP packet in an Ethernet frame, as far as its checksums need it: IPv4 (RFC 791), IPv6 (RFC 8200) without extension
/// headers, TCP and UDP.
struct IPPacket {
  let version: Int
  private let frame: [UInt8]
  /// Where the header, the payload and the end of the packet lie in the frame.
  private let start: Int
  private let payload: Int
  private let end: Int

  /// nil when the frame holds none that is whole.
  init?(_ frame: [UInt8], end limit: Int) {
    guard limit <= frame.count, limit >= 14 else { return nil }
    var start = 12
    if frame.word(at: start) == 0x8100, limit >= 18 { start += 4 }
    let type = frame.word(at: start)
    start += 2
    switch type {
    case 0x0800:
      guard limit >= start + 20, frame[start] >> 4 == 4 else { return nil }
      let (header, length) = (Int(frame[start] & 15) * 4, Int(frame.word(at: start + 2)))
      guard header >= 20, length >= header, start + length <= limit else { return nil }
      (version, payload, end) = (4, start + header, start + length)
    case 0x86DD:
      guard limit >= start + 40, frame[start] >> 4 == 6 else { return nil }
      let length = Int(frame.word(at: start + 4))
      guard start + 40 + length <= limit else { return nil }
      (version, payload, end) = (6, start + 40, start + 40 + length)
    default: return nil
    }
    self.frame = frame
    self.start = start
  }

  /// IPv4's own checksum.
  var isHeaderSound: Bool { version == 6 || InternetChecksum.sum(frame, from: start, to: payload) == 0xFFFF }

  /// TCP's or UDP's checksum; nil where there is none to check: another protocol, a fragment, UDP without one.
  var isPayloadSound: Bool? {
    let transport = frame[start + (version == 4 ? 9 : 6)]
    if version == 4, frame.word(at: start + 6) & 0x3FFF != 0 { return nil }
    let length = end - payload
    switch transport {
    case 6: guard length >= 20 else { return nil }
    case 17:
      guard length >= 8, frame.word(at: payload + 6) != 0 else { return nil }
    default: return nil
    }
    let addresses = version == 4 ? start + 12..<start + 20 : start + 8..<start + 40
    var sum = InternetChecksum.sum(frame, from: addresses.lowerBound, to: addresses.upperBound)
    sum = InternetChecksum.add(sum, UInt16(transport))
    sum = InternetChecksum.add(sum, UInt16(truncatingIfNeeded: length))
    sum = InternetChecksum.add(sum, InternetChecksum.sum(frame, from: payload, to: end))
    return sum == 0xFFFF
  }
}
