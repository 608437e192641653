import Foundation

/// Flows that outlive a teleport. A machine that moves to another host leaves the sockets of its flows behind, in the NAT
/// process of the host that it has left. That process stays, as their anchor: it serves the NAT process of the new host as it
/// served the machine, over a connection that the teleport's two sides have made.
///
///     guest -- VM process -- NAT process of C -- NAT process of B -- NAT process of A
///                                  |                   |                   |
///                              new flows      flows from when it was    flows from when
///                                                   on B                it was on A
///
/// So a process has one client, the guest or the next host, and some anchors; and a chain of teleports is a chain of those.
struct KnownAnchor {
  let link: AnchorLink
  /// Its host, for people.
  var host: String
  /// The hosts of flows that it has from anchors of its own.
  var elsewhere: [FlowKey: String] = [:]
  /// Milliseconds: the flows that it has are awaited until then.
  var listDue: Int64
}

/// What a NAT process keeps that has become an anchor.
struct AnchorDuty {
  /// Holds a lock as long as the process lives, and has its status.
  let file: Int32
  var status: AnchorStatus
  var lookedAt: Int64 = 0

  mutating func write(_ report: NATReport) {
    guard status.report != report else { return }
    status.report = report
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    encoder.dateEncodingStrategy = .iso8601
    guard let bytes = try? encoder.encode(status) else { return }
    // In one piece, over all of what was there.
    let padded = [UInt8](bytes) + [UInt8](repeating: 0x20, count: max(0, Int(lseek(file, 0, SEEK_END)) - bytes.count))
    _ = pwrite(file, padded, padded.count, 0)
  }

  func end() { ftruncate(file, 0) }
}

extension NATProcess {
  /// Anchors at a time: as many hosts as a machine may have left behind at once.
  static let anchorLimit = 8
  /// How long frames wait for an anchor to tell its flows, in milliseconds.
  private static let listPatience: Int64 = 5000

  // MARK: The new host's side

  /// - Parameter descriptor: the link to an anchor whose flows the guest has.
  /// - Returns: why not, for people.
  func join(_ descriptor: Int32, key: [UInt8]?) -> String? {
    let now = NATStack.milliseconds
    let link = AnchorLink(descriptor, key: key, isAnchor: false, now: now)
    guard anchors.count < Self.anchorLimit else {
      return
        "there are \(Self.anchorLimit) hosts with connections of the machine already; those of the last one are lost"
    }
    anchorCount += 1
    anchors[anchorCount] = KnownAnchor(
      link: link, host: link.peer ?? "another host", listDue: now + Self.listPatience)
    router.add(anchor: anchorCount)
    return nil
  }

  /// Reads what an anchor has sent.
  func readAnchor(_ number: Int) {
    guard let link = anchors[number]?.link else { return }
    // What it has sent before it ended counts.
    let isThere = link.read()
    do throws(HostNetworkError) {
      while let frame = try link.next() {
        switch router.judge(frame, from: .anchor(number), now: NATStack.milliseconds) {
        case .deliver: deliver(frame)
        case .drop: break
        case .refuse(let answer): link.put(answer)
        }
      }
    } catch {
      return lose(number, because: "is no longer understood (\(error))")
    }
    for event in link.takeEvents() {
      switch event {
      case .flows(let flows): take(flows, of: number)
      case .farewell: return forget(number)
      }
    }
    if !isThere { lose(number, because: "is gone") }
  }

  private func take(_ flows: AnchorLink.Flows, of number: Int) {
    guard var anchor = anchors[number] else { return }
    let now = NATStack.milliseconds
    let name = Self.clean(flows.host)
    let address = anchor.link.peer
    anchor.host = address.map { name.isEmpty ? $0 : "\(name) (\($0))" } ?? (name.isEmpty ? anchor.host : name)
    for notice in flows.flows {
      guard let flow = notice.flow(now: now) else { continue }
      router.add(flow, of: number, now: now)
      if let host = notice.host { anchor.elsewhere[notice.key] = Self.clean(host) }
    }
    anchors[number] = anchor
    if flows.isLast { isListed(number) }
  }

  private func isListed(_ number: Int) {
    router.isListed(number)
    takeWaiting()
  }

  /// What has waited for the flows of anchors goes its way.
  private func takeWaiting() {
    guard !router.waitsForList else { return }
    let frames = waiting
    waiting = []
    for frame in frames { take(frame) }
  }

