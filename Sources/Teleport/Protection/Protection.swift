import DiskImages
import GuestMemory
import Machine
import SavedState

/// What protection needs of a machine. `VirtualMachine` is one; tests have a smaller one.
public protocol ProtectableMachine: TeleportableMachine {
  func holdOutput(_ which: HeldOutput, _ onHeld: @escaping @Sendable () -> Void)
  var heldBytes: Int { get }
  func checkpoint(_ pages: PageSnapshot) throws -> Checkpoint
  func release(_ checkpoint: Checkpoint) -> Bool
  func releaseOutput()
  func show(_ output: [ConsoleOutput])
  func write(_ writes: DiskWrites) throws
  var writtenDisks: [(place: HardwareDescription.StorageSlot.Place, size: UInt64)] { get }
  func noteDiskWrites(_ does: Bool)
  func takeWrittenPieces(of place: HardwareDescription.StorageSlot.Place) -> Set<UInt64>
  func readDisk(at place: HardwareDescription.StorageSlot.Place, offset: UInt64, count: Int) throws -> [UInt8]
  func flushDisks() throws
}

extension VirtualMachine: ProtectableMachine {}

/// Who decides between the two hosts of a protected machine. Its answers may take a while.
public struct Witness: Sendable {
  /// In the words that both sides know it by.
  public var text: String
  /// Notes down that the machine has a backup from now on.
  public var establish: @Sendable (_ session: String) -> WitnessAnswer
  /// Asks for the machine, for one side alone.
  public var claim: @Sendable (_ session: String, _ side: ProtectionSide) -> WitnessAnswer
  /// Whether what asks it on this host is there. It does not ask.
  public var isThere: @Sendable () -> Bool

  public init(
    text: String, establish: @escaping @Sendable (_ session: String) -> WitnessAnswer,
    claim: @escaping @Sendable (_ session: String, _ side: ProtectionSide) -> WitnessAnswer,
    isThere: @escaping @Sendable () -> Bool = { true }
  ) {
    self.text = text
    self.establish = establish
    self.claim = claim
    self.isThere = isThere
  }

  /// None: each side believes what it sees, as with Xen's Remus. In a partition both go on.
  public static let none = Witness(text: "none", establish: { _ in .won }, claim: { _, _ in .won })
}

/// What a target needs to take a protected machine.
public struct ProtectionDuty: Sendable {
  /// Why the disk at a place may not be overwritten with the source's; nil: it may.
  public var obstacle: @Sendable (_ place: HardwareDescription.StorageSlot.Place) -> String?
  /// Called before the first byte of these disks is overwritten; throws what forbids it.
  public var overwrites: @Sendable ([HardwareDescription.StorageSlot.Place]) throws -> Void
  /// The witness that the source names, for a machine with this UUID at the source; throws why it is not to be had here.
  public var witness: @Sendable (_ text: String, _ machine: String) throws -> Witness

  /// What each of them does, and when it throws, stands above.
  public init(
    obstacle: @escaping @Sendable (_ place: HardwareDescription.StorageSlot.Place) -> String?,
    overwrites: @escaping @Sendable ([HardwareDescription.StorageSlot.Place]) throws -> Void,
    witness: @escaping @Sendable (_ text: String, _ machine: String) throws -> Witness
  ) {
    self.obstacle = obstacle
    self.overwrites = overwrites
    self.witness = witness
  }
}

/// How a protection stands.
public struct ProtectionProgress: Codable, Equatable, Sendable {
  /// Which of the two this host is.
  public var role: ProtectionSide
  /// What it does.
  public enum State: String, Codable, Sendable {
    /// The backup gets memory and disks for the first time.
    case synchronizing
    /// A failure of either host loses nothing.
    case protected
    /// The other host is not to be reached, and the witness is asked whose the machine is.
    case deciding
    /// There is no backup any more.
    case unprotected
    /// The machine goes on at the backup.
    case takenover
  }
  /// What it does.
  public var state: State
  /// The last checkpoint that both hosts have.
  public var epoch: UInt64 = 0
  /// From a checkpoint until the backup had it, in milliseconds.
  public var lagMS = 0.0
  /// How long the machine stood for it, in milliseconds.
  public var pauseMS = 0.0
  /// How long the longest of the last hundred was, in milliseconds.
  public var longestPauseMS = 0.0
  /// Pages of the last checkpoint; while it synchronizes, those of memory that have still to cross.
  public var pages = 0
  /// Bytes on the wire so far.
  public var bytes: UInt64 = 0
  /// Lately, a second.
  public var bytesPerSecond = 0.0
  /// Output that waits, but for frames, in bytes.
  public var heldBytes = 0
  /// The other host.
  public var peer = ""
  /// The witness.
  public var witness = ""
  /// Why it is not protected.
  public var reason: String?
  /// What asks the witness on this host has ended, and another is wanted.
  public var hasLostWitness = false

  /// The other host, where there is none.
  static let nowhere = "nowhere"
  /// Whether checkpoints are taken and sent to nobody.
  public var isNowhere: Bool { peer == Self.nowhere }

  public init(role: ProtectionSide, state: State) {
    self.role = role
    self.state = state
  }

  /// A line for people.
  public var summary: String {
    switch state {
    case .synchronizing:
      let rest = pages > 0 ? ", \((Double(pages) * Double(PageChunk.pageSize) / 1e6).tenths) MB of memory to go" : ""
      return "synchronizing" + (bytes > 0 ? ": \((Double(bytes) / 1e6).tenths) MB have crossed\(rest)" : "")
    case .protected:
      return
        "\(isNowhere ? "not protected, checkpoints go nowhere" : "protected"): epoch \(epoch), lag \(lagMS.tenths) ms, pause \(pauseMS.tenths) ms, \(pages) pages, "
        + "\((bytesPerSecond / 1e6).tenths) MB/s, \(heldBytes >> 10) KB of output held"
    case .deciding:
      return "the other host is not to be reached; asking the witness (\(witness))" + (reason.map { ": \($0)" } ?? "")
    case .unprotected: return "unprotected" + (reason.map { ": \($0)" } ?? "")
    case .takenover: return "the machine goes on at \(peer)"
    }
  }
}
