import Foundation

/// What the units call.
extension Services {
  /// The machine of a unit's instance.
  /// - Throws: `ManagementError` when there is none.
  private static func machine(_ name: String) throws -> (Services, VMEntry, ServiceSettings) {
    // Said by the unit's drop-in, which a unit has that vmctl has made.
    let uuid = ProcessInfo.processInfo.environment["VMCTL_SERVICE_MACHINE"]
    guard let uuid, let registry = try? Registry.fromEnvironment(), let entry = try? registry.find(uuid) else {
      throw ManagementError(
        "the unit of \"\(name)\" has no machine",
        remedy: "make one a service with vmctl service add, or switch the unit off: systemctl disable "
          + "'\(UnitName.machine(name))'")
    }
    let services = Services(registry)
    return (services, entry, try services.required(entry))
  }

  /// A VM process that tells the service manager how it is.
  /// - Returns: the status to exit with.
  /// - Throws: the error that kept the machine from starting.
  public static func runProcess(_ name: String) throws -> Int32 {
    signal(SIGPIPE, SIG_IGN)
    let (services, entry, settings) = try machine(name)
    do {
      try services.prepare(entry, settings)
    } catch {
      FileHandle.standardError.write(Data((ManagementError.line(for: error) + "\n").utf8))
      return ServiceWords.refusedStatus
    }
    let notifier = ServiceNotifier()
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { unsetenv(name) }
    let process = try VMProcess(entry, detached: true, options: startOptions(settings))
    process.onState = { state in
      if state == .stopping { notifier?.send("STOPPING=1") }
      notifier?.send("STATUS=\(state.rawValue)")
    }
    let signals = SignalWatch([SIGTERM, SIGINT, SIGHUP]) { process.terminate() }
    defer { withExtendedLifetime(signals) {} }
    _ = try process.start()
    notifier?.send("READY=1", "STATUS=\(process.state.rawValue)")
    if let notifier, let watchdog = notifier.watchdog { feed(notifier, watchdog, process) }
    return process.waitUntilEnd()
  }

  /// How machines of services are started.
  static func startOptions(_ settings: ServiceSettings) -> StartOptions {
    var options = StartOptions()
    options.recordsConsoles = true
    options.offloads = settings.offloads ?? .auto
    return options
  }

  /// Signs of life, as long as the CPUs' threads give them.
  private static func feed(_ notifier: ServiceNotifier, _ microseconds: UInt64, _ process: VMProcess) {
    Thread.detachNewThread {
      while true {
        if process.cpusAnswer(withinNanoseconds: microseconds * 250) { notifier.send("WATCHDOG=1") }
        usleep(UInt32(clamping: microseconds / 4))
      }
    }
  }

  /// A unit's machine has started. In its sandbox that one's process runs no script itself.
  /// - Throws: `ManagementError` when there is no such machine.
  public static func runStarted(_ name: String) throws {
    let (services, entry, _) = try machine(name)
    ServiceAlert.started.raise(entry.name, "started", services.store)
  }

  /// The clean stop that a unit asks for.
  /// - Returns: the status to exit with.
  /// - Throws: `ManagementError` when there is no such machine.
  public static func runStop(_ name: String) throws -> Int32 {
    let (services, entry, settings) = try machine(name)
    if services.stopCleanly(entry, settings) { return 0 }
    // The stop has failed: its time-out is what ends the machine, and this with it.
    while services.isLive(entry) { usleep(100_000) }
    return 1
  }

  /// A unit's process has ended: the service manager says how in the environment.
  /// - Throws: `ManagementError` when there is no such machine.
  public static func runEnded(_ name: String) throws {
    let (services, entry, _) = try machine(name)
    services.recordEnd(entry, result: ProcessInfo.processInfo.environment["SERVICE_RESULT"] ?? "success")
  }

  /// A unit has failed for good.
  /// - Throws: `ManagementError` when the alert script cannot be run.
  public static func runFailed(_ name: String) throws {
    let (services, entry, _) = try machine(name)
    try ServiceAlert.raise(
      ServiceAlert.failed.rawValue, entry.name, "its service has failed and is not started again", services.store)
  }
}
