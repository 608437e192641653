/// What is left to do on a frame before it can go over a wire: a checksum to fill in, a large TCP packet to cut.
///
/// Source: virtio 1.2, 5.1.6 (struct virtio_net_hdr); Linux's taps with IFF_VNET_HDR have the same.
public struct FrameOffload: Codable, Equatable, Sendable {
  /// How a packet is to be cut.
  public enum Segmentation: UInt8, Codable, Sendable {
    case none = 0
    case tcp4 = 1
    case tcp6 = 4
  }

  /// Bytes of the header in front of a frame, without the number of buffers.
  public static let headerLength = 10
  /// With the number of buffers, which is 0 outside of guests.
  public static let paddedHeaderLength = 12

  /// The checksum of all from `checksumStart` on belongs at `checksumStart + checksumOffset`, where the pseudo header's sum is.
  public var needsChecksum = false
  /// Checksums have been looked at and are right.
  public var isChecked = false
  /// Whether, and as what, it is to be cut.
  public var segmentation = Segmentation.none
  /// The connection uses explicit congestion notification (RFC 3168): only the first segment keeps CWR.
  public var hasECN = false
  /// Bytes of headers, as a hint.
  public var hint: UInt16 = 0
  /// Payload of each segment, in bytes.
  public var segmentSize: UInt16 = 0
  /// Bytes from the frame's beginning.
  public var checksumStart: UInt16 = 0
  /// Bytes from `checksumStart` on.
  public var checksumOffset: UInt16 = 0

  /// Nothing is left to do.
  public init() {}

  /// From the header in front of a frame; nil when it asks for what there is not.
  public init?(header: some RandomAccessCollection<UInt8>) {
    guard header.count >= Self.headerLength else { return nil }
    let bytes = Array(header.prefix(Self.headerLength))
    func word(_ offset: Int) -> UInt16 { UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8 }
    guard let segmentation = Segmentation(rawValue: bytes[1] & 0x7F) else { return nil }
    needsChecksum = bytes[0] & 1 != 0
    isChecked = bytes[0] & 2 != 0
    self.segmentation = segmentation
    hasECN = bytes[1] & 0x80 != 0
    hint = word(2)
    segmentSize = word(4)
    checksumStart = word(6)
    checksumOffset = word(8)
  }

  /// Whether anything is left to do.
  public var isDone: Bool { !needsChecksum && segmentation == .none }

  /// A frame with nothing left to do, as a packet with a header.
  public static func packet(_ frame: [UInt8]) -> [UInt8] {
    var packet = [UInt8]()
    packet.reserveCapacity(paddedHeaderLength + frame.count)
    packet.append(contentsOf: repeatElement(0, count: paddedHeaderLength))
    packet.append(contentsOf: frame)
    return packet
  }

  /// A packet with a header as one frame, however long, with its checksum; nil where that cannot be.
  public static func longFrame(ofPacket packet: [UInt8]) -> [UInt8]? {
    let start = paddedHeaderLength
    guard packet.count > start, let offload = FrameOffload(header: packet.prefix(headerLength)) else { return nil }
    var frame = Array(packet[start...])
    guard offload.needsChecksum else { return offload.segmentation == .none ? frame : nil }
    let (from, place) = (Int(offload.checksumStart), Int(offload.checksumStart) + Int(offload.checksumOffset))
    guard from < frame.count, place + 2 <= frame.count else { return nil }
    frame.putChecksum(of: from..<frame.count, at: place)
    return frame
  }

  /// The frames that a packet with a header is, after all the work; none where it cannot be done.
  public static func frames(ofPacket packet: [UInt8]) -> [[UInt8]] {
    guard packet.count > paddedHeaderLength, let offload = FrameOffload(header: packet.prefix(headerLength)) else {
      return []
    }
    let frame = Array(packet[paddedHeaderLength...])
    guard !offload.isDone else { return [frame] }
    var finisher = FrameFinisher(frame, offload)
    var frames: [[UInt8]] = []
    while let next = finisher?.next() { frames.append(next) }
    return frames
  }

  /// As it stands in front of a frame.
  public var header: [UInt8] {
    let flags: UInt8 = (needsChecksum ? 1 : 0) | (isChecked ? 2 : 0)
    let kind = segmentation.rawValue | (hasECN ? 0x80 : 0)
    return [flags, kind]
      + [hint, segmentSize, checksumStart, checksumOffset].flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
  }
}

/// Makes of a packet with work left to do the frames that go over the wire, one at a time. What is left of it can be saved.
struct FrameFinisher: Codable, Equatable, Sendable {
  /// Smallest segment that a packet is cut into: with less, one packet would become tens of thousands of frames. TCP's own
  /// smallest is far above (RFC 9293, 3.7.1: 536 bytes, unless a peer says less).
  static let smallestSegment = 8

