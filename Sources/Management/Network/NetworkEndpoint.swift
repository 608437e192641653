import Devices
import Foundation
import HostNetwork
import Logging
import Machine
import Teleport

/// What a network card's cable leads to, as its VM process keeps it.
///
/// Made before the process gives up its files; started before it gives up system calls; frames move from `connect` on, when the
/// machine is this process's own.
final class NetworkEndpoint: Sendable {
  let slot: Int
  let link: (any NetworkLink)?
  private let isCableConnected: Bool
  private let address: MACAddress?
  private let isBridged: Bool
  /// The port forwards of the definition, which hold from `open` or `connect` on.
  private let forwards: [PortForward]
  private let trace: NetworkTrace
  private let folder: VMFolder
  /// Of a card on nat or on a socket's path.
  private let keeper: NATKeeper?
  private let logger: Logger

  /// - Parameters:
  ///   - isSandboxed: whether the processes beside this one give up what they do not need.
  ///   - leavesWork: what the host may leave to a tap's card (`TapDevice.link`).
  /// - Throws: `HostNetworkError` or `ManagementError` for a network that is not to be had.
  init(
    _ adapter: MachineConfiguration.NetworkAdapter, folder: VMFolder, home: String, isSandboxed: Bool,
    leavesWork: Bool = true, logger: Logger
  ) throws {
    let slot = adapter.slot
    self.folder = folder
    self.slot = slot
    self.logger = logger
    isCableConnected = adapter.isCableConnected
    address = adapter.address
    isBridged = adapter.network == .bridged
    trace = try NetworkTrace(adapter, folder: folder) { logger.warning("network card \(slot): \($0)") }
    let tell: @Sendable (String) -> Void = { logger.info("network card \(slot): \($0)") }
    switch adapter.network {
    case .null:
      link = nil
      forwards = []
      keeper = nil
    case .bridged:
      link = try TapDevice.link(adapter.bridgeAdapter ?? "", leavesWork: leavesWork)
      forwards = []
      keeper = nil
    case .intnet:
      link = try InternalNetwork.link(
        adapter.internalNetwork, folder: Self.networks(home), member: "\(adapter.macAddress)-\(getpid())")
      forwards = []
      keeper = nil
    case .stream:
      let place = try StreamPlace(adapter.stream ?? "")
      forwards = []
      guard case .connectPath(let path) = place else {
        link = try StreamLink(place, connectPath: { -1 }, log: tell)
        keeper = nil
        break
      }
      let made = try NATKeeper(NetworkProcesses.program, .init(path: path, isSandboxed: isSandboxed))
      keeper = made
      link = try StreamLink(place, connectPath: { try made.connectPath() }, log: tell)
    case .nat:
      if let folder = adapter.tftpFolder, access(folder, R_OK | X_OK) != 0 {
        throw ManagementError.system(
          "cannot read the TFTP folder \(folder) of network card \(slot)",
          remedy: "name another with vmctl modifyvm --nat-tftp-prefix\(slot) FOLDER")
      }
      var configuration = adapter.natConfiguration
      forwards = configuration.forwards
      configuration.forwards = []
      let made = try NATKeeper(
        NetworkProcesses.program, .init(tftpFolder: adapter.tftpFolder, isSandboxed: isSandboxed))
      keeper = made
      link = try NATHelper(configuration, launch: made.launcher) { logger.warning("network card \(slot): \($0)") }
    }
  }

  /// Where this user's internal networks are.
  static func networks(_ home: String) -> String { home + "/networks" }

  var nat: NATHelper? { link as? NATHelper }
  private var forwarding: (any ForwardingLink)? { isBridged ? link as? any ForwardingLink : nil }

  /// Whether the host that the machine leaves has something to do for the card.
  var staysBehind: Bool { nat != nil || isBridged }

  /// What it is, for people.
  var description: String { link?.description ?? "null" }

  /// - Parameter ownsMachine: whether the machine is this process's own already: then what the definition asks of the host is
  ///   tried, and what the host refuses keeps the machine from starting.
  /// - Throws: `HostNetworkError`.
  func start(ownsMachine: Bool) throws {
    try link?.start()
    guard ownsMachine else { return }
    for rule in forwards { try add(rule) }
  }

