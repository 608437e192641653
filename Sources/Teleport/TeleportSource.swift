import DiskImages
import Foundation
import GuestMemory
import Machine
import SavedState

/// The sending side of one transfer. docs/teleport-protocol.md describes the steps and what happens when one fails.
///
/// Runs on the caller's thread. The machine keeps running or, when it was paused, stays paused, unless `run` returns:
/// then it is the target's, rests here for good and is to be ended with `powerOff`.
public final class TeleportSource: @unchecked Sendable {
  let machine: any TeleportableMachine
  let options: Options
  private let records: @Sendable (TeleportRecord) throws -> Void
  private let onState: @Sendable (TeleportState) -> Void
  private let onProgress: @Sendable (TeleportProgress) -> Void
  private let onAnchors: @Sendable ([Int: AnchorSocket]) -> Void
  private let wake = WakePipe()
  private let lock = NSLock()
  private var isDecided = false
  private var isCancelled = false
  private var resolution: Resolution?
  var testPoint = TestPoint()

  enum Proof: String { case full, digest }
  /// nil: as much as the downtime allows.
  var proof = ProcessInfo.processInfo.environment["VMCTL_TELEPORT_VERIFY"].flatMap { Proof(rawValue: $0) }
  private var scanFits = false
  /// How long to try to get the media back from a target that may have heard the decision.
  var relockMS = TestPoint.patienceMS ?? 30_000

  private var wasPaused = false
  /// Whether the target is only asked.
  private var isCheck = false
  /// What the connection is for.
  var intent = Message.Intent.teleport
  /// What the target has consented to.
  private(set) var accepted: Message.Accept?
  private var isLogging = false
  private var mediaShared = false
  private var transfer = ""
  private var last = TeleportProgress()
  private var pendingNote: Note?

  private var anchors: AnchorLinks?
  /// The port on which the machine waits, which is another than the one that was named where a receiver made it.
  private(set) var port: Int
  /// To a receiver, which keeps what it has made for as long as this is open.
  private var reception: Connection?

  /// - Parameters: records: writes durably or throws; called one at a time. state, progress: called on the thread of `run`.
  ///   anchors: called when the machine is the target's, with a connection to it for each card that both sides want an
  ///   anchor for, by card: sockets that are then the callee's.
  public init(
    vm: any TeleportableMachine, options: Options,
    records: @escaping @Sendable (TeleportRecord) throws -> Void = { _ in },
    state: @escaping @Sendable (TeleportState) -> Void = { _ in },
    progress: @escaping @Sendable (TeleportProgress) -> Void = { _ in },
    anchors: @escaping @Sendable ([Int: AnchorSocket]) -> Void = { for socket in $0.values { socket.close() } }
  ) {
    machine = vm
    self.options = options
    port = options.port
    self.records = records
    onState = state
    onProgress = progress
    onAnchors = anchors
  }

  /// From any thread.
  /// - Returns: false when the decision has fallen and the transfer can only go forward.
  @discardableResult
  public func cancel() -> Bool {
    lock.withLock {
      guard !isDecided else { return false }
      isCancelled = true
      wake.wake()
      return true
    }
  }

  /// From any thread, while the state is `inDoubt`.
  public func resolve(_ resolution: Resolution) { lock.withLock { self.resolution = resolution } }

  /// Connects and greets, and ends the connection afterwards.
  func whileConnected<Result>(toCheck: Bool, _ body: (Connection) throws -> Result) throws -> Result {
    defer { reception?.close() }
    isCheck = toCheck
    wasPaused = machine.teleportState == .paused
    var link = try Connection.connect(host: options.host, port: port, timeoutMS: options.timeoutMS, wake: wake)
    defer { link.close() }
    if try greet(link) == .receiver { link = try introduce(to: link) }
    return try body(link)
  }

  // MARK: The phases

