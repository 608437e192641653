import DiskImages
import Foundation
import GuestMemory
import SavedState
import Testing

@testable import Machine
@testable import Teleport

/// The small machine says how many steps it has done, and its words wait when they are to.
extension SmallMachine: ProtectableMachine {
  func holdOutput(_ which: HeldOutput, _ onHeld: @escaping @Sendable () -> Void) { words.hold(onHeld) }
  var heldBytes: Int { 0 }
  func checkpoint(_ pages: PageSnapshot) throws -> Checkpoint {
    try safePoint {
      var made = Checkpoint()
      made.sections = try sectionsAtSafePoint()
      takeDirtyPagesAtSafePoint(into: pages)
      made.console = [ConsoleOutput(slot: 1, bytes: Array("\(words.seal())\n".utf8))]
      return made
    }
  }
  func release(_ checkpoint: Checkpoint) -> Bool {
    words.release()
    return true
  }
  func releaseOutput() { words.releaseAll() }
  func show(_ output: [ConsoleOutput]) {
    for piece in output { shown.add(String(decoding: piece.bytes, as: UTF8.self)) }
  }
  func write(_ writes: DiskWrites) throws {}
  var writtenDisks: [(place: HardwareDescription.StorageSlot.Place, size: UInt64)] { [] }
  func noteDiskWrites(_ does: Bool) {}
  func takeWrittenPieces(of place: HardwareDescription.StorageSlot.Place) -> Set<UInt64> { [] }
  func readDisk(at place: HardwareDescription.StorageSlot.Place, offset: UInt64, count: Int) throws -> [UInt8] { [] }
  func flushDisks() throws {}
}

/// Numbers that a machine says, in order; the last that was let go is what the world knows.
final class HeldWords: @unchecked Sendable {
  private let lock = NSLock()
  private var isHolding = false
  private var last: UInt64 = 0
  private var sealed: UInt64 = 0
  private var seen: UInt64 = 0
  private var onHeld: @Sendable () -> Void = {}

  func say(_ number: UInt64) {
    let tell = lock.withLock { () -> (@Sendable () -> Void)? in
      last = number
      if !isHolding { seen = number }
      return isHolding ? onHeld : nil
    }
    tell?()
  }
  func hold(_ onHeld: @escaping @Sendable () -> Void) {
    lock.withLock { (isHolding, self.onHeld) = (true, onHeld) }
  }
  func seal() -> UInt64 {
    lock.withLock {
      sealed = last
      return last
    }
  }
  func release() { lock.withLock { seen = max(seen, sealed) } }
  func releaseAll() { lock.withLock { (isHolding, seen) = (false, last) } }
  var whatTheWorldKnows: UInt64 { lock.withLock { seen } }
}

/// A witness in this process.
private final class TestWitness: @unchecked Sendable {
  private let lock = NSLock()
  private var session = ""
  private var holder: ProtectionSide?
  private var deafness = false
  private var deafSide: ProtectionSide?
  let claims = Log<ProtectionSide>()
  /// Nobody can ask it.
  var isDeaf: Bool {
    get { lock.withLock { deafness } }
    set { lock.withLock { deafness = newValue } }
  }
  /// One side cannot ask it.
  var deafTo: ProtectionSide? {
    get { lock.withLock { deafSide } }
    set { lock.withLock { deafSide = newValue } }
  }
  var owner: ProtectionSide? { lock.withLock { holder } }

  var witness: Witness {
    Witness(
      text: "test",
      establish: { new in
        self.lock.withLock { (self.session, self.holder) = (new, nil) }; return .won
      },
      claim: { asked, side in
        self.claims.add(side)
        return self.lock.withLock {
          if self.deafness || self.deafSide == side { return .unreachable("deaf") }
          guard asked == self.session, self.holder == nil || self.holder == side else { return .lost }
          self.holder = side
          return .won
        }
      })
  }
}

/// A machine, its backup, and a line between them that can be cut.
private struct Protected {
  let medium: SharedMedium
  let machine: SmallMachine
  let target: TeleportTarget<SmallMachine>
  let relay: Relay
  let witness = TestWitness()
  let backups = Log<SmallMachine>()
  let states = Log<TeleportState>()
  let progress = Log<ProtectionProgress>()
  let dismissals = Log<Bool>()
  /// Why it has ended.
  let ends = Log<String>()
  let source: ProtectionSource

