import Foundation
import Teleport
import Machine

/// What operators see at a glance: the host, and each of its machines.
public struct ServiceList: Codable, Sendable {
  /// Facts of the host.
  public struct HostFacts: Codable, Sendable {
    /// When it was started.
    public var bootTime: Date
    /// How many processors it has.
    public var cpus: Int
    /// RAM in MiB that programs can have.
    public var freeMB: Int
    /// RAM in MiB.
    public var totalMB: Int
  }

  /// What a machine is, as a service.
  public enum State: String, Codable, Sendable {
    case active = "ACTIVE"
    case activating = "ACTIVATING"
    case inactive = "INACTIVE"
    case deactivating = "DEACTIVATING"
    case failed = "FAILED"
    case unknown = "UNKNOWN"
  }

  /// One machine.
  public struct Row: Codable, Sendable {
    /// By which commands know it.
    public var name: String
    /// Started last by name: commands without a name mean it.
    public var isCurrent: Bool
    /// Of its definition.
    public var configuration: String
    /// "-" where they are not known.
    public var cpus: String
    /// Its RAM in MiB.
    public var memoryMB: Int?
    /// As a service.
    public var state: State
    /// As a machine, where that is known.
    public var machineState: VMState?
    /// Seconds since it was started, while it is active.
    public var uptimeSeconds: Int?
    /// Its process, while there is one.
    public var process: Int32?
    /// What it is built of.
    public var model: String
    /// A text for people.
    public var description: String
    /// Whose service it is: "system", "user" or "-".
    public var service: String
    /// Starts with the host.
    public var startsOnBoot: Bool
    /// What there is of a stop script.
    public var stopScript: String
    /// The first three lines of the pre-start script.
    public var preStart: [String]
    /// When it was started last.
    public var started: Date?
    /// When it ended last.
    public var stopped: Date?
    /// Whether the host's out-of-memory killer takes others first, as its process says; nil: it has none.
    public var isProtectedFromOOM: Bool?
    /// What the status script says of the guest: "not booted", or its first line.
    public var guest: String?
    /// Ports of its serial consoles.
    public var consolePorts: [Int]
    /// Where its log is.
    public var log: String
    /// Where its consoles are recorded while nobody is connected.
    public var consoleRecords: [String] = []
    /// Its network cards, and what is wrong with the interfaces that they are plugged into.
    public var interfaces: [InterfaceReport]
    /// What a teleport is doing, while there is one.
    public var teleport: String?
    /// How its protection stands, where it has one, was to have one, or is a backup.
    public var protection: ProtectionStatus?
    /// Why it is in its state, where there is something to say.
    public var reason: String?
  }

  /// The host.
  public var host: HostFacts
  /// The machines by name.
  public var machines: [Row]
  /// What is wrong with machines that cannot be read.
  public var problems: [String]
}

extension Services {
  /// - Parameters:
  ///   - asksGuests: status scripts are run, all at once, for at most 10 s.
  ///   - only: the machine of this name alone; nil: all.
  /// - Throws: `ManagementError` when the folder of the machines cannot be read.
  public func list(asksGuests: Bool = false, only: String? = nil) throws -> ServiceList {
    try listWithEntries(asksGuests: asksGuests, only: only).list
  }

  /// As `list`, with the machines of its rows, of which the last may be of machines that cannot be read.
  func listWithEntries(asksGuests: Bool = false, only: String? = nil) throws -> (list: ServiceList, entries: [VMEntry])
  {
    var list = try registry.list()
    if let only { list.entries.removeAll { $0.name != only } }
    let services = list.entries.map { ($0, (try? store.settings($0)) ?? nil) }
    var units: [ServiceSettings.Scope: [String: ServiceManager.UnitState]] = [:]
    for scope in Set(services.compactMap { $0.1?.scope }) {
      units[scope] = (try? ServiceManager(scope))?.states() ?? [:]
    }
    let current = currentUUID
    var rows = services.map { entry, settings in
      row(
        entry, settings, settings.flatMap { units[$0.scope]?[UnitName.machine($0.name)] },
        isCurrent: entry.definition.uuid.uuidString.lowercased() == current)
    }
    let live = zip(rows, list.entries).filter { $0.0.process != nil }.map(\.1.definition)
    let check = InterfaceCheck(running: live)
    for (index, entry) in list.entries.enumerated() {
      rows[index].interfaces = check.reports(entry.definition, isRunning: rows[index].process != nil)
    }
    if asksGuests {
      for (index, answer) in askGuests(services, rows) { rows[index].guest = answer }
    }
    let unknown = list.inaccessible.filter { only == nil || $0.name == only }
    rows += unknown.map(row)
    return (ServiceList(host: Self.hostFacts, machines: rows, problems: unknown.map(\.reason)), list.entries)
  }

