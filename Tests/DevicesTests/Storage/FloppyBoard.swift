import DiskImages
import Foundation

@testable import Devices

/// The floppy controller with DMA controllers, memory and its interrupt line, driven as a BIOS would.
final class FloppyBoard {
  let board: TestBoard
  let dma: DMA8237
  let controller: FloppyController
  let line: InterruptLine
  let interrupts = Counter()
  final class Counter { var value = 0 }

  /// - Parameter drives: of A and B; nil in it: an empty drive.
  init(_ drives: [FaultyImage?], worker: any DiskWorker = InlineDiskWorker()) throws {
    board = try TestBoard()
    dma = DMA8237(ports: board.ports, memory: board.memory)
    let counter = interrupts
    line = InterruptLine { if $0 { counter.value += 1 } }
    let present = drives.map { FloppyController.Drive?.some(.init(image: $0)) }
    controller = FloppyController(
      drives: present + Array(repeating: nil, count: 2 - drives.count), ports: board.ports, dma: dma, line: line,
      worker: worker)
  }

  /// An image of this many bytes, each sector of which holds its own number.
  static func image(_ bytes: Int, readOnly: Bool = false) -> FaultyImage {
    FaultyImage((0..<bytes).map { sectorByte($0 / 512, $0 % 512) }, readOnly: readOnly)
  }

  static func sectorByte(_ sector: Int, _ index: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: index < 2 ? sector >> (index * 8) : sector &* 7 &+ index)
  }

  static func sector(_ number: Int) -> [UInt8] { (0..<512).map { sectorByte(number, $0) } }

  func out(_ port: UInt16, _ value: UInt8) { board.out(port, UInt32(value)) }
  func inb(_ port: UInt16) -> UInt8 { UInt8(truncatingIfNeeded: board.in(port)) }

  /// Out of reset, with the motors of both drives on, this drive selected, at a data rate; the four units are sensed.
  func enable(drive: UInt8 = 0, rate: UInt8 = 0) {
    out(0x3F2, 0)
    out(0x3F2, 0x3C | drive)
    out(0x3F7, rate)
    for _ in 0..<4 { _ = command([8]) }
  }

  /// Gives a command, and takes what it answers.
  @discardableResult
  func command(_ bytes: [UInt8]) -> [UInt8] {
    for byte in bytes { out(0x3F5, byte) }
    return result()
  }

  func result() -> [UInt8] {
    var bytes: [UInt8] = []
    while inb(0x3F4) & 0xE0 == 0xC0, bytes.count < 16 { bytes.append(inb(0x3F5)) }
    return bytes
  }

  /// Programs DMA channel 2 and opens it.
  /// - Parameter toMemory: nil: verify.
  func setDMA(_ address: UInt32, count: Int, toMemory: Bool?) {
    out(0x0A, 6)
    out(0x0C, 0)
    out(0x04, UInt8(truncatingIfNeeded: address))
    out(0x04, UInt8(truncatingIfNeeded: address >> 8))
    out(0x05, UInt8(truncatingIfNeeded: count - 1))
    out(0x05, UInt8(truncatingIfNeeded: (count - 1) >> 8))
    out(0x81, UInt8(address >> 16))
    out(0x0B, toMemory == nil ? 0x42 : toMemory == true ? 0x46 : 0x4A)
    out(0x0A, 2)
  }

  func guestBytes(_ address: UInt64, _ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    bytes.withUnsafeMutableBytes { board.memory.read(address, into: $0) }
    return bytes
  }

  func setGuestBytes(_ address: UInt64, _ bytes: [UInt8]) {
    bytes.withUnsafeBytes { board.memory.write(address, from: $0) }
  }

  /// READ DATA and its kin: command byte, then unit and head, C, H, R, N, EOT, gap, and DTL or what is in its place.
  func transfer(
    _ command: UInt8, drive: UInt8 = 0, c: UInt8, h: UInt8, r: UInt8, n: UInt8 = 2, eot: UInt8, last: UInt8 = 0xFF,
    head: UInt8? = nil
  ) -> [UInt8] {
    self.command([command, (head ?? h) << 2 | drive, c, h, r, n, eot, 0x1B, last])
  }
}