  init(witness isThere: Bool = true, configure: (inout ProtectionSource.Options) -> Void = { _ in }) throws {
    medium = try SharedMedium()
    machine = try SmallMachine(medium: medium)
    try machine.lockMedia()
    let (medium, backups, states, progress) = (medium, backups, states, progress)
    var options = TeleportTarget<SmallMachine>.Options(port: 0, name: "backup", uuid: "b")
    options.timeoutMS = 8000
    // What is lost shows by the end of its connection; a busy computer is silent for long.
    options.silenceMS = 120_000
    target = TeleportTarget(
      options: options,
      makeMachine: {
        let made = try SmallMachine(medium: medium)
        backups.add(made)
        return made
      }, state: { states.add($0) })
    target.onDismissal = { [dismissals] in dismissals.add(true) }
    let decider = isThere ? witness.witness : .none
    target.protection = ProtectionDuty(obstacle: { _ in nil }, overwrites: { _ in }, witness: { _, _ in decider })
    relay = try Relay(to: try target.listen(), remembers: false)
    machine.start(paused: false)
    var link = TeleportSource.Options(host: "127.0.0.1", port: relay.port, name: "source", uuid: "s")
    link.timeoutMS = 8000
    var wish = ProtectionSource.Options(link: link)
    wish.intervalMS = 25
    wish.silenceMS = 120_000
    configure(&wish)
    source = ProtectionSource(vm: machine, options: wish, witness: decider) { progress.add($0) }
  }

  func begin() -> Task<ProtectionSource.Outcome, any Error> {
    let source = source
    let ends = ends
    return Task {
      defer { ends.add("ended") }
      return try await onThread {
        do {
          return try source.run()
        } catch {
          ends.add("\(error)")
          throw error
        }
      }
    }
  }

  func awaitEpoch(_ number: UInt64) async {
    #expect(await eventually { (progress.all.last?.epoch ?? 0) >= number || !ends.all.isEmpty })
    #expect(ends.all.isEmpty, "\(progress.all.last?.reason ?? "")")
  }

  /// What the backup has must be the whole of a moment, and not older than what was seen.
  func expectTakenOver() async throws {
    #expect(await eventually { states.all.contains(.arrived(paused: false)) })
    let survivor = try #require(backups.all.last)
    let told = survivor.shown.all.last.flatMap { UInt64($0.trimmingCharacters(in: .newlines)) }
    #expect(try #require(told) >= machine.words.whatTheWorldKnows)
    #expect(survivor.isIntact())
    survivor.awaitSteps(1000)
    #expect(survivor.isIntact())
    survivor.powerOff()
  }

  func end() {
    target.stop()
    relay.end()
    machine.powerOff()
    for backup in backups.all { backup.powerOff() }
  }
}

/// One after the other: each has a machine that works until it is over.
@Suite(.serialized) struct ProtectionTests {
  @Test func aLostPrimaryIsFollowedByItsBackup() async throws {
    let pair = try Protected()
    defer { pair.end() }
    let run = pair.begin()
    await pair.awaitEpoch(10)
    // As a host that nothing is heard of any more, and that reaches nobody.
    pair.witness.deafTo = .primary
    pair.relay.cut()
    try await pair.expectTakenOver()
    pair.witness.deafTo = nil
    #expect(try await run.value == .takenOver(isWanted: false))
    #expect(pair.witness.owner == .backup)
  }

  @Test func withoutItsBackupTheMachineGoesOn() async throws {
    let pair = try Protected()
    defer { pair.end() }
    let run = pair.begin()
    await pair.awaitEpoch(5)
    pair.target.stop()
    guard case .unprotected(_, let isWanted) = try await run.value else {
      Issue.record("it was taken over")
      return
    }
    #expect(!isWanted && pair.witness.owner == .primary)
    #expect(pair.machine.teleportState == .running && !pair.machine.memory.dirtyLog.isLogging)
    pair.machine.awaitSteps(1000)
    #expect(pair.machine.holdsMediaAlone || pair.medium.isFree() == false)
    #expect(pair.machine.isIntact())
  }

