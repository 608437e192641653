import Testing

@testable import Teleport

/// Both sides of a protection with a line and a witness between them, as a value: whatever can happen next is a move.
private struct World: Hashable {
  enum Message: Hashable { case epoch(UInt64), acknowledged(UInt64), takeOver, dismissed, runs, dropped }
  enum Holder: Hashable { case nobody, both, primary, backup }
  enum Question: Hashable { case none, asked, answered(won: Bool) }

  var primary = PrimaryProtection()
  var backup = BackupProtection()
  var primaryLives = true
  var backupLives = true
  var line = true
  var toBackup: [Message] = []
  var toPrimary: [Message] = []
  var holder = Holder.nobody
  var primaryAsks = Question.none
  var backupAsks = Question.none
  /// How often the witness may yet be out of reach, and a host die.
  var silences: Int
  var deaths: Int
  /// The last checkpoint whose output the world has seen.
  var seen: UInt64 = 0
  /// Everything that the primary's machine sends is seen at once.
  var primaryIsFree = false
  var backupRuns = false
  var primaryMachineLives = true
  var wasAloneWhenItDied = false
  /// Somebody wants it to end: nobody need run it.
  var isUnwanted = false

  enum Move: Hashable {
    case establish(answerArrives: Bool)
    case capture
    case toBackup, toPrimary
    case loseLine(unread: Bool)
    case primarySuspects, backupSuspects
    case endWanted, handOverWanted, offWanted, backupIsSilent, patienceEnds
    case witnessServes(primary: Bool)
    case witnessAnswers(primary: Bool, arrives: Bool)
    case dies(primary: Bool)
  }

  func moves(epochs: UInt64) -> [Move] {
    var list: [Move] = []
    if primaryLives {
      if primary.state == .synchronizing && line {
        list.append(.establish(answerArrives: true))
        if silences > 0 { list.append(.establish(answerArrives: false)) }
      }
      if primary.state == .protected {
        if line && primary.captured == primary.released && primary.captured < epochs { list.append(.capture) }
        list.append(.endWanted)
        if primary.released == primary.captured && primary.captured > 0 { list.append(.handOverWanted) }
      }
      switch primary.state {
      case .synchronizing, .protected, .handingOver: list.append(.primarySuspects)
      case .deciding(.off):
        if primaryAsks == .none { list.append(.backupIsSilent) }
        list.append(.patienceEnds)
      default: break
      }
      switch primary.state {
      case .synchronizing, .protected, .deciding: if !isUnwanted { list.append(.offWanted) }
      default: break
      }
      if !toPrimary.isEmpty { list.append(.toPrimary) }
      list += witnessMoves(primaryAsks, primary: true)
      if deaths > 0 { list.append(.dies(primary: true)) }
    }
    if backupLives {
      if !toBackup.isEmpty { list.append(.toBackup) }
      if [.loading, .standby].contains(backup.state) { list.append(.backupSuspects) }
      list += witnessMoves(backupAsks, primary: false)
      if deaths > 0 { list.append(.dies(primary: false)) }
    }
    if line { list += [.loseLine(unread: true), .loseLine(unread: false)] }
    return list
  }

  private func witnessMoves(_ question: Question, primary: Bool) -> [Move] {
    switch question {
    case .none: []
    case .asked: [.witnessServes(primary: primary)]
    case .answered:
      [.witnessAnswers(primary: primary, arrives: true)]
        + (silences > 0 ? [.witnessAnswers(primary: primary, arrives: false)] : [])
    }
  }

  mutating func apply(_ move: Move) {
    switch move {
    case .establish(let arrives):
      holder = .both
      if !arrives { silences -= 1 }
      perform(primary.handle(.established(arrives ? .won : .unreachable(""))))
    case .capture:
      let number = primary.captured + 1
      perform(primary.handle(.captured(number)))
      toBackup.append(.epoch(number))
    case .toBackup:
      switch toBackup.removeFirst() {
      case .epoch(let number): perform(backup.handle(.complete(number)))
      case .takeOver: perform(backup.handle(.takeOverWanted))
      case .dismissed: perform(backup.handle(.dismissed))
      default: break
      }
    case .toPrimary:
      switch toPrimary.removeFirst() {
      case .acknowledged(let number): perform(primary.handle(.acknowledged(number)))
      case .runs: perform(primary.handle(.backupRuns))
      case .dropped:
        perform(primary.handle(primary.state == .deciding(.off) ? .backupDropped : .backupLost("")))
      default: break
      }
    case .loseLine(let unread):
      line = false
      if unread { (toBackup, toPrimary) = ([], []) }
    case .primarySuspects:
      line = false
      perform(primary.handle(.backupLost("")))
    case .backupSuspects:
      line = false
      perform(backup.handle(.primaryLost))
    case .endWanted: perform(primary.handle(.endWanted))
    case .handOverWanted: perform(primary.handle(.handOverWanted))
    case .offWanted:
      isUnwanted = true
      perform(primary.handle(.offWanted))
    case .backupIsSilent: perform(primary.handle(.backupLost("")))
    case .patienceEnds: perform(primary.handle(.patienceEnded))
    case .witnessServes(let isPrimary):
      let mine = isPrimary ? Holder.primary : .backup
      let won = holder == .both || holder == mine
      if won { holder = mine }
      if isPrimary { primaryAsks = .answered(won: won) } else { backupAsks = .answered(won: won) }
    case .witnessAnswers(let isPrimary, let arrives):
      guard case .answered(let won) = isPrimary ? primaryAsks : backupAsks else { return }
      if !arrives { silences -= 1 }
      let answer: WitnessAnswer = !arrives ? .unreachable("") : won ? .won : .lost
      if isPrimary {
        primaryAsks = .none
        perform(primary.handle(.answer(answer)))
      } else {
        backupAsks = .none
        perform(backup.handle(.answer(answer)))
      }
    case .dies(let isPrimary):
      deaths -= 1
      line = false
      if isPrimary {
        primaryLives = false
        // The witness has made it this side's alone, as wanted or as a line was cut before: the second misfortune.
        wasAloneWhenItDied = holder == .primary || primary.state == .lost || primaryIsFree
      } else {
        backupLives = false
        wasAloneWhenItDied = wasAloneWhenItDied || holder == .backup
      }
    }
  }

