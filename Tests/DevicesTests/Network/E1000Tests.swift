import Testing

@testable import Devices

/// The 82540EM's registers outside of the rings: identity, EEPROM, PHY, interrupts.
@Suite struct E1000Tests {
  @Test func itIsAnIntelCardWithMemoryAndPorts() throws {
    let bench = try E1000Bench()
    #expect(bench.board.configRead(3, 0, 0) == 0x100E_8086)
    #expect(bench.board.configRead(3, 0, 8) >> 8 == 0x020000)
    #expect(bench.board.configRead(3, 0, 0x3D, size: 1) == 1)
    bench.board.configWrite(3, 0, 0x10, 0xFFFF_FFFF)
    #expect(bench.board.configRead(3, 0, 0x10) == 0xFFFE_0000)
  }

  @Test func theDataPortReachesTheRegisterThatTheAddressPortNames() throws {
    let bench = try E1000Bench()
    bench.board.out(0xC000, 0x5400, size: 4)
    #expect(bench.board.in(0xC004, size: 4) == 0x1227_0008)
    bench.board.out(0xC000, 0x38, size: 4)
    bench.board.out(0xC004, 0x9100, size: 4)
    #expect(bench[0x38] == 0x9100)
  }

  @Test func theAddressIsInTheEEPROMAndInTheFirstReceiveAddress() throws {
    let bench = try E1000Bench()
    #expect(bench[0x5400] == 0x1227_0008)
    #expect(bench[0x5404] == 0x8000_5634)
    var sum: UInt16 = 0
    var words: [UInt16] = []
    for index in 0..<64 as Range<UInt32> {
      bench[0x14] = index << 8 | 1
      #expect(bench[0x14] & 0x10 != 0, "DONE")
      let word = UInt16(bench[0x14] >> 16)
      words.append(word)
      sum &+= word
    }
    #expect(sum == 0xBABA)
    #expect(Array(words[0..<3]) == [0x0008, 0x1227, 0x5634])
  }

  /// Drives EECD as a driver does, bit by bit.
  private func clockOut(_ bench: E1000Bench, _ value: UInt32, bits: Int) {
    for bit in (0..<bits).reversed() {
      let data = (value >> UInt32(bit) & 1) << 2
      bench[0x10] = 0x42 | data
      bench[0x10] = 0x43 | data
      bench[0x10] = 0x42 | data
    }
  }

