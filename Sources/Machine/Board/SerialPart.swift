import Devices

/// The serial ports, and the virtio console.
final class SerialPart: BoardPart {
  /// By slot, 1 to 4, and the virtio console's.
  let ports: [Int: SerialPort]
  private let lines: SharedLines
  private static let virtioSlot = 28

  var devices: [any Device] { ports.sorted { $0.key < $1.key }.map(\.value.device) }

  init(_ sockets: AddOn.Sockets) {
    let (bench, interrupts) = (sockets.bench, sockets.interrupts)
    lines = SharedLines(wires: interrupts.wires)
    var ports: [Int: SerialPort] = [:]
    for uart in bench.configuration.uarts {
      let device = UART16550(
        name: "uart\(uart.slot)", ioBase: uart.ioBase, interruptNumber: uart.irq, line: lines.line(uart.irq),
        clock: bench.clock, isStrict: bench.configuration.uartStrict)
      device.attach(to: bench.ports)
      let port = SerialPort(device, lock: bench.lock)
      device.backend = port
      ports[uart.slot] = port
    }
    if bench.configuration.virtioConsole {
      let device = VirtioConsole(
        memory: bench.memory, ports: bench.ports, clock: bench.clock, fabric: interrupts.fabric)
      sockets.pci.attach(device, slot: Self.virtioSlot)
      let port = SerialPort(device, lock: bench.lock)
      device.onOutput = { [unowned port] in port.transmit($0) }
      ports[MachineConfiguration.virtioConsoleSlot] = port
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

/// A device that prints and is typed into.
protocol SerialDevice: Device {
  /// Free bytes in its queue.
  var receiveRoom: Int { get }
  /// Takes bytes for the guest, as many as there is room for.
  @discardableResult func receive(_ bytes: [UInt8]) -> Int
  /// Has `onReceiveRoom` called when there is room again.
  func wantReceiveRoom()
  var onReceiveRoom: () -> Void { get set }
}

extension UART16550: SerialDevice {
  func receive(_ bytes: [UInt8]) -> Int { receive(bytes[...]) }
}

extension VirtioConsole: SerialDevice {
  func receive(_ bytes: [UInt8]) -> Int { receive(bytes[...]) }
}

/// Host side of a serial port: output goes to whoever listens, input waits in a bounded queue until the device has room.
public final class SerialPort: SerialBackend, @unchecked Sendable {
  /// Bytes that were typed and wait for the device, at most; it has a queue of its own behind it.
  public static let inputLimit = 16384

  let device: any SerialDevice
  /// What was typed and the device had no room for yet. Who types stops when it takes no more.
  let input = HostQueue<UInt8>(capacity: inputLimit)
  private let lock: MachineLock
  private var output: @Sendable ([UInt8]) -> Void = { _ in }

  init(_ device: any SerialDevice, lock: MachineLock) {
    self.device = device
    self.lock = lock
    device.onReceiveRoom = { [unowned self] in deliver() }
    input.onItems { [unowned self] in lock.withLock { self.deliver() } }
  }

  /// The other side holds the line in a break; a virtio console has no line. Machine lock held.
  func receiveBreak() { (device as? UART16550)?.receiveBreak() }

  /// The terminal has another size; a UART cannot tell. Machine lock held.
  func resize(columns: UInt16, rows: UInt16) { (device as? VirtioConsole)?.resize(columns: columns, rows: rows) }

  /// A byte that the guest sends.
  public func transmit(_ byte: UInt8) { output([byte]) }

  func transmit(_ bytes: [UInt8]) { output(bytes) }

  /// - Parameter output: called with each piece of guest output, with the machine lock held: it must not block.
  func connect(_ output: @escaping @Sendable ([UInt8]) -> Void) {
    lock.withLock { self.output = output }
  }

  /// Takes back what waited when the state was saved. Machine lock held.
  func restore(typed bytes: [UInt8]) {
    input.restore(bytes)
    device.wantReceiveRoom()
  }

  /// Machine lock held.
  private func deliver() {
    while input.count > 0 {
      let room = device.receiveRoom
      guard room > 0 else { return device.wantReceiveRoom() }
      device.receive(input.take(room))
    }
  }
}
