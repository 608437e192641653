import DiskImages
import Foundation
import GuestMemory
import SavedState
import Testing

@testable import Machine
@testable import Teleport

/// The shared storage: an image that each machine opens for itself.
final class SharedMedium: @unchecked Sendable {
  private let lock = NSLock()
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("vmctl-\(UUID().uuidString)").path
  /// Machines that run at this moment; more than one is the failure that must never be.
  private var running: Set<ObjectIdentifier> = []
  private(set) var mostRunning = 0

  init(size: UInt64 = 512) throws { try RawImage.createRaw(path: path, size: size) }
  deinit { unlink(path) }

  func open(readOnly: Bool = false) throws -> RawImage { try RawImage(path: path, readOnly: readOnly) }
  func write(_ bytes: [UInt8], at offset: UInt64 = 0) throws {
    let image = try open()
    let result = bytes.withUnsafeBytes { bytes in Result { try image.write(at: offset, from: bytes) } }
    try result.get()
  }
  /// Whether a third machine would get it, for writing or for reading.
  func isFree(readOnly: Bool = false) -> Bool { (try? open(readOnly: readOnly).lock()) != nil }
  func runs(_ who: AnyObject, _ does: Bool) {
    lock.withLock {
      if does { running.insert(ObjectIdentifier(who)) } else { running.remove(ObjectIdentifier(who)) }
      mostRunning = max(mostRunning, running.count)
    }
  }
  var runningCount: Int { lock.withLock { running.count } }
}

/// A machine of memory and one "CPU", a thread that keeps writing through the dirty-log protocol: each write first
/// checks whether it may go straight to memory and marks the page when not. Every word it writes is a function of its
/// place and of how often it was written, so that memory can be checked as a whole.
final class SmallMachine: TeleportableMachine, @unchecked Sendable {
  struct State: Codable, Equatable {
    var steps: UInt64 = 0
    var random: UInt64 = 88_172_645_463_325_252
  }

  let memory: PhysicalMemory
  let medium: SharedMedium
  /// What it tells of its medium in place of the truth.
  var disguise: (@Sendable () -> MediumIdentity)?
  /// The drives whose discs were said to be others.
  private(set) var replacedDiscs: [HardwareDescription.StorageSlot.Place] = []
  let image: RawImage
  private let media: MachineMedia
  var hardware = sampleHardware()
  private let lifecycle = NSLock()
  private let step = NSLock()  // held during one step: a safe point is holding it
  private var state = VirtualMachine.RunState.stopped
  private var wanted = false
  private var thread: Thread?
  private var cpu = State()
  /// Pages the CPU holds a write translation for.
  private var translations: Set<Int> = []
  /// Words by page: how often each was written, kept beside memory, sent as device state.
  private var counts: [UInt32]
  /// How many steps it has done, as it tells the world.
  let words = HeldWords()
  /// What another machine's guest has said.
  let shown = Log<String>()
  /// Breaks the promise on purpose: writes that are not marked.
  var forgetsToMark = false

  init(medium: SharedMedium, megabytes: UInt64 = 16) throws {
    memory = try PhysicalMemory(size: megabytes << 20)
    self.medium = medium
    image = try medium.open()
    media = MachineMedia([image])
    counts = Array(repeating: 0, count: memory.pageCount)
  }

  var teleportState: VirtualMachine.RunState { lifecycle.withLock { state } }

  func start(paused: Bool) {
    lifecycle.withLock {
      guard state == .stopped else { return }
      state = .paused
      let thread = Thread { [weak self] in
        while let self, self.turn() {}
      }
      self.thread = thread
      thread.start()
    }
    if !paused { resume() }
  }

  func pause() {
    lifecycle.withLock {
      guard state == .running else { return }
      step.withLock { wanted = false }
      state = .paused
      medium.runs(self, false)
    }
  }

  func resume() {
    lifecycle.withLock {
      guard state == .paused else { return }
      state = .running
      medium.runs(self, true)
      step.withLock { wanted = true }
    }
  }

  func powerOff() {
    pause()
    lifecycle.withLock { state = .stopped }
    unlockMedia()
  }

  /// Some writes; false when the machine is gone.
  private func turn() -> Bool {
    step.withLock {
      if wanted {
        for _ in 0..<200 { write() }
        // Not at each turn: what is held calls for a checkpoint.
        if cpu.steps % 4000 == 0 { words.say(cpu.steps) }
      }
    }
    let resting = throttled
    // Busy, but not with all of a processor: other tests run beside it.
    Thread.sleep(forTimeInterval: 0.0005)
    if resting > 0 { Thread.sleep(forTimeInterval: 0.0005 * resting / (100 - resting)) }
    return teleportState != .stopped
  }

  private func write() {
    cpu.steps += 1
    cpu.random ^= cpu.random << 13
    cpu.random ^= cpu.random >> 7
    cpu.random ^= cpu.random << 17
    // A working set that moves slowly through memory, and now and then a page anywhere.
    let base = Int(cpu.steps / 50_000) * 16
    let far = cpu.random & 0xff == 0
    let page = far ? Int(cpu.random >> 20) % memory.pageCount : (base + Int(cpu.random >> 30) % 24) % memory.pageCount
    if !translations.contains(page) {
      if memory.dirtyLog.isLogging && !forgetsToMark { memory.dirtyLog.mark(page: page) }
      translations.insert(page)
    }
    counts[page] &+= 1
    let word = memory.ram + page * 4096 + Int(counts[page] % 512) * 8
    word.storeBytes(of: Self.value(page, counts[page]), as: UInt64.self)
  }