  private mutating func perform(_ effects: [PrimaryProtection.Effect]) {
    for effect in effects {
      switch effect {
      case .release(let number): seen = max(seen, number)
      case .askWitness, .askWitnessAgain: primaryAsks = .asked
      case .releaseAll: primaryIsFree = true
      case .dismissBackup, .askBackupToDrop: if line { toBackup.append(.dismissed) }
      case .tellBackupToTakeOver: if line { toBackup.append(.takeOver) }
      case .stopMachine: primaryMachineLives = false
      }
    }
  }

  private mutating func perform(_ effects: [BackupProtection.Effect]) {
    for effect in effects {
      switch effect {
      case .acknowledge(let number): if line { toPrimary.append(.acknowledged(number)) }
      case .askWitness, .askWitnessAgain: backupAsks = .asked
      case .takeOver:
        backupRuns = true
        if line { toPrimary.append(.runs) }
      case .drop: if line { toPrimary.append(.dropped) }
      }
    }
  }

  /// What must never be.
  var complaint: String? {
    if backupRuns && primaryIsFree { return "both go on" }
    if backupRuns && seen > backup.held { return "what was seen is not known to the survivor" }
    if backupRuns && holder != .backup { return "the backup runs a machine that is not its own" }
    if primary.state == .abandoned && primaryIsFree { return "what may be the backup's is let go" }
    return nil
  }

  /// What must be when nothing more can happen by itself.
  var complaintAtRest: String? {
    let primaryRuns = primaryLives && primaryMachineLives
    let backupRuns = backupLives && backupRuns
    if primaryRuns || backupRuns || isUnwanted { return nil }
    // Two hosts have died, or the only one that had it.
    if !primaryLives && (!backupLives || backup.held == 0 || wasAloneWhenItDied) { return nil }
    if !backupLives && (backup.state == .running || wasAloneWhenItDied) { return nil }
    return "nobody runs"
  }

  /// Moves without which the world is not at rest: everything but faults and wishes.
  func isAtRest(epochs: UInt64) -> Bool {
    !moves(epochs: epochs).contains { move in
      switch move {
      case .endWanted, .handOverWanted, .offWanted, .dies, .loseLine, .capture, .establish: false
      // A line that is cut is noticed.
      case .primarySuspects, .backupSuspects: !line
      default: true
      }
    }
  }
}

struct ProtectionModelTests {
  /// Every order in which everything can happen, with one host that dies and one answer of the witness's that is lost.
  @Test func noOrderOfEventsHasTwoMachinesOrTakesBackWhatWasSeen() {
    let epochs: UInt64 = 2
    var known: Set<World> = []
    var open = [World(silences: 1, deaths: 1)]
    known.insert(open[0])
    var complaints: [String: World] = [:]
    while let world = open.popLast() {
      if let complaint = world.complaint { complaints[complaint] = world }
      if world.isAtRest(epochs: epochs), let complaint = world.complaintAtRest { complaints[complaint] = world }
      for move in world.moves(epochs: epochs) {
        var next = world
        next.apply(move)
        if known.insert(next).inserted { open.append(next) }
      }
    }
    #expect(complaints.isEmpty)
    // Fewer would mean that something is not tried.
    #expect(known.count > 2_000)
  }

  /// Long lives, at random: the seed tells how to have one again.
  @Test(arguments: 0..<8) func randomLivesKeepThePromise(part: UInt64) {
    for seed in part * 2_000..<(part + 1) * 2_000 {
      var random = SystemOfSeed(seed)
      var world = World(silences: 3, deaths: 1)
      var story: [World.Move] = []
      for _ in 0..<200 {
        let moves = world.moves(epochs: 40)
        guard !moves.isEmpty else { break }
        // Faults are rare, so that lives are long.
        let quiet = moves.filter {
          switch $0 {
          case .capture, .toBackup, .toPrimary, .establish, .witnessServes, .witnessAnswers: true
          default: false
          }
        }
        let wild = quiet.isEmpty || UInt8.random(in: 0..<20, using: &random) == 0
        guard let move = (wild ? moves : quiet).randomElement(using: &random) else { break }
        story.append(move)
        world.apply(move)
        if let complaint = world.complaint {
          Issue.record("seed \(seed): \(complaint) after \(story)")
          return
        }
      }
    }
  }

  @Test func aHeartbeatKnowsAnUnevenOne() {
    var even = Heartbeat(floorMS: 10)
    for _ in 0..<200 { even.heard(afterMS: 50) }
    #expect((50.0...60).contains(even.limitMS))
    var uneven = Heartbeat(floorMS: 10)
    for turn in 0..<200 { uneven.heard(afterMS: turn % 2 == 0 ? 20 : 180) }
    #expect(uneven.limitMS > 300)
    #expect(Heartbeat(floorMS: 500).limitMS == 500)
    var worst = Heartbeat(floorMS: 500, ceilingMS: 2000)
    worst.heard(afterMS: 1e6)
    #expect(worst.limitMS == 2000)
  }
}

/// SplitMix64.
private struct SystemOfSeed: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1 }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
    return value ^ value >> 31
  }
}
