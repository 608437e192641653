import Foundation
import GuestMemory
import Machine
import SavedState

/// One connection to a target, from its first byte to its last.
final class TargetSession<Machine: TeleportableMachine> {
  let target: TeleportTarget<Machine>
  let link: Connection
  let options: TeleportTarget<Machine>.Options
  let transfer = Authentication.transferName()
  private var isPaused = false
  private(set) var sourceName = ""
  private var isCheck = false
  private var progress = TeleportProgress()
  private var sinceReport = Stopwatch()
  private let clock = Stopwatch()
  let seat: StrangerSeats.Seat

  init(target: TeleportTarget<Machine>, link: Connection, seat: StrangerSeats.Seat) {
    self.target = target
    self.link = link
    self.seat = seat
    options = target.options
  }

  func serve() {
    defer {
      // The seat is left before its descriptor's number can be another's.
      seat.leave()
      link.close()
    }
    do {
      switch try greet() {
      case .settle: try settle()
      case .teleport: try receive()
      case .anchor: try seatAnchor()
      case .protect: try standBy()
      }
    } catch TeleportError.version(let message) {
      refuse(.version, message)
    } catch TeleportError.password, TeleportError.closed, TeleportError.connectionLost {
      // Told already, or nobody is there to hear it.
    } catch {
      refuse(.damaged, "\(error)")
    }
  }

  func refuse(_ code: Message.Refusal.Code, _ message: String, _ mismatches: [HardwareMismatch]? = nil) {
    let refusal = Message.Refusal(
      code: code, message: message, differences: mismatches, machine: options.name)
    link.ignoreWake()
    try? link.send(.refuse, Message.encode(refusal), timeoutMS: 1000)
  }

  // MARK: Greeting

  /// All of it within one deadline: nobody occupies a thread by trickling bytes.
  private func greet() throws -> Message.Intent {
    let deadline = Deadline(milliseconds: options.greetingMS)
    let frame = try link.receive(timeoutMS: deadline.remainingMS, "greeting").expect(.hello)
    let theirs = try Message.decodeText(Message.Hello.self, frame)
    let settled = !theirs.intent.bringsMachine ? theirs.transfer.flatMap(target.desk.name) : nil
    let mine = Message.encode(
      Message.Hello(
        minVersion: Wire.versions.lowerBound, maxVersion: Wire.versions.upperBound, build: StateFormat.build,
        name: options.name, uuid: options.uuid, intent: theirs.intent, nonce: Authentication.nonce(),
        password: options.password != nil, paused: false, knows: theirs.transfer.map { _ in settled != nil }))
    try link.send(.hello, mine, timeoutMS: max(deadline.remainingMS, 1))
    let version = try Message.agree(Wire.versions, theirs, who: "source")
    isPaused = theirs.paused
    isCheck = theirs.check == true
    sourceName = theirs.name
    seat.hasGreeted()
    if let settled {
      try link.secure(
        key: SettlementKey.channel(of: settled), isClient: false, timeoutMS: max(deadline.remainingMS, 1))
      seat.leave()
    }
    guard theirs.intent.bringsMachine, let password = options.password else { return theirs.intent }
    let turn = try awaitTurn()
    defer { target.guesses.end(turn) }
    let patience = Deadline(milliseconds: options.greetingMS)
    if version < 4 {
      try checkOldSource(password, sourceHello: frame.payload, targetHello: mine, patience)
    } else {
      try exchangePassword(sourceHello: frame.payload, targetHello: mine, patience)
    }
    target.guesses.wasRight(seat.address)
    seat.leave()
    return theirs.intent
  }

  /// Guessing costs time.
  private func awaitTurn() throws -> GuessTurns.Turn {
    guard let turn = target.guesses.begin(seat.address, now: Self.now) else {
      refuse(.busy, "too many have tried passwords from there; try again in some seconds")
      throw TeleportError.closed
    }
    do {
      try link.pause(milliseconds: Int(turn.seconds * 1000))
      return turn
    } catch {
      target.guesses.end(turn)
      throw error
    }
  }

  private static var now: Double { ProcessInfo.processInfo.systemUptime }

  private func exchangePassword(sourceHello: [UInt8], targetHello: [UInt8], _ deadline: Deadline) throws {
    let isRight = try link.admit(
      target.stretchedPassword, sourceHello: sourceHello, targetHello: targetHello, deadline)
    guard isRight else { throw wrongPassword() }
  }

  private func wrongPassword() -> TeleportError {
    let count = target.guesses.wasWrong(seat.address, now: Self.now)
    if GuessTurns.isTold(count) { target.onWrongPassword(count) }
    let message = "the password is not the target's"
    refuse(.password, message)
    return .password(message)
  }

