import Testing

@testable import Devices

@Suite struct APICTests {
  private func machine(_ count: Int) throws -> (TestBoard, [LocalAPIC]) {
    let board = try TestBoard()
    let apics = (0..<count).map { LocalAPIC(index: $0, fabric: board.fabric, clock: board.time.clock) }
    for apic in apics { apic.write(0xF0, 0x1FF) }
    return (board, apics)
  }

  private func redirect(_ board: TestBoard, _ pin: Int, _ low: UInt64, destination: UInt64 = 0) {
    board.ioapic.writeMemory(offset: 0, size: 4, value: UInt64(0x11 + pin * 2))
    board.ioapic.writeMemory(offset: 0x10, size: 4, value: destination << 24)
    board.ioapic.writeMemory(offset: 0, size: 4, value: UInt64(0x10 + pin * 2))
    board.ioapic.writeMemory(offset: 0x10, size: 4, value: low)
  }

  private func message(_ vector: UInt8, to destination: UInt32 = 0, logical: Bool = false, mode: DeliveryMode = .fixed)
    -> InterruptMessage
  {
    InterruptMessage(destination: destination, logical: logical, mode: mode, vector: vector, level: false)
  }

  @Test func aHigherClassInterruptsALowerOneAndNotTheOtherWayRound() throws {
    let (board, apics) = try machine(1)
    board.fabric.deliver(message(0x45))
    #expect(apics[0].acknowledge() == 0x45)
    board.fabric.deliver(message(0x4F))
    #expect(apics[0].acknowledge() == nil)
    board.fabric.deliver(message(0x51))
    #expect(apics[0].acknowledge() == 0x51)
    apics[0].write(0xB0, 0)
    #expect(apics[0].acknowledge() == nil)
    apics[0].write(0xB0, 0)
    #expect(apics[0].acknowledge() == 0x4F)
  }

  @Test func theTaskPriorityHoldsItsClassBack() throws {
    let (board, apics) = try machine(1)
    var levels: [Bool] = []
    apics[0].onInterrupt = { levels.append($0) }
    apics[0].taskPriority = 6
    board.fabric.deliver(message(0x61))
    #expect(levels.isEmpty)
    apics[0].taskPriority = 5
    #expect(levels == [true])
    #expect(apics[0].acknowledge() == 0x61)
    #expect(levels == [true, false])
    #expect(apics[0].read(0xA0) == 0x60)
  }

  @Test func logicalDestinationsReachTheirSets() throws {
    let (board, apics) = try machine(3)
    for (index, apic) in apics.enumerated() { apic.write(0xD0, 1 << UInt32(24 + index)) }
    board.fabric.deliver(message(0x40, to: 0b101, logical: true))
    #expect(apics.map { $0.acknowledge() } == [0x40, nil, 0x40])
    for (index, apic) in apics.enumerated() {
      apic.write(0xB0, 0)
      apic.write(0xE0, 0x0FFF_FFFF)  // cluster model
      apic.write(0xD0, UInt32(index == 2 ? 0x21 : 0x10 | 1 << index) << 24)
    }
    board.fabric.deliver(message(0x41, to: 0x13, logical: true))
    #expect(apics.map { $0.acknowledge() } == [0x41, 0x41, nil])
  }

  @Test func lowestPriorityGoesToOneCPU() throws {
    let (board, apics) = try machine(2)
    apics[0].taskPriority = 8
    board.fabric.deliver(message(0x90, to: 0xFF, mode: .lowestPriority))
    #expect(apics.map { $0.acknowledge() } == [nil, 0x90])
  }

  /// Cleared, IA32_APIC_BASE bit 11 takes the page away; set again, the APIC is as after a reset (Intel SDM vol. 3A, 11.4.3).
  @Test func aDisabledAPICAnswersNobodyAndComesBackAsAfterAReset() throws {
    let (board, apics) = try machine(2)
    let apic = apics[1]
    board.fabric.currentCPU = 1
    apic.write(0x20, 0x0700_0000)
    apic.taskPriority = 3
    board.fabric.deliver(message(0x45, to: 7))
    let base = apic.base
    apic.setBase(base & ~0x800)
    #expect(board.fabric.readMemory(offset: 0x30, size: 4) == .max)
    board.fabric.writeMemory(offset: 0x80, size: 4, value: 0x40)
    board.fabric.deliver(message(0x46, to: 7))
    #expect(apic.acknowledge() == nil)
    // The other one's page is there.
    board.fabric.currentCPU = 0
    #expect(board.fabric.readMemory(offset: 0x30, size: 4) == 0x5_0014)

    board.fabric.currentCPU = 1
    apic.setBase(base)
    #expect(board.fabric.readMemory(offset: 0x20, size: 4) == 0x0100_0000)
    #expect(board.fabric.readMemory(offset: 0x80, size: 4) == 0)
    #expect(board.fabric.readMemory(offset: 0xF0, size: 4) == 0xFF)
    #expect(apic.acknowledge() == nil && apic.base == base)
  }

  @Test func inX2APICModeThePageIsGone() throws {
    let (board, apics) = try machine(1)
    apics[0].setBase(apics[0].base | 0x400)
    #expect(board.fabric.readMemory(offset: 0x30, size: 4) == .max)
    #expect(apics[0].readMSR(0x803) == 0x5_0014)
  }

