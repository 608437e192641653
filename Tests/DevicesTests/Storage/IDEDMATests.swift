import DiskImages
import Foundation
import SavedState
import Testing

@testable import Devices

@Suite struct IDEDMATests {
  @Test func aReadScattersOverTheTable() throws {
    let (image, drive) = ATATests.disk(1024)
    let board = try IDEBoard([drive])
    board.setTable([(0x10000, 512), (0x20000, 1024), (0x30FFE, 2560)])
    board.command28(0xC8, lba: 9, count: 8)
    #expect(!board.primary.level)
    board.start(toMemory: true)
    #expect(board.primary.level)
    #expect(board.busMasterStatus & 7 == 4)
    #expect(board.status == 0x50)
    let data = Array(image.bytes[9 * 512..<17 * 512])
    var got = board.guestBytes(0x10000, 512)
    got += board.guestBytes(0x20000, 1024)
    got += board.guestBytes(0x30FFE, 2560)
    #expect(got == data)
    board.stop()
    board.out(IDEBoard.busMaster + 2, 4)
    #expect(board.busMasterStatus & 7 == 0)
  }

  @Test func startingBeforeTheCommandWorksToo() throws {
    let (image, drive) = ATATests.disk(1024)
    let board = try IDEBoard([drive])
    board.setTable([(0x10000, 512)])
    board.start(toMemory: true)
    #expect(board.busMasterStatus & 1 == 1)
    board.command28(0xC8, lba: 2, count: 1)
    #expect(board.guestBytes(0x10000, 512) == Array(image.bytes[1024..<1536]))
    #expect(board.busMasterStatus & 5 == 4)
  }

  @Test func aLongTransferGoesInPiecesOf64KiB() throws {
    let (image, drive) = ATATests.disk(4096)
    let board = try IDEBoard([drive])
    var regions: [(address: UInt32, count: Int)] = []
    for index in 0..<16 { regions.append((UInt32(0x100000 + index * 65536), 0)) }
    board.setTable(regions)
    board.command48(0x25, lba: 100, count: 2048)
    board.start(toMemory: true)
    #expect(board.guestBytes(0x100000, 1 << 20) == Array(image.bytes[51200..<51200 + 1 << 20]))
    let data = pattern(1 << 20, seed: 77)
    board.setGuestBytes(0x100000, data)
    board.stop()
    board.command48(0x35, lba: 2048, count: 2048)
    board.start(toMemory: false)
    #expect(board.busMasterStatus & 5 == 4)
    #expect(Array(image.bytes[(1 << 20)...]) == data)
  }

  @Test func aTableLongerThanTheTransferLeavesTheEngineActive() throws {
    let (_, drive) = ATATests.disk(64)
    let board = try IDEBoard([drive])
    board.setTable([(0x10000, 1024)])
    board.command28(0xC8, lba: 0, count: 1)
    board.start(toMemory: true)
    #expect(board.busMasterStatus & 5 == 5)
  }

  @Test func aTableShorterThanTheTransferStopsTheEngineWithoutAnInterrupt() throws {
    let (_, drive) = ATATests.disk(64)
    let board = try IDEBoard([drive])
    board.setTable([(0x10000, 512)])
    board.command28(0xC8, lba: 0, count: 2)
    board.start(toMemory: true)
    #expect(board.busMasterStatus & 5 == 0)
    #expect(!board.primary.level)
    board.out(0x3F6, 4)
    board.out(0x3F6, 0)
    #expect(board.status == 0x50)
  }

  @Test func aBadSectorEndsTheTransferWithAnError() throws {
    let (image, drive) = ATATests.disk(64)
    image.badSectors = [3]
    let board = try IDEBoard([drive])
    board.setTable([(0x10000, 4096)])
    board.command28(0xC8, lba: 0, count: 8)
    board.start(toMemory: true)
    #expect(board.primary.level)
    #expect(board.status == 0x51)
    #expect(board.error == 0x40)
  }

  @Test func theWrittenPagesAreInTheDirtyLog() throws {
    let (_, drive) = ATATests.disk(64)
    let board = try IDEBoard([drive])
    board.setTable([(0x10800, 4096)])
    board.memory.dirtyLog.start()
    board.command28(0xC8, lba: 0, count: 8)
    board.start(toMemory: true)
    #expect(board.memory.dirtyLog.isDirty(page: 0x10) && board.memory.dirtyLog.isDirty(page: 0x11))
    #expect(board.memory.dirtyLog.dirtyCount == 2)
  }

  @Test func whileTheHostWorksTheDriveIsBusyAndTheGuestGoesOn() throws {
    let (_, drive) = ATATests.disk(64)
    let worker = HeldDiskWorker()
    let board = try IDEBoard([drive], worker: worker)
    board.command28(0x20, lba: 0, count: 1)
    #expect(board.status & 0x80 != 0)
    board.out(0x1F7, 0xEC)  // a busy drive does not listen
    worker.finishOne()
    #expect(board.primary.level)
    #expect(board.status == 0x58)
  }

