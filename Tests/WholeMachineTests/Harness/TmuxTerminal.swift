import Foundation

/// A terminal that a program believes to be a real one: a window of a tmux of the test's own.
final class TmuxTerminal {
  /// nil: it can be had; else what is missing.
  static let missing: String? = {
    ["/usr/bin/", "/usr/local/bin/", "/bin/"].contains { access($0 + "tmux", X_OK) == 0 }
      ? nil : "tmux is not installed: run scripts/install-dependencies"
  }()

  private let host: TestHost
  private let socket: String

  /// Runs a program until it ends; its terminal stays with what it has written.
  /// - Parameters:
  ///   - type: as what the terminal presents itself ($TERM).
  ///   - environment: besides the host's.
  init(
    _ host: TestHost, _ words: [String], type: String = "xterm", columns: Int = 80, rows: Int = 24,
    environment: [String: String] = [:]
  ) throws {
    self.host = host
    socket = host.folder + "/tmux-\(UUID().uuidString.prefix(8))"
    // What runs has the terminal that the test says, and its end is told in the window.
    let script = socket + ".sh"
    let variables = (["TERM": type, "LC_ALL": "C.UTF-8", "VMCTL_HOME": host.home].merging(environment) { $1 }).map {
      "export \($0.key)=\(Self.quote($0.value))"
    }
    let text =
      (["#!/bin/sh", "unset TMUX TMUX_PANE"] + variables + [
        words.map(Self.quote).joined(separator: " "), "echo \"ended with $?\"", "exec cat >/dev/null",
      ]).joined(separator: "\n") + "\n"
    try Data(text.utf8).write(to: URL(fileURLWithPath: script))
    let configuration = socket + ".conf"
    try Data("set -g status off\nset -g escape-time 0\n".utf8).write(to: URL(fileURLWithPath: configuration))
    try tmux(
      "-f", configuration, "new-session", "-d", "-x", String(columns), "-y", String(rows), "/bin/sh", script)
  }

  deinit { _ = try? tmux("kill-server") }

  private static func quote(_ text: String) -> String {
    "'" + text.replacingOccurrences(of: "'", with: "'\\''") + "'"
  }

  @discardableResult
  private func tmux(_ words: String...) throws -> String {
    let environment = ["PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TERM": "xterm"]
    let child = try Child(
      "tmux", ["-S", socket] + words, environment: environment, streams: .files(folder: host.folder, input: nil))
    guard try child.wait() == 0 else { throw Failure("tmux \(words): \(child.errors)") }
    return child.output
  }

  /// Presses keys, as tmux calls them: "Up", "Enter", "C-c", or a letter.
  func press(_ keys: String...) throws {
    for key in keys { try tmux("send-keys", key) }
  }

  func type(_ text: String) throws { try tmux("send-keys", "-l", text) }

  func resize(columns: Int, rows: Int) throws {
    try tmux("resize-window", "-x", String(columns), "-y", String(rows))
  }

  /// What stands on it.
  var screen: String { (try? tmux("capture-pane", "-p")) ?? "" }

  /// Waits until all of the texts stand on it.
  /// - Returns: the screen.
  @discardableResult
  func expect(_ texts: String..., without: String? = nil) throws -> String {
    do {
      return try poll("\(texts)") {
        let now = screen
        guard without.map({ !now.contains($0) }) ?? true else { return nil }
        return texts.allSatisfy { now.contains($0) } ? now : nil
      }
    } catch is Failure {
      throw Failure("waited for \(texts)\(without.map { " without \($0)" } ?? ""); there is:\n\(screen)")
    }
  }

  /// Waits until the last line with something on it ends with `text`.
  func expect(last text: String) throws {
    do {
      try poll(text) {
        let last = screen.split(separator: "\n").last { !$0.allSatisfy(\.isWhitespace) }
        return last?.trimmingCharacters(in: .whitespaces).hasSuffix(text) == true ? () : nil
      }
    } catch is Failure {
      throw Failure("waited for \(text) at the end; there is:\n\(screen)")
    }
  }
}
