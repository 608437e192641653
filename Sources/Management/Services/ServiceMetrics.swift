import Foundation
import Machine
import Teleport

/// Figures of the machines in Prometheus' text format, version 0.0.4.
public struct ServiceMetrics {
  /// One figure: what it is, and its value for each machine.
  private struct Family {
    var name: String
    var help: String
    var isCounter = false
    var samples: [(labels: [(String, String)], value: Double)] = []
  }

  private var families: [Family] = []
  /// All that there can be, also where no machine has a value for it now.
  private(set) var names: Set<String> = []

  private mutating func add(
    _ name: String, _ help: String, isCounter: Bool = false, _ samples: [(labels: [(String, String)], value: Double)]
  ) {
    names.insert(name)
    guard !samples.isEmpty else { return }
    families.append(Family(name: name, help: help, isCounter: isCounter, samples: samples))
  }

  /// The figures of a host now.
  /// - Throws: `ManagementError` when the folder of the machines cannot be read.
  public init(_ services: Services) throws {
    let (list, entries) = try services.listWithEntries()
    add("vmctl_host_memory_bytes", "RAM of the host.", [([], Double(list.host.totalMB) * 1_048_576)])
    add(
      "vmctl_host_memory_available_bytes", "RAM that programs can have.", [([], Double(list.host.freeMB) * 1_048_576)])
    let rows = list.machines
    func each(_ value: (ServiceList.Row) -> Double?) -> [(labels: [(String, String)], value: Double)] {
      rows.compactMap { row in value(row).map { ([("machine", row.name)], $0) } }
    }
    add(
      "vmctl_machine_state", "1 for the state that the machine is in.",
      rows.map { ([("machine", $0.name), ("state", $0.machineState?.rawValue ?? "unknown")], 1) })
    add("vmctl_machine_up", "Whether the machine's process lives.", each { $0.process == nil ? 0 : 1 })
    add("vmctl_machine_failed", "Whether the machine's service has failed.", each { $0.state == .failed ? 1 : 0 })
    add("vmctl_machine_uptime_seconds", "Time since the machine's start.", each { $0.uptimeSeconds.map(Double.init) })
    add(
      "vmctl_machine_memory_bytes", "RAM that the guest has.",
      each { $0.memoryMB.map { Double($0) * 1_048_576 } })
    add("vmctl_machine_cpus", "CPUs that the guest has.", each { Double($0.cpus) })
    add(
      "vmctl_machine_oom_protected", "Whether the host's out-of-memory killer takes others first.",
      each { $0.isProtectedFromOOM.map { $0 ? 1 : 0 } })
    let here = rows.filter { $0.process != nil }
    func ofProtections(_ value: (ProtectionStatus) -> Bool?) -> [(labels: [(String, String)], value: Double)] {
      here.compactMap { row in row.protection.flatMap(value).map { ([("machine", row.name)], $0 ? 1 : 0) } }
    }
    add(
      "vmctl_machine_protected",
      "Whether another host goes on with the machine when this one fails; of machines that are to be protected.",
      ofProtections(\.isProtected))
    add(
      "vmctl_machine_standby", "Whether this host can go on with the machine of another; of backups.",
      ofProtections(\.isStandby))
    let usage = Dictionary(
      uniqueKeysWithValues: rows.compactMap { row in
        row.process.flatMap { ProcessUsage($0) }.map { (row.configuration, $0) }
      })
    add(
      "vmctl_machine_cpu_seconds_total", "Time of the host's CPUs that the machine has taken.", isCounter: true,
      each { usage[$0.configuration]?.cpuSeconds })
    add(
      "vmctl_machine_resident_memory_bytes", "RAM of the host that the machine's process has.",
      each { usage[$0.configuration].map { Double($0.residentBytes) } })
    add(
      "vmctl_machine_disk_read_bytes_total", "What the machine's process has read from storage.", isCounter: true,
      each { usage[$0.configuration]?.readBytes.map(Double.init) })
    add(
      "vmctl_machine_disk_written_bytes_total", "What the machine's process has written to storage.", isCounter: true,
      each { usage[$0.configuration]?.writtenBytes.map(Double.init) })
    addProbes(rows, entries)
  }

  /// What only the machines' processes know.
  private mutating func addProbes(_ rows: [ServiceList.Row], _ entries: [VMEntry]) {
    let live = Set(rows.filter { $0.process != nil }.map(\.configuration))
    let probes = MachineProbe.all(entries.filter { live.contains($0.folder.definition) }, translators: true)
    let probed = rows.compactMap { row in probes[row.configuration].map { (row.name, $0) } }
    func cards(_ value: (NetworkFacts) -> Double) -> [(labels: [(String, String)], value: Double)] {
      probed.flatMap { name, probe in
        probe.networks.map { ([("machine", name), ("card", String($0.slot))], value($0)) }
      }
    }
    func network(_ name: String, _ help: String, _ value: (NetworkCounters) -> UInt64) {
      add("vmctl_machine_network_" + name, help, isCounter: true, cards { Double(value($0.counters)) })
    }
    network("received_bytes_total", "What the network card has got.") { $0.bytesReceived }
    network("sent_bytes_total", "What the network card has sent.") { $0.bytesSent }
    network("received_frames_total", "Frames that the network card has got.") { $0.framesReceived }
    network("sent_frames_total", "Frames that the network card has sent.") { $0.framesSent }
    network("dropped_frames_total", "Frames that were lost between the network card and its network.") {
      $0.sendDrops &+ $0.receiveDrops
    }
    add("vmctl_machine_network_link", "Whether the network card's cable is in.", cards { $0.isCableConnected ? 1 : 0 })
    let teleports = probed.compactMap { name, probe in probe.teleport.map { ([("machine", name)], $0) } }
    add(
      "vmctl_machine_teleport_bytes", "What the teleport that goes on has moved.",
      teleports.map { ($0, Double($1.bytes)) })
    add(
      "vmctl_machine_teleport_remaining_pages", "Pages of 4 KiB that the teleport that goes on has still to move.",
      teleports.map { ($0, Double($1.remainingPages)) })
    addProtections(probed)
    for (key, name, help) in Self.translatorCounts {
      add(
        "vmctl_machine_translator_" + name, help, isCounter: true,
        probed.compactMap { machine, probe in probe.translator[key].map { ([("machine", machine)], Double($0)) } })
    }
  }

