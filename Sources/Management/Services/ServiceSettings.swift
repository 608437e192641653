import Foundation

/// How a machine is a service: what an operator has said of its start, its stop and its end.
public struct ServiceSettings: Codable, Equatable, Sendable {
  /// Whose service manager keeps it.
  public enum Scope: String, Codable, Sendable, CaseIterable { case system, user }
  /// What stops a machine without a stop script.
  public enum StopMode: String, Codable, Sendable, CaseIterable { case savestate, acpi, poweroff }

  /// The machine's name when the service was made: that of its unit.
  public var name: String
  /// Whose it is.
  public var scope: Scope
  /// Starts with the host.
  public var autoboot = false
  /// Starts again after a failure.
  public var restart = true
  /// Takes the place of the common stop script.
  public var stopScript: String?
  /// Runs before each start and may refuse it.
  public var preStart: String?
  /// Says how the guest is, by its status and first line.
  public var statusScript: String?
  /// Seconds that the stop script, or what stands for it, may take.
  public var stopTimeout = 120
  /// What stops a machine without a stop script.
  public var stopMode = StopMode.savestate
  /// Names of machines that start before this one and stop after it.
  public var after: [String] = []
  /// What the host may leave to its taps; nil: `auto`.
  public var offloads: OffloadPolicy?
  /// Of the log's events those of this level and above are told by an alert; nil: those alone that have one of their own.
  public var logAlerts: LogLevel?

  /// A service with the usual settings.
  public init(name: String, scope: Scope) {
    self.name = name
    self.scope = scope
  }
}

/// The files of services: `$VMCTL_HOME/services`, which the process of no machine may write (`SandboxRules`), since the host
/// runs the scripts that they name.
public struct ServiceStore: Sendable {
  /// The folder.
  public let folder: String

  /// The services of a host.
  public init(_ registry: Registry) { folder = registry.home + "/services" }

  /// The common stop script, with a case for each machine.
  public var stopScript: String { folder + "/stop" }
  /// The script that is told what happens to machines.
  public var alertScript: String { folder + "/alert" }
  /// The UUID of the machine that was started last by name.
  public var current: String { folder + "/current" }

  func file(_ entry: VMEntry, _ kind: String) -> String {
    "\(folder)/\(entry.definition.uuid.uuidString.lowercased()).\(kind)"
  }

  /// The settings of a machine's service; nil: it is none.
  /// - Throws: `ManagementError` when the file is there and cannot be read.
  public func settings(_ entry: VMEntry) throws -> ServiceSettings? {
    let path = file(entry, "json")
    guard Files.exists(path) else { return nil }
    do {
      return try JSONDecoder().decode(ServiceSettings.self, from: Data(Files.read(path).utf8))
    } catch let error as ManagementError {
      throw error
    } catch {
      throw ManagementError(
        "\(path) is no service's settings", remedy: "make it anew with vmctl service add \"\(entry.name)\"")
    }
  }

  func write(_ settings: ServiceSettings, _ entry: VMEntry) throws {
    try Files.makeDirectory(folder)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    try Files.replace(
      file(entry, "json"), with: String(decoding: encoder.encode(settings), as: UTF8.self) + "\n")
  }

  /// Times and the last failure of a service.
  struct History: Codable, Equatable {
    var started: Date?
    var stopped: Date?
    /// Why the last start was refused.
    var startFailure: String?
    /// Why the last stop has failed.
    var stopFailure: String?
    /// Somebody asked for the end that is under way.
    var isStopRequested: Bool?
  }

  func history(_ entry: VMEntry) -> History {
    guard let text = try? Files.read(file(entry, "history")) else { return History() }
    return (try? JSONDecoder().decode(History.self, from: Data(text.utf8))) ?? History()
  }

  func note(_ entry: VMEntry, _ change: (inout History) -> Void) {
    var history = history(entry)
    change(&history)
    guard let bytes = try? JSONEncoder().encode(history) else { return }
    try? Files.makeDirectory(folder)
    try? Files.replace(file(entry, "history"), with: String(decoding: bytes, as: UTF8.self) + "\n")
  }

  /// Runs `body` while no other command works on the machine's service.
  /// - Throws: `ManagementError` when one does; what `body` throws.
  func whileAlone<T>(_ entry: VMEntry, _ body: () throws -> T) throws -> T {
    try Files.makeDirectory(folder)
    let lock = try FileLock(path: file(entry, "lock"))
    guard lock.tryLock(.editing) else {
      throw ManagementError(
        "another command works on the service of \"\(entry.name)\"",
        remedy: "wait for it; vmctl service status \"\(entry.name)\" says how far it is")
    }
    defer { lock.unlock(.editing) }
    return try body()
  }
}
