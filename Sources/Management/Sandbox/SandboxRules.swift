import Foundation
import HostNetwork
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

  /// Leaves a NAT process what the host's libraries read, and sockets. Called before it has a second thread. What the kernel
  /// does not have stays open: the process goes on as it is.
  static func closeNAT(reading more: [String] = []) {
    var sandbox = Sandbox(isWanted: true)
    sandbox.closeFiles(hostRules + more.map { Rule($0) })
    sandbox.closeSystem(.serve)
  }

  /// Leaves the keeper of NAT processes this program, with its libraries, and what it needs to start it: what it starts is in
  /// here, too, before it closes itself in. A keeper for a socket in the file system may connect, and nothing else.
  static func closeKeeper(_ purpose: NATKeeper.Purpose) {
    var sandbox = Sandbox(isWanted: true)
    let startsPrograms = purpose.path == nil
    sandbox.closeFiles(hostRules + (startsPrograms ? purpose.readable.map { Rule($0) } + programRules : []))
    sandbox.closeSystem(startsPrograms ? [.serve, .start] : .connectPaths)
  }

  /// Leaves the keeper of VNC's processes this program, and what those read.
  static func closeVNCKeeper(reading folder: String?) {
    var sandbox = Sandbox(isWanted: true)
    sandbox.closeFiles(hostRules + programRules + (folder.map { [Rule($0)] } ?? []))
    sandbox.closeSystem(.start)
  }

  /// Leaves a process that serves a VNC client its sockets, and the files that browsers get.
  static func closeVNCSession(reading folder: String?) {
    var sandbox = Sandbox(isWanted: true)
    sandbox.closeFiles(hostRules + (folder.map { [Rule($0)] } ?? []))
    sandbox.closeSystem()
  }

  /// This program, what loads it and what was loaded with it, wherever they are: proc(5) says.
  private static var programRules: [Rule] {
    let maps = (try? Files.read("/proc/self/maps")) ?? ""
    let files = Set(
      maps.split(separator: "\n").compactMap { line in line.firstIndex(of: "/").map { String(line[$0...]) } })
    return [Rule("/proc/self/exe", [.read, .run])]
      + files.sorted().map { path in
        let isLoader = URL(fileURLWithPath: path).lastPathComponent.hasPrefix("ld-")
        return Rule(path, isLoader ? [.read, .run] : .read)
      }
  }
}
