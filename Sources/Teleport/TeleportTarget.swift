import Foundation
import Machine
import SavedState

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The receiving side: listens, serves one transfer at a time, and goes on listening until one has succeeded or it is
/// stopped. docs/teleport-protocol.md describes the steps and what happens when one fails.
public final class TeleportTarget<Machine: TeleportableMachine>: @unchecked Sendable {
  /// Where to listen, and for whom.
  public struct Options: Sendable {
    /// nil: loopback only. Another address should have a password.
    public var address: String?
    /// 0: a free one.
    public var port: Int
    /// What a source must know; nil: nothing is asked.
    public var password: String?
    public var name: String
    /// The machine's, which the source compares.
    public var uuid: String
    /// How long a source may be silent.
    public var timeoutMS = TestPoint.patienceMS ?? 10_000
    /// For the whole of the greeting and the password.
    public var greetingMS = TestPoint.patienceMS ?? 10_000
    /// How long a prepared machine waits for a source whose connection was cut.
    public var graceMS = TestPoint.patienceMS ?? 10_000
    /// The primary of a machine that is protected here is not taken for lost before it has been silent for so long.
    public var silenceMS = TestPoint.patienceMS ?? Heartbeat.leastSilenceMS
    /// What the VM's folder says of an earlier process's transfer.
    public var previous: TeleportRecord?
    /// The network cards whose flows the source's host may carry on.
    public var anchors: [Int] = []

    public init(address: String? = nil, port: Int, password: String? = nil, name: String, uuid: String) {
      self.address = address
      self.port = port
      self.password = password
      self.name = name
      self.uuid = uuid
    }
  }

  let options: Options
  let makeMachine: @Sendable () throws -> Machine
  let records: @Sendable (_ record: TeleportRecord, _ durable: Bool) throws -> Void
  let onState: @Sendable (TeleportState) -> Void
  let onProgress: @Sendable (TeleportProgress) -> Void
  let onArrival: @Sendable (Machine, _ anchors: [Int: AnchorSocket]) -> Void
  let desk: TransferDesk
  let sessionWake = WakePipe()
  let anchors = AnchorSeats()
  var testPoint = TestPoint()
  /// Bytes of device state, inflated, that a source may send: what a machine like this one has, and some. Set before anybody
  /// can connect.
  private(set) var deviceBudget = 0
  let guesses = GuessTurns()
  /// Called with the number of wrong passwords so far, at the first and now and then.
  public var onWrongPassword: @Sendable (Int) -> Void = { _ in }
  /// Called when a source has shown that it knows the password, of a version that does not encrypt.
  public var onOldSource: @Sendable () -> Void = {}
  /// What a source that asks is told besides what the machine itself says. To be set before `listen`.
  public var obstacles: @Sendable () -> [TeleportObstacle] = { [] }
  /// Called when a source has asked, with its machine's name and how many obstacles there were.
  public var onCheck: @Sendable (_ source: String, _ count: Int) -> Void = { _, _ in }
  /// What a machine that is protected here is decided by; without it none is taken. To be set before `listen`.
  public var protection: ProtectionDuty?
  /// How a machine that is protected here stands.
  public var onProtection: @Sendable (ProtectionProgress) -> Void = { _ in }
  /// Called when the primary of a machine that is protected here has ended that, and needs no backup any more.
  public var onDismissal: @Sendable () -> Void = {}
  private let wishLock = NSLock()
  private var isTakeOverWanted = false
  private var lastReprotection: Reprotection?
  /// Made when it begins to listen.
  private(set) var stretchedPassword: [UInt8] = []

  private let listenerWake = WakePipe()
  private let condition = NSCondition()
  private var listener: Int32 = -1
  private var port = 0
  private let seats = StrangerSeats()
  private var spare: Machine?
  private var outcome: Result<Machine, any Error>?

  /// - Parameters: makeMachine: builds a fresh machine, not started; called anew after each failed transfer.
  ///   records: writes, durably where that is asked for, or throws. state, progress: called from the target's threads.
  ///   arrival: called when the machine runs (or is paused) here, with the connections of anchors by network card, then the
  ///   callee's; the source's command ends when this has returned.
  public init(
    options: Options, makeMachine: @escaping @Sendable () throws -> Machine,
    records: @escaping @Sendable (_ record: TeleportRecord, _ durable: Bool) throws -> Void = { _, _ in },
    state: @escaping @Sendable (TeleportState) -> Void = { _ in },
    progress: @escaping @Sendable (TeleportProgress) -> Void = { _ in },
    arrival: @escaping @Sendable (Machine, _ anchors: [Int: AnchorSocket]) -> Void = {
      for socket in $1.values { socket.close() }
    }
  ) {
    self.options = options
    self.makeMachine = makeMachine
    self.records = records
    onState = state
    onProgress = progress
    onArrival = arrival
    desk = TransferDesk(previous: options.previous)
  }

