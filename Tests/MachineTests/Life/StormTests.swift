import DiskImages
import Foundation
import Testing

@testable import Machine

/// Resets and pauses from outside, at any moment and from several threads at once.
@Suite struct StormTests {
  private static func pauseAndResume(_ vm: VirtualMachine) -> @Sendable () -> Void {
    {
      vm.pause()
      vm.resume()
      usleep(UInt32.random(in: 0...2000))
    }
  }

  @Test(arguments: [1, 2])
  func aResetStormLeavesAMachineThatBoots(_ cpus: Int) throws {
    let machine = try BareMetalMachine("walker32", memoryMB: 4, cpus: cpus)
    let vm = machine.vm
    vm.start()
    machine.waitForHeartbeat()
    let storms = [
      Nuisance {
        vm.reset()
        usleep(UInt32.random(in: 0...3000))
      },
      Nuisance { vm.reset() },
      Nuisance(Self.pauseAndResume(vm)),
      Nuisance { _ = vm.registers() },
    ]
    usleep(300_000)
    for storm in storms { #expect(storm.stop() > 0) }
    #expect(vm.runState == .running)
    let before = machine.text.components(separatedBy: "walker: ").count
    vm.reset()
    machine.wait(for: "a start after the storm") { $0.text.components(separatedBy: "walker: ").count > before }
    machine.waitForHeartbeat()
    machine.waitForHeartbeat()
    #expect(machine.exitStatus == nil)
  }

  @Test func resetsOfTheGuestMayComeDuringPausesAndResetsFromOutside() throws {
    let machine = try BareMetalMachine("reset32")
    machine.vm.start()
    let storm = Nuisance(Self.pauseAndResume(machine.vm))
    machine.wait(for: "the exit") { $0.exitStatus != nil }
    storm.stop()
    #expect(machine.text.hasSuffix(try BareMetalMachine.expected("reset32")))
  }

  @Test func theEndMayComeAtAnyMoment() throws {
    for _ in 0..<12 {
      let machine = try BareMetalMachine("walker32", memoryMB: 4, cpus: 2)
      let vm = machine.vm
      vm.start()
      let storms = [Nuisance(Self.pauseAndResume(vm)), Nuisance { vm.reset() }]
      usleep(UInt32.random(in: 0...20_000))
      vm.powerOff()
      #expect(vm.runState == .stopped)
      for storm in storms { storm.stop() }
      #expect(vm.runState == .stopped)
    }
  }

  /// Whatever the guest is in the middle of (interrupts, disk commands, timers, exceptions, a change of its own code): it
  /// notices nothing of a hundred pauses.
  @Test(arguments: [
    "paging32", "paging64", "strings32", "exceptions64", "selfmod32", "syscalls64", "tasks32", "fpu32", "interrupts32",
    "keyboard32", "disk32", "cdrom32",
  ])
  func aGuestNoticesNothingOfPauses(_ guest: String) throws {
    let folder = FileManager.default.temporaryDirectory.path + "/vmctl-machine-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let machine = try BareMetalMachine(guest) { try? Self.attach(guest, folder, &$0) }
    let vm = machine.vm
    try vm.lockMedia()
    vm.start(paused: true)
    let storm = Nuisance {
      vm.resume()
      usleep(UInt32.random(in: 0...3000))
      vm.pause()
      usleep(UInt32.random(in: 0...500))
    }
    machine.wait(for: "the exit") { $0.exitStatus != nil }
    storm.stop()
    #expect(machine.exitStatus == 1)
    #expect(machine.text.hasSuffix(try BareMetalMachine.expected(guest)), "\(machine.text.suffix(2000))")
  }

  private static func attach(_ guest: String, _ folder: String, _ configuration: inout MachineConfiguration) throws {
    var drives: [MachineConfiguration.Attachment] = []
    if guest.hasPrefix("disk") {
      try RawImage.createRaw(path: folder + "/disk", size: 16 << 20)
      drives = [.init(port: 0, device: 0, kind: .hdd, medium: folder + "/disk")]
    } else if guest.hasPrefix("cdrom") {
      let blocks = (0..<64).map { number in
        let text = "block \(number) "
        return String(repeating: " ", count: 2048 - text.count) + text
      }
      try Data(blocks.joined().utf8).write(to: URL(fileURLWithPath: folder + "/cd"))
      drives = [.init(port: 1, device: 0, kind: .dvddrive, medium: folder + "/cd")]
    }
    configuration.memoryMB = 64
    configuration.storageControllers = [.init(name: "IDE", bus: .ide, attachments: drives)]
  }
}
