import Foundation
import Teleport

/// A host's machines as services: made, started, stopped and looked at, with systemd or without.
public struct Services: Sendable {
  /// The host's machines.
  public let registry: Registry
  let store: ServiceStore

  /// The services of a host.
  public init(_ registry: Registry) {
    self.registry = registry
    store = ServiceStore(registry)
  }

  // MARK: Making

  /// What `service add` says; nil: as it is.
  public struct Changes {
    /// Whose service manager keeps it; nil: root's machines the system's, others their user's.
    public var scope: ServiceSettings.Scope?
    /// Starts with the host.
    public var autoboot: Bool?
    /// Starts again after a failure.
    public var restart: Bool?
    /// Scripts; an empty text takes one away.
    public var stopScript: String?
    /// Runs before each start.
    public var preStart: String?
    /// Says how the guest is.
    public var statusScript: String?
    /// Seconds.
    public var stopTimeout: Int?
    /// What stops it without a script.
    public var stopMode: ServiceSettings.StopMode?
    /// Names of machines that start before it; empty: as they are.
    public var after: [String] = []
    /// What the host may leave to its taps.
    public var offloads: OffloadPolicy?
    /// Of the log's events those of this level and above are told by an alert.
    public var logAlerts: LogLevel?
    /// Changes nothing.
    public init() {}
  }

  /// Makes a machine a service, or changes how it is one.
  /// - Returns: what the user should know.
  /// - Throws: `ManagementError` when a script or another machine is not there, or units cannot be written.
  public func add(_ entry: VMEntry, _ changes: Changes) throws -> [String] {
    try store.whileAlone(entry) {
      let old = try store.settings(entry)
      var settings = old ?? ServiceSettings(name: entry.name, scope: geteuid() == 0 ? .system : .user)
      if let old, old.name != entry.name || (changes.scope ?? old.scope) != old.scope {
        throw ManagementError(
          "the service of \"\(entry.name)\" is \(old.scope.rawValue)'s by the name \"\(old.name)\"",
          remedy: "remove it first with vmctl service remove \"\(entry.name)\"")
      }
      if let scope = changes.scope { settings.scope = scope }
      if let autoboot = changes.autoboot { settings.autoboot = autoboot }
      if let restart = changes.restart { settings.restart = restart }
      settings.stopScript = try script(changes.stopScript, settings.stopScript, "the stop script")
      settings.preStart = try script(changes.preStart, settings.preStart, "the pre-start script")
      settings.statusScript = try script(changes.statusScript, settings.statusScript, "the status script")
      if let seconds = changes.stopTimeout { settings.stopTimeout = seconds }
      if let mode = changes.stopMode { settings.stopMode = mode }
      if let offloads = changes.offloads { settings.offloads = offloads }
      if let level = changes.logAlerts { settings.logAlerts = level }
      if !changes.after.isEmpty { settings.after = try changes.after.map { try registry.find($0).name } }
      guard !settings.after.contains(entry.name) else {
        throw ManagementError("\"\(entry.name)\" cannot start after itself", remedy: "leave it out of --after")
      }
      let manager = try ServiceManager(settings.scope)
      try checkUnit(entry, settings, manager)
      let units = UnitFiles(program: Program.own, scope: settings.scope)
      try manager.write(UnitFiles.template, units.template)
      try manager.write(UnitFiles.alert, units.alert)
      let uuid = entry.definition.uuid.uuidString.lowercased()
      try manager.write(Self.dropIn(settings), units.dropIn(settings, home: registry.home, uuid: uuid))
      try manager.write(Self.alertDropIn(settings), units.alertDropIn(home: registry.home, uuid: uuid))
      try manager.enable(UnitName.machine(settings.name), settings.autoboot)
      try ServiceAlert.makeScripts(store)
      if !Files.exists(store.stopScript) { try Files.replace(store.stopScript, with: StopScript.template, mode: 0o700) }
      try store.write(settings, entry)
      try keepEventTimer(manager)
      var notes = [
        "\"\(entry.name)\" is a service of the \(settings.scope.rawValue): \(UnitName.machine(settings.name))"
      ]
      if manager.isThere {
        try manager.require(["daemon-reload"])
        if settings.scope == .user && settings.autoboot { notes += linger() }
        try startEventTimer(manager)
      } else {
        notes.append(ServiceManager.missing)
      }
      return notes
    }
  }

