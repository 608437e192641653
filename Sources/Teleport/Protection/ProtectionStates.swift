/// One of the two hosts of a protected machine.
public enum ProtectionSide: String, Codable, Sendable { case primary, backup }

/// What the witness says to who asks it for the machine: only one of the two sides ever gets it.
public enum WitnessAnswer: Equatable, Sendable {
  /// The machine is the asker's.
  case won
  /// It is the other's.
  case lost
  /// Nobody can say; why.
  case unreachable(String)
}

/// The side that runs a protected machine, as a value: events go in, effects come out. It knows no socket, clock or disk.
///
/// What the machine has sent before checkpoint N is let go when the backup has said that it holds N, and only as long as the
/// backup is not suspected: from then on nothing leaves before the witness has spoken.
struct PrimaryProtection: Hashable {
  enum State: Hashable {
    /// The backup has no checkpoint yet.
    case synchronizing
    case protected
    /// The machine stands still after its last checkpoint, and the backup has been told to take it.
    case handingOver
    /// The witness is asked, for this reason.
    case deciding(Reason)
    /// The machine is this side's, without protection.
    case alone(Reason)
    /// The machine is the backup's: here it must not go on.
    case lost
    /// It stands still here for good, and nobody can say whether the backup goes on with it.
    case abandoned
  }

  enum Reason: Hashable {
    case backupLost(String)
    case witness(String)
    case wanted
    /// The machine is to end: it stands still, and nobody need go on with it.
    case off
  }

  enum Event: Equatable {
    /// The witness has been asked to note down that there is a backup.
    case established(WitnessAnswer)
    /// A checkpoint has been taken, and is being sent.
    case captured(UInt64)
    /// The backup holds a checkpoint.
    case acknowledged(UInt64)
    /// It is silent, or its connection has ended.
    case backupLost(String)
    /// It runs the machine.
    case backupRuns
    /// Somebody here wants the end of the protection.
    case endWanted
    /// Somebody here wants the backup to go on with the machine, whose last checkpoint it holds.
    case handOverWanted
    /// What the witness has said.
    case answer(WitnessAnswer)
    /// Somebody vouches that the backup does not run.
    case vouched
    /// The machine stands still for good.
    case offWanted
    /// The backup has said that it holds nothing any more.
    case backupDropped
    /// Nobody waits for the witness any longer.
    case patienceEnded
  }

  enum Effect: Equatable {
    case release(UInt64)
    case askWitness
    /// After a pause.
    case askWitnessAgain
    /// All output leaves, from now on as well.
    case releaseAll
    /// The backup may forget the machine.
    case dismissBackup
    /// The same before it is known whose the machine is: it says that it has, or counts as lost.
    case askBackupToDrop
    case tellBackupToTakeOver
    /// The machine ends here.
    case stopMachine
  }

  private(set) var state = State.synchronizing
  private(set) var captured: UInt64 = 0
  private(set) var released: UInt64 = 0

  mutating func handle(_ event: Event) -> [Effect] {
    switch (state, event) {
    case (.synchronizing, .established(.won)):
      state = .protected
      return []
    case (.synchronizing, .established(.lost)):
      return goAlone(.witness("it knows the machine as another host's"))
    case (.synchronizing, .established(.unreachable(let why))): return goAlone(.witness(why))
    // A backup without a checkpoint never takes over.
    case (.synchronizing, .backupLost(let why)): return goAlone(.backupLost(why))
    case (.synchronizing, .endWanted): return goAlone(.wanted)
    case (.synchronizing, .offWanted): return goAlone(.off)

    case (.protected, .captured(let number)):
      captured = number
      return []
    case (.protected, .acknowledged(let number)):
      guard number == captured, number > released else { return [] }
      released = number
      return [.release(number)]
    case (.protected, .backupLost(let why)), (.handingOver, .backupLost(let why)):
      state = .deciding(.backupLost(why))
      return [.askWitness]
    case (.protected, .endWanted):
      state = .deciding(.wanted)
      return [.askWitness]
    case (.protected, .handOverWanted):
      guard released == captured, captured > 0 else { return [] }
      state = .handingOver
      return [.tellBackupToTakeOver]

    case (.protected, .backupRuns), (.handingOver, .backupRuns), (.deciding, .backupRuns):
      state = .lost
      return [.stopMachine]

    // A machine that ends needs nobody's word but the backup's: who holds nothing goes on with nothing.
    case (.protected, .offWanted):
      state = .deciding(.off)
      return [.askBackupToDrop]
    case (.deciding(.off), .offWanted): return []
    case (.deciding, .offWanted):
      state = .deciding(.off)
      return []
    case (.deciding(.off), .backupDropped): return goAlone(.off)
    case (.deciding(.off), .backupLost): return [.askWitness]
    case (.deciding(.off), .patienceEnded):
      state = .abandoned
      return [.stopMachine]

    case (.deciding(let reason), .answer(.won)): return goAlone(reason)
    case (.deciding, .answer(.lost)):
      state = .lost
      return [.stopMachine]
    case (.deciding, .answer(.unreachable)): return [.askWitnessAgain]
    case (.deciding(let reason), .vouched): return goAlone(reason)

    default: return []
    }
  }

