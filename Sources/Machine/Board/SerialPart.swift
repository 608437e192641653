import Devices

/// The serial ports.
final class SerialPart: BoardPart {
  /// By slot, 1 to 4.
  let ports: [Int: SerialPort]
  private let lines: SharedLines

  var devices: [any Device] { ports.sorted { $0.key < $1.key }.map(\.value.uart) }

  init(_ bench: Workbench, _ interrupts: InterruptPart) {
    lines = SharedLines(wires: interrupts.wires)
    var ports: [Int: SerialPort] = [:]
    for uart in bench.configuration.uarts {
      let device = UART16550(
        name: "uart\(uart.slot)", ioBase: uart.ioBase, interruptNumber: uart.irq, line: lines.line(uart.irq),
        clock: bench.clock, isStrict: bench.configuration.uartStrict)
      device.attach(to: bench.ports)
      ports[uart.slot] = SerialPort(uart: device, lock: bench.lock)
    }
    self.ports = ports
  }
}

/// ISA interrupts that several UARTs share: each has a line of its own, the wire is high while any of them is.
final class SharedLines {
  private let wires: InterruptWires
  private var lines: [Int: [InterruptLine]] = [:]

  init(wires: InterruptWires) { self.wires = wires }

  func line(_ irq: Int) -> InterruptLine {
    let line = InterruptLine { [unowned self] _ in
      wires.setISA(irq, lines[irq, default: []].contains { $0.level })
    }
    lines[irq, default: []].append(line)
    return line
  }
}

/// Host side of a UART: output goes to whoever listens, input waits in a bounded queue until the UART has room.
public final class SerialPort: SerialBackend, @unchecked Sendable {
  /// Bytes that were typed and wait for the UART, at most; the UART has a queue of its own behind it.
  public static let inputLimit = 16384

  let uart: UART16550
  /// What was typed and the UART had no room for yet. Who types stops when it takes no more.
  let input = HostQueue<UInt8>(capacity: inputLimit)
  private let lock: MachineLock
  private var output: @Sendable ([UInt8]) -> Void = { _ in }

  init(uart: UART16550, lock: MachineLock) {
    self.uart = uart
    self.lock = lock
    uart.backend = self
    uart.onReceiveRoom = { [unowned self] in deliver() }
    input.onItems { [unowned self] in lock.withLock { self.deliver() } }
  }

  /// A byte that the guest sends.
  public func transmit(_ byte: UInt8) { output([byte]) }

  /// - Parameter output: called with each piece of guest output, with the machine lock held: it must not block.
  func connect(_ output: @escaping @Sendable ([UInt8]) -> Void) {
    lock.withLock { self.output = output }
  }

  /// Takes back what waited when the state was saved. Machine lock held.
  func restore(typed bytes: [UInt8]) {
    input.restore(bytes)
    uart.wantReceiveRoom()
  }

  /// Machine lock held.
  private func deliver() {
    while input.count > 0 {
      let room = uart.receiveRoom
      guard room > 0 else { return uart.wantReceiveRoom() }
      uart.receive(input.take(room))
    }
  }
}