  /// Texts of other hosts are shown on terminals.
  private static func clean(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.filter { (0x20..<0x7F).contains($0.value) }.prefix(80)))
  }

  /// An anchor has ended because its flows have.
  private func forget(_ number: Int) {
    guard anchors.removeValue(forKey: number) != nil else { return }
    _ = router.lose(anchor: number)
    takeWaiting()
  }

  /// An anchor does not answer any more. The guest is told at once that its connections are lost, in its peers' names: else it
  /// would wait for minutes.
  func lose(_ number: Int, because reason: String) {
    guard let anchor = anchors.removeValue(forKey: number) else { return }
    router.expire(now: NATStack.milliseconds)
    let lost = router.lose(anchor: number)
    for flow in lost { for frame in ResetSegment.forGuest(flow) { deliver(frame) } }
    let connections = lost.count { $0.key.transport == .tcp }
    resets += UInt64(connections)
    reply(
      NATReply(
        problem:
          "the NAT process on \(anchor.host), which has carried connections since the machine left that host, \(reason): "
          + (connections == 1 ? "1 connection is reset" : "\(connections) connections are reset")))
    takeWaiting()
  }

  // MARK: The old host's side

  /// The machine has gone to another host, where `descriptor` leads to.
  func becomeAnchor(_ descriptor: Int32, key: [UInt8]?, _ file: Int32, _ status: AnchorStatus) {
    let now = NATStack.milliseconds
    let rest = (client as? MachineChannel)?.takeUnwritten() ?? []
    close(client.descriptor)
    // Whoever waits for the end of what the VM process prints does not wait for this one, and no terminal's keys end it.
    dup2(0, 1)
    dup2(0, 2)
    setsid()
    let link = AnchorLink(descriptor, key: key, isAnchor: true, now: now)
    router.expire(now: now)
    let notices = router.table.all.filter { !$0.flow.isOver }.map { flow, carrier in
      FlowNotice(flow, host: host(of: flow.key, carrier), now: now)
    }
    link.put(flows: notices, host: Self.hostName, now: now)
    for frame in undelivered + rest { link.put(frame) }
    undelivered = []
    client = link
    router.opensNothing = true
    isHolding = false
    var status = status
    status.process = getpid()
    duty = AnchorDuty(file: file, status: status)
  }

  private static var hostName: String {
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, 255)
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private func host(of key: FlowKey, _ carrier: FlowCarrier) -> String? {
    guard case .anchor(let number) = carrier, let anchor = anchors[number] else { return nil }
    return anchor.elsewhere[key] ?? anchor.host
  }

  /// So many connections are told of one by one, so that they fit into a line.
  private static let connectionLimit = 200

  /// The guest's connections that are open, wherever their sockets are.
  func connections() -> [FlowNotice] {
    let now = NATStack.milliseconds
    router.expire(now: now)
    let open = router.table.all.filter { !$0.flow.isOver && $0.flow.key.transport == .tcp }
    return open.prefix(Self.connectionLimit).map { FlowNotice($0.flow, host: nil, now: now) }
  }

  /// The guest is told that connections are lost: they were those of a process that is gone.
  func reset(_ flows: [FlowNotice]) {
    let now = NATStack.milliseconds
    for flow in flows.prefix(Self.connectionLimit).compactMap({ $0.flow(now: now) }) {
      for frame in ResetSegment.forGuest(flow) { deliver(frame) }
      resets += 1
    }
  }

  /// What hangs on this process.
  func report() -> NATReport {
    router.expire(now: NATStack.milliseconds)
    var report = NATReport()
    report.resets = resets
    for (flow, carrier) in router.table.all where !flow.isOver {
      report.add(flow.key, host: host(of: flow.key, carrier))
    }
    report.hosts.sort { ($0.name ?? "") < ($1.name ?? "") }
    return report
  }

  // MARK: Time

  /// Milliseconds until `keepAnchors` has something to do; nil: there are no links.
  func anchorTimeout() -> Int64? {
    let now = NATStack.milliseconds
    var due = anchors.values.map { $0.link.timeout(now: now) }
    if let link = client as? AnchorLink { due.append(link.timeout(now: now)) }
    return due.min()
  }

  /// Says to the other processes that this one lives, and looks whether they do.
  /// - Parameter isHeld: the anchors are not listened to now.
  /// - Returns: false when an anchor has nobody left to work for, or nothing to do any more.
  func keepAnchors(isHeld: Bool) -> Bool {
    guard !anchors.isEmpty || duty != nil else { return true }
    let now = NATStack.milliseconds
    for (number, anchor) in anchors {
      if !anchor.link.tick(now: now, reads: !isHeld) { lose(number, because: "is silent") }
      if router.waitsForList, now >= anchor.listDue { isListed(number) }
    }
    guard let link = client as? AnchorLink else { return true }
    guard link.tick(now: now, reads: true) else { return false }
    guard let looked = duty?.lookedAt, now - looked >= AnchorLink.interval else { return true }
    duty?.lookedAt = now
    let report = report()
    duty?.write(report)
    // What has ended lingers for its last acknowledgements.
    guard router.table.count == 0 else { return true }
    sayFarewell(link, now: now)
    return false
  }

  /// The other side hears of the end, and all that comes before it.
  private func sayFarewell(_ link: AnchorLink, now: Int64) {
    link.putFarewell(now: now)
    let end = now + 5000
    var isSaid = false
    while NATStack.milliseconds < end {
      guard link.flush() else { return }
      if link.pending == 0, !isSaid {
        // A connection that is closed with bytes unread may lose what was sent.
        shutdown(link.descriptor, Int32(SHUT_WR))
        isSaid = true
      }
      var entry = [link.events(reads: true)]
      _ = poll(&entry, 1, 100)
      if entry[0].revents & Int16(POLLIN | POLLHUP | POLLERR) != 0, !link.read() { return }
    }
  }
}
