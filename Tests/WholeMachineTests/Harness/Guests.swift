import Foundation

/// What the tests run: the project's bare-metal guests, and Debian's kernels from `scripts/fetch-guest`.
enum Guests {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../..")
    .standardized.path

  /// A bare-metal guest's file, as "walker32.rom".
  static func bareMetal(_ file: String) -> String { root + "/firmware/guests/" + file }

  static func expected(_ name: String) throws -> String {
    try String(contentsOfFile: bareMetal(name + ".expected"), encoding: .utf8)
  }

  static let cache: String = {
    let environment = ProcessInfo.processInfo.environment
    if let path = environment["VMCTL_GUESTS"] { return path }
    return (environment["XDG_CACHE_HOME"] ?? NSHomeDirectory() + "/.cache") + "/vmctl/guests"
  }()

  /// A folder of scripts/fetch-guest or scripts/build-system.
  static func folder(_ name: String) -> String { "\(cache)/\(name)" }

  /// A Debian kernel: cloud-amd64, di-amd64 or di-i386.
  static func kernel(_ name: String) -> String { "\(cache)/\(name)/vmlinuz" }
  static func initrd(_ name: String) -> String { "\(cache)/initrd-\(name.split(separator: "-").last ?? "").cpio" }

  static func busybox(_ name: String) -> String { "\(cache)/busybox-\(name.split(separator: "-").last ?? "")" }

  /// Whether Linux guests are there: without them their tests are skipped. `scripts/test` fetches them first.
  static func has(_ name: String) -> Bool { access(kernel(name), R_OK) == 0 && access(initrd(name), R_OK) == 0 }
  static let hasLinux = has("cloud-amd64")

  /// modifyvm's options for a Linux guest with its console on a free port.
  static func linux(_ kernel: String = "cloud-amd64", append: String = "workload=0") -> [String] {
    [
      "--kernel", Self.kernel(kernel), "--initrd", initrd(kernel), "--append", "console=ttyS0 quiet \(append)",
      "--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0",
    ]
  }
}

extension TestHost {
  /// Makes a Linux machine, starts it and waits for its shell.
  func startLinux(
    _ name: String, kernel: String = "cloud-amd64", memory: Int = 256, append: String = "workload=0",
    _ options: [String] = []
  ) throws -> ConsoleClient {
    try create(name, memory: memory, Guests.linux(kernel, append: append) + options)
    try vmctl("startvm", name)
    let console = try console(name)
    try console.expect("VMCTL-BOOT-DONE", within: 240)
    try console.expect("guest# ")
    return console
  }
}