  private func clockIn(_ bench: E1000Bench, bits: Int = 16) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<bits {
      bench[0x10] = 0x43
      value = value << 1 | (bench[0x10] >> 3 & 1)
      bench[0x10] = 0x42
    }
    return value
  }

  @Test func theEEPROMAnswersBitByBitAndKeepsWhatIsWritten() throws {
    let bench = try E1000Bench()
    bench[0x10] = 0x40
    #expect(bench[0x10] & 0x180 == 0x180, "present and granted")
    clockOut(bench, 0b110 << 6 | 1, bits: 9)
    #expect(clockIn(bench) == 0x1227)
    #expect(clockIn(bench) == 0x5634, "the next word follows")
    bench[0x10] = 0x40
    clockOut(bench, 0b101 << 22 | 3 << 16 | 0xCAFE, bits: 25)
    bench[0x10] = 0x40
    clockOut(bench, 0b110 << 6 | 3, bits: 9)
    #expect(clockIn(bench) == 0x0D03, "writing has not been enabled")
    bench[0x10] = 0x40
    clockOut(bench, 0b1_0011_0000, bits: 9)
    bench[0x10] = 0x40
    clockOut(bench, 0b101 << 22 | 3 << 16 | 0xCAFE, bits: 25)
    bench[0x10] = 0x40
    bench.card.reset()
    bench.board.configWrite(3, 0, 0x10, UInt32(E1000Bench.registers))
    bench.board.configWrite(3, 0, 0x04, 7, size: 2)
    bench[0x14] = 3 << 8 | 1
    #expect(bench[0x14] >> 16 == 0xCAFE)
  }

  @Test func thePHYIsAMarvellWithAGigabitLink() throws {
    let bench = try E1000Bench()
    #expect(bench.mdio(2) == 0x0141)
    #expect(bench.mdio(3) & 0xFFF0 == 0x0C20)
    #expect(bench.mdio(1) == 0x796D)
    #expect(bench.mdio(17) & 0xFC00 == 0xAC00)
    #expect(bench.mdio(10) & 0x3000 == 0x3000)
    bench[0x20] = 2 << 26 | 2 << 21
    #expect(bench[0x20] >> 30 & 1 == 1, "no other PHY answers")
  }

  @Test func aPulledCableIsSeenInStatusPHYAndAsAnInterrupt() throws {
    let bench = try E1000Bench()
    bench[0xD0] = 4
    #expect(bench[0x08] & 0xC3 == 0x83)
    bench.card.setCarrier(false)
    #expect(bench[0x08] & 2 == 0)
    #expect(bench.card.interruptLevel)
    #expect(bench[0xC0] == 4)
    #expect(!bench.card.interruptLevel)
    bench.card.setCarrier(true)
    #expect(bench[0xC0] == 4)
    #expect(bench.mdio(1) & 4 == 0, "the loss shows once")
    #expect(bench.mdio(1) & 4 == 4)
    bench.card.setCarrier(true)
    #expect(bench[0xC0] == 0, "no change, no interrupt")
  }

  @Test func withoutALinkNothingLeavesAndNothingComes() throws {
    let bench = try E1000Bench()
    bench.startReceiving()
    bench.startTransmitting()
    bench.card.setCarrier(false)
    #expect(bench.card.receive(SampleFrame.ethernet()))
    #expect(bench.received(0).status == 0)
    bench.put(SampleFrame.ethernet())
    bench.descriptor(E1000Bench.transmitBuffers, 0x0900_0000 | 64)
    bench.go()
    #expect(bench.takeSent().isEmpty)
    #expect(bench.transmitted(0) & 1 == 1, "the descriptor is the driver's again")
    #expect(bench[0x4080] == 0, "it does not count as sent")
  }

  @Test func causesClearWhenTheyAreReadAndTheMaskDecides() throws {
    let bench = try E1000Bench()
    bench[0xC8] = 0x84
    #expect(!bench.card.interruptLevel)
    bench[0xD0] = 0x80
    #expect(bench.card.interruptLevel)
    bench[0xD8] = 0x80
    #expect(!bench.card.interruptLevel)
    #expect(bench[0xD0] == 0)
    bench[0xD0] = 0x84
    #expect(bench.card.interruptLevel)
    bench[0xC0] = 0x80
    #expect(bench.card.interruptLevel, "the other cause is still there")
    #expect(bench[0xC0] == 0x04)
    #expect(bench[0xC0] == 0)
    #expect(!bench.card.interruptLevel)
  }

  @Test func theThrottleKeepsInterruptsApart() throws {
    let bench = try E1000Bench()
    bench[0xC4] = 1000  // 256 us
    bench[0xD0] = 0x80
    bench[0xC8] = 0x80
    #expect(bench.card.interruptLevel, "the first comes at once")
    _ = bench[0xC0]
    bench.board.time.advance(microseconds: 100)
    bench[0xC8] = 0x80
    #expect(!bench.card.interruptLevel)
    bench.board.time.advance(microseconds: 155)
    #expect(!bench.card.interruptLevel)
    bench.board.time.advance(microseconds: 1)
    #expect(bench.card.interruptLevel)
  }

  @Test func aReceiveDelayGathersFramesAndTheAbsoluteOneEndsIt() throws {
    let bench = try E1000Bench()
    bench.startReceiving()
    bench[0x2820] = 100  // 102.4 us after the last frame
    bench[0x282C] = 250  // 256 us after the first
    bench[0xD0] = 0x80
    for _ in 0..<4 {
      #expect(bench.card.receive(SampleFrame.ethernet()))
      #expect(!bench.card.interruptLevel)
      bench.board.time.advance(microseconds: 60)
    }
    #expect(bench.card.receive(SampleFrame.ethernet()))
    bench.board.time.advance(microseconds: 15)
    #expect(!bench.card.interruptLevel)
    bench.board.time.advance(microseconds: 1)
    #expect(bench.card.interruptLevel, "256 us after the first frame")
    _ = bench[0xC0]
    #expect(bench.card.receive(SampleFrame.ethernet()))
    bench.board.time.advance(microseconds: 102)
    #expect(!bench.card.interruptLevel)
    bench.board.time.advance(microseconds: 1)
    #expect(bench.card.interruptLevel)
  }

  @Test func aResetOfTheControllerKeepsThePHYAndLoadsTheAddress() throws {
    let bench = try E1000Bench()
    bench.startReceiving()
    bench[0x5400] = 0
    bench[0x5200] = 5
    bench.mdio(4, write: 0x01E1)
    bench[0x00] = 1 << 26
    #expect(bench[0x00] == 0x0014_0241)
    #expect(bench[0x100] == 0)
    #expect(bench[0x5200] == 0)
    #expect(bench[0x5400] == 0x1227_0008)
    #expect(bench.mdio(4) == 0x01E1)
  }

  @Test func oldAddressesReachTheSameRegisters() throws {
    let bench = try E1000Bench()
    #expect(bench[0x40] == 0x1227_0008)
    bench[0x110] = 0x5000
    #expect(bench[0x2800] == 0x5000)
    bench[0x438] = 3
    #expect(bench[0x3818] == 3)
    bench[0x200] = 9
    #expect(bench[0x5200] == 9)
  }

  @Test(arguments: [
    ("08:00:27:aB:cd:ef", "08:00:27:ab:cd:ef"), ("080027ABCDEF", "08:00:27:ab:cd:ef"),
    ("08-00-27-ab-cd-ef", "08:00:27:ab:cd:ef"), ("08:00:27:ab:cd", nil), ("08:00:27:ab:cd:e", nil), ("", nil),
    ("08:00:27:ab:cd:eg", nil), ("0800:27abcdef", nil),
  ])
  func anAddressIsReadInItsThreeForms(_ text: String, _ expected: String?) {
    #expect(MACAddress(text)?.description == expected)
  }
}