  /// Figures of protections that go on, or are decided on.
  private mutating func addProtections(_ probed: [(String, MachineProbe)]) {
    let going = probed.compactMap { name, probe -> (String, ProtectionProgress)? in
      guard let protection = probe.protection, protection.state != .unprotected, protection.state != .takenover else {
        return nil
      }
      return (name, protection)
    }
    func figure(
      _ name: String, _ help: String, ofBackups: Bool = false, isCounter: Bool = false,
      _ value: (ProtectionProgress) -> Double
    ) {
      add(
        "vmctl_machine_protection_" + name, help, isCounter: isCounter,
        going.filter { ofBackups || $0.1.role == .primary }.map { ([("machine", $0.0)], value($0.1)) })
    }
    figure("epoch", "The last checkpoint that both hosts have.", ofBackups: true) { Double($0.epoch) }
    figure("bytes_total", "What the protection has moved between the hosts.", ofBackups: true, isCounter: true) {
      Double($0.bytes)
    }
    figure("lag_seconds", "From the last checkpoint until the backup had it.") { $0.lagMS / 1000 }
    figure("pause_seconds", "How long the machine stood for the last checkpoint.") { $0.pauseMS / 1000 }
    figure("longest_pause_seconds", "How long it stood for the longest of the last hundred checkpoints.") {
      $0.longestPauseMS / 1000
    }
    figure("checkpoint_pages", "Pages of 4 KiB in the last checkpoint.", ofBackups: true) { Double($0.pages) }
    figure("held_bytes", "Output that waits for the backup, but for frames.") { Double($0.heldBytes) }
  }

  /// Counts of a translator as `debugvm NAME statistics` calls them, and as Prometheus does.
  static let translatorCounts = [
    ("blocks translated", "blocks_total", "Blocks of guest code that were translated."),
    ("instructions translated", "instructions_total", "Instructions of the guest's that were translated."),
    ("host code emitted", "code_bytes_total", "Host code that was made of them."),
    ("entries to host code", "entries_total", "Times that translated code was entered."),
    (
      "interpreted instructions within host code", "interpreted_instructions_total",
      "Instructions that translated code has left to the interpreter."
    ),
    ("times all code was dropped", "flushes_total", "Times that all translated code was dropped."),
  ]

  /// The text.
  public var text: String {
    var lines: [String] = []
    for family in families {
      lines.append("# HELP \(family.name) \(family.help)")
      lines.append("# TYPE \(family.name) \(family.isCounter ? "counter" : "gauge")")
      for sample in family.samples {
        let labels = sample.labels.map { "\($0.0)=\"\(Self.escape($0.1))\"" }.joined(separator: ",")
        lines.append("\(family.name)\(labels.isEmpty ? "" : "{\(labels)}") \(Self.number(sample.value))")
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  static func escape(_ text: String) -> String {
    text.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "\"", with: "\\\"")
      .replacingOccurrences(of: "\n", with: "\\n")
  }

  private static func number(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e15 ? String(Int(value)) : String(value)
  }

  /// Replaces a file for node_exporter's textfile collector, so that it never reads half of it.
  /// - Throws: `ManagementError` when it cannot be written.
  public func write(_ path: String) throws {
    try Files.replace(Files.absolute(path), with: text, mode: 0o644)
  }
}

/// What a process has taken of the host, as /proc says it (proc(5)).
struct ProcessUsage {
  /// User and system time.
  var cpuSeconds: Double
  var residentBytes: Int
  /// From and to storage; nil where it may not be read.
  var readBytes: Int?
  var writtenBytes: Int?

  init?(_ process: Int32) {
    guard let fields = Self.fields(process), let user = Double(fields[11]), let system = Double(fields[12]),
      let pages = Int(fields[21])
    else { return nil }
    cpuSeconds = (user + system) / Self.ticksPerSecond
    residentBytes = pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    let counters = (try? Files.read("/proc/\(process)/io"))?.split(separator: "\n") ?? []
    func counter(_ key: String) -> Int? {
      counters.first { $0.hasPrefix(key) }?.split(separator: " ").last.flatMap { Int($0) }
    }
    (readBytes, writtenBytes) = (counter("read_bytes:"), counter("write_bytes:"))
  }

  private static var ticksPerSecond: Double { Double(sysconf(Int32(_SC_CLK_TCK))) }

  /// Of its stat file, from the third field on; nil: there is no such process.
  private static func fields(_ process: Int32) -> [Substring]? {
    guard let text = try? Files.read("/proc/\(process)/stat"), let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    return fields.count > 21 ? fields : nil
  }

  /// Seconds since a process was started.
  static func age(_ process: Int32) -> Double? {
    guard let start = fields(process).flatMap({ Double($0[19]) }),
      let uptime = (try? Files.read("/proc/uptime"))?.split(separator: " ").first.flatMap({ Double($0) })
    else { return nil }
    return max(0, uptime - start / ticksPerSecond)
  }
}
