import Foundation
import HostNetwork
import Machine
import Teleport

/// What a running machine's network card has done, for `showvminfo`.
public struct NetworkFacts: Codable, Equatable, Sendable {
  /// Which card, 1 to 8.
  public var slot: Int
  /// What its cable leads to.
  public var network: String
  /// The cable is in.
  public var isCableConnected: Bool
  /// What has gone through it.
  public var counters: NetworkCounters
  /// Where its frames are written; nil: nowhere.
  public var traceFile: String?
  /// How often its NAT process had to be started again.
  public var restarts: UInt64?
  /// Its flows, if it is on NAT.
  public var flows: NATReport?
}

/// What clients of the control socket ask about network cards.
extension VMProcess {
  func networkFacts() -> [NetworkFacts] {
    guard let vm = lock.withLock({ inner.vm }) else { return [] }
    return networks.compactMap { network in
      guard let counters = vm.networkCounters(slot: network.slot) else { return nil }
      return NetworkFacts(
        slot: network.slot, network: network.description,
        isCableConnected: vm.networkCarrier(slot: network.slot) ?? false, counters: counters,
        traceFile: network.traceFile, restarts: network.nat?.counters.restarts, flows: network.nat?.report())
    }
  }

  /// The cards for which the host that the machine leaves has something to do: those on NAT, whose flows it carries on unless
  /// the definition says otherwise by now, and those on a bridge, whose network goes on sending there for a moment.
  var anchoredCards: [Int] {
    let definition = (try? folder.readDefinition(checkingHost: false)) ?? definition
    let wanted = definition.hardware.networkAdapters.filter { $0.isAnchored || $0.network == .bridged }.map(\.slot)
    return networks.filter { $0.staysBehind && wanted.contains($0.slot) }.map(\.slot)
  }

  /// The connections that other hosts carry for the machine, and that end with it: a line for each card that has some.
  func carriedFlows() -> [String] {
    networks.compactMap { network in
      network.nat?.report()?.carried.map {
        "connections through NAT that other hosts carry for network card \(network.slot) end: \($0)"
      }
    }
  }

  /// The machine is another host's: its NAT processes go on for the flows that they have.
  /// - Parameter links: connections to that host, by card, then no longer the caller's.
  func leaveAnchors(_ links: [Int: AnchorSocket], towards: String) {
    for (slot, link) in links.sorted(by: { $0.key < $1.key }) {
      guard let network = networks.first(where: { $0.slot == slot }) else {
        link.close()
        continue
      }
      network.leave(link, folder: folder, towards: towards)
    }
  }

  /// The machine has come from a host that carries its flows on.
  func joinAnchors(_ links: [Int: AnchorSocket]) {
    for (slot, link) in links {
      guard let network = networks.first(where: { $0.slot == slot }) else {
        link.close()
        continue
      }
      network.join(link)
    }
  }

  /// Writes down the guest's connections through NAT, which end with the NAT process. What cannot be written is passed over.
  func saveConnections() {
    let all = Dictionary(
      networks.compactMap { network in network.connections().map { (String(network.slot), $0) } },
      uniquingKeysWith: { $1 })
    guard let bytes = try? JSONEncoder().encode(all) else { return }
    try? Files.replace(folder.connections, with: String(decoding: bytes, as: UTF8.self))
  }

  /// The machine goes on from its saved state: what it takes for open connections is not left hanging.
  func resetSavedConnections() {
    guard let text = try? Files.read(folder.connections),
      let all = try? JSONDecoder().decode([String: Data].self, from: Data(text.utf8))
    else { return }
    for network in networks { all[String(network.slot)].map { network.reset($0) } }
  }

  /// Does what the words say, and writes it into the definition, so that it holds at the next start too.
  func changeNetwork(_ request: ControlRequest) throws -> ControlReply {
    let words = request.words ?? []
    guard let slot = request.card, let network = networks.first(where: { $0.slot == slot }) else {
      let there = networks.map { String($0.slot) }.joined(separator: ", ")
      throw ManagementError(
        "the machine \"\(entry.name)\" has no network card \(request.card ?? 0)",
        remedy: there.isEmpty ? "give it one with vmctl modifyvm --nic1 nat while it is off" : "it has \(there)")
    }
    guard let vm = lock.withLock({ inner.vm }), [.running, .paused].contains(state) else {
      throw ManagementError(
        "the machine \"\(entry.name)\" is \(state.rawValue); its network cards cannot be changed",
        remedy: "it must be running or paused")
    }
    // The definition says whether the words mean anything.
    var changed = try folder.readDefinition(checkingHost: false)
    switch request.command {
    case .setlinkstate:
      try changed.set("cable-connected\(slot)", words)
      vm.setNetworkCarrier(slot: slot, words == ["on"])
    case .natpf:
      try changed.set("nat-pf\(slot)", words)
      try changeForwards(network, words)
    case .nictrace:
      try changed.set("nic-trace\(slot)", words)
      try network.setTrace(words == ["on"])
    default:
      try changed.set("nic-trace-file\(slot)", words)
      let adapter = changed.hardware.networkAdapters.first { $0.slot == slot }
      try network.setTraceFile(adapter?.traceFile ?? "\(folder.path)/nic\(slot).pcap")
    }
    let name: [ControlRequest.Command: String] = [
      .setlinkstate: "cable-connected", .natpf: "nat-pf", .nictrace: "nic-trace", .nictracefile: "nic-trace-file",
    ]
    try folder.whileEditing {
      var definition = try folder.readDefinition(checkingHost: false)
      try definition.set("\(name[request.command] ?? "")\(slot)", words)
      try folder.change(to: definition)
    }
    return .done()
  }

  private func changeForwards(_ network: NetworkEndpoint, _ words: [String]) throws {
    guard let nat = network.nat else {
      throw ManagementError(
        "network card \(network.slot) is on \(network.description), which has no port forwards",
        remedy: "they are for cards on nat")
    }
    var rest = words[...]
    while let word = rest.popFirst() {
      if word == "delete" {
        try nat.removeForward(named: rest.popFirst() ?? "")
      } else {
        let rule = try PortForward(word)
        if !nat.forwards.contains(rule) { try network.add(rule) }
      }
    }
  }
}
