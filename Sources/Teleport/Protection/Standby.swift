import DiskImages
import Foundation
import GuestMemory
import Machine
import SavedState

/// The copy of a protected machine, from the first byte of memory to its end: dropped, or about to run.
final class Standby {
  enum End {
    /// The witness has given it to this host, and its state is loaded. `isAsked`: the source has asked for it.
    case takesOver(epoch: UInt64, isAsked: Bool)
    case dropped(reason: String)
  }

  private let machine: any ProtectableMachine
  private let link: Connection
  private let session: String
  private let witness: Witness
  private let disks: [HardwareDescription.StorageSlot.Place]
  private let sizes: [UInt64]
  private let budget: Int
  private let isStopping: () -> Bool
  private let isWanted: () -> Bool
  private let clearWake: () -> Void
  private let onProgress: (ProtectionProgress) -> Void

  private var state = BackupProtection()
  private var progress: ProtectionProgress
  private let pages: PageIntake
  private var delta = SectionDelta()
  /// What belongs to the checkpoint that is arriving.
  private var arriving = Arriving()
  private var heartbeat: Heartbeat
  private var lastHeard = Stopwatch()
  private var heardBytes: UInt64 = 0
  private var lastReport = Stopwatch()
  private var sinceWitness = Stopwatch()
  private var isAsked = false
  /// The primary needs no backup any more.
  private(set) var isDismissed = false
  private var end: End?
  private var reason = "the primary is lost"

  private struct Arriving {
    var pages: [[UInt8]] = []
    var disks: [[UInt8]] = []
    var console: [ConsoleOutput] = []
    var devices: [UInt8] = []
    var bytes = 0
  }

  init(
    machine: any ProtectableMachine, link: Connection, session: String, witness: Witness,
    disks: [HardwareDescription.StorageSlot.Place], sizes: [UInt64], budget: Int, silenceMS: Int,
    progress: ProtectionProgress,
    isStopping: @escaping () -> Bool, isWanted: @escaping () -> Bool, clearWake: @escaping () -> Void,
    onProgress: @escaping (ProtectionProgress) -> Void
  ) {
    self.machine = machine
    self.link = link
    self.session = session
    self.witness = witness
    self.disks = disks
    self.sizes = sizes
    self.budget = budget
    heartbeat = Heartbeat(floorMS: Double(silenceMS))
    self.progress = progress
    self.isStopping = isStopping
    self.isWanted = isWanted
    self.clearWake = clearWake
    self.onProgress = onProgress
    pages = PageIntake(machine.memory, takesDifferences: true)
  }

  func run() -> End {
    onProgress(progress)
    while end == nil { turn() }
    return end ?? .dropped(reason: reason)
  }

  private func turn() {
    if state.state == .deciding { return askLater() }
    do {
      // Memory and disks come before the first checkpoint, and may take their time.
      let patience = state.held == 0 ? 30_000 : heartbeat.limitMS
      do {
        let frame = try link.receive(timeoutMS: Heartbeat.intervalMS, "a checkpoint")
        let silence = lastHeard.lap()
        if frame.type == .beat { heartbeat.heard(afterMS: silence) }
        try take(frame)
      } catch TeleportError.timedOut {
        // A large frame on a slow line is a sign of life before it is whole.
        if link.bytesReceived != heardBytes { _ = lastHeard.lap() }
        heardBytes = link.bytesReceived
        // Before the first checkpoint the primary expects nothing but answers.
        if state.held > 0 { try link.send(.beat, timeoutMS: 1000) }
      } catch TeleportError.cancelled {
        clearWake()
        if isStopping() { return drop("it was switched off here") }
        if isWanted() { perform(state.handle(.takeOverWanted)) }
      }
      // A backup that could never take over is none.
      if sinceWitness.milliseconds >= Double(Heartbeat.intervalMS) {
        sinceWitness = Stopwatch()
        guard witness.isThere() else { return drop("the backup's process that asks the witness has ended") }
      }
      if lastHeard.milliseconds > patience { throw TeleportError.timedOut("the primary is silent") }
    } catch let error as TeleportError where error.isOfTheLine {
      reason = "the primary is lost: \(error)"
      perform(state.handle(.primaryLost))
    } catch {
      // A checkpoint that is not in its place, or not whole, is none: this host's copy is of no use any more.
      drop("\(error)")
    }
  }

  private func take(_ frame: Wire.Frame) throws {
    switch frame.type {
    case .beat: try answerBeat()
    case .pages where state.held == 0:
      try pages.take(frame.payload)
      tellArrival()
    case .pages: try keep(frame.payload) { $0.pages.append($1) }
    case .roundEnd where state.held == 0: try link.send(.roundDone, timeoutMS: 10_000)
    case .compare where state.held == 0: try answer(try DiskComparison(decoding: frame.payload, sizes: sizes))
    case .disk where state.held == 0:
      try apply(disk: frame.payload)
      tellArrival()
    case .disk: try keep(frame.payload) { $0.disks.append($1) }
    case .console:
      let output = try EpochContents.decode(console: frame.payload)
      try keep(frame.payload) { arriving, _ in arriving.console.append(output) }
    case .devices:
      guard !frame.payload.isEmpty, arriving.devices.count < budget else {
        throw TeleportError.damaged("too much device state")
      }
      try keep(frame.payload) { $0.devices += $1.dropFirst() }
    case .epoch: try complete(try Message.decode(Message.Epoch.self, frame))
    case .unprotect:
      reason = "the primary has ended the protection"
      isDismissed = frame.payload.first == 1
      perform(state.handle(.dismissed))
    case .takeOver:
      isAsked = true
      perform(state.handle(.takeOverWanted))
    default: throw frame.unexpected("a checkpoint")
    }
  }

