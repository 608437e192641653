import Foundation
import GuestMemory
import Machine
import SavedState

/// Sends RAM: all pages, then in rounds those written meanwhile, until the rest fits the downtime.
final class MemorySender {
  private let machine: any TeleportableMachine
  private let connection: Connection
  private let timeoutMS: Int
  private let encoder = PageChunkEncoder()
  let ledger: PageLedger
  var progress = TeleportProgress()
  private let report: (TeleportProgress) -> Void
  private var clock = Stopwatch()
  private var sinceReport = Stopwatch()
  private var sendingMS = 0.0
  private var pagesSent = 0
  private var dataPagesSent = 0

  init(
    machine: any TeleportableMachine, connection: Connection, timeoutMS: Int,
    report: @escaping (TeleportProgress) -> Void
  ) {
    self.machine = machine
    self.connection = connection
    self.timeoutMS = timeoutMS
    self.report = report
    ledger = PageLedger(pageCount: machine.memory.pageCount)
    progress.totalPages = ledger.pageCount
    encoder.onPage = { [unowned self] page, checksum, isZero in
      ledger.set(page, checksum)
      pagesSent += 1
      if !isZero { dataPagesSent += 1 }
      progress.remainingPages = max(progress.remainingPages - 1, 0)
    }
  }

  func enter(_ phase: TeleportProgress.Phase) {
    progress.phase = phase
    tell()
  }

  private func tell() {
    progress.bytes = connection.bytesSent
    progress.memoryBytes = UInt64(pagesSent) * UInt64(PageChunk.pageSize)
    progress.seconds = clock.milliseconds / 1000
    if sendingMS > 0 { progress.bytesPerSecond = Double(progress.bytes) / (sendingMS / 1000) }
    report(progress)
  }

  /// Sends the pages of `set` and waits until the target has taken them in: what is measured is true, and nothing
  /// is queued anywhere.
  func send(_ set: PageBitmap) throws {
    progress.remainingPages = set.count
    var watch = Stopwatch()
    let before = sendingMS
    let ram = UnsafeRawPointer(machine.memory.ram)
    var sinceLook = 0
    try set.forEach { (page: Int) throws in
      try encoder.add(page: page, at: ram + page * PageChunk.pageSize) { [self] chunk in
        try connection.queue(Wire.Frame(.pages, chunk), timeoutMS: timeoutMS)
      }
      sinceLook += 1
      if sinceLook >= 256 {
        sinceLook = 0
        // A target that gives up says so while we send.
        if let frame = try connection.poll() { throw frame.unexpected("silence") }
        if sinceReport.milliseconds >= 200 {
          _ = sinceReport.lap()
          sendingMS = before + watch.milliseconds
          if machine.teleportState == .stopped { throw TeleportError.machineStopped }
          tell()
        }
      }
    }
    try encoder.flush { try connection.queue(Wire.Frame(.pages, $0), timeoutMS: timeoutMS) }
    try connection.send(.roundEnd, timeoutMS: timeoutMS)
    _ = try connection.receive(timeoutMS: timeoutMS, "taking in memory").expect(.roundDone)
    sendingMS = before + watch.lap()
  }

  /// How much of the time the guest rests, step by step, when its writes outrun the connection.
  private static let brakes = [50, 80, 95, 99]

  /// Rounds with the machine running, until the rest fits `maxDowntimeMS` at the measured rate. A guest that writes faster
  /// than that is slowed down; the caller ends that.
  /// - Parameter preparing: what is still to be done with the guest running, called once when the rest fits. It may take
  ///   its time: afterwards the rest is looked at again.
  /// - Throws: `TeleportError.tooBusy` when nothing helps: a longer downtime than the user allows is the user's to choose.
  func sendWhileRunning(maxDowntimeMS: Int, testPoint: TestPoint, preparing: () -> Void) throws {
    let patience = 4
    let maxRounds = 100
    var last = Int.max
    var brakes = Self.brakes[...]
    var roundsWithoutGain = 0
    var isPrepared = false
    var set = PageBitmap(pageCount: ledger.pageCount, filled: true)
    enter(.memory)
    while true {
      let round = Stopwatch()
      try send(set)
      try testPoint(.sourceMemory)
      if machine.teleportState == .stopped { throw TeleportError.machineStopped }
      var dirty = machine.memory.dirtyLog.dirtyCount
      progress.dirtyPagesPerSecond = Double(dirty) / max(round.milliseconds / 1000, 0.001)
      progress.remainingPages = dirty
      tell()
      // Half of the downtime is left for the device state, the proof and the hand-over.
      func fits() -> Bool { Double(dirty) * millisecondsPerPage <= Double(maxDowntimeMS) / 2 }
      if fits() {
        if !isPrepared {
          preparing()
          isPrepared = true
          dirty = machine.memory.dirtyLog.dirtyCount
        }
        if fits() { return }
      }
      progress.round += 1
      if Double(dirty) > Double(last) * 0.7 {
        roundsWithoutGain += 1
        if let next = brakes.popFirst() {
          progress.throttlePercent = next
          machine.throttle(next)
          roundsWithoutGain = 0
        }
      } else {
        roundsWithoutGain = 0
      }
      if roundsWithoutGain >= patience || progress.round >= maxRounds {
        throw TeleportError.tooBusy(
          megabytes: Double(dirty) * Double(PageChunk.pageSize) / 1e6,
          milliseconds: Int((Double(dirty) * millisecondsPerPage).rounded(.up)), allowed: maxDowntimeMS)
      }
      last = dirty
      set = PageBitmap(pageCount: ledger.pageCount)
      _ = machine.takeDirtyPages(into: &set)
    }
  }

  /// As measured, counting only pages that carry data: what a guest writes is seldom zero.
  private var millisecondsPerPage: Double { dataPagesSent < 64 ? 0.01 : sendingMS / Double(dataPagesSent) }
}
