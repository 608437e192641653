import Foundation
import GuestMemory
import SavedState
import Testing

@testable import Machine
@testable import Teleport

struct Broken: Error, Equatable {}

extension TeleportState {
  var isDropped: Bool { if case .dropped = self { true } else { false } }
}

extension Error {
  var isProof: Bool { if case .proof = self as? TeleportError { true } else { false } }
  var isPassword: Bool {
    switch self as? TeleportError {
    case .password, .passwordNeeded, .passwordNotAsked: true
    default: false
    }
  }
}

/// A source and a target on loopback.
struct Pair {
  let medium: SharedMedium
  let machine: SmallMachine
  let target: TeleportTarget<SmallMachine>
  let port: Int
  let sourceRecords = Log<TeleportRecord>()
  let targetRecords = Log<TeleportRecord>()
  let states = Log<TeleportState>()
  let targetStates = Log<TeleportState>()

  init(
    paused: Bool = false, password: String? = nil, hardware: HardwareDescription = sampleHardware(),
    testPoint: TestPoint = TestPoint(), targetMedium: SharedMedium? = nil, patienceMS: Int = 5000,
    prepareMachine: @escaping @Sendable (SmallMachine) -> Void = { _ in }
  ) throws {
    medium = try SharedMedium()
    machine = try SmallMachine(medium: medium)
    try machine.lockMedia()
    machine.start(paused: paused)
    let medium = targetMedium ?? medium
    let records = targetRecords
    let states = targetStates
    var options = TeleportTarget<SmallMachine>.Options(port: 0, password: password, name: "target", uuid: "t")
    // Some tests wait for these: short, but longer than a busy computer pauses.
    options.timeoutMS = patienceMS
    options.greetingMS = patienceMS
    options.graceMS = patienceMS
    target = TeleportTarget(
      options: options,
      makeMachine: {
        let machine = try SmallMachine(medium: medium)
        machine.hardware = hardware
        prepareMachine(machine)
        return machine
      },
      records: { record, _ in records.add(record) }, state: { states.add($0) })
    target.testPoint = testPoint
    port = try target.listen()
  }

  func source(password: String? = nil, testPoint: TestPoint = TestPoint(), port: Int? = nil) -> TeleportSource {
    var options = TeleportSource.Options(host: "127.0.0.1", port: port ?? self.port, name: "source", uuid: "s")
    options.password = password
    options.timeoutMS = 8000
    let records = sourceRecords
    let states = states
    let source = TeleportSource(vm: machine, options: options, records: { records.add($0) }, state: { states.add($0) })
    source.testPoint = testPoint
    return source
  }

  /// What must hold after every failure before the decision.
  func expectKept(_ comment: Comment, paused: Bool = false) async {
    #expect(machine.teleportState == (paused ? .paused : .running), comment)
    #expect(!machine.memory.dirtyLog.isLogging, comment)
    #expect(!medium.isFree(), comment)
    if !paused {
      let steps = machine.steps
      #expect(await eventually { machine.steps > steps }, comment)
    }
    #expect(await eventually { machine.holdsMediaAlone }, comment)
    #expect(machine.isIntact(), comment)
    #expect(medium.mostRunning <= 1, comment)
  }
}

@Suite(.serialized) struct TransferTests {
  @Test func twentyHopsOfABusyMachineLoseNothing() async throws {
    let medium = try SharedMedium()
    var machine = try SmallMachine(medium: medium)
    try machine.lockMedia()
    machine.start(paused: false)
    var before: UInt64 = 0
    for hop in 0..<20 {
      #expect(await eventually { machine.steps > before + 2000 })
      let target = TeleportTarget<SmallMachine>(
        options: .init(port: 0, name: "b", uuid: "b"), makeMachine: { try SmallMachine(medium: medium) })
      let port = try target.listen()
      let options = TeleportSource.Options(host: "127.0.0.1", port: port, name: "a", uuid: "a")
      let source = TeleportSource(vm: machine, options: options)
      source.proof = .full
      let figures = try await onThread { try source.run() }
      #expect(figures.phase == .done && figures.verifiedFully)
      let arrived = try await onThread { try target.run() }
      #expect(arrived.isIntact(), "hop \(hop)")
      #expect(arrived.steps >= machine.steps)
      #expect(machine.teleportState == .paused)
      before = machine.steps
      machine.powerOff()
      #expect(await eventually { arrived.steps > before })
      machine = arrived
    }
    #expect(medium.mostRunning == 1)
    machine.powerOff()
  }