  /// Adds a port forward.
  /// - Throws: `HostNetworkError` when the host does not give the port, also where that is because of its own anchor.
  func add(_ rule: PortForward) throws(HostNetworkError) {
    do throws(HostNetworkError) {
      try nat?.add(rule)
    } catch {
      let holder = AnchorFile.list(folder).first { $0.status.forwards?.contains { $0.sharesPort(with: rule) } == true }
      guard let card = holder?.status.card else { throw error }
      throw HostNetworkError(
        "port forward \(rule.name): port \(rule.hostPort)/\(rule.transport.rawValue) is held by this host's anchor, which "
          + "carries connections from when the machine was here before",
        remedy: "let them end, or end them with vmctl modifyvm --nat-anchor\(card) off")
    }
  }

  /// Why the host would not give the forwards of the definition, which are tried for a moment.
  func refusedForwards() -> [String] {
    guard let nat else { return [] }
    return forwards.filter { !nat.forwards.contains($0) }.compactMap { rule in
      do throws(HostNetworkError) {
        try add(rule)
        try nat.removeForward(named: rule.name)
        return nil
      } catch {
        return error.description
      }
    }
  }

  /// The guest's connections through NAT, for `reset`; nil: it has none.
  func connections() -> Data? { try? nat?.connections() }

  /// The guest has connections from when its state was saved, whose NAT process is gone: it is told that they are lost.
  func reset(_ connections: Data) {
    do {
      guard let count = try nat?.reset(connections), count > 0 else { return }
      logger.info("network card \(slot): connections through NAT from before the state was saved are reset: \(count)")
    } catch {
      logger.warning("network card \(slot): connections through NAT from before the state was saved hang: \(error)")
    }
  }

  /// What the processes beside this one are kept from, tried from within.
  func probeSandbox(_ target: ProbeTarget) throws -> [(process: String, report: String)] {
    var reports: [(process: String, report: String)] = []
    if let nat { reports.append(("NAT process of network card \(slot)", try nat.probe(target))) }
    if let keeper { reports.append(("keeper of network card \(slot)", try keeper.probe(target))) }
    return reports
  }

  /// The machine has come, and the host that it has left carries its flows on. To be called before `connect`.
  /// - Parameter link: the connection to that host, then no longer the caller's.
  func join(_ link: AnchorSocket) {
    if let forwarding, let address {
      return forwarding.join(link.descriptor, key: link.key, address: address) { [logger, slot] in
        logger.info("network card \(slot): \($0)")
      }
    }
    guard let nat else {
      link.close()
      return
    }
    do {
      try nat.join(link.descriptor, key: link.key)
    } catch {
      logger.warning("network card \(slot): connections from before the teleport are lost: \(error)")
    }
  }

  /// The machine has gone, and this host carries its flows on until they end, or sends after it what its network has for it.
  /// - Parameter link: the connection to its new host, then no longer the caller's.
  func leave(_ link: AnchorSocket, folder: VMFolder, towards: String) {
    if let forwarding, let address {
      return forwarding.leave(link.descriptor, key: link.key, address: address)
    }
    guard let nat else {
      link.close()
      return
    }
    let status = AnchorStatus(process: nat.process, card: slot, towards: towards, forwards: nat.forwards)
    do {
      let file: Int32
      do {
        file = try AnchorFile.make(folder, status)
      } catch {
        link.close()
        throw error
      }
      try nat.leave(link.descriptor, key: link.key, file: file, status: status)
    } catch {
      logger.warning("network card \(slot): connections through NAT are lost: \(error)")
    }
  }

  /// From now on frames move. What the host does not give a machine that has come is told in the log.
  func connect(_ vm: VirtualMachine) {
    // A machine that has come has brought its own idea of that.
    vm.setNetworkCarrier(slot: slot, isCableConnected)
    guard let link, let pipe = vm.connectNetwork(slot: slot, to: link) else { return }
    link.connect(pipe)
    guard let nat else { return }
    for rule in forwards where !nat.forwards.contains(rule) {
      do {
        try add(rule)
      } catch {
        logger.warning("network card \(slot): \(error); it is tried again")
        nat.insist(on: rule)
      }
    }
  }

  /// Traces what a machine sends from its first frame on: one that comes announces itself before anybody has it.
  func observe(_ vm: VirtualMachine) { trace.connect(vm, slot: slot) }

  /// Switches the trace on, to a file or to the one of before, or off.
  func setTrace(_ isOn: Bool) throws { try trace.set(isOn) }
  func setTraceFile(_ path: String) throws { try trace.setFile(path) }
  var traceFile: String? { trace.activeFile }

  /// Returns when nothing is sent any more after a machine that has gone.
  func waitUntilLeft() { forwarding?.waitUntilLeft() }

  func close() {
    link?.stop()
    trace.close()
  }
}
