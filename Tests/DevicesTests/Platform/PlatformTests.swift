import Foundation
import Testing

@testable import Devices

@Suite struct FirmwareConfigTests {
  private func board() throws -> (TestBoard, FirmwareConfig) {
    let board = try TestBoard()
    let config = FirmwareConfig(ports: board.ports, memory: board.memory)
    config.add(file: "etc/b", data: Data([1, 2, 3]))
    config.add(file: "etc/a", data: Data([9]))
    return (board, config)
  }

  @Test func theSignatureReadsByteByByte() throws {
    let (board, _) = try board()
    board.out(0x510, 0, size: 2)
    #expect((0..<5).map { _ in board.in(0x511) } == [0x51, 0x45, 0x4D, 0x55, 0])
  }

  @Test func theDirectoryIsSortedAndBigEndian() throws {
    let (board, _) = try board()
    board.out(0x510, 0x19, size: 2)
    let bytes = (0..<132).map { _ in UInt8(board.in(0x511)) }
    #expect(Array(bytes[0..<4]) == [0, 0, 0, 2])
    #expect(Array(bytes[4..<12]) == [0, 0, 0, 1, 0, 0x21, 0, 0])
    #expect(Array(bytes[12..<17]) == Array("etc/a".utf8))
    #expect(Array(bytes[68..<76]) == [0, 0, 0, 3, 0, 0x20, 0, 0])
  }

  private func dma(_ board: TestBoard, control: UInt32, length: UInt32, address: UInt64) -> UInt32 {
    board.memory.write(0x1000, control.bigEndian)
    board.memory.write(0x1004, length.bigEndian)
    board.memory.write(0x1008, address.bigEndian)
    board.out(0x514, 0, size: 4)
    board.out(0x518, UInt32(0x1000).byteSwapped, size: 4)
    return UInt32(bigEndian: board.memory.read(0x1000, as: UInt32.self))
  }

  @Test func dmaSelectsReadsSkipsAndPadsWithZeros() throws {
    let (board, _) = try board()
    board.memory.write(0x2000, 0xFFFF_FFFF_FFFF_FFFF as UInt64)
    #expect(dma(board, control: 0x20 << 16 | 0x0A, length: 5, address: 0x2000) == 0)
    #expect(board.memory.read(0x2000, as: UInt64.self) == 0xFFFF_FF00_0003_0201)
    #expect(dma(board, control: 0x20 << 16 | 0x0C, length: 2, address: 0) == 0)
    #expect(dma(board, control: 2, length: 1, address: 0x2000) == 0)
    #expect(board.memory.read(0x2000, as: UInt8.self) == 3)
    #expect(dma(board, control: 0x20 << 16 | 0x18, length: 2, address: 0x2000) == 1)
  }

  @Test func hugeLengthsDoNoHarm() throws {
    let (board, _) = try board()
    #expect(dma(board, control: 0x20 << 16 | 0x0A, length: .max, address: 0xFFFF_FFFF_FFFF_FFF0) == 0)
  }
}

@Suite struct PowerManagementTests {
  private func board() throws -> (TestBoard, PIIX4PM) {
    let board = try TestBoard()
    board.initialisePICs()
    let power = PIIX4PM(bus: board.pci, ports: board.ports, clock: board.time.clock, sci: board.wires.line(9))
    board.configWrite(1, 3, 0x40, 0xB001)
    board.configWrite(1, 3, 0x80, 1, size: 1)
    return (board, power)
  }

  @Test func theTimerRunsAt3579545HzIn24Bits() throws {
    let (board, _power) = try board()
    board.time.advance(milliseconds: 1000)
    #expect(board.in(0xB008, size: 4) == 3_579_545)
    board.time.advance(milliseconds: 4000)
    #expect(board.in(0xB008, size: 4) == UInt32(5 * 3_579_545 % 0x100_0000))
    withExtendedLifetime(_power) {}
  }

  @Test func theTimersOverflowRaisesTheSCI() throws {
    let (board, _power) = try board()
    board.out(0xB2, 0xF1)
    board.out(0xB002, 1, size: 2)
    board.time.advance(milliseconds: 2300)
    #expect(!board.pic.output)
    board.time.advance(milliseconds: 50)
    #expect(board.pic.acknowledge() == 0x29)
    #expect(board.in(0xB000, size: 2) & 1 == 1)
    board.out(0xB000, 1, size: 2)
    #expect(board.in(0xB000, size: 2) & 1 == 0)
    withExtendedLifetime(_power) {}
  }

