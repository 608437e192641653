import Foundation

/// The list of services as people read it.
public enum ServiceText {
  /// What the columns of `row` are called.
  public static let headings = [
    "", "NAME", "STATE", "UPTIME", "OTHER HOST", "CPUS", "MEMORY", "BOOT", "STOP SCRIPT", "OOM", "GUEST", "CONSOLE",
  ]

  /// The host in a line.
  public static func header(_ host: ServiceList.HostFacts) -> String {
    "host: up since \(date(host.bootTime)), \(host.cpus) CPUs, \(host.freeMB) of \(host.totalMB) MB memory free"
  }

  /// A machine in a line of cells.
  public static func row(_ row: ServiceList.Row) -> [String] {
    [
      row.isCurrent ? "*" : " ", row.name, row.state.rawValue, row.uptimeSeconds.map(uptime) ?? "-",
      row.protection?.words ?? row.teleport ?? "-", row.cpus,
      row.memoryMB.map { "\($0) MB" } ?? "-", row.startsOnBoot ? "yes" : "no", row.stopScript,
      row.isProtectedFromOOM.map { $0 ? "protected" : "not protected" } ?? "-", row.guest ?? "-",
      row.consolePorts.isEmpty ? "-" : row.consolePorts.map(String.init).joined(separator: ","),
    ]
  }

  /// All that there is to say of a machine, in lines.
  public static func details(_ row: ServiceList.Row) -> [String] {
    facts(row).map(fact)
  }

  static func fact(_ label: String, _ value: String) -> String {
    (label + ":").padding(toLength: 17, withPad: " ", startingAt: 0) + value
  }

  private static func facts(_ row: ServiceList.Row) -> [(String, String)] {
    [
      ("Name", row.name + (row.isCurrent ? " *" : "")), ("Configuration", row.configuration), ("CPUs", row.cpus),
      ("Memory", row.memoryMB.map { "\($0) MB" } ?? "-"),
      ("State", row.state.rawValue + (row.uptimeSeconds.map { ", up \(uptime($0))" } ?? "")),
      ("Machine", (row.machineState?.rawValue ?? "unknown") + (row.reason.map { ": \($0)" } ?? "")),
      ("Process", row.process.map(String.init) ?? "-"), ("Model", row.model), ("Description", row.description),
      ("Service", row.service), ("Start on boot", row.startsOnBoot ? "yes" : "no"), ("Stop script", row.stopScript),
      ("Pre-start", row.preStart.isEmpty ? "-" : row.preStart.joined(separator: " | ")),
      ("Started", row.started.map(date) ?? "-"), ("Stopped", row.stopped.map(date) ?? "-"),
      ("OOM protection", row.isProtectedFromOOM.map { $0 ? "yes" : "no" } ?? "-"), ("Guest", row.guest ?? "-"),
      ("Console ports", row.consolePorts.isEmpty ? "-" : row.consolePorts.map(String.init).joined(separator: ", ")),
      ("Log", row.log),
      ("Console records", row.consoleRecords.isEmpty ? "-" : row.consoleRecords.joined(separator: ", ")),
      ("Interfaces", row.interfaces.isEmpty ? "-" : row.interfaces.map(\.line).joined(separator: ", ")),
      ("Teleport", row.teleport ?? "-"), ("Protection", row.protection?.line ?? "-"),
    ]
  }

  static func date(_ date: Date) -> String {
    var time = time_t(date.timeIntervalSince1970)
    var parts = tm()
    localtime_r(&time, &parts)
    var text = [CChar](repeating: 0, count: 32)
    strftime(&text, text.count, "%Y-%m-%d %H:%M:%S", &parts)
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// "3d 4h", "4h 5m", "5m 6s", "6s".
  static func uptime(_ seconds: Int) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60)
    if days > 0 { return "\(days)d \(hours)h" }
    return hours > 0 ? "\(hours)h \(minutes)m" : minutes > 0 ? "\(minutes)m \(seconds % 60)s" : "\(seconds)s"
  }
}
