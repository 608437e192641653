import Devices

/// The display adapter.
final class GraphicsPart: BoardPart {
  let vga: VGA

  var devices: [any Device] { [vga] }

  init(_ bench: Workbench, _ pci: PCIPart, bios: GuestFile) {
    vga = VGA(
      vramSize: bench.configuration.vramMB << 20, rom: bios.bytes, memory: bench.memory, ports: bench.ports,
      clock: bench.clock)
    pci.bus.attach(vga, slot: 2)
  }
}
