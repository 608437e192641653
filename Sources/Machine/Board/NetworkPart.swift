import Devices

/// The network cards: nic1 to nic8 in slots 3 to 10 of the PCI bus, each with its cable (`NetworkPort`).
final class NetworkPart: BoardPart {
  /// By slot, 1 to 8.
  let ports: [Int: NetworkPort]
  private let cards: [any NetworkCard]

  var devices: [any Device] { cards + ports.sorted { $0.key < $1.key }.map(\.value) }

  init(_ sockets: AddOn.Sockets) {
    var ports: [Int: NetworkPort] = [:]
    var cards: [any NetworkCard] = []
    for adapter in sockets.bench.configuration.networkAdapters {
      // `HardwareLimits` refuses what is no address.
      guard let address = adapter.address else { continue }
      let socket = Socket(
        name: "nic\(adapter.slot)", address: address, hasCarrier: adapter.isCableConnected, slot: adapter.slot + 2,
        board: sockets)
      let card = socket.make(adapter.model)
      cards.append(card)
      ports[adapter.slot] = NetworkPort(slot: adapter.slot, card: card, lock: sockets.bench.lock, clock: sockets.bench.clock)
    }
    self.ports = ports
    self.cards = cards
  }

  /// Where a card is plugged in.
  private struct Socket {
    let name: String
    let address: MACAddress
    let hasCarrier: Bool
    /// Of the PCI bus.
    let slot: Int
    let board: AddOn.Sockets

    func make(_ model: MachineConfiguration.NetworkAdapter.Model) -> any NetworkCard {
      let bench = board.bench
      switch model {
      case .e1000:
        let card = E1000(
          name: name, address: address, hasCarrier: hasCarrier, memory: bench.memory, ports: bench.ports,
          clock: bench.clock)
        board.pci.attach(card, slot: slot)
        return card
      }
    }
  }
}
