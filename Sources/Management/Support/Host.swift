import Foundation

/// What the host has to give.
public enum Host {
  /// RAM in MiB.
  public static var memoryMB: Int {
    (Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE)))) >> 20
  }

  /// Processors of this host that are switched on, at least 1.
  public static var processors: Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

  /// "name" and "value" pairs for `vmctl list hostinfo`.
  public static var facts: [(String, String)] {
    var system = utsname()
    uname(&system)
    let release = withUnsafeBytes(of: &system.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    let machine = withUnsafeBytes(of: &system.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    let memory = (try? Files.read("/proc/meminfo")) ?? ""
    let available = memory.split(separator: "\n").first { $0.hasPrefix("MemAvailable:") }
    let kilobytes = available?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    let processor = (try? Files.read("/proc/cpuinfo"))?.split(separator: "\n").first { $0.hasPrefix("model name") }
    let model = processor?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"
    return [
      ("Host time", ISO8601DateFormatter().string(from: Date())),
      ("Processors online", String(processors)),
      ("Processor model", model),
      ("Memory size", "\(memoryMB) MByte"),
      ("Memory available", "\(kilobytes >> 10) MByte"),
      ("Operating system", "Linux \(release) \(machine)"),
    ]
  }
}
