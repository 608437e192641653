import Foundation
import GuestMemory
import Machine
import SavedState

/// The side that runs a protected machine: sends checkpoint after checkpoint, and lets the machine's output go when the backup
/// holds what it depends on. docs/protection.md describes the steps and what happens when one fails.
///
/// Runs on the caller's thread.
public final class ProtectionSource: @unchecked Sendable {
  /// What the user of a protection decides.
  public struct Options: Sendable {
    /// Where to, and how to get in.
    public var link: TeleportSource.Options
    /// The longest time between two checkpoints, in milliseconds.
    public var intervalMS = 200
    /// Memory crosses compressed.
    public var compresses = true
    /// There is no backup: all is done but the sending.
    public var isBlackhole = false
    /// Frames and what is written on serial ports wait for their checkpoint.
    public var holdsOutput = true
    /// The disks that the guest writes cross too, unless both hosts have the same.
    public var replicatesDisks = true
    /// Where a survivor finds this host's machine when that has come back as its backup; nil: it does not look for it.
    public var reprotection: HostPlace?
    /// The backup is not taken for lost before it has been silent for so long, in milliseconds.
    public var silenceMS = TestPoint.patienceMS ?? Heartbeat.leastSilenceMS

    public init(link: TeleportSource.Options) { self.link = link }
  }

  /// How a protection has ended.
  public enum Outcome: Equatable, Sendable {
    /// The machine is here, without a backup. `isWanted`: somebody has asked for that.
    case unprotected(reason: String, isWanted: Bool)
    /// The machine is the backup's. `isWanted`: somebody has asked for that.
    case takenOver(isWanted: Bool)
    /// The machine has ended here, and nobody could say whether the backup goes on with it.
    case undecided(reason: String)
  }

  private let machine: any ProtectableMachine
  private let options: Options
  private let witness: Witness
  private let onProgress: @Sendable (ProtectionProgress) -> Void
  private let source: TeleportSource
  /// The protection's own name, by which the witness knows it.
  public let session = Authentication.transferName()
  private let wake = WakePipe()

  private let lock = NSLock()
  // Guarded by `lock`.
  private var wishes = Wishes()
  private struct Wishes {
    var end = false
    var handOver = false
    var vouch = false
    var off = false
    /// Since when output waits.
    var heldSince: ContinuousClock.Instant?
  }

  private var state = PrimaryProtection()
  private var progress = ProtectionProgress(role: .primary, state: .synchronizing)
  private var link: Connection?
  private var ledger: PageLedger
  private let pages: PageSnapshot
  private let encoder = PageChunkEncoder()
  private var delta = SectionDelta()
  private var heartbeat: Heartbeat
  private var lastHeard = Stopwatch()
  private var lastBeat = Stopwatch()
  private var lastReport = Stopwatch()
  private var reportedBytes: UInt64 = 0
  private var droppedBytes: UInt64 = 0
  private var pauses: [Double] = []
  /// The disks that cross, in their order.
  private var disks: [HardwareDescription.StorageSlot.Place] = []
  private var checkpoint = Checkpoint()
  private var hasShared = false
  private var isLogging = false
  private var outcome: Outcome?
  private var handsOver = false
  /// What the witness is asked, and since when.
  private var claim: WitnessClaim?
  private var sinceAsked = Stopwatch()
  private var sinceOff: Stopwatch?

  /// - Parameters: witness: asked on the thread of `run`. progress: called on that thread.
  public init(
    vm: any ProtectableMachine, options: Options, witness: Witness,
    progress: @escaping @Sendable (ProtectionProgress) -> Void = { _ in }
  ) {
    machine = vm
    self.options = options
    self.witness = witness
    onProgress = progress
    source = TeleportSource(vm: vm, options: options.link)
    source.intent = .protect
    ledger = PageLedger(pageCount: vm.memory.pageCount)
    pages = PageSnapshot(vm.memory)
    heartbeat = Heartbeat(floorMS: Double(options.silenceMS))
    self.progress.peer =
      options.isBlackhole ? ProtectionProgress.nowhere : "\(options.link.host) port \(options.link.port)"
    self.progress.witness = witness.text
  }

  // MARK: Wishes, from any thread

  /// Ends the protection; the machine goes on here.
  public func end() { wish { $0.end = true } }

  /// Ends the machine, which stands still from now on, with its protection.
  public func powerOff() { wish { $0.off = true } }

