import Devices
import DiskImages
import Foundation
import X86

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

/// Host side of a UART: output goes to whoever listens, input waits where it is until the UART has room.
public final class SerialPort: SerialBackend, @unchecked Sendable {
  let uart: UART16550
  private let lock: MachineLock
  private var output: @Sendable ([UInt8]) -> Void = { _ in }
  /// Input that the UART had no room for; machine lock held.
  var waiting: [UInt8] = []

  init(uart: UART16550, lock: MachineLock) {
    self.uart = uart
    self.lock = lock
    uart.backend = self
    uart.onReceiveRoom = { [unowned self] in deliver() }
  }

  public func transmit(_ byte: UInt8) { output([byte]) }

  /// - Parameter output: called with each piece of guest output, with the machine lock held: it must not block.
  func connect(_ output: @escaping @Sendable ([UInt8]) -> Void) {
    lock.withLock { self.output = output }
  }

  func input(_ bytes: [UInt8]) {
    lock.withLock {
      waiting += bytes
      deliver()
    }
  }

  private func deliver() {
    guard !waiting.isEmpty else { return }
    let taken = uart.receive(waiting)
    waiting.removeFirst(taken)
  }
}
