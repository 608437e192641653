/// What is known of one flow from the frames that have gone by.
struct Flow: Equatable, Sendable {
  struct Marks: OptionSet, Codable, Equatable, Sendable {
    var rawValue: UInt8
    /// Something has come from the other end.
    static let isAnswered = Marks(rawValue: 1)
    /// The guest has acknowledged something.
    static let guestHasAcknowledged = Marks(rawValue: 2)
    /// The guest, the other end, has sent all that it has to send.
    static let guestIsDone = Marks(rawValue: 4)
    static let remoteIsDone = Marks(rawValue: 8)
    static let isReset = Marks(rawValue: 16)
  }

  let key: FlowKey
  var marks: Marks = []
  /// Milliseconds of the monotonic clock.
  var lastUse: Int64 = 0
  /// The sequence number that the guest sends next, as far as was seen.
  var guestNext: UInt32 = 0
  /// What the guest expects next, as it has said itself.
  var guestExpects: UInt32 = 0
  /// The sequence number that the other end sends next.
  var remoteNext: UInt32 = 0
  /// Ethernet addresses of the guest and of who stands for the other end.
  var guestAddress: [UInt8] = []
  var gatewayAddress: [UInt8] = []

  init(_ key: FlowKey) { self.key = key }

  /// The handshake of TCP is done.
  var isEstablished: Bool { marks.contains([.isAnswered, .guestHasAcknowledged]) }

  /// Nothing more comes of it but last acknowledgements.
  var isOver: Bool { marks.contains(.isReset) || marks.contains([.guestIsDone, .remoteIsDone]) }

  /// Milliseconds of silence after which it counts as ended. As Linux' connection tracking has them, by and large
  /// (Documentation/networking/nf_conntrack-sysctl.rst).
  var patience: Int64 {
    if marks.contains(.isReset) { return 1_000 }
    if isOver { return 10_000 }
    guard key.transport == .tcp else { return marks.contains(.isAnswered) ? 180_000 : 30_000 }
    guard isEstablished else { return 120_000 }
    return marks.isDisjoint(with: [.guestIsDone, .remoteIsDone]) ? 5 * 86_400_000 : 600_000
  }

  /// Takes notice of one of its frames.
  mutating func note(_ frame: [UInt8], _ header: TCPHeader?, _ direction: FramePacket.Direction, now: Int64) {
    lastUse = now
    if guestAddress.isEmpty {
      let addresses = (Array(frame[0..<6]), Array(frame[6..<12]))
      (guestAddress, gatewayAddress) = direction == .toGuest ? addresses : (addresses.1, addresses.0)
    }
    if direction == .toGuest { marks.insert(.isAnswered) }
    guard let header else { return }
    if header.flags.contains(.rst) { marks.insert(.isReset) }
    switch direction {
    case .fromGuest:
      if header.flags.contains(.fin) { marks.insert(.guestIsDone) }
      if header.flags.contains(.ack) {
        guestExpects = header.acknowledged
        marks.insert(.guestHasAcknowledged)
      }
      guestNext = Self.later(guestNext, header.next, isFirst: header.flags.contains(.syn))
    case .toGuest:
      if header.flags.contains(.fin) { marks.insert(.remoteIsDone) }
      remoteNext = Self.later(remoteNext, header.next, isFirst: header.flags.contains(.syn))
    }
  }

  /// Sequence numbers wrap (RFC 9293, 3.4).
  private static func later(_ old: UInt32, _ new: UInt32, isFirst: Bool) -> UInt32 {
    isFirst || old == 0 || Int32(bitPattern: new &- old) > 0 ? new : old
  }
}

/// A flow as one process tells another of it. Clocks are not the same: it says for how long the flow has been silent.
struct FlowNotice: Codable, Equatable, Sendable {
  var key: FlowKey
  var marks: Flow.Marks
  var idle: Int64
  var guestNext: UInt32
  var guestExpects: UInt32
  var remoteNext: UInt32
  var guestAddress: [UInt8]
  var gatewayAddress: [UInt8]
  /// Where its sockets are, when that is not who tells of it.
  var host: String?

  init(_ flow: Flow, host: String?, now: Int64) {
    key = flow.key
    marks = flow.marks
    idle = max(0, now - flow.lastUse)
    (guestNext, guestExpects, remoteNext) = (flow.guestNext, flow.guestExpects, flow.remoteNext)
    (guestAddress, gatewayAddress) = (flow.guestAddress, flow.gatewayAddress)
    self.host = host
  }

  /// nil: it is none.
  func flow(now: Int64) -> Flow? {
    guard idle >= 0, idle <= 1 << 40, guestAddress.isEmpty || (guestAddress.count == 6 && gatewayAddress.count == 6)
    else {
      return nil
    }
    var flow = Flow(key)
    flow.marks = marks
    flow.lastUse = now - idle
    (flow.guestNext, flow.guestExpects, flow.remoteNext) = (guestNext, guestExpects, remoteNext)
    (flow.guestAddress, flow.gatewayAddress) = (guestAddress, gatewayAddress)
    return flow
  }
}