  /// Both suspect each other: one of them has the machine.
  @Test func aCutLineLeavesOneMachine() async throws {
    for _ in 0..<3 {
      let pair = try Protected()
      defer { pair.end() }
      let run = pair.begin()
      await pair.awaitEpoch(3)
      pair.relay.cut()
      switch try await run.value {
      case .takenOver: try await pair.expectTakenOver()
      case .unprotected:
        #expect(pair.witness.owner == .primary && pair.machine.teleportState == .running)
        #expect(await eventually { pair.states.all.contains { $0.isDropped } })
      case .undecided: Issue.record("nobody wanted its end")
      }
    }
  }

  @Test func whileTheWitnessIsDeafNobodyMoves() async throws {
    let pair = try Protected()
    defer { pair.end() }
    let run = pair.begin()
    await pair.awaitEpoch(3)
    pair.witness.isDeaf = true
    pair.relay.cut()
    #expect(await eventually { pair.witness.claims.all.filter { $0 == .primary }.count > 1 })
    #expect(await eventually { pair.witness.claims.all.filter { $0 == .backup }.count > 1 })
    let known = pair.machine.words.whatTheWorldKnows
    pair.machine.awaitSteps(5000)
    #expect(pair.machine.words.whatTheWorldKnows == known, "what nobody has may not be seen")
    #expect(!pair.states.all.contains(.arrived(paused: false)))
    pair.witness.isDeaf = false
    if case .takenOver = try await run.value { try await pair.expectTakenOver() }
    #expect(pair.witness.owner != nil)
  }

  @Test func whoVouchesDecidesInPlaceOfADeafWitness() async throws {
    let pair = try Protected()
    defer { pair.end() }
    let run = pair.begin()
    await pair.awaitEpoch(3)
    pair.witness.isDeaf = true
    pair.target.stop()
    #expect(await eventually { !pair.witness.claims.all.isEmpty })
    pair.source.vouch()
    guard case .unprotected = try await run.value else {
      Issue.record("it was taken over")
      return
    }
    #expect(pair.machine.teleportState == .running)
  }

  @Test func anEndThatIsAskedForLeavesTheBackupEmpty() async throws {
    let pair = try Protected()
    defer { pair.end() }
    let run = pair.begin()
    await pair.awaitEpoch(3)
    pair.source.end()
    #expect(try await run.value == .unprotected(reason: "asked for", isWanted: true))
    #expect(await eventually { pair.states.all.last?.isDropped == true })
    let known = pair.machine.words.whatTheWorldKnows
    #expect(await eventually { pair.machine.words.whatTheWorldKnows > known }, "output leaves again")
  }

  /// Neither the machine's user nor its last output waits for a witness that has nothing to say.
  @Test func aMachineThatEndsNeedsNoMoreThanItsBackupsWord() async throws {
    let pair = try Protected()
    defer { pair.end() }
    let run = pair.begin()
    await pair.awaitEpoch(3)
    pair.witness.isDeaf = true
    pair.source.powerOff()
    #expect(try await run.value == .unprotected(reason: "asked for", isWanted: true))
    #expect(pair.machine.teleportState == .paused, "it stands still")
    #expect(await eventually { pair.states.all.last?.isDropped == true })
    #expect(pair.dismissals.all.count == 1)
  }

  @Test func aMachineThatEndsWithoutAnybodysWordLeavesItsLastOutputUnseen() async throws {
    let pair = try Protected()
    defer { pair.end() }
    let run = pair.begin()
    await pair.awaitEpoch(3)
    pair.witness.isDeaf = true
    pair.relay.cut()
    #expect(await eventually { pair.witness.claims.all.contains(.primary) })
    let known = pair.machine.words.whatTheWorldKnows
    pair.source.powerOff()
    guard case .undecided(let reason) = try await run.value else {
      Issue.record("somebody has decided")
      return
    }
    #expect(reason == "deaf")
    #expect(pair.machine.words.whatTheWorldKnows == known && pair.machine.teleportState == .paused)
    // The backup goes on, when somebody can say so.
    pair.witness.isDeaf = false
    try await pair.expectTakenOver()
    #expect(pair.dismissals.all.isEmpty)
  }