  /// How far the first copy is.
  private func tellArrival() {
    guard lastReport.milliseconds >= 200 else { return }
    _ = lastReport.lap()
    progress.bytes = link.bytesReceived
    onProgress(progress)
  }

  private func answer(_ comparison: DiskComparison) throws {
    let count = comparison.byteCount(size: sizes[comparison.disk])
    let mine = try machine.readDisk(at: disks[comparison.disk], offset: comparison.offset, count: count)
    try link.send(.differs, comparison.differences(from: mine), timeoutMS: 10_000)
  }

  private var lastBeat = Stopwatch()

  private func answerBeat() throws {
    guard lastBeat.milliseconds >= Double(Heartbeat.intervalMS) / 2 else { return }
    lastBeat = Stopwatch()
    try link.send(.beat, timeoutMS: 1000)
  }

  /// Of one checkpoint no more than all of memory and some.
  private func keep(_ payload: [UInt8], _ body: (inout Arriving, [UInt8]) -> Void) throws {
    arriving.bytes += payload.count
    guard arriving.bytes < Int(machine.memory.size) + budget + (1 << 30) else {
      throw TeleportError.damaged("a checkpoint of more than there is")
    }
    body(&arriving, payload)
  }

  private func apply(disk payload: [UInt8]) throws {
    try EpochContents.decode(disk: payload, sizes: sizes) { disk, block in
      try machine.write(DiskWrites(place: disks[disk], blocks: [block]))
    }
  }

  /// All of the checkpoint is here: it takes the place of the one before.
  private func complete(_ epoch: Message.Epoch) throws {
    let new = arriving
    arriving = Arriving()
    guard Checksum.of(new.devices) == epoch.devices else { throw TeleportError.proof("the device state") }
    try delta.decode(new.devices, budget: budget)
    for payload in new.pages { try pages.take(payload) }
    for payload in new.disks { try apply(disk: payload) }
    guard pages.ledger.digest == epoch.memory else {
      throw TeleportError.proof("memory arrived otherwise than it was sent")
    }
    machine.show(new.console)
    perform(state.handle(.complete(epoch.number)))
    progress.epoch = epoch.number
    progress.bytes = link.bytesReceived
    progress.pages = new.pages.count
    let isNew = progress.state != .protected
    progress.state = .protected
    if isNew || lastReport.milliseconds >= 200 {
      _ = lastReport.lap()
      onProgress(progress)
    }
  }

  private func perform(_ effects: [BackupProtection.Effect]) {
    for effect in effects {
      switch effect {
      case .acknowledge(let number):
        let answer = Message.Epoch(number: number, memory: pages.ledger.digest, devices: 0)
        // When it does not get there the primary is lost, which the next look shows.
        try? link.send(.epochDone, Message.encode(answer), timeoutMS: 10_000)
        lastHeard = Stopwatch()
      case .askWitness:
        // What cannot be loaded is not asked for.
        do {
          try machine.flushDisks()
          try machine.loadState(delta.sections)
        } catch {
          return drop("its state cannot be loaded: \(error)")
        }
        ask()
      case .askWitnessAgain: sinceAsked = Stopwatch()
      case .takeOver: end = .takesOver(epoch: state.held, isAsked: isAsked)
      case .drop: drop(reason)
      }
    }
  }

  private var sinceAsked = Stopwatch()

  /// Nobody could say whose it is. The primary may still say that it needs no backup.
  private func askLater() {
    if isStopping() { return drop("it was switched off here") }
    if sinceAsked.milliseconds >= 100 { return ask() }
    do {
      let frame = try link.receive(timeoutMS: 50, "its end")
      if frame.type == .unprotect { try take(frame) }
    } catch TeleportError.timedOut {
    } catch TeleportError.cancelled {
      clearWake()
    } catch {
      // That is what the witness is asked about.
      Thread.sleep(forTimeInterval: 0.05)
    }
  }

  private func ask() {
    progress.state = .deciding
    progress.reason = isAsked ? nil : reason
    onProgress(progress)
    let answer = witness.claim(session, .backup)
    if case .lost = answer { reason = "the machine is the primary's, says the witness" }
    if case .unreachable(let why) = answer {
      progress.reason = "\(reason); the witness: \(why)"
      onProgress(progress)
    }
    perform(state.handle(.answer(answer)))
  }

  private func drop(_ why: String) { end = .dropped(reason: why) }
}

extension TeleportError {
  /// The other side, or the way to it, has failed; nothing is wrong here.
  fileprivate var isOfTheLine: Bool {
    switch self {
    case .closed, .connectionLost, .timedOut, .tampered: true
    default: false
    }
  }
}
