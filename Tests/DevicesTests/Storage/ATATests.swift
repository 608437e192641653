import DiskImages
import Foundation
import Testing

@testable import Devices

@Suite struct ATATests {
  static func disk(_ sectors: Int) -> (FaultyImage, IDEDrive) {
    let image = FaultyImage(pattern(sectors * 512))
    return (image, IDEDrive(disk: image, serial: "VB001"))
  }

  func word(_ bytes: [UInt8], _ index: Int) -> Int { Int(bytes[index * 2]) | Int(bytes[index * 2 + 1]) << 8 }

  @Test func identifyTellsSizeModelAndAnIntegritySum() throws {
    let (_, drive) = Self.disk(4096)
    let board = try IDEBoard([drive])
    board.command28(0xEC, lba: 0, count: 0)
    #expect(board.primary.level)
    #expect(board.status == 0x58)
    #expect(!board.primary.level)
    let data = board.readData(512)
    #expect(word(data, 60) | word(data, 61) << 16 == 4096)
    #expect(word(data, 100) == 4096)
    #expect(word(data, 1) * word(data, 3) * word(data, 6) <= 4096)
    #expect(word(data, 49) & 0x300 == 0x300)
    let model = (27..<47).flatMap { [data[$0 * 2 + 1], data[$0 * 2]] }
    #expect(String(decoding: model, as: UTF8.self).hasPrefix("VMCTL HARDDISK"))
    #expect(data.reduce(0, &+) == 0)
    #expect(board.status == 0x50)
  }

  @Test func readingByPIOInterruptsForEachSector() throws {
    let (image, drive) = Self.disk(1024)
    let board = try IDEBoard([drive])
    board.command28(0x20, lba: 5, count: 3)
    for sector in 0..<3 {
      #expect(board.interrupts.value == sector + 1)
      #expect(board.status == 0x58)
      #expect(board.readData(512) == Array(image.bytes[(5 + sector) * 512..<(6 + sector) * 512]))
    }
    #expect(board.interrupts.value == 3)
    #expect(board.status == 0x50)
  }

  @Test(arguments: [UInt8(0x20), 0xC4]) func aCountOfZeroIs256(command: UInt8) throws {
    let (image, drive) = Self.disk(1024)
    let board = try IDEBoard([drive])
    board.command28(command, lba: 700, count: 0)
    var data: [UInt8] = []
    while board.status & 8 != 0 { data += board.readData(512) }
    #expect(data == Array(image.bytes[700 * 512..<956 * 512]))
    #expect(board.interrupts.value == (command == 0x20 ? 256 : 16))
  }

  @Test func chunksFollowEachOtherInLongReads() throws {
    let (image, drive) = Self.disk(1024)
    let board = try IDEBoard([drive])
    board.command48(0x24, lba: 10, count: 600)
    #expect(board.readData(600 * 512) == Array(image.bytes[10 * 512..<610 * 512]))
    #expect(board.status == 0x50)
  }

  @Test func wordsOfFourBytesMoveTheSameData() throws {
    let (image, drive) = Self.disk(16)
    let board = try IDEBoard([drive])
    board.command28(0x20, lba: 1, count: 1)
    var data: [UInt8] = []
    for _ in 0..<128 { withUnsafeBytes(of: board.ports.read(0x1F0, size: 4)) { data += $0 } }
    #expect(data == Array(image.bytes[512..<1024]))
    #expect(board.status == 0x50)
  }

  @Test(arguments: [UInt8(0x30), 0xC5]) func writingByPIOReachesTheMedium(command: UInt8) throws {
    let (image, drive) = Self.disk(1024)
    let board = try IDEBoard([drive])
    let data = pattern(20 * 512, seed: 99)
    board.command28(command, lba: 100, count: 20)
    #expect(board.status == 0x58)
    #expect(board.interrupts.value == 0)
    board.writeData(data)
    #expect(Array(image.bytes[100 * 512..<120 * 512]) == data)
    #expect(board.primary.level)
    #expect(board.status == 0x50)
  }

  @Test func chsAndLBAReachTheSameSector() throws {
    let (image, drive) = Self.disk(4096)
    let board = try IDEBoard([drive])
    // Cylinder 2, head 3, sector 4 of 16 heads and 63 sectors.
    let lba = (2 * 16 + 3) * 63 + 3
    board.command28(0x20, lba: 2 << 8 | 4, count: 1, device: 0xA3)
    #expect(board.readData(512) == Array(image.bytes[lba * 512..<(lba + 1) * 512]))
    board.command28(0x20, lba: 2 << 8 | 0, count: 1, device: 0xA3)
    #expect(board.status & 1 == 1)
    #expect(board.error == 0x10)
  }

