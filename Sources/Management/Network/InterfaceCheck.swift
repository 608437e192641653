import Foundation
import HostNetwork
import Machine

/// What is wrong with an interface of the host's that a network card is to be plugged into, by the numbers that operators know.
public enum InterfaceFinding: Int, Codable, CaseIterable, Sendable {
  case missing = 1
  /// Neither a tap nor a bridge: nothing that vmctl takes.
  case notManaged = 2
  case used = 3
  case hasAddress = 4
  case badName = 5

  /// Whether a machine cannot start with it. An address on a tap may be meant: a network of the host and the machine alone.
  var isObstacle: Bool { self != .hasAddress }
}

/// A network card's place on the host, as operators see it.
public struct InterfaceReport: Codable, Equatable, Sendable {
  /// Which card, 1 to 8.
  public var card: Int
  /// "nat", "bridged", ...
  public var network: String
  /// Of the host, where there is one.
  public var interface: String?
  /// The numbers of what is wrong with it.
  public var findings: [InterfaceFinding] = []
  /// The same in words.
  public var remarks: [String] = []
  /// What the host leaves to the interface (`HostInterface.offloads`); nil: it is no tap.
  public var offloads: [String]?

  /// "1: bridged tap0 (4: it has the address 192.0.2.1; offloads off)".
  public var line: String {
    var notes = zip(findings, remarks).map { "\($0.rawValue): \($1)" }
    if let offloads { notes.append(offloads.isEmpty ? "offloads off" : "offloads " + offloads.joined(separator: " ")) }
    let place = interface.map { " " + $0 } ?? ""
    return "\(card): \(network)\(place)\(notes.isEmpty ? "" : " (\(notes.joined(separator: "; ")))")"
  }
}

/// Looks at the interfaces of machines' network cards.
struct InterfaceCheck {
  /// Which running machine has an interface, by its name.
  private var owners: [String: String] = [:]

  /// - Parameter running: machines whose processes live.
  init(running: [VMDefinition]) {
    for definition in running {
      for name in definition.hardware.networkAdapters.compactMap(\.hostInterface) { owners[name] = definition.name }
    }
  }

  /// - Parameter isRunning: the machine has its interfaces itself.
  func reports(_ definition: VMDefinition, isRunning: Bool) -> [InterfaceReport] {
    definition.hardware.networkAdapters.map { adapter in
      var report = InterfaceReport(card: adapter.slot, network: adapter.network.rawValue)
      guard adapter.network == .bridged else { return report }
      let name = adapter.bridgeAdapter ?? ""
      report.interface = name
      func find(_ finding: InterfaceFinding, _ remark: String) {
        report.findings.append(finding)
        report.remarks.append(remark)
      }
      guard TapDevice.isName(name) else {
        find(.badName, "\"\(name)\" is no name of an interface")
        return report
      }
      guard let interface = HostInterface(name) else {
        find(.missing, "there is no such interface")
        return report
      }
      guard interface.kind != .other else {
        find(.notManaged, "it is neither a tap nor a bridge")
        return report
      }
      guard interface.kind == .tap else { return report }
      if let owner = owners[name], owner != definition.name {
        find(.used, "the machine \"\(owner)\" has it")
      } else if interface.isRunning && !isRunning {
        find(.used, "another program has it")
      }
      if let address = interface.addresses.first { find(.hasAddress, "it has the address \(address)") }
      report.offloads = interface.offloads
      return report
    }
  }
}

extension MachineConfiguration.NetworkAdapter {
  /// The interface of the host's that it is plugged into.
  fileprivate var hostInterface: String? { network == .bridged ? bridgeAdapter : nil }
}

/// What the host may leave to the taps of a machine.
public enum OffloadPolicy: String, Codable, CaseIterable, Sendable {
  /// Nothing, but for virtio cards, whose guests do that work themselves.
  case auto
  /// Nothing.
  case off
  /// As it is.
  case keep

  func switchesOff(_ model: MachineConfiguration.NetworkAdapter.Model) -> Bool {
    switch self {
    case .auto: model != .virtio
    case .off: true
    case .keep: false
    }
  }
}

extension Services {
  /// Before a start: what stands in its way is an error, and the host does its work on frames itself from now on.
  /// - Throws: `ManagementError` for an interface that the machine cannot have.
  func prepareInterfaces(_ entry: VMEntry, _ settings: ServiceSettings) throws {
    let running = try registry.list().entries.filter { isLive($0) && $0.folder != entry.folder }.map(\.definition)
    let reports = InterfaceCheck(running: running).reports(entry.definition, isRunning: false)
    for report in reports {
      for (finding, remark) in zip(report.findings, report.remarks) where finding.isObstacle {
        // A tap that a program has just let go is waited for when it is opened.
        if finding == .used && !remark.contains("machine") { continue }
        throw ManagementError(
          "network card \(report.card) cannot have \(report.interface ?? ""): \(remark) (finding \(finding.rawValue))",
          remedy: "mend that, or choose another with vmctl modifyvm \"\(entry.name)\" --bridge-adapter\(report.card)")
      }
    }
    // From a run that nobody has cleaned up after.
    restoreOffloads(entry)
    var saved: [String: Set<String>] = [:]
    for adapter in entry.definition.hardware.networkAdapters
    where adapter.network == .bridged && (settings.offloads ?? .auto).switchesOff(adapter.model) {
      guard let interface = HostInterface(adapter.bridgeAdapter ?? ""), interface.kind == .tap else { continue }
      let wanted = interface.wantedOffloads
      guard !wanted.isEmpty else { continue }
      saved[interface.name] = wanted
      // Written down first: what is switched off and not known is never put back.
      try store.write(saved, entry)
      do throws(HostNetworkError) {
        try interface.want([])
      } catch {
        saved[interface.name] = nil
        try store.write(saved, entry)
        tell("\(entry.name): offloads stay as they are: \(error)")
      }
    }
  }

  /// After an end: interfaces are as they were before the start.
  func restoreOffloads(_ entry: VMEntry) {
    for (name, wanted) in store.offloads(entry) {
      guard let interface = HostInterface(name) else { continue }
      do throws(HostNetworkError) {
        try interface.want(wanted)
      } catch {
        tell("\(entry.name): \(error)")
      }
    }
    store.forgetOffloads(entry)
  }

  private func tell(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
}

extension ServiceStore {
  fileprivate func write(_ offloads: [String: Set<String>], _ entry: VMEntry) throws {
    try Files.makeDirectory(folder)
    let text = String(decoding: try JSONEncoder().encode(offloads), as: UTF8.self)
    try Files.replace(file(entry, "offloads"), with: text + "\n")
  }

  /// What was wanted, by interface.
  fileprivate func offloads(_ entry: VMEntry) -> [String: Set<String>] {
    guard let text = try? Files.read(file(entry, "offloads")) else { return [:] }
    return (try? JSONDecoder().decode([String: Set<String>].self, from: Data(text.utf8))) ?? [:]
  }

  fileprivate func forgetOffloads(_ entry: VMEntry) { unlink(file(entry, "offloads")) }
}