  @Test func aResetWaitsForTheHostAndForgetsTheCommand() throws {
    let (image, drive) = ATATests.disk(64)
    let worker = HeldDiskWorker()
    let board = try IDEBoard([drive], worker: worker)
    board.command28(0x20, lba: 0, count: 1)
    board.out(0x3F6, 4)
    board.out(0x3F6, 0)
    #expect(worker.count == 0)
    #expect(board.status == 0x50)
    board.command28(0x20, lba: 1, count: 1)
    worker.finishOne()
    #expect(board.readData(512) == Array(image.bytes[512..<1024]))
  }

  /// At every step of a transfer the state moves to another machine on the same medium, and the transfer goes on there.
  @Test(arguments: 0..<6) func aTransferUnderWayGoesOnWhereTheStateIsLoaded(steps: Int) throws {
    let bytes = pattern(2048 * 512)
    let image = FaultyImage(bytes)
    let data = pattern(600 * 512, seed: 3)
    let worker = HeldDiskWorker()
    let source = try IDEBoard([IDEDrive(disk: image, serial: "1")], worker: worker)
    let regions: [(address: UInt32, count: Int)] = [
      (0x100000, 0), (0x110000, 0), (0x120000, 0), (0x130000, 0), (0x140000, 45056),
    ]
    source.setTable(regions)
    source.setGuestBytes(0x100000, data)
    source.command48(0x35, lba: 50, count: 600)
    source.start(toMemory: false)
    for _ in 0..<steps { worker.finishOne() }
    source.ide.pause()
    #expect(worker.count == 0)
    let writes = image.writes.count
    let saved = try source.ide.save()

    let target = try IDEBoard([IDEDrive(disk: image, serial: "1")])
    target.setGuestBytes(0, source.guestBytes(0, 4 << 20))
    target.ide.pause()
    try target.ide.load(saved)
    #expect(try target.ide.save() == saved)
    #expect(image.writes.count == writes)
    target.ide.resume()
    #expect(Array(image.bytes[50 * 512..<650 * 512]) == data)
    let written = image.writes.map(\.count).reduce(0, +)
    #expect(written == 600 * 512)
    #expect(target.busMasterStatus & 5 == 4)
    #expect(target.status == 0x50)
  }

  @Test func aThreadWorkerCompletesUnderTheLockAndDrains() throws {
    let (image, drive) = ATATests.disk(1024)
    let lock = NSLock()
    let worker = ThreadDiskWorker(name: "test") { body in
      lock.lock()
      body()
      lock.unlock()
    }
    lock.lock()
    let board = try IDEBoard([drive], worker: worker)
    board.command28(0x20, lba: 3, count: 1)
    #expect(board.inb(0x3F6) & 0x80 != 0)
    worker.drain()
    #expect(board.readData(512) == Array(image.bytes[1536..<2048]))
    board.setTable([(0x10000, 0), (0x20000, 0)])
    board.command28(0xC8, lba: 0, count: 0)
    board.start(toMemory: true)
    lock.unlock()
    for _ in 0..<600_000 {
      lock.lock()
      let isDone = board.primary.level
      lock.unlock()
      if isDone { break }
      usleep(500)
    }
    lock.lock()
    #expect(board.guestBytes(0x10000, 131072) == Array(image.bytes[..<131072]))
    lock.unlock()
  }

  @Test func itPassesTheSuiteOfAllDevices() throws {
    let device = DeviceUnderTest("ide0") {
      try IDEBoard([
        ATATests.disk(512).1, IDEDrive(cdrom: nil, serial: "2"),
        IDEDrive(cdrom: FaultyImage(pattern(1 << 16), readOnly: true), serial: "3"),
      ]).keptIDE
    } disturb: { ide in
      let board = KeptBoards.board(of: ide)
      board.mapBusMaster()
      board.setTable([(0x10000, 4096)])
      board.command28(0xC4, lba: 4, count: 20)
      _ = board.readData(100)
      board.out(0x3F6, 2)
    }
    try device.run()
  }

  @Test func otherDrivesThanWereSavedAreRefused() throws {
    let saved = try IDEBoard([ATATests.disk(64).1]).ide.save()
    let other = try IDEBoard([IDEDrive(cdrom: nil, serial: "1")])
    #expect(throws: SavedStateError.self) { try other.ide.load(saved) }
    let empty = try IDEBoard([])
    #expect(throws: SavedStateError.self) { try empty.ide.load(saved) }
  }
}

/// Boards of controllers under the shared suite, which hands back the device alone.
enum KeptBoards {
  nonisolated(unsafe) private static var boards: [IDEBoard] = []
  private static let lock = NSLock()

  static func keep(_ board: IDEBoard) { lock.withLock { boards.append(board) } }
  static func board(of ide: PIIX3IDE) -> IDEBoard { lock.withLock { boards.first { $0.ide === ide }! } }
}

extension IDEBoard {
  var keptIDE: PIIX3IDE {
    KeptBoards.keep(self)
    return ide
  }
}