  private static func dropIn(_ settings: ServiceSettings) -> String {
    "\(UnitName.machine(settings.name)).d/machine.conf"
  }

  private static func alertDropIn(_ settings: ServiceSettings) -> String {
    "\(UnitName.alert(settings.name)).d/machine.conf"
  }

  private func script(_ new: String?, _ old: String?, _ what: String) throws -> String? {
    guard let new else { return old }
    if new.isEmpty || new == "none" { return nil }
    let path = Files.absolute(new)
    try ServiceScripts.check(path, what: what)
    return path
  }

  /// Two homes may have machines of one name; a unit belongs to one of them.
  private func checkUnit(_ entry: VMEntry, _ settings: ServiceSettings, _ manager: ServiceManager) throws {
    guard let text = try? Files.read(manager.folder + "/" + Self.dropIn(settings)) else { return }
    guard text.contains("VMCTL_SERVICE_MACHINE=\(entry.definition.uuid.uuidString.lowercased())") else {
      throw ManagementError(
        "\(UnitName.machine(settings.name)) is the unit of another machine, in another home",
        remedy: "rename one of them with vmctl modifyvm --name")
    }
  }

  /// A user's services run while nobody is logged in.
  private func linger() -> [String] {
    // Asking again is refused to users where only an administrator may say so.
    guard !Files.exists("/var/lib/systemd/linger/" + Host.userName) else { return [] }
    let outcome = try? Program.run("loginctl", ["enable-linger"], seconds: 10)
    guard outcome?.status != 0 else { return [] }
    return [
      "it starts when you log in, not with the host: have an administrator run loginctl enable-linger \(Host.userName)"
    ]
  }

  /// - Throws: `ManagementError` when the machine runs, or is no service.
  public func remove(_ entry: VMEntry) throws {
    try store.whileAlone(entry) {
      let settings = try required(entry)
      let state = try entry.folder.currentStatus().state
      guard !state.isLive else {
        throw ManagementError(
          "the machine \"\(entry.name)\" is \(state.rawValue): its service cannot be removed",
          remedy: "stop it first with vmctl service stop \"\(entry.name)\"")
      }
      let manager = try ServiceManager(settings.scope)
      let unit = UnitName.machine(settings.name)
      try manager.enable(unit, false)
      for name in [unit, UnitName.alert(settings.name)] {
        let folder = "\(manager.folder)/\(name).d"
        if unlink(folder + "/machine.conf") != 0 && errno != ENOENT {
          throw ManagementError.system("cannot remove \(folder)/machine.conf", remedy: "run it as root")
        }
        // An operator's own drop-ins stay, and the folder with them.
        rmdir(folder)
      }
      unlink(store.file(entry, "json"))
      for kind in ["history", "events", "events.lock"] { unlink(store.file(entry, kind)) }
      try keepEventTimer(manager)
      if manager.isThere {
        try manager.require(["daemon-reload"])
        _ = try? manager.require(["reset-failed", unit])
      }
    }
  }

  /// Whether the machine starts with the host.
  /// - Throws: `ManagementError` when it is no service, or the unit cannot be changed.
  public func enable(_ entry: VMEntry, _ wanted: Bool) throws -> [String] {
    try store.whileAlone(entry) {
      var settings = try required(entry)
      settings.autoboot = wanted
      let manager = try ServiceManager(settings.scope)
      try manager.enable(UnitName.machine(settings.name), wanted)
      try store.write(settings, entry)
      guard manager.isThere else { return wanted ? [ServiceManager.missing] : [] }
      try manager.require(["daemon-reload"])
      return settings.scope == .user && wanted ? linger() : []
    }
  }

  func required(_ entry: VMEntry) throws -> ServiceSettings {
    guard let settings = try store.settings(entry) else {
      throw ManagementError(
        "\"\(entry.name)\" is no service", remedy: "make it one with vmctl service add \"\(entry.name)\"")
    }
    return settings
  }

