import Testing

@testable import Devices

@Suite struct PIT8254Tests {
  private final class Edges {
    var rises = 0
  }

  private func pit(_ board: TestBoard, _ edges: Edges) -> PIT8254 {
    PIT8254(ports: board.ports, clock: board.time.clock, irq: InterruptLine { if $0 { edges.rises += 1 } })
  }

  private func program(_ board: TestBoard, _ counter: Int, mode: UInt32, count: UInt32, bcd: Bool = false) {
    board.out(0x43, UInt32(counter) << 6 | 0x30 | mode << 1 | (bcd ? 1 : 0))
    board.out(0x40 + UInt16(counter), count & 0xFF)
    board.out(0x40 + UInt16(counter), count >> 8)
  }

  private func read(_ board: TestBoard, _ counter: Int) -> UInt32 {
    board.out(0x43, UInt32(counter) << 6)
    let low = board.in(0x40 + UInt16(counter))
    return low | board.in(0x40 + UInt16(counter)) << 8
  }

  @Test(arguments: [2, 3] as [UInt32]) func periodicModesInterruptAtTheirRate(mode: UInt32) throws {
    let board = try TestBoard()
    let edges = Edges()
    let pit = pit(board, edges)
    program(board, 0, mode: mode, count: 11932)
    edges.rises = 0
    board.time.advance(milliseconds: 1000)
    #expect((99...100).contains(edges.rises))
    withExtendedLifetime(pit) {}
  }

  @Test(arguments: [0, 4] as [UInt32]) func oneShotModesInterruptOnce(mode: UInt32) throws {
    let board = try TestBoard()
    let edges = Edges()
    let pit = pit(board, edges)
    program(board, 0, mode: mode, count: 1193)
    edges.rises = 0
    board.time.advance(nanoseconds: 990_000)
    #expect(edges.rises == 0)
    board.time.advance(milliseconds: 200)
    #expect(edges.rises == 1)
    withExtendedLifetime(pit) {}
  }

  @Test func theCountRunsDownAndALatchHoldsIt() throws {
    let board = try TestBoard()
    let pit = pit(board, Edges())
    program(board, 0, mode: 2, count: 0)
    board.time.advance(milliseconds: 10)
    #expect(read(board, 0) == 65536 - 11931)
    board.out(0x43, 0)
    board.time.advance(milliseconds: 10)
    #expect(board.in(0x40) | board.in(0x40) << 8 == 65536 - 11931)
    withExtendedLifetime(pit) {}
  }

  @Test func bcdCountsInDecimal() throws {
    let board = try TestBoard()
    let pit = pit(board, Edges())
    program(board, 0, mode: 2, count: 0x1000, bcd: true)
    board.time.advance(nanoseconds: 837_700)  // 999 ticks and a little
    #expect(read(board, 0) == 1)
    withExtendedLifetime(pit) {}
  }

  @Test func readBackGivesStatus() throws {
    let board = try TestBoard()
    let pit = pit(board, Edges())
    program(board, 0, mode: 3, count: 1000)
    board.out(0x43, 0xE2)
    #expect(board.in(0x40) == 0xB6)
    withExtendedLifetime(pit) {}
  }

  @Test func port61GatesCounter2AndShowsItsOutput() throws {
    let board = try TestBoard()
    let pit = pit(board, Edges())
    board.out(0x61, 0)
    program(board, 2, mode: 0, count: 1193)
    board.time.advance(milliseconds: 5)
    #expect(board.in(0x61) & 0x20 == 0)
    board.out(0x61, 1)
    board.time.advance(nanoseconds: 900_000)
    #expect(board.in(0x61) & 0x20 == 0)
    board.time.advance(nanoseconds: 200_000)
    #expect(board.in(0x61) & 0x20 != 0)
    withExtendedLifetime(pit) {}
  }

  @Test func gateStopsModes0And4AndTriggersModes1And5() {
    var counter = PITCounter()
    counter.gate = false
    counter.control(0x32)  // mode 1
    counter.write(100, 0)
    counter.write(0, 0)
    #expect(counter.output(50))
    counter.setGate(true, 1000)
    #expect(!counter.output(1050))
    #expect(counter.output(1100))
    counter.control(0x30)  // mode 0
    counter.write(100, 2000)
    counter.write(0, 2000)
    counter.setGate(false, 2040)
    #expect(counter.value(2500) == 60)
    counter.setGate(true, 3000)
    #expect(!counter.output(3059))
    #expect(counter.output(3060))
  }

