import DiskImages
import Foundation
import Testing

@testable import Devices
@testable import Machine

/// Floppy drives on the board, and disks that come and go while the machine is there.
@Suite struct FloppyMachineTests {
  private final class Folder {
    let path = FileManager.default.temporaryDirectory.path + "/vmctl-floppies-\(UUID().uuidString)"
    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }
    func disk(_ name: String, _ bytes: Int) throws -> String {
      try Data(count: bytes).write(to: URL(fileURLWithPath: path + "/" + name))
      return path + "/" + name
    }
  }

  private static func place(_ device: Int) -> HardwareDescription.StorageSlot.Place {
    .init(bus: .floppy, port: 0, device: device)
  }

  private func machine(_ media: [String?]) throws -> BareMetalMachine {
    try BareMetalMachine("walker32") {
      $0.storageControllers = [
        .init(
          name: "Floppy", bus: .floppy,
          attachments: media.enumerated().map { .init(port: 0, device: $0, kind: .fdd, medium: $1) })
      ]
    }
  }

  /// A byte of the clock chip's memory.
  private func cmos(_ machine: BareMetalMachine, _ index: UInt32) -> UInt32 {
    machine.vm.lock.withLock {
      machine.vm.board.ports.write(0x70, size: 1, value: index)
      return machine.vm.board.ports.read(0x71, size: 1)
    }
  }

  @Test func theFirmwareIsToldOfTheDrives() throws {
    let folder = try Folder()
    let large = try folder.disk("large", 1_228_800)
    let ed = try folder.disk("ed", 2_949_120)
    for (media, types, equipment) in [
      ([String?](), 0x00, 0x06), ([nil], 0x40, 0x07), ([large], 0x20, 0x07), ([nil, ed], 0x45, 0x47),
    ] as [([String?], UInt32, UInt32)] {
      let machine = try machine(media)
      #expect(cmos(machine, 0x10) == types && cmos(machine, 0x14) == equipment)
    }
    var configuration = MachineConfiguration()
    configuration.storageControllers = [
      .init(name: "F", bus: .floppy, attachments: [.init(port: 0, device: 1, kind: .fdd, medium: nil)])
    ]
    #expect(BootItems.paths(of: .floppy, configuration) == ["/pci@i0cf8/isa@1/fdc@03f0/floppy@1"])
    // Without a controller there is nothing at its ports.
    let none = try BareMetalMachine("walker32")
    #expect(none.vm.lock.withLock { none.vm.board.ports.read(0x3F4, size: 1) } == 0xFF)
    #expect(cmos(none, 0x10) == 0 && cmos(none, 0x14) == 0x06)
  }

  @Test func anImageOfAnotherSizeIsRefusedWithTheSizesThatThereAre() throws {
    let folder = try Folder()
    let odd = try folder.disk("odd", 1_474_560 + 512)
    #expect {
      _ = try machine([odd])
    } throws: { error in
      "\(error)".contains("1475072 bytes") && "\(error)".contains("1.2 MB, 1.44 MB")
    }
    // A hard disk does not go into a floppy drive, nor does a floppy drive go on IDE.
    var configuration = MachineConfiguration()
    configuration.storageControllers = [
      .init(name: "IDE", bus: .ide, attachments: [.init(port: 0, device: 0, kind: .fdd, medium: nil)])
    ]
    #expect(throws: MachineError.self) { try VirtualMachine(configuration) }
  }

  @Test func disksAreChangedWhileItRunsAndWhatIsWrittenIsLocked() throws {
    let folder = try Folder()
    let (first, second) = (try folder.disk("first", 1_474_560), try folder.disk("second", 737_280))
    let machine = try machine([first])
    let vm = machine.vm
    try vm.lockMedia()
    vm.start()
    func medium() -> String? { vm.board.storageSlots.first?.medium?.path }
    #expect(throws: DiskImageError.self) { try RawImage(path: first).lock() }
    let disk = try RawImage(path: second)
    try vm.changeDisc(at: Self.place(0), to: disk, force: false)
    #expect(medium() == second && disk.hold == .exclusive)
    #expect(vm.lock.withLock { vm.board.floppy?.core.state.drives[0]?.isChanged } == true)
    // What it writes waits where output is held, as for other disks.
    #expect(vm.board.media.first?.image is WriteGate)
    try RawImage(path: first).lock()
    for size in [368_640, 2_949_120, 1000] {
      let other = try RawImage(path: try folder.disk("other\(size)", size))
      #expect {
        try vm.changeDisc(at: Self.place(0), to: other, force: true)
      } throws: { error in
        "\(error)".contains("720 KB, 1.44 MB and 1.68 MB")
      }
    }
    #expect(medium() == second)
    // A disk that somebody else has stays where it is.
    let taken = try RawImage(path: first)
    try taken.lock()
    #expect(throws: DiskImageError.self) {
      try vm.changeDisc(at: Self.place(0), to: try RawImage(path: first), force: false)
    }
    taken.unlock()
    try vm.changeDisc(at: Self.place(0), to: nil, force: false)
    #expect(medium() == nil && !disk.isLocked)
    #expect(throws: MachineError.noDiscDrive) { try vm.changeDisc(at: Self.place(1), to: nil, force: false) }
    vm.powerOff()
  }

  @Test func theControllersStateGoesWithTheMachines() throws {
    let folder = try Folder()
    let (first, second) = (try folder.disk("first", 2_949_120), try folder.disk("second", 737_280))
    let machine = try machine([first, nil])
    let vm = machine.vm
    vm.lock.withLock {
      vm.board.ports.write(0x3F2, size: 1, value: 0x1C)
      for byte: UInt32 in [0x0F, 0, 33] { vm.board.ports.write(0x3F5, size: 1, value: byte) }
    }
    try vm.changeDisc(at: Self.place(0), to: try RawImage(path: second), force: false)
    let saved = try vm.saveState()
    #expect(saved.contains { $0.name == "fdc" && $0.kind == "i82077" })
    let other = try self.machine([second, nil]).vm
    try other.loadState(saved)
    #expect(try other.saveState() == saved)
    #expect(other.board.floppy?.model(of: 0) == .mb2_88)
    #expect(other.board.floppy?.core.state.cylinders[0] == 33)
    // Neither without the controller, nor with a disk that does not go into the drive.
    #expect(throws: (any Error).self) { try BareMetalMachine("walker32").vm.loadState(saved) }
    let large = try folder.disk("large", 1_228_800)
    #expect(throws: (any Error).self) { try self.machine([large, nil]).vm.loadState(saved) }
  }
}
