import Foundation
import Testing

@testable import Machine
@testable import Teleport

/// What people see of a transfer is true on both sides.
@Suite struct ProgressTests {
  @Test func theTargetCountsFromNothingToAll() async throws {
    let medium = try SharedMedium()
    let machine = try SmallMachine(medium: medium)
    try machine.lockMedia()
    machine.start(paused: false)
    let seen = Log<TeleportProgress>()
    let target = TeleportTarget<SmallMachine>(
      options: .init(port: 0, name: "b", uuid: "b"), makeMachine: { try SmallMachine(medium: medium) },
      progress: { seen.add($0) })
    let port = try target.listen()
    let source = TeleportSource(vm: machine, options: .init(host: "127.0.0.1", port: port, name: "a", uuid: "a"))
    _ = try await onThread { try source.run() }
    let arrived = try await onThread { try target.run() }
    let memory = seen.all.filter { $0.phase == .memory }
    #expect(memory.first?.summary.hasPrefix("memory 0 %") == true, "\(memory.first?.summary ?? "")")
    let remaining = memory.filter { $0.round == 0 }.map(\.remainingPages)
    #expect(remaining == remaining.sorted(by: >))
    #expect(seen.all.filter { $0.round > 0 }.allSatisfy { $0.remainingPages == 0 })
    #expect(seen.all.last?.phase == .done)
    arrived.powerOff()
    machine.powerOff()
    target.stop()
  }

  @Test func theTimeThatIsLeftIsToldAtTheRateSoFar() {
    var progress = TeleportProgress()
    progress.phase = .memory
    progress.totalPages = 1000
    progress.remainingPages = 750
    progress.memoryBytes = 250 * 4096
    progress.seconds = 10
    #expect(progress.summary == "memory 25 %: 0.0 MB at 0.0 MB/s, 3.1 MB remaining, about 31 s")
    progress.remainingPages = 0
    #expect(progress.summary == "memory 100 %: 0.0 MB at 0.0 MB/s")
  }
}
