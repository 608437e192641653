import GuestMemory
import Testing

@testable import Devices

@Suite struct PCITests {
  private final class Ports: PortIO {
    func readPort(_ port: UInt16, size: Int) -> UInt32 { UInt32(port & 0xFF) }
    func writePort(_ port: UInt16, size: Int, value: UInt32) {}
  }

  private final class Memory: MemoryMappedIO {
    func readMemory(offset: UInt64, size: Int) -> UInt64 { offset }
    func writeMemory(offset: UInt64, size: Int, value: UInt64) {}
  }

  private func device(_ board: TestBoard, pin: UInt8 = 1) -> PCIDevice {
    let device = PCIDevice(
      name: "test", identity: PCIIdentity(vendor: 0x1234, device: 0x5678, revision: 1, classCode: 0xFF0000),
      interruptPin: pin)
    let ports = Ports()
    let memory = Memory()
    device.addIOBar(0, size: 32, ports: board.ports) { ports }
    device.addMemoryBar(1, size: 0x2000, memory: board.memory) { memory }
    return device
  }

  @Test func barsTellTheirSizesAndMapWhereTheGuestPutsThem() throws {
    let board = try TestBoard()
    let device = device(board)
    board.pci.attach(device, slot: 3)
    board.configWrite(3, 0, 0x04, 3, size: 2)
    board.configWrite(3, 0, 0x10, .max)
    board.configWrite(3, 0, 0x14, .max)
    #expect(board.configRead(3, 0, 0x10) == 0xFFFF_FFE1)
    #expect(board.configRead(3, 0, 0x14) == 0xFFFF_E000)
    #expect(device.barAddress(0) == nil && device.barAddress(1) == nil)
    board.configWrite(3, 0, 0x10, 0xC001)
    board.configWrite(3, 0, 0x14, 0xFEB0_0000)
    #expect(board.in(0xC005) == 5)
    #expect(board.memory.readIO(0xFEB0_0123, size: 4) == 0x123)
    board.configWrite(3, 0, 0x10, 0xC101)
    #expect(board.in(0xC005) == 0xFF)
    #expect(board.in(0xC105) == 5)
    board.configWrite(3, 0, 0x04, 0, size: 2)
    #expect(board.in(0xC105) == 0xFF)
    #expect(board.memory.readIO(0xFEB0_0123, size: 4) == 0xFFFF_FFFF)
  }

  @Test func theExpansionROMShowsItsBytesWhenEnabled() throws {
    let board = try TestBoard()
    let device = device(board)
    device.setExpansionROM([0x55, 0xAA, 1] + Array(repeating: 7, count: 5000), memory: board.memory)
    board.pci.attach(device, slot: 2)
    board.configWrite(2, 0, 0x30, 0xFFFF_F800)
    #expect(board.configRead(2, 0, 0x30) == 0xFFFF_E000)
    board.configWrite(2, 0, 0x04, 2, size: 2)
    board.configWrite(2, 0, 0x30, 0xFEB1_0001)
    #expect(board.memory.readIO(0xFEB1_0000, size: 2) == 0xAA55)
  }

  @Test func anExpansionROMIsMadeToNameTheDeviceThatItIsOn() {
    var image = [UInt8](repeating: 7, count: 1024)
    image.replaceSubrange(0..<3, with: [0x55, 0xAA, 2])
    image.replaceSubrange(0x18..<0x1A, with: [0x1C, 0])
    image.replaceSubrange(0x1C..<0x24, with: Array("PCIR".utf8) + [0xF4, 0x1A, 0x41, 0x10])
    image[0x1C + 0x14] = 0
    image[6] = image[6] &- image.reduce(0, &+)
    let named = ExpansionROM.image(image, vendor: 0x1AF4, device: 0x1000)
    #expect(Array(named[0x1C..<0x24]) == Array("PCIR".utf8) + [0xF4, 0x1A, 0x00, 0x10])
    #expect(named.reduce(0, &+) == 0, "the sum that firmware checks")
    #expect(image.indices.filter { named[$0] != image[$0] } == [6, 0x22])
    // What is no code for PCs stays as it is, and what is cut off anywhere.
    for length in 0..<0x32 {
      #expect(ExpansionROM.image(Array(image[..<length]), vendor: 1, device: 2) == Array(image[..<length]))
    }
    for (place, value) in [(0, UInt8(0)), (0x18, 0), (0x19, 4), (0x1C, 0x51), (0x30, 3)] {
      var other = image
      other[place] = value
      #expect(ExpansionROM.image(other, vendor: 1, device: 2) == other)
    }
  }