  private var currentUUID: String? {
    (try? Files.read(store.current, limit: 100))?.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// The machine that commands mean which name none.
  /// - Throws: `ManagementError` when none has been started by name.
  public func currentMachine() throws -> VMEntry {
    guard let uuid = currentUUID, let entry = try? registry.find(uuid) else {
      throw ManagementError(
        "no machine is the current one", remedy: "name one; vmstart NAME makes it the one that is meant without a name")
    }
    return entry
  }

  /// From now on commands without a name mean this machine.
  /// - Throws: `ManagementError` when that cannot be written down.
  public func setCurrent(_ entry: VMEntry) throws {
    try Files.makeDirectory(store.folder)
    try Files.replace(store.current, with: entry.definition.uuid.uuidString.lowercased() + "\n")
  }

  static var hostFacts: ServiceList.HostFacts {
    func number(_ file: String, _ key: String) -> Int {
      let line = (try? Files.read(file))?.split(separator: "\n").first { $0.hasPrefix(key) }
      return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    }
    return .init(
      bootTime: Date(timeIntervalSince1970: Double(number("/proc/stat", "btime "))), cpus: Host.processors,
      freeMB: number("/proc/meminfo", "MemAvailable:") >> 10, totalMB: Host.memoryMB)
  }

  private func row(
    _ entry: VMEntry, _ settings: ServiceSettings?, _ unit: ServiceManager.UnitState?, isCurrent: Bool
  ) -> ServiceList.Row {
    let record = try? entry.folder.currentStatus()
    let history = store.history(entry)
    let hardware = entry.definition.hardware
    let state = Self.state(record?.state, unit)
    var row = ServiceList.Row(
      name: entry.name, isCurrent: isCurrent, configuration: entry.folder.definition, cpus: String(hardware.cpus),
      memoryMB: hardware.memoryMB, state: state, machineState: record?.state, process: record?.process,
      model: "i440FX, \(hardware.cpuProfile)", description: entry.definition.description,
      service: settings?.scope.rawValue ?? "-", startsOnBoot: false,
      stopScript: settings.map { StopScript($0, store).status.description } ?? "-", preStart: [],
      started: history.started, stopped: history.stopped,
      consolePorts: record?.consolePorts.sorted { $0.key < $1.key }.map(\.value) ?? [], log: entry.folder.log,
      interfaces: [],
      teleport: record.flatMap { $0.state.rawValue.hasPrefix("teleporting") ? $0.state.rawValue : nil },
      protection: record.flatMap { ProtectionStatus.of($0, entry.folder) },
      reason: history.startFailure ?? record?.reason)
    if let record, record.state.isLive {
      let age = record.process.flatMap(ProcessUsage.age)
      // It may have been started by other means since.
      let sinceStart = Date().timeIntervalSince(history.started ?? record.since)
      row.uptimeSeconds = max(0, Int(min(sinceStart, age ?? sinceStart)))
      row.isProtectedFromOOM = record.process.flatMap(Self.isProtectedFromOOM)
    }
    if let settings {
      row.consoleRecords = hardware.uarts.map { entry.folder.consoleRecord($0.slot) }.filter(Files.exists)
      row.startsOnBoot = (try? ServiceManager(settings.scope))?.isEnabled(UnitName.machine(settings.name)) ?? false
      if let script = settings.preStart, let text = try? Files.read(script) {
        row.preStart = text.split(separator: "\n", omittingEmptySubsequences: false).prefix(3).map(String.init)
      }
    }
    return row
  }

  /// Of a machine whose definition cannot be read.
  private func row(_ machine: InaccessibleVM) -> ServiceList.Row {
    let folder = registry.folder(of: machine)
    return ServiceList.Row(
      name: ForeignText.clean(machine.name), isCurrent: false, configuration: folder.definition, cpus: "-",
      state: .unknown, model: "-",
      description: "", service: "-", startsOnBoot: false, stopScript: "-", preStart: [], consolePorts: [],
      log: folder.log, interfaces: [], reason: machine.reason)
  }

  /// A machine's state and its unit's as one.
  static func state(_ machine: VMState?, _ unit: ServiceManager.UnitState?) -> ServiceList.State {
    guard let machine else { return .unknown }
    switch machine {
    case .starting, .restoring, .teleportingin, .standby: return .activating
    case .stopping, .saving: return .deactivating
    case .running, .paused, .gurumeditation, .teleporting, .teleportingpausedvm:
      return unit?.active == "deactivating" ? .deactivating : .active
    case .poweroff, .saved, .teleported, .aborted:
      switch unit?.active {
      case "failed": return .failed
      case "activating": return .activating
      case "deactivating": return .deactivating
      default: return machine == .aborted ? .failed : .inactive
      }
    }
  }

  /// What the kernel has been told about the process, not what a unit asks for.
  private static func isProtectedFromOOM(_ process: Int32) -> Bool? {
    let text = try? Files.read("/proc/\(process)/oom_score_adj", limit: 100)
    return text.flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }.map { $0 < 0 }
  }
}
