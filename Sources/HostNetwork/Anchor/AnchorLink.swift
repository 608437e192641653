import Foundation

/// The connection between an anchor, the NAT process of a host that a machine has left, and the NAT process of the host where
/// the machine is now. It was opened and proved by the two sides of the teleport (docs/teleport-protocol.md, Anchors).
///
/// A stream of items, each after its length in 32 bits as in `FrameStream`, and encrypted (`LinkCipher`) when the teleport was;
/// the first byte says what it is. The anchor begins
/// with the flows that it has. Both sides say something at least every second; who hears nothing for longer than a teleport's
/// sides wait for each other takes the other for dead.
final class AnchorLink: FrameChannel {
  private enum Kind: UInt8 {
    /// An Ethernet frame.
    case frame = 0
    /// Nothing: the other side lives.
    case alive = 1
    /// JSON, `Flows`.
    case flows = 2
    /// All flows have ended, and so does the anchor.
    case farewell = 3
  }

  /// Some of the anchor's flows.
  struct Flows: Codable, Equatable {
    /// The anchor's host.
    var host: String
    var flows: [FlowNotice]
    /// These are the last.
    var isLast: Bool
  }

  /// What the other side has said besides frames.
  enum Event: Equatable {
    case flows(Flows)
    case farewell
  }

  /// Milliseconds after which a side that has nothing to say says so.
  static let interval: Int64 = 1000
  /// Milliseconds of silence after which the other side is dead.
  static let patience: Int64 = 10_000
  /// Flows in one item.
  private static let flowsAtOnce = 64

  let descriptor: Int32
  private var input = FrameStream.Decoder()
  private var buffer = [UInt8](repeating: 0, count: 1 << 17)
  private var output = OutputBuffer()
  private var saidAt: Int64
  private var heardAt: Int64
  private var events: [Event] = []
  private var flowCount = 0
  private var cipher: LinkCipher?
  /// A key was given.
  private let isSecret: Bool

  /// - Parameters: descriptor: a connected stream socket, from now on this link's. key: 32 bytes that both ends have; nil:
  ///   nothing is encrypted. isAnchor: the other end is not.
  init(_ descriptor: Int32, key: [UInt8]? = nil, isAnchor: Bool, now: Int64) {
    self.descriptor = descriptor
    (saidAt, heardAt) = (now, now)
    Descriptors.setNonBlocking(descriptor)
    isSecret = key != nil
    cipher = key.flatMap { LinkCipher(key: $0, isAnchor: isAnchor) }
    if let header = cipher?.header { output.append { FrameStream.encode(header, to: &$0) } }
  }

  deinit { close(descriptor) }

  /// The other side's address, as text; nil: it has none.
  var peer: String? {
    var address = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    let status = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer -> Int32 in
        guard getpeername(descriptor, pointer, &length) == 0, pointer.pointee.sa_family != sa_family_t(AF_UNIX) else {
          return -1
        }
        return getnameinfo(pointer, length, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
      }
    }
    guard status == 0 else { return nil }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  // MARK: Time

  /// Says that this side lives, when it is time for that.
  /// - Parameter reads: whether the other side is being listened to: who is not cannot be silent.
  /// - Returns: false when the other side is dead.
  func tick(now: Int64, reads: Bool) -> Bool {
    if now - saidAt >= Self.interval { put(.alive, [], now: now) }
    if !reads { heardAt = now }
    return now - heardAt < Self.patience
  }

  /// Milliseconds until `tick` has something to do.
  func timeout(now: Int64) -> Int64 {
    max(0, min(saidAt + Self.interval, heardAt + Self.patience) - now)
  }

  // MARK: Out

  var pending: Int { output.count }

  func put(_ frame: [UInt8]) {
    guard frame.count < FrameStream.longestFrame - LinkCipher.overhead else { return }
    put(.frame, frame, now: nil)
  }

  func put(flows: [FlowNotice], host: String, now: Int64) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    for start in stride(from: 0, through: flows.count, by: Self.flowsAtOnce) {
      let part = Array(flows[start..<min(flows.count, start + Self.flowsAtOnce)])
      let message = Flows(host: host, flows: part, isLast: start + Self.flowsAtOnce > flows.count)
      put(.flows, (try? encoder.encode(message)).map(Array.init) ?? [], now: now)
    }
  }

  func putFarewell(now: Int64) { put(.farewell, [], now: now) }

  private func put(_ kind: Kind, _ payload: [UInt8], now: Int64?) {
    if let now { saidAt = now }
    guard !isSecret || cipher != nil else { return }
    if let sealed = cipher?.seal([kind.rawValue] + payload) {
      output.append { FrameStream.encode(sealed, to: &$0) }
      return
    }
    output.append { bytes in
      let length = UInt32(payload.count + 1)
      for shift: UInt32 in [24, 16, 8, 0] { bytes.append(UInt8(length >> shift & 0xFF)) }
      bytes.append(kind.rawValue)
      bytes.append(contentsOf: payload)
    }
  }

  func flush() -> Bool { output.flush(descriptor) }

  // MARK: In

  func read() -> Bool {
    switch Descriptors.read(descriptor, into: &buffer) {
    case .ended: return false
    case .wouldBlock: return true
    case .moved(let count): input.append(buffer[..<count])
    }
    heardAt = NATStack.milliseconds
    return true
  }

  func next() throws(HostNetworkError) -> [UInt8]? {
    while let bytes = try input.next() {
      guard let item = isSecret ? cipher?.open(bytes) : bytes else {
        throw HostNetworkError("what came on an anchor's link was not made by its other end")
      }
      // What a later version says besides is passed over.
      switch item.first.flatMap(Kind.init) {
      case .frame: return Array(item.dropFirst())
      case .flows: try take(flows: item.dropFirst())
      case .farewell: events.append(.farewell)
      case .alive, nil: break
      }
    }
    return nil
  }

  private func take(flows payload: ArraySlice<UInt8>) throws(HostNetworkError) {
    guard let flows = try? JSONDecoder().decode(Flows.self, from: Data(payload)) else {
      throw HostNetworkError("the flows of an anchor cannot be understood", remedy: "use the same vmctl on both hosts")
    }
    flowCount += flows.flows.count
    guard flowCount <= FlowTable.limit else { throw HostNetworkError("an anchor tells of more flows than it can have") }
    events.append(.flows(flows))
  }

  /// What was said since the last call.
  func takeEvents() -> [Event] {
    defer { events = [] }
    return events
  }
}
