import Foundation
import Testing

@testable import DiskImages

/// A machine's disk and its CD, and what others hold of them.
@Suite struct MachineMediaTests {
  let folder: ScratchFolder
  let disk: String
  let disc: String

  init() throws {
    folder = try ScratchFolder()
    disk = try folder.file("disk.img", Array(repeating: 0, count: 512))
    disc = try folder.file("cd.iso", Array(repeating: 0, count: 2048))
  }

  private func machine() throws -> (media: MachineMedia, disk: RawImage, disc: RawImage) {
    let images = (try RawImage(path: disk), try RawImage(path: disc, readOnly: true))
    return (MachineMedia([images.0, images.1]), images.0, images.1)
  }

  private func eventually(_ condition: () -> Bool) async throws -> Bool {
    for _ in 0..<60_000 where !condition() { try await Task.sleep(for: .milliseconds(5)) }
    return condition()
  }

  @Test func allAreTakenOrNone() throws {
    let one = try machine()
    let writer = try RawImage(path: disc)
    try writer.lock()
    #expect(throws: DiskImageError.inUse(path: disc)) { try one.media.take() }
    #expect(one.disk.hold == .none && one.disc.hold == .none)
    #expect(throws: DiskImageError.inUse(path: disc)) { try one.media.share() }
    #expect(one.disk.hold == .none && one.disc.hold == .none)
    writer.unlock()
    try one.media.take()
    try one.media.take()
    #expect(one.disk.hold == .exclusive && one.disc.hold == .shared)
  }

  @Test func theyPassToAnotherMachineWithoutAGap() async throws {
    let source = try machine()
    let target = try machine()
    let thief = try machine()
    try source.media.take()
    #expect(throws: DiskImageError.inUse(path: disk)) { try target.media.share() }
    try source.media.share()
    try target.media.share()
    #expect(throws: DiskImageError.inUse(path: disk)) { try thief.media.take() }
    // The target runs; the source has not heard yet.
    target.media.claim()
    try target.media.take()
    #expect(target.disk.hold == .shared)
    source.media.release()
    #expect(throws: DiskImageError.inUse(path: disk)) { try thief.media.take() }
    #expect(try await eventually { target.disk.hold == .exclusive })
    #expect(target.disc.hold == .shared)
    target.media.release()
    try thief.media.take()
  }

  @Test func theyComeBackWhenTheTargetLetsGo() throws {
    let source = try machine()
    let target = try machine()
    try source.media.take()
    try source.media.share()
    try target.media.share()
    #expect(throws: DiskImageError.inUse(path: disk)) { try source.media.take() }
    #expect(source.disk.hold == .shared && source.disc.hold == .shared)
    target.media.release()
    try source.media.take()
    #expect(source.disk.hold == .exclusive)
  }

  @Test func aClaimEndsWithItsMachineAndWithTheNextTransfer() async throws {
    let machine = try machine()
    let reader = try RawImage(path: disk, readOnly: true)
    try machine.media.share()
    try reader.lock()
    machine.media.claim()
    // Passed on, as one that runs with a shared hold is.
    try machine.media.share()
    reader.unlock()
    try await Task.sleep(for: .milliseconds(50))
    #expect(machine.disk.hold == .shared)
    try reader.lock()
    machine.media.claim()
    machine.media.release()
    reader.unlock()
    try await Task.sleep(for: .milliseconds(50))
    #expect(machine.disk.hold == .none)
    // Nothing is claimed that was not shared.
    machine.media.claim()
    try await Task.sleep(for: .milliseconds(50))
    #expect(machine.disk.hold == .none)
  }
}
