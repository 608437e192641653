import DiskImages
import Foundation
import Testing

@testable import Devices

/// Commands of the floppy controller that move data.
@Suite struct FloppyTransferTests {
  private static let mb144 = 1_474_560

  private func board() throws -> (FloppyBoard, FaultyImage) {
    let image = FloppyBoard.image(Self.mb144)
    let board = try FloppyBoard([image])
    board.enable()
    return (board, image)
  }

  private func sectors(_ numbers: ClosedRange<Int>) -> [UInt8] { numbers.flatMap { FloppyBoard.sector($0) } }
  /// The number of a sector of a disk of 1.44 MB.
  private func number(_ c: Int, _ h: Int, _ r: Int) -> Int { (c * 2 + h) * 18 + r - 1 }

  @Test func aReadEndsByTerminalCountAndTellsWhatFollows() throws {
    let (board, _) = try board()
    board.setDMA(0x1_F000, count: 3 * 512, toMemory: true)
    let before = board.interrupts.value
    #expect(board.transfer(0x46, c: 2, h: 1, r: 4, eot: 18) == [0x24, 0, 0, 2, 1, 7, 2])
    #expect(board.interrupts.value == before + 1 && !board.line.level)
    #expect(board.guestBytes(0x1_F000, 1536) == sectors(number(2, 1, 4)...number(2, 1, 6)))
    #expect(board.inb(8) & 4 != 0, "TC of channel 2")
    // Again without a seek, in the middle of a sector.
    board.setDMA(0x3000, count: 700, toMemory: true)
    #expect(board.transfer(0x46, c: 2, h: 1, r: 18, eot: 18)[0] == 0x44, "behind sector 18 there is no more")
    board.setDMA(0x3000, count: 700, toMemory: true)
    #expect(board.transfer(0x46, c: 2, h: 1, r: 1, eot: 18) == [4, 0, 0, 2, 1, 3, 2])
    #expect(board.guestBytes(0x3000, 700) == Array(sectors(number(2, 1, 1)...number(2, 1, 2)).prefix(700)))
    #expect(board.guestBytes(0x3000 + 700, 4) == [0, 0, 0, 0])
  }

  /// Table 6-1: the result after the last sector.
  @Test(
    "after the last sector of a track C, H and R are those of the next",
    arguments: [
      (UInt8(0x46), UInt8(0), [UInt8(6), 0, 1]), (0x46, 1, [6, 1, 1]), (0xC6, 0, [5, 1, 1]), (0xC6, 1, [6, 0, 1]),
    ])
  func resultTable(_ command: UInt8, _ head: UInt8, _ expected: [UInt8]) throws {
    let (board, _) = try board()
    board.setDMA(0x1000, count: 512, toMemory: true)
    let result = board.transfer(command, c: 5, h: head, r: 18, eot: 18)
    #expect(result[0] & 0xC0 == 0)
    #expect(Array(result[3...5]) == expected)
  }

  @Test func multiTrackGoesOnWithTheOtherHead() throws {
    let (board, _) = try board()
    board.setDMA(0x4000, count: 36 * 512, toMemory: true)
    #expect(board.transfer(0xE6, c: 3, h: 0, r: 1, eot: 18) == [0x24, 0, 0, 4, 0, 1, 2])
    #expect(board.guestBytes(0x4000, 36 * 512) == sectors(number(3, 0, 1)...number(3, 1, 18)))
    // More is asked for than the cylinder has.
    board.setDMA(0x4000, count: 37 * 512, toMemory: true)
    #expect(board.transfer(0xE6, c: 3, h: 0, r: 1, eot: 18) == [0x44, 0x80, 0, 4, 0, 1, 2])
    board.setDMA(0x4000, count: 19 * 512, toMemory: true)
    #expect(board.transfer(0x66, c: 3, h: 0, r: 1, eot: 18) == [0x40, 0x80, 0, 4, 0, 1, 2])
  }

