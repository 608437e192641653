import Foundation
import HostNetwork

/// Programs that have the terminal for a while.
enum Editor {
  /// Opens a file in the user's editor, and waits for its end.
  /// - Returns: whether it has succeeded.
  static func run(_ path: String) -> Bool {
    let environment = ProcessInfo.processInfo.environment
    let editor = ["VISUAL", "EDITOR"].lazy.compactMap { environment[$0] }.first { !$0.isEmpty } ?? "vi"
    // As other programs do, so that it may have words.
    return run("sh", ["sh", "-c", "exec \(editor) \"$1\"", "sh", path])
  }

  /// Runs a program in the terminal. Its keys for signals are for it alone.
  static func run(_ program: String, _ words: [String]) -> Bool {
    let before = [SIGINT, SIGQUIT].map { ($0, signal($0, SIG_IGN)) }
    defer { for (number, handler) in before { signal(number, handler) } }
    guard let process = try? ChildProcess.spawn(program, words, input: .inherited) else { return false }
    return ChildProcess.wait(process) == 0
  }
}
