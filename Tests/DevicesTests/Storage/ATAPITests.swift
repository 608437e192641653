import DiskImages
import Foundation
import Testing

@testable import Devices

@Suite struct ATAPITests {
  static let sectors = 300
  let image = FaultyImage(pattern(sectors * 2048), readOnly: true)
  let drive: IDEDrive
  let board: IDEBoard

  init() throws {
    drive = IDEDrive(cdrom: image, serial: "CD001")
    board = try IDEBoard([drive])
  }

  func sector(_ first: Int, _ count: Int = 1) -> [UInt8] { Array(image.bytes[first * 2048..<(first + count) * 2048]) }

  @Test func identifyIsAbortedWithTheSignatureAndIdentifyPacketAnswered() {
    board.command28(0xEC, lba: 0, count: 0)
    #expect(board.status & 1 == 1)
    #expect([board.inb(0x1F4), board.inb(0x1F5)] == [0x14, 0xEB])
    board.command28(0xA1, lba: 0, count: 0)
    let data = board.readData(512)
    #expect(Int(data[0]) | Int(data[1]) << 8 == 0x85C0)
    #expect(data.reduce(0, &+) == 0)
  }

  @Test func inquiryNamesACDROMDrive() throws {
    let reply = try #require(board.packet([0x12, 0, 0, 0, 36]))
    #expect(reply.count == 36)
    #expect(reply[0] == 5 && reply[1] == 0x80)
    #expect(String(decoding: reply[8..<16], as: UTF8.self) == "VMCTL   ")
    #expect(board.packet([0x12, 0, 0, 0, 5])?.count == 5)
  }

  @Test func capacityIsTheLastSector() {
    #expect(board.packet([0x25]) == [0, 0, 1, 43, 0, 0, 8, 0])
  }

  @Test(arguments: [2048, 0xFFFE, 4096, 1000, 3]) func readingByPIOHonoursTheByteCountLimit(limit: Int) {
    #expect(board.packet([0x28, 0, 0, 0, 0, 7, 0, 0, 2], limit: limit) == sector(7, 2))
  }

  @Test func longReadsGoOnPastTheBuffer() {
    #expect(board.packet([0xA8, 0, 0, 0, 0, 50, 0, 0, 0, 200]) == sector(50, 200))
  }

  @Test func readingByDMAFillsMemory() {
    board.setTable([(0x10000, 2048), (0x20000, 4096)])
    board.out(0x1F6, 0xA0)
    board.out(0x1F1, 1)
    board.out(0x1F7, 0xA0)
    board.writeData([0x28, 0, 0, 0, 0, 9, 0, 0, 3, 0, 0, 0])
    #expect(!board.primary.level)
    board.start(toMemory: true)
    #expect(board.primary.level)
    #expect(board.busMasterStatus & 5 == 4)
    #expect(board.inb(0x1F2) == 3)
    #expect(board.status == 0x50)
    #expect(board.guestBytes(0x10000, 2048) + board.guestBytes(0x20000, 4096) == sector(9, 3))
  }

  @Test func readCDGivesUserDataOrWholeSectors() throws {
    #expect(board.packet([0xBE, 0, 0, 0, 0, 20, 0, 0, 2, 0x10]) == sector(20, 2))
    let raw = try #require(board.packet([0xBE, 0, 0, 0, 0, 20, 0, 0, 2, 0xF8]))
    #expect(raw.count == 2 * 2352)
    for index in 0..<2 {
      let start = index * 2352
      #expect(Array(raw[start..<start + 12]) == [0] + Array(repeating: 0xFF, count: 10) + [0])
      #expect(Array(raw[start + 12..<start + 16]) == [0, 2, UInt8(0x20 + index), 1])
      #expect(Array(raw[start + 16..<start + 2064]) == sector(20 + index))
    }
    #expect(board.packet([0xB9, 0, 0, 0, 2, 20, 0, 2, 21, 0x10]) == sector(20))
  }

  @Test func pastTheEndIsOutOfRange() {
    #expect(board.packet([0x28, 0, 0, 0, 1, 44, 0, 0, 1]) == nil)
    #expect(board.sense() == [5, 0x21, 0])
    #expect(board.sense() == [0, 0, 0])
    #expect(board.packet([0x28, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF]) == nil)
  }

  @Test func aHostErrorIsAMediumError() {
    image.badSectors = [40]
    #expect(board.packet([0x28, 0, 0, 0, 0, 10, 0, 0, 1]) == nil)
    #expect(board.sense() == [3, 0x11, 0])
    #expect(board.packet([0x28, 0, 0, 0, 0, 11, 0, 0, 1]) == sector(11))
  }

  @Test func unknownCommandsAreIllegal() {
    #expect(board.packet([0xFE]) == nil)
    #expect(board.error >> 4 == 5)
    #expect(board.sense() == [5, 0x20, 0])
  }

