import Foundation
import HostNetwork
import Machine

/// One line of `showvminfo`.
public struct VMFact: Equatable, Sendable {
  /// As `--machinereadable` names it.
  public var key: String
  /// As people read it.
  public var label: String
  /// What there is to say.
  public var value: String
  var isNumber = false
  /// One of two values, "on" and "off".
  var isSwitch = false
  /// As `--machinereadable` writes it: in quotes where it has a place's dashes, as VBoxManage does.
  public var quotedKey: String { isPlace ? "\"\(key)\"" : key }
  var isPlace = false
  /// Of a device that is not there, or one of many: programs are told, people are not.
  public var isOfAbsentDevice = false

  /// The value as VBoxManage writes it: numbers bare, texts in quotes.
  public var quoted: String {
    if isNumber { return value }
    let escaped = value.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "\"", with: "\\\"")
    return "\"\(escaped.replacingOccurrences(of: "\n", with: "\\n"))\""
  }
}

/// What `showvminfo` says.
public enum VMFacts {
  /// What there is to say of a VM. Asks its process, when there is one, for the progress of a teleport.
  /// - Throws: `ManagementError` when its lock cannot be looked at.
  public static func of(_ entry: VMEntry) throws -> [VMFact] {
    var status = try entry.folder.currentStatus()
    var progress: ControlReply?
    var silence: String?
    if status.state.isLive {
      do {
        let reply = try ControlClient(entry, patience: 3).request(ControlRequest(.status))
        status = reply.status ?? status
        progress = reply
      } catch {
        // What stands in the files is told all the same. It may have ended meanwhile, too.
        status = try entry.folder.currentStatus()
        if status.state.isLive { silence = ManagementError.line(for: error) }
      }
    }
    var facts: [VMFact] = []
    func add(_ key: String, _ label: String, _ value: String?) {
      if let value { facts.append(VMFact(key: key, label: label, value: value)) }
    }
    func number(_ key: String, _ label: String, _ value: Int?, unit: String = "") {
      if let value { facts.append(VMFact(key: key, label: label, value: String(value), isNumber: true)) }
    }
    let definition = entry.definition
    add("name", "Name", definition.name)
    add("UUID", "UUID", definition.uuid.uuidString.lowercased())
    add("description", "Description", definition.description.isEmpty ? nil : definition.description)
    add("CfgFile", "Definition", entry.folder.definition)
    add("LogFldr", "Log", entry.folder.log)
    add("VMState", "State", status.state.rawValue)
    add("VMStateChangeTime", "Since", status.since.ISO8601Format())
    add("VMStateReason", "Reason", status.reason)
    number("VMProcess", "Process", status.process.map(Int.init))
    add("VMProcessSilence", "Process is silent", silence)
    for setting in VMDefinition.settings where !["name", "description"].contains(setting.name) {
      facts += Self.facts(of: setting, definition, status)
    }
    facts += (progress?.networks ?? []).flatMap(Self.network)
    facts += AnchorFile.list(entry.folder).enumerated().flatMap(Self.anchor)
    if let teleport = progress?.teleport {
      add("teleportphase", "Teleport phase", teleport.phase.rawValue)
      add("teleportprogress", "Teleport progress", teleport.summary)
      number("teleportbytes", "Teleport bytes", Int(teleport.bytes))
      number("teleportremainingpages", "Teleport pages remaining", teleport.remainingPages)
    }
    facts += (try? entry.folder.readSnapshots().facts) ?? []
    if let protection = progress?.protection {
      add("ReplicationRole", "Replication role", protection.role.rawValue)
      add("ReplicationState", "Replication state", protection.state.rawValue)
      number("ReplicationEpoch", "Replication epoch", Int(clamping: protection.epoch))
      number("ReplicationLagMS", "Replication lag", Int(protection.lagMS.rounded()))
      number("ReplicationPauseMS", "Replication pause", Int(protection.pauseMS.rounded()))
      number("ReplicationHeldBytes", "Replication output held", protection.heldBytes)
      add("ReplicationPeer", "Replication peer", protection.peer)
      add("ReplicationWitness", "Replication witness", protection.witness)
      add("ReplicationReason", "Replication reason", protection.reason)
    }
    if let open = entry.openTeleport, !status.state.isLive {
      add("teleportindoubt", "Teleport in doubt", "\(open.host):\(open.port)")
    }
    return facts
  }

