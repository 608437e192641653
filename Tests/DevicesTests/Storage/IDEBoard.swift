import DiskImages
import Foundation
import GuestMemory
import SavedState

@testable import Devices

/// A disk worker whose work is done when the test says so.
final class HeldDiskWorker: DiskWorker {
  private var jobs: [(work: @Sendable () -> Void, completion: () -> Void)] = []
  var count: Int { jobs.count }

  func submit(_ work: @escaping @Sendable () -> Void, completion: @escaping () -> Void) {
    jobs.append((work, completion))
  }

  func finishOne() {
    guard !jobs.isEmpty else { return }
    let job = jobs.removeFirst()
    job.work()
    job.completion()
  }

  func drain() { while !jobs.isEmpty { finishOne() } }
}

/// An image in memory whose sectors can be made to fail.
final class FaultyImage: DiskImage, @unchecked Sendable {
  let path = "faulty"
  let size: UInt64
  let isReadOnly: Bool
  private(set) var hold = MediumHold.none
  var bytes: [UInt8]
  var badSectors: Set<UInt64> = []
  var writes: [(offset: UInt64, count: Int)] = []
  var flushes = 0

  init(_ bytes: [UInt8], readOnly: Bool = false) {
    self.bytes = bytes
    size = UInt64(bytes.count)
    isReadOnly = readOnly
  }

  func setMark(_ mark: UInt64?) {}
  var recentlyWritten: [UInt64] { [] }
  func noteWritten(blocks: [UInt64]) {}

  var identity: MediumIdentity { MediumIdentity(path: path, size: size, device: 0, inode: 0) }

  private func check(_ offset: UInt64, _ count: Int) throws(DiskImageError) {
    for sector in offset / 512..<(offset + UInt64(count)) / 512 where badSectors.contains(sector) {
      throw .host(path: path, operation: "read", reason: "bad sector")
    }
  }

  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    try check(offset, buffer.count)
    buffer.copyBytes(from: bytes[Int(offset)..<Int(offset) + buffer.count])
  }

  func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError) {
    try check(offset, buffer.count)
    writes.append((offset, buffer.count))
    bytes.replaceSubrange(Int(offset)..<Int(offset) + buffer.count, with: buffer)
  }

  func flush() throws(DiskImageError) { flushes += 1 }
  func lock() throws(DiskImageError) { hold = .exclusive }
  func share() throws(DiskImageError) { hold = .shared }
  func unlock() { hold = .none }
}

/// The IDE controller with ports, memory and interrupt lines, driven as a BIOS would.
final class IDEBoard {
  let ports = PortBus()
  let memory: PhysicalMemory
  let ide: PIIX3IDE
  let primary: InterruptLine
  let secondary: InterruptLine
  var interrupts = Counter()
  static let busMaster: UInt16 = 0xC000

  final class Counter { var value = 0 }

  init(_ drives: [IDEDrive?], worker: any DiskWorker = InlineDiskWorker()) throws {
    memory = try PhysicalMemory(size: 4 << 20)
    let counter = interrupts
    primary = InterruptLine { if $0 { counter.value += 1 } }
    secondary = InterruptLine { if $0 { counter.value += 1 } }
    ide = PIIX3IDE(
      drives: drives + Array(repeating: nil, count: 4 - drives.count), lines: (primary, secondary), memory: memory,
      ports: ports, worker: worker)
    mapBusMaster()
  }

  func mapBusMaster() {
    ide.writeConfiguration(0x20, size: 4, value: UInt32(Self.busMaster))
    ide.writeConfiguration(4, size: 2, value: 5)
  }

  func out(_ port: UInt16, _ value: UInt8) { ports.write(port, size: 1, value: UInt32(value)) }
  func inb(_ port: UInt16) -> UInt8 { UInt8(truncatingIfNeeded: ports.read(port, size: 1)) }

  var status: UInt8 { inb(0x1F7) }
  var error: UInt8 { inb(0x1F1) }

  func select(_ device: UInt8) { out(0x1F6, device) }

