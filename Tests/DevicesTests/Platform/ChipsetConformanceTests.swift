import Foundation
import GuestMemory
import Testing

@testable import Devices

/// A board with just the chipset, for tests.
final class TestBoard {
  let time = ManualClock()
  let ports = PortBus()
  let memory: PhysicalMemory
  let fabric = InterruptFabric()
  let pic: PIC8259
  let ioapic: IOAPIC
  let wires: InterruptWires
  let pci: PCIBus

  init(megabytes: UInt64 = 2) throws {
    memory = try PhysicalMemory(size: megabytes << 20)
    pic = PIC8259(ports: ports)
    ioapic = IOAPIC(memory: memory, fabric: fabric)
    wires = InterruptWires(pic: pic, ioapic: ioapic)
    pci = PCIBus(ports: ports)
  }

  func out(_ port: UInt16, _ value: UInt32, size: Int = 1) { ports.write(port, size: size, value: value) }
  func `in`(_ port: UInt16, size: Int = 1) -> UInt32 { ports.read(port, size: size) }

  /// Vector bases 0x20 and 0x28, everything unmasked.
  func initialisePICs() {
    for (port, words) in [(0x20 as UInt16, [0x11, 0x20, 4, 1] as [UInt32]), (0xA0, [0x11, 0x28, 2, 1])] {
      out(port, words[0])
      for word in words.dropFirst() { out(port + 1, word) }
      out(port + 1, 0)
    }
  }

  func configWrite(_ slot: Int, _ function: Int, _ offset: Int, _ value: UInt32, size: Int = 4) {
    out(0xCF8, 0x8000_0000 | UInt32(slot << 11 | function << 8 | offset & 0xFC), size: 4)
    out(0xCFC + UInt16(offset & 3), value, size: size)
  }

  func configRead(_ slot: Int, _ function: Int, _ offset: Int, size: Int = 4) -> UInt32 {
    out(0xCF8, 0x8000_0000 | UInt32(slot << 11 | function << 8 | offset & 0xFC), size: 4)
    return `in`(0xCFC + UInt16(offset & 3), size: size)
  }
}

/// Keeps the board of a device under test alive with it.
private final class Keeper: @unchecked Sendable {
  static let shared = Keeper()
  private let lock = NSLock()
  private var boards: [ObjectIdentifier: TestBoard] = [:]
  func board(of device: any Device) -> TestBoard? { lock.withLock { boards[ObjectIdentifier(device)] } }
  func keep<D: Device>(_ device: D, _ board: TestBoard) -> D {
    lock.withLock { boards[ObjectIdentifier(device)] = board }
    return device
  }
}

private func onBoard<D: Device>(
  _ name: String, _ make: @escaping (TestBoard) -> D, _ disturb: @escaping (D, TestBoard) -> Void
)
  -> DeviceUnderTest
{
  DeviceUnderTest(
    name,
    make: {
      let board = try TestBoard()
      return Keeper.shared.keep(make(board), board)
    },
    disturb: { device in
      if let board = Keeper.shared.board(of: device) { disturb(device, board) }
    })
}

