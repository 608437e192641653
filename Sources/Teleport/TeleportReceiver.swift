import Foundation
import SavedState

/// Waits for machines that this host has no definition of: that comes with the machine, and who keeps the receiver makes a
/// target of it, which waits on a port of its own. Nothing but that is the receiver's; the machine goes from source to target.
///
/// Who knows the password may have this host's user run any machine, with any file of that user's. So there is no receiver
/// without one.
public final class TeleportReceiver: @unchecked Sendable {
  /// A target that was made for a source.
  public struct Place: Sendable {
    /// Where it waits.
    public var port: Int
    /// Called once, when the source has gone: the target may go, if the machine has not come.
    /// - Returns: whether it has.
    public var release: @Sendable () -> Bool

    /// A place; see there.
    public init(port: Int, release: @escaping @Sendable () -> Bool) {
      self.port = port
      self.release = release
    }
  }

  /// How many sources may have a place at a time.
  public static let places = 16

  private let address: String
  private let timeoutMS = TestPoint.patienceMS ?? 10_000
  private let password: [UInt8]
  private let makePlace: @Sendable (_ definition: String) throws -> Place
  private let wake = WakePipe()
  private let seats = StrangerSeats()
  private let guesses = GuessTurns()
  private let lock = NSLock()
  /// Guarded by `lock`.
  private var isStopped = false
  private var sessions = 0
  private var taken = 0
  private var arrived = 0
  private var listener: Int32 = -1
  /// Called with the number of wrong passwords so far, where that is worth a word (`GuessTurns.isTold`).
  public var onWrongPassword: @Sendable (Int) -> Void = { _ in }

  /// - Parameter place: makes a target of a definition, or throws what the source is told.
  /// - Throws: `TeleportError` when the password's key cannot be made.
  public init(
    address: String, password: String, place: @escaping @Sendable (_ definition: String) throws -> Place
  ) throws {
    self.address = address
    self.password = try PasswordExchange.stretched(password)
    makePlace = place
  }

  deinit { if listener >= 0 { close(listener) } }

  /// - Parameter port: 0: a free one.
  /// - Returns: the port.
  /// - Throws: `TeleportError.cannotListen`.
  public func listen(port: Int) throws -> Int {
    let made = try Listener.open(address: address, port: port)
    listener = made.descriptor
    return made.port
  }

  /// Listens on a socket that a service manager has opened, which is then this object's.
  /// - Returns: the port; nil: it is no TCP socket.
  public func adopt(_ descriptor: Int32) -> Int? {
    guard let port = Listener.port(of: descriptor) else { return nil }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    listener = descriptor
    return port
  }

  /// Serves sources, each on a thread.
  /// - Parameters: once: until a machine has come. idleMS: until nobody has come for so long, and nobody has a place.
  public func run(once: Bool, idleMS: Int32 = -1) {
    while true {
      if let descriptor = Listener.accept(listener, until: wake, milliseconds: idleMS) {
        begin(descriptor)
      } else {
        wake.clear()
        let (isDone, isIdle, hasEnded) = lock.withLock { (arrived > 0, sessions == 0, isStopped) }
        if hasEnded { return }
        if once && isDone { return }
        if idleMS >= 0 && isIdle { return }
      }
    }
  }

  /// Ends `run`, from any thread.
  public func stop() {
    lock.withLock { isStopped = true }
    wake.wake()
  }

  private func begin(_ descriptor: Int32) {
    Self.keepAlive(descriptor)
    lock.withLock { sessions += 1 }
    let seat = seats.take(descriptor)
    let box = UncheckedBox(Connection(descriptor: descriptor, peer: "the source", wake: nil))
    let thread = Thread { [self] in serve(box.value, seat) }
    thread.name = "receiver session"
    thread.stackSize = 1 << 20
    thread.start()
  }