  private static func facts(
    of setting: Setting<VMDefinition>, _ definition: VMDefinition, _ status: StatusRecord
  ) -> [VMFact] {
    switch setting.name {
    case "cpuid": return cpuid(definition.hardware)
    case "storage": return storage(definition.hardware)
    case let name where setting.group == .network: return network(setting, name, definition)
    case "teleporter-port":
      let port = status.teleporterPort ?? definition.teleporter.port
      return [VMFact(key: setting.fact, label: setting.label, value: String(port), isNumber: true)]
    case "vrde-port":
      let port = status.vncPort ?? definition.screen.port
      return [VMFact(key: setting.fact, label: setting.label, value: String(port), isNumber: true)]
    default: break
    }
    var value = setting.words(definition)?.joined(separator: ",")
    if setting.name == "sandbox" { value = status.sandbox ?? value }
    if setting.name == "teleporter-address" { value = status.teleporterAddress ?? value }
    if setting.isSecret { value = value == nil ? "none" : "set" }
    // No file is worth a line only where it means another one.
    if case .file(let none) = setting.form, value == none, none.isEmpty || none == "none" { value = nil }
    guard let value else { return [] }
    var facts = [
      VMFact(
        key: setting.fact, label: setting.label, value: value, isNumber: setting.form.isNumber,
        isSwitch: setting.hasSwitchFact)
    ]
    if setting.name == "virtio-console-mode" {
      guard definition.hardware.virtioConsole else { return [] }
      if let port = status.consolePorts[MachineConfiguration.virtioConsoleSlot] {
        let label = "Virtio console telnet port"
        facts.append(VMFact(key: "virtioconsoleport", label: label, value: String(port), isNumber: true))
      }
    }
    if setting.name.hasPrefix("uart-mode"), let slot = Int(setting.name.dropFirst("uart-mode".count)),
      let port = status.consolePorts[slot]
    {
      let label = "Serial port \(slot) telnet port"
      facts.append(VMFact(key: "uartport\(slot)", label: label, value: String(port), isNumber: true))
    }
    return facts
  }

  /// As VBoxManage has them. What a card's network has no use for is left out.
  private static func network(
    _ setting: Setting<VMDefinition>, _ name: String, _ definition: VMDefinition
  ) -> [VMFact] {
    let kind = name.prefix { !$0.isNumber }
    guard let slot = Int(name.dropFirst(kind.count)),
      let adapter = definition.hardware.networkAdapters.first(where: { $0.slot == slot })
    else {
      guard kind == "nic" else { return [] }
      return [VMFact(key: setting.fact, label: setting.label, value: "none", isOfAbsentDevice: true)]
    }
    let isNAT = adapter.network == .nat
    switch kind {
    case "nat-pf":
      guard isNAT else { return [] }
      // VirtualBox does not say of which card they are; cards after the first have their number in the key.
      return adapter.forwards.enumerated().map { index, rule in
        VMFact(
          key: "Forwarding\(slot == 1 ? "" : String(slot))(\(index))", label: "Network card \(slot) port forward",
          value: rule)
      }
    case "nat-net" where !isNAT, "nat-anchor" where !isNAT, "nat-tftp-prefix" where !isNAT || adapter.tftpFolder == nil,
      "nat-tftp-file" where !isNAT || adapter.tftpFile == nil:
      return []
    case "bridge-adapter" where adapter.network != .bridged, "intnet" where adapter.network != .intnet,
      "nic-stream" where adapter.network != .stream:
      return []
    case "nic-trace-file" where adapter.traceFile == nil: return []
    default:
      return [
        VMFact(
          key: setting.fact, label: setting.label, value: setting.words(definition)?.joined(separator: ",") ?? "",
          isNumber: setting.form.isNumber, isSwitch: setting.hasSwitchFact)
      ]
    }
  }

  /// What a running card has done.
  private static func network(_ facts: NetworkFacts) -> [VMFact] {
    let (slot, counters) = (facts.slot, facts.counters)
    var result = [
      VMFact(key: "nicnetwork\(slot)", label: "Network card \(slot) network", value: facts.network),
      VMFact(key: "niclink\(slot)", label: "Network card \(slot) link", value: facts.isCableConnected ? "up" : "down"),
    ]
    let numbers: [(String, String, UInt64)] = [
      ("nicframessent", "frames sent", counters.framesSent), ("nicbytessent", "bytes sent", counters.bytesSent),
      ("nicframesreceived", "frames received", counters.framesReceived),
      ("nicbytesreceived", "bytes received", counters.bytesReceived),
      ("nicsenddrops", "sent frames dropped", counters.sendDrops),
      ("nicreceivedrops", "received frames dropped", counters.receiveDrops),
    ]
    result += numbers.map { key, label, value in
      VMFact(key: "\(key)\(slot)", label: "Network card \(slot) \(label)", value: String(value), isNumber: true)
    }
    if let restarts = facts.restarts, restarts > 0 {
      result.append(
        VMFact(
          key: "natrestarts\(slot)", label: "Network card \(slot) NAT restarts", value: String(restarts), isNumber: true
        ))
    }
    if let flows = facts.flows { result += Self.flows(flows, slot) }
    if let file = facts.traceFile {
      result.append(VMFact(key: "nictraceactive\(slot)", label: "Network card \(slot) traced to", value: file))
    }
    return result
  }