  /// A survivor that is asked to look for a backup again must not be told that it is not needed by who looks for it himself.
  @Test func onlyAnEndForGoodIsADismissal() async throws {
    let wish = Reprotection(
      backup: HostPlace(host: "a", port: 1), survivor: HostPlace(host: "127.0.0.1", port: 0), intervalMS: 25,
      compresses: false)
    let pair = try Protected {
      $0.reprotection = wish.backup
      $0.compresses = false
    }
    defer { pair.end() }
    let run = pair.begin()
    await pair.awaitEpoch(3)
    let heard = try #require(pair.target.reprotection)
    #expect(heard.backup == wish.backup && heard.survivor.host == "127.0.0.1" && heard.survivor.port == pair.relay.port)
    #expect(heard.intervalMS == 25 && !heard.compresses)
    pair.relay.cut()
    switch try await run.value {
    case .takenOver: try await pair.expectTakenOver()
    default: #expect(await eventually { pair.states.all.contains { $0.isDropped } })
    }
    #expect(pair.dismissals.all.isEmpty)
  }

  @Test func aMachineIsHandedOverWithoutALoss() async throws {
    let pair = try Protected()
    defer { pair.end() }
    let run = pair.begin()
    await pair.awaitEpoch(3)
    pair.source.failOver()
    #expect(try await run.value == .takenOver(isWanted: true))
    let steps = pair.machine.steps
    try await pair.expectTakenOver()
    #expect(pair.backups.all.last?.steps ?? 0 >= steps)
  }

  @Test func theBackupTakesTheMachineWhenItsOperatorWants() async throws {
    let pair = try Protected()
    defer { pair.end() }
    let run = pair.begin()
    await pair.awaitEpoch(3)
    pair.target.takeOver()
    #expect(try await run.value == .takenOver(isWanted: false))
    try await pair.expectTakenOver()
  }

  @Test func aBlackHoleTakesEverything() async throws {
    let pair = try Protected { $0.isBlackhole = true }
    defer { pair.end() }
    let run = pair.begin()
    await pair.awaitEpoch(5)
    #expect((pair.progress.all.last?.bytes ?? 0) > 0)
    pair.source.end()
    #expect(try await run.value == .unprotected(reason: "asked for", isWanted: true))
    #expect(pair.machine.isIntact())
  }

  @Test func aTargetThatTakesNoneRefuses() async throws {
    let pair = try Protected()
    defer { pair.end() }
    pair.target.protection = nil
    let run = pair.begin()
    await #expect(throws: TeleportError.self) { try await run.value }
    #expect(pair.machine.teleportState == .running && !pair.machine.memory.dirtyLog.isLogging)
    #expect(pair.machine.holdsMediaAlone)
  }
}

struct ReprotectionTests {
  @Test func placesAreReadAsUsersWriteThem() {
    func read(_ text: String) -> String? { HostPlace(text, port: 6000)?.text }
    #expect(read("b") == "b:6000" && read("b:7") == "b:7" && read("10.0.0.1:65535") == "10.0.0.1:65535")
    #expect(read("fe80::1%eth0") == "[fe80::1%eth0]:6000" && read("[::1]") == "[::1]:6000")
    #expect(read("[::1]:7") == "[::1]:7" && HostPlace("[::1]:7", port: 1)?.host == "::1")
    for bad in [
      "", ":7", "b:", "b:0", "b:65536", "b:x", "b:-1", "b:+7", "-b", "--force:7", "b c", "b/c", "b;c", "[::1", "[::1]7",
      "[]",
      "[b]:7", "b\n", "\u{e4}", String(repeating: "b", count: 254),
    ] {
      #expect(read(bad) == nil, "\(bad)")
    }
  }

  @Test func whatAnotherHostWishesHasBounds() throws {
    let good = Reprotection(
      backup: HostPlace(host: "a", port: 6000), survivor: HostPlace(host: "::1", port: 1), intervalMS: 25,
      compresses: true)
    #expect(try good.checked() == good)
    for change: (inout Reprotection) -> Void in [
      { $0.backup.port = 0 }, { $0.backup.host = "-F" }, { $0.survivor.port = 65536 }, { $0.survivor.host = "" },
      { $0.survivor.host = "a b" }, { $0.intervalMS = 24 }, { $0.intervalMS = 10_001 }, { $0.intervalMS = .min },
    ] {
      var bad = good
      change(&bad)
      #expect(throws: TeleportError.self) { try bad.checked() }
    }
  }

