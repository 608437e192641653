import Foundation

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

  private mutating func add(
    _ name: String, _ help: String, isCounter: Bool = false, _ samples: [(labels: [(String, String)], value: Double)]
  ) {
    guard !samples.isEmpty else { return }
    families.append(Family(name: name, help: help, isCounter: isCounter, samples: samples))
  }

  /// The figures of a host now.
  /// - Throws: `ManagementError` when the folder of the machines cannot be read.
  public init(_ services: Services) throws {
    let list = try services.list()
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
  }

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
    guard let text = try? Files.read("/proc/\(process)/stat"), let end = text.lastIndex(of: ")") else { return nil }
    // The fields from the third on.
    let fields = text[text.index(after: end)...].split(separator: " ")
    guard fields.count > 21, let user = Double(fields[11]), let system = Double(fields[12]), let pages = Int(fields[21])
    else { return nil }
    cpuSeconds = (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    residentBytes = pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    let counters = (try? Files.read("/proc/\(process)/io"))?.split(separator: "\n") ?? []
    func counter(_ key: String) -> Int? {
      counters.first { $0.hasPrefix(key) }?.split(separator: " ").last.flatMap { Int($0) }
    }
    (readBytes, writtenBytes) = (counter("read_bytes:"), counter("write_bytes:"))
  }
}