  @Test func aPausedMachineArrivesPausedAndEqual() async throws {
    let pair = try Pair()
    #expect(await eventually { pair.machine.steps > 5000 })
    pair.machine.pause()
    let source = pair.source()
    _ = try await onThread { try source.run() }
    let arrived = try await onThread { [target = pair.target] in try target.run() }
    #expect(arrived.teleportState == .paused)
    #expect(try arrived.saveState() == pair.machine.saveState())
    #expect(memcmp(arrived.memory.ram, pair.machine.memory.ram, Int(arrived.memory.size)) == 0)
    #expect(pair.sourceRecords.all.map(\.step) == [.committing, .handedOver])
    #expect(pair.targetRecords.all.map(\.step) == [.prepared, .owned, .owned])
    #expect(pair.states.all.last == .handedOver)
  }

  @Test func anUnmarkedWriteIsFoundByTheProof() async throws {
    let pair = try Pair()
    pair.machine.forgetsToMark = true
    // What has been sent is written once more, however little of the processor the machine gets.
    let source = pair.source(testPoint: TestPoint { if $0 == .sourceMemory { pair.machine.awaitSteps(1000) } })
    source.proof = .full
    await #expect { _ = try await onThread { try source.run() } } throws: { $0.isProof }
    await pair.expectKept("unmarked")
    pair.target.stop()
  }

  @Test(arguments: TeleportStep.allCases.filter { $0.rawValue.hasPrefix("source.") })
  func aFailureOfTheSourceAtAnyStepLeavesOneRunningMachine(step: TeleportStep) async throws {
    let pair = try Pair()
    let source = pair.source(testPoint: TestPoint { if $0 == step { throw Broken() } })
    let result = await Task { try await onThread { _ = try source.run() } }.result
    let decided: Set<TeleportStep> = [.sourceCommitting, .sourceCommitSent, .sourceAnswered]
    if decided.contains(step) {
      // The decision stands: it is delivered on another connection.
      #expect(throws: Never.self) { try result.get() }
      let arrived = try await onThread { [target = pair.target] in try target.run() }
      #expect(arrived.teleportState == .running && arrived.isIntact())
      #expect(pair.machine.teleportState == .paused)
      #expect(pair.medium.runningCount == 1 && pair.medium.mostRunning == 1)
      arrived.powerOff()
    } else {
      #expect(throws: Broken.self) { try result.get() }
      await pair.expectKept("\(step)")
      // The target waits on and takes the next one.
      let again = pair.source()
      if step != .sourceConnected && step != .sourceGreeted {
        #expect(await eventually { pair.targetStates.all.contains { $0.isDropped } })
      }
      _ = try await onThread { try again.run() }
      let arrived = try await onThread { [target = pair.target] in try target.run() }
      #expect(arrived.isIntact())
      arrived.powerOff()
    }
    pair.target.stop()
  }

  @Test(arguments: TeleportStep.allCases.filter { $0.rawValue.hasPrefix("target.") })
  func aFailureOfTheTargetAtAnyStepLeavesOneRunningMachine(step: TeleportStep) async throws {
    let pair = try Pair(testPoint: TestPoint { if $0 == step { throw Broken() } })
    let source = pair.source()
    let result = await Task { try await onThread { _ = try source.run() } }.result
    let owned: Set<TeleportStep> = [.targetOwned, .targetAnswered, .targetRunning]
    if owned.contains(step) {
      #expect(throws: Never.self) { try result.get() }
      let arrived = try await onThread { [target = pair.target] in try target.run() }
      #expect(arrived.isIntact() && arrived.teleportState == .running)
      arrived.powerOff()
    } else {
      #expect(throws: (any Error).self) { try result.get() }
      await pair.expectKept("\(step)")
      #expect(pair.medium.runningCount == 1)
    }
    #expect(pair.medium.mostRunning == 1)
    pair.target.stop()
  }

