/// Who has the sockets of a flow.
enum FlowCarrier: Hashable, Sendable {
  /// The stack of this process.
  case stack
  /// An anchor, by the number of its link.
  case anchor(Int)
}

/// The flows of one network card and who carries each. No clock, no sockets: time comes in with each call.
///
/// It learns from frames both ways. Its size is bounded: where there is no room, flows that have ended go first, then those
/// that have been silent longest.
struct FlowTable {
  /// Flows that are remembered, at most.
  static let limit = 4096
  /// So many leave it at once when it is full, so that a guest that opens flow after flow does not pay for a search each time.
  private static let batch = limit / 16

  private struct Entry {
    var flow: Flow
    var carrier: FlowCarrier
  }

  private var entries: [FlowKey: Entry] = [:]

  /// Flows that are remembered, some of which may have ended.
  var count: Int { entries.count }

  /// Who carries a flow, and what is known of it. nil: nothing is.
  func find(_ key: FlowKey) -> (flow: Flow, carrier: FlowCarrier)? {
    entries[key].map { ($0.flow, $0.carrier) }
  }

  /// Who carries a flow.
  func carrier(_ key: FlowKey) -> FlowCarrier? { entries[key]?.carrier }

  /// Takes notice of a frame of a flow that has no carrier yet, or has this one.
  mutating func note(
    _ key: FlowKey, _ frame: [UInt8], _ header: TCPHeader?, _ direction: FramePacket.Direction, _ carrier: FlowCarrier,
    now: Int64
  ) {
    // In place: this is done for each frame.
    if entries[key]?.flow.note(frame, header, direction, now: now) != nil { return }
    makeRoom(now: now)
    var flow = Flow(key)
    flow.note(frame, header, direction, now: now)
    entries[key] = Entry(flow: flow, carrier: carrier)
  }

  /// Takes in a flow that somebody else tells of, unless there is one of this name that lives.
  mutating func add(_ flow: Flow, _ carrier: FlowCarrier, now: Int64) {
    if let old = entries[flow.key], !old.flow.isOver { return }
    guard now - flow.lastUse < flow.patience else { return }
    makeRoom(now: now)
    entries[flow.key] = Entry(flow: flow, carrier: carrier)
  }

  /// Forgets a flow, so that its name can be another's.
  mutating func remove(_ key: FlowKey) { entries[key] = nil }

  /// Forgets all flows of a carrier.
  /// - Returns: those that had not ended.
  mutating func remove(of carrier: FlowCarrier) -> [Flow] {
    let gone = entries.values.filter { $0.carrier == carrier }
    for entry in gone { entries[entry.flow.key] = nil }
    return gone.map(\.flow).filter { !$0.isOver }
  }

  /// Forgets what has ended or has been silent for too long.
  mutating func expire(now: Int64) {
    entries = entries.filter { now - $0.value.flow.lastUse < $0.value.flow.patience }
  }

  /// The flows and their carriers, in the order of their names.
  var all: [(flow: Flow, carrier: FlowCarrier)] {
    entries.values.map { ($0.flow.key.description, $0) }.sorted { $0.0 < $1.0 }.map { ($0.1.flow, $0.1.carrier) }
  }

  private mutating func makeRoom(now: Int64) {
    guard entries.count >= Self.limit else { return }
    expire(now: now)
    let excess = entries.count - (Self.limit - Self.batch)
    guard entries.count >= Self.limit else { return }
    let oldest = entries.values.map(\.flow).sorted { $0.lastUse < $1.lastUse }
    for flow in oldest.prefix(excess) { entries[flow.key] = nil }
  }
}