  /// A source whose host has gone without a word gives its place back, after a minute.
  private static func keepAlive(_ descriptor: Int32) {
    func set(_ level: Int32, _ option: Int32, _ value: Int32) {
      var value = value
      setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }
    set(SOL_SOCKET, SO_KEEPALIVE, 1)
    set(Int32(IPPROTO_TCP), Int32(TCP_KEEPIDLE), 30)
    set(Int32(IPPROTO_TCP), Int32(TCP_KEEPINTVL), 10)
    set(Int32(IPPROTO_TCP), Int32(TCP_KEEPCNT), 3)
  }

  private func serve(_ link: Connection, _ seat: StrangerSeats.Seat) {
    defer {
      seat.leave()
      link.close()
      lock.withLock { sessions -= 1 }
      wake.wake()
    }
    do {
      try greet(link, seat)
      seat.leave()
      try give(link)
    } catch TeleportError.closed, TeleportError.connectionLost {
      // Nobody is there to hear it.
    } catch TeleportError.password(let message) {
      refuse(link, .password, message)
    } catch TeleportError.version(let message) {
      refuse(link, .version, message)
    } catch TeleportError.busy(let message) {
      refuse(link, .busy, message)
    } catch let error as TeleportError {
      refuse(link, .damaged, "\(error)")
    } catch {
      refuse(link, .machine, "\(error)")
    }
  }

  private func refuse(_ link: Connection, _ code: Message.Refusal.Code, _ message: String) {
    try? link.send(.refuse, Message.encode(Message.Refusal(code: code, message: message)), timeoutMS: 1000)
  }

  /// All of it within the time of a greeting.
  private func greet(_ link: Connection, _ seat: StrangerSeats.Seat) throws {
    let deadline = Deadline(milliseconds: timeoutMS)
    let frame = try link.receive(timeoutMS: deadline.remainingMS, "greeting").expect(.hello)
    let theirs = try Message.decodeText(Message.Hello.self, frame)
    let mine = Message.encode(
      Message.Hello(
        minVersion: 4, maxVersion: Wire.versions.upperBound, build: StateFormat.build, name: "vmctl receive", uuid: "",
        intent: theirs.intent, nonce: Authentication.nonce(), password: true, paused: false, knows: false,
        receives: true))
    try link.send(.hello, mine, timeoutMS: max(deadline.remainingMS, 1))
    _ = try Message.agree(4...Wire.versions.upperBound, theirs, who: "source")
    // No transfer is settled or anchored here.
    guard theirs.intent.bringsMachine else { throw TeleportError.closed }
    seat.hasGreeted()
    guard let turn = guesses.begin(seat.address, now: Self.now) else {
      throw TeleportError.busy("too many have tried passwords from there; try again in some seconds")
    }
    defer { guesses.end(turn) }
    try link.pause(milliseconds: Int(turn.seconds * 1000))
    let patience = Deadline(milliseconds: timeoutMS)
    guard try link.admit(password, sourceHello: frame.payload, targetHello: mine, patience) else {
      let count = guesses.wasWrong(seat.address, now: Self.now)
      if GuessTurns.isTold(count) { onWrongPassword(count) }
      throw TeleportError.password("the password is not the target's")
    }
    guesses.wasRight(seat.address)
  }

  private static var now: Double { ProcessInfo.processInfo.systemUptime }

  private func give(_ link: Connection) throws {
    let frame = try link.receive(timeoutMS: timeoutMS, "definition")
    guard frame.type == .definition else {
      throw TeleportError.version(
        "a receiver needs a source that sends the machine's definition; use the same vmctl on both")
    }
    try lock.withLock {
      guard taken < Self.places else { throw TeleportError.busy("\(taken) machines are on their way here already") }
      taken += 1
    }
    defer { lock.withLock { taken -= 1 } }
    let place = try makePlace(String(decoding: frame.payload, as: UTF8.self))
    do {
      try link.send(.place, Message.encode(Message.Place(port: place.port)), timeoutMS: timeoutMS)
      // The source says nothing more; it keeps the connection until it has sent the machine, or given up.
      while true {
        do {
          _ = try link.receive(timeoutMS: 3_600_000, "end")
        } catch TeleportError.timedOut {}
      }
    } catch {
      if place.release() { lock.withLock { arrived += 1 } }
    }
  }
}
