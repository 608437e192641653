import Foundation
import SavedState
import Testing

@testable import Devices

/// Keeps what the guest sent.
final class RecordingBackend: SerialBackend {
  var sent: [UInt8] = []
  func transmit(_ byte: UInt8) { sent.append(byte) }
}

@Suite struct UART16550Tests {
  let time = ManualClock()
  let backend = RecordingBackend()
  let uart: UART16550
  let line: InterruptLine
  private let edges: Edges

  final class Edges { var count = 0 }

  init() {
    let edges = Edges()
    self.edges = edges
    line = InterruptLine { if $0 { edges.count += 1 } }
    uart = UART16550(name: "uart1", ioBase: 0x3F8, interruptNumber: 4, line: line, clock: time.clock)
    uart.backend = backend
  }

  func get(_ register: UInt16) -> UInt8 { UInt8(uart.readPort(0x3F8 + register, size: 1)) }
  func put(_ register: UInt16, _ value: UInt8) { uart.writePort(0x3F8 + register, size: 1, value: UInt32(value)) }

  /// 115,200 baud, 8N1, FIFOs with a trigger, OUT2.
  func open(fifo: UInt8, interrupts: UInt8) {
    put(3, 0x83)
    put(0, 1)
    put(1, 0)
    put(3, 0x03)
    put(2, fifo)
    put(4, 0x0B)
    put(1, interrupts)
  }

  @Test func itIsDetectedAsA16550A() {
    put(2, 1)
    #expect(get(2) == 0xC1)
    put(2, 0)
    #expect(get(2) == 0x01)
    put(7, 0x5A)
    #expect(get(7) == 0x5A)
    // The enable register keeps four bits; the divisor latch hides it.
    put(1, 0xFF)
    #expect(get(1) == 0x0F)
    put(3, 0x80)
    put(1, 0x12)
    #expect(get(1) == 0x12)
    put(3, 0)
    #expect(get(1) == 0x0F)
  }

  @Test func sentBytesLeaveAtOnceAndTheTransmitterIsEmptyAgain() {
    open(fifo: 1, interrupts: 0)
    for byte in "boot".utf8 {
      #expect(get(5) & 0x60 == 0x60)
      put(0, byte)
    }
    #expect(backend.sent == Array("boot".utf8))
  }

  @Test func enablingTheTransmitterInterruptRaisesItAndReadingIIRClearsIt() {
    open(fifo: 1, interrupts: 0)
    put(1, 2)
    #expect(line.level)
    #expect(get(2) == 0xC2)
    #expect(get(2) == 0xC1)
    #expect(!line.level)
    // Linux's test for a bug of other chips: disabling and enabling must raise it again.
    put(1, 0)
    put(1, 2)
    #expect(get(2) == 0xC2)
  }

  @Test func everyByteSentMakesANewEdge() {
    open(fifo: 1, interrupts: 2)
    let before = edges.count
    for byte in 0..<10 { put(0, UInt8(byte)) }
    #expect(edges.count == before + 10)
    #expect(backend.sent.count == 10)
  }

  @Test func interruptsAreIdentifiedInTheOrderOfPriority() {
    open(fifo: 0, interrupts: 0x0F)
    _ = get(6)
    uart.receiveBreak()
    uart.setConnected(false)
    #expect(get(2) == 6)
    #expect(get(5) & 0x11 == 0x11)
    #expect(get(2) == 4)
    #expect(get(0) == 0)
    #expect(get(2) == 2)
    #expect(get(2) == 0)
    #expect(get(6) == 0x0B)
    #expect(get(2) == 1)
    #expect(!line.level)
  }

  @Test(arguments: [(UInt8(0x01), 1), (0x41, 4), (0x81, 8), (0xC1, 14)])
  func theTriggerLevelRaisesReceivedData(control: UInt8, level: Int) {
    open(fifo: control, interrupts: 1)
    uart.receive(Array(repeating: 0x41, count: level))
    #expect(get(2) == 0xC4)
    #expect(line.level)
    _ = get(0)
    #expect(get(2) == 0xC1)
    #expect(!line.level)
  }