  /// Has the backup go on with the machine.
  public func failOver() { wish { $0.handOver = true } }

  /// Somebody knows that the backup does not run, where the witness cannot be asked.
  public func vouch() { wish { $0.vouch = true } }

  private func wish(_ body: (inout Wishes) -> Void) {
    lock.withLock { body(&wishes) }
    source.cancel()
    wake.wake()
  }

  private var isWanted: Bool { lock.withLock { wishes.end || wishes.handOver || wishes.off } }

  // MARK: Life

  /// Returns when there is no protection any more.
  /// - Throws: `TeleportError` and what the machine throws, when it has failed to begin: the machine goes on as before.
  public func run() throws -> Outcome {
    guard machine.teleportState != .stopped else { throw TeleportError.machineStopped }
    tell(.synchronizing)
    if options.isBlackhole { return try protect() }
    return try source.whileConnected(toCheck: false) { link in
      self.link = link
      return try protect()
    }
  }

  private func protect() throws -> Outcome {
    do {
      try begin()
    } catch {
      // Who has the first of it has nothing, and need not wait for more.
      if lock.withLock({ wishes.end || wishes.off }) {
        link?.ignoreWake()
        try? link?.send(.unprotect, [1], timeoutMS: 1000)
      }
      putBack()
      throw error
    }
    while outcome == nil { turn() }
    switch outcome {
    case .takenOver: return .takenOver(isWanted: handsOver)
    case .undecided(let reason): return .undecided(reason: reason)
    default: break
    }
    putBack()
    return outcome ?? .unprotected(reason: "", isWanted: false)
  }

  /// Everything is as before the protection.
  private func putBack() {
    if isLogging {
      machine.releaseOutput()
      machine.noteDiskWrites(false)
      machine.stopDirtyLog()
      machine.throttle(0)
      isLogging = false
    }
    if hasShared { machine.claimMedia() }
    hasShared = false
  }

  /// Ends with the backup having everything but the first checkpoint.
  private func begin() throws {
    encoder.compresses = options.compresses
    let sender = try link.map { try source.checkHardware($0) }
    if let sender { ledger = sender.ledger }
    if options.compresses && (source.accepted?.takesDifferences ?? options.isBlackhole) {
      encoder.sent = SentPages(bytes: min(Int(machine.memory.size) / 4, Self.mostRemembered))
    }
    encoder.onPage = { [unowned self] page, checksum, _ in ledger.set(page, checksum) }
    let shared = source.accepted?.shared ?? []
    let crosses = options.replicatesDisks && !options.isBlackhole
    let written = crosses ? machine.writtenDisks.filter { !shared.contains($0.place) } : []
    disks = written.map(\.place)
    if !shared.isEmpty {
      hasShared = true
      try machine.shareMedia()
    }
    if let link {
      let wish = Message.Protect(
        session: session, machine: options.link.uuid, witness: witness.text, disks: disks,
        sizes: written.map(\.size), reprotection: reprotection)
      try link.send(.protect, Message.encode(wish), timeoutMS: options.link.timeoutMS)
      // It looks whether its disks are empty.
      _ = try link.receive(timeoutMS: max(options.link.timeoutMS, 120_000), "getting ready").expect(.ready)
    }
    isLogging = true
    machine.startDirtyLog()
    if !disks.isEmpty { machine.noteDiskWrites(true) }
    let copy = link.map { link in
      DiskCopy(
        machine: machine, link: link, timeoutMS: options.link.timeoutMS, disks: written,
        queue: { [unowned self] in try queue($0) },
        onProgress: { [unowned self] in
          tell(.synchronizing)
          try checkWishes()
        })
    }
    try copy?.send()
    if let sender {
      sender.report = { [unowned self] memory in
        progress.pages = memory.remainingPages
        tell(.synchronizing)
      }
      do {
        try sender.sendWhileRunning(maxDowntimeMS: 2000, testPoint: TestPoint()) {}
      } catch TeleportError.tooBusy {
        // The first checkpoint is the larger for it.
      }
      machine.throttle(0)
    }
    var held: HeldOutput = options.holdsOutput ? .world : []
    if options.replicatesDisks { held.insert(.disks) }
    machine.holdOutput(held) { [weak self] in self?.outputWaits() }
    // From here on the disks stand still until the first checkpoint is acknowledged.
    try copy?.sendWritten()
    if !disks.isEmpty { machine.noteDiskWrites(false) }
    try checkWishes()
    perform(state.handle(.established(witness.establish(session))))
    lastHeard = Stopwatch()
  }

