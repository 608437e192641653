/// How far a teleport is. The source sends one every 200 ms and at each change of phase; the target likewise.
public struct TeleportProgress: Codable, Equatable, Sendable {
  /// What is being done, in the order in which it is.
  public enum Phase: String, Codable, Sendable {
    case connecting, waiting, greeting, authenticating
    case checkingHardware = "checking hardware"
    case memory
    case pausing
    case lastPages = "last pages"
    case devices = "device state"
    case proof
    case handOver = "hand-over"
    case inDoubt = "in doubt"
    case done
  }

  /// What is being done.
  public var phase: Phase = .connecting
  /// 0 is the round that sends all of memory.
  public var round = 0
  /// Pages of the machine's memory.
  public var totalPages = 0
  /// Pages still to be sent, as far as is known.
  public var remainingPages = 0
  /// Bytes on the wire, sent or received.
  public var bytes: UInt64 = 0
  /// Bytes of guest memory these stand for.
  public var memoryBytes: UInt64 = 0
  /// How fast the wire took bytes lately.
  public var bytesPerSecond: Double = 0
  /// How fast the guest has written to pages lately.
  public var dirtyPagesPerSecond: Double = 0
  /// For how much of the time the guest's CPUs rest, since it writes memory faster than the connection takes it.
  public var throttlePercent = 0.0
  /// Since the transfer began.
  public var seconds: Double = 0
  /// How long the machine has stood still, by part.
  public var downtime = Downtime()
  /// Whether the proof read all of memory on both sides.
  public var verifiedFully = false

  /// How long the guest stood still, in milliseconds, by part.
  public struct Downtime: Codable, Equatable, Sendable {
    /// Milliseconds until all CPUs stood.
    public var stop: Double = 0
    /// Milliseconds to send the pages that were still dirty.
    public var lastPages: Double = 0
    /// Milliseconds to save, send and load the devices.
    public var devices: Double = 0
    /// Milliseconds to compare both memories.
    public var proof: Double = 0
    /// Milliseconds from the decision until the target ran.
    public var handOver: Double = 0
    /// Milliseconds altogether.
    public var total: Double { stop + lastPages + devices + proof + handOver }
    public init() {}
  }

  public init() {}

  /// A line for people: how long it took and how long it was down.
  public var summary: String {
    // A small machine's whole journey is a fraction of a second.
    let hundredths = Int((seconds * 100).rounded())
    let duration = "\(hundredths / 100).\(String(hundredths % 100 + 100).dropFirst()) s"
    let megabytes = (Double(bytes) / 1e6).tenths
    let rate = (bytesPerSecond / 1e6).tenths
    switch phase {
    case .done:
      guard downtime.total > 0 else { return "done: \(megabytes) MB in \(duration)" }  // the target does not know it
      let parts =
        "stop \(downtime.stop.tenths), last pages \(downtime.lastPages.tenths), "
        + "device state \(downtime.devices.tenths), proof \(downtime.proof.tenths), hand-over \(downtime.handOver.tenths)"
      return "done: \(megabytes) MB in \(duration), down \(downtime.total.tenths) ms (\(parts))"
    case .memory, .lastPages:
      let done = totalPages > 0 ? (totalPages - min(remainingPages, totalPages)) * 100 / totalPages : 0
      let left = (Double(remainingPages) * 4096 / 1e6).tenths
      var line = "\(phase.rawValue) \(done) %"
      if round > 0 { line += ", round \(round + 1)" }
      line += ": \(megabytes) MB at \(rate) MB/s"
      if remainingPages > 0 { line += ", \(left) MB remaining" }
      // At the rate of the whole transfer so far: what compresses well and what does not take turns.
      if remainingPages > 0, memoryBytes > 0, seconds >= 1 {
        line += ", about \(Int(Double(remainingPages) * 4096 / Double(memoryBytes) * seconds) + 1) s"
      }
      if dirtyPagesPerSecond > 0 { line += ", \(Int(dirtyPagesPerSecond)) pages/s dirtied" }
      if throttlePercent > 0 {
        let whole = Int(throttlePercent)
        line += ", guest slowed by \(Double(whole) == throttlePercent ? "\(whole)" : throttlePercent.tenths) %"
      }
      return line
    default: return phase.rawValue
    }
  }
}

/// What the machine's keeper is told, for the VM's state.
public enum TeleportState: Equatable, Sendable {
  /// Source: the transfer runs (`teleporting`); pausing will follow (`teleportingpausedvm` when it was paused before).
  case teleporting(paused: Bool)
  /// Source: it stays here.
  case kept(paused: Bool)
  /// Source: decided, but the target does not answer. `resolve` is how the user ends this.
  case inDoubt
  /// Source: gone (`teleported`).
  case handedOver
  /// Target: listening.
  case waiting(port: Int)
  /// Target: somebody with the right password and hardware sends (`teleportingin`).
  case receiving(from: String)
  /// Target: dropped, waiting again.
  case dropped(reason: String)
  /// Target: the machine is about to run here.
  case arrived(paused: Bool)
  /// Target: it has a copy of a machine that runs at the source, and is to go on with it when that is lost (`standby`).
  case standby(from: String)
  /// Target: the other side is lost, or has asked for it; the machine goes on here from its last checkpoint.
  case takingOver(epoch: UInt64)
}

/// The steps at which a process can be made to stop, so that tests can kill it exactly there: the environment variable
/// VMCTL_TELEPORT_STOP_AT names one ("source.committing"), and the process stops itself (SIGSTOP) when it gets there.
public enum TeleportStep: String, CaseIterable, Sendable {
  case sourceConnected = "source.connected"
  case sourceGreeted = "source.greeted"
  case sourceAgreed = "source.agreed"
  case sourceMemory = "source.memory"
  case sourcePaused = "source.paused"
  case sourceRestSent = "source.restsent"
  case sourceDevicesSent = "source.devicessent"
  case sourceProved = "source.proved"
  case sourceReleased = "source.released"
  case sourcePrepared = "source.prepared"
  case sourceCommitting = "source.committing"
  case sourceCommitSent = "source.commitsent"
  case sourceAnswered = "source.answered"
  case targetGreeted = "target.greeted"
  case targetAgreed = "target.agreed"
  case targetMemory = "target.memory"
  case targetDevices = "target.devices"
  case targetVerified = "target.verified"
  case targetLocked = "target.locked"
  case targetPrepared = "target.prepared"
  case targetCommitted = "target.committed"
  case targetOwned = "target.owned"
  case targetAnswered = "target.answered"
  case targetRunning = "target.running"
}
