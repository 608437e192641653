import Foundation
import SavedState

/// A connection that asks about a transfer, delivers its decision or is to be an anchor's; the transfer's name, which only its
/// two sides know, is the key: the connection's, where the transfer was encrypted.
enum Settlement {
  /// Who listens there does not know the transfer.
  struct Unknown: Error {}

  /// - Throws: `Unknown` where that could be said without the transfer's name; `TeleportError`.
  static func open(
    _ link: Connection, _ record: TeleportRecord, name: String, uuid: String, timeoutMS: Int,
    intent: Message.Intent = .settle
  ) throws {
    let isSecure = record.isSecure ?? false
    let hello = Message.Hello(
      minVersion: Wire.versions.lowerBound, maxVersion: Wire.versions.upperBound, build: StateFormat.build,
      name: name, uuid: uuid, intent: intent, nonce: Authentication.nonce(), password: false, paused: false,
      transfer: isSecure ? SettlementKey.alias(of: record.transfer) : nil)
    try link.send(.hello, Message.encode(hello), timeoutMS: timeoutMS)
    let theirs = try Message.decode(
      Message.Hello.self, try link.receive(timeoutMS: timeoutMS, "greeting").expect(.hello))
    _ = try Message.agree(Wire.versions, theirs, who: "target")
    guard isSecure else { return }
    guard theirs.knows == true else { throw Unknown() }
    try link.secure(key: SettlementKey.channel(of: record.transfer), isClient: true, timeoutMS: timeoutMS)
  }
}

/// Asks a target what became of a transfer whose source process died before it had the answer.
public enum TeleportInquiry {
  /// What the other side says of the transfer.
  public enum Answer: Equatable, Sendable {
    /// It runs there, or ran there: the machine here is `teleported`.
    case runs
    /// It never ran there and never will: the machine here is `aborted` and may start.
    case discarded
    /// The process that listens there knows nothing of it, or none listens.
    case unknown
    case unreachable(String)
  }

  /// Asks the other side; one that does not answer within the time-out is `unreachable`.
  public static func ask(_ record: TeleportRecord, timeoutMS: Int = 3000) -> Answer {
    do {
      let link = try Connection.connect(host: record.host, port: record.port, timeoutMS: timeoutMS, wake: nil)
      try Settlement.open(link, record, name: "inquiry", uuid: "", timeoutMS: timeoutMS)
      // The source is dead: whatever is merely prepared there must go.
      try link.send(.abort, Array(record.transfer.utf8), timeoutMS: timeoutMS)
      switch try link.receive(timeoutMS: timeoutMS, "inquiry").type {
      case .running: return .runs
      case .discarded: return .discarded
      default: return .unknown
      }
    } catch TeleportError.nobodyListens {
      return .unknown
    } catch is Settlement.Unknown {
      return .unknown
    } catch {
      return .unreachable("\(error)")
    }
  }
}