  private var reprotection: Reprotection? {
    options.reprotection.map {
      Reprotection(
        backup: $0, survivor: HostPlace(host: options.link.host, port: source.port), intervalMS: options.intervalMS,
        compresses: options.compresses)
    }
  }

  private func checkWishes() throws {
    if isWanted { throw TeleportError.cancelled }
  }

  private func outputWaits() {
    lock.withLock { if wishes.heldSince == nil { wishes.heldSince = .now } }
    wake.wake()
  }

  // MARK: Epochs

  private func turn() {
    if case .deciding = state.state { return decide() }
    let begun = ContinuousClock.now
    do {
      if case .protected = state.state, lock.withLock({ wishes.off }) {
        // What has not been captured yet is nobody's any more.
      } else if case .protected = state.state {
        if lock.withLock({ wishes.handOver }) { machine.pause() }
        let number = state.captured + 1
        try capture(number)
        try send(number)
        try awaitAcknowledgement(number)
        progress.lagMS = begun.duration(to: .now) / .milliseconds(1)
        perform(state.handle(.acknowledged(number)))
        progress.epoch = state.released
        tell(.protected)
        try idle(since: begun)
      } else if case .handingOver = state.state {
        try awaitSuccessor()
      }
      listen()
    } catch {
      perform(state.handle(.backupLost(Self.text(error))))
    }
  }

  private static func text(_ error: any Error) -> String {
    if case TeleportError.closed = error { return "its connection has ended" }
    return "\(error)"
  }

  /// What somebody here wants.
  private func listen() {
    let wishes = lock.withLock { self.wishes }
    if machine.teleportState == .stopped || wishes.off {
      if machine.teleportState == .running { machine.pause() }
      if sinceOff == nil { sinceOff = Stopwatch() }
      return perform(state.handle(.offWanted))
    }
    if wishes.end { return perform(state.handle(.endWanted)) }
    if wishes.handOver, machine.teleportState == .paused, state.released == state.captured {
      handsOver = true
      perform(state.handle(.handOverWanted))
    }
  }

  private func capture(_ number: UInt64) throws {
    lock.withLock { wishes.heldSince = nil }
    let watch = Stopwatch()
    checkpoint = try machine.checkpoint(pages)
    progress.pauseMS = watch.milliseconds
    pauses.append(progress.pauseMS)
    if pauses.count > 100 { pauses.removeFirst() }
    progress.longestPauseMS = pauses.max() ?? 0
    progress.pages = pages.count
    _ = state.handle(.captured(number))
  }

  private func send(_ number: UInt64) throws {
    let emit: ([UInt8]) throws -> Void = { [self] in try queue(Wire.Frame(.pages, $0)) }
    try pages.forEach { page, bytes in
      try encoder.add(page: page, at: bytes, emit: emit)
    }
    try encoder.flush(emit: emit)
    pages.trim()
    let devices = try delta.encode(checkpoint.sections)
    for frame in Wire.deviceFrames(devices) { try queue(frame) }
    for output in checkpoint.console {
      for payload in EpochContents.encode(console: output) { try queue(Wire.Frame(.console, payload)) }
    }
    for writes in checkpoint.disks {
      guard let index = disks.firstIndex(of: writes.place) else { continue }
      try EpochContents.encode(disk: index, writes.blocks) { try queue(Wire.Frame(.disk, $0)) }
    }
    let end = Message.Epoch(number: number, memory: ledger.digest, devices: Checksum.of(devices))
    try queue(Wire.Frame(.epoch, Message.encode(end)))
    try link?.flush(timeoutMS: sendMS)
    lastBeat = Stopwatch()
  }

  /// Of memory as the backup has it no more than this is kept, in bytes.
  private static let mostRemembered = 256 << 20
  /// Output that outgrows this has the guest wait.
  private static let mostHeld = 64 << 20
  /// Output that outgrows this ends an epoch.
  private static let muchHeld = 4 << 20

  private func queue(_ frame: Wire.Frame) throws {
    if case .protected = state.state, machine.heldBytes > Self.mostHeld { machine.throttle(99.9) }
    guard let link else {
      droppedBytes += UInt64(frame.payload.count + Wire.headerBytes)
      return
    }
    try link.queue(frame, timeoutMS: sendMS)
  }

