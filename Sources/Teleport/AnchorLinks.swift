import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A connection of an anchor, for who carries on flows.
public struct AnchorSocket: Equatable, Sendable {
  /// A connected socket; whoever has this is to close it.
  public var descriptor: Int32
  /// 32 bytes that both ends have and nobody else; nil where the transfer was not encrypted.
  public var key: [UInt8]?

  /// Closes the socket.
  public func close() {
    #if canImport(Glibc)
      _ = Glibc.close(descriptor)
    #else
      _ = Musl.close(descriptor)
    #endif
  }
}

/// Connections on which the source's host carries on flows of a machine that it hands over: one for each network card. They are
/// opened while the memory crosses, wait on both sides until the machine is the target's, and are closed when it is not to be.
/// None of that can fail a teleport: a card without a connection loses its flows, as it would without anchors.
final class AnchorLinks: @unchecked Sendable {
  private let condition = NSCondition()
  private var links: [Int: AnchorSocket] = [:]
  private var isDone = false
  private var isDropped = false

  /// - Parameter record: of the transfer, whose name is the key.
  init(_ options: TeleportSource.Options, _ record: TeleportRecord, cards: [Int]) {
    let thread = Thread { [self] in
      for card in cards {
        guard let socket = try? Self.open(options, record, card) else { break }
        condition.withLock { if isDropped { socket.close() } else { links[card] = socket } }
      }
      condition.withLock {
        isDone = true
        condition.broadcast()
      }
    }
    thread.name = "anchors"
    thread.start()
  }

  private static func open(
    _ options: TeleportSource.Options, _ record: TeleportRecord, _ card: Int
  ) throws -> AnchorSocket {
    let timeout = min(options.timeoutMS, patienceMS)
    let link = try Connection.connect(host: options.host, port: options.port, timeoutMS: timeout, wake: nil)
    try Settlement.open(
      link, record, name: options.name, uuid: options.uuid, timeoutMS: timeout, intent: .anchor)
    let key = link.isSecure ? (0..<32).map { _ in UInt8.random(in: 0...255) } : nil
    let wish = Message.Anchor(transfer: record.transfer, card: card, key: key.map { Data($0) })
    try link.send(.anchor, Message.encode(wish), timeoutMS: timeout)
    let answer = try link.receive(timeoutMS: timeout, "anchor").expect(.anchor)
    guard try Message.decode(Message.Anchor.self, answer) == wish else { throw TeleportError.damaged("an anchor") }
    return AnchorSocket(descriptor: link.release(), key: key)
  }

  /// What each step may take.
  private static let patienceMS = 5000

  /// Returns when all are open that can be had. Not while the guest waits.
  func wait() {
    condition.lock()
    defer { condition.unlock() }
    let end = Date(timeIntervalSinceNow: Double(Self.patienceMS) / 1000)
    while !isDone { if !condition.wait(until: end) { return } }
  }

  /// Those that are open, then the caller's.
  func take() -> [Int: AnchorSocket] {
    condition.withLock {
      isDropped = true
      defer { links = [:] }
      return links
    }
  }

  func drop() { for socket in take().values { socket.close() } }
}

/// The target's ends of those connections, by the transfer that they belong to.
final class AnchorSeats: @unchecked Sendable {
  private let lock = NSLock()
  private var transfer = ""
  private var links: [Int: AnchorSocket] = [:]

  /// From now on connections of this transfer find room, and those of others are closed.
  func begin(_ transfer: String) {
    drop()
    lock.withLock { self.transfer = transfer }
  }

  /// - Parameter release: answers the source, and gives the socket. In one step with the seat: when the source knows, the
  ///   socket is where it will be looked for.
  /// - Returns: false, without calling that, when the transfer is not, or no longer, the one that is going on.
  func seat(_ card: Int, of transfer: String, release: () throws -> AnchorSocket) throws -> Bool {
    try lock.withLock {
      guard !transfer.isEmpty, self.transfer == transfer, links[card] == nil else { return false }
      links[card] = try release()
      return true
    }
  }

  /// Those that are there, then the caller's. More are not taken.
  func take() -> [Int: AnchorSocket] {
    lock.withLock {
      transfer = ""
      defer { links = [:] }
      return links
    }
  }

  func drop() { for socket in take().values { socket.close() } }
}
