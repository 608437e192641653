import Foundation

/// systemd, of the system or of the user, where it runs.
struct ServiceManager {
  let scope: ServiceSettings.Scope
  /// Where units are.
  let folder: String

  init(_ scope: ServiceSettings.Scope, _ environment: [String: String] = ProcessInfo.processInfo.environment) throws {
    self.scope = scope
    if let folder = environment["VMCTL_UNITS"], folder.hasPrefix("/") {
      self.folder = folder
    } else if scope == .system {
      folder = "/etc/systemd/system"
    } else if let configuration = environment["XDG_CONFIG_HOME"], configuration.hasPrefix("/") {
      folder = configuration + "/systemd/user"
    } else {
      guard let home = environment["HOME"], home.hasPrefix("/") else {
        throw ManagementError("HOME is not set", remedy: "set it, or use --system")
      }
      folder = home + "/.config/systemd/user"
    }
  }

  /// Whether it runs (sd_booted(3)), and for a user's one whether that answers.
  var isThere: Bool {
    guard Files.exists("/run/systemd/system") else { return false }
    return scope == .system || (try? call(["is-system-running", "--quiet"]).status != 127) ?? false
  }

  /// What is missing where it does not run.
  static let missing =
    "systemd does not run here: the machine is not started again after a failure, nor with the host"

  private func call(_ words: [String], seconds: Int = 60) throws -> Program.Outcome {
    try Program.run("systemctl", (scope == .user ? ["--user"] : []) + words, seconds: seconds)
  }

  /// - Throws: `ManagementError` with systemd's own first line.
  @discardableResult
  func require(_ words: [String], seconds: Int = 60) throws -> String {
    let outcome = try call(words, seconds: seconds)
    guard outcome.status == 0 else {
      let reason = outcome.hasTimedOut ? "no answer for \(seconds) s" : outcome.firstLine
      let isAlone = scope == .user && reason.contains("connect to bus")
      throw ManagementError(
        "systemctl \(words.joined(separator: " ")): \(reason)",
        remedy: isAlone
          ? "log in as \(Host.userName), or have an administrator run loginctl enable-linger \(Host.userName) and set "
            + "XDG_RUNTIME_DIR=/run/user/\(geteuid())" : nil)
    }
    return outcome.output
  }

  func write(_ name: String, _ text: String) throws {
    let path = folder + "/" + name
    do {
      try FileManager.default.createDirectory(
        atPath: URL(fileURLWithPath: path).deletingLastPathComponent().path, withIntermediateDirectories: true)
      if (try? Files.read(path)) != text { try Files.replace(path, with: text, mode: 0o644) }
    } catch {
      throw ManagementError(
        "cannot write the unit \(path): \(ManagementError.line(for: error))",
        remedy: scope == .system ? "run it as root, or use --user" : "make \(folder) writable")
    }
  }

  func isEnabled(_ unit: String, by target: String? = nil) -> Bool {
    var information = stat()
    return lstat("\(folder)/\(target ?? UnitFiles.bootTarget(scope)).wants/\(unit)", &information) == 0
  }

  /// What `systemctl enable` does, also where systemd does not run.
  /// - Parameters: template: of which it is an instance. target: that wants it; nil: the boot.
  func enable(
    _ unit: String, _ wanted: Bool, template: String = UnitFiles.template, by target: String? = nil
  ) throws {
    let wants = "\(folder)/\(target ?? UnitFiles.bootTarget(scope)).wants"
    let link = wants + "/" + unit
    guard wanted != isEnabled(unit, by: target) else { return }
    if wanted {
      try? FileManager.default.createDirectory(atPath: wants, withIntermediateDirectories: true)
      guard symlink(folder + "/" + template, link) == 0 else {
        throw ManagementError.system(
          "cannot make \(link)", remedy: scope == .system ? "run it as root, or use --user" : nil)
      }
    } else {
      guard unlink(link) == 0 else { throw ManagementError.system("cannot remove \(link)") }
    }
  }

  /// What systemd says of a unit.
  struct UnitState: Equatable {
    var active = ""
    var sub = ""
    var result = ""
    var mainProcess = 0
  }

  /// All machines' units that it knows, by name. One call for all.
  func states() -> [String: UnitState] {
    guard isThere,
      let text = try? require(
        ["show", "vmctl@*.service", "--property=Id,ActiveState,SubState,Result,MainPID"], seconds: 10)
    else { return [:] }
    return Self.states(text)
  }

  /// Blocks of KEY=VALUE lines.
  static func states(_ text: String) -> [String: UnitState] {
    var states: [String: UnitState] = [:]
    for block in text.components(separatedBy: "\n\n") {
      var state = UnitState()
      var name = ""
      for line in block.split(separator: "\n") {
        let parts = line.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { continue }
        switch parts[0] {
        case "Id": name = parts[1]
        case "ActiveState": state.active = parts[1]
        case "SubState": state.sub = parts[1]
        case "Result": state.result = parts[1]
        case "MainPID": state.mainProcess = Int(parts[1]) ?? 0
        default: break
        }
      }
      if !name.isEmpty { states[name] = state }
    }
    return states
  }
}