  @Test func theTableOfContentsHasOneDataTrack() {
    #expect(
      board.packet([0x43, 0, 0, 0, 0, 0, 0, 0, 100])
        == [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0, 0, 0, 1, 44])
    #expect(
      board.packet([0x43, 2, 0, 0, 0, 0, 0xAA, 0, 100])
        == [0, 10, 1, 1, 0, 0x14, 0xAA, 0, 0, 0, 6, 0])
    #expect(board.packet([0x43, 0, 1, 0, 0, 0, 0, 0, 100]) == [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0])
    // The full table: first and last track, lead-out, track, with addresses as minutes, seconds and frames.
    let descriptors: [[UInt8]] = [
      [1, 0x14, 0, 0xA0, 0, 0, 0, 0, 1, 0, 0], [1, 0x14, 0, 0xA1, 0, 0, 0, 0, 1, 0, 0],
      [1, 0x14, 0, 0xA2, 0, 0, 0, 0, 0, 6, 0], [1, 0x14, 0, 1, 0, 0, 0, 0, 0, 2, 0],
    ]
    #expect(board.packet([0x43, 2, 2, 0, 0, 0, 0, 0, 100]) == [0, 46, 1, 1] + descriptors.flatMap { $0 })
    // Programs ask for the length first, by the old place of the format too.
    #expect(board.packet([0x43, 2, 0, 0, 0, 0, 0, 0, 4, 0x80]) == [0, 46, 1, 1])
    #expect(board.packet([0x43, 0, 5, 0, 0, 0, 0, 0, 100]) == nil)
  }

  /// As installers and CD programs ask: for the length first, then for all of it.
  @Test func theDiscAndItsTrackAreDescribed() throws {
    #expect(board.packet([0x51, 0, 0, 0, 0, 0, 0, 0, 2]) == [0, 32])
    let disc = try #require(board.packet([0x51, 0, 0, 0, 0, 0, 0, 0, 34]))
    #expect(disc.count == 34 && disc[2] == 0x0E && Array(disc[3...6]) == [1, 1, 1, 1])
    for address in [[0, 0, 0, 0, 5], [1, 0, 0, 0, 1], [2, 0, 0, 0, 1]] as [[UInt8]] {
      let track = try #require(board.packet([0x52] + address + [0, 0, 36]))
      #expect(track.count == 36 && Array(track[0..<4]) == [0, 34, 1, 1])
      #expect(Array(track[8..<12]) == [0, 0, 0, 0] && Array(track[24..<28]) == [0, 0, 1, 44])
    }
    #expect(board.packet([0x52, 1, 0, 0, 0, 2, 0, 0, 36]) == nil)
    // GET CONFIGURATION: the header alone, all features, one feature.
    let all = try #require(board.packet([0x46, 0, 0, 0, 0, 0, 0, 4, 0]))
    #expect(board.packet([0x46, 0, 0, 0, 0, 0, 0, 0, 8]) == Array(all[0..<8]))
    #expect(Int(all[2]) << 8 | Int(all[3]) == all.count - 4 && all[7] == 0x08)
    let one = try #require(board.packet([0x46, 2, 0, 0x1E, 0, 0, 0, 0, 100]))
    #expect(Array(one[8..<11]) == [0, 0x1E, 1] && one.count == 16)
    // GET EVENT STATUS NOTIFICATION: polled only; of media there is an answer, of other classes none.
    #expect(board.packet([0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8]) == nil)
    #expect(board.packet([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8])?.prefix(4) == [0, 6, 4, 0x10])
    #expect(board.packet([0x4A, 1, 0, 0, 0x40, 0, 0, 0, 8]) == [0, 2, 0x80, 0x10])
  }

  @Test func modePagesHaveTheRightLengths() throws {
    for (page, length) in [(UInt8(0x01), 8), (0x2A, 22), (0x3F, 30)] {
      let long = try #require(board.packet([0x5A, 0, page, 0, 0, 0, 0, 0, 200]))
      #expect(long.count == length + 8)
      #expect(Int(long[0]) << 8 | Int(long[1]) == long.count - 2)
      let short = try #require(board.packet([0x1A, 0, page, 0, 200]))
      #expect(short.count == length + 4)
      #expect(Int(short[0]) == short.count - 1)
    }
    #expect(board.packet([0x5A, 0, 0x08, 0, 0, 0, 0, 0, 200]) == nil)
    #expect(board.sense() == [5, 0x24, 0])
  }

  @Test func theConfigurationListsFeatures() throws {
    let all = try #require(board.packet([0x46, 0, 0, 0, 0, 0, 0, 1, 0]))
    #expect(Int(all[2]) << 8 | Int(all[3]) == all.count - 4)
    #expect(Array(all[6..<8]) == [0, 8])
    let one = try #require(board.packet([0x46, 2, 0, 3, 0, 0, 0, 1, 0]))
    #expect(Array(one[8...]) == [0, 3, 3, 4, 0x29, 0, 0, 0])
  }

  @Test func otherQueriesAnswer() {
    #expect(board.packet([0x51, 0, 0, 0, 0, 0, 0, 0, 34])?.count == 34)
    #expect(board.packet([0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8])?.count == 8)
    #expect(board.packet([0x00]) == [])
    #expect(board.packet([0x2B, 0, 0, 0, 0, 5]) == [])
    #expect(board.packet([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]) == [0, 6, 4, 0x10, 0, 2, 0, 0])
    #expect(board.packet([0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8]) == nil)
  }

  @Test func anEmptyDriveSaysThatThereIsNoMedium() throws {
    let board = try IDEBoard([IDEDrive(cdrom: nil, serial: "1")])
    for packet: [UInt8] in [[0], [0x25], [0x28, 0, 0, 0, 0, 0, 0, 0, 1], [0x43]] {
      #expect(board.packet(packet) == nil)
      #expect(board.sense() == [2, 0x3A, 0])
    }
    #expect(board.packet([0x12, 0, 0, 0, 36])?.count == 36)
  }

  @Test func aNewDiscIsAnnouncedOnce() {
    let other = FaultyImage(pattern(10 * 2048, seed: 8), readOnly: true)
    #expect(drive.insert(other))
    #expect(board.packet([0x12, 0, 0, 0, 36])?.count == 36)
    #expect(board.packet([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]) == [0, 6, 4, 0x10, 2, 2, 0, 0])
    #expect(board.packet([0]) == nil)
    #expect(board.sense() == [6, 0x28, 0])
    #expect(board.packet([0]) == [])
    #expect(board.packet([0x28, 0, 0, 0, 0, 9, 0, 0, 1]) == Array(other.bytes[9 * 2048..<10 * 2048]))
    #expect(drive.eject())
    #expect(board.packet([0]) == nil)
    #expect(board.sense() == [2, 0x3A, 0])
  }

  @Test func aDiscThatWasExchangedWhileTheMachineWasSavedIsAnnounced() throws {
    #expect(board.packet([0x1E, 0, 0, 0, 1]) == [])
    let saved = try board.ide.save()
    let other = FaultyImage(pattern(10 * 2048, seed: 8), readOnly: true)
    let drive = IDEDrive(cdrom: other, serial: "CD001")
    let later = try IDEBoard([drive])
    try later.ide.load(saved)
    drive.discWasReplaced()
    later.ide.resume()
    #expect(!drive.isLocked)
    #expect(later.packet([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]) == [0, 6, 4, 0x10, 2, 2, 0, 0])
    #expect(later.packet([0]) == nil)
    #expect(later.sense() == [6, 0x28, 0])
    #expect(later.packet([0x28, 0, 0, 0, 0, 9, 0, 0, 1]) == Array(other.bytes[9 * 2048..<10 * 2048]))
  }

  @Test func aDiscThatIsGoneWhileTheMachineWasSavedLeavesTheDriveEmptyAndAReadUnderWayFails() throws {
    // Half of a read of 200 sectors has come: the buffer holds 64.
    board.out(0x1F6, 0xA0)
    board.out(0x1F1, 0)
    board.out(0x1F4, 0x00)
    board.out(0x1F5, 0x08)
    board.out(0x1F7, 0xA0)
    board.writeData([0xA8, 0, 0, 0, 0, 50, 0, 0, 0, 200, 0, 0])
    #expect(board.readData(2048) == sector(50))
    let saved = try board.ide.save()
    let drive = IDEDrive(cdrom: nil, serial: "CD001")
    let later = try IDEBoard([drive])
    try later.ide.load(saved)
    drive.discWasReplaced()
    later.ide.resume()
    var blocks = 1
    while later.status & 8 != 0 {
      #expect(later.readData(2048) == sector(50 + blocks))
      blocks += 1
    }
    #expect(blocks == 64 && later.status & 1 == 1)
    #expect(later.sense() == [3, 0x11, 0])
    #expect(later.packet([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]) == [0, 6, 4, 0x10, 3, 0, 0, 0])
    #expect(later.packet([0]) == nil)
    #expect(later.sense() == [2, 0x3A, 0])
  }

  @Test func theGuestOpensAndLocksTheTray() {
    #expect(board.packet([0x1E, 0, 0, 0, 1]) == [])
    #expect(board.packet([0x1B, 0, 0, 0, 2]) == nil)
    #expect(board.sense() == [5, 0x53, 2])
    #expect(!drive.eject())
    #expect(board.packet([0x1E, 0, 0, 0, 0]) == [])
    #expect(board.packet([0x1B, 0, 0, 0, 2]) == [])
    #expect(drive.isTrayOpen)
    #expect(board.packet([0]) == nil)
    #expect(board.sense() == [2, 0x3A, 2])
    #expect(board.packet([0x1B, 0, 0, 0, 3]) == [])
    #expect(board.packet([0]) == nil)
    #expect(board.sense() == [6, 0x28, 0])
    #expect(board.packet([0]) == [])
  }

  @Test func deviceResetBringsTheSignatureBack() {
    board.out(0x1F6, 0xA0)
    board.out(0x1F7, 0xA0)
    board.out(0x1F7, 0x08)
    #expect([board.inb(0x1F2), board.inb(0x1F3), board.inb(0x1F4), board.inb(0x1F5)] == [1, 1, 0x14, 0xEB])
    #expect(board.status == 0)
  }
}
