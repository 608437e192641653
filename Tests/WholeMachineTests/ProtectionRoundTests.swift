import Foundation
import Testing

/// A protected machine through failure after failure, at moments and for durations that nobody has chosen. Its client sees
/// nothing of them: it has two TCP connections, one with a stream, compared byte by byte, and one for numbered records, each of
/// which is written to the machine's disk, flushed and acknowledged before the next.
///
/// VMCTL_TEST_ROUNDS is how many failures (6), VMCTL_TEST_SEED what they follow from.
@Suite(
  .enabled(if: Guests.hasNetworkGuest, "needs the network guest: run scripts/build-network-guest"),
  .enabled(if: NetworkLab.obstacle == nil, "\(NetworkLab.obstacle ?? "")"))
struct ProtectionRoundTests {
  private static func number(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap(UInt64.init)
  }
  private static let rounds = number("VMCTL_TEST_ROUNDS") ?? 6
  private static let seed = number("VMCTL_TEST_SEED") ?? 1

  /// How long one side may be silent: less than the longest that one is stopped or not heard.
  private static let patience = ["VMCTL_TELEPORT_PATIENCE": "5000"]

  enum Fault: CaseIterable {
    case primaryKilled, backupKilled, primaryStopped, backupStopped, primaryUnheard, backupUnheard, lineCut
    case remusKilled, primarysWitnessKilled, backupsWitnessKilled, handOver, takeOver
  }

  private final class Season {
    let machine: BridgedMachine
    let records: RecordKeeper
    var random: Wire.SplitMix
    /// Where the machine runs.
    var home = 0
    private(set) var remus: Child
    /// Where it was started.
    private var remusHome = 0
    var story: [String] = []

    init() throws {
      machine = try BridgedMachine(card: "virtio", driver: "virtio_net", disk: 16, ProtectionRoundTests.patience)
      random = Wire.SplitMix(state: ProtectionRoundTests.seed)
      do {
        try machine.console.shell("modprobe virtio_blk; exchange keep 5301 /dev/vda >/dev/null 2>&1 &")
        records = try machine.places[0].namespace.run { try RecordKeeper(BridgedMachine.address, 5301) }
        try machine.await(on: 1, ProtectionRoundTests.patience)
        remus = try machine.remus(from: 0, to: 1)
      } catch {
        machine.end()
        throw error
      }
    }

    func host(_ index: Int) -> TestHost { machine.places[index].host }
    var away: Int { 1 - home }

    /// What the client sees goes on.
    func expectProgress() throws {
      let (bytes, records) = (machine.bulk.received, records.acknowledged)
      try poll("stream and records", within: 240) {
        guard machine.bulk.received >= 0 else { throw Failure("the stream is damaged or has ended") }
        if let failure = self.records.failure { throw Failure(failure) }
        return machine.bulk.received > bytes + 50_000 && self.records.acknowledged > records + 5 ? () : nil
      }
    }

    /// Protects the machine again, as an operator does who sees what has come of a failure.
    func protect() throws {
      if !["standby", "teleportingin"].contains(try host(away).state("box")) {
        try machine.await(on: away, ProtectionRoundTests.patience)
      }
      // One that lives looks for the backup by itself.
      if remusHome != home {
        _ = try remus.wait()
        remusHome = home
      }
      // On a busy computer a side may be silent for too long while they get to know each other: it is tried again.
      try poll("protection at host \(home)", within: 300) { () -> Void? in
        if !remus.isRunning { remus = try machine.remus(from: home, to: away) }
        return try host(home).isProtected("box") ? () : nil
      }
    }

    /// Something fails, for a while where it is something that ends.
    func strike(_ fault: Fault) throws {
      let milliseconds = UInt32(random.next(below: 9000))
      let (home, away) = (home, away)
      story.append("\(fault) at host \(home), \(milliseconds) ms")
      func stop(_ index: Int) throws {
        guard let process = host(index).processID("box") else { throw Failure("no process on host \(index)") }
        Glibc.kill(process, SIGSTOP)
        usleep(milliseconds * 1000)
        Glibc.kill(process, SIGCONT)
      }
      func cut(_ hosts: [Int]) throws {
        try machine.cut(from: hosts, true)
        usleep(milliseconds * 1000)
        try machine.cut(from: hosts, false)
      }
      func kill(_ word: String, _ index: Int) throws {
        for process in try host(index).processes(word) { Glibc.kill(process, SIGKILL) }
      }
      switch fault {
      case .primaryKilled: try host(home).killMachine("box")
      case .backupKilled: try host(away).killMachine("box")
      case .primaryStopped: try stop(home)
      case .backupStopped: try stop(away)
      case .primaryUnheard: try cut([home])
      case .backupUnheard: try cut([away])
      case .lineCut: try cut([home, away])
      case .remusKilled:
        remus.signal(SIGKILL)
        _ = try remus.wait()
      case .primarysWitnessKilled: try kill("witness-process", home)
      case .backupsWitnessKilled:
        try kill("witness-process", away)
        // It is no backup for anybody any more, and is started again.
        try host(away).waitForState("box", "teleportingin")
        try host(away).vmctl("controlvm", "box", "poweroff")
      // Either may be too late, or too early.
      case .handOver: _ = try host(home).attempt(["controlvm", "box", "failover"])
      case .takeOver: _ = try host(away).attempt(["controlvm", "box", "failover"])
      }
    }