  private mutating func goAlone(_ reason: Reason) -> [Effect] {
    state = .alone(reason)
    return [.releaseAll, .dismissBackup]
  }
}

/// The side that waits with a copy of a protected machine, as a value.
struct BackupProtection: Hashable {
  enum State: Hashable {
    /// It has no checkpoint.
    case loading
    /// It holds a checkpoint.
    case standby
    case deciding
    /// It runs the machine.
    case running
    /// It holds nothing any more.
    case dropped
  }

  enum Event: Equatable {
    /// All of a checkpoint is here and in its place.
    case complete(UInt64)
    /// The primary is silent, or its connection has ended.
    case primaryLost
    /// The primary has ended the protection, and goes on.
    case dismissed
    /// The primary, or somebody here, wants the machine to go on here.
    case takeOverWanted
    case answer(WitnessAnswer)
  }

  enum Effect: Equatable {
    case acknowledge(UInt64)
    case askWitness
    /// After a pause.
    case askWitnessAgain
    case takeOver
    case drop
  }

  private(set) var state = State.loading
  private(set) var held: UInt64 = 0

  mutating func handle(_ event: Event) -> [Effect] {
    switch (state, event) {
    case (.loading, .complete(let number)), (.standby, .complete(let number)):
      guard number == held + 1 else { return [] }
      held = number
      state = .standby
      return [.acknowledge(number)]
    case (.loading, .primaryLost), (.loading, .dismissed), (.standby, .dismissed), (.deciding, .dismissed):
      state = .dropped
      return [.drop]
    case (.standby, .primaryLost), (.standby, .takeOverWanted):
      state = .deciding
      return [.askWitness]
    case (.deciding, .answer(.won)):
      state = .running
      return [.takeOver]
    case (.deciding, .answer(.lost)):
      state = .dropped
      return [.drop]
    case (.deciding, .answer(.unreachable)): return [.askWitnessAgain]
    default: return []
    }
  }
}

/// How long the other side may be silent before it counts as lost: some time more than it ever was.
struct Heartbeat {
  /// How often something is said, in milliseconds.
  static let intervalMS = 50
  /// A host that is busy is silent for a while, too.
  static let leastSilenceMS = 500
  private var mean: Double
  private var deviation = 0.0
  private let floor: Double
  private let ceiling: Double

  /// - Parameters: floorMS, ceilingMS: what the limit is at least and at most.
  init(floorMS: Double = Double(leastSilenceMS), ceilingMS: Double = 3000) {
    floor = floorMS
    ceiling = max(ceilingMS, floorMS)
    mean = Double(Self.intervalMS)
  }

  /// Something was heard, so long after what was heard before.
  mutating func heard(afterMS milliseconds: Double) {
    let error = milliseconds - mean
    mean += error / 8
    deviation += (abs(error) - deviation) / 4
  }

  /// In milliseconds.
  var limitMS: Double { min(max(mean + 8 * deviation, floor), ceiling) }
}
