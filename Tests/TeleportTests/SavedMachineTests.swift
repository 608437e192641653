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
      let other = try SmallMachine(medium: SharedMedium(), megabytes: 4)
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
          let other = try SmallMachine(medium: SharedMedium(), megabytes: 4)
          #expect(throws: SavedStateError.self, "\(index) at \(position)") {
            try loadMachine(other, from: folder + "/bad")
          }
        }
      }
    }
  }
}
