import DiskImages
import Foundation
import GuestMemory
import Testing

@testable import Machine

/// What a checkpoint takes of memory.
@Suite struct CheckpointTests {
  /// Whatever the guest does while its pages are read (CPUs, page walks, code that changes itself, DMA): they are those of the
  /// checkpoint's moment, and none that was written since the last is missing.
  @Test(arguments: [
    ("walker32", 2), ("walker64", 1), ("walker-dma32", 1), ("paging32", 1), ("paging64", 1), ("selfmod32", 1),
    ("selfmod64", 1), ("strings64", 1), ("tasks32", 1), ("disk32", 1),
  ])
  func pagesAreThoseOfItsMoment(_ guest: String, _ cpus: Int) throws {
    let folder = FileManager.default.temporaryDirectory.path + "/vmctl-machine-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try RawImage.createRaw(path: folder + "/disk", size: 16 << 20)
    let machine = try BareMetalMachine(guest, memoryMB: guest.hasPrefix("walker") ? 16 : 64, cpus: cpus) {
      let disk = MachineConfiguration.Attachment(port: 0, device: 0, kind: .hdd, medium: folder + "/disk")
      $0.storageControllers = [.init(name: "IDE", bus: .ide, attachments: [disk])]
    }
    let vm = machine.vm
    try vm.lockMedia()
    vm.start(paused: true)
    vm.startDirtyLog()
    let ram = UnsafeRawBufferPointer(start: vm.memory.ram, count: vm.memory.pageCount * PhysicalMemory.pageSize)
    var known = Array(ram)
    let pages = PageSnapshot(vm.memory)
    var (rounds, count) = (0, 0)
    var isOver = false
    while rounds < 60 && !isOver {
      isOver = machine.exitStatus != nil
      let now = Array(ram)
      _ = try vm.checkpoint(pages)
      if !isOver { vm.resume() }
      usleep(UInt32.random(in: 0...UInt32(rounds * 100)))
      // Half of them are still to be copied when the guest goes on.
      pages.forEach { page, bytes in
        known.withUnsafeMutableBytes {
          ($0.baseAddress! + page * PhysicalMemory.pageSize).copyMemory(from: bytes, byteCount: PhysicalMemory.pageSize)
        }
      }
      pages.trim()
      guard memcmp(known, now, now.count) == 0 else {
        let page = zip(known, now).enumerated().first { $0.element.0 != $0.element.1 }.map { $0.offset >> 12 } ?? -1
        Issue.record("round \(rounds): page \(page), which \(pages.pages.contains(page) ? "was" : "was not") taken")
        return
      }
      (rounds, count) = (rounds + 1, count + pages.count)
      usleep(UInt32.random(in: 0...UInt32(rounds * 100)))
      if !isOver { vm.pause() }
    }
    #expect(count > 0)
    vm.stopDirtyLog()
    vm.resume()
    if guest.hasPrefix("walker") {
      machine.waitForHeartbeat()
    } else {
      machine.wait(for: "the exit") { $0.exitStatus != nil }
      #expect(machine.text.hasSuffix(try BareMetalMachine.expected(guest)), "\(machine.text.suffix(2000))")
    }
  }
}
