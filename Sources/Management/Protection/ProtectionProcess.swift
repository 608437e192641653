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
  init(_ entry: VMEntry, _ wish: MenuOperation.Protection, home: String) throws {
    output = entry.folder.protectionLog
    // The machine's process may write in its folder: what it has put there is not followed.
    unlink(output)
    let file = open(output, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw ManagementError.system("cannot write \(output)") }
    defer { close(file) }
    var words = ["vmctl", "remus", "-p", String(wish.port), "--witness", wish.witness]
    if let path = wish.passwordFile { words += ["--passwordfile", Files.absolute(path)] }
    words += ["--", entry.name, wish.host]
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
