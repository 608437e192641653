import DiskImages
import Foundation
import Machine

/// Network cards that have one Ethernet address on one network: the network does not know which of them a frame is for, and
/// both lose connections. Copies of a definition are how it comes about.
///
/// Not looked at are machines that wait for a teleport: they have the address of the machine that they wait for.
public enum SharedAddresses {
  /// What to say to who changes or starts the machine.
  /// - Parameters:
  ///   - others: of the same host.
  ///   - bridge: the bridge that an interface belongs to, or the interface itself.
  /// - Returns: a line for each pair, with the command that helps; none when all is well.
  public static func warnings(
    for definition: VMDefinition, among others: [VMDefinition],
    bridge: (String) -> String = SharedAddresses.bridge(of:)
  ) -> [String] {
    guard !definition.teleporter.enabled else { return [] }
    let own = definition.hardware.networkAdapters
    let remedy = { (slot: Int) in
      "give one of them another: vmctl modifyvm \(ShellWord.quote(definition.name)) --mac-address\(slot) auto"
    }
    var lines: [String] = []
    for (index, card) in own.enumerated() {
      guard let place = place(of: card, bridge) else { continue }
      func meets(_ other: MachineConfiguration.NetworkAdapter) -> Bool {
        other.macAddress == card.macAddress && self.place(of: other, bridge) == place
      }
      for other in own[..<index] where meets(other) {
        lines.append(
          "the network cards \(other.slot) and \(card.slot) of \"\(definition.name)\" have one address "
            + "(\(card.macAddress)) on one network; \(remedy(card.slot))")
      }
      for machine in others where machine.uuid != definition.uuid && !machine.teleporter.enabled {
        for other in machine.hardware.networkAdapters where meets(other) {
          lines.append(
            "network card \(card.slot) of \"\(definition.name)\" has the address of card \(other.slot) of "
              + "\"\(machine.name)\" (\(card.macAddress)) on one network; \(remedy(card.slot))")
        }
      }
    }
    return lines
  }

  /// What cards with the same one meet on; nil: nobody else is there.
  private static func place(
    of card: MachineConfiguration.NetworkAdapter, _ bridge: (String) -> String
  ) -> String? {
    switch card.network {
    case .bridged: card.bridgeAdapter.map { "bridge " + bridge($0) }
    case .intnet: "intnet " + card.internalNetwork
    case .nat, .null, .stream: nil
    }
  }

  /// Of the host, as the kernel tells it.
  public static func bridge(of interface: String) -> String {
    let master = try? FileManager.default.destinationOfSymbolicLink(atPath: "/sys/class/net/\(interface)/master")
    return master.map { URL(fileURLWithPath: $0).lastPathComponent } ?? interface
  }
}

/// Network cards of which none can do what the boot order asks.
public enum NetworkBoot {
  /// What to say to who changes or starts the machine; nil when all is well.
  public static func warning(for definition: VMDefinition) -> String? {
    let cards = definition.hardware.networkAdapters
    guard definition.hardware.bootOrder.contains(.net) else { return nil }
    let able = cards.filter { $0.hasBootROM && $0.model.canHaveBootROM }
    guard able.isEmpty else { return nil }
    let name = ShellWord.quote(definition.name)
    let text = "\"\(definition.name)\" is to boot from the network, but "
    guard let first = cards.first(where: { $0.model.canHaveBootROM }) else {
      return cards.isEmpty
        ? text + "has no network card; give it one with vmctl modifyvm \(name) --nic1 nat"
        : text + "none of its network cards is of a kind that has a boot ROM; see vmctl modifyvm --help, --nic-type1"
    }
    return text
      + "none of its network cards has a boot ROM; give it one with vmctl modifyvm \(name) --nic-rom\(first.slot) on"
  }
}

extension Registry {
  /// What to say of network cards of this machine: those whose address others have too, those that cannot do what is asked.
  public func networkNotes(of entry: VMEntry) -> [String] {
    guard let known = try? list() else { return [] }
    return SharedAddresses.warnings(for: entry.definition, among: known.entries.map(\.definition))
      + [NetworkBoot.warning(for: entry.definition)].compactMap { $0 }
  }
}