  @Test func sectorsThatAreNotThereAreToldApart() throws {
    let (board, _) = try board()
    board.setDMA(0x1000, count: 512, toMemory: true)
    func status(_ c: UInt8, _ h: UInt8, _ r: UInt8, n: UInt8 = 2, head: UInt8? = nil, command: UInt8 = 0x46) -> [UInt8]
    {
      Array(board.transfer(command, c: c, h: h, r: r, n: n, eot: 18, head: head)[0...2]).map { $0 & ~0x24 }
    }
    func ended(_ c: UInt8, _ h: UInt8, _ r: UInt8, n: UInt8 = 2, head: UInt8? = nil) -> [UInt8] {
      board.transfer(0x46, c: c, h: h, r: r, n: n, eot: 18, head: head)
    }
    #expect(ended(0, 0, 19) == [0x40, 4, 0, 0, 0, 19, 2])
    #expect(ended(0, 0, 0)[1] == 4)
    #expect(ended(0, 0, 1, n: 3)[1] == 4)
    #expect(ended(0, 1, 1, head: 0)[1] == 4, "the address mark has the other head")
    #expect(status(80, 0, 1) == [0x40, 1, 0], "no such track")
    #expect(status(0, 0, 1, command: 0x06) == [0x40, 1, 0], "FM")
    // Without implied seeks the track must be the right one.
    board.command([0x13, 0, 0, 0])
    board.command([7, 0])
    board.command([8])
    #expect(ended(7, 0, 1) == [0x40, 4, 0x10, 7, 0, 1, 2])
    board.command([0x0F, 0, 7])
    board.command([8])
    #expect(ended(7, 0, 1) == [0, 0, 0, 7, 0, 2, 2])
    board.out(0x3F7, 2)
    #expect(ended(7, 0, 1)[1] == 1, "the rate")
  }

  @Test func emptyAndAbsentDrivesAnswerAtOnce() throws {
    let board = try FloppyBoard([nil])
    board.enable()
    board.setDMA(0x1000, count: 512, toMemory: true)
    for command: UInt8 in [0x46, 0x45, 0x42, 0x56, 0x51] {
      #expect(board.transfer(command, c: 0, h: 0, r: 1, eot: 18)[0...1] == [0x40, 1])
      #expect(board.transfer(command, drive: 3, c: 0, h: 0, r: 1, eot: 18)[0...1] == [0x43, 1])
    }
    #expect(board.command([0x4D, 0, 2, 18, 0x6C, 0xF6])[0...1] == [0x40, 1])
  }

  @Test func aWriteIsOnStableStorageBeforeItIsDone() throws {
    let (board, image) = try board()
    let data = pattern(1024)
    board.setGuestBytes(0x5000, data)
    board.setDMA(0x5000, count: 1024, toMemory: false)
    #expect(board.transfer(0xC5, c: 10, h: 0, r: 17, eot: 18) == [0x20, 0, 0, 10, 1, 1, 2])
    let first = number(10, 0, 17) * 512
    #expect(Array(image.bytes[first..<first + 1024]) == data)
    #expect(image.writes.map(\.offset) == [UInt64(first), UInt64(first + 512)])
    #expect(image.flushes == 1)
    // Cut short by TC, the rest of a sector is zeros.
    board.setDMA(0x5000, count: 100, toMemory: false)
    #expect(board.transfer(0x45, c: 10, h: 0, r: 1, eot: 18)[0...1] == [0, 0])
    let second = number(10, 0, 1) * 512
    #expect(Array(image.bytes[second..<second + 512]) == Array(data.prefix(100)) + [UInt8](repeating: 0, count: 412))
    // Deleted data are written as data.
    board.setDMA(0x5000, count: 512, toMemory: false)
    #expect(board.transfer(0x49, c: 10, h: 0, r: 2, eot: 18)[0...1] == [0, 0])
    #expect(image.flushes == 3)
  }

  @Test func aProtectedDiskIsNotWritten() throws {
    let image = FloppyBoard.image(Self.mb144, readOnly: true)
    let board = try FloppyBoard([image])
    board.enable()
    board.setDMA(0x5000, count: 512, toMemory: false)
    #expect(board.transfer(0x45, c: 0, h: 0, r: 1, eot: 18) == [0x40, 2, 0, 0, 0, 1, 2])
    #expect(board.command([0x4D, 0, 2, 18, 0x6C, 0xF6])[0...1] == [0x40, 2])
    #expect(image.writes.isEmpty)
  }

