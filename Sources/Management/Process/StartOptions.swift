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

  /// What an owned machine's process keeps open as long as it uses its folder.
  var janitor: Int32?

  /// What consoles say while nobody is connected is written into the VM's folder.
  public var recordsConsoles = false
  /// What the host may leave to the machine's taps; nil: as it is.
  public var offloads: OffloadPolicy?

  /// As `startvm` starts one.
  public init(force: Bool = false) { self.force = force }

  /// The words of the VM process's command line that say the same.
  var words: [String] {
    let flags = [
      (force, "--force"), (isPaused, "--paused"), (endsAtReset, "--ends-at-reset"), (isOwned, "--owned"),
      (recordsConsoles, "--records-consoles"),
    ]
    return flags.filter(\.0).map(\.1) + (offloads.map { ["--offloads", $0.rawValue] } ?? [])
  }
}