  /// - Returns: the final figures.
  /// - Throws: `TeleportError` and what machine and records throw: the machine goes on here.
  @discardableResult
  public func run() throws -> TeleportProgress {
    defer { reception?.close() }
    guard machine.teleportState != .stopped else { throw TeleportError.machineStopped }
    // They may still be shared with a target of an earlier transfer.
    try machine.lockMedia()
    clock = Stopwatch()
    wasPaused = machine.teleportState == .paused
    onState(.teleporting(paused: wasPaused))
    show(.connecting)
    var connection: Connection?
    do {
      var link = try Connection.connect(host: options.host, port: port, timeoutMS: options.timeoutMS, wake: wake)
      connection = link
      try testPoint(.sourceConnected)
      if try greet(link) == .receiver {
        link = try introduce(to: link)
        connection = link
      }
      try testPoint(.sourceGreeted)
      let sender = try checkHardware(link)
      try testPoint(.sourceAgreed)
      try sendMemory(link, sender)
      try testPoint(.sourcePaused)
      let rest = takeRest()
      var scan = wasPaused ? nil : beginScan(sender, except: rest)
      try sendRest(link, sender, rest)
      if wasPaused { scan = beginScan(sender, except: PageBitmap(pageCount: rest.pageCount)) }
      let devices = try sendDevices(link, sender)
      try prove(link, sender, devices, scan)
      try prepare(link, sender)
      try decide()
    } catch {
      try keep(connection, because: error)
    }
    return try commit(connection)
  }

  /// Since the start.
  private var clock = Stopwatch()
  /// The parts of the downtime.
  private var watch = Stopwatch()

  private enum Listener { case target, receiver }

  private func greet(_ link: Connection) throws -> Listener {
    show(.greeting)
    let versions = Wire.sourceVersions(withPassword: options.password != nil)
    let mine = Message.encode(
      Message.Hello(
        minVersion: versions.lowerBound, maxVersion: versions.upperBound,
        build: StateFormat.build, name: options.name, uuid: options.uuid, intent: intent,
        nonce: Authentication.nonce(), password: options.password != nil, paused: wasPaused,
        check: isCheck ? true : nil))
    try link.send(.hello, mine, timeoutMS: options.timeoutMS)
    let frame = try link.receive(timeoutMS: options.timeoutMS, "greeting").expect(.hello)
    let theirs = try Message.decodeText(Message.Hello.self, frame)
    show(.authenticating)
    guard theirs.password == (options.password != nil) else {
      // A target that has forgotten its password may be somebody else's.
      throw theirs.password ? TeleportError.passwordNeeded : .passwordNotAsked(machine: theirs.name)
    }
    _ = try Message.agree(versions, theirs, who: "target")
    let listener = theirs.receives == true ? Listener.receiver : .target
    guard let password = options.password else { return listener }
    let exchange = try PasswordExchange(
      .source, password: try PasswordExchange.stretched(password), sourceHello: mine, targetHello: frame.payload)
    try link.send(.proof, exchange.share, timeoutMS: options.timeoutMS)
    let share = try link.receive(timeoutMS: options.timeoutMS, "password").expect(.proof)
    let keys = try exchange.keys(share.payload)
    try link.send(.proof, keys.proof(of: .source), timeoutMS: options.timeoutMS)
    // A wrong password is answered late.
    let proof = try link.receive(timeoutMS: options.timeoutMS, "password").expect(.proof)
    guard keys.check(proof.payload, of: .target) else {
      throw TeleportError.password("the target does not know the password it asks for; check host and port")
    }
    try link.secure(key: keys.channel, isClient: true, timeoutMS: options.timeoutMS)
    return listener
  }