  @Test func theHostsFailuresAreTheGuestsDataErrors() throws {
    let (board, image) = try board()
    image.badSectors = [UInt64(number(1, 0, 3))]
    board.setDMA(0x1000, count: 5 * 512, toMemory: true)
    #expect(board.transfer(0x46, c: 1, h: 0, r: 1, eot: 18) == [0x60, 0x20, 0x20, 1, 0, 3, 2])
    board.setDMA(0x1000, count: 5 * 512, toMemory: false)
    #expect(board.transfer(0x45, c: 1, h: 0, r: 2, eot: 18) == [0x40, 0x20, 0, 1, 0, 3, 2])
    #expect(image.flushes == 1, "the sector before it counts")
  }

  @Test func formatFillsTheSectorsThatItNames() throws {
    let (board, image) = try board()
    func ids(_ c: UInt8, _ h: UInt8, _ order: [UInt8], n: UInt8 = 2) -> [UInt8] { order.flatMap { [c, h, $0, n] } }
    // Interleaved, after an implied seek to the track of the address marks.
    let order: [UInt8] = (1...18).map { UInt8(($0 * 5) % 19) }
    #expect(Set(order).count == 18)
    board.setGuestBytes(0x6000, ids(12, 1, order))
    board.setDMA(0x6000, count: 72, toMemory: false)
    #expect(board.command([0x4D, 4, 2, 18, 0x6C, 0xF6])[0...2] == [0x24, 0, 0])
    let first = number(12, 1, 1) * 512
    #expect(image.bytes[first..<first + 18 * 512].allSatisfy { $0 == 0xF6 })
    #expect(Array(image.bytes[first - 512..<first]) == FloppyBoard.sector(number(12, 0, 18)))
    #expect(Array(image.bytes[first + 9216..<first + 9728]) == FloppyBoard.sector(number(13, 0, 1)))
    #expect(image.flushes == 1)
    // What the image has no place for fails: sectors of 1024 bytes, a 19th, another rate.
    board.setGuestBytes(0x6000, ids(12, 1, [1, 2], n: 3))
    board.setDMA(0x6000, count: 8, toMemory: false)
    #expect(board.command([0x4D, 4, 3, 2, 0x6C, 0])[0...1] == [0x44, 4])
    board.setGuestBytes(0x6000, ids(12, 1, [19]))
    board.setDMA(0x6000, count: 4, toMemory: false)
    #expect(board.command([0x4D, 4, 2, 1, 0x6C, 0])[0...1] == [0x44, 4])
    board.out(0x3F7, 2)
    #expect(board.command([0x4D, 4, 2, 9, 0x6C, 0])[0...1] == [0x44, 1])
    // A driver that seeks for itself formats the track where the head is, and no other.
    board.out(0x3F7, 0)
    board.command([0x13, 0, 0, 0])
    board.setGuestBytes(0x6000, ids(13, 1, [1]))
    board.setDMA(0x6000, count: 4, toMemory: false)
    #expect(board.command([0x4D, 4, 2, 1, 0x6C, 0])[1...2] == [4, 0x10])
  }

  @Test func readTrackGoesByPlaceAndTellsOfOtherAddressMarks() throws {
    let (board, _) = try board()
    board.setDMA(0x7000, count: 18 * 512, toMemory: true)
    #expect(board.transfer(0x42, c: 4, h: 0, r: 1, eot: 18)[0...2] == [0x20, 0, 0])
    #expect(board.guestBytes(0x7000, 18 * 512) == sectors(number(4, 0, 1)...number(4, 0, 18)))
    board.setDMA(0x7000, count: 4 * 512, toMemory: true)
    #expect(board.transfer(0x42, c: 4, h: 0, r: 7, eot: 18)[0...2] == [0, 4, 0], "read from sector 1 on all the same")
    #expect(board.guestBytes(0x7000, 4 * 512) == sectors(number(4, 0, 1)...number(4, 0, 4)))
    board.setDMA(0x7000, count: 4 * 512, toMemory: true)
    #expect(board.transfer(0x42, c: 4, h: 0, r: 1, eot: 3)[0...2] == [0x40, 0x80, 0])
  }