  // MARK: Running

  /// - Returns: what to tell the user.
  /// - Throws: `ManagementError` with what kept it from starting.
  public func start(_ entry: VMEntry) throws -> [String] {
    try store.whileAlone(entry) {
      let settings = try required(entry)
      let state = try entry.folder.currentStatus().state
      guard !state.isLive else {
        throw ManagementError(
          "the machine \"\(entry.name)\" runs already (it is \(state.rawValue))",
          remedy: "see vmctl service status \"\(entry.name)\"")
      }
      let manager = try ServiceManager(settings.scope)
      guard manager.isThere else {
        try prepare(entry, settings)
        let notes: [String]
        do {
          notes = try VMLauncher.start(entry, registry: registry, options: Self.startOptions(settings))
        } catch {
          restoreOffloads(entry)
          throw error
        }
        ServiceAlert.started.raise(entry.name, "started", store)
        return notes + [ServiceManager.missing]
      }
      let unit = UnitName.machine(settings.name)
      // A start that an operator asks for is not one of those that are limited.
      _ = try? manager.require(["reset-failed", unit])
      let before = Date()
      do {
        try manager.require(["start", unit], seconds: 600)
      } catch {
        throw ManagementError(
          "\"\(entry.name)\" does not start: \(startFailure(entry, since: before))",
          remedy: "see vmctl showvminfo \"\(entry.name)\" --log 0, and journalctl -u '\(unit)'")
      }
      return ["the machine \"\(entry.name)\" runs as \(unit)"]
    }
  }

  private func startFailure(_ entry: VMEntry, since: Date) -> String {
    if let failure = store.history(entry).startFailure { return failure }
    if let record = entry.folder.readStatus(), record.since >= since, let reason = record.reason { return reason }
    return "its unit has failed"
  }

  /// What comes before each start: the operator's script may refuse it.
  func prepare(_ entry: VMEntry, _ settings: ServiceSettings) throws {
    store.note(entry) {
      $0.startFailure = nil
      $0.stopFailure = nil
      $0.isStopRequested = nil
    }
    do {
      // It may make the interfaces.
      try settings.preStart.map { try runPreStart($0, entry) }
      try prepareInterfaces(entry, settings)
    } catch {
      let text = ManagementError.line(for: error)
      store.note(entry) { $0.startFailure = text }
      ServiceAlert.refused.raise(entry.name, text, store)
      throw error
    }
    noteStart(entry)
  }

  private func runPreStart(_ script: String, _ entry: VMEntry) throws {
    try ServiceScripts.check(script, what: "the pre-start script")
    let outcome = try Program.run(
      script, [entry.name], environment: ServiceScripts.environment(entry, registry), seconds: 120)
    guard outcome.status == 0 else {
      let how = outcome.hasTimedOut ? "hung for 120 s" : "ended with \(outcome.status)"
      let line = outcome.firstLine
      throw ManagementError("the pre-start script \(script) \(how)\(line.isEmpty ? "" : ": \(line)")")
    }
  }

  private func noteStart(_ entry: VMEntry) { store.note(entry) { $0.started = Date() } }

  /// Stops the machine by its own means.
  /// - Throws: `ManagementError` when these have failed: it was killed by the time-out then.
  public func stop(_ entry: VMEntry) throws -> [String] {
    try store.whileAlone(entry) {
      let settings = try required(entry)
      let manager = try ServiceManager(settings.scope)
      if manager.isThere {
        try manager.require(
          ["stop", UnitName.machine(settings.name)], seconds: 2 * (settings.stopTimeout + 30) + 60)
      }
      let state = try entry.folder.currentStatus().state
      if state.isLive {
        // Not systemd's: somebody has started it by hand, or there is none.
        if !stopCleanly(entry, settings) { try kill(entry) }
        recordEnd(entry, result: "success")
      }
      if let failure = store.history(entry).stopFailure {
        throw ManagementError(
          "the stop of \"\(entry.name)\" failed, and it was ended by the time-out: \(failure)",
          remedy: "mend the stop script; vmctl service list shows which it is")
      }
      return ["the machine \"\(entry.name)\" is \(try entry.folder.currentStatus().state.rawValue)"]
    }
  }