  /// Who listens makes a machine of the definition, and says where that waits.
  private func introduce(to receiver: Connection) throws -> Connection {
    guard receiver.isSecure, let definition = options.definition else {
      throw TeleportError.refused("it waits for a definition, which goes nowhere without a password")
    }
    reception = receiver
    try receiver.send(.definition, Array(definition.utf8), timeoutMS: options.timeoutMS)
    // It starts a process for it.
    let frame = try receiver.receive(timeoutMS: max(options.timeoutMS, 60_000), "making the machine").expect(.place)
    port = try Message.decode(Message.Place.self, frame).port
    guard (1...65535).contains(port) else { throw TeleportError.damaged("a place that is none") }
    let link = try Connection.connect(host: options.host, port: port, timeoutMS: options.timeoutMS, wake: wake)
    guard try greet(link) == .target else { throw TeleportError.refused("a receiver sends to another one") }
    return link
  }

  func checkHardware(_ link: Connection) throws -> MemorySender {
    show(.checkingHardware)
    // Only who has the same files open sees the marks.
    try machine.markMedia()
    defer { machine.unmarkMedia() }
    let hardware = Message.encode(try machine.hardwareDescription())
    try link.send(.hardware, hardware, timeoutMS: options.timeoutMS)
    let accept = try link.receive(timeoutMS: options.timeoutMS, "hardware check").expect(.accept)
    let consent = try Message.decode(Message.Accept.self, accept)
    transfer = consent.transfer
    accepted = consent
    openAnchors(consent.anchors ?? [])
    return MemorySender(machine: machine, connection: link, timeoutMS: options.timeoutMS, clock: clock) {
      [unowned self] in
      last = $0
      onProgress($0)
    }
  }

  /// Beside the memory's first round, so that nothing waits for it.
  private func openAnchors(_ wanted: [Int]) {
    let cards = options.anchors.filter(wanted.contains)
    guard !cards.isEmpty else { return }
    anchors = AnchorLinks(options, record(.keptHere), cards: cards)
  }

  /// Ends with the machine at rest.
  private func sendMemory(_ link: Connection, _ sender: MemorySender) throws {
    defer { if isLogging { machine.throttle(0) } }
    if !wasPaused {
      machine.startDirtyLog()
      isLogging = true
      sender.nearlyDone = { [unowned self] in noteDecision() }
      try sender.sendWhileRunning(maxDowntimeMS: options.maxDowntimeMS, testPoint: testPoint) { [self] in
        // What the media's hand-over flushes again is then little.
        machine.flushMedia()
        // What the hand-over samples again is then in the host's memory.
        _ = try? machine.sampleMedia(.few)
        try pendingNote?.wait()
        anchors?.wait()
        scanFits = sender.ledger.scanMS(of: machine.memory) <= Double(options.maxDowntimeMS) / 8
      }
    } else {
      noteDecision()
      anchors?.wait()
    }
    try checkCancelled()
    sender.enter(.pausing)
    watch = Stopwatch()
    machine.pause()
    guard machine.teleportState == .paused else { throw TeleportError.machineStopped }
    sender.progress.downtime.stop = watch.lap()
  }

  /// The pages that are still to be sent.
  private func takeRest() -> PageBitmap {
    var rest = PageBitmap(pageCount: machine.memory.pageCount, filled: wasPaused)
    if isLogging { _ = machine.takeDirtyPages(into: &rest) }
    return rest
  }

  /// What follows is sent without waiting for the answers, which `prove` awaits: each would cost the guest a moment.
  private func sendRest(_ link: Connection, _ sender: MemorySender, _ rest: PageBitmap) throws {
    sender.enter(.lastPages)
    // All of a paused machine's memory takes longer than anybody is silent.
    try sender.send(rest, awaitsEnd: wasPaused)
    try testPoint(.sourceRestSent)
    sender.progress.downtime.lastPages = watch.lap()
  }

  private func sendDevices(_ link: Connection, _ sender: MemorySender) throws -> UInt64 {
    sender.enter(.devices)
    let bytes = try SectionCodec.encodeAll(try machine.saveState())
    guard bytes.count <= Wire.maxDeviceBytes else { throw TeleportError.refused("the device state is too large") }
    for frame in Wire.deviceFrames(bytes) { try link.queue(frame, timeoutMS: options.timeoutMS) }
    try link.flush(timeoutMS: options.timeoutMS)
    try testPoint(.sourceDevicesSent)
    sender.progress.downtime.devices = watch.lap()
    return Checksum.of(bytes)
  }

