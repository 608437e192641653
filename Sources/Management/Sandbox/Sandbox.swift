import CHost
import Foundation

/// The second wall: what a VM process gives up, so that a guest which breaks out of its machine finds a process that can do
/// nothing but its work.
///
/// It is put up in two steps, since the one kind of rule must come before the process has threads and the other after it
/// has its servers:
///
/// 1. `closeFiles`: root's privileges go and no program can bring them back; Landlock leaves the VM's folder, what its
///    definition names and what the host's libraries read.
/// 2. `closeSystem`: seccomp leaves the system calls of a process that has its sockets.
///
/// Either fails where the kernel does not have it; `description` says what holds.
struct Sandbox: Sendable {
  /// Whether the user wants it.
  let isWanted: Bool
  private var files = Layer.absent("not yet")
  private var system = Layer.absent("not yet")

  private enum Layer: Sendable {
    /// In force, named as users know it.
    case holds(String)
    case absent(String)
  }

  init(isWanted: Bool) { self.isWanted = isWanted }

  /// As `showvminfo` shows it: "on (...)", "partly (...)" with what is missing and why, or "off".
  var description: String {
    guard isWanted else { return "off" }
    switch (system, files) {
    case (.holds(let calls), .holds(let paths)): return "on (\(calls), \(paths))"
    case (.holds(let calls), .absent(let reason)): return "partly (\(calls); no Landlock: \(reason))"
    case (.absent(let reason), .holds(let paths)): return "partly (\(paths); no seccomp: \(reason))"
    case (.absent(let calls), .absent(let paths)): return "off (no seccomp: \(calls); no Landlock: \(paths))"
    }
  }

  /// Whether all of it is in force that the user wants.
  var isWhole: Bool {
    guard isWanted else { return true }
    if case (.holds, .holds) = (system, files) { return true }
    return false
  }

  /// What a process does besides what all processes of a machine do.
  struct Work: OptionSet {
    var rawValue: Int32
    /// Opens servers on the network.
    static let serve = Work(rawValue: Int32(VM_MAY_SERVE))
    /// Starts programs.
    static let start = Work(rawValue: Int32(VM_MAY_START))
    /// Connects to sockets in the file system.
    static let connectPaths = Work(rawValue: Int32(VM_MAY_CONNECT_PATHS))
  }

  /// What may be done at a path and below it.
  struct Rule: Equatable {
    var path: String
    var rights: Rights

    init(_ path: String, _ rights: Rights = .read) {
      self.path = path
      self.rights = rights
    }
  }

  struct Rights: OptionSet {
    var rawValue: Int32
    /// Files are opened for reading, folders listed.
    static let read = Rights(rawValue: Int32(VM_MAY_READ))
    /// Files that are there are written.
    static let write = Rights(rawValue: Int32(VM_MAY_WRITE))
    /// Files and sockets are made, replaced and removed.
    static let change = Rights(rawValue: Int32(VM_MAY_CHANGE))
    /// Programs are executed.
    static let run = Rights(rawValue: Int32(VM_MAY_RUN))
  }

  /// Leaves the calling thread, and those that it starts from now on, the files of the rules. A path that is not there is
  /// passed over: there is nothing to open.
  mutating func closeFiles(_ rules: [Rule]) {
    guard isWanted else { return }
    guard vm_drop_privileges() == 0 else { return files = .absent("privileges: \(Self.reason())") }
    let abi = vm_landlock_abi()
    guard abi > 0 else {
      files = .absent("this kernel does not have it, or it is switched off")
      return
    }
    let set = vm_landlock_create(abi)
    guard set >= 0 else { return files = .absent(Self.reason()) }
    defer { close(set) }
    for rule in rules where vm_landlock_allow(set, abi, rule.path, rule.rights.rawValue) != 0 {
      guard errno != ENOENT, errno != ENOTDIR, errno != EACCES else { continue }
      return files = .absent("\(rule.path): \(Self.reason())")
    }
    guard vm_landlock_enforce(set) == 0 else { return files = .absent(Self.reason()) }
    let others = Self.threads - 1
    // Those that were there before are not under the rules.
    files = others == 0 ? .holds("Landlock ABI \(abi)") : .absent("\(others) threads were there before it")
  }

  /// Leaves all threads the system calls of `vm_seccomp_enforce`.
  mutating func closeSystem(_ work: Work = []) {
    guard isWanted else { return }
    system = vm_seccomp_enforce(work.rawValue) == 0 ? .holds("seccomp") : .absent(Self.reason())
  }

  private static var threads: Int {
    (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count) ?? 1
  }

  private static func reason() -> String { String(cString: strerror(errno)) }
}