  /// Neither side needs the other to know of it.
  @Test func itIsAnOptionalPartOfTheWish() throws {
    let plain = Message.Protect(session: "s", machine: "m", witness: "w", disks: [], sizes: [])
    let text = String(decoding: Message.encode(plain), as: UTF8.self)
    #expect(!text.contains("reprotection"))
    #expect(try Message.decode(Message.Protect.self, Wire.Frame(.protect, Array(text.utf8))).reprotection == nil)
    let bad = text.dropLast() + ",\"reprotection\":{\"backup\":7}}"
    #expect(throws: TeleportError.self) {
      try Message.decode(Message.Protect.self, Wire.Frame(.protect, Array(bad.utf8)))
    }
  }
}

struct EpochContentsTests {
  @Test func diskWritesComeBackAsTheyWere() throws {
    let data = (0..<3).map {
      WriteGate.Block(offset: UInt64($0) * 4096, bytes: [UInt8](repeating: UInt8($0 + 1), count: 4096))
    }
    let zeros = (5..<9).map { WriteGate.Block(offset: UInt64($0) * 4096, bytes: nil) }
    let last = WriteGate.Block(offset: 20 * 4096, bytes: [UInt8](repeating: 9, count: 512))
    var payloads: [[UInt8]] = []
    try EpochContents.encode(disk: 1, data + zeros + [last]) { payloads.append($0) }
    #expect(payloads.count == 3)
    var image = [UInt8](repeating: 0xEE, count: 20 * 4096 + 512)
    for payload in payloads {
      try EpochContents.decode(disk: payload, sizes: [512, UInt64(image.count)]) { disk, block in
        #expect(disk == 1)
        let bytes = block.bytes ?? [UInt8](repeating: 0, count: 4096)
        image.replaceSubrange(Int(block.offset)..<Int(block.offset) + bytes.count, with: bytes)
      }
    }
    #expect(
      image[0] == 1 && image[8192] == 3 && image[12288] == 0xEE && image[5 * 4096] == 0 && image[9 * 4096] == 0xEE)
    #expect(image[20 * 4096 + 511] == 9)
    for payload in payloads {
      #expect(throws: SavedStateError.self) { try EpochContents.decode(disk: payload, sizes: [512]) { _, _ in } }
      #expect(throws: SavedStateError.self) { try EpochContents.decode(disk: payload, sizes: [512, 0]) { _, _ in } }
      for count in 0..<18 {
        #expect(throws: (any Error).self) {
          try EpochContents.decode(disk: Array(payload.prefix(count)), sizes: [1 << 30, 1 << 30]) { _, _ in }
        }
      }
    }
  }

  @Test func onlyWhatIsDifferentCrosses() throws {
    struct State: Codable { var value: Int }
    func section(_ name: String, _ value: Int, _ blob: Int = 0) throws -> StateSection {
      try StateSection(name: name, kind: "k", version: 1, state: State(value: value), blob: Data(count: blob))
    }
    var (sender, receiver) = (SectionDelta(), SectionDelta())
    let first = try [section("a", 1, 100_000), section("b", 2)]
    let whole = try sender.encode(first)
    try receiver.decode(whole, budget: 1 << 20)
    #expect(receiver.sections == first)
    let second = try [section("a", 1, 100_000), section("b", 3)]
    let part = try sender.encode(second)
    #expect(part.count < whole.count)
    try receiver.decode(part, budget: 1 << 20)
    #expect(receiver.sections == second)
    var stranger = SectionDelta()
    #expect(throws: SavedStateError.self) { try stranger.decode(part, budget: 1 << 20) }
    var small = SectionDelta()
    #expect(throws: SavedStateError.self) { try small.decode(whole, budget: 1000) }
    for count in 0..<part.count {
      var cut = receiver
      #expect(throws: (any Error).self) { try cut.decode(Array(part.prefix(count)), budget: 1 << 20) }
    }
  }
}
