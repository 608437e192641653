import Testing

@testable import Devices

@Suite struct PCITestDeviceTests {
  private let board: TestBoard
  private let device: PCITestDevice

  /// Memory at 0xE0000000, ports at 0xC000.
  init() throws {
    board = try TestBoard()
    device = PCITestDevice(memory: board.memory, ports: board.ports, on: board.pci, slot: 30)
    board.configWrite(30, 0, 0x10, 0xE000_0000)
    board.configWrite(30, 0, 0x14, 0xC001)
    board.configWrite(30, 0, 4, 3, size: 2)
  }

  @Test func itIsFoundByItsIds() { #expect(board.configRead(30, 0, 0) == 0x0005_1B36) }

  @Test func barsHaveTheSizesThatTheyDecode() {
    board.configWrite(30, 0, 0x10, .max)
    board.configWrite(30, 0, 0x14, .max)
    #expect(board.configRead(30, 0, 0x10) == 0xFFFF_F000)
    #expect(board.configRead(30, 0, 0x14) == 0xFFFF_FF01)
  }

  @Test(arguments: [0, 1, 2])
  func aWriteOfTheTestsWidthAndValueIsCounted(_ test: Int) {
    let width = 1 << test
    let base: UInt64 = 0xE000_0000
    board.memory.writeIO(base, size: 1, value: UInt64(test))
    #expect(board.memory.readIO(base + 1, size: 1) == UInt64(width))
    let place = board.memory.readIO(base + 4, size: 4)
    let value = board.memory.readIO(base + 8, size: 4) & (UInt64.max >> UInt64(64 - width * 8))
    board.memory.writeIO(base + place, size: width, value: value)
    board.memory.writeIO(base + place, size: width, value: value)
    // Another width, value or place is no such write.
    board.memory.writeIO(base + place, size: width == 1 ? 2 : 1, value: value)
    board.memory.writeIO(base + place, size: width, value: value ^ 1)
    board.memory.writeIO(base + place + 8, size: width, value: value)
    #expect(board.memory.readIO(base + 12, size: 4) == 2)
    // The ports have registers of their own.
    #expect(board.in(0xC00C, size: 4) == 0)
    board.out(0xC000, UInt32(test))
    let port = 0xC000 + UInt16(board.in(0xC004, size: 4))
    board.out(port, UInt32(value), size: width)
    #expect(board.in(0xC00C, size: 4) == 1)
    board.out(0xC000, UInt32(test))
    #expect(board.in(0xC00C, size: 4) == 0)
  }

  @Test func aTestThatIsNotThereHasNoWidth() {
    for test in [3 as UInt32, 255] {
      board.out(0xC000, test)
      #expect(board.in(0xC001) == 0)
      board.out(0xC080, 0xFA)
      #expect(board.in(0xC00C, size: 4) == 0)
    }
  }

  @Test func namesEndInZeroWithinTheHeader() {
    board.out(0xC000, 2)
    let name = (0..<16).map { UInt8(board.in(0xC010 + UInt16($0))) }
    #expect(String(decoding: name.prefix { $0 != 0 }, as: UTF8.self) == "portio-4")
    #expect(name.last == 0)
    // The header's end and what lies behind it.
    #expect(board.in(0xC0FC, size: 4) == 0)
    #expect(board.memory.readIO(0xE000_0FF8, size: 8) == 0)
  }
}