  /// How long a frame may take to leave: who takes nothing any more is lost.
  private var sendMS: Int {
    guard case .protected = state.state else { return options.link.timeoutMS }
    return max(Int(heartbeat.limitMS), 2000)
  }

  private func awaitAcknowledgement(_ number: UInt64) throws {
    defer { machine.throttle(0) }
    guard let link else { return }
    // It has to take in what was sent.
    let slack = Double(pages.count) * 0.08
    let wait = Stopwatch()
    while true {
      let limit = heartbeat.limitMS + slack
      do {
        let frame = try link.receive(timeoutMS: Heartbeat.intervalMS, "acknowledging a checkpoint")
        try note(frame)
        if frame.type == .epochDone {
          guard try Message.decode(Message.Epoch.self, frame).number == number else {
            throw TeleportError.damaged("an answer to another checkpoint")
          }
          return
        }
      } catch TeleportError.timedOut {}
      if min(lastHeard.milliseconds, wait.milliseconds) > limit { throw TeleportError.timedOut("the backup is silent") }
      if machine.heldBytes > Self.mostHeld { machine.throttle(99.9) }
      try beat()
    }
  }

  private func note(_ frame: Wire.Frame) throws {
    let silence = lastHeard.lap()
    switch frame.type {
    case .beat: heartbeat.heard(afterMS: silence)
    case .epochDone: break
    case .running: perform(state.handle(.backupRuns))
    case .discarded: throw TeleportError.refused("the backup has dropped the machine")
    default: throw frame.unexpected("an acknowledgement")
    }
  }

  private func beat() throws {
    guard let link, lastBeat.milliseconds >= Double(Heartbeat.intervalMS) else { return }
    lastBeat = Stopwatch()
    try link.send(.beat, timeoutMS: sendMS)
  }

  /// Until the next checkpoint is due: after the interval, sooner when output waits.
  private func idle(since begun: ContinuousClock.Instant) throws {
    let last = begun + .milliseconds(options.intervalMS)
    // Standing still must not be all that the machine does.
    let first = begun + .microseconds(Int64(progress.pauseMS * 3300))
    link?.setWake(wake)
    defer { link?.ignoreWake() }
    while outcome == nil {
      if isWanted || machine.teleportState == .stopped { return }
      var due = last
      if let held = lock.withLock({ wishes.heldSince }) { due = min(due, max(held + .milliseconds(2), first)) }
      if machine.heldBytes > Self.muchHeld { due = first }
      let left = ContinuousClock.now.duration(to: due) / .milliseconds(1)
      guard left > 0 else { return }
      try listen(milliseconds: min(Int(left.rounded(.up)), Heartbeat.intervalMS))
      try beat()
      if link != nil, lastHeard.milliseconds > heartbeat.limitMS {
        throw TeleportError.timedOut("the backup is silent")
      }
    }
  }

  private func listen(milliseconds: Int) throws {
    guard let link else {
      var entry = pollfd(fd: wake.readEnd, events: Int16(POLLIN), revents: 0)
      _ = poll(&entry, 1, Int32(milliseconds))
      return wake.clear()
    }
    do {
      try note(try link.receive(timeoutMS: milliseconds, "waiting"))
    } catch TeleportError.timedOut {
    } catch TeleportError.cancelled {
      wake.clear()
    }
  }

  /// The backup has been told to take the machine.
  private func awaitSuccessor() throws {
    guard let link else { throw TeleportError.refused("there is no backup") }
    let wait = Stopwatch()
    while case .handingOver = state.state {
      guard wait.milliseconds < Double(options.link.timeoutMS) else {
        throw TeleportError.timedOut("the backup is silent")
      }
      do { try note(try link.receive(timeoutMS: Heartbeat.intervalMS, "taking over")) } catch TeleportError.timedOut {}
      try beat()
    }
  }

  // MARK: Effects