  /// A 28-bit command to device 0.
  func command28(_ command: UInt8, lba: UInt32, count: UInt8, device: UInt8 = 0xE0) {
    out(0x1F6, device | UInt8(lba >> 24 & 0xF))
    out(0x1F2, count)
    out(0x1F3, UInt8(truncatingIfNeeded: lba))
    out(0x1F4, UInt8(truncatingIfNeeded: lba >> 8))
    out(0x1F5, UInt8(truncatingIfNeeded: lba >> 16))
    out(0x1F7, command)
  }

  func command48(_ command: UInt8, lba: UInt64, count: UInt16) {
    out(0x1F6, 0xE0)
    out(0x1F2, UInt8(count >> 8))
    for index: UInt64 in 0..<3 { out(0x1F3 + UInt16(index), UInt8(truncatingIfNeeded: lba >> (24 + 8 * index))) }
    out(0x1F2, UInt8(truncatingIfNeeded: count))
    for index: UInt64 in 0..<3 { out(0x1F3 + UInt16(index), UInt8(truncatingIfNeeded: lba >> (8 * index))) }
    out(0x1F7, command)
  }

  func readData(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
      let word = ports.read(0x1F0, size: 2)
      bytes.append(UInt8(truncatingIfNeeded: word))
      bytes.append(UInt8(truncatingIfNeeded: word >> 8))
    }
    return bytes
  }

  func writeData(_ bytes: [UInt8]) {
    for index in stride(from: 0, to: bytes.count, by: 2) {
      ports.write(0x1F0, size: 2, value: UInt32(bytes[index]) | UInt32(bytes[index + 1]) << 8)
    }
  }

  /// Writes a table of regions to 0x1000 and gives it to the primary channel's bus master.
  func setTable(_ regions: [(address: UInt32, count: Int)]) {
    for (index, region) in regions.enumerated() {
      let last: UInt64 = index == regions.count - 1 ? 1 << 63 : 0
      memory.write(
        0x1000 + UInt64(index) * 8, UInt64(region.address) | UInt64(region.count & 0xFFFF) << 32 | last)
    }
    ports.write(Self.busMaster + 4, size: 4, value: 0x1000)
  }

  func start(toMemory: Bool) {
    out(Self.busMaster + 2, 0x06)
    out(Self.busMaster, toMemory ? 8 : 0)
    out(Self.busMaster, toMemory ? 9 : 1)
  }

  func stop() { out(Self.busMaster, 0) }
  var busMasterStatus: UInt8 { inb(Self.busMaster + 2) }

  func guestBytes(_ address: UInt64, _ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    bytes.withUnsafeMutableBytes { memory.read(address, into: $0) }
    return bytes
  }

  func setGuestBytes(_ address: UInt64, _ bytes: [UInt8]) {
    bytes.withUnsafeBytes { memory.write(address, from: $0) }
  }

  /// Sends a packet to device 0 by PIO and collects the reply. - Returns: nil on a check condition.
  func packet(_ bytes: [UInt8], limit: Int = 0xFFFE) -> [UInt8]? {
    out(0x1F6, 0xA0)
    out(0x1F1, 0)
    out(0x1F4, UInt8(truncatingIfNeeded: limit))
    out(0x1F5, UInt8(truncatingIfNeeded: limit >> 8))
    out(0x1F7, 0xA0)
    guard inb(0x1F2) == 1 else { return nil }
    writeData(bytes + Array(repeating: 0, count: 12 - bytes.count))
    var reply: [UInt8] = []
    while status & 8 != 0 {
      guard inb(0x1F2) == 2 else { return nil }
      let count = Int(inb(0x1F4)) | Int(inb(0x1F5)) << 8
      guard count > 0, count <= limit else { return nil }
      reply += readData(count).prefix(count)
    }
    guard inb(0x1F2) == 3 else { return nil }
    return status & 1 == 0 ? reply : nil
  }

  /// Sense key, code and qualifier.
  func sense() -> [UInt8] {
    guard let reply = packet([3, 0, 0, 0, 18]), reply.count == 18 else { return [] }
    return [reply[2], reply[12], reply[13]]
  }
}

func pattern(_ count: Int, seed: Int = 1) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31 &+ seed) ^ $0 >> 9) }
}
