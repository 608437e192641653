import Foundation

/// Command lines of the user's, for the host's shell.
public enum HostShell {
  /// Runs one to its end, a minute at most.
  /// - Parameter what: what it is, for an error.
  /// - Throws: `ManagementError` when it fails.
  public static func run(_ line: String, environment: [String: String] = [:], what: String) throws {
    let outcome = try Program.run("/bin/sh", ["-c", line], environment: environment, seconds: 60)
    guard outcome.status == 0, !outcome.hasTimedOut else {
      throw ManagementError(
        what + (outcome.hasTimedOut ? " hung for 60 s" : " ended with \(outcome.status): \(outcome.firstLine)"))
    }
  }
}
