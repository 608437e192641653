#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What the kernel tells of a block device in /sys/dev/block (Documentation/ABI/stable/sysfs-block).
enum BlockDeviceFacts {
  /// Names that no other device in the world has: what the device itself says (NAA, EUI-64 or UUID designators), and the
  /// number that this kernel has given it since it was started. A SCSI name of the kind "t10" is made by the
  /// manufacturer's own rules, and many virtual disks have the same one; it is not taken.
  static func names(_ number: dev_t) -> [String] {
    let folder = sysfs(number)
    var names: [String] = []
    if let own = worldWideName(folder, depth: 0) { names.append(own) }
    if let boot = text("/proc/sys/kernel/random/boot_id") {
      names.append("host \(boot) \(place(number)) \(sequence(folder))")
    }
    return names
  }

  /// A text that changes with each write to the device, and with each start of the host.
  static func writes(_ number: dev_t) -> String? {
    let folder = sysfs(number)
    guard let boot = text("/proc/sys/kernel/random/boot_id"), let counters = text(folder + "/stat") else { return nil }
    let fields = counters.split(separator: " ")
    guard fields.count > 6 else { return nil }
    // Fields 5 and 7: writes done, sectors written.
    return "\(boot) \(place(number)) \(sequence(folder)) \(fields[4]) \(fields[6])"
  }

  private static func worldWideName(_ folder: String, depth: Int) -> String? {
    for file in ["wwid", "device/wwid"] {
      if let name = text(folder + "/" + file), ["naa.", "eui.", "uuid."].contains(where: name.hasPrefix) {
        return name
      }
    }
    // A partition is known by its disk and its place there.
    if let part = text(folder + "/partition"), depth < 4, let disk = worldWideName(folder + "/..", depth: depth + 1) {
      return "\(disk) part \(part) at \(text(folder + "/start") ?? "")"
    }
    // A mapped device by what it is mapped to and its own name: a copy of a volume group has that name as well.
    if let own = text(folder + "/dm/uuid"), depth < 4 {
      var parts: [String] = []
      for slave in list(folder + "/slaves") {
        guard let part = worldWideName(folder + "/slaves/" + slave, depth: depth + 1) else { return nil }
        parts.append(part)
      }
      return parts.isEmpty ? nil : "\(own) on \(parts.sorted().joined(separator: ", "))"
    }
    return nil
  }

  private static func place(_ number: dev_t) -> String {
    // gnu_dev_major and gnu_dev_minor of <sys/sysmacros.h>.
    let major = (number >> 8) & 0xFFF | (number >> 32) & ~0xFFF
    let minor = number & 0xFF | (number >> 12) & ~0xFF
    return "\(UInt32(truncatingIfNeeded: major)):\(UInt32(truncatingIfNeeded: minor))"
  }

  private static func sysfs(_ number: dev_t) -> String { "/sys/dev/block/" + place(number) }

  /// Counts what was inserted into a drive or set up as a loop device, since kernel 5.15.
  private static func sequence(_ folder: String) -> String {
    text(folder + "/diskseq") ?? text(folder + "/../diskseq") ?? "-"
  }

  /// A file's first 4 KiB without white space around them; nil when there is nothing.
  private static func text(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(descriptor, &bytes, bytes.count)
    guard count > 0 else { return nil }
    let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x0A || $0 == 0 }
    let words = bytes[..<count].drop(while: isSpace).reversed().drop(while: isSpace).reversed()
    return words.isEmpty ? nil : String(decoding: words, as: UTF8.self)
  }

  private static func list(_ path: String) -> [String] {
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
  }
}
