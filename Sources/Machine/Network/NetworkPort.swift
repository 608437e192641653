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
  /// Frames each way that wait at most, and bytes beyond which none is added.
  public static let capacity = 256
  static let byteLimit = 512 << 10
  /// Which way a frame goes.
  public enum Direction: Sendable { case sent, received }

  /// 1 to 8.
  public let slot: Int
  /// Of its section in the state.
  public let name: String
  /// The other end.
  public let pipe = FramePipe(capacity: NetworkPort.capacity, limit: NetworkPort.byteLimit) { $0.count }

  private let card: any NetworkCard
  /// The same, where it gives and takes packets with work left to do.
  private let offloading: (any OffloadingCard)?
  private let lock: MachineLock
  // Under the machine lock.
  private var counts = NetworkCounters()
  /// The card's carrier: a card that is sending may not be asked.
  private var isPluggedIn: Bool
  /// Taken out of the pipe and not taken by the card yet.
  private var inHand: [[UInt8]] = []
  /// What waits, on either side, is packets with headers (`OffloadingCard`).
  private var hasHeaders = false
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
    offloading = card as? any OffloadingCard
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
  /// - Parameters:
  ///   - withHeaders: what goes through the pipe is packets with headers, of which the network does the work that is left, or
  ///     leaves it to the guest.
  ///   - withLongFrames: without headers, large packets of the guest's need not be cut.
  func connect(withHeaders: Bool = false, withLongFrames: Bool = false) {
    lock.withLock {
      isConnected = true
      // A machine that has come has brought what waits for a network like the one that it left.
      pipe.toHost.restore(Self.convert(pipe.toHost.waiting, from: hasHeaders, to: withHeaders))
      inHand = Self.convert(inHand.reversed(), from: hasHeaders, to: withHeaders).reversed()
      hasHeaders = withHeaders
      offloading?.onSendPacket = withHeaders || withLongFrames ? { [unowned self] in sendPacket($0) } : nil
    }
  }

  private static func convert(_ items: [[UInt8]], from: Bool, to: Bool) -> [[UInt8]] {
    guard from != to else { return items }
    return to ? items.map(FrameOffload.packet) : items.flatMap(FrameOffload.frames)
  }

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
    pipe.toHost.send(hasHeaders ? FrameOffload.packet(frame) : frame)
  }

  /// A packet with its header: what it is can be seen in its beginning.
  private func sendPacket(_ packet: [UInt8]) {
    let start = FrameOffload.paddedHeaderLength
    guard isPluggedIn, (start + 14...start + FrameStream.longestFrame).contains(packet.count) else {
      return counts.sendDrops += 1
    }
    counts.framesSent += 1
    counts.bytesSent += UInt64(packet.count - start)
    station.learn(Array(packet[start...].prefix(GuestStation.longestLesson)))
    announcements?.sent()
    if let observer { observer(.sent, Array(packet[start...])) }
    if hasHeaders {
      pipe.toHost.send(packet)
    } else if let frame = FrameOffload.longFrame(ofPacket: packet) {
      pipe.toHost.send(frame)
    } else {
      counts.sendDrops += 1
    }
  }

  private func deliver() {
    guard !isPaused else { return }
    while true {
      if inHand.isEmpty { inHand = pipe.toDevice.take(16).reversed() }
      guard let frame = inHand.last else { return }
      guard isPluggedIn else {
        counts.receiveDrops += 1
        inHand.removeLast()
        continue
      }
      guard hasHeaders else {
        guard card.receive(frame) else { return }
        received(frame, from: 0)
        continue
      }
      guard let offload = FrameOffload(header: frame) else {
        counts.receiveDrops += 1
        inHand.removeLast()
        continue
      }
      guard offloading?.takes(offload) ?? offload.isDone else {
        inHand.removeLast()
        inHand += FrameOffload.frames(ofPacket: frame).reversed().map(FrameOffload.packet)
        continue
      }
      let isTaken: Bool
      if let offloading, !offload.isDone || offload.isChecked {
        isTaken = offloading.receive(packet: frame, offload)
      } else {
        isTaken = card.receive(Array(frame[FrameOffload.paddedHeaderLength...]))
      }
      guard isTaken else { return }
      received(frame, from: FrameOffload.paddedHeaderLength)
    }
  }

  /// The card has taken what came last.
  private func received(_ frame: [UInt8], from start: Int) {
    counts.framesReceived += 1
    counts.bytesReceived += UInt64(frame.count - start)
    if let observer { observer(.received, start == 0 ? frame : Array(frame[start...])) }
    if announcements != nil, station.isAddressed(by: start == 0 ? frame : Array(frame[start...].prefix(6))) {
      announcements?.received()
    }
    inHand.removeLast()
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
    /// In both, each packet comes after its header, as if that were a frame. Absent before version 2.
    var hasHeaders: Bool?
  }
  private static let kind = "network-cable"
  private static let version = 2

  public func save() throws -> StateSection {
    let saved = Saved(
      sent: encode(pipe.toHost.waiting), received: encode(inHand.reversed() + pipe.toDevice.waiting), station: station,
      hasHeaders: hasHeaders ? true : nil)
    return try StateSection(name: name, kind: Self.kind, version: Self.version, state: saved)
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: Self.kind, upTo: Self.version)
    let headers = saved.hasHeaders ?? false
    let sent = try Self.decode(saved.sent, headers, in: section)
    let received = try Self.decode(saved.received, headers, in: section)
    try requireValid(saved.station.isPlausible, in: section, "the addresses of the guest")
    station = saved.station
    hasArrived = true
    // The card has been loaded before.
    isPluggedIn = card.hasCarrier
    // Until it is connected nothing takes any of it.
    hasHeaders = headers
    pipe.toHost.restore(sent)
    inHand = received.reversed()
  }

  private func encode(_ frames: [[UInt8]]) -> Data {
    var bytes: [UInt8] = []
    for frame in frames {
      if hasHeaders {
        FrameStream.encode(Array(frame.prefix(FrameOffload.paddedHeaderLength)), to: &bytes)
        FrameStream.encode(Array(frame.dropFirst(FrameOffload.paddedHeaderLength)), to: &bytes)
      } else {
        FrameStream.encode(frame, to: &bytes)
      }
    }
    return Data(bytes)
  }

  private static func decode(_ data: Data, _ hasHeaders: Bool, in section: StateSection) throws -> [[UInt8]] {
    var decoder = FrameStream.Decoder()
    decoder.append(data)
    var frames: [[UInt8]] = []
    do throws(HostNetworkError) {
      while let frame = try decoder.next() {
        guard hasHeaders else {
          frames.append(frame)
          continue
        }
        guard frame.count == FrameOffload.paddedHeaderLength, FrameOffload(header: frame) != nil,
          let packet = try decoder.next()
        else { throw HostNetworkError("a packet without a header") }
        frames.append(frame + packet)
      }
    } catch {
      throw SavedStateError.corrupt("section \(section.name): \(error.message)")
    }
    guard decoder.pending == 0, frames.count <= 2 * capacity, !hasHeaders || data.count <= 8 * byteLimit else {
      throw SavedStateError.corrupt("section \(section.name): \(frames.count) frames and \(decoder.pending) bytes")
    }
    return frames
  }
}
