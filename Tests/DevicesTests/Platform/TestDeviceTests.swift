import Testing

@testable import Devices

/// The board as public suites expect it under `--debug-ports on`.
@Suite struct TestDeviceTests {
  @Test func itsPortsKeepWhatIsWrittenInAnyWidth() throws {
    let board = try TestBoard()
    let device = TestDevice(ports: board.ports, memory: board.memory) { _, _ in }
    withExtendedLifetime(device) {
      for size in [1, 2, 4] {
        let value =
          UInt32(truncatingIfNeeded: 0xA1B2_C3D4_E5F6 >> (size * 4)) & (size == 4 ? .max : 1 << UInt32(size * 8) - 1)
        board.out(0xE0, value, size: size)
        #expect(board.in(0xE0, size: size) == value)
      }
      board.out(0xE8, 0x0403_0201, size: 4)
      #expect(board.in(0xEA, size: 2) == 0x0403 && board.in(0xEB) == 4)
    }
  }

  @Test func itsLinesReachTheInterruptControllers() throws {
    let board = try TestBoard()
    var levels: [Int: Bool] = [:]
    let device = TestDevice(ports: board.ports, memory: board.memory) { levels[$0] = $1 }
    withExtendedLifetime(device) {
      board.out(0x2000, 1)
      board.out(0x2017, 1)
      #expect(levels == [0: true, 23: true] && board.in(0x2017) == 1)
      board.out(0x2017, 0)
      #expect(levels[23] == false)
      device.reset()
      #expect(levels[0] == false && board.in(0x2000) == 0)
    }
  }

  @Test func itsWindowIsMemory() throws {
    let board = try TestBoard()
    let device = TestDevice(ports: board.ports, memory: board.memory) { _, _ in }
    withExtendedLifetime(device) {
      let last = TestDevice.windowBase + 0xFFF8
      board.memory.writeIO(last, size: 8, value: 0x0123_4567_89AB_CDEF)
      #expect(board.memory.readIO(last + 4, size: 4) == 0x0123_4567)
      #expect(board.memory.readIO(last + 8, size: 4) == 0xFFFF_FFFF)
    }
  }
}
