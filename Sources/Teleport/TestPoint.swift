import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Where tests reach into a transfer: a whole process is stopped by environment variable, a test in the same process
/// hands in a closure that may throw.
struct TestPoint: Sendable {
  var reached: @Sendable (TeleportStep) throws -> Void = { _ in }

  /// How long a target is patient, and a source with a target's media, in milliseconds, when a test has less time.
  static let patienceMS = ProcessInfo.processInfo.environment["VMCTL_TELEPORT_PATIENCE"].flatMap { Int($0) }

  private static let stopAt = ProcessInfo.processInfo.environment["VMCTL_TELEPORT_STOP_AT"]

  func callAsFunction(_ step: TeleportStep) throws {
    if let name = Self.stopAt, name == step.rawValue { raise(SIGSTOP) }
    try reached(step)
  }
}
