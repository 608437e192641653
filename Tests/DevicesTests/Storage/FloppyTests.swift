import DiskImages
import Foundation
import Testing

@testable import Devices

/// Commands of the floppy controller that move no data, and what stands around them.
@Suite struct FloppyTests {
  private static let mb144 = 1_474_560

  private func board(_ count: Int = 1) throws -> FloppyBoard {
    try FloppyBoard((0..<count).map { _ in FloppyBoard.image(Self.mb144) })
  }

  @Test func everyFormatHasItsSizeAndItsDrive() throws {
    let sizes: [(UInt64, String, FloppyDriveModel, UInt8)] = [
      (163_840, "160 KB", .mb1_2, 2), (184_320, "180 KB", .mb1_2, 2), (327_680, "320 KB", .mb1_2, 2),
      (368_640, "360 KB", .mb1_2, 2), (737_280, "720 KB", .mb1_44, 4), (1_228_800, "1.2 MB", .mb1_2, 2),
      (1_474_560, "1.44 MB", .mb1_44, 4), (1_720_320, "1.68 MB", .mb1_44, 4), (2_949_120, "2.88 MB", .mb2_88, 5),
    ]
    #expect(FloppyFormat.all.map(\.bytes) == sizes.map(\.0).sorted())
    for (bytes, label, model, type) in sizes {
      let format = try #require(FloppyFormat(bytes: bytes))
      #expect(format.label == label)
      #expect(FloppyDriveModel(for: format) == model && model.cmosType == type)
      #expect(model.takes(format))
    }
    for odd: UInt64 in [0, 512, 1_474_559, 1_474_561, 1_474_560 - 512, 1 << 20] {
      #expect(FloppyFormat(bytes: odd) == nil)
    }
    let (small, large) = (FloppyFormat(bytes: 737_280)!, FloppyFormat(bytes: 2_949_120)!)
    #expect(FloppyDriveModel.mb2_88.takes(small) && !FloppyDriveModel.mb1_44.takes(large))
    #expect(!FloppyDriveModel.mb1_2.takes(small))
    #expect(FloppyDriveModel(for: nil) == .mb1_44)
  }

  @Test func aResetIsAnsweredByFourSensesAndAFifthIsInvalid() throws {
    let board = try board()
    #expect(board.inb(0x3F4) == 0, "held in reset")
    board.out(0x3F5, 0x10)
    board.out(0x3F2, 0x0C)
    #expect(board.line.level && board.interrupts.value == 1)
    for unit: UInt8 in 0..<4 {
      #expect(board.command([8]) == [0xC0 | unit, 0])
      #expect(!board.line.level)
    }
    #expect(board.command([8]) == [0x80])
    // DSR's reset ends by itself.
    board.out(0x3F4, 0x80)
    #expect(board.line.level)
    #expect(board.command([8]) == [0xC0, 0])
    // What is left of it is forgotten with the next command's interrupt.
    board.command([7, 0])
    #expect(board.command([8]) == [0x20, 0])
    #expect(board.command([8]) == [0x80])
  }

  @Test func dorBit3TakesTheInterruptFromTheBus() throws {
    let board = try board()
    board.out(0x3F2, 4)
    #expect(!board.line.level)
    board.out(0x3F2, 0x0C)
    #expect(board.line.level)
    board.out(0x3F2, 0)
    #expect(!board.line.level)
  }

  @Test func registersReadBack() throws {
    let board = try board()
    board.enable()
    #expect(board.inb(0x3F2) == 0x3C)
    board.out(0x3F3, 0xFF)
    #expect(board.inb(0x3F3) & 3 == 3)
    #expect(board.inb(0x3F4) == 0x80)
    // In AT mode there is nothing at the PS/2's status registers.
    #expect(board.inb(0x3F0) == 0xFF && board.inb(0x3F1) == 0xFF)
    board.out(0x3F5, 0x0F)
    #expect(board.inb(0x3F4) == 0x90, "waits for parameters")
    board.out(0x3F5, 0)
    board.out(0x3F5, 3)
    #expect(board.command([8]) == [0x20, 3])
  }

  @Test func versionLockConfigureAndDump() throws {
    let board = try board(2)
    board.enable()
    #expect(board.command([0x10]) == [0x90])
    #expect(board.command([0x18]) == [0x80], "PART ID is the 82078's")
    #expect(board.command([0xFF]) == [0x80])
    board.command([3, 0xAF, 0x02])
    board.command([0x0F, 0, 7])
    board.command([8])
    board.command([0x0F, 1, 9])
    board.command([8])
    #expect(board.command([0x13, 0, 0x5A, 12]) == [])
    #expect(board.command([0x12, 0x80 | 0x14 | 3]) == [])
    #expect(board.command([0x0E]) == [7, 9, 0, 0, 0xAF, 2, 0, 0x17, 0x5A, 12])
    // Without OW the drives' bits stay.
    board.command([0x12, 0x08])
    #expect(board.command([0x0E])[7] == 0x14)
    #expect(board.command([0x94]) == [0x10])
    board.out(0x3F4, 0x80)
    #expect(!board.line.level, "polling is off, and kept so")
    #expect(board.command([0x0E])[7...] == [0x94, 0x5A, 12])
    #expect(board.command([0x14]) == [0])
    board.out(0x3F4, 0x80)
    #expect(board.command([8]) == [0xC0, 7])
    #expect(board.command([0x0E])[8...] == [0x60, 0])
  }

