import Testing

@testable import Devices

@Suite struct PIC8259Tests {
  private func board() throws -> TestBoard {
    let board = try TestBoard()
    board.initialisePICs()
    return board
  }

  @Test func theLowestInputIsServedFirstAndHoldsTheOthersBackUntilEOI() throws {
    let board = try board()
    board.pic.setInput(5, true)
    board.pic.setInput(1, true)
    #expect(board.pic.output)
    #expect(board.pic.acknowledge() == 0x21)
    #expect(!board.pic.output)
    board.out(0x20, 0x20)
    #expect(board.pic.acknowledge() == 0x25)
  }

  @Test func theSlavesInputsStandBetweenInputs1And3() throws {
    let board = try board()
    board.pic.setInput(3, true)
    board.pic.setInput(14, true)
    #expect(board.pic.acknowledge() == 0x2E)
    #expect(!board.pic.output)
    board.out(0xA0, 0x20)
    board.out(0x20, 0x20)
    #expect(board.pic.acknowledge() == 0x23)
  }

  @Test func twoSlaveInterruptsFollowEachOther() throws {
    let board = try board()
    board.pic.setInput(8, true)
    board.pic.setInput(12, true)
    #expect(board.pic.acknowledge() == 0x28)
    board.out(0xA0, 0x20)
    board.out(0x20, 0x20)
    #expect(board.pic.output)
    #expect(board.pic.acknowledge() == 0x2C)
  }

  @Test func aRequestThatWentAwayIsSpurious7() throws {
    let board = try board()
    board.pic.setInput(4, true)
    board.out(0x21, 0x10)
    #expect(board.pic.acknowledge() == 0x27)
    board.out(0x20, 0x0B)
    #expect(board.in(0x20) == 0)
  }

  @Test func aLevelInputAsksAgainWhileItIsHigh() throws {
    let board = try board()
    board.out(0x4D1, 0x08)  // input 11
    board.pic.setInput(11, true)
    #expect(board.pic.acknowledge() == 0x2B)
    board.out(0xA0, 0x20)
    board.out(0x20, 0x20)
    #expect(board.pic.output)
    board.pic.setInput(11, false)
    #expect(!board.pic.output)
  }

  @Test func theTimerCannotBeMadeLevelTriggered() throws {
    let board = try board()
    board.out(0x4D0, 0xFF)
    board.out(0x4D1, 0xFF)
    #expect(board.in(0x4D0) == 0xF8)
    #expect(board.in(0x4D1) == 0xDE)
  }

  @Test func rotationMakesTheServedInputTheLast() throws {
    let board = try board()
    board.pic.setInput(3, true)
    _ = board.pic.acknowledge()
    board.out(0x20, 0xA0)
    board.pic.setInput(3, false)
    board.pic.setInput(3, true)
    board.pic.setInput(5, true)
    #expect(board.pic.acknowledge() == 0x25)
  }

  @Test func specialMaskLetsLowerInputsThrough() throws {
    let board = try board()
    board.pic.setInput(1, true)
    _ = board.pic.acknowledge()
    board.out(0x21, 0x02)
    board.pic.setInput(6, true)
    #expect(!board.pic.output)
    board.out(0x20, 0x68)
    #expect(board.pic.output)
    #expect(board.pic.acknowledge() == 0x26)
  }

  @Test func automaticEOILeavesNothingInService() throws {
    let board = try board()
    board.out(0x20, 0x11)
    for word in [0x20, 4, 3] as [UInt32] { board.out(0x21, word) }
    board.out(0x21, 0)
    board.pic.setInput(0, true)
    #expect(board.pic.acknowledge() == 0x20)
    board.out(0x20, 0x0B)
    #expect(board.in(0x20) == 0)
  }

  @Test func pollAcknowledges() throws {
    let board = try board()
    board.pic.setInput(6, true)
    board.out(0x20, 0x0C)
    #expect(board.in(0x20) == 0x86)
    #expect(!board.pic.output)
    board.out(0x20, 0x0C)
    #expect(board.in(0x20) == 0)
  }
}
