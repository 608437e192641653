import Foundation
import Teleport

/// What machines take of the host per second, between two looks.
public struct MachineRates: Sendable {
  /// One machine.
  public struct Row: Codable, Equatable, Sendable {
    /// By which commands know it.
    public var name: String
    /// As a service.
    public var state: ServiceList.State
    /// Of one of the host's CPUs; nil: it does not run, or was not there at the last look.
    public var cpuPercent: Double?
    /// RAM that its guest has, in MiB.
    public var memoryMB: Int?
    /// RAM of the host that its process has, in MiB.
    public var residentMB: Int?
    /// Bytes per second from and to storage; nil: unknown.
    public var diskReadPerSecond: Double?
    /// To storage.
    public var diskWrittenPerSecond: Double?
    /// Bytes per second that its network cards have got; nil: it has none, or does not answer.
    public var receivedPerSecond: Double?
    /// That they have sent.
    public var sentPerSecond: Double?
    /// Seconds since its start.
    public var uptimeSeconds: Int?
  }

  /// The host and its machines, the busiest first.
  public struct Table: Codable, Sendable {
    /// The host.
    public var host: ServiceList.HostFacts
    /// The machines.
    public var machines: [Row]
  }

  /// What was counted of a process.
  struct Counts: Equatable, Sendable {
    var process: Int32
    var cpuSeconds: Double
    var read, written, received, sent: Double?
  }

  private let services: Services
  private var last: [String: Counts] = [:]
  private var lastTime: UInt64 = 0

  /// Looks for the first time.
  /// - Throws: `ManagementError` when the machines cannot be listed.
  public init(_ services: Services) throws {
    self.services = services
    _ = try look()
  }

  /// Looks again.
  /// - Returns: what has happened since the last look.
  /// - Throws: `ManagementError` when the machines cannot be listed.
  public mutating func look() throws -> Table {
    let now = DispatchTime.now().uptimeNanoseconds
    let seconds = Double(now - lastTime) / 1e9
    let (list, entries) = try services.listWithEntries()
    let running = Set(list.machines.filter { $0.process != nil }.map(\.configuration))
    let live = entries.filter { running.contains($0.folder.definition) }
    let probes = MachineProbe.all(live)
    var counts: [String: Counts] = [:]
    let rows = list.machines.map { machine -> Row in
      var row = Row(
        name: machine.name, state: machine.state, memoryMB: machine.memoryMB, uptimeSeconds: machine.uptimeSeconds)
      guard let process = machine.process, let usage = ProcessUsage(process) else { return row }
      row.residentMB = usage.residentBytes >> 20
      let cards = probes[machine.configuration].flatMap { $0.networks.isEmpty ? nil : $0.networks }
      let new = Counts(
        process: process, cpuSeconds: usage.cpuSeconds, read: usage.readBytes.map(Double.init),
        written: usage.writtenBytes.map(Double.init),
        received: cards?.reduce(0) { $0 + Double($1.counters.bytesReceived) },
        sent: cards?.reduce(0) { $0 + Double($1.counters.bytesSent) })
      counts[machine.configuration] = new
      if let old = last[machine.configuration] { Self.fill(&row, old, new, seconds) }
      return row
    }
    (last, lastTime) = (counts, now)
    return Table(
      host: list.host,
      machines: rows.sorted { ($0.cpuPercent ?? -1, $1.name) > ($1.cpuPercent ?? -1, $0.name) })
  }

  static func fill(_ row: inout Row, _ old: Counts, _ new: Counts, _ seconds: Double) {
    // Another process counts from the beginning.
    guard old.process == new.process, seconds > 0 else { return }
    func rate(_ old: Double?, _ new: Double?) -> Double? {
      guard let old, let new else { return nil }
      return max(0, new - old) / seconds
    }
    row.cpuPercent = max(0, new.cpuSeconds - old.cpuSeconds) / seconds * 100
    row.diskReadPerSecond = rate(old.read, new.read)
    row.diskWrittenPerSecond = rate(old.written, new.written)
    row.receivedPerSecond = rate(old.received, new.received)
    row.sentPerSecond = rate(old.sent, new.sent)
  }

  // MARK: Text

  /// What the cells of `cells` are called.
  public static let headings = [
    "NAME", "STATE", "CPU %", "MEMORY", "RESIDENT", "READ/s", "WRITTEN/s", "NET IN/s", "NET OUT/s", "UPTIME",
  ]

  /// A machine as people read it.
  public static func cells(_ row: Row) -> [String] {
    [
      row.name, row.state.rawValue, row.cpuPercent.map(\.tenths) ?? "-",
      row.memoryMB.map { "\($0) MB" } ?? "-", row.residentMB.map { "\($0) MB" } ?? "-", amount(row.diskReadPerSecond),
      amount(row.diskWrittenPerSecond), amount(row.receivedPerSecond), amount(row.sentPerSecond),
      row.uptimeSeconds.map(ServiceText.uptime) ?? "-",
    ]
  }

  /// Bytes: "0", "999", "1.5 KB", "2.0 GB".
  static func amount(_ bytes: Double?) -> String {
    guard let bytes else { return "-" }
    var (value, unit) = (bytes, 0)
    let units = ["", " KB", " MB", " GB", " TB"]
    while value >= 1000 && unit < units.count - 1 { (value, unit) = (value / 1000, unit + 1) }
    return unit == 0 ? String(Int(value.rounded())) : value.tenths + units[unit]
  }

  /// The table as lines, the first of them headings, as wide as they are.
  public static func lines(_ table: Table, columns: TextColumns) -> [String] {
    let rows = [headings] + table.machines.map(cells)
    let widths = headings.indices.map { column in rows.map { columns.count($0[column]) }.max() ?? 0 }
    return rows.map { row in
      row.enumerated().map { column, cell in
        // Numbers stand below each other.
        let text = columns.fit(cell, columns.count(cell))
        let space = String(repeating: " ", count: widths[column] - columns.count(text))
        return column < 2 ? text + space : space + text
      }.joined(separator: "  ")
    }
  }
}