  @Test func thePowerButtonNeedsACPIModeToInterrupt() throws {
    let (board, power) = try board()
    board.out(0xB002, 0x100, size: 2)
    power.pressPowerButton()
    #expect(!board.pic.output)
    #expect(board.in(0xB000, size: 2) & 0x100 != 0)
    board.out(0xB2, 0xF1)
    #expect(board.in(0xB004, size: 2) & 1 == 1)
    #expect(board.pic.output)
  }

  @Test(
    "the firmware's tables learn which serial ports the board has",
    arguments: [
      ([], 0), ([0x3F8], 0x08), ([0x3F8, 0x2F8], 0x98), ([0x2F8, 0x3E8], 0x90),
    ] as [([UInt16], UInt32)])
  func serialPortsAreDecoded(_ ports: [UInt16], _ bits: UInt32) throws {
    let board = try TestBoard()
    let power = PIIX4PM(
      bus: board.pci, ports: board.ports, clock: board.time.clock, sci: board.wires.line(9), serialPorts: ports)
    #expect(board.configRead(1, 3, 0x64) >> 24 == bits)
    power.reset()
    #expect(board.configRead(1, 3, 0x64) >> 24 == bits)
  }

  @Test func softOffCallsTheBoard() throws {
    let (board, power) = try board()
    var off = 0
    power.onPowerOff = { off += 1 }
    board.out(0xB004, 0x2001, size: 2)
    #expect(off == 1)
    #expect(board.in(0xB004, size: 2) == 1)
  }

  @Test func firmwareFindsThatSMMIsSeenTo() throws {
    let (board, _power) = try board()
    #expect(board.configRead(1, 3, 0x58) & 1 << 25 != 0)
    withExtendedLifetime(_power) {}
  }
}

@Suite struct DMA8237Tests {
  private final class Peer: DMAChannelPeer {
    var data: [UInt8] = []
    var finished = 0
    func dmaRead(into buffer: UnsafeMutableRawBufferPointer) -> Int {
      let count = min(buffer.count, data.count)
      for index in 0..<count { buffer[index] = data[index] }
      return count
    }
    func dmaWrite(from buffer: UnsafeRawBufferPointer) -> Int {
      data = Array(buffer)
      return buffer.count
    }
    func dmaTerminalCount() { finished += 1 }
    var openings = 0
    func dmaChannelOpened() { openings += 1 }
  }

  @Test func aChannelMovesItsCountAndMasksItself() throws {
    let board = try TestBoard()
    let dma = DMA8237(ports: board.ports, memory: board.memory)
    let peer = Peer()
    dma.connect(peer, channel: 2)
    peer.data = [1, 2, 3, 4]
    board.out(0x0C, 0)
    board.out(0x04, 0x00)
    board.out(0x04, 0x30)
    board.out(0x05, 3)
    board.out(0x05, 0)
    board.out(0x81, 1)
    board.out(0x0B, 0x46)
    dma.service(2)
    #expect(peer.finished == 0)
    #expect(peer.openings == 0)
    board.out(0x0A, 2)
    #expect(peer.openings == 1)
    dma.service(2)
    #expect(peer.finished == 1)
    #expect(board.memory.read(0x13000, as: UInt32.self) == 0x0403_0201)
    #expect(board.in(0x08) & 4 != 0)
    #expect(board.in(0x08) & 4 == 0)
    dma.service(2)
    #expect(peer.finished == 1)
  }
}

@Suite struct ResetAndDebugTests {
  @Test func resetPortsReset() throws {
    let board = try TestBoard()
    let ports = ResetPorts(ports: board.ports)
    var resets = 0
    ports.onReset = { resets += 1 }
    board.out(0xCF9, 0x02)
    board.out(0xCF9, 0x06)
    board.out(0x92, 0x01)
    #expect(resets == 2)
  }

  @Test func debugPortPrintsLinesAndEnds() throws {
    let board = try TestBoard()
    var lines: [String] = []
    var code: UInt8?
    let ports = DebugPorts(ports: board.ports, log: { lines.append($0) }, onExit: { code = $0 })
    for byte in "one\ntwo".utf8 { board.out(0xE9, UInt32(byte)) }
    #expect(lines == ["one"])
    #expect(board.in(0xE9) == 0xE9)
    board.out(0xF4, 5)
    #expect(lines == ["one", "two"])
    #expect(code == 5)
    withExtendedLifetime(ports) {}
  }
}
