/// How a VM process is started, beside what the definition says.
public struct StartOptions: Equatable, Sendable {
  /// A saved state goes on with disks that have changed since.
  public var force = false
  /// The machine does not run until it is resumed.
  public var isPaused = false
  /// The guest's reset is the machine's end.
  public var endsAtReset = false
  /// The machine ends with the process that started it, and where it can go no further.
  public var isOwned = false

  /// As `startvm` starts one.
  public init(force: Bool = false) { self.force = force }

  /// The words of the VM process's command line that say the same.
  var words: [String] {
    [(force, "--force"), (isPaused, "--paused"), (endsAtReset, "--ends-at-reset"), (isOwned, "--owned")]
      .filter(\.0).map(\.1)
  }
}