  private func perform(_ effects: [PrimaryProtection.Effect]) {
    for effect in effects {
      switch effect {
      case .release:
        guard !machine.release(checkpoint) else { continue }
        // The backup has what this host's disk does not take.
        progress.reason = "a disk of the primary's cannot be written"
        lock.withLock { wishes.handOver = link != nil }
      case .askWitness: ask()
      case .askWitnessAgain: (claim, sinceAsked) = (nil, Stopwatch())
      case .askBackupToDrop:
        perform(state.handle(backupDrops() ? .backupDropped : .backupLost("it does not answer")))
      case .releaseAll:
        if isLogging { machine.releaseOutput() }
        let standsForHandOver = lock.withLock { wishes.handOver && !wishes.off }
        if standsForHandOver && machine.teleportState == .paused { machine.resume() }
      case .dismissBackup:
        if let link {
          try? link.send(.unprotect, isForGood ? [1] : [], timeoutMS: 1000)
          // What it has of the media is then free.
          _ = try? link.receive(timeoutMS: 1000, "end")
        }
        end(in: state.state)
      case .tellBackupToTakeOver:
        do { try link?.send(.takeOver, timeoutMS: 1000) } catch { perform(state.handle(.backupLost(Self.text(error)))) }
      case .stopMachine where state.state == .abandoned:
        outcome = .undecided(reason: progress.reason ?? "the witness does not answer")
      case .stopMachine:
        outcome = .takenOver(isWanted: handsOver)
        tell(.takenover)
      }
    }
  }

  // MARK: Whose it is

  /// Nobody here looks for a backup again by himself.
  private var isForGood: Bool {
    guard case .alone(let reason) = state.state else { return false }
    return reason == .wanted || reason == .off
  }

  private func ask() {
    if case .deciding(.backupLost(let why)) = state.state { progress.reason = why }
    sinceAsked = Stopwatch()
    claim = WitnessClaim(witness, session, .primary) { [wake] in wake.wake() }
  }

  /// How long a witness is waited for that has nothing to say about a machine that ends.
  private static let offPatienceMS = 5000.0

  /// Waits for the witness, and for whoever knows better.
  private func decide() {
    listen()
    guard case .deciding = state.state else { return }
    if lock.withLock({ wishes.vouch }) { return perform(state.handle(.vouched)) }
    if let sinceOff, sinceOff.milliseconds > Self.offPatienceMS { return perform(state.handle(.patienceEnded)) }
    if let answer = claim?.answer {
      if case .unreachable(let why) = answer {
        progress.reason = why
        tell(.deciding)
      }
      return perform(state.handle(.answer(answer)))
    }
    if sinceAsked.milliseconds >= 300 {
      if claim == nil { return ask() }
      // It takes its time.
      tell(.deciding)
    }
    var entry = pollfd(fd: wake.readEnd, events: Int16(POLLIN), revents: 0)
    _ = poll(&entry, 1, 100)
    wake.clear()
  }

  /// Has the backup drop what it holds, for good.
  /// - Returns: whether it has said that it has.
  private func backupDrops() -> Bool {
    guard let link else { return true }
    link.ignoreWake()
    let wait = Stopwatch()
    do {
      try link.send(.unprotect, [1], timeoutMS: 1000)
      while wait.milliseconds < 1000 {
        let frame = try link.receive(timeoutMS: 1000, "dropping its copy")
        if frame.type == .running { perform(state.handle(.backupRuns)) }
        guard frame.type == .refuse else { continue }
        // So that the witness's record is free for others; nothing depends on it any more.
        WitnessClaim(witness, session, .primary).wait(milliseconds: 1000)
        return true
      }
    } catch {
      progress.reason = Self.text(error)
    }
    return false
  }

  private func end(in state: PrimaryProtection.State) {
    guard case .alone(let reason) = state else { return }
    switch reason {
    case .backupLost(let why): outcome = .unprotected(reason: "the backup is lost: \(why)", isWanted: false)
    case .witness(let why): outcome = .unprotected(reason: "the witness (\(witness.text)): \(why)", isWanted: false)
    case .wanted, .off: outcome = .unprotected(reason: "asked for", isWanted: true)
    }
    if case .unprotected(let text, _) = outcome { progress.reason = text }
    tell(.unprotected)
  }

  private func tell(_ state: ProtectionProgress.State) {
    let isNew = progress.state != state
    progress.state = state
    progress.heldBytes = machine.heldBytes
    progress.bytes = (link?.bytesSent ?? 0) + droppedBytes
    guard isNew || lastReport.milliseconds >= 200 else { return }
    let seconds = lastReport.lap() / 1000
    if seconds > 0 { progress.bytesPerSecond = Double(progress.bytes - min(reportedBytes, progress.bytes)) / seconds }
    reportedBytes = progress.bytes
    progress.hasLostWitness = !witness.isThere()
    onProgress(progress)
  }
}
