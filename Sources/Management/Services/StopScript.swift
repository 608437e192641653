import Foundation

/// The script that stops a machine: its own, or its case in the common one.
struct StopScript {
  /// As the list shows it.
  enum Status: Equatable, CustomStringConvertible {
    case notFound, toCustomize, caseNotSet
    case using(String)
    case customized

    var description: String {
      switch self {
      case .notFound: "Not found"
      case .toCustomize: "To customize"
      case .caseNotSet: "Case not set"
      case .using(let means): "Using \(means)"
      case .customized: "Customized"
      }
    }

    /// Whether there is something to run.
    var isSet: Bool {
      switch self {
      case .notFound, .toCustomize, .caseNotSet: false
      case .using, .customized: true
      }
    }
  }

  let path: String
  let status: Status

  init(_ settings: ServiceSettings, _ store: ServiceStore) {
    path = settings.stopScript ?? store.stopScript
    let text = try? Files.read(path)
    status = Self.status(text, machine: settings.name, isCommon: settings.stopScript == nil)
  }

  /// The line of the templates that is taken away by who fills them in.
  static let mark = "# TO CUSTOMIZE"

  /// - Parameter text: nil: it is not there.
  static func status(_ text: String?, machine: String, isCommon: Bool) -> Status {
    guard let text else { return .notFound }
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    let isTemplate = lines.contains { $0.hasPrefix(mark) }
    guard isCommon else { return isTemplate ? .toCustomize : means(lines) }
    let labels = [machine, "\"\(machine)\"", "'\(machine)'"].map { $0 + ")" }
    guard let start = lines.firstIndex(where: { line in labels.contains { line.hasPrefix($0) } }) else {
      return isTemplate ? .toCustomize : .caseNotSet
    }
    let label = labels.first { lines[start].hasPrefix($0) } ?? ""
    var body = [String(lines[start].dropFirst(label.count))]
    for line in lines[(start + 1)...] where !body.contains(where: { $0.contains(";;") }) { body.append(line) }
    return means(body)
  }

  /// The shell that runs a script; nil: something else does.
  static func shell(_ text: String) -> String? {
    guard let first = text.split(separator: "\n").first, first.hasPrefix("#!") else { return nil }
    let words = first.dropFirst(2).split(separator: " ").map(String.init)
    guard let program = words.first else { return nil }
    let name = program.split(separator: "/").last == "env" ? words.dropFirst().first ?? "" : program
    let shells = ["sh", "bash", "dash", "ksh"]
    return shells.contains(name.split(separator: "/").last.map(String.init) ?? "") ? name : nil
  }

  private static func means(_ lines: [String]) -> Status {
    let words = Set(
      lines.filter { !$0.hasPrefix("#") }.flatMap { $0.split { !$0.isLetter }.map { $0.lowercased() } })
    for means in ["expect", "rsh", "ssh"] where words.contains(means) { return .using(means.uppercased()) }
    return .customized
  }

  /// The common script as it is made first.
  static let template = """
    #!/bin/sh
    # Stops a machine cleanly; called with its name. Status 0: the machine has been told to stop; vmctl waits for its end.
    # Give each machine a case. What VMCTL_HOME names is the machines' home, VMCTL the command.
    \(mark): remove this line when the first case is set

    # stop_by_expect NAME USER PASSWORD COMMAND: logs in on the console, where it asks for that, and types the command.
    stop_by_expect() {
      expect -f - "$VMCTL" "$@" <<'END'
    set timeout 60
    lassign $argv vmctl name user password command
    spawn $vmctl console $name
    expect "connected to"
    send "\\r"
    expect {
      "ogin: " { send "$user\\r"; exp_continue }
      "assword: " { send "$password\\r"; exp_continue }
      -re {[#$>] *(\\x1b\\[[0-9;?]*[a-zA-Z])*$} {}
      timeout { exit 1 }
      eof { exit 1 }
    }
    send "$command\\r"
    expect eof
    END
    }

    # stop_by_ssh USER@HOST [PORT]: needs a key without a pass phrase.
    stop_by_ssh() { ssh -o BatchMode=yes -o ConnectTimeout=10 -p "${2:-22}" "$1" 'shutdown -h now' || [ $? = 255 ]; }

    # stop_by_rsh USER HOST
    stop_by_rsh() { rsh -l "$1" "$2" shutdown -h now; }

    # stop_by_acpi NAME: presses the power button.
    stop_by_acpi() { "$VMCTL" controlvm "$1" acpipowerbutton; }

    # stop_by_savestate NAME: goes on from there at the next start.
    stop_by_savestate() { "$VMCTL" controlvm "$1" savestate; }

    case "$1" in
    # box) stop_by_expect "$1" root PASSWORD 'poweroff' ;;
    # web) stop_by_ssh root@localhost 2222 ;;
    *) echo "no case for $1" >&2; exit 1 ;;
    esac

    """
}