  /// Both sides have summed the checksums of the pages that crossed. Where the time allows, the source also reads all of
  /// its memory again: only that can show a page that was changed without being noticed. It begins with what is not
  /// to be sent any more, while the rest and the devices cross.
  private func beginScan(_ sender: MemorySender, except rest: PageBitmap) -> Scan? {
    guard provesFully || (proof == nil && scanFits) else { return nil }
    return sender.ledger.beginScan(of: machine.memory, except: rest)
  }

  /// Whether the target reads all of its memory again, too.
  private var provesFully: Bool { proof == .full || (proof == nil && wasPaused) }

  private func prove(_ link: Connection, _ sender: MemorySender, _ devices: UInt64, _ scan: Scan?) throws {
    sender.enter(.proof)
    let mine = Message.Verify(memory: sender.ledger.digest, devices: devices, full: provesFully)
    try link.send(.verify, Message.encode(mine), timeoutMS: options.timeoutMS)
    if let scan {
      let missed = scan.differences()
      guard missed.isEmpty else {
        let pages = missed.map { "0x" + String(machine.memory.physicalAddress(ofPage: $0), radix: 16) }
        throw TeleportError.proof("pages changed without being recorded: \(pages.joined(separator: ", "))")
      }
    }
    if !wasPaused { try sender.awaitRoundEnd() }
    _ = try link.receive(timeoutMS: options.timeoutMS, "loading the device state").expect(.devicesLoaded)
    let patience = options.timeoutMS + Int(machine.memory.size >> 20)
    let answer = try link.receive(timeoutMS: patience, "proof").expect(.verified)
    let theirs = try Message.decode(Message.Verify.self, answer)
    guard theirs == mine else {
      let what = theirs.memory == mine.memory ? "the device state" : "the memory"
      throw TeleportError.proof("\(what) arrived otherwise than it was sent")
    }
    sender.progress.verifiedFully = scan != nil
    try testPoint(.sourceProved)
    sender.progress.downtime.proof = watch.lap()
  }

  /// Lets the target share the media and promise to be ready. The share that is kept here keeps others out.
  private func prepare(_ link: Connection, _ sender: MemorySender) throws {
    try checkCancelled()
    sender.enter(.handOver)
    mediaShared = true
    try machine.shareMedia()
    try testPoint(.sourceReleased)
    let samples = Message.Prepare(media: try machine.sampleMedia(.few))
    try link.send(.prepare, Message.encode(samples), timeoutMS: options.timeoutMS)
    _ = try link.receive(timeoutMS: options.timeoutMS, "taking the media").expect(.prepared)
    try testPoint(.sourcePrepared)
  }

  /// Writes the decision down while the guest still runs, so that the disk does not add to the downtime. Until the
  /// decision falls, the record only makes a successor of this process ask the target, which knows.
  private func noteDecision() {
    let note = Note()
    let entry = record(.committing)
    let records = records
    let thread = Thread { note.finish(Result { try records(entry) }) }
    thread.name = "teleport record"
    thread.start()
    pendingNote = note
  }

  /// The decision: after this the machine does not run here unless the target says that it will not run there.
  private func decide() throws {
    try pendingNote?.wait()
    try lock.withLock {
      guard !isCancelled else { throw TeleportError.cancelled }
      isDecided = true
    }
  }

  private func checkCancelled() throws {
    if lock.withLock({ isCancelled }) { throw TeleportError.cancelled }
  }

  private func record(_ step: TeleportRecord.Step) -> TeleportRecord {
    TeleportRecord(
      role: .source, step: step, transfer: transfer, host: options.host, port: port,
      isSecure: options.password != nil ? true : nil)
  }