  /// A source of version 3 or older: its password can be tried by who listens, and its machine's memory be read.
  private func checkOldSource(
    _ password: String, sourceHello: [UInt8], targetHello mine: [UInt8], _ deadline: Deadline
  ) throws {
    let proof = try link.receive(timeoutMS: deadline.remainingMS, "password").expect(.proof)
    let authentication = Authentication(password: password, sourceHello: sourceHello, targetHello: mine)
    guard authentication.check(proof.payload, of: .source) else { throw wrongPassword() }
    try link.send(.proof, authentication.proof(of: .target), timeoutMS: max(deadline.remainingMS, 1))
    target.onOldSource()
  }

  // MARK: Settling a transfer of another connection

  private func settle() throws {
    let frame = try link.receive(timeoutMS: options.timeoutMS, "decision")
    let name = String(decoding: frame.payload, as: UTF8.self)
    let verdict: TransferDesk.Verdict
    switch frame.type {
    case .commit: verdict = .commit
    case .abort: verdict = .abort
    default: throw frame.unexpected("a decision")
    }
    // Who names no transfer of this process is a stranger still, and is sent away when the seat is wanted.
    if target.desk.fate(name) != nil { seat.leave() }
    let wake = target.sessionWake
    let fate = target.desk.judge(name, verdict, timeoutMS: options.timeoutMS, wake: { wake.wake() })
    // The machine's first instruction waits for this answer.
    if fate == .running { try? link.send(.running, timeoutMS: 1000) }
    target.desk.answered()
    switch fate {
    case .running: try end()
    case .discarded: try link.send(.discarded, timeoutMS: options.timeoutMS)
    case .loading, .prepared: break  // no answer is no promise
    case nil: try link.send(.unknown, timeoutMS: options.timeoutMS)
    }
  }

  /// The source knows that the machine runs here. It is told when everything about that is written down, so that who
  /// looks after its command has ended sees a running machine.
  private func end() throws {
    guard try link.receive(timeoutMS: options.timeoutMS, "end").type == .done else { return }
    target.endListening()
    target.desk.awaitSettled(timeoutMS: options.timeoutMS)
    try link.send(.done, timeoutMS: options.timeoutMS)
  }

  // MARK: Anchors

  /// The connection waits until the machine is here.
  private func seatAnchor() throws {
    let frame = try link.receive(timeoutMS: options.timeoutMS, "anchor").expect(.anchor)
    let wish = try Message.decode(Message.Anchor.self, frame)
    // Only its source knows the name of a transfer that crosses encrypted.
    guard options.anchors.contains(wish.card), link.isSecure || options.password == nil else {
      return refuse(.other, "no anchor is wanted for that card")
    }
    let isSeated = try target.anchors.seat(wish.card, of: wish.transfer) {
      try link.send(.anchor, frame.payload, timeoutMS: options.timeoutMS)
      // Before the descriptor is another's: a seat that is taken away is shut down.
      seat.leave()
      return AnchorSocket(descriptor: link.release(), key: wish.key.map(Array.init))
    }
    if !isSeated { refuse(.other, "no such transfer is going on") }
  }

  // MARK: Receiving

  private func receive() throws {
    let hardware = try receiveHardware()
    guard takeSeat() else { return }
    if isCheck { return check(hardware) }
    target.anchors.begin(transfer)
    guard let machine = takeMachine() else { return }
    do {
      try target.testPoint(.targetGreeted)
      try checkHardware(machine, hardware)
    } catch {
      target.anchors.drop()
      return sendAway(machine, because: error)
    }
    do {
      target.onState(.receiving(from: sourceName))
      try takeIn(machine)
      try target.testPoint(.targetVerified)
      try prepare(machine)
    } catch {
      drop(machine, because: error)
      return
    }
    decide(machine)
  }

  func receiveHardware() throws -> HardwareDescription {
    try Message.decode(
      HardwareDescription.self, try link.receive(timeoutMS: options.timeoutMS, "hardware").expect(.hardware))
  }

  /// One source at a time brings something; the others are told so.
  func takeSeat() -> Bool {
    guard target.desk.claim(transfer) else {
      refuse(.busy, "it is receiving or has received a machine; try again later or use another target")
      return false
    }
    seat.leave()
    return true
  }

  /// The machine that takes in what comes. nil: there is none, and the source has been told why.
  func takeMachine() -> Machine? {
    target.sessionWake.clear()
    link.setWake(target.sessionWake)
    do {
      return try target.takeMachine()
    } catch {
      target.desk.settle(transfer, .discarded)
      refuse(.machine, "the target's machine cannot be built: \(error)")
      return nil
    }
  }

