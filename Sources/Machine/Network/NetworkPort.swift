import Devices
import Foundation
import HostNetwork
import SavedState

/// What has gone through a network card's cable since the machine's process started.
public struct NetworkCounters: Codable, Equatable, Sendable {
  /// Frames that the guest has sent.
  public var framesSent: UInt64 = 0
  /// Their bytes.
  public var bytesSent: UInt64 = 0
  /// Frames that the guest has received.
  public var framesReceived: UInt64 = 0
  /// Their bytes.
  public var bytesReceived: UInt64 = 0
  /// Frames of the guest's that no network took, or that were sent while the cable was out.
  public var sendDrops: UInt64 = 0
  /// Frames for the guest that came while the cable was out.
  public var receiveDrops: UInt64 = 0

  public init() {}
}

/// The cable of a network card: frames go through a `FramePipe` to what the host has connected, and wait on both of its ends.
///
/// While the machine stands still the pipe is closed: nothing leaves it. What waits then belongs to the state, so it is sent by
/// whoever goes on with the machine, and by nobody else.
public final class NetworkPort: Device, @unchecked Sendable {
  /// Frames each way that wait at most.
  public static let capacity = 256
  /// Which way a frame goes.
  public enum Direction: Sendable { case sent, received }

  /// 1 to 8.
  public let slot: Int
  /// Of its section in the state.
  public let name: String
  /// The other end.
  public let pipe = FramePipe(capacity: NetworkPort.capacity)

  private let card: any NetworkCard
  private let lock: MachineLock
  // Under the machine lock.
  private var counts = NetworkCounters()
  /// The card's carrier: a card that is sending may not be asked.
  private var isPluggedIn: Bool
  /// Taken out of the pipe and not taken by the card yet.
  private var inHand: [[UInt8]] = []
  private var isPaused = true
  private var isConnected = false
  private var observer: (@Sendable (Direction, [UInt8]) -> Void)?
  /// What the network knows of the guest.
  private var station = GuestStation()
  /// The guest has moved, and the network is being told.
  private var announcements: AnnouncementSchedule?
  private var hasArrived = false
  private let clock: GuestClock
  private var timer: ClockTimer?

  init(slot: Int, card: any NetworkCard, lock: MachineLock, clock: GuestClock) {
    self.clock = clock
    self.slot = slot
    name = "\(card.name)-cable"
    self.card = card
    self.lock = lock
    isPluggedIn = card.hasCarrier
    pipe.toHost.close()
    card.onSend = { [unowned self] in send($0) }
    // A cable that leads nowhere takes everything.
    card.wireHasRoom = { [unowned self] in !isConnected || pipe.toHost.hasRoom(for: 2) }
    card.onReceiveRoom = { [unowned self] in deliver() }
    pipe.toDevice.onItems { [unowned self] in lock.withLock { self.deliver() } }
    pipe.toHost.onRoom { [unowned self] in lock.withLock { self.card.wireRoomChanged() } }
    timer = clock.makeTimer { [unowned self] in announce() }
  }

  // MARK: The host's side

  /// Somebody takes what is sent, from now on: while he does not, frames wait in the guest's ring.
  func connect() { lock.withLock { isConnected = true } }

  /// - Parameter observer: sees every frame, with the machine lock held: it must not block.
  func observe(_ observer: (@Sendable (Direction, [UInt8]) -> Void)?) { lock.withLock { self.observer = observer } }

  /// Plugs the cable in or out.
  func setCarrier(_ isThere: Bool) {
    lock.withLock {
      isPluggedIn = isThere
      card.setCarrier(isThere)
    }
  }

  var hasCarrier: Bool { lock.withLock { isPluggedIn } }

  var counters: NetworkCounters {
    lock.withLock {
      var result = counts
      result.sendDrops += pipe.toHost.counters.dropped
      return result
    }
  }

  /// Nothing is sent from now on until the machine runs again. Not to be called with the machine lock held.
  func close() { pipe.toHost.close() }

  // MARK: Frames, machine lock held

  private func send(_ frame: [UInt8]) {
    guard isPluggedIn else { return counts.sendDrops += 1 }
    counts.framesSent += 1
    counts.bytesSent += UInt64(frame.count)
    station.learn(frame)
    announcements?.sent()
    put(frame)
  }

  private func put(_ frame: [UInt8]) {
    observer?(.sent, frame)
    pipe.toHost.send(frame)
  }

  private func deliver() {
    guard !isPaused else { return }
    while true {
      if inHand.isEmpty { inHand = pipe.toDevice.take(16).reversed() }
      guard let frame = inHand.last else { return }
      if isPluggedIn {
        guard card.receive(frame) else { return }
        counts.framesReceived += 1
        counts.bytesReceived += UInt64(frame.count)
        observer?(.received, frame)
        if announcements != nil, station.isAddressed(by: frame) { announcements?.received() }
      } else {
        counts.receiveDrops += 1
      }
      inHand.removeLast()
    }
  }

  // MARK: Announcing

  /// Tells the network that the guest is here now, and again when it is time for that.
  private func announce() {
    guard !isPaused, var schedule = announcements, schedule.next != nil else { return announcements = nil }
    // What finds no room is told again soon.
    if isPluggedIn { for frame in station.announcement(card.address) { put(frame) } }
    schedule.announced(now: clock.now)
    announcements = schedule
    if let next = schedule.next { timer?.arm(at: next) } else { announcements = nil }
  }

  // MARK: Device

  public func reset() {}

  public func pause() { isPaused = true }

  public func resume() {
    guard isPaused else { return }
    isPaused = false
    pipe.toHost.open()
    if hasArrived {
      hasArrived = false
      announcements = AnnouncementSchedule(now: clock.now)
      card.askToAnnounce()
      announce()
    }
    deliver()
  }

  private struct Saved: Codable {
    /// Frames that wait for the network, as `FrameStream` has them.
    var sent: Data
    /// Frames that wait for the guest.
    var received: Data
    var station: GuestStation
  }
  private static let kind = "network-cable"
  private static let version = 1

  public func save() throws -> StateSection {
    let saved = Saved(
      sent: Self.encode(pipe.toHost.waiting), received: Self.encode(inHand.reversed() + pipe.toDevice.waiting),
      station: station)
    return try StateSection(name: name, kind: Self.kind, version: Self.version, state: saved)
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: Self.kind, upTo: Self.version)
    let sent = try Self.decode(saved.sent, in: section)
    let received = try Self.decode(saved.received, in: section)
    try requireValid(saved.station.isPlausible, in: section, "the addresses of the guest")
    station = saved.station
    hasArrived = true
    // The card has been loaded before.
    isPluggedIn = card.hasCarrier
    pipe.toHost.restore(sent)
    inHand = received.reversed()
  }

  private static func encode(_ frames: [[UInt8]]) -> Data {
    var bytes: [UInt8] = []
    for frame in frames { FrameStream.encode(frame, to: &bytes) }
    return Data(bytes)
  }

  private static func decode(_ data: Data, in section: StateSection) throws -> [[UInt8]] {
    var decoder = FrameStream.Decoder()
    decoder.append(data)
    var frames: [[UInt8]] = []
    do {
      while let frame = try decoder.next() { frames.append(frame) }
    } catch {
      throw SavedStateError.corrupt("section \(section.name): \(error.message)")
    }
    guard decoder.pending == 0, frames.count <= 2 * capacity else {
      throw SavedStateError.corrupt("section \(section.name): \(frames.count) frames and \(decoder.pending) bytes")
    }
    return frames
  }
}