  // MARK: After the decision

  private enum Answer { case running, discarded, unknown }

  /// Delivers the decision until its fate is known.
  ///
  /// A target answers before the machine's first instruction. So a connection that its host has ended without an answer
  /// carried no decision that was acted on; one that is merely silent or lost may have, and only an answer, or the
  /// user, settles that.
  private func commit(_ first: Connection?) throws -> TeleportProgress {
    var pending: [Connection] = []
    var isLost = false
    let since = Stopwatch()
    var isDoubted = false
    var next = first
    while true {
      do {
        if let link = next {
          link.ignoreWake()
          pending.append(link)
          if link === first { try testPoint(.sourceCommitting) }
          try link.send(.commit, Array(transfer.utf8), timeoutMS: options.timeoutMS)
          if link === first { try testPoint(.sourceCommitSent) }
          if let answer = try answer(link, timeoutMS: link === first ? options.timeoutMS : 1000) {
            if let result = try act(on: answer, link, isEnded: pending.count == 1 && !isLost) { return result }
            pending.removeAll { $0 === link }
          }
        }
      } catch let kept as Kept {
        throw kept.reason
      } catch {
        if error as? TeleportError != .closed { isLost = true }
        pending.removeAll { $0 === next }
      }
      next = nil
      for link in pending {
        do {
          if let answer = try answer(link, timeoutMS: 0) {
            if let result = try act(on: answer, link, isEnded: false) { return result }
          }
        } catch let kept as Kept {
          throw kept.reason
        } catch {
          if error as? TeleportError != .closed { isLost = true }
          pending.removeAll { $0 === link }
        }
      }
      do {
        next = try reconnect()
      } catch TeleportError.nobodyListens {
        if pending.isEmpty && !isLost { try keep(nil, because: TeleportError.closed) }
      } catch is Settlement.Unknown {
        if pending.isEmpty && !isLost { try keep(nil, because: TeleportError.refused("the target was started anew")) }
      } catch {
        // It cannot be reached now; nothing was said on this connection.
      }
      if since.milliseconds > 3000 && !isDoubted {
        isDoubted = true
        show(.inDoubt)
        onState(.inDoubt)
      }
      switch lock.withLock({ resolution }) {
      case .takeBack: try keep(nil, because: TeleportError.givenUp)
      case .giveUp: return handedOver(nil)
      case nil: if next == nil { Thread.sleep(forTimeInterval: 0.2) }
      }
    }
  }

  /// What an answer means. nil: nothing yet.
  private func act(on answer: Answer, _ link: Connection, isEnded: Bool) throws -> TeleportProgress? {
    do {
      switch answer {
      case .running: return handedOver(link)
      case .discarded: try keep(link, because: TeleportError.refused("the target dropped the machine"))
      case .unknown:
        // Another process than the one that was prepared.
        guard isEnded else { return nil }
        try keep(link, because: TeleportError.refused("the target was started anew"))
      }
    } catch {
      throw Kept(reason: error)
    }
  }

  private func reconnect() throws -> Connection {
    let link = try Connection.connect(host: options.host, port: port, timeoutMS: 3000, wake: nil)
    try Settlement.open(
      link, record(.committing), name: options.name, uuid: options.uuid, timeoutMS: min(options.timeoutMS, 3000))
    return link
  }

  /// nil when there is none in time. Only these three words count: a complaint about the stream says nothing about the
  /// machine.
  private func answer(_ link: Connection, timeoutMS: Int) throws(TeleportError) -> Answer? {
    let frame: Wire.Frame
    do {
      frame = try link.receive(timeoutMS: timeoutMS, "hand-over")
    } catch {
      if case .timedOut = error { return nil }
      throw error
    }
    switch frame.type {
    case .running: return .running
    case .discarded: return .discarded
    case .unknown: return .unknown
    default: throw frame.unexpected("an answer")
    }
  }