  @Test func initializeParametersChangesTheTranslation() throws {
    let (image, drive) = Self.disk(4096)
    let board = try IDEBoard([drive])
    board.command28(0x91, lba: 0, count: 17, device: 0xA3)
    #expect(board.status == 0x50)
    board.command28(0x20, lba: 1 << 8 | 1, count: 1, device: 0xA0)
    #expect(board.readData(512) == Array(image.bytes[4 * 17 * 512..<(4 * 17 + 1) * 512]))
  }

  @Test func aHugeDiskIsReachedBy48BitAddresses() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("vmctl-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("huge.img").path
    try RawImage.createRaw(path: path, size: 3 << 40)
    let image = try RawImage(path: path)
    let board = try IDEBoard([IDEDrive(disk: image, serial: "1")])
    let lba: UInt64 = (3 << 40) / 512 - 2
    let data = pattern(1024, seed: 5)
    board.command48(0x34, lba: lba, count: 2)
    board.writeData(data)
    #expect(board.status == 0x50)
    board.command48(0xEA, lba: 0, count: 0)
    #expect(board.status == 0x50)
    board.command48(0x24, lba: lba, count: 2)
    #expect(board.readData(1024) == data)
    board.command28(0x27, lba: 0, count: 0)
    #expect(board.status == 0x50)
    var last = UInt64(board.inb(0x1F3)) | UInt64(board.inb(0x1F4)) << 8 | UInt64(board.inb(0x1F5)) << 16
    board.out(0x3F6, 0x80)
    last |= UInt64(board.inb(0x1F3)) << 24 | UInt64(board.inb(0x1F4)) << 32 | UInt64(board.inb(0x1F5)) << 40
    #expect(last == lba + 1)
  }

  @Test(arguments: [(UInt8(0x20), UInt32(1024), UInt8(1)), (0x20, 1020, 5), (0xC8, 0xFFF_FFFF, 1), (0x40, 1023, 2)])
  func beyondTheEndTheAddressIsNotFound(command: UInt8, lba: UInt32, count: UInt8) throws {
    let (_, drive) = Self.disk(1024)
    let board = try IDEBoard([drive])
    board.command28(command, lba: lba, count: count)
    #expect(board.primary.level)
    #expect(board.status == 0x51)
    #expect(board.error == 0x10)
  }

  @Test func aHostErrorIsAnUncorrectableSectorAndTheDriveGoesOn() throws {
    let (image, drive) = Self.disk(1024)
    image.badSectors = [300]
    let board = try IDEBoard([drive])
    board.command28(0x20, lba: 300, count: 1)
    #expect(board.status == 0x51)
    #expect(board.error == 0x40)
    #expect(Int(board.inb(0x1F3)) | Int(board.inb(0x1F4)) << 8 == 300)
    board.command28(0x20, lba: 301, count: 1)
    #expect(board.status == 0x58)
  }

  @Test func aReadOnlyDiskAbortsWrites() throws {
    let image = FaultyImage(pattern(64 * 512), readOnly: true)
    let board = try IDEBoard([IDEDrive(disk: image, serial: "1")])
    for command: UInt8 in [0x30, 0x34, 0xC5, 0xCA, 0x35] {
      board.command28(command, lba: 1, count: 1)
      #expect(board.status == 0x51)
      #expect(board.error == 4)
    }
    #expect(image.writes.isEmpty)
  }

  @Test(arguments: [UInt8(0x00), 0x08, 0xA0, 0xA1, 0xF5, 0xFF, 0x9A]) func whatADiskDoesNotKnowItAborts(command: UInt8)
    throws
  {
    let (_, drive) = Self.disk(64)
    let board = try IDEBoard([drive])
    board.command28(command, lba: 0, count: 0)
    #expect(board.status == 0x51)
    #expect(board.error == 4)
  }

  @Test(arguments: [UInt8(0x10), 0x70, 0x40, 0x95, 0xE0, 0xE1, 0xE2, 0xE3, 0xE6, 0xE7, 0xEA])
  func commandsWithoutDataFinishWithAnInterrupt(command: UInt8) throws {
    let (_, drive) = Self.disk(64)
    let board = try IDEBoard([drive])
    board.command28(command, lba: 0, count: 1)
    #expect(board.primary.level)
    #expect(board.status == 0x50)
  }