  @Test func aLoadedTimerGoesOnWhereItWas() throws {
    let board = try TestBoard()
    let edges = Edges()
    let first = pit(board, edges)
    program(board, 0, mode: 2, count: 11932)
    board.time.advance(milliseconds: 5)
    let saved = try first.save()
    let second = pit(board, edges)
    try second.load(saved)
    first.reset()
    edges.rises = 0
    board.time.advance(milliseconds: 6)
    #expect(edges.rises == 1)
  }
}

@Suite struct RTC146818Tests {
  private func rtc(_ board: TestBoard, date: Int64 = 951_782_399) -> RTC146818 {  // 2000-02-28 23:59:59
    RTC146818(ports: board.ports, clock: board.time.clock, irq: board.wires.line(8), date: date)
  }

  private func read(_ board: TestBoard, _ register: UInt32) -> UInt32 {
    board.out(0x70, register)
    return board.in(0x71)
  }

  private func write(_ board: TestBoard, _ register: UInt32, _ value: UInt32) {
    board.out(0x70, register)
    board.out(0x71, value)
  }

  @Test func dateRollsOverALeapDay() throws {
    let board = try TestBoard()
    let rtc = rtc(board)
    board.time.advance(milliseconds: 1001)
    #expect([0, 2, 4, 6, 7, 8, 9, 0x32].map { read(board, $0) } == [0, 0, 0, 3, 0x29, 2, 0, 0x20])
    withExtendedLifetime(rtc) {}
  }

  @Test func calendarAgreesWithItselfOverCenturies() {
    for day in stride(from: Int64(0), to: 80_000, by: 7) {
      let date = CalendarTime(epoch: day * 86400 + 3661)
      #expect(date.epoch == day * 86400 + 3661)
      #expect(date.weekday == Int((day + 4) % 7) + 1)
    }
  }

  @Test func binaryAndTwelveHourModes() throws {
    let board = try TestBoard()
    let rtc = rtc(board)
    write(board, 11, 0x04)  // binary, 12 hours
    #expect(read(board, 4) == 0x80 | 11)
    #expect(read(board, 0) == 59)
    withExtendedLifetime(rtc) {}
  }

  @Test func settingTheTimeHoldsItUntilSETIsCleared() throws {
    let board = try TestBoard()
    let rtc = rtc(board)
    write(board, 11, 0x82)
    for (register, value) in [(0, 0x30), (2, 0x15), (4, 0x08), (7, 0x01), (8, 0x06), (9, 0x24), (0x32, 0x20)]
      as [(UInt32, UInt32)]
    {
      write(board, register, value)
    }
    board.time.advance(milliseconds: 5000)
    #expect(read(board, 0) == 0x30)
    write(board, 11, 0x02)
    board.time.advance(milliseconds: 2000)
    #expect(read(board, 0) == 0x32)
    #expect(read(board, 9) == 0x24)
    withExtendedLifetime(rtc) {}
  }

  @Test func updatePeriodicAndAlarmInterrupt() throws {
    let board = try TestBoard()
    board.initialisePICs()
    let rtc = rtc(board)
    write(board, 11, 0x12)
    board.time.advance(milliseconds: 1001)
    #expect(board.pic.acknowledge() == 0x28)
    #expect(read(board, 12) & 0xD0 == 0x90)
    #expect(read(board, 12) == 0)
    write(board, 10, 0x26)
    write(board, 11, 0x42)
    board.time.advance(milliseconds: 1)
    #expect(read(board, 12) & 0xC0 == 0xC0)
    write(board, 1, 0x05)
    write(board, 3, 0xC0)
    write(board, 5, 0xC0)
    write(board, 11, 0x22)
    board.time.advance(milliseconds: 3000)
    #expect(read(board, 12) & 0x20 == 0)
    board.time.advance(milliseconds: 2000)
    #expect(read(board, 12) & 0xA0 == 0xA0)
    withExtendedLifetime(rtc) {}
  }