  /// Headers and all of the payload.
  private var bytes: [UInt8]
  private let offload: FrameOffload
  /// Where IP's header and TCP's begin, and the payload.
  private var network = 0
  private var transport = 0
  private var payload = 0
  /// Payload sent, and frames.
  private var sent = 0
  private var frames: UInt32 = 0
  private(set) var isDone = false

  /// nil when the work cannot be done on these bytes.
  init?(_ bytes: [UInt8], _ offload: FrameOffload) {
    self.bytes = bytes
    self.offload = offload
    guard bytes.count >= 14 else { return nil }
    if offload.segmentation != .none {
      guard findHeaders() else { return nil }
    } else if offload.needsChecksum {
      let (start, place) = (Int(offload.checksumStart), Int(offload.checksumStart) + Int(offload.checksumOffset))
      guard start < bytes.count, place + 2 <= bytes.count else { return nil }
    }
  }

  /// Finds the headers of a packet that is to be cut. What the header in front of it says is believed as far as the packet
  /// agrees.
  private mutating func findHeaders() -> Bool {
    guard offload.needsChecksum, Int(offload.segmentSize) >= Self.smallestSegment else { return false }
    network = 14
    while bytes.count >= network + 20, [0x8100, 0x88A8].contains(bytes.word(at: network - 2)), network < 22 {
      network += 4
    }
    transport = Int(offload.checksumStart)
    let isIPv4 = offload.segmentation == .tcp4
    guard bytes.word(at: network - 2) == (isIPv4 ? 0x0800 : 0x86DD) else { return false }
    guard transport >= network + (isIPv4 ? 20 : 40), bytes.count >= transport + 20 else { return false }
    guard bytes[network] >> 4 == (isIPv4 ? 4 : 6) else { return false }
    if isIPv4, transport != network + Int(bytes[network] & 15) * 4 { return false }
    payload = transport + Int(bytes[transport + 12] >> 4) * 4
    return payload >= transport + 20 && payload <= bytes.count
  }

  /// Whether a saved one can have been.
  var isPlausible: Bool {
    guard bytes.count <= 0x2_0000, let fresh = FrameFinisher(bytes, offload) else { return false }
    return network == fresh.network && transport == fresh.transport && payload == fresh.payload
      && (0...bytes.count).contains(sent) && payload + sent <= bytes.count
  }

  /// The next frame; nil when there are no more.
  mutating func next() -> [UInt8]? {
    guard !isDone else { return nil }
    guard offload.segmentation != .none else {
      isDone = true
      if offload.needsChecksum {
        let start = Int(offload.checksumStart)
        bytes.putChecksum(of: start..<bytes.count, at: start + Int(offload.checksumOffset))
      }
      return bytes
    }
    let count = min(Int(offload.segmentSize), bytes.count - payload - sent)
    isDone = payload + sent + count == bytes.count
    var frame = [UInt8]()
    frame.reserveCapacity(payload + count)
    frame.append(contentsOf: bytes[..<payload])
    frame.append(contentsOf: bytes[(payload + sent)..<(payload + sent + count)])
    finish(&frame)
    sent += count
    frames &+= 1
    return frame
  }

  /// Makes lengths, identification, sequence number, flags and checksums those of this segment.
  private func finish(_ frame: inout [UInt8]) {
    let length = UInt16(truncatingIfNeeded: frame.count - network)
    if offload.segmentation == .tcp4 {
      frame.setWord(at: network + 2, length)
      frame.setWord(at: network + 4, frame.word(at: network + 4) &+ UInt16(truncatingIfNeeded: frames))
      frame.setWord(at: network + 10, 0)
      frame.putChecksum(of: network..<transport, at: network + 10)
    } else {
      frame.setWord(at: network + 4, length &- 40)
    }
    frame.setLong(at: transport + 4, frame.long(at: transport + 4) &+ UInt32(truncatingIfNeeded: sent))
    // FIN and PSH are the last segment's, CWR the first one's.
    if !isDone { frame[transport + 13] &= ~0x09 }
    if frames > 0, offload.hasECN { frame[transport + 13] &= ~0x80 }
    let addresses = offload.segmentation == .tcp4 ? network + 12..<network + 20 : network + 8..<network + 40
    var sum = InternetChecksum.sum(frame, from: addresses.lowerBound, to: addresses.upperBound)
    sum = InternetChecksum.add(sum, 6)
    sum = InternetChecksum.add(sum, UInt16(truncatingIfNeeded: frame.count - transport))
    frame.setWord(at: transport + 16, sum)
    frame.putChecksum(of: transport..<frame.count, at: transport + 16)
  }
}

extension [UInt8] {
  /// Puts the Internet checksum of a stretch at `place`; what stands there counts. 0 is written as its other form, since UDP
  /// knows 0 as "none" (RFC 768).
  fileprivate mutating func putChecksum(of range: Range<Int>, at place: Int) {
    let sum = ~InternetChecksum.sum(self, from: range.lowerBound, to: range.upperBound)
    setWord(at: place, sum == 0 ? 0xFFFF : sum)
  }
}