@Suite struct ChipsetConformanceTests {
  @Test func everyChipsetDevicePassesTheSharedSuite() throws {
    let devices: [DeviceUnderTest] = [
      onBoard("pic", { $0.pic }) { pic, board in
        board.initialisePICs()
        pic.setInput(3, true)
        pic.setInput(12, true)
        _ = pic.acknowledge()
        board.out(0x4D1, 0x0C)
      },
      onBoard("ioapic", { $0.ioapic }) { ioapic, _ in
        ioapic.writeMemory(offset: 0, size: 4, value: 0x14)
        ioapic.writeMemory(offset: 0x10, size: 4, value: 0x8031)
        ioapic.setPin(2, true)
      },
      onBoard("lapic", { LocalAPIC(index: 0, fabric: $0.fabric, clock: $0.time.clock) }) { apic, board in
        apic.write(0xF0, 0x1FF)
        apic.write(0x320, 0x2_0040)
        apic.write(0x3E0, 0xB)
        apic.write(0x380, 5000)
        board.time.advance(nanoseconds: 12_345)
        apic.setLINT0(true)
      },
      onBoard("wires", { $0.wires }) { wires, _ in
        wires.line(5).set(true)
        wires.setPCILevels(0x400)
      },
      onBoard("pci", { $0.pci }) { _, board in board.out(0xCF8, 0x8000_0810, size: 4) },
      onBoard("i440fx", { I440FX(memory: $0.memory, bus: $0.pci) }) { _, board in
        board.configWrite(0, 0, 0x59, 0x30, size: 1)
        board.configWrite(0, 0, 0x72, 0x4A, size: 1)
      },
      onBoard("piix3", { PIIX3(bus: $0.pci, interrupts: $0.wires) }) { _, board in
        board.configWrite(1, 0, 0x60, 0x0B0B_0A0A)
      },
      onBoard(
        "piix4-pm", { PIIX4PM(bus: $0.pci, ports: $0.ports, clock: $0.time.clock, sci: $0.wires.line(9)) }
      ) { power, board in
        board.configWrite(1, 3, 0x40, 0xB001)
        board.configWrite(1, 3, 0x80, 1, size: 1)
        board.out(0xB002, 0x101, size: 2)
        board.out(0xB2, 0xF1)
        power.pressPowerButton()
      },
      onBoard("pit", { PIT8254(ports: $0.ports, clock: $0.time.clock, irq: $0.wires.line(0)) }) { _, board in
        board.out(0x43, 0x34)
        board.out(0x40, 0xA9)
        board.out(0x40, 0x04)
        board.out(0x43, 0xB6)
        board.out(0x42, 0x11)
        board.out(0x61, 3)
        board.time.advance(milliseconds: 3)
        board.out(0x43, 0)
      },
      onBoard(
        "rtc",
        { RTC146818(ports: $0.ports, clock: $0.time.clock, irq: $0.wires.line(8), date: 1_700_000_000) }
      ) { rtc, board in
        rtc[cmos: 0x40] = 99
        board.out(0x70, 0x8B)
        board.out(0x71, 0x72)
        board.time.advance(milliseconds: 1500)
      },
      onBoard(
        "hpet", { HPET(memory: $0.memory, clock: $0.time.clock, wires: $0.wires, ioapicPin: { _, _ in }) }
      ) { hpet, board in
        hpet.writeMemory(offset: 0x100, size: 4, value: 0x4C)
        hpet.writeMemory(offset: 0x108, size: 4, value: 1000)
        hpet.writeMemory(offset: 0x108, size: 4, value: 1000)
        hpet.writeMemory(offset: 0x10, size: 4, value: 3)
        board.time.advance(nanoseconds: 25_000)
      },
      onBoard("fw_cfg", { FirmwareConfig(ports: $0.ports, memory: $0.memory) }) { _, board in
        board.out(0x510, 1, size: 2)
        _ = board.in(0x511)
      },
      onBoard("dma", { DMA8237(ports: $0.ports, memory: $0.memory) }) { _, board in
        board.out(0x04, 0x34)
        board.out(0x81, 0x12)
        board.out(0x80 + 4, 7)
        board.out(0xD6, 0xC0)
      },
      onBoard("reset-ports", { ResetPorts(ports: $0.ports) }) { _, board in
        board.out(0xCF9, 2)
        board.out(0x92, 0)
      },
      onBoard("debug-ports", { DebugPorts(ports: $0.ports, log: { _ in }, onExit: { _ in }) }) { _, board in
        for byte in "half a line".utf8 { board.out(0xE9, UInt32(byte)) }
      },
      onBoard("pvpanic", { PVPanic(ports: $0.ports, onPanic: { _ in }) }) { _, board in board.out(0x505, 1) },
      onBoard("suite-ports", { TestDevice(ports: $0.ports, memory: $0.memory, setLine: { _, _ in }) }) { _, board in
        board.out(0xE0, 0x1234_5678, size: 4)
        board.out(0x2009, 1)
        board.memory.writeIO(TestDevice.windowBase + 0x1000, size: 4, value: 99)
      },
      onBoard(
        "test-device", { PCITestDevice(memory: $0.memory, ports: $0.ports, on: $0.pci, slot: 30) }
      ) { device, board in
        board.configWrite(30, 0, 0x10, 0xE000_0000)
        board.configWrite(30, 0, 0x14, 0xC001)
        board.configWrite(30, 0, 4, 3, size: 2)
        board.out(0xC000, 1)
        device.writeMemory(offset: 2048, size: 1, value: 0xFA)
      },
      onBoard(
        "kbd",
        {
          Keyboard8042(
            ports: $0.ports, clock: $0.time.clock, keyboardIRQ: $0.wires.line(1), mouseIRQ: $0.wires.line(12))
        }
      ) { kbd, board in
        board.out(0x64, 0xD4)
        board.out(0x60, 0xF4)
        _ = kbd.type("Hello, there. A text longer than what the keyboard holds.")
        kbd.mouseEvent(dx: 300, dy: -5, buttons: 1)
        board.out(0x64, 0x60)
      },
    ]
    for device in devices { try device.run() }
  }
}
