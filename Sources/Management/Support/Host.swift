import Foundation

/// What the host has to give.
public enum Host {
  /// RAM in MiB.
  public static var memoryMB: Int {
    (Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE)))) >> 20
  }

  /// RAM in MiB that programs can have without others having to give up theirs; nil: the kernel does not say.
  static var availableMemoryMB: Int? {
    let memory = (try? Files.read("/proc/meminfo")) ?? ""
    let available = memory.split(separator: "\n").first { $0.hasPrefix("MemAvailable:") }
    return available?.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 >> 10 }
  }

  /// Bytes that the file system of a path has left for this user; nil: that cannot be told.
  static func roomLeft(at path: String) -> UInt64? {
    var information = statvfs()
    guard statvfs(path, &information) == 0 else { return nil }
    return UInt64(information.f_bavail) * UInt64(information.f_frsize)
  }

  /// Processors of this host that are switched on, at least 1.
  public static var processors: Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

  /// By which the user of this process is known, or his number.
  static var userName: String { getpwuid(geteuid()).map { String(cString: $0.pointee.pw_name) } ?? "\(geteuid())" }

  /// "name" and "value" pairs for `vmctl list hostinfo`.
  public static var facts: [(String, String)] {
    var system = utsname()
    uname(&system)
    let release = withUnsafeBytes(of: &system.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    let machine = withUnsafeBytes(of: &system.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    let processor = (try? Files.read("/proc/cpuinfo"))?.split(separator: "\n").first { $0.hasPrefix("model name") }
    let model = processor?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"
    return [
      ("Host time", ISO8601DateFormatter().string(from: Date())),
      ("Processors online", String(processors)),
      ("Processor model", model),
      ("Memory size", "\(memoryMB) MByte"),
      ("Memory available", "\(availableMemoryMB ?? 0) MByte"),
      ("Operating system", "Linux \(release) \(machine)"),
    ]
  }
}