  /// What a host's wall clock shows; a test moves it.
  private final class WallClock {
    var nanoseconds: Int64
    init(_ seconds: Int64) { nanoseconds = seconds * 1_000_000_000 }
  }

  private func time(_ board: TestBoard) -> [UInt32] { [4, 2, 0].map { read(board, $0) } }

  @Test(arguments: [(0, [0x00, 0x10, 0x02]), (3600, [0x01, 0x10, 0x02])] as [(Int64, [UInt32])])
  func afterARestoreTheDateIsWhatItWouldBe(zone: Int64, expected: [UInt32]) throws {
    let wall = WallClock(951_782_399)
    let board = try TestBoard()
    let first = RTC146818(
      ports: board.ports, clock: board.time.clock, irq: board.wires.line(8), date: 951_782_399 + zone,
      wallClock: { wall.nanoseconds })
    board.time.advance(milliseconds: 2000)
    wall.nanoseconds += 2_000_000_000
    first.pause()
    let saved = try first.save()
    let later = try TestBoard()
    later.time.clock.stop()
    later.time.clock.set(board.time.clock.now)
    later.time.clock.start()
    // 10 minutes and a second pass until the machine goes on, on a host that is in the same zone.
    wall.nanoseconds += 601_000_000_000
    let second = RTC146818(
      ports: later.ports, clock: later.time.clock, irq: later.wires.line(8), date: 0, wallClock: { wall.nanoseconds })
    try second.load(saved)
    #expect(try second.save() == saved, "loading alone changes nothing")
    let guestTime = later.time.clock.now
    second.resume()
    #expect(later.time.clock.now == guestTime)
    #expect(time(later) == expected)
    // A clock that the guest has set keeps its distance.
    write(later, 4, 0x12)
    second.pause()
    wall.nanoseconds += 60_000_000_000
    second.resume()
    #expect(time(later) == [0x12, 0x11, 0x02])
    // It is never set back.
    wall.nanoseconds -= 3_600_000_000_000
    second.resume()
    #expect(time(later) == [0x12, 0x11, 0x02])
  }

  @Test func anAlarmThatWasDueWhileTheMachineWasSavedComesWhenItGoesOn() throws {
    let wall = WallClock(951_782_399)
    let board = try TestBoard()
    board.initialisePICs()
    let rtc = RTC146818(
      ports: board.ports, clock: board.time.clock, irq: board.wires.line(8), date: 951_782_399,
      wallClock: { wall.nanoseconds })
    for (register, value) in [(1, 0x00), (3, 0x05), (5, 0x00)] as [(UInt32, UInt32)] { write(board, register, value) }
    write(board, 11, 0x22)
    rtc.pause()
    wall.nanoseconds += 3_600_000_000_000
    rtc.resume()
    #expect(board.pic.acknowledge() == 0x28)
    #expect(read(board, 12) & 0xA0 == 0xA0)
  }

  @Test func updateInProgressShowsBeforeTheSecond() throws {
    let board = try TestBoard()
    let rtc = rtc(board)
    #expect(read(board, 10) & 0x80 == 0)
    board.time.advance(nanoseconds: 999_900_000)
    #expect(read(board, 10) & 0x80 != 0)
    withExtendedLifetime(rtc) {}
  }
}

@Suite struct HPETTests {
  private final class Pins {
    var rises: [Int] = []
  }

  private func hpet(_ board: TestBoard, _ pins: Pins) -> HPET {
    HPET(memory: board.memory, clock: board.time.clock, wires: board.wires) { pin, level in
      if level { pins.rises.append(pin) }
    }
  }

  @Test func theCounterRunsAtItsPeriodWhileEnabled() throws {
    let board = try TestBoard()
    let hpet = hpet(board, Pins())
    #expect(hpet.readMemory(offset: 4, size: 4) == 10_000_000)
    board.time.advance(microseconds: 10)
    #expect(hpet.readMemory(offset: 0xF0, size: 8) == 0)
    hpet.writeMemory(offset: 0x10, size: 4, value: 1)
    board.time.advance(microseconds: 10)
    #expect(hpet.readMemory(offset: 0xF0, size: 8) == 1000)
  }