  /// Runs the stop script or what stands for it, and waits for the machine's end, all within the time-out.
  /// - Returns: whether it has ended. If not, why is in the history.
  func stopCleanly(_ entry: VMEntry, _ settings: ServiceSettings) -> Bool {
    let end = Date().addingTimeInterval(Double(settings.stopTimeout))
    store.note(entry) {
      $0.isStopRequested = true
      $0.stopFailure = nil
    }
    guard isLive(entry) else { return true }
    var failure: String?
    let script = StopScript(settings, store)
    do {
      let record = try entry.folder.currentStatus()
      if [.teleportingin, .standby].contains(record.state) {
        // There is no guest in it that could be stopped, and nothing to save.
        try ControlClient(entry).request(ControlRequest(.poweroff))
      } else if script.status.isSet {
        try ServiceScripts.check(script.path, what: "the stop script")
        let outcome = try Program.run(
          script.path, [settings.name], environment: ServiceScripts.environment(entry, registry),
          seconds: settings.stopTimeout)
        if outcome.hasTimedOut {
          failure = "the stop script \(script.path) hung for \(settings.stopTimeout) s"
        } else if outcome.status != 0 {
          let line = outcome.output.split(whereSeparator: \.isNewline).last.map { ForeignText.clean(String($0)) } ?? ""
          failure = "the stop script \(script.path) ended with \(outcome.status): \(line)"
        }
      } else {
        // What is protected cannot be saved.
        if settings.stopMode == .savestate, record.protection?.isProtected != nil,
          record.protection?.state != .unprotected
        {
          try entry.endProtection(within: end.timeIntervalSinceNow)
        }
        try ControlClient(entry).request(ControlRequest(settings.stopMode.command))
      }
    } catch {
      if isLive(entry) { failure = ManagementError.line(for: error) }
    }
    if failure == nil {
      while isLive(entry) && Date() < end { usleep(50_000) }
      if isLive(entry) { failure = "it still runs \(settings.stopTimeout) s after it was told to stop" }
    }
    guard let failure else { return true }
    store.note(entry) { $0.stopFailure = failure }
    ServiceAlert.stopFailed.raise(entry.name, failure, store)
    return false
  }

  func isLive(_ entry: VMEntry) -> Bool { (try? entry.folder.currentStatus().state.isLive) ?? false }

  /// The end of a machine whose clean stop has failed: first as a host's shutdown ends programs, then for certain.
  private func kill(_ entry: VMEntry) throws {
    for number in [SIGTERM, SIGKILL] {
      guard let process = try entry.folder.currentStatus().process, isLive(entry) else { return }
      Glibc.kill(process, number)
      let end = Date().addingTimeInterval(30)
      while isLive(entry) && Date() < end { usleep(20_000) }
    }
  }

  /// What the end of a machine was, and who is told.
  func recordEnd(_ entry: VMEntry, result: String) {
    restoreOffloads(entry)
    let history = store.history(entry)
    store.note(entry) { $0.stopped = Date() }
    let state = (try? entry.folder.currentStatus().state) ?? .aborted
    let reason = entry.folder.readStatus()?.reason
    if result == "success" && state != .aborted {
      let alert = state == .teleported ? ServiceAlert.teleported : .stopped
      let how = reason.map { "\(state.rawValue): \($0)" } ?? state.rawValue
      alert.raise(entry.name, history.isStopRequested == true ? "stopped by the operator, \(how)" : how, store)
    } else if history.isStopRequested != true {
      let how = reason.map { ": \($0)" } ?? ""
      ServiceAlert.aborted.raise(entry.name, "ended unrequested (\(result))\(how)", store)
    }
  }
}

extension ServiceSettings.StopMode {
  var command: ControlRequest.Command {
    switch self {
    case .savestate: .savestate
    case .acpi: .acpipowerbutton
    case .poweroff: .poweroff
    }
  }
}