  @Test func mismatchedHardwareIsToldAtOnceAndTheTargetWaitsOn() async throws {
    var hardware = sampleHardware()
    hardware.settings["cpus"] = "4"
    hardware.settings["hpet"] = "off"
    let pair = try Pair(hardware: hardware)
    let source = pair.source()
    await #expect(
      throws: TeleportError.hardware(
        [
          .setting(name: "cpus", source: "1", target: "4"), .setting(name: "hpet", source: "on", target: "off"),
        ], machine: "target")
    ) { _ = try await onThread { try source.run() } }
    await pair.expectKept("hardware")
    pair.target.stop()
  }

  static let passwords: [(String?, String?, Bool)] = [
    ("right", "right", true), ("right", "wrong", false), ("right", nil, false), (nil, "any", false),
  ]
  @Test(arguments: passwords)
  func passwordsAreProved(target: String?, source: String?, works: Bool) async throws {
    let pair = try Pair(password: target)
    let sender = pair.source(password: source)
    let result = await Task { try await onThread { _ = try sender.run() } }.result
    if works {
      #expect(throws: Never.self) { try result.get() }
      try await onThread { try pair.target.run() }.powerOff()
    } else {
      #expect { try result.get() } throws: { $0.isPassword }
      await pair.expectKept("password")
    }
    pair.target.stop()
  }

  @Test func aGuestThatNoBrakeHelpsAgainstStaysAndTheDowntimeThatWouldDoIsNamed() async throws {
    let pair = try Pair()
    pair.machine.isFrantic = true
    var options = TeleportSource.Options(host: "127.0.0.1", port: pair.port, name: "source", uuid: "s")
    options.maxDowntimeMS = 1
    let brakes = Log<Double>()
    let states = pair.states
    let source = TeleportSource(
      vm: pair.machine, options: options, state: { states.add($0) }, progress: { brakes.add($0.throttlePercent) })
    await #expect { _ = try await onThread { try source.run() } } throws: {
      guard case .tooBusy(_, _, let allowed) = $0 as? TeleportError else { return false }
      return allowed == 1
    }
    #expect(brakes.all.contains(99.9))
    #expect(pair.machine.throttled == 0)
    await pair.expectKept("busy")
    pair.target.stop()
  }

  @Test func cancellingLeavesTheSourceRunning() async throws {
    let box = Log<TeleportSource>()
    let pair = try Pair()
    let source = pair.source(testPoint: TestPoint { if $0 == .sourceMemory { box.all.first?.cancel() } })
    box.add(source)
    await #expect(throws: TeleportError.cancelled) { _ = try await onThread { try source.run() } }
    await pair.expectKept("cancelled")
    pair.target.stop()
  }

  @Test func nobodyThereIsSaid() async throws {
    let pair = try Pair()
    pair.target.stop()
    let source = pair.source(port: 1)
    await #expect { _ = try await onThread { try source.run() } } throws: { "\($0)".contains("nothing listens") }
    await pair.expectKept("nobody")
  }

  @Test func aRecordThatCannotBeWrittenIsNoDecision() async throws {
    let pair = try Pair()
    let options = TeleportSource.Options(host: "127.0.0.1", port: pair.port, name: "s", uuid: "s")
    let source = TeleportSource(vm: pair.machine, options: options, records: { _ in throw Broken() })
    await #expect(throws: Broken.self) { _ = try await onThread { try source.run() } }
    await pair.expectKept("record")
    pair.target.stop()
  }

  @Test func anInquiryTellsTheFate() async throws {
    let pair = try Pair()
    let source = pair.source(testPoint: TestPoint { if $0 == .sourceAnswered { throw Broken() } })
    _ = try await onThread { try source.run() }
    let arrived = try await onThread { [target = pair.target] in try target.run() }
    let record = try #require(pair.sourceRecords.all.first)
    var strange = record
    strange.transfer = "00"
    pair.target.stop()
    arrived.powerOff()
    // A new process that knows the folder's record answers for the old one.
    var options = TeleportTarget<SmallMachine>.Options(port: pair.port, name: "t", uuid: "t")
    options.previous = pair.targetRecords.all.last
    let medium = pair.medium
    let next = TeleportTarget<SmallMachine>(options: options, makeMachine: { try SmallMachine(medium: medium) })
    #expect(await eventually { (try? next.listen()) != nil })
    let answers = try await onThread { [record, strange] in
      (TeleportInquiry.ask(record), TeleportInquiry.ask(strange))
    }
    #expect(answers.0 == .runs)
    #expect(answers.1 == .unknown)
    next.stop()
  }
}
