import Foundation
import HostNetwork

/// What a detached VM process tells the command that started it, once.
struct StartReport: Codable {
  var summary: [String]
  var error: String?
}

/// Starts VM processes of their own session and waits until the VM has started or failed.
public enum VMLauncher {
  /// The subcommand under which vmctl is the VM process; the report goes to this descriptor.
  public static let subcommand = "vm-process"
  static let reportDescriptor: Int32 = 3
  /// Where an owned VM process reads nothing, until its owner has gone.
  static let ownerDescriptor: Int32 = 4
  /// What it keeps open as long as it uses its folder.
  static let janitorDescriptor: Int32 = 5

  /// - Returns: what the VM process has to say to the user.
  /// - Throws: what kept it from starting, in its own words.
  public static func start(
    _ entry: VMEntry, registry: Registry, options: StartOptions = StartOptions()
  ) throws -> [String] {
    try launch(entry, registry: registry, options: options, owner: nil).summary
  }

  /// Starts a VM process that ends with this one.
  /// - Throws: `ManagementError` with what kept it from starting, in its own words.
  public static func startOwned(_ entry: VMEntry, registry: Registry, options: StartOptions) throws -> OwnedProcess {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw ManagementError.system("cannot make a pipe") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(ends[0]) }
    var options = options
    options.isOwned = true
    do {
      let process = try launch(entry, registry: registry, options: options, owner: ends[0]).process
      return OwnedProcess(process: process, lifeline: ends[1])
    } catch {
      close(ends[1])
      throw error
    }
  }

  private static func launch(
    _ entry: VMEntry, registry: Registry, options: StartOptions, owner: Int32?
  ) throws -> (summary: [String], process: pid_t) {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw ManagementError.system("cannot make a pipe") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(ends[0]) }
    let process: pid_t
    do {
      process = try spawn(entry, registry, options, report: ends[1], owner: owner)
      close(ends[1])
    } catch {
      close(ends[1])
      throw error
    }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while bytes.count < 1 << 20 {
      let count = read(ends[0], &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      if count <= 0 { break }
      bytes += chunk[..<count]
    }
    guard let report = try? JSONDecoder().decode(StartReport.self, from: Data(bytes)) else {
      throw ManagementError(
        "the process of \"\(entry.name)\" ended while it was starting",
        remedy: "see its log with vmctl showvminfo \"\(entry.name)\" --log 0")
    }
    if let error = report.error { throw ManagementError(error) }
    return (report.summary, process)
  }

  private static func spawn(
    _ entry: VMEntry, _ registry: Registry, _ options: StartOptions, report: Int32, owner: Int32?
  ) throws -> pid_t {
    let program = Program.own
    let words = ["vmctl", subcommand] + options.words + ["--", entry.definition.uuid.uuidString.lowercased()]
    var environment = ProcessInfo.processInfo.environment
    environment["VMCTL_HOME"] = registry.home
    do {
      // A session of its own: neither ^C nor the end of the terminal reaches it.
      return try ChildProcess.spawn(
        program, words, environment: environment, output: .null,
        descriptors: [report] + [owner, options.janitor].compactMap { $0 },
        group: .ownSession)
    } catch {
      throw ManagementError.system("cannot start \(program)", error.code)
    }
  }

  /// The life of a VM process, from its first instruction to its exit status.
  public static func runDetached(
    _ name: String, registry: Registry, options: StartOptions = StartOptions()
  ) -> Int32 {
    _ = fcntl(reportDescriptor, F_SETFD, FD_CLOEXEC)
    if options.isOwned {
      for descriptor in [ownerDescriptor, janitorDescriptor] { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    }
    func report(_ report: StartReport) {
      if let bytes = try? JSONEncoder().encode(report) {
        try? Files.writeAll(reportDescriptor, Array(bytes), path: "the report")
      }
      close(reportDescriptor)
    }
    signal(SIGPIPE, SIG_IGN)
    let process: VMProcess
    do {
      process = try VMProcess(try registry.find(name), detached: true, options: options)
      let signals = SignalWatch([SIGTERM, SIGINT, SIGHUP]) { process.terminate() }
      defer { withExtendedLifetime(signals) {} }
      let summary = try process.start()
      report(StartReport(summary: summary))
      if options.isOwned { endWithOwner(process) }
      return process.waitUntilEnd()
    } catch {
      report(StartReport(summary: [], error: ManagementError.text(for: error)))
      return 1
    }
  }
}

extension VMLauncher {
  /// The owner writes nothing: what is read is its end.
  private static func endWithOwner(_ process: VMProcess) {
    let thread = Thread {
      var byte: UInt8 = 0
      while read(ownerDescriptor, &byte, 1) < 0 && errno == EINTR {}
      process.terminate()
    }
    thread.name = "owner"
    thread.start()
  }
}

/// A VM process that ends with this one.
public final class OwnedProcess {
  private let process: pid_t
  private var lifeline: Int32

  init(process: pid_t, lifeline: Int32) {
    self.process = process
    self.lifeline = lifeline
  }

  deinit { if lifeline >= 0 { close(lifeline) } }

  /// Switches the machine off, if it runs still, and waits until its process has ended.
  /// - Returns: the status that it ended with, nil when a signal ended it.
  public func end() -> Int32? {
    if lifeline >= 0 { close(lifeline) }
    lifeline = -1
    return wait()
  }

  /// Waits until the machine has ended by itself. Once.
  /// - Returns: as `end`.
  public func wait() -> Int32? {
    let status = ChildProcess.wait(process)
    return status & 0x7F == 0 ? status >> 8 & 0xFF : nil
  }
}

/// Calls a closure for each of some signals, which then do nothing by themselves.
public final class SignalWatch: @unchecked Sendable {
  private var sources: [any DispatchSourceSignal] = []

  /// Watches for as long as it lives. When this returns it does: a signal that comes before has its usual effect, and none
  /// is lost in between.
  public init(_ signals: [Int32], _ body: @escaping @Sendable () -> Void) {
    let watching = DispatchSemaphore(value: 0)
    for number in signals {
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler(handler: DispatchWorkItem(block: body))
      source.setRegistrationHandler { watching.signal() }
      source.resume()
      sources.append(source)
    }
    for _ in signals { watching.wait() }
  }

  deinit { for source in sources { source.cancel() } }
}