  /// Nothing was taken in: the machine serves again.
  func sendAway(_ machine: Machine, because error: any Error) {
    machine.unlockMedia()
    target.giveBack(machine)
    target.desk.settle(transfer, .discarded)
    switch error {
    case TeleportError.hardware(let mismatches, _): refuse(.hardware, "\(error)", mismatches)
    case TeleportError.refused(let why): refuse(.other, why)
    default: refuse(.other, "\(error)")
    }
    target.onState(.dropped(reason: "\(error)"))
  }

  /// Who has heard the answer may come at once.
  private func check(_ hardware: HardwareDescription) {
    do {
      let report = try report(on: hardware)
      try link.send(.report, Message.encode(report), timeoutMS: options.timeoutMS)
    } catch {
      refuse(.machine, "the check failed: \(error)")
    }
  }

  private func checkHardware(_ machine: Machine, _ source: HardwareDescription) throws {
    show(.checkingHardware)
    let mine = try machine.hardwareDescription()
    let mismatches = HardwareCheck.compare(source: source, target: mine)
    guard mismatches.isEmpty else { throw TeleportError.hardware(mismatches, machine: options.name) }
    let accept = Message.Accept(transfer: transfer, anchors: options.anchors)
    try link.send(.accept, Message.encode(accept), timeoutMS: options.timeoutMS)
    try target.testPoint(.targetAgreed)
  }

  /// Memory, devices, proof, in the order in which they come.
  private func takeIn(_ machine: Machine) throws {
    let pages = PageIntake(machine.memory)
    let ledger = pages.ledger
    var devices: [UInt8] = []
    var devicesDigest: UInt64?
    var hasAllRounds = false
    progress.totalPages = ledger.pageCount
    progress.remainingPages = ledger.pageCount
    show(.memory)
    while true {
      // The source reads its memory again for the proof; that may take a while.
      let frame = try link.receive(timeoutMS: options.timeoutMS + Int(machine.memory.size >> 20), "memory")
      switch frame.type {
      case .pages where devicesDigest == nil && devices.isEmpty:
        progress.memoryBytes += UInt64(try pages.take(frame.payload) * PageChunk.pageSize)
        // The first round sends each page once; how many a later one sends only the source knows.
        if progress.round == 0 {
          progress.remainingPages = max(ledger.pageCount - Int(progress.memoryBytes) / PageChunk.pageSize, 0)
        }
        if sinceReport.milliseconds >= 200 { show(.memory) }
      case .roundEnd where devicesDigest == nil && devices.isEmpty:
        hasAllRounds = true
        progress.round += 1
        progress.remainingPages = 0
        try target.testPoint(.targetMemory)
        try link.send(.roundDone, timeoutMS: options.timeoutMS)
      case .devices where hasAllRounds && devicesDigest == nil && !frame.payload.isEmpty:
        devices += frame.payload.dropFirst()
        guard devices.count <= target.deviceBudget else { throw TeleportError.damaged("too much device state") }
        if frame.payload[0] == 1 {
          show(.devices)
          try machine.loadState(try SectionCodec.decodeAll(devices, limit: target.deviceBudget))
          devicesDigest = Checksum.of(devices)
          try target.testPoint(.targetDevices)
          try link.send(.devicesLoaded, timeoutMS: options.timeoutMS)
        }
      case .verify where devicesDigest != nil:
        show(.proof)
        let theirs = try Message.decode(Message.Verify.self, frame)
        var mine = Message.Verify(memory: ledger.digest, devices: devicesDigest ?? 0, full: theirs.full)
        if theirs.full {
          progress.verifiedFully = true
          let wrong = ledger.differences(from: machine.memory)
          // A page that is not what arrived makes the proof fail on both sides.
          if !wrong.isEmpty { mine.memory = ~mine.memory }
        }
        try link.send(.verified, Message.encode(mine), timeoutMS: options.timeoutMS)
        guard mine == theirs else { throw TeleportError.proof("memory or device state arrived otherwise than sent") }
        return
      default: throw frame.unexpected("memory or device state")
      }
    }
  }

  /// From here on the machine could run; whether it does is the source's to say. Both share the media.
  private func prepare(_ machine: Machine) throws {
    let frame = try link.receive(timeoutMS: options.timeoutMS + Int(machine.memory.size >> 20), "hand-over")
      .expect(.prepare)
    // A source of an older version sends none.
    let samples = frame.payload.isEmpty ? [] : try Message.decode(Message.Prepare.self, frame).media
    show(.handOver)
    do {
      try machine.shareMedia()
    } catch {
      refuse(.media, "the target cannot lock the media: \(error)")
      throw error
    }
    // The source has written its last. What it has written must be what is read here.
    if let difference = try machine.mediaDifference(from: samples, in: [.hdd, .fdd]) {
      let message = "the target's media are not the source's: \(difference)"
      refuse(.media, message)
      throw TeleportError.refused(message)
    }
    try target.testPoint(.targetLocked)
    try target.records(record(.prepared), false)
    target.desk.prepared(transfer)
    try link.send(.prepared, timeoutMS: options.timeoutMS)
  }

