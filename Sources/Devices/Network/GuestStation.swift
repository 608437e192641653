/// What a network has been told of a guest behind a cable: its Ethernet address and the addresses of IP that it uses. From
/// that it can be announced where it now is, when it has moved.
///
/// It learns from what the guest says of itself: ARP (RFC 826), and neighbour discovery of IPv6 (RFC 4861). What it forwards
/// for others is not looked at.
public struct GuestStation: Codable, Equatable, Sendable {
  /// Bytes of a frame that `learn` looks at, at most.
  public static let longestLesson = 96
  /// Addresses kept of each kind; of more, those used last.
  static let limit = 16

  /// Source address of the last frame; empty: it has not sent any.
  private(set) var address: [UInt8] = []
  /// Four bytes each, the one used last at the end.
  private(set) var ipv4: [[UInt8]] = []
  /// Sixteen bytes each.
  private(set) var ipv6: [[UInt8]] = []

  /// One that has said nothing yet.
  public init() {}

  /// Whether a state of it could have come about.
  public var isPlausible: Bool {
    (address.isEmpty || address.count == 6) && ipv4.count <= Self.limit && ipv6.count <= Self.limit
      && ipv4.allSatisfy { $0.count == 4 } && ipv6.allSatisfy { $0.count == 16 }
  }

  /// Whether a frame is for this station alone.
  public func isAddressed(by frame: [UInt8]) -> Bool { frame.count >= 6 && frame[..<6].elementsEqual(address) }

  // MARK: Learning

  /// A frame that the guest has sent.
  public mutating func learn(_ frame: [UInt8]) {
    guard frame.count >= 14, frame[6] & 1 == 0 else { return }
    if !frame[6..<12].elementsEqual(address) { address = Array(frame[6..<12]) }
    switch (frame[12], frame[13]) {
    case (0x08, 0x06): learnARP(frame)
    case (0x86, 0xDD): learnNeighbour(frame)
    default: break
    }
  }

  /// The sender's own addresses are at 22 and 28, for Ethernet and IPv4.
  private mutating func learnARP(_ frame: [UInt8]) {
    guard frame.count >= 42, frame[14..<20].elementsEqual([0, 1, 8, 0, 6, 4]), frame[22..<28].elementsEqual(address)
    else { return }
    Self.note(frame[28..<32], in: &ipv4)
  }

  /// Of an advertisement it is the target that is its own; of a solicitation the source, or, while it asks whether somebody has
  /// the address already, the target.
  private mutating func learnNeighbour(_ frame: [UInt8]) {
    guard frame.count >= 78, frame[20] == 58, frame[21] == 255 else { return }
    let source = frame[22..<38]
    switch frame[54] {
    case 135: Self.note(source.allSatisfy { $0 == 0 } ? frame[62..<78] : source, in: &ipv6)
    case 136: Self.note(frame[62..<78], in: &ipv6)
    default: break
    }
  }

  private static func note(_ address: ArraySlice<UInt8>, in list: inout [[UInt8]]) {
    guard address.contains(where: { $0 != 0 }) else { return }
    if let last = list.last, address.elementsEqual(last) { return }
    list.removeAll { address.elementsEqual($0) }
    list.append(Array(address))
    if list.count > limit { list.removeFirst() }
  }

  // MARK: Announcing

  /// The frames that tell a network where the guest is: a request of RARP (RFC 903), from which every switch learns, a
  /// gratuitous ARP for each address of IPv4 (RFC 5227, 3), an unsolicited neighbour advertisement for each of IPv6 (RFC
  /// 4861, 7.2.6).
  /// - Parameter fallback: the station's address if it has not sent anything.
  public func announcement(_ fallback: MACAddress) -> [[UInt8]] {
    let station = address.isEmpty ? fallback.bytes : address
    let nobody = [UInt8](repeating: 0, count: 4)
    return [Self.arp(station, type: [0x80, 0x35], operation: 3, nobody, target: station)]
      + ipv4.map { Self.arp(station, type: [0x08, 0x06], operation: 1, $0, target: [0, 0, 0, 0, 0, 0]) }
      + ipv6.map { Self.advertisement(station, $0) }
  }

  private static func arp(
    _ station: [UInt8], type: [UInt8], operation: UInt8, _ ip: [UInt8], target: [UInt8]
  ) -> [UInt8] {
    let head = MACAddress.broadcast.bytes + station + type + [0, 1, 8, 0, 6, 4, 0, operation]
    return head + station + ip + target + ip + [UInt8](repeating: 0, count: 18)
  }

  private static func advertisement(_ station: [UInt8], _ ip: [UInt8]) -> [UInt8] {
    let everyone: [UInt8] = [0xFF, 0x02] + [UInt8](repeating: 0, count: 13) + [1]
    // Override, nobody has asked; with the option of the target's link-layer address.
    var message: [UInt8] = [136, 0, 0, 0, 0x20, 0, 0, 0] + ip + [2, 1] + station
    let summed = ip + everyone + [0, 0, 0, UInt8(message.count), 0, 0, 0, 58] + message
    message.setWord(at: 2, ~InternetChecksum.sum(summed, from: 0, to: summed.count))
    return [0x33, 0x33, 0, 0, 0, 1] + station + [0x86, 0xDD, 0x60, 0, 0, 0, 0, UInt8(message.count), 58, 255] + ip
      + everyone + message
  }
}

/// When a guest that has moved is announced: at once, then after 50, 150, 350 ms and so on up to every 5 s, for a minute or
/// until traffic has come both ways.
public struct AnnouncementSchedule: Equatable, Sendable {
  private static let longest: UInt64 = 60_000_000_000
  private static let rarest: UInt64 = 5_000_000_000

  /// Guest nanoseconds when it is to be announced next; nil: it is not.
  public private(set) var next: UInt64?
  private let end: UInt64
  private var interval: UInt64 = 50_000_000
  private var hasSent = false
  private var hasReceived = false

  /// - Parameter now: guest time in nanoseconds.
  public init(now: UInt64) {
    next = now
    end = now &+ Self.longest
  }

  /// It has been announced.
  public mutating func announced(now: UInt64) {
    guard next != nil else { return }
    next = now &+ interval
    interval = min(interval * 2 + 50_000_000, Self.rarest)
    if now &+ 1 > end { next = nil }
  }

  /// The guest has sent a frame of its own.
  public mutating func sent() {
    hasSent = true
    settle()
  }

  /// A frame has come that is for the guest alone.
  public mutating func received() {
    hasReceived = true
    settle()
  }

  private mutating func settle() { if hasSent && hasReceived { next = nil } }
}