  @Test func powerModesAreRemembered() throws {
    let (_, drive) = Self.disk(64)
    let board = try IDEBoard([drive])
    board.command28(0xE0, lba: 0, count: 0)
    board.command28(0xE5, lba: 0, count: 0)
    #expect(board.inb(0x1F2) == 0)
    board.command28(0xE1, lba: 0, count: 0)
    board.command28(0xE5, lba: 0, count: 0)
    #expect(board.inb(0x1F2) == 0xFF)
  }

  @Test func smartSaysThatTheDriveIsHealthy() throws {
    let (_, drive) = Self.disk(64)
    let board = try IDEBoard([drive])
    board.out(0x1F1, 0xDA)
    board.command28(0xB0, lba: 0xC24F00, count: 0)
    #expect(board.status == 0x50)
    #expect([board.inb(0x1F4), board.inb(0x1F5)] == [0x4F, 0xC2])
    board.out(0x1F1, 0xD0)
    board.command28(0xB0, lba: 0xC24F00, count: 1)
    #expect(board.readData(512).reduce(0, &+) == 0)
    board.command28(0xB0, lba: 0, count: 1)
    #expect(board.status == 0x51)
  }

  @Test func aSoftwareResetLeavesTheSignature() throws {
    let (_, disk) = Self.disk(64)
    let board = try IDEBoard([disk, IDEDrive(cdrom: nil, serial: "2")])
    board.command28(0x20, lba: 0, count: 2)
    board.out(0x3F6, 4)
    #expect(board.status == 0x80)
    board.out(0x3F6, 0)
    #expect(board.status == 0x50)
    #expect([board.inb(0x1F2), board.inb(0x1F3), board.inb(0x1F4), board.inb(0x1F5)] == [1, 1, 0, 0])
    board.select(0xB0)
    #expect([board.inb(0x1F4), board.inb(0x1F5)] == [0x14, 0xEB])
    #expect(board.status == 0)
  }

  @Test func diagnosticsReportBothDrives() throws {
    let (_, disk) = Self.disk(64)
    let board = try IDEBoard([disk])
    board.command28(0x90, lba: 0, count: 0)
    #expect(board.primary.level)
    #expect(board.error == 1)
  }

  @Test func anAbsentSlaveReadsAsStatusZero() throws {
    let (_, disk) = Self.disk(64)
    let board = try IDEBoard([disk])
    board.select(0xB0)
    #expect(board.status == 0)
    board.out(0x1F7, 0xEC)
    #expect(board.status == 0)
    board.select(0xA0)
    #expect(board.status == 0x50)
    #expect(board.inb(0x177) == 0)
    #expect(board.inb(0x172) == 0xFF)
  }

  @Test func nIENKeepsTheLineQuiet() throws {
    let (_, disk) = Self.disk(64)
    let board = try IDEBoard([disk])
    board.out(0x3F6, 2)
    board.command28(0x20, lba: 0, count: 1)
    #expect(!board.primary.level)
    #expect(board.inb(0x3F6) == 0x58)
    board.out(0x3F6, 0)
    #expect(board.primary.level)
    _ = board.status
    #expect(!board.primary.level)
  }

  @Test func randomPortWritesNeverTrap() throws {
    let (_, disk) = Self.disk(64)
    let board = try IDEBoard([disk, IDEDrive(cdrom: FaultyImage(pattern(1 << 16), readOnly: true), serial: "2")])
    board.setTable([(0x2000, 0)])
    var random = SplitMix64(seed: 7)
    for _ in 0..<300_000 {
      let value = random.next()
      let size = [1, 2, 4][Int(value >> 8 & 0xFF) % 3]
      let choices: [UInt16] = [0x1F0, 0x1F1, 0x1F2, 0x1F3, 0x1F4, 0x1F5, 0x1F6, 0x1F7, 0x3F6, 0xC000, 0xC002]
      let port = choices[Int(value & 0xFF) % choices.count]
      if value >> 16 & 3 == 0 {
        _ = board.ports.read(port, size: size)
      } else {
        board.ports.write(port, size: size, value: UInt32(truncatingIfNeeded: value >> 32))
      }
    }
  }
}