  /// The connections that a running card has through NAT, by the hosts that have their sockets: this one, and those that
  /// the machine has left.
  private static func flows(_ report: NATReport, _ slot: Int) -> [VMFact] {
    let card = "Network card \(slot)"
    let others = report.hosts.filter { $0.name != nil }
    let here = report.hosts.first { $0.name == nil } ?? NATReport.Host()
    var result = [
      VMFact(key: "natflows\(slot)", label: "\(card) flows by this host", value: here.counts),
      VMFact(
        key: "natcarried\(slot)", label: "\(card) flows by other hosts",
        value: String(others.reduce(0) { $0 + $1.tcp + $1.udp }), isNumber: true),
    ]
    result[1].isOfAbsentDevice = others.isEmpty
    for (index, host) in others.enumerated() {
      result.append(
        VMFact(
          key: "natcarrier\(slot)(\(index))", label: "\(card) flows by \(host.name ?? "")",
          value: "\(host.counts), until they end"))
    }
    for (index, flow) in report.flows.enumerated() {
      result.append(
        VMFact(
          key: "natflow\(slot)(\(index))", label: "\(card) flow", value: "\(flow.name) by \(flow.host ?? "this host")",
          isOfAbsentDevice: flow.host == nil))
    }
    if report.resets > 0 {
      result.append(
        VMFact(
          key: "natresets\(slot)", label: "\(card) connections lost with a host", value: String(report.resets),
          isNumber: true))
    }
    return result
  }

  /// A NAT process that has stayed here when the machine went to another host.
  private static func anchor(_ index: Int, _ anchor: AnchorFile.Anchor) -> [VMFact] {
    let status = anchor.status
    let flows = status.report.map { report in
      let (tcp, udp) = report.hosts.reduce((0, 0)) { ($0.0 + $1.tcp, $0.1 + $1.udp) }
      return NATReport.Host(tcp: tcp, udp: udp).counts
    }
    return [
      VMFact(
        key: "anchor(\(index))", label: "Anchor of network card \(status.card)",
        value:
          "\(flows ?? "flows") for the machine at \(status.towards), since \(status.since.ISO8601Format()), process "
          + "\(status.process); modifyvm --nat-anchor\(status.card) off ends it"),
      VMFact(
        key: "anchorprocess(\(index))", label: "Anchor process", value: String(status.process), isNumber: true,
        isOfAbsentDevice: true),
    ]
  }

  private static func cpuid(_ hardware: MachineConfiguration) -> [VMFact] {
    hardware.cpuidOverrides.enumerated().map { index, entry in
      let leaf = String(format: "%08x:%08x", entry.leaf, entry.subleaf)
      let registers = entry.registers?.map { String(format: "%08x", $0) }.joined(separator: " ") ?? "removed"
      return VMFact(key: "cpuid\(index)", label: "CPUID \(leaf)", value: "\(leaf) \(registers)")
    }
  }

  private static func storage(_ hardware: MachineConfiguration) -> [VMFact] {
    hardware.storageControllers.enumerated().flatMap { index, controller in
      [
        VMFact(key: "storagecontrollername\(index)", label: "Storage controller \(index)", value: controller.name),
        VMFact(
          key: "storagecontrollertype\(index)", label: "Storage controller \(index) kind",
          value: controller.bus.rawValue),
      ]
        + places(controller)
    }
  }

  /// As VBoxManage has them: every place, and its image alone.
  private static func places(_ controller: MachineConfiguration.StorageController) -> [VMFact] {
    var facts: [VMFact] = []
    for port in controller.bus.ports {
      for device in controller.bus.devices {
        let place = "\(controller.name)-\(port)-\(device)"
        func tell(_ what: String, _ value: String?) {
          guard let value else { return }
          let label = what.isEmpty ? place : "\(place) \(what.dropLast())"
          let key = "\(controller.name)-\(what)\(port)-\(device)"
          facts.append(VMFact(key: key, label: label, value: value, isPlace: true))
        }
        let attachment = controller.attachments.first { $0.port == port && $0.device == device }
        tell("", attachment.map { $0.medium ?? "emptydrive" } ?? "none")
        guard let attachment else { continue }
        tell("type-", attachment.kind.rawValue)
        tell("mode-", attachment.mode.rawValue)
        tell("format-", attachment.format?.rawValue)
      }
    }
    return facts
  }
}

extension VMFolder {
  /// The text of log file number `index`; nil when there is none.
  public func readLog(_ index: Int) -> String? {
    guard (0...RotatingFile.kept).contains(index) else { return nil }
    return try? Files.read(log(index), limit: 64 << 20)
  }

  /// What serial port `slot` has said while nobody was connected, in file number `index`, with the guest's own bytes; nil when
  /// there is none.
  public func readConsoleRecord(_ slot: Int, _ index: Int = 0) -> String? {
    guard (0...RotatingFile.kept).contains(index) else { return nil }
    return try? Files.read(RotatingFile.numbered(consoleRecord(slot), index), limit: 64 << 20)
  }
}