  @Test func aPeriodicComparatorAccumulates() throws {
    let board = try TestBoard()
    let pins = Pins()
    let hpet = hpet(board, pins)
    hpet.writeMemory(offset: 0x10, size: 4, value: 1)
    // Edge, periodic, 32 bits, enabled, pin 2, accumulator.
    hpet.writeMemory(offset: 0x100, size: 4, value: 2 << 9 | 0x14C)
    hpet.writeMemory(offset: 0x108, size: 4, value: 5000)
    hpet.writeMemory(offset: 0x108, size: 4, value: 1000)
    board.time.advance(microseconds: 49)
    #expect(pins.rises.isEmpty)
    board.time.advance(microseconds: 31)
    #expect(pins.rises == [2, 2, 2, 2])
    #expect(hpet.readMemory(offset: 0x108, size: 4) == 9000)
  }

  @Test func comparatorsWhoseInterruptsAreOffNeedNoAlarmsAndReadAsIfTheyHadThem() throws {
    let board = try TestBoard()
    let pins = Pins()
    let hpet = hpet(board, pins)
    hpet.writeMemory(offset: 0x10, size: 4, value: 1)
    // Periodic, every 10 us from 50 us on; and one that matches each time that 32 bits come round to 1 us.
    hpet.writeMemory(offset: 0x100, size: 4, value: 2 << 9 | 0x148)
    hpet.writeMemory(offset: 0x108, size: 4, value: 5000)
    hpet.writeMemory(offset: 0x108, size: 4, value: 1000)
    hpet.writeMemory(offset: 0x120, size: 4, value: 17 << 9 | 0x100)
    hpet.writeMemory(offset: 0x128, size: 4, value: 100)
    #expect(board.time.clock.nextDeadline == nil)
    board.time.advance(microseconds: 60_000_045)
    #expect(hpet.readMemory(offset: 0xF0, size: 8) == 6_000_004_500)
    #expect(hpet.readMemory(offset: 0x108, size: 4) == 6_000_005_000 & 0xFFFF_FFFF)
    #expect(pins.rises.isEmpty)
    // On again, they keep step.
    hpet.writeMemory(offset: 0x100, size: 4, value: 2 << 9 | 0x10C)
    board.time.advance(microseconds: 4)
    #expect(pins.rises.isEmpty)
    board.time.advance(microseconds: 12)
    #expect(pins.rises == [2, 2])
    hpet.writeMemory(offset: 0x100, size: 4, value: 2 << 9 | 0x108)
    hpet.writeMemory(offset: 0x120, size: 4, value: 17 << 9 | 0x104)
    // 2 x 2^32 ticks and 100.
    board.time.advance(microseconds: 85_899_346 - 60_000_061)
    #expect(pins.rises == [2, 2])
    board.time.advance(microseconds: 1)
    #expect(pins.rises == [2, 2, 17])
  }

  @Test func aLevelComparatorHoldsUntilItsStatusIsCleared() throws {
    let board = try TestBoard()
    let pins = Pins()
    let hpet = hpet(board, pins)
    hpet.writeMemory(offset: 0x120, size: 4, value: 17 << 9 | 6)
    hpet.writeMemory(offset: 0x128, size: 8, value: 100)
    hpet.writeMemory(offset: 0x10, size: 4, value: 1)
    board.time.advance(microseconds: 2)
    #expect(pins.rises == [17])
    #expect(hpet.readMemory(offset: 0x20, size: 4) == 2)
    hpet.writeMemory(offset: 0x20, size: 4, value: 2)
    #expect(hpet.readMemory(offset: 0x20, size: 4) == 0)
  }

  @Test func legacyReplacementTakesIRQ0FromThePIT() throws {
    let board = try TestBoard()
    board.initialisePICs()
    let hpet = hpet(board, Pins())
    hpet.writeMemory(offset: 0x10, size: 4, value: 3)
    hpet.pitInput.pulse()
    #expect(!board.pic.output)
    hpet.writeMemory(offset: 0x100, size: 4, value: 4)
    hpet.writeMemory(offset: 0x108, size: 8, value: 500)
    board.time.advance(microseconds: 6)
    #expect(board.pic.acknowledge() == 0x20)
  }
}
