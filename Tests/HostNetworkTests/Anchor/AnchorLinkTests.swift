import Foundation
import Testing

@testable import HostNetwork

/// The stream between an anchor and the host where the machine is.
struct AnchorLinkTests {
  private func pair(key: [UInt8]? = nil) throws -> (AnchorLink, AnchorLink) {
    let (one, other) = try Descriptors.pair()
    return (
      AnchorLink(one, key: key, isAnchor: true, now: 0), AnchorLink(other, key: key, isAnchor: false, now: 0)
    )
  }

  private func flows(_ count: Int) -> [FlowNotice] {
    (0..<count).map { index in
      var flow = Flow(
        FlowKey(transport: .tcp, guest: .init(low: 1, port: UInt16(index)), remote: .init(low: 2, port: 80)))
      flow.marks = [.isAnswered, .guestHasAcknowledged]
      flow.lastUse = 900
      (flow.guestAddress, flow.gatewayAddress) = (MiniTCP.guestMAC, MiniTCP.gatewayMAC)
      return FlowNotice(flow, host: index == 0 ? "far" : nil, now: 1000)
    }
  }

  /// Moves all that one has for the other.
  private func pump(_ from: AnchorLink, _ to: AnchorLink) throws -> [[UInt8]] {
    var frames: [[UInt8]] = []
    while from.pending > 0 {
      #expect(from.flush())
      #expect(to.read())
      while let frame = try to.next() { frames.append(frame) }
    }
    return frames
  }

  @Test(arguments: [0, 1, 64, 65, 1000], [nil, [UInt8](repeating: 7, count: 32)])
  func flowsAndFramesArriveInTheirOrder(count: Int, key: [UInt8]?) throws {
    let (anchor, host) = try pair(key: key)
    anchor.put(flows: flows(count), host: "old", now: 1000)
    anchor.put([1, 2, 3])
    anchor.putFarewell(now: 1000)
    #expect(try pump(anchor, host) == [[1, 2, 3]])
    var events = host.takeEvents()
    #expect(events.popLast() == .farewell)
    let parts = events.compactMap { event -> AnchorLink.Flows? in
      guard case .flows(let part) = event else { return nil }
      return part
    }
    #expect(parts.flatMap(\.flows) == flows(count))
    #expect(parts.map(\.isLast) == [Bool](repeating: false, count: parts.count - 1) + [true])
    #expect(parts.allSatisfy { $0.host == "old" })
    #expect(host.takeEvents().isEmpty)
    #expect(flows(1)[0].flow(now: 5000)?.lastUse == 4900, "by the clock of who hears of it")
  }

  @Test func whoHasNothingToSaySaysSoAndWhoIsSilentIsDead() throws {
    let (one, other) = try pair()
    #expect(one.timeout(now: 0) == AnchorLink.interval)
    #expect(one.tick(now: 999, reads: true) && one.pending == 0)
    #expect(one.tick(now: 1000, reads: true) && one.pending > 0)
    #expect(try pump(one, other).isEmpty)
    #expect(other.takeEvents().isEmpty)
    #expect(one.tick(now: AnchorLink.patience - 1, reads: true))
    #expect(!one.tick(now: AnchorLink.patience, reads: true))
    #expect(one.tick(now: AnchorLink.patience, reads: false), "who is not listened to is not silent")
    #expect(one.tick(now: 2 * AnchorLink.patience - 1, reads: true))
  }

  @Test func nonsenseIsRefusedAndHarmless() throws {
    var random = SystemRandomNumberGenerator()
    for round in 0..<200 {
      let (sender, link) = try Descriptors.pair()
      defer { close(sender) }
      let host = AnchorLink(link, key: round % 3 == 0 ? [UInt8](repeating: 7, count: 32) : nil, isAnchor: false, now: 0)
      var bytes: [UInt8] = []
      for _ in 0..<20 {
        let payload = (0..<random.next() % 50).map { _ in UInt8(random.next() & 0xFF) }
        bytes += [0, 0, 0, UInt8(payload.count + 1), UInt8(random.next() % 6)] + payload
      }
      if round % 2 == 0 { bytes[Int(random.next() % UInt64(bytes.count))] ^= 0xFF }
      #expect(send(sender, bytes, bytes.count, 0) == bytes.count)
      #expect(host.read())
      do { while try host.next() != nil {} } catch { #expect(!error.description.isEmpty) }
    }
    let (anchor, host) = try pair()
    for _ in 0...FlowTable.limit / 1000 { anchor.put(flows: flows(1000), host: "", now: 0) }
    #expect(throws: HostNetworkError.self, "more than it can have") { try pump(anchor, host) }
  }

  @Test func whatCrossesIsSecretAndIsTheOtherEnds() throws {
    let key = [UInt8](repeating: 7, count: 32)
    let secret = Array("GET /private".utf8)
    for (change, isTaken) in [(nil, true), (10, false), (60, false)] as [(Int?, Bool)] {
      let (one, wire) = try Descriptors.pair()
      let (relay, other) = try Descriptors.pair()
      defer {
        close(wire)
        close(relay)
      }
      let anchor = AnchorLink(one, key: key, isAnchor: true, now: 0)
      let host = AnchorLink(other, key: key, isAnchor: false, now: 0)
      anchor.put(secret)
      #expect(anchor.flush())
      var bytes = [UInt8](repeating: 0, count: 1000)
      guard case .moved(let count) = Descriptors.read(wire, into: &bytes) else {
        throw HostNetworkError("nothing came")
      }
      bytes = Array(bytes[..<count])
      #expect(bytes.firstRange(of: secret) == nil)
      if let change { bytes[change] ^= 1 }
      #expect(Descriptors.write(relay, bytes[...]) == .moved(count))
      #expect(host.read())
      #expect((try? host.next()) == (isTaken ? secret : nil))
    }
    // Not its own words sent back, and not those of who has another key or none.
    for (mine, theirs, isAnchor) in [
      (key, key, false), (key, [UInt8](repeating: 8, count: 32), true), (key, nil, true),
    ] {
      let (one, other) = try Descriptors.pair()
      let sender = AnchorLink(one, key: theirs, isAnchor: isAnchor, now: 0)
      let host = AnchorLink(other, key: mine, isAnchor: false, now: 0)
      sender.put(secret)
      #expect(sender.flush() && host.read())
      #expect(throws: HostNetworkError.self) { while try host.next() != nil {} }
    }
  }

  @Test func noticesWithValuesThatCannotBeAreNoFlows() {
    var notice = flows(1)[0]
    notice.idle = -1
    #expect(notice.flow(now: 0) == nil)
    notice.idle = .max
    #expect(notice.flow(now: 0) == nil)
    notice = flows(1)[0]
    notice.gatewayAddress = [1]
    #expect(notice.flow(now: 0) == nil)
  }
}
