import Devices

/// The i440FX host bridge, the PIIX3 and PCI bus 0.
///
/// Slots: 0 the host bridge, 1 the PIIX3 with IDE and power management, 2 the display; see `Board` and `AddOn` for the others.
final class PCIPart: BoardPart {
  let bus: PCIBus
  private let bridge: I440FX
  private let piix3: PIIX3
  let power: PIIX4PM

  var devices: [any Device] { [bus, bridge, piix3, power] }

  init(_ bench: Workbench, _ interrupts: InterruptPart) {
    bus = PCIBus(ports: bench.ports)
    bridge = I440FX(memory: bench.memory, bus: bus)
    piix3 = PIIX3(bus: bus, interrupts: interrupts.wires)
    power = PIIX4PM(
      bus: bus, ports: bench.ports, clock: bench.clock, sci: interrupts.wires.line(9),
      serialPorts: bench.configuration.uarts.map(\.ioBase))
    power.onPowerOff = { [requests = bench.requests] in requests.send(.powerOff) }
  }

  /// Slot, function, ids and class of every function, a line each.
  var description: String {
    var lines: [String] = []
    for slot in 0..<32 {
      for function in 0..<8 {
        guard let device = bus.device(slot: slot, function: function) else { continue }
        let id = String(device.readConfiguration(0, size: 4), radix: 16)
        let kind = String(device.readConfiguration(8, size: 4) >> 8, radix: 16)
        lines.append("00:\(slot).\(function) \(device.pciName) id \(id) class \(kind)")
      }
    }
    return lines.joined(separator: "\n")
  }
}
