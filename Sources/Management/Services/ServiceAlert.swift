import Foundation

/// What operators are told of.
public enum ServiceAlert: String, CaseIterable, Sendable {
  /// A machine ended and nobody had asked for it.
  case aborted = "ABORTED"
  case failed = "FAILED"
  case started = "STARTED"
  case stopped = "STOPPED"
  case stopFailed = "STOPFAILED"
  case refused = "REFUSED"
  case teleported = "TELEPORTED"
  /// The host could not do what the guest wanted of a disk; told where events of the log are.
  case diskError = "DISKERROR"
  /// A protected machine has lost its backup and goes on without; told where events of the log are.
  case unprotected = "UNPROTECTED"
  /// A machine has come here, as the host that ran it was lost; told where events of the log are.
  case failedOver = "FAILEDOVER"
  /// The log has new events of the level that is told, all in one alert.
  case logEvents = "LOGEVENT"

  /// Seconds that the script may take.
  private static let patience = 60

  /// Makes the alert script of a host, where there is none, and the example of one that mails.
  static func makeScripts(_ store: ServiceStore) throws {
    try Files.makeDirectory(store.folder)
    if !Files.exists(store.alertScript) { try Files.replace(store.alertScript, with: journalScript, mode: 0o700) }
    let mail = store.alertScript + ".mail"
    if !Files.exists(mail) { try Files.replace(mail, with: mailScript, mode: 0o700) }
  }

  /// Calls the script with code, machine and text. It says why it could not in an error that is thrown.
  static func raise(_ code: String, _ name: String, _ text: String, _ store: ServiceStore) throws {
    guard Files.exists(store.alertScript) else { return }
    try ServiceScripts.check(store.alertScript, what: "the alert script")
    let outcome = try Program.run(store.alertScript, [code, name, text], seconds: patience)
    guard outcome.status == 0 else {
      throw ManagementError(
        "the alert script \(store.alertScript) "
          + (outcome.hasTimedOut
            ? "hung for \(patience) s" : "ended with \(outcome.status): \(outcome.firstLine)"),
        remedy: "run it by hand: \(store.alertScript) TEST NAME TEXT")
    }
  }

  /// As `raise`, for what must go on whether the script works or not.
  func raise(_ name: String, _ text: String, _ store: ServiceStore) {
    do {
      try Self.raise(rawValue, name, text, store)
    } catch {
      FileHandle.standardError.write(Data((ManagementError.line(for: error) + "\n").utf8))
    }
  }

  private static let journalScript = """
    #!/bin/sh
    # Told what happens to machines: CODE NAME TEXT. This one writes to the journal or syslog; alert.mail mails.
    case "$1" in
    ABORTED|FAILED|STOPFAILED|FAILEDOVER|UNPROTECTED|DISKERROR) level=err ;;
    LOGEVENT) level=warning ;;
    *) level=info ;;
    esac
    exec logger -t vmctl -p "daemon.$level" -- "$1 $2: $3"

    """

  private static let mailScript = """
    #!/bin/sh
    # Told what happens to machines: CODE NAME TEXT. Copy it over "alert" to have mail.
    recipients=root
    case "$1" in
    STARTED|STOPPED) exit 0 ;;
    ABORTED|FAILED|DISKERROR) urgency=CRITICAL ;;
    LOGEVENT) urgency=WARNING ;;
    *) urgency=NOTICE ;;
    esac
    printf '%s\\n\\nmachine: %s\\nhost: %s\\ntime: %s\\n' "$3" "$2" "$(hostname)" "$(date)" |
      mail -s "[$urgency] vmctl: $2 $1" $recipients

    """
}

/// Scripts that operators give.
enum ServiceScripts {
  /// - Throws: `ManagementError` when it cannot be run.
  static func check(_ path: String, what: String) throws {
    guard Files.exists(path) else {
      throw ManagementError("\(what) \(path) is not there", remedy: "put it there, or name another")
    }
    guard access(path, X_OK) == 0 else {
      throw ManagementError("\(what) \(path) cannot be run", remedy: "give it its run bit: chmod +x \(path)")
    }
  }

  /// What scripts find in their environment.
  static func environment(_ entry: VMEntry, _ registry: Registry) -> [String: String] {
    var variables = ["VMCTL_HOME": registry.home, "VMCTL": Program.own, "VMCTL_NAME": entry.name]
    if let record = try? entry.folder.currentStatus(), let port = record.consolePorts.min(by: { $0.key < $1.key }) {
      variables["VMCTL_CONSOLE_PORT"] = String(port.value)
    }
    return variables
  }
}
