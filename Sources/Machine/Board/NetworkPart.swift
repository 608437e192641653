import Devices

/// The network cards: nic1 to nic8 in slots 3 to 10 of the PCI bus, or on the ISA bus, each with its cable (`NetworkPort`).
final class NetworkPart: BoardPart {
  /// By slot, 1 to 8.
  let ports: [Int: NetworkPort]
  private let cards: [any NetworkCard]
  /// Of those cards that a machine may boot from.
  private let files: [GuestFile]

  var devices: [any Device] { cards + ports.sorted { $0.key < $1.key }.map(\.value) }

  /// - Throws: `MachineError` when the machine is to boot from the network and there is no ROM to do so.
  init(_ sockets: AddOn.Sockets) throws(MachineError) {
    let configuration = sockets.bench.configuration
    var files: [String: GuestFile] = [:]
    var ports: [Int: NetworkPort] = [:]
    var cards: [any NetworkCard] = []
    for adapter in configuration.networkAdapters {
      // `HardwareLimits` refuses what is no address.
      guard let address = adapter.address else { continue }
      let socket = Socket(
        name: "nic\(adapter.slot)", address: address, hasCarrier: adapter.isCableConnected, slot: adapter.slot + 2,
        board: sockets)
      let file = adapter.hasBootROM ? adapter.model.bootROM : nil
      if let file, configuration.bootOrder.contains(.net), files[file] == nil {
        files[file] = try FirmwareImages.bootROM(ofCard: file)
      }
      guard let card = socket.make(adapter.model, rom: file.flatMap { files[$0]?.bytes }) else { continue }
      cards.append(card)
      ports[adapter.slot] = NetworkPort(
        slot: adapter.slot, card: card, lock: sockets.bench.lock, clock: sockets.bench.clock)
    }
    self.ports = ports
    self.cards = cards
    self.files = files.values.sorted { $0.name < $1.name }
  }

  var roms: [HardwareDescription.Blob] { files.map(\.blob) }

  /// Where a card is plugged in.
  private struct Socket {
    let name: String
    let address: MACAddress
    let hasCarrier: Bool
    /// Of the PCI bus.
    let slot: Int
    let board: AddOn.Sockets

    /// - Parameter rom: of a machine that boots from the network.
    func make(_ model: MachineConfiguration.NetworkAdapter.Model, rom: [UInt8]?) -> (any NetworkCard)? {
      let bench = board.bench
      switch model {
      case .e1000:
        let card = E1000(
          name: name, address: address, hasCarrier: hasCarrier, memory: bench.memory, ports: bench.ports,
          clock: bench.clock)
        plug(card, rom)
        return card
      case .virtio:
        let card = VirtioNet(
          name: name, address: address, hasCarrier: hasCarrier, memory: bench.memory, ports: bench.ports,
          clock: bench.clock, fabric: board.interrupts.fabric)
        plug(card, rom)
        return card
      case .pcnet:
        let card = PCNet(
          name: name, address: address, hasCarrier: hasCarrier, memory: bench.memory, ports: bench.ports,
          clock: bench.clock)
        plug(card, rom)
        return card
      case .ne2000PCI:
        let card = NE2000PCI(
          name: name, address: address, hasCarrier: hasCarrier, ports: bench.ports, clock: bench.clock)
        plug(card, rom)
        return card
      case .ne2000ISA:
        // `HardwareLimits` refuses more than there are places.
        guard let place = bench.configuration.isaAdapters.first(where: { $0.slot + 2 == slot }) else { return nil }
        return NE2000ISA(
          name: name, address: address, hasCarrier: hasCarrier, base: place.ioBase,
          line: board.interrupts.wires.line(place.irq), ports: bench.ports, clock: bench.clock)
      }
    }

    private func plug(_ card: PCIDevice, _ rom: [UInt8]?) {
      if let rom { card.setExpansionROM(rom, memory: board.bench.memory) }
      board.pci.attach(card, slot: slot)
    }
  }
}

extension MachineConfiguration.NetworkAdapter.Model {
  /// Whether there is a boot ROM for it.
  public var canHaveBootROM: Bool { bootROM != nil }

  /// Its boot ROM in Debian's `ipxe-qemu` package; nil: there is none.
  fileprivate var bootROM: String? {
    switch self {
    case .e1000: "pxe-e1000.rom"
    case .virtio: "pxe-virtio.rom"
    case .pcnet: "pxe-pcnet.rom"
    case .ne2000PCI: "pxe-ne2k_pci.rom"
    case .ne2000ISA: nil
    }
  }
}