  /// By its own command register, by another CPU's, by LINT1.
  @Test func nmisReachTheCPUTheyAreFor() throws {
    let (_, apics) = try machine(2)
    var events: [Int] = []
    for apic in apics { apic.onNMI = { events.append(apic.index) } }
    apics[0].write(0x310, 1 << 24)
    apics[0].write(0x300, 0x0000_4400)
    apics[0].write(0x300, 0x0004_4400)
    #expect(events == [1, 0])
    // LINT1 is masked after a reset; its vector says NMI then.
    for level in [true, false] { apics[1].setLINT1(level) }
    #expect(events == [1, 0])
    apics[1].write(0x360, 0x400)
    for level in [true, false] { apics[1].setLINT1(level) }
    #expect(events == [1, 0, 1])
  }

  @Test func initAndStartUpReachTheOthers() throws {
    let (_, apics) = try machine(3)
    var events: [String] = []
    for apic in apics {
      apic.onINIT = { events.append("init\(apic.index)") }
      apic.onSIPI = { events.append("sipi\(apic.index):\($0)") }
    }
    apics[0].write(0x300, 0x000C_4500)
    apics[0].write(0x310, 2 << 24)
    apics[0].write(0x300, 0x0000_0608)
    #expect(events == ["init1", "init2", "sipi2:8"])
  }

  @Test func theTimerFiresOnceOrAgainAndAgain() throws {
    let (board, apics) = try machine(1)
    apics[0].write(0x3E0, 0xB)  // divide by 1: a tick is a nanosecond
    apics[0].write(0x320, 0x30)
    apics[0].write(0x380, 1000)
    board.time.advance(nanoseconds: 400)
    #expect(apics[0].read(0x390) == 600)
    board.time.advance(nanoseconds: 600)
    #expect(apics[0].acknowledge() == 0x30)
    #expect(apics[0].read(0x390) == 0)
    apics[0].write(0xB0, 0)
    apics[0].write(0x320, 0x2_0031)
    apics[0].write(0x380, 1000)
    for _ in 0..<3 {
      board.time.advance(nanoseconds: 1000)
      #expect(apics[0].acknowledge() == 0x31)
      apics[0].write(0xB0, 0)
    }
  }

  @Test func aMaskedTimerCountsInSilence() throws {
    let (board, apics) = try machine(1)
    apics[0].write(0x3E0, 3)  // divide by 16
    apics[0].write(0x320, 0x1_0030)
    apics[0].write(0x380, 1000)
    #expect(board.time.clock.nextDeadline == nil)
    board.time.advance(nanoseconds: 1600)
    #expect(apics[0].read(0x390) == 900)
    board.time.advance(nanoseconds: 20_000)
    apics[0].write(0x320, 0x30)
    #expect(apics[0].acknowledge() == nil)
  }

  @Test func aLevelPinIsSentAgainAfterEOIWhileItIsHigh() throws {
    let (board, apics) = try machine(1)
    redirect(board, 11, 0x8055)
    board.ioapic.setPin(11, true)
    #expect(apics[0].acknowledge() == 0x55)
    #expect(board.ioapic.readMemory(offset: 0x10, size: 4) & 0x4000 != 0)
    apics[0].write(0xB0, 0)
    #expect(apics[0].acknowledge() == 0x55)
    board.ioapic.setPin(11, false)
    apics[0].write(0xB0, 0)
    #expect(apics[0].acknowledge() == nil)
    #expect(board.ioapic.readMemory(offset: 0x10, size: 4) & 0x4000 == 0)
  }

  @Test func anEdgeOnAMaskedPinIsLostAndALevelIsNot() throws {
    let (board, apics) = try machine(1)
    redirect(board, 4, 0x1_0044)
    board.ioapic.setPin(4, true)
    redirect(board, 4, 0x44)
    #expect(apics[0].acknowledge() == nil)
    redirect(board, 10, 0x1_804A)
    board.ioapic.setPin(10, true)
    redirect(board, 10, 0x804A)
    #expect(apics[0].acknowledge() == 0x4A)
  }

  @Test func wire0IsPin2() throws {
    let (board, apics) = try machine(1)
    redirect(board, 2, 0x32)
    board.wires.line(0).pulse()
    #expect(apics[0].acknowledge() == 0x32)
  }

  @Test func virtualWirePassesThe8259AThrough() throws {
    let board = try TestBoard()
    let apic = LocalAPIC(index: 0, fabric: board.fabric, clock: board.time.clock)
    apic.acknowledgeExternal = { board.pic.acknowledge() }
    board.pic.setOutput = { apic.setLINT0($0) }
    var level = false
    apic.onInterrupt = { level = $0 }
    board.initialisePICs()
    board.wires.line(7).set(true)
    #expect(level)
    #expect(apic.acknowledge() == 0x27)
    #expect(!level)
    apic.write(0x350, 0x1_0700)
    board.wires.line(1).set(true)
    #expect(!level)
  }

  @Test func eachCPUSeesItsOwnAPICInTheWindow() throws {
    let (board, _) = try machine(2)
    board.fabric.mapWindow(board.memory)
    for cpu in 0..<2 {
      board.fabric.currentCPU = cpu
      #expect(board.memory.readIO(0xFEE0_0020, size: 4) == UInt64(cpu) << 24)
    }
  }
}