    /// Waits until it is known where the machine runs and what the other host has.
    func settle() throws {
      var last = ""
      do {
        home = try poll("one host that runs the machine", within: 240) { () -> Int? in
          let states = [try host(0).state("box"), try host(1).state("box")]
          last = "\(states)"
          guard let runs = states.firstIndex(of: "running"),
            ["teleportingin", "teleported", "aborted", "poweroff", "standby"].contains(states[1 - runs])
          else { return nil }
          // A backup that still decides is none that stands by.
          let isProtected = try host(runs).fact("box", "ReplicationState") == "protected"
          return isProtected == (states[1 - runs] == "standby") ? runs : nil
        }
      } catch is Failure {
        let logs = [host(0), host(1)].map { String($0.log("box").suffix(800)) }
        throw Failure("no host that runs the machine: \(last); \(logs)")
      }
    }

    func end() {
      records.stop()
      machine.end()
    }
  }

  @Test("failure after failure, at any moment: no byte is lost or repeated, no record is lost, one machine runs")
  func rounds() throws {
    let season = try Season()
    defer { season.end() }
    do {
      try season.protect()
      var faults: [Fault] = []
      for _ in 0..<Self.rounds {
        // Each kind as often as the others.
        if faults.isEmpty { faults = Fault.allCases }
        let fault = faults.remove(at: Int(season.random.next(below: UInt64(faults.count))))
        try season.expectProgress()
        usleep(UInt32(season.random.next(below: 1_500_000)))
        try season.strike(fault)
        try season.settle()
        try season.expectProgress()
        try season.protect()
      }
      let survivor = season.host(season.home)
      season.records.stop()
      #expect(try season.machine.bulk.finish() > 100_000)
      try survivor.vmctl("controlvm", "box", "poweroff")
      _ = try season.remus.wait()
      try season.records.expectKept(in: survivor.folder + "/own.img")
      print("protection: \(Self.rounds) failures, \(season.records.acknowledged) records")
    } catch {
      throw Failure("seed \(Self.seed): \(season.story.joined(separator: "; ")): \(error)")
    }
  }
}

/// A client of `exchange keep`: sends the next number when the last has been acknowledged.
private final class RecordKeeper: EchoConnection, @unchecked Sendable {
  private let lock = NSLock()
  private var last = 0
  private var isOver = false
  private var trouble: String?
  private let ended = DispatchSemaphore(value: 0)

  /// The last that the machine has said it has on its disk.
  var acknowledged: Int { lock.withLock { last } }
  var failure: String? { lock.withLock { trouble } }

  override init(_ address: String, _ port: UInt16) throws {
    try super.init(address, port)
    Thread { [self] in
      while !lock.withLock({ isOver }) {
        do {
          try exchange("\(acknowledged + 1)\n")
          lock.withLock { last += 1 }
        } catch {
          lock.withLock { if !isOver { trouble = "record \(last + 1): \(error)" } }
          break
        }
      }
      ended.signal()
    }.start()
  }

  func stop() {
    guard !lock.withLock({ isOver }) else { return }
    lock.withLock { isOver = true }
    _ = ended.wait(timeout: .now() + 240)
  }

  /// Every record that was acknowledged is on the disk, or one that was written over it.
  func expectKept(in image: String) throws {
    let data = try Data(contentsOf: URL(fileURLWithPath: image))
    for number in max(1, acknowledged - 2047)...max(1, acknowledged) {
      let start = number % 2048 * 512
      let line = data[start..<start + 512].prefix { $0 != 10 }
      guard let found = Int(String(decoding: line, as: UTF8.self).dropFirst("record ".count)),
        found == number || found == number + 2048
      else {
        throw Failure("record \(number) was acknowledged, and \"\(String(decoding: line, as: UTF8.self))\" is there")
      }
    }
  }
}
