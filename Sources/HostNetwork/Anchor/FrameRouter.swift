/// Decides where each frame of a card goes when some of the guest's flows have their sockets on hosts that it has left. No
/// sockets, no clock.
///
/// Flows that an anchor knows go to it, in both directions, and so does a segment in the middle of a connection that nobody
/// knows: the newest anchor is the one that may have forgotten it. All else is this host's: what begins, what is answered one
/// by one (DNS, NTP, echo requests), what finds and configures addresses.
struct FrameRouter {
  /// Where a frame of the guest's goes.
  enum Route: Equatable {
    case to(FlowCarrier)
    /// Whoever wants to know where the guest is.
    case everyone
    /// Nobody can say before an anchor has told which flows it has.
    case wait
    case nowhere
    /// To the stack, and the flow of the same name that an anchor still had is ended there by this frame.
    case anew(ends: Int, [UInt8])
  }

  /// What becomes of a frame for the guest.
  enum Verdict: Equatable {
    case deliver
    case drop
    /// The guest has a flow of that name already: whose frame this is gets this answer.
    case refuse([UInt8])
  }

  /// The guest is on another host, which asks for nothing here but what began here: who has the machine now has the flows
  /// that it had, and not this host's network.
  var opensNothing = false

  /// Flows, and who carries them.
  private(set) var table = FlowTable()
  /// The numbers of the anchors' links, the newest last, and whether each has told its flows.
  private var anchors: [(number: Int, isListed: Bool)] = []

  /// Servers' ports of UDP whose answers stand each for itself, so that there is no reason to go on asking the old host: DNS,
  /// NTP.
  private static let oneByOne: Set<UInt16> = [53, 123]

  // MARK: Anchors

  mutating func add(anchor number: Int) { anchors.append((number, false)) }

  /// The anchor tells of a flow.
  mutating func add(_ flow: Flow, of number: Int, now: Int64) { table.add(flow, .anchor(number), now: now) }

  /// It has told all that it has.
  mutating func isListed(_ number: Int) {
    for index in anchors.indices where anchors[index].number == number { anchors[index].isListed = true }
  }

  var waitsForList: Bool { anchors.contains { !$0.isListed } }

  /// An anchor is gone.
  /// - Returns: its flows that had not ended.
  mutating func lose(anchor number: Int) -> [Flow] {
    anchors.removeAll { $0.number == number }
    return table.remove(of: .anchor(number))
  }

  mutating func expire(now: Int64) { table.expire(now: now) }

  // MARK: Frames

  mutating func route(_ frame: [UInt8], now: Int64) -> Route {
    switch FramePacket(frame, .fromGuest) {
    case .flow(let key, let header):
      // To groups nobody answers for another; a flow it is not.
      if frame[0] & 1 != 0 || Self.isOneByOne(key) { return opensNothing ? .nowhere : .to(.stack) }
      return route(key, frame, header, now: now)
    case .whereabouts: return anchors.isEmpty ? .to(.stack) : .everyone
    case .question, .icmp, .configuration, .fragment, .other: return opensNothing ? .nowhere : .to(.stack)
    }
  }

  private static func isOneByOne(_ key: FlowKey) -> Bool { key.transport == .udp && oneByOne.contains(key.remote.port) }

  private mutating func route(_ key: FlowKey, _ frame: [UInt8], _ header: TCPHeader?, now: Int64) -> Route {
    if opensNothing, header.map(\.opens) ?? true {
      // It may repeat itself.
      guard let flow = table.find(key)?.flow, !flow.isOver, now - flow.lastUse < flow.patience,
        header == nil || !flow.isEstablished
      else { return .nowhere }
    }
    // Without anchors there is nothing to choose, only to learn.
    guard !anchors.isEmpty else {
      if header?.opens == true, table.find(key).map({ $0.flow.isOver || $0.flow.isEstablished }) == true {
        table.remove(key)
      }
      table.note(key, frame, header, .fromGuest, .stack, now: now)
      return .to(.stack)
    }
    if let (flow, carrier) = table.find(key) {
      let isOld = flow.isOver || now - flow.lastUse >= flow.patience
      if header?.opens == true, isOld || flow.isEstablished {
        table.remove(key)
        table.note(key, frame, header, .fromGuest, .stack, now: now)
        // A guest that has forgotten the connection, by a reset for instance.
        if case .anchor(let number) = carrier, !isOld, let reset = ResetSegment.forRemote(flow) {
          return .anew(ends: number, reset)
        }
        return .to(.stack)
      }
      if !isOld || key.transport == .tcp {
        table.note(key, frame, header, .fromGuest, carrier, now: now)
        return .to(carrier)
      }
      table.remove(key)
    }
    if let header {
      // What the anchor knows it answers, and is learned from that.
      if !header.opens, let newest = anchors.last { return .to(.anchor(newest.number)) }
    } else if waitsForList {
      return .wait
    }
    table.note(key, frame, header, .fromGuest, .stack, now: now)
    return .to(.stack)
  }

  /// A frame for the guest, from who carries its flow.
  mutating func judge(_ frame: [UInt8], from carrier: FlowCarrier, now: Int64) -> Verdict {
    switch FramePacket(frame, .toGuest) {
    case .flow(let key, let header):
      if frame[0] & 1 != 0 || Self.isOneByOne(key) { return .deliver }
      return judge(key, frame, header, carrier, now: now)
    // The guest's own stack is here: it asks that one, which has the same answers.
    case .whereabouts, .configuration, .other: return carrier == .stack ? .deliver : .drop
    case .question, .icmp, .fragment: return .deliver
    }
  }

  private mutating func judge(
    _ key: FlowKey, _ frame: [UInt8], _ header: TCPHeader?, _ carrier: FlowCarrier, now: Int64
  ) -> Verdict {
    if let (flow, owner) = table.find(key) {
      let isOld = flow.isOver || now - flow.lastUse >= flow.patience
      if owner != carrier {
        if !isOld {
          guard let header else { return .deliver }
          guard header.opens else { return .drop }
          // Two hosts' port forwards can have clients of one name.
          var refused = Flow(key)
          refused.note(frame, header, .toGuest, now: now)
          return ResetSegment.forRemote(refused).map { .refuse($0) } ?? .drop
        }
        table.remove(key)
      } else if header?.opens == true, isOld {
        table.remove(key)
      }
    }
    // A reset of what nobody knows is an answer, no flow.
    if let header, header.flags.contains(.rst), table.carrier(key) == nil { return .deliver }
    table.note(key, frame, header, .toGuest, carrier, now: now)
    return .deliver
  }
}
