import Foundation
import SavedState
import Testing

@testable import Machine
@testable import Teleport

/// A source that asks only.
@Suite(.serialized) struct CheckTests {
  /// Nothing of it stays: the machine runs, its medium has no mark, the target takes it.
  private func expectUnchanged(_ pair: Pair) async throws {
    await pair.expectKept("checked")
    #expect(pair.machine.image.identity.mark == nil)
    #expect(pair.sourceRecords.all.isEmpty && pair.targetRecords.all.isEmpty)
    #expect(pair.states.all.isEmpty)
    #expect(pair.targetStates.all.allSatisfy { !$0.isDropped })
    #expect(pair.target.desk.transferCount == 0)
  }

  @Test(arguments: [nil, "secret"])
  func whereNothingIsInTheWayNothingIsTold(password: String?) async throws {
    let pair = try Pair(password: password)
    let asked = Log<Int>()
    pair.target.onCheck = { asked.add($1) }
    for _ in 0..<5 {
      let source = pair.source(password: password)
      let found = try await onThread { try source.check() }
      #expect(found == TeleportCheck(machine: "target"))
    }
    #expect(asked.all == Array(repeating: 0, count: 5))
    try await expectUnchanged(pair)
    let source = pair.source(password: password)
    _ = try await onThread { try source.run() }
    let arrived = try await onThread { [target = pair.target] in try target.run() }
    #expect(arrived.isIntact())
    arrived.powerOff()
    pair.machine.powerOff()
  }

  @Test func everythingIsToldAtOnce() async throws {
    var hardware = sampleHardware()
    hardware.settings["cpus"] = "2"
    hardware.roms[0].digest = "cc"
    let pair = try Pair(hardware: hardware)
    pair.target.obstacles = { [.memory(needed: 8, available: 4), .forward(card: 1, reason: "port 22")] }
    let source = pair.source()
    let found = try await onThread { try source.check() }
    #expect(
      found.obstacles == [
        .hardware(.setting(name: "cpus", source: "1", target: "2")),
        .hardware(.content(source: sampleHardware().roms[0], target: hardware.roms[0])),
        .memory(needed: 8, available: 4), .forward(card: 1, reason: "port 22"),
      ])
    #expect(found.obstacles.map(\.isFatal) == [true, true, true, false])
    try await expectUnchanged(pair)
    pair.target.stop()
    pair.machine.powerOff()
  }

  @Test func anotherFileOfTheSameNameIsAnObstacle() async throws {
    let pair = try Pair(targetMedium: try SharedMedium())
    let source = pair.source()
    let found = try await onThread { try source.check() }
    #expect(found.obstacles.count == 1)
    guard case .hardware(.drive) = found.obstacles.first else {
      Issue.record("\(found)")
      return
    }
    try await expectUnchanged(pair)
    pair.target.stop()
    pair.machine.powerOff()
  }

  @Test func whoCannotAskIsToldWhy() async throws {
    let pair = try Pair(password: "secret")
    let cases: [(TeleportSource, (TeleportError?) -> Bool)] = [
      (pair.source(password: "guess"), { $0 == .password("the password is not the target's") }),
      (pair.source(), { $0 == .passwordNeeded }),
      (pair.source(password: "secret", port: 1), { if case .nobodyListens = $0 { true } else { false } }),
    ]
    for (source, isRight) in cases {
      do {
        _ = try await onThread { try source.check() }
        Issue.record("it was answered")
      } catch { #expect(isRight(error as? TeleportError), "\(error)") }
    }
    try await expectUnchanged(pair)
    pair.target.stop()
    pair.machine.powerOff()
  }

  /// One that knows nothing of checks accepts the machine.
  @Test func anOlderTargetIsLeftAtOnce() async throws {
    let pair = try Pair()
    let (listener, port) = try Listener.open(address: "127.0.0.1", port: 0)
    let old = Task {
      try await onThread { () throws -> Wire.Frame in
        let wake = WakePipe()
        guard let descriptor = Listener.accept(listener, until: wake) else { throw Broken() }
        close(listener)
        let link = Connection(descriptor: descriptor, peer: "the source", wake: nil)
        defer { link.close() }
        _ = try link.receive(timeoutMS: 240_000, "greeting").expect(.hello)
        let mine = Message.Hello(
          minVersion: 1, maxVersion: 3, build: "old", name: "target", uuid: "t", intent: .teleport,
          nonce: Authentication.nonce(), password: false, paused: false)
        try link.send(.hello, Message.encode(mine), timeoutMS: 240_000)
        _ = try link.receive(timeoutMS: 240_000, "hardware").expect(.hardware)
        try link.send(.accept, Message.encode(Message.Accept(transfer: "x")), timeoutMS: 240_000)
        return try link.receive(timeoutMS: 240_000, "end")
      }
    }
    let source = pair.source(port: port)
    let found = try await onThread { try source.check() }
    #expect(found == TeleportCheck(isOfOlderTarget: true))
    #expect(try await old.value.type == .abort)
    try await expectUnchanged(pair)
    pair.target.stop()
    pair.machine.powerOff()
  }
}
