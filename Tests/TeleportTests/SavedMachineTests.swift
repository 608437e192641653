import DiskImages
import Foundation
import SavedState
import Testing

@testable import Machine
@testable import Teleport

@Suite struct SavedMachineTests {
  private func withFolder(_ body: (String) async throws -> Void) async throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("saved-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: url) }
    try await body(url.path)
  }

  private func worked() async throws -> SmallMachine {
    let machine = try SmallMachine(medium: SharedMedium(), megabytes: 4)
    machine.start(paused: false)
    #expect(await eventually { machine.steps > 20_000 })
    machine.pause()
    return machine
  }

  @Test func savedLoadedAndSavedAgainGivesTheSameBytes() async throws {
    try await withFolder { folder in
      let machine = try await worked()
      try saveMachine(machine, to: folder + "/one")
      let other = try SmallMachine(medium: machine.medium, megabytes: 4)
      try loadMachine(other, from: folder + "/one")
      #expect(other.isIntact())
      try saveMachine(other, to: folder + "/two")
      let one = try Data(contentsOf: URL(fileURLWithPath: folder + "/one"))
      #expect(try one == Data(contentsOf: URL(fileURLWithPath: folder + "/two")))
    }
  }

  @Test func aStateOfOtherHardwareIsRefusedWithWhatDiffers() async throws {
    try await withFolder { folder in
      let machine = try await worked()
      try saveMachine(machine, to: folder + "/one")
      let other = try SmallMachine(medium: SharedMedium(), megabytes: 4)
      other.hardware.settings["cpus"] = "3"
      let difference = HardwareMismatch.setting(name: "cpus", source: "1", target: "3")
      #expect(throws: SavedHardwareDiffers(mismatches: [difference])) {
        try loadMachine(other, from: folder + "/one")
      }
    }
  }

  @Test func aDiskThatHasBeenWrittenSinceIsRefusedAndGoesOnWhenForced() async throws {
    try await withFolder { folder in
      let medium = try SharedMedium(size: 1 << 20)
      let machine = try SmallMachine(medium: medium, megabytes: 4)
      try saveMachine(machine, to: folder + "/one")
      try loadMachine(try SmallMachine(medium: medium, megabytes: 4), from: folder + "/one")
      try medium.write([1], at: 700_000)
      let other = try SmallMachine(medium: medium, megabytes: 4)
      #expect {
        try loadMachine(other, from: folder + "/one")
      } throws: {
        $0 is ChangedMediaError && "\($0)".contains("was modified at")
      }
      let forced = try SmallMachine(medium: medium, megabytes: 4)
      let notes = try loadMachine(forced, from: folder + "/one", force: true)
      #expect(notes.count == 1 && notes[0].contains("was modified at"))
    }
  }

  @Test func aDiskOfTheSameTimesWithOtherBytesIsRefused() async throws {
    try await withFolder { folder in
      let medium = try SharedMedium(size: 1 << 20)
      let machine = try SmallMachine(medium: medium, megabytes: 4)
      // Far from every place that is looked at anyway.
      try machine.write([1, 2, 3], at: 555_555)
      try saveMachine(machine, to: folder + "/one")
      var status = stat()
      #expect(stat(medium.path, &status) == 0)
      try medium.write([9], at: 555_556)
      let times = [status.st_atim, status.st_mtim]
      #expect(utimensat(AT_FDCWD, medium.path, times, 0) == 0)
      #expect {
        try loadMachine(try SmallMachine(medium: medium, megabytes: 4), from: folder + "/one")
      } throws: {
        $0 is ChangedMediaError && "\($0)".contains("byte \(555_555 / 4096 * 4096) differs")
      }
    }
  }

  @Test func aDiskThatWasMovedWithItsTimesGoesOn() async throws {
    try await withFolder { folder in
      let medium = try SharedMedium(size: 1 << 20)
      try medium.write([5], at: 4)
      let machine = try SmallMachine(medium: medium, megabytes: 4)
      try saveMachine(machine, to: folder + "/one")
      let moved = try SharedMedium(size: 1 << 20)
      try moved.write([5], at: 4)
      var status = stat()
      #expect(stat(medium.path, &status) == 0)
      let times = [status.st_atim, status.st_mtim]
      #expect(utimensat(AT_FDCWD, moved.path, times, 0) == 0)
      #expect(try loadMachine(try SmallMachine(medium: moved, megabytes: 4), from: folder + "/one") == [])
    }
  }

  @Test func anotherDiscIsTakenAndTheGuestTold() async throws {
    try await withFolder { folder in
      let medium = try SharedMedium(size: 1 << 20)
      func make(_ disc: String?) throws -> SmallMachine {
        let machine = try SmallMachine(medium: medium, megabytes: 4)
        var identity = disc.map { MediumIdentity(path: $0, size: 2048, device: 1, inode: 1) }
        identity?.samples = MediumSamples(blocks: [.init(offset: 0, checksum: disc == "/a.iso" ? 1 : 2)])
        machine.hardware.storage.append(
          .init(controller: "IDE", bus: .ide, port: 1, device: 0, kind: .dvddrive, mode: .normal, medium: identity))
        return machine
      }
      try saveMachine(try make("/a.iso"), to: folder + "/one")
      for (disc, isOther) in [("/a.iso", false), ("/b.iso", true), (nil, true)] {
        let machine = try make(disc)
        let notes = try loadMachine(machine, from: folder + "/one")
        #expect(machine.replacedDiscs == (isOther ? [.init(bus: .ide, port: 1, device: 0)] : []))
        #expect(notes.count == (isOther ? 1 : 0))
      }
    }
  }

  @Test func aDamagedOrShortFileIsRefused() async throws {
    try await withFolder { folder in
      let machine = try await worked()
      try saveMachine(machine, to: folder + "/one")
      let good = try Data(contentsOf: URL(fileURLWithPath: folder + "/one"))
      for position in stride(from: 0, to: good.count, by: max(good.count / 23, 1)) {
        var bad = good
        bad[position] ^= 0x10
        for (index, bytes) in [bad, good.prefix(position)].enumerated() {
          try bytes.write(to: URL(fileURLWithPath: folder + "/bad"))
          let other = try SmallMachine(medium: machine.medium, megabytes: 4)
          #expect(throws: SavedStateError.self, "\(index) at \(position)") {
            try loadMachine(other, from: folder + "/bad")
          }
        }
      }
    }
  }
}
