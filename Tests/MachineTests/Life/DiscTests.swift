import DiskImages
import Foundation
import Testing

@testable import Devices
@testable import Machine

/// Discs that come and go while the machine is there.
@Suite struct DiscTests {
  private final class Folder {
    let path = FileManager.default.temporaryDirectory.path + "/vmctl-discs-\(UUID().uuidString)"
    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }
    func disc(_ name: String) throws -> String {
      try Data(repeating: 1, count: 8192).write(to: URL(fileURLWithPath: path + "/" + name))
      return path + "/" + name
    }
  }

  private static let place = HardwareDescription.StorageSlot.Place(bus: .ide, port: 1, device: 0)

  @Test func aTrayThatTheGuestHasLockedStaysUnlessForced() throws {
    let folder = try Folder()
    let (first, second) = (try folder.disc("first"), try folder.disc("second"))
    let machine = try BareMetalMachine("walker32") {
      $0.storageControllers = [
        .init(name: "IDE", bus: .ide, attachments: [.init(port: 1, device: 0, kind: .dvddrive, medium: first)])
      ]
    }
    let vm = machine.vm
    try vm.lockMedia()
    vm.start()
    func medium() -> String? { vm.board.storageSlots.first?.medium?.path }
    let drive = try #require(vm.board.drive(at: Self.place))
    vm.lock.withLock { drive.core.state.isLocked = true }
    let disc = try RawImage(path: second, readOnly: true)
    #expect(throws: MachineError.trayLocked) { try vm.changeDisc(at: Self.place, to: disc, force: false) }
    #expect(medium() == first && !disc.isLocked)
    try vm.changeDisc(at: Self.place, to: disc, force: true)
    #expect(medium() == second && disc.isLocked)
    #expect(vm.lock.withLock { drive.core.state.unitAttention && !drive.core.state.isLocked })
    // What the machine has no more is free for a writer, and what it has is not.
    try RawImage(path: first).lock()
    #expect(throws: DiskImageError.self) { try RawImage(path: second).lock() }
    // A disc that somebody writes does not come in, and the old one stays.
    let writer = try RawImage(path: first)
    try writer.lock()
    #expect(throws: DiskImageError.self) {
      try vm.changeDisc(at: Self.place, to: try RawImage(path: first, readOnly: true), force: false)
    }
    #expect(medium() == second)
    try vm.changeDisc(at: Self.place, to: nil, force: false)
    #expect(medium() == nil && !disc.isLocked)
    #expect(throws: MachineError.noDiscDrive) {
      try vm.changeDisc(at: .init(bus: .ide, port: 0, device: 0), to: nil, force: true)
    }
    vm.powerOff()
  }
}