  private func handedOver(_ link: Connection?) -> TeleportProgress {
    last.downtime.handOver = watch.lap()
    machine.unlockMedia()
    // The guest runs there already and waits for its flows.
    if let links = anchors?.take(), !links.isEmpty { onAnchors(links) }
    last.seconds = clock.milliseconds / 1000
    // The decision stands; a record that cannot be written leaves the earlier one, which says the same less surely.
    try? records(record(.handedOver))
    try? testPoint(.sourceAnswered)
    if let link {
      // Nothing depends on the echo, but with it the other side's state is written down when this returns.
      try? link.send(.done, Array(transfer.utf8), timeoutMS: options.timeoutMS)
      _ = try? link.receive(timeoutMS: min(options.timeoutMS, 3000), "end")
      link.close()
    }
    if isLogging { machine.stopDirtyLog() }
    onState(.handedOver)
    show(.done)
    return last
  }

  // MARK: Staying here

  /// Work on another thread that is waited for.
  private final class Note: @unchecked Sendable {
    private let condition = NSCondition()
    private var result: Result<Void, any Error>?

    func finish(_ result: Result<Void, any Error>) {
      condition.withLock {
        self.result = result
        condition.broadcast()
      }
    }

    func wait() throws {
      condition.lock()
      defer { condition.unlock() }
      while result == nil { condition.wait() }
      try result?.get()
    }
  }

  /// The machine has been kept, for this reason.
  private struct Kept: Error { var reason: any Error }

  /// Puts everything back as it was and throws `reason`.
  private func keep(_ connection: Connection?, because reason: any Error) throws -> Never {
    anchors?.drop()
    if let connection {
      connection.ignoreWake()
      try? connection.send(.abort, Array("\(reason)".utf8.prefix(1000)), timeoutMS: 1000)
      connection.close()
    }
    if isLogging {
      machine.stopDirtyLog()
      isLogging = false
    }
    let mayRunThere = lock.withLock { isDecided }
    if mediaShared {
      if mayRunThere {
        do {
          try relock()
        } catch {
          onState(.kept(paused: true))
          noteKept()
          throw TeleportError.mediaTaken("\(error) (after: \(reason))")
        }
      } else {
        // Without the decision the target never runs, though it may have its share for a while.
        machine.claimMedia()
      }
    }
    if !wasPaused && machine.teleportState == .paused { machine.resume() }
    onState(.kept(paused: machine.teleportState == .paused))
    noteKept()
    // The connection may have broken, so that the target does not know yet. Once it has answered it is free again.
    if mediaShared && !mayRunThere { _ = TeleportInquiry.ask(record(.keptHere), timeoutMS: 1000) }
    throw reason
  }

  /// The machine does not wait for this. Were the process killed before it is done, its successor would ask the target.
  private func noteKept() {
    guard let note = pendingNote else { return }
    try? note.wait()
    try? records(record(.keptHere))
  }

  /// The target, or the user, has said that it does not run there. Still it runs here only with its media for itself
  /// alone. A target lets go when it hears that the transfer is off, at the latest when it has waited long enough.
  private func relock() throws {
    let deadline = Deadline(milliseconds: relockMS)
    while true {
      do {
        return try machine.lockMedia()
      } catch {
        guard deadline.remainingMS > 0 else { throw error }
        // The connection may have broken, so that the target does not know yet.
        if let link = try? Connection.connect(host: options.host, port: port, timeoutMS: 500, wake: nil) {
          if (try? Settlement.open(
            link, record(.keptHere), name: options.name, uuid: options.uuid, timeoutMS: 500)) != nil
          {
            try? link.send(.abort, Array(transfer.utf8), timeoutMS: 500)
          }
        }
        Thread.sleep(forTimeInterval: 0.1)
      }
    }
  }

  private func show(_ phase: TeleportProgress.Phase) {
    // Who only asks does nothing that progresses.
    guard !isCheck else { return }
    last.phase = phase
    onProgress(last)
  }
}