  private static func value(_ page: Int, _ count: UInt32) -> UInt64 {
    Checksum.mix(UInt64(page) << 32 | UInt64(count))
  }

  /// Whether memory is exactly what so many writes make of it.
  func isIntact() -> Bool {
    step.withLock {
      for page in 0..<memory.pageCount where counts[page] > 0 {
        let last = counts[page]
        for back in 0..<min(last, 512) {
          let count = last - back
          let word = (memory.ram + page * 4096 + Int(count % 512) * 8).load(as: UInt64.self)
          if word != Self.value(page, count) { return false }
        }
      }
      return true
    }
  }

  var steps: UInt64 { step.withLock { cpu.steps } }

  /// Waits until a running machine has done `count` more writes.
  func awaitSteps(_ count: UInt64) {
    let goal = steps + count
    while steps < goal && teleportState == .running { Thread.sleep(forTimeInterval: 0.001) }
  }

  func throttle(_ percent: Double) { step.withLock { resting = percent } }
  private var resting = 0.0
  var throttled: Double { step.withLock { resting } }
  /// It writes all of its memory all the time, however it is slowed down.
  var isFrantic = false
  private func rave() {
    if isFrantic { for page in 0..<memory.pageCount { memory.dirtyLog.mark(page: page) } }
  }

  func startDirtyLog() {
    step.withLock {
      memory.dirtyLog.start()
      translations = []
      rave()
    }
  }
  func stopDirtyLog() { step.withLock { memory.dirtyLog.stop() } }
  func takeDirtyPages(into bitmap: inout PageBitmap) -> Int {
    step.withLock { takeDirtyPagesAtSafePoint(into: &bitmap) }
  }
  func takeDirtyPagesAtSafePoint(into bitmap: inout PageBitmap) -> Int {
    translations = []
    defer { rave() }
    return memory.dirtyLog.take(into: &bitmap)
  }
  func takeDirtyPagesAtSafePoint(into snapshot: PageSnapshot) {
    translations = []
    memory.dirtyLog.take(into: snapshot)
    rave()
  }
  func safePoint<Result>(_ body: () throws -> Result) rethrows -> Result { try step.withLock(body) }

  func saveState() throws -> [StateSection] { try step.withLock { try sectionsAtSafePoint() } }
  func sectionsAtSafePoint() throws -> [StateSection] {
    [
      try StateSection(
        name: "cpu0", kind: "small-cpu", version: 1, state: cpu, blob: counts.withUnsafeBytes { Data($0) })
    ]
  }

  func loadState(_ sections: [StateSection]) throws {
    guard let section = sections.first, sections.count == 1, section.blob.count == counts.count * 4 else {
      throw SavedStateError.corrupt("sections")
    }
    cpu = try section.decode(State.self, kind: "small-cpu", upTo: 1)
    counts.withUnsafeMutableBytes { _ = section.blob.copyBytes(to: $0) }
  }

  func hardwareDescription() throws -> HardwareDescription {
    var told = hardware
    told.storage[0].medium = disguise?() ?? image.identity
    return told
  }
  func markMedia() throws { try image.setMark(UInt64.random(in: 1..<UInt64.max)) }
  /// As the guest.
  func write(_ bytes: [UInt8], at offset: UInt64) throws {
    let result = bytes.withUnsafeBytes { bytes in Result { try image.write(at: offset, from: bytes) } }
    try result.get()
  }
  func unmarkMedia() { try? image.setMark(nil) }
  func sampleMedia(_ extent: MediumSamples.Extent) throws -> [MediumSample] {
    [MediumSample(place: hardware.storage[0].place, samples: try image.samples(extent))]
  }
  func mediaDifference(
    from list: [MediumSample], in kinds: Set<MachineConfiguration.Attachment.Kind>
  ) throws -> String? {
    guard let theirs = list.first else { return "not sampled" }
    return try image.firstDifference(from: theirs.samples).map { "byte \($0) differs" }
  }
  func discsWereReplaced(in places: [HardwareDescription.StorageSlot.Place]) { replacedDiscs = places }
  func lockMedia() throws { try media.take() }
  func shareMedia() throws { try media.share() }
  func claimMedia() { media.claim() }
  func flushMedia() {}
  func unlockMedia() { media.release() }
  var holdsMediaAlone: Bool { image.hold == .exclusive }
}

/// Collects from threads.
final class Log<Element: Sendable>: @unchecked Sendable {
  private let lock = NSLock()
  private var list: [Element] = []
  func add(_ element: Element) { lock.withLock { list.append(element) } }
  var all: [Element] { lock.withLock { list } }
}

/// Runs blocking work off the cooperative pool.
func onThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
  try await withCheckedThrowingContinuation { continuation in
    Thread { continuation.resume(with: Result { try body() }) }.start()
  }
}

/// Waits for what must come, as long as a very busy computer may take.
func eventually(_ seconds: Double = 300, _ condition: () -> Bool) async -> Bool {
  let end = ContinuousClock.now + .seconds(seconds)
  while ContinuousClock.now < end {
    if condition() { return true }
    try? await Task.sleep(for: .milliseconds(5))
  }
  return condition()
}