  // MARK: Life

  /// Builds a first machine, so that what is wrong with it is told now, and starts listening.
  /// - Returns: the port.
  /// - Throws: `TeleportError` when the port is taken or the machine cannot be made.
  @discardableResult
  public func listen() throws -> Int {
    let machine = try makeMachine()
    try rehearse(machine)
    condition.withLock { spare = machine }
    if let password = options.password { stretchedPassword = try PasswordExchange.stretched(password) }
    (listener, port) = try Listener.open(address: options.address ?? "127.0.0.1", port: options.port)
    onState(.waiting(port: port))
    let thread = Thread { [self] in acceptConnections() }
    thread.name = "teleport"
    thread.start()
    return port
  }

  /// What is done for the first time takes long, and a guest would wait for it: a check and a load of what the machine is.
  private func rehearse(_ machine: Machine) throws {
    let hardware = try machine.hardwareDescription()
    let same = try Message.decode(HardwareDescription.self, Wire.Frame(.hardware, Message.encode(hardware)))
    _ = HardwareCheck.compare(source: same, target: hardware)
    let sections = try machine.saveState()
    let own = sections.reduce(0) { $0 + $1.fields.count + $1.blob.count }
    deviceBudget = 2 * own + 32 << 20
    try machine.loadState(SectionCodec.decodeAll(SectionCodec.encodeAll(sections)))
    let thread = Thread { machine.rehearse() }
    thread.name = "rehearsal"
    thread.start()
  }

  /// Waits without limit. When it returns, the machine runs (or is paused) here.
  /// - Throws: `TeleportError.cancelled` after `stop`, or what kept a fresh machine from being built.
  public func run() throws -> Machine {
    condition.lock()
    defer { condition.unlock() }
    while outcome == nil { condition.wait() }
    return try outcome!.get()
  }

  /// Ends the listening, from any thread. A transfer that is not decided is dropped.
  public func stop() {
    desk.stop()
    anchors.drop()
    sessionWake.wake()
    listenerWake.wake()
    finish(.failure(TeleportError.cancelled))
  }

  /// Asks for the machine that is protected here: it goes on here if the witness lets it. From any thread.
  public func takeOver() {
    wishLock.withLock { isTakeOverWanted = true }
    sessionWake.wake()
  }

  /// Whether somebody has asked for it since the last call.
  func takeWish() -> Bool {
    wishLock.withLock {
      defer { isTakeOverWanted = false }
      return isTakeOverWanted
    }
  }

  /// What the primary of the last machine that was protected here wants to be done after a takeover.
  public internal(set) var reprotection: Reprotection? {
    get { wishLock.withLock { lastReprotection } }
    set { wishLock.withLock { lastReprotection = newValue } }
  }

  func finish(_ result: Result<Machine, any Error>) {
    condition.withLock {
      if outcome == nil { outcome = result }
      condition.broadcast()
    }
  }

  /// A machine for a transfer: built ahead, or anew.
  func takeMachine() throws -> Machine {
    let ready = condition.withLock {
      defer { spare = nil }
      return spare
    }
    return try ready ?? makeMachine()
  }

  /// A machine that took nothing in can serve again.
  func giveBack(_ machine: Machine) { condition.withLock { spare = machine } }

  /// The source has its answer: nobody will ask any more.
  func endListening() { listenerWake.wake() }

  // MARK: Listening

  private func acceptConnections() {
    defer { close(listener) }
    while let descriptor = Listener.accept(listener, until: listenerWake) {
      let connection = Connection(descriptor: descriptor, peer: "the source", wake: nil)
      let seat = seats.take(descriptor)
      let box = UncheckedBox(connection)
      let thread = Thread { [self] in
        TargetSession(target: self, link: box.value, seat: seat).serve()
      }
      thread.name = "teleport session"
      thread.stackSize = 1 << 20
      thread.start()
    }
  }
}

/// Hands a value to the one thread that will use it.
struct UncheckedBox<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}
