import Foundation
import Teleport

/// Something that has happened to a machine, for who has subscribed to its events.
public struct MachineNews: Codable, Equatable, Sendable {
  /// What kind of thing.
  public enum Kind: String, Codable, CaseIterable, Sendable {
    /// The machine is in another state: `state`, and `reason` where there is one. The first one says which it is in now.
    case state
    /// The guest has reset the machine.
    case reset
    /// The guest's kernel has panicked: `text` says how it goes on.
    case panic
    /// How far a teleport is: `teleport`.
    case teleport
    /// How a protection stands: `protection`.
    case protection
    /// A disc was put into a CD-ROM drive or taken out: `text` says which, and where.
    case disc
    /// A network card was changed: `text` says how.
    case network
    /// A line of the machine's log that is a warning or an error: `text`.
    case warning
    /// Events have come faster than they were read, and some are lost.
    case lost
  }

  /// When, by the host's clock, as ISO 8601.
  public var time: String
  /// The machine's name.
  public var machine: String
  /// What has happened.
  public var event: Kind
  /// state: as `showvminfo` has it.
  public var state: VMState?
  /// state: why.
  public var reason: String?
  /// In words.
  public var text: String?
  /// teleport: how far it is.
  public var teleport: TeleportProgress?
  /// protection: how it stands.
  public var protection: ProtectionProgress?

  init(_ event: Kind, machine: String, text: String? = nil) {
    time = Date().ISO8601Format(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    self.machine = machine
    self.event = event
    self.text = text
  }

  /// As one line for people.
  public var line: String {
    var words = [time, event.rawValue]
    if let state { words.append(state.rawValue) }
    words += [reason, text, teleport?.summary, protection?.summary].compactMap { $0 }
    return words.joined(separator: " ")
  }
}

/// Those who want to know what happens to a machine. Who is slow misses something and is told so; nobody is waited for.
final class NewsHub: @unchecked Sendable {
  static let mostSubscribers = 16
  private let lock = NSLock()
  private var subscribers: [Subscriber] = []

  private final class Subscriber: @unchecked Sendable {
    let session: ControlSession
    /// Signalled when nothing more is to be sent.
    let gone = DispatchSemaphore(value: 0)
    /// Something was not sent. Guarded by the hub's lock.
    var isBehind = false
    init(_ session: ControlSession) { self.session = session }
  }

  func publish(_ news: MachineNews) {
    for subscriber in lock.withLock({ subscribers }) {
      let isReading = subscriber.session.isReading
      let wasBehind = lock.withLock {
        defer { subscriber.isBehind = !isReading }
        return subscriber.isBehind
      }
      guard isReading else { continue }
      if wasBehind { subscriber.session.send(.event(MachineNews(.lost, machine: news.machine))) }
      subscriber.session.send(.event(news))
    }
  }

  /// Sends what happens to a client, until that goes away or `end` is called.
  /// - Throws: `ManagementError` when there are too many.
  func serve(_ session: ControlSession, first: MachineNews) throws {
    let subscriber = Subscriber(session)
    try lock.withLock {
      guard subscribers.count < Self.mostSubscribers else {
        throw ManagementError(
          "\(Self.mostSubscribers) others follow this machine's events already", remedy: "end one of them")
      }
      subscribers.append(subscriber)
      session.send(.event(first))
    }
    session.whenCancelled { subscriber.gone.signal() }
    subscriber.gone.wait()
    lock.withLock { subscribers.removeAll { $0 === subscriber } }
  }

  /// The machine has ended: nothing more will come.
  func end() { for subscriber in lock.withLock({ subscribers }) { subscriber.gone.signal() } }
}
