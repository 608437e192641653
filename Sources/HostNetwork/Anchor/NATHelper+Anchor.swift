import Foundation

/// How a VM process has the flows of its machine outlive a teleport.
extension NATHelper {
  /// What hangs on the NAT process; nil when it does not answer soon.
  public func report() -> NATReport? { try? ask(.report, within: 2).report }

  /// What its process's sandbox keeps it from, tried from within: a line for each attempt.
  /// - Throws: `HostNetworkError` when it does not answer.
  public func probe(_ target: ProbeTarget) throws -> String { try ask(.probe) { $0.target = target }.text ?? "" }

  /// The guest's connections, for `reset` at another time; as they are kept in a file. Up to 200.
  /// - Throws: `HostNetworkError` when the NAT process does not answer.
  public func connections() throws -> Data { try JSONEncoder().encode(ask(.connections, within: 2).flows ?? []) }

  /// The guest is told that connections are lost, which it has from when the machine's state was saved.
  /// - Parameter connections: as `connections` gave them.
  /// - Returns: how many.
  /// - Throws: `HostNetworkError` when that is nothing of the kind, or the NAT process does not answer.
  public func reset(_ connections: Data) throws -> Int {
    guard let flows = try? JSONDecoder().decode([FlowNotice].self, from: connections) else {
      throw HostNetworkError("the list of connections cannot be understood")
    }
    guard !flows.isEmpty else { return 0 }
    try ask(.reset, within: 2) { $0.flows = flows }
    return flows.count
  }

  /// The machine has come with flows whose sockets another host has. To be called before `connect`.
  /// - Parameters: link: the connection to that host's NAT process, then no longer the caller's. key: 32 bytes that both ends
  ///   have; nil: nothing on it is encrypted.
  /// - Throws: `HostNetworkError` when the NAT process does not take it: then those flows are lost.
  public func join(_ link: Int32, key: [UInt8]? = nil) throws(HostNetworkError) {
    try ask(.join, [link], within: 2) { $0.key = key.map { Data($0) } }
  }

  /// The machine has gone to another host, for good: the NAT process goes on by itself as the anchor of its flows, until the
  /// last of them ends. This helper has ended then.
  /// - Parameters: link: the connection to the NAT process where the machine is now. key: as in `join`. file: open and
  ///   locked, for the anchor's status, and for others to see that it lives. Both are then no longer the caller's.
  /// - Throws: `HostNetworkError` when it does not come to that: then the NAT process has ended, and the flows with it.
  public func leave(_ link: Int32, key: [UInt8]? = nil, file: Int32, status: AnchorStatus) throws(HostNetworkError) {
    defer {
      close(link)
      close(file)
    }
    guard let connection = takeProcess() else { throw HostNetworkError("there is no NAT process") }
    defer {
      close(connection.frames)
      close(connection.control)
      giveUpRequests(because: "the machine has gone to another host")
    }
    do {
      try hand(connection, link, key, file, status)
      connection.release()
    } catch {
      _ = connection.end()
      throw error
    }
  }

  private func hand(
    _ connection: NATConnection, _ link: Int32, _ key: [UInt8]?, _ file: Int32, _ status: AnchorStatus
  ) throws(HostNetworkError) {
    let control = connection.control
    // From here on each step is waited for, though not for long.
    _ = fcntl(control, F_SETFL, fcntl(control, F_GETFL) & ~O_NONBLOCK)
    var patience = timeval(tv_sec: 2, tv_usec: 0)
    for option in [SO_SNDTIMEO, SO_RCVTIMEO] {
      setsockopt(control, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
    }
    var replies = JSONLines()
    try send(NATRequest(number: Self.hold, action: .hold), [], control)
    try expectReply(Self.hold, &replies, control)
    // What it has sent before, and the machine has not had: nothing of that is lost.
    while mover.readRest(connection.frames) {}
    for frame in mover.takeUndelivered() {
      try send(NATRequest(number: 0, action: .undelivered, frame: Data(frame)), [], control)
    }
    let request = NATRequest(number: Self.anchor, action: .anchor, status: status, key: key.map { Data($0) })
    try send(request, [link, file], control)
    try expectReply(Self.anchor, &replies, control)
  }

  /// Numbers of these requests, which no other has.
  private static let hold = -1
  private static let anchor = -2

  private func send(_ request: NATRequest, _ descriptors: [Int32], _ socket: Int32) throws(HostNetworkError) {
    requests.append { if descriptors.isEmpty { $0 += JSONLines.line(request) } }
    guard requests.flush(socket), requests.isEmpty else { throw HostNetworkError("the NAT process has ended") }
    guard descriptors.isEmpty || DescriptorPassing.send(socket, JSONLines.line(request), descriptors) else {
      throw HostNetworkError("the NAT process has ended")
    }
  }

  private func expectReply(_ number: Int, _ replies: inout JSONLines, _ socket: Int32) throws(HostNetworkError) {
    while true {
      guard let (bytes, _) = DescriptorPassing.receive(socket), let lines = replies.append(bytes) else {
        throw HostNetworkError("the NAT process does not answer")
      }
      let all = lines.compactMap { try? JSONDecoder().decode(NATReply.self, from: $0) }
      guard let reply = all.first(where: { $0.number == number }) else { continue }
      if let problem = reply.problem { throw HostNetworkError(problem) }
      return
    }
  }
}