  @Test func seeksOfTwoDrivesAreSensedOneByOne() throws {
    let board = try board(2)
    board.enable()
    board.command([0x0F, 0, 40])
    board.command([0x0F, 1, 20])
    let before = board.interrupts.value
    #expect(board.command([8]) == [0x20, 40])
    #expect(board.line.level && board.interrupts.value == before + 1, "the other one's comes after it")
    #expect(board.command([8]) == [0x21, 20])
    #expect(!board.line.level)
    // Relative: in, out, and no further than to 0.
    board.command([0xCF, 0, 5])
    #expect(board.command([8]) == [0x20, 45])
    board.command([0x8F, 0, 50])
    #expect(board.command([8]) == [0x20, 0])
  }

  @Test func recalibrateNeedsTrack0Within79Steps() throws {
    let board = try board()
    board.enable()
    board.command([0x0F, 0, 81])
    board.command([8])
    board.command([7, 0])
    #expect(board.command([8]) == [0x70, 2], "equipment check")
    board.command([7, 0])
    #expect(board.command([8]) == [0x20, 0])
    // A drive that is not there has no track 0.
    board.command([7, 1])
    #expect(board.command([8]) == [0x71, 0])
  }

  @Test func driveStatusTellsTrack0AndProtection() throws {
    let board = try FloppyBoard([
      FloppyBoard.image(Self.mb144), FloppyBoard.image(Self.mb144, readOnly: true),
    ])
    board.enable()
    #expect(board.command([4, 0]) == [0x38])
    #expect(board.command([4, 5]) == [0x7D], "head and unit come back")
    board.command([0x0F, 0, 1])
    board.command([8])
    #expect(board.command([4, 0]) == [0x28])
    #expect(board.command([4, 2]) == [0x2A])
  }

  @Test func theChangeLineGoesWithAStepAndADisk() throws {
    let board = try board(2)
    board.enable()
    #expect(board.inb(0x3F7) == 0x80, "power-on")
    board.command([7, 0])
    board.command([8])
    #expect(board.inb(0x3F7) == 0x80, "on track 0 there was no step")
    board.command([0x0F, 0, 1])
    board.command([8])
    #expect(board.inb(0x3F7) == 0)
    board.out(0x3F2, 0x3D)
    #expect(board.inb(0x3F7) == 0x80, "of the selected drive")
    board.out(0x3F2, 0x3E)
    #expect(board.inb(0x3F7) == 0, "nobody drives the line")
    board.out(0x3F2, 0x3C)
    board.controller.change(0, to: nil)
    #expect(board.inb(0x3F7) == 0x80)
    board.command([0x0F, 0, 2])
    board.command([8])
    #expect(board.inb(0x3F7) == 0x80, "an empty drive keeps it")
    board.controller.change(0, to: FloppyBoard.image(737_280))
    board.command([0x0F, 0, 0])
    board.command([8])
    #expect(board.inb(0x3F7) == 0)
    // The disk is another: its rate, too.
    #expect(board.command([0x4A, 0])[1] == 1)
    board.out(0x3F7, 2)
    #expect(board.command([0x4A, 0]) == [0, 0, 0, 0, 0, 1, 2])
  }

  @Test func readIDSeesTheSectorsComeBy() throws {
    let board = try board()
    board.enable()
    board.command([0x0F, 0, 5])
    board.command([8])
    for sector: UInt8 in (1...18) + [1, 2] {
      #expect(board.command([0x4A, 4]) == [4, 0, 0, 5, 1, sector, 2])
    }
    let missing: [UInt8] = [0x40, 1, 0, 0, 0, 0, 0]
    for rate: UInt8 in 1...3 {
      board.out(0x3F7, rate)
      #expect(board.command([0x4A, 0]) == missing)
    }
    board.out(0x3F7, 0)
    #expect(board.command([0x0A, 0]) == missing, "FM")
    board.command([0x0F, 0, 80])
    board.command([8])
    #expect(board.command([0x4A, 0]) == missing, "behind the last track")
    #expect(board.command([0x4A, 1]) == [0x41, 1, 0, 0, 0, 0, 0], "no drive")
  }

  @Test func disksOf40TracksAreReadWithTwoStepsEach() throws {
    for (bytes, heads) in [(163_840, 1), (184_320, 1), (327_680, 2), (368_640, 2)] {
      let board = try FloppyBoard([FloppyBoard.image(bytes)])
      board.enable(rate: 1)
      board.command([0x0F, 0, 78])
      board.command([8])
      #expect(board.command([0x4A, 0])[3] == 39)
      #expect(board.command([0x4A, 4])[0] == (heads == 2 ? 4 : 0x44))
      // An implied seek finds the track.
      let sectors = bytes / 512 / 40 / heads
      board.setDMA(0x1000, count: 512, toMemory: true)
      #expect(board.transfer(0x46, c: 20, h: 0, r: 2, eot: 9)[0] == 0x20)
      #expect(board.guestBytes(0x1000, 512) == FloppyBoard.sector(20 * heads * sectors + 1))
    }
  }

  @Test func everyFormatIsReadToItsLastSector() throws {
    let rates: [UInt8] = [1, 1, 1, 1, 2, 0, 0, 0, 3]
    for (format, rate) in zip(FloppyFormat.all, rates) {
      let board = try FloppyBoard([FloppyBoard.image(Int(format.bytes))])
      board.enable(rate: rate)
      board.setDMA(0x2000, count: 512, toMemory: true)
      let (c, h, r) = (UInt8(format.cylinders - 1), UInt8(format.heads - 1), UInt8(format.sectors))
      #expect(board.transfer(0xE6, c: c, h: h, r: r, eot: r)[1] == 0, "\(format.label)")
      #expect(board.guestBytes(0x2000, 512) == FloppyBoard.sector(Int(format.bytes) / 512 - 1))
      #expect(board.transfer(0xE6, c: c, h: h, r: r + 1, eot: r + 1)[1] == 4)
    }
  }
}
