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
  /// Is told how far it is.
  var report: (TeleportProgress) -> Void
  /// Called once, about a second before the first time that all of memory has crossed.
  var nearlyDone: (() -> Void)?
  private let clock: Stopwatch
  private var sinceReport = Stopwatch()
  private var sendingMS = 0.0
  private var chunkCost = ChunkCost()
  private var pagesSent = 0
  private var dataPagesSent = 0

  init(
    machine: any TeleportableMachine, connection: Connection, timeoutMS: Int, clock: Stopwatch,
    report: @escaping (TeleportProgress) -> Void
  ) {
    self.machine = machine
    self.connection = connection
    self.timeoutMS = timeoutMS
    self.clock = clock
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

  /// Sends the pages of `set` and, unless told otherwise, waits until the target has taken them in: what is measured is
  /// true, and nothing is queued anywhere.
  func send(_ set: PageBitmap, awaitsEnd: Bool = true) throws {
    progress.remainingPages = set.count
    var watch = Stopwatch()
    let before = sendingMS
    let ram = UnsafeRawPointer(machine.memory.ram)
    // Not worth a look for a few pages that were just written.
    let touched = set.count * 8 < set.pageCount ? set : machine.memory.touchedPages(in: 0..<set.pageCount)
    var sinceLook = 0
    chunkCost.begin()
    encoder.compresses = chunkCost.compresses
    let emit = emit
    try set.forEach { (page: Int) throws in
      if touched.contains(page) {
        try encoder.add(page: page, at: ram + page * PageChunk.pageSize, emit: emit)
      } else {
        try encoder.addZero(page: page, emit: emit)
      }
      sinceLook += 1
      if sinceLook >= 256 {
        sinceLook = 0
        let left = Double(progress.remainingPages)
        if watch.milliseconds * left < 1000 * (Double(progress.totalPages) - left) { announce() }
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
    try encoder.flush(emit: emit)
    try connection.send(.roundEnd, timeoutMS: timeoutMS)
    if awaitsEnd { try awaitRoundEnd() }
    sendingMS = before + watch.lap()
  }

  /// Waits until the target has taken in what was sent.
  func awaitRoundEnd() throws {
    _ = try connection.receive(timeoutMS: timeoutMS, "taking in memory").expect(.roundDone)
  }

  private func announce() {
    nearlyDone?()
    nearlyDone = nil
  }

  private func emit(_ chunk: [UInt8]) throws {
    try connection.queue(Wire.Frame(.pages, chunk), timeoutMS: timeoutMS)
    encoder.compresses = chunkCost.end(pages: dataPagesSent)
  }

  /// How much of the time the guest rests, step by step, when its writes outrun the connection.
  private static let brakes = [50, 80, 95, 99, 99.9]

  /// Rounds with the machine running, until the rest fits `maxDowntimeMS` at the measured rate. A guest that writes faster
  /// than that is slowed down; the caller ends that.
  /// - Parameter preparing: what is still to be done with the guest running, called once when the rest fits. It may take
  ///   its time: afterwards the rest is looked at again.
  /// - Throws: `TeleportError.tooBusy` when nothing helps: a longer downtime than the user allows is the user's to choose.
  func sendWhileRunning(maxDowntimeMS: Int, testPoint: TestPoint, preparing: () throws -> Void) throws {
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
          announce()
          try preparing()
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

/// Whether it pays to compress: a slow connection takes compressed pages faster, a fast one takes them as they are. Both
/// ways are measured, from the first byte read to the last one that the connection has taken, eight chunks at a time. The
/// quickest of them counts: what makes the others slower is the host's being busy.
private struct ChunkCost {
  /// What no compressor can keep up with, in milliseconds a page: 400 MB/s.
  private static let fast = 0.01
  private(set) var compresses = false
  /// The milliseconds a page of this way so far, and of the other when it was last tried.
  private var best = Double.infinity
  private var other: Double?
  private var watch = Stopwatch()
  private var pagesBefore = 0
  private var chunks = 0
  private var turns = 0

  /// The time since the last chunk was not spent on sending.
  mutating func begin() { watch = Stopwatch() }

  /// A chunk is gone.
  /// - Parameter pages: how many pages with data have been sent so far.
  /// - Returns: whether to compress the next one.
  mutating func end(pages: Int) -> Bool {
    let milliseconds = watch.lap()
    let count = pages - pagesBefore
    pagesBefore = pages
    // Too few to mean much.
    guard count >= 64 else { return compresses }
    best = min(best, milliseconds / Double(count))
    chunks += 1
    guard chunks >= 8 else { return compresses }
    turns += 1
    // The other way is tried when it is not known, and again now and then.
    let isDueForATry = (other == nil || turns >= 16) && (compresses || best > Self.fast)
    if isDueForATry || (other ?? .infinity) < best {
      other = best
      compresses.toggle()
      turns = 0
    }
    (chunks, best) = (0, .infinity)
    return compresses
  }
}