  @Test func fewerCharactersThanTheTriggerTimeOut() {
    open(fifo: 0xC1, interrupts: 1)
    uart.receive([1, 2, 3])
    #expect(!line.level)
    // Four characters of ten bits at 115,200 baud: 347 microseconds.
    time.advance(microseconds: 340)
    #expect(!line.level)
    time.advance(microseconds: 10)
    #expect(line.level)
    #expect(get(2) == 0xCC)
    #expect(get(0) == 1)
    #expect(!line.level)
    time.advance(microseconds: 350)
    #expect(get(2) == 0xCC)
    #expect([get(0), get(0)] == [2, 3])
    #expect(get(5) & 1 == 0)
  }

  @Test(arguments: [UInt8(0x00), 0x01, 0xC1]) func nothingTypedIsLost(control: UInt8) {
    open(fifo: control, interrupts: 1)
    let input = (0..<70_000).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 8) }
    var offset = uart.receive(input)
    #expect(offset == UART16550.queueSize)
    uart.onReceiveRoom = { [unowned uart] in offset += uart.receive(input[offset...]) }
    var received: [UInt8] = []
    for _ in 0..<400_000 where received.count < input.count {
      while get(5) & 1 != 0 { received.append(get(0)) }
      time.advance(microseconds: 100)
    }
    #expect(received == input)
    #expect(get(5) & 2 == 0)
  }

  @Test(arguments: [1, 12] as [UInt8])
  func bytesComeAtThePaceOfAFastLineWhateverItsSpeed(_ divisor: UInt8) {
    open(fifo: 0xC1, interrupts: 1)
    put(3, 0x83)
    put(0, divisor)
    put(1, 0)
    put(3, 0x03)
    uart.receive(Array(repeating: 0x41, count: 32))
    for _ in 0..<16 { _ = get(0) }
    #expect(get(5) & 1 == 0)
    time.advance(microseconds: 1400)
    #expect(get(5) & 1 == 1)
  }

  @Test func loopbackFeedsOutputsToInputs() {
    open(fifo: 1, interrupts: 1)
    put(4, 0x10)
    #expect(get(6) & 0xF0 == 0)
    put(4, 0x1A)
    #expect(get(6) & 0xF0 == 0x90)
    put(0, 0x77)
    #expect(backend.sent.isEmpty)
    #expect(get(5) & 1 == 1)
    #expect(get(0) == 0x77)
    put(4, 0x0B)
    #expect(get(6) & 0xF0 == 0xB0)
  }

  @Test func modemChangesAreToldOnce() {
    open(fifo: 1, interrupts: 8)
    _ = get(6)
    uart.setConnected(false)
    #expect(line.level)
    #expect(get(2) == 0xC0)
    #expect(get(6) == 0x0B)
    #expect(!line.level)
    #expect(get(6) == 0)
  }

  @Test func withoutOut2TheLineStaysQuietOnlyWhenTheGateIsAskedFor() {
    open(fifo: 1, interrupts: 1)
    put(4, 0)
    uart.receive([1])
    #expect(line.level)

    let gated = InterruptLine { _ in }
    let strict = UART16550(
      name: "uart2", ioBase: 0x2F8, interruptNumber: 3, line: gated, clock: time.clock, isStrict: true)
    strict.writePort(0x2F9, size: 1, value: 1)
    strict.writePort(0x2FC, size: 1, value: 3)
    strict.receive([1])
    #expect(!gated.level)
    strict.writePort(0x2FC, size: 1, value: 0x0B)
    #expect(gated.level)
  }

  @Test func whilePausedInputIsHeldAndGoesOnAfterwards() throws {
    open(fifo: 1, interrupts: 1)
    uart.pause()
    uart.receive([5, 6])
    #expect(!line.level)
    let saved = try uart.save()
    #expect(saved.blob == Data([5, 6]))
    uart.resume()
    #expect([get(0), get(0)] == [5, 6])
  }

  @Test func itPassesTheSuiteOfAllDevices() throws {
    let device = DeviceUnderTest("uart1") {
      UART16550(name: "uart1", ioBase: 0x3F8, interruptNumber: 4, line: .unconnected, clock: ManualClock().clock)
    } disturb: { uart in
      for (register, value) in [(3, 0x83), (0, 1), (1, 0), (3, 3), (2, 0xC1), (4, 0x0B), (1, 0x0F), (7, 9)] {
        uart.writePort(0x3F8 + UInt16(register), size: 1, value: UInt32(value))
      }
      uart.receive(Array(0..<100))
    }
    try device.run()
  }
}