  @Test func nothingThereReadsAsOnes() throws {
    let board = try TestBoard()
    #expect(board.configRead(9, 0, 0) == 0xFFFF_FFFF)
    board.out(0xCF8, 0, size: 4)
    #expect(board.in(0xCFC, size: 4) == 0xFFFF_FFFF)
  }

  @Test func configurationIsReadInEverySize() throws {
    let board = try TestBoard()
    let bridge = I440FX(memory: board.memory, bus: board.pci)
    #expect(board.configRead(0, 0, 0) == 0x1237_8086)
    #expect(board.configRead(0, 0, 2, size: 2) == 0x1237)
    #expect(board.configRead(0, 0, 3, size: 1) == 0x12)
    #expect(board.configRead(0, 0, 0x2C) == 0x1100_1AF4)
    withExtendedLifetime(bridge) {}
  }

  @Test func pinsAreSteeredAndSharedAsLevels() throws {
    let board = try TestBoard()
    board.initialisePICs()
    let piix = PIIX3(bus: board.pci, interrupts: board.wires)
    board.out(0x4D1, 0x0C)
    let first = device(board)
    let second = PCIDevice(
      name: "other", identity: PCIIdentity(vendor: 1, device: 2, revision: 0, classCode: 0), interruptPin: 1)
    board.pci.attach(first, slot: 3)  // PIRQ C
    board.pci.attach(second, slot: 7)  // PIRQ C as well
    first.setInterrupt(true)
    #expect(!board.pic.output)
    board.configWrite(1, 0, 0x62, 11, size: 1)
    #expect(board.pic.acknowledge() == 0x2B)
    second.setInterrupt(true)
    first.setInterrupt(false)
    board.out(0xA0, 0x20)
    board.out(0x20, 0x20)
    #expect(board.pic.output)
    board.configWrite(7, 0, 0x04, 0x400, size: 2)  // interrupt disable
    #expect(!board.pic.output)
    withExtendedLifetime(piix) {}
  }

  @Test func pamMakesROMToRAM() throws {
    let board = try TestBoard()
    let bridge = I440FX(memory: board.memory, bus: board.pci)
    bridge.reset()
    #expect(board.memory.target(0xF0000).write == nil)
    board.configWrite(0, 0, 0x59, 0x20, size: 1)  // writes to RAM, reads from ROM
    #expect(board.memory.target(0xF0000).write != nil)
    #expect(board.memory.target(0xF0000).read == nil)
    board.configWrite(0, 0, 0x59, 0x30, size: 1)
    #expect(board.memory.target(0xFF000).read != nil)
    board.configWrite(0, 0, 0x5A, 0x03, size: 1)
    #expect(board.memory.target(0xC3000).write != nil)
    #expect(board.memory.target(0xC4000).write == nil)
    bridge.reset()
    #expect(board.memory.target(0xC3000).write == nil)
  }

  @Test func openSMRAMShowsTheRAMUnderTheVGAWindow() throws {
    let board = try TestBoard()
    let bridge = I440FX(memory: board.memory, bus: board.pci)
    board.configWrite(0, 0, 0x72, 0x4A, size: 1)
    #expect(board.memory.target(0xA0000).write != nil)
    board.configWrite(0, 0, 0x72, 0x1A, size: 1)
    #expect(board.memory.target(0xA0000).write == nil)
    board.configWrite(0, 0, 0x72, 0x4A, size: 1)
    #expect(board.memory.target(0xA0000).write == nil)
    withExtendedLifetime(bridge) {}
  }
}
