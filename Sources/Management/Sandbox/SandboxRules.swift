import Foundation
import Machine

extension Sandbox {
  /// The files of one VM's process: its folder, what its definition names, and the host's.
  static func rules(_ folder: VMFolder, _ definition: VMDefinition) -> [Rule] {
    var rules = [Rule(folder.path, [.read, .write, .change])]
    rules += definition.hardware.hostFiles.map { Rule($0.path, $0.isWritten ? [.read, .write] : .read) }
    if definition.hardware.networkAdapters.contains(where: { $0.network == .intnet }),
      let home = try? Registry.fromEnvironment().home
    {
      rules.append(Rule(NetworkEndpoint.networks(home), [.read, .change]))
    }
    // Also the traces that are switched on while the machine runs.
    rules += definition.hardware.networkAdapters.compactMap(\.traceFile).map { Rule($0, [.read, .write]) }
    if let password = definition.teleporter.passwordFile { rules.append(Rule(Files.absolute(password))) }
    return rules + hostRules
  }

  /// What the C library and Foundation read while the process runs: names of hosts for teleports and consoles, the time
  /// zone, modules of the name service, the processors, and /proc: Dispatch looks there for each of its threads, under
  /// /proc/THREAD, as often as once a second. Of other processes it shows what everybody may see, not their memory or their
  /// environment.
  private static var hostRules: [Rule] {
    let resolver = URL(fileURLWithPath: "/etc/resolv.conf").resolvingSymlinksInPath().deletingLastPathComponent().path
    let configuration =
      geteuid() == 0
      // Root reads secrets in /etc, so for it there is no more than this.
      ? ["resolv.conf", "hosts", "host.conf", "nsswitch.conf", "gai.conf", "services", "localtime", "ld.so.cache"].map {
        "/etc/" + $0
      }
      : ["/etc"]
    let read =
      configuration + (resolver == "/etc" ? [] : [resolver]) + [
        "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/proc", "/sys/devices/system/cpu",
        "/dev/urandom",
      ]
    return read.map { Rule($0) } + [Rule("/dev/null", [.read, .write])]
  }

  /// Leaves a NAT process what the host's libraries read. Called before it has a second thread. Where the kernel does not
  /// have Landlock the process goes on as it is.
  static func closeFilesOfNAT(reading more: [String] = []) {
    var sandbox = Sandbox(isWanted: true)
    sandbox.closeFiles(hostRules + more.map { Rule($0) })
  }
}
