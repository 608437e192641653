import Foundation
import HostNetwork
import Teleport

/// `vmctl remus` as a process of its own session: it stays when who has started it ends, or loses its terminal. What it says is
/// in a file in the machine's folder.
final class ProtectionProcess {
  private let process: pid_t
  private let output: String
  private var status: Int32?

  /// Starts it.
  /// - Parameter wish: the backup's host, and so on.
  /// - Throws: `ManagementError` when it cannot be started, or its file cannot be written.
  convenience init(_ entry: VMEntry, _ wish: MenuOperation.Protection, home: String) throws {
    var words = ["-p", String(wish.port), "--witness", wish.witness]
    if let path = wish.passwordFile { words += ["--passwordfile", Files.absolute(path)] }
    try self.init(entry, options: words, host: wish.host, home: home)
  }

  /// Starts it for a machine that was taken over: it looks for the backup until it is there.
  /// - Parameter password: how this host's machine has waited, with the password that the other one knows.
  /// - Throws: as the other one.
  convenience init(
    _ entry: VMEntry, _ wish: Reprotection, witness: String, password: WitnessProcess.Backup, home: String
  ) throws {
    var words = [
      "--renewal", "-p", String(wish.backup.port), "--witness", witness, "--reprotect", wish.survivor.text, "-i",
      String(wish.intervalMS),
    ]
    if let path = password.passwordFile { words += ["--passwordfile", path] }
    if password.usesOwnPassword { words.append("--own-password") }
    try self.init(entry, options: words + (wish.compresses ? [] : ["-u"]), host: wish.backup.host, home: home)
  }

  private init(_ entry: VMEntry, options: [String], host: String, home: String) throws {
    output = entry.folder.protectionLog
    // The machine's process may write in its folder: what it has put there is not followed.
    unlink(output)
    let file = open(output, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw ManagementError.system("cannot write \(output)") }
    defer { close(file) }
    let words = ["vmctl", "remus"] + options + ["--", entry.name, host]
    var environment = ProcessInfo.processInfo.environment
    environment["VMCTL_HOME"] = home
    do {
      process = try ChildProcess.spawn(
        Program.own, words, environment: environment, output: .descriptor(file), group: .ownSession)
    } catch {
      throw ManagementError.system("cannot start \(Program.own)", error.code)
    }
  }

  /// As a shell says it, once it has ended.
  func ended() -> Int32? {
    guard status == nil else { return status }
    var raw: Int32 = 0
    guard waitpid(process, &raw, WNOHANG) == process else { return nil }
    status = ChildProcess.shellStatus(raw)
    return status
  }

  /// As ^C does: the protection ends, and the process with it.
  func interrupt() { if ended() == nil { kill(process, SIGINT) } }

  /// It goes on by itself; nothing more is asked of it.
  func release() {
    guard ended() == nil else { return }
    // So that no zombie stays of it while this process lives.
    Thread.detachNewThread { [process] in ChildProcess.wait(process) }
  }

  /// What it has said at last, in one line.
  var lastWord: String {
    let lines = Self.lines(output)
    guard let last = lines.lastIndex(where: { $0.hasPrefix("vmctl: ") }) else {
      return lines.last ?? "vmctl remus has ended with \(status.map(String.init) ?? "nothing") and said nothing"
    }
    return ManagementError.line(for: lines[last...].joined(separator: "\n").dropFirst("vmctl: ".count).description)
  }

  /// What one has said, as far as it is there.
  static func lines(_ path: String) -> [String] {
    ((try? Files.read(path)) ?? "").split(whereSeparator: \.isNewline).map { ForeignText.clean(String($0)) }
  }
}