  @Test func verifyNeedsNoDMA() throws {
    let (board, image) = try board()
    #expect(board.transfer(0x56, c: 0, h: 0, r: 1, eot: 18)[0...2] == [0, 0, 0])
    // With EC so many sectors.
    board.out(0x3F5, 0xD6)
    for byte: UInt8 in [0x80, 0, 0, 5, 2, 18, 0x1B, 20] { board.out(0x3F5, byte) }
    #expect(board.result() == [4, 0, 0, 0, 1, 7, 2])
    image.badSectors = [3]
    #expect(board.transfer(0x56, c: 0, h: 0, r: 1, eot: 18) == [0x40, 0x20, 0x20, 0, 0, 4, 2])
    // EOT beyond the track.
    image.badSectors = []
    #expect(board.transfer(0x56, c: 0, h: 0, r: 1, eot: 20)[0...1] == [0x40, 4])
  }

  @Test func deletedDataAreNowhere() throws {
    let (board, _) = try board()
    board.setDMA(0x1000, count: 1024, toMemory: true)
    #expect(
      board.transfer(0x4C, c: 0, h: 0, r: 5, eot: 18) == [0, 0, 0x40, 0, 0, 5, 2], "one sector, with its mark told")
    #expect(board.guestBytes(0x1000, 512) == FloppyBoard.sector(4))
    #expect(board.transfer(0x6C, c: 0, h: 0, r: 5, eot: 18) == [0x40, 0x80, 0, 1, 0, 1, 2], "all are skipped")
  }

  @Test(
    "scans compare sectors with memory",
    arguments: [
      // command, what is added to a byte of the second sector, ST2, R of the result
      (UInt8(0x51), 0, UInt8(8), UInt8(6)), (0x51, 1, 4, 1), (0x59, 0, 8, 6), (0x59, 1, 0, 6), (0x59, -1, 4, 1),
      (0x5D, 0, 8, 6), (0x5D, -1, 0, 6), (0x5D, 1, 4, 1),
    ])
  func scans(_ command: UInt8, _ change: Int, _ st2: UInt8, _ r: UInt8) throws {
    let (board, image) = try board()
    // Sector 5 is unlike what is looked for in both directions; 6 has it, changed as said.
    let wanted = [UInt8](repeating: 0x55, count: 512)
    image.bytes.replaceSubrange(4 * 512..<5 * 512, with: [0x10] + [UInt8](repeating: 0x90, count: 511))
    image.bytes.replaceSubrange(5 * 512..<6 * 512, with: [0xFF] + wanted.dropFirst())
    image.bytes[5 * 512 + 100] = UInt8(0x55 - change)
    board.setGuestBytes(0x8000, wanted + wanted + wanted)
    board.setDMA(0x8000, count: 3 * 512, toMemory: false)
    let result = board.transfer(command, c: 0, h: 0, r: 5, eot: 6, last: 1)
    #expect(result[2] == st2)
    #expect(result[0] & 0xC0 == 0)
    #expect(result[5] == r)
  }

  @Test func withoutDMAEachByteIsTheCPUs() throws {
    let (board, image) = try board()
    board.command([3, 0xAF, 3])
    let command: [UInt8] = [0x46, 0, 0, 0, 17, 2, 18, 0x1B, 0xFF]
    for byte in command { board.out(0x3F5, byte) }
    #expect(board.line.level, "the first sector is there")
    #expect(board.inb(0x3F4) == 0xF0)
    var data: [UInt8] = []
    while board.inb(0x3F4) & 0x20 != 0 {
      data.append(board.inb(0x3F5))
      if data.count == 1 { #expect(!board.line.level) }
    }
    #expect(data == sectors(16...17))
    #expect(board.line.level)
    // There is no TC.
    #expect(board.result() == [0x40, 0x80, 0, 1, 0, 1, 2])
    for byte: UInt8 in [0x45, 0, 1, 0, 1, 2, 1, 0x1B, 0xFF] { board.out(0x3F5, byte) }
    #expect(board.inb(0x3F4) == 0xB0)
    for byte in pattern(512) { board.out(0x3F5, byte) }
    #expect(board.result()[1] == 0x80)
    #expect(Array(image.bytes[36 * 512..<37 * 512]) == pattern(512))
  }

  @Test func theChannelMayBeOpenedAfterTheCommand() throws {
    let (board, _) = try board()
    board.setDMA(0x1000, count: 512, toMemory: true)
    board.out(0x0A, 6)
    #expect(board.transfer(0x46, c: 0, h: 0, r: 9, eot: 18) == [])
    #expect(board.inb(0x3F4) == 0x10)
    board.out(0x0A, 2)
    #expect(board.result() == [0, 0, 0, 0, 0, 10, 2])
    #expect(board.guestBytes(0x1000, 512) == FloppyBoard.sector(8))
    // A verify transfer of the DMA controller moves nothing to memory.
    board.setDMA(0x1000, count: 512, toMemory: nil)
    #expect(board.transfer(0x46, c: 0, h: 0, r: 1, eot: 18)[0] == 0)
    #expect(board.guestBytes(0x1000, 512) == FloppyBoard.sector(8))
  }

  @Test func aResetDropsWhatIsUnderWay() throws {
    let image = FloppyBoard.image(Self.mb144)
    let worker = HeldDiskWorker()
    let board = try FloppyBoard([image], worker: worker)
    board.enable()
    board.setGuestBytes(0x5000, pattern(1024))
    board.setDMA(0x5000, count: 1024, toMemory: false)
    #expect(board.transfer(0x45, c: 0, h: 0, r: 1, eot: 18) == [])
    #expect(worker.count == 1)
    board.out(0x3F2, 8)
    #expect(worker.count == 0 && image.writes.count == 1, "what was with the host is done, and no more")
    #expect(board.inb(0x3F4) == 0 && !board.line.level)
    board.out(0x3F2, 0x0C)
    #expect(board.command([8]) == [0xC0, 0])
    #expect(board.inb(0x3F4) == 0x80)
  }

  /// A write is cut by a pause wherever it can be, and goes on on another board.
  @Test func aWriteGoesOnElsewhereAndNothingIsWrittenTwice() throws {
    for step in 0..<6 {
      let image = FloppyBoard.image(Self.mb144)
      let worker = HeldDiskWorker()
      let first = try FloppyBoard([image], worker: worker)
      first.enable()
      first.setGuestBytes(0x5000, pattern(2048))
      first.setDMA(0x5000, count: 2048, toMemory: false)
      #expect(first.transfer(0xC5, c: 6, h: 0, r: 17, eot: 18) == [])
      for _ in 0..<step { worker.finishOne() }
      first.controller.pause()
      #expect(worker.count == 0)
      let (saved, savedDMA) = (try first.controller.save(), try first.dma.save())

      let second = try FloppyBoard([image])
      second.setGuestBytes(0x5000, pattern(2048))
      second.controller.pause()
      try second.dma.load(savedDMA)
      try second.controller.load(saved)
      #expect(try second.controller.save() == saved)
      second.controller.resume()
      #expect(second.result() == [0x24, 0, 0, 6, 1, 3, 2])
      let at = number(6, 0, 17) * 512
      #expect(Array(image.bytes[at..<at + 2048]) == pattern(2048), "cut after \(step)")
      #expect(image.writes.map(\.offset) == (0..<4).map { UInt64(at + $0 * 512) }, "cut after \(step)")
      #expect(image.flushes == 1)
    }
  }

  @Test func anotherDiskEndsWhatGoesOnWithTheOldOne() throws {
    let (old, new) = (FloppyBoard.image(Self.mb144), FloppyBoard.image(Self.mb144))
    let worker = HeldDiskWorker()
    let board = try FloppyBoard([old], worker: worker)
    board.enable()
    board.setGuestBytes(0x5000, pattern(2048))
    board.setDMA(0x5000, count: 2048, toMemory: false)
    _ = board.transfer(0xC5, c: 6, h: 0, r: 1, eot: 18)
    board.controller.change(0, to: new)
    #expect(old.writes.count == 1)
    #expect(board.result()[0...1] == [0x60, 1])
    #expect(new.writes.isEmpty)
    #expect(board.inb(0x3F7) == 0x80)
    // After a load as well: the disk was exchanged while the machine slept.
    board.setDMA(0x5000, count: 2048, toMemory: false)
    _ = board.transfer(0xC5, c: 7, h: 0, r: 1, eot: 18)
    board.controller.pause()
    let saved = try board.controller.save()
    let third = FloppyBoard.image(Self.mb144)
    let later = try FloppyBoard([third])
    later.controller.pause()
    try later.controller.load(saved)
    later.controller.diskWasReplaced(0)
    later.controller.resume()
    #expect(later.result()[0] & 0xC0 == 0x40)
    #expect(third.writes.isEmpty && later.inb(0x3F7) == 0x80)
  }

  @Test func theDriveComesWithTheStateAndTheDiskMustFit() throws {
    let first = try FloppyBoard([FloppyBoard.image(2_949_120)])
    first.controller.change(0, to: FloppyBoard.image(Self.mb144))
    let saved = try first.controller.save()
    let second = try FloppyBoard([FloppyBoard.image(Self.mb144)])
    #expect(second.controller.model(of: 0) == .mb1_44)
    try second.controller.load(saved)
    #expect(second.controller.model(of: 0) == .mb2_88)
    let large = try FloppyBoard([FloppyBoard.image(368_640)])
    #expect(throws: (any Error).self) { try large.controller.load(saved) }
    let two = try FloppyBoard([nil, nil])
    #expect(throws: (any Error).self) { try two.controller.load(saved) }
  }

  @Test func theControllerPassesTheSharedSuite() throws {
    final class Keeper: @unchecked Sendable { var boards: [ObjectIdentifier: FloppyBoard] = [:] }
    let keeper = Keeper()
    let disturbances: [(String, (FloppyBoard) -> Void)] = [
      (
        "in a result",
        {
          $0.enable(); for byte: UInt8 in [0x0E] { $0.out(0x3F5, byte) }
        }
      ),
      (
        "in a command",
        {
          $0.enable(); $0.out(0x3F5, 0x46); $0.out(0x3F5, 1)
        }
      ),
      (
        "waiting for DMA",
        {
          $0.enable(); _ = $0.transfer(0xC5, c: 3, h: 0, r: 1, eot: 18)
        }
      ),
      (
        "waiting for the CPU",
        {
          $0.enable(); $0.command([3, 0, 1]); _ = $0.transfer(0x46, c: 3, h: 0, r: 1, eot: 18)
        }
      ),
      (
        "in a format",
        {
          $0.enable(); $0.command([3, 0, 1]); _ = $0.command([0x4D, 0, 2, 18, 0x6C, 0xF6])
        }
      ),
      (
        "sought",
        {
          $0.enable(); $0.command([0x0F, 0, 9]); $0.command([0x0F, 1, 3])
        }
      ),
    ]
    for (name, disturb) in disturbances {
      let device = DeviceUnderTest(
        "fdc \(name)",
        make: {
          let board = try FloppyBoard([FloppyBoard.image(Self.mb144), nil])
          keeper.boards[ObjectIdentifier(board.controller)] = board
          return board.controller
        },
        disturb: { (controller: FloppyController) in
          if let board = keeper.boards[ObjectIdentifier(controller)] { disturb(board) }
        })
      try device.run()
    }
  }

  /// Whatever is written to its ports, in any order, with DMA and without, a controller stays one that can be saved and
  /// loaded.
  @Test func nonsenseDoesNoHarm() throws {
    for seed: UInt64 in 1...20 {
      var random = SplitMix64(seed: seed)
      let board = try FloppyBoard([FloppyBoard.image(368_640), FloppyBoard.image(Self.mb144, readOnly: seed % 2 == 0)])
      board.enable(rate: 1)
      let registers: [UInt16] = [0x3F2, 0x3F3, 0x3F4, 0x3F5, 0x3F5, 0x3F5, 0x3F5, 0x3F5, 0x3F5, 0x3F7]
      for _ in 0..<3000 {
        let word = random.next()
        let port = registers[Int(word % 10)]
        var value = UInt8(truncatingIfNeeded: word >> 8)
        if port == 0x3F2 { value |= word >> 16 & 15 == 0 ? 0 : 0x0C }
        if word >> 20 & 3 == 0 { _ = board.inb(port) } else { board.out(port, value) }
        if word >> 24 & 31 == 0 {
          board.setDMA(UInt32(word >> 40 & 0xFFFF), count: 1 + Int(word >> 32 & 0xFFF), toMemory: word >> 31 & 1 == 0)
        }
      }
      board.controller.pause()
      let saved = try board.controller.save()
      try board.controller.load(saved)
      #expect(try board.controller.save() == saved)
    }
  }
}