  func record(_ step: TeleportRecord.Step) -> TeleportRecord {
    TeleportRecord(role: .target, step: step, transfer: transfer, host: "", port: 0)
  }

  // MARK: The end

  private func decide(_ machine: Machine) {
    do {
      try target.testPoint(.targetPrepared)
      switch verdict() {
      case .commit: try takeOver(machine)
      case .abort: drop(machine, because: TeleportError.refused("the source kept the machine"))
      case nil: drop(machine, because: TeleportError.closed)
      }
    } catch {
      drop(machine, because: error)
    }
  }

  /// The source's word, on this connection or, when it is cut, on another. nil: none came, and none will be heard any
  /// more; a source that asks later is told that the machine was discarded.
  private func verdict() -> TransferDesk.Verdict? {
    do {
      let frame = try link.receive(timeoutMS: options.timeoutMS, "decision")
      if frame.type == .commit && frame.payload == Array(transfer.utf8) { return .commit }
      if frame.type == .abort || frame.type == .refuse { return .abort }
    } catch TeleportError.cancelled {
      if target.desk.isStopping { return nil }
    } catch {
      // Cut, silent or damaged: the source comes back on another connection if it lives.
    }
    link.ignoreWake()
    return target.desk.currentVerdict ?? target.desk.awaitVerdict(graceMS: options.graceMS)
  }

  /// Record, then the answer, then the first instruction: a source that saw this process end without an answer knows that
  /// nothing has run.
  private func takeOver(_ machine: Machine) throws {
    link.ignoreWake()
    try target.testPoint(.targetCommitted)
    try target.records(record(.owned), false)
    try? target.testPoint(.targetOwned)
    target.desk.settle(transfer, .running)
    try? link.send(.running, timeoutMS: 1000)
    target.desk.awaitAnswers(timeoutMS: 1000)
    try? target.testPoint(.targetAnswered)
    start(machine, paused: isPaused)
    try? target.testPoint(.targetRunning)
    try? target.records(record(.owned), true)
    show(.done)
    handOn(machine, target.anchors.take())
    // The listener stays for a source that has not had the answer.
    try? end()
  }

  /// The machine's first instruction here. The source lets go of the media when it has heard; until then its share and this
  /// one keep others out.
  func start(_ machine: Machine, paused: Bool) {
    target.onState(.arrived(paused: paused))
    machine.start(paused: paused)
    machine.claimMedia()
    enlargePages(of: machine.memory)
  }

  /// The session is over, and the machine its owner's.
  func handOn(_ machine: Machine, _ anchors: [Int: AnchorSocket]) {
    target.onArrival(machine, anchors)
    target.finish(.success(machine))
    target.desk.settled()
  }

  /// Behind the guest's back, and not in its first moments: all that it touches comes in anew just then, and each join
  /// keeps page faults waiting.
  private func enlargePages(of memory: PhysicalMemory) {
    let thread = Thread {
      Thread.sleep(forTimeInterval: 0.5)
      memory.useLargePages(true)
      memory.joinPages()
    }
    thread.name = "large pages"
    thread.start()
  }

  /// The half-loaded machine goes, its media are free, the seat is free.
  private func drop(_ machine: Machine, because reason: any Error) {
    target.anchors.drop()
    let wasPrepared = target.desk.fate(transfer) == .prepared
    machine.unlockMedia()
    machine.powerOff()
    if wasPrepared { try? target.records(record(.discarded), true) }
    // The source hears of it only when nothing of it is left.
    target.desk.settle(transfer, .discarded)
    link.ignoreWake()
    if wasPrepared {
      try? link.send(.discarded, timeoutMS: 1000)
    } else {
      refuse(.other, "\(reason)")
    }
    target.onState(.dropped(reason: "\(reason)"))
  }

  private func show(_ phase: TeleportProgress.Phase) {
    _ = sinceReport.lap()
    progress.phase = phase
    progress.bytes = link.bytesReceived
    progress.seconds = clock.milliseconds / 1000
    if progress.seconds > 0 { progress.bytesPerSecond = Double(progress.bytes) / progress.seconds }
    target.onProgress(progress)
  }
}
