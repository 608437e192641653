import DiskImages
import Foundation
import Testing

@testable import Machine
@testable import Teleport

/// Who holds the media while a machine passes from source to target.
@Suite(.serialized) struct SharedMediaTests {
  /// A third machine that reads the medium.
  private static func reader(_ medium: SharedMedium) throws -> RawImage {
    let image = try medium.open(readOnly: true)
    try image.lock()
    return image
  }

  @Test func atNoStepOfATransferCouldAThirdMachineTakeTheMedium() async throws {
    let medium = Log<SharedMedium>()
    let seen = Log<TeleportStep>()
    let free = Log<TeleportStep>()
    let look = TestPoint { step in
      guard let medium = medium.all.first else { return }
      seen.add(step)
      if medium.isFree() { free.add(step) }
    }
    let pair = try Pair(testPoint: look)
    medium.add(pair.medium)
    let source = pair.source(testPoint: look)
    _ = try await onThread { try source.run() }
    let arrived = try await onThread { [target = pair.target] in try target.run() }
    #expect(await eventually { Set(seen.all) == Set(TeleportStep.allCases) })
    #expect(free.all == [])
    #expect(await eventually { arrived.holdsMediaAlone })
    pair.machine.powerOff()
    arrived.powerOff()
    #expect(pair.medium.isFree())
    pair.target.stop()
  }

  @Test func aReaderThatSlipsInDoesNotKeepTheMachineFromRunningThere() async throws {
    let readers = Log<RawImage>()
    let pair = try Pair()
    let medium = pair.medium
    let source = pair.source(
      testPoint: TestPoint { if $0 == .sourceReleased { readers.add(try Self.reader(medium)) } })
    _ = try await onThread { try source.run() }
    let arrived = try await onThread { [target = pair.target] in try target.run() }
    pair.machine.powerOff()
    let steps = arrived.steps
    #expect(await eventually { arrived.steps > steps })
    #expect(!arrived.holdsMediaAlone && !medium.isFree())
    // What runs with a shared hold stays when a transfer fails, and travels on.
    let onward = try Pair(targetMedium: medium)
    let options = TeleportSource.Options(host: "127.0.0.1", port: onward.port, name: "s", uuid: "s")
    let failing = TeleportSource(vm: arrived, options: options)
    failing.testPoint = TestPoint { if $0 == .sourcePrepared { throw Broken() } }
    await #expect(throws: Broken.self) { _ = try await onThread { try failing.run() } }
    #expect(arrived.teleportState == .running && !arrived.holdsMediaAlone)
    let next = TeleportSource(vm: arrived, options: options)
    _ = try await onThread { try next.run() }
    let last = try await onThread { [target = onward.target] in try target.run() }
    arrived.powerOff()
    #expect(!last.holdsMediaAlone && !medium.isFree())
    readers.all[0].unlock()
    #expect(await eventually { last.holdsMediaAlone })
    #expect(last.isIntact())
    last.powerOff()
    onward.machine.powerOff()
    pair.target.stop()
    onward.target.stop()
  }

  @Test func aReaderThatSlipsInDoesNotKeepTheMachineFromRunningOnHere() async throws {
    let readers = Log<RawImage>()
    let pair = try Pair()
    let medium = pair.medium
    let source = pair.source(
      testPoint: TestPoint {
        if $0 == .sourceReleased { readers.add(try Self.reader(medium)) }
        if $0 == .sourcePrepared { throw Broken() }
      })
    await #expect(throws: Broken.self) { _ = try await onThread { try source.run() } }
    #expect(pair.machine.teleportState == .running)
    #expect(!pair.machine.holdsMediaAlone && !medium.isFree())
    readers.all[0].unlock()
    await pair.expectKept("reader")
    pair.target.stop()
  }

  /// A target that says of another file what the source says of its own.
  private static func deceived(_ other: SharedMedium) throws -> Pair {
    let machines = Log<SmallMachine>()
    let pair = try Pair(targetMedium: other) { machine in
      machine.disguise = { machines.all.first?.image.identity ?? machine.image.identity }
    }
    machines.add(pair.machine)
    return pair
  }

  @Test func aCopyOfTheMediumIsNotTheMediumThoughItsBytesAreEqual() async throws {
    let other = try SharedMedium()
    let pair = try Pair(targetMedium: other)
    let source = pair.source()
    await #expect { _ = try await onThread { try source.run() } } throws: {
      "\($0)".contains("another file") && "\($0)".contains("inode")
    }
    await pair.expectKept("copy")
    #expect(pair.targetRecords.all.isEmpty && other.isFree())
    #expect(pair.machine.image.identity.mark == nil)
    pair.target.stop()
  }

  @Test func aTargetThatReadsOtherBytesAtTheHandOverDoesNotGetTheMachine() async throws {
    let other = try SharedMedium(size: 1 << 20)
    let pair = try Self.deceived(other)
    try pair.medium.write([1])
    let source = pair.source()
    await #expect { _ = try await onThread { try source.run() } } throws: { "\($0)".contains("byte 0 differs") }
    await pair.expectKept("bytes")
    #expect(await eventually { pair.targetStates.all.contains { $0.isDropped } })
    #expect(!pair.targetRecords.all.contains { $0.step == .prepared || $0.step == .owned })
    #expect(other.isFree())
    pair.target.stop()
  }

  @Test func aTargetThatCannotHaveTheMediumLeavesTheMachineToTheSource() async throws {
    let other = try SharedMedium()
    let thief = try other.open()
    try thief.lock()
    let pair = try Self.deceived(other)
    let source = pair.source()
    await #expect { _ = try await onThread { try source.run() } } throws: { "\($0)".contains("in use") }
    await pair.expectKept("media")
    #expect(await eventually { pair.targetStates.all.contains { $0.isDropped } })
    pair.target.stop()
  }

  /// The user vouches that the target does not run the machine, but it has taken the decision in and lives.
  @Test func aMachineThatIsTakenBackWhileTheTargetHasItsMediaStaysPaused() async throws {
    let gate = DispatchSemaphore(value: 0)
    let pair = try Pair(testPoint: TestPoint { if $0 == .targetCommitted { gate.wait() } })
    let source = pair.source()
    source.relockMS = 300
    let result = Task { try await onThread { _ = try source.run() } }
    #expect(await eventually { pair.states.all.contains(.inDoubt) })
    #expect(!pair.medium.isFree())
    source.resolve(.takeBack)
    let outcome = await result.result
    #expect { try outcome.get() } throws: {
      if case .mediaTaken = $0 as? TeleportError { true } else { false }
    }
    #expect(pair.machine.teleportState == .paused && !pair.medium.isFree())
    // Neither here nor from here may it run on.
    #expect(throws: DiskImageError.self) { try pair.machine.lockMedia() }
    let again = pair.source()
    await #expect(throws: DiskImageError.self) { _ = try await onThread { try again.run() } }
    gate.signal()
    let arrived = try await onThread { [target = pair.target] in try target.run() }
    #expect(arrived.teleportState == .running && pair.medium.mostRunning == 1)
    pair.machine.powerOff()
    #expect(await eventually { arrived.holdsMediaAlone })
    arrived.powerOff()
    pair.target.stop()
  }
}
