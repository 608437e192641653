import Devices

/// The network cards: none yet. Their place on the bus is slots 3 to 10, one for each of nic1 to nic8, and what connects
/// each to the host is a `HostPipe` of frames.
final class NetworkPart: BoardPart {
  var devices: [any Device] { [] }

  init(_ bench: Workbench, _ interrupts: InterruptPart, _ pci: PCIPart) {}
}
