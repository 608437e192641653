import Foundation

/// A NAT process and what leads to it.
public struct NATConnection: Sendable {
  /// Socket of the frames.
  public var frames: Int32
  /// Socket of requests and replies.
  public var control: Int32
  /// The process.
  public var process: pid_t
  /// Ends it, if it has not ended, and says how it ended, as waitpid(2) does.
  public var end: @Sendable () -> Int32
  /// Lets it go on by itself: it ends neither with who has started it nor by `end`.
  public var release: @Sendable () -> Void

  /// - Parameters: frames, control: sockets, then the helper's to close. end: ends the process and returns its status.
  ///   release: lets it go on by itself.
  public init(
    frames: Int32, control: Int32, process: pid_t, end: @escaping @Sendable () -> Int32,
    release: @escaping @Sendable () -> Void
  ) {
    self.frames = frames
    self.control = control
    self.process = process
    self.end = end
    self.release = release
  }
}

/// Starts a NAT process. Called from the helper's thread, again after each end of the process.
public typealias NATLauncher = @Sendable () throws -> NATConnection

/// Starting of helper processes.
enum HelperProcess {
  /// Starts `program` with default signals, with the descriptors as its 3, 4 and so on; all others are closed by
  /// an exec.
  /// - Throws: `HostNetworkError`.
  static func spawn(_ program: String, _ arguments: [String], descriptors: [Int32]) throws(HostNetworkError) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    // Above the places first: one of them may lie on another's.
    let high = descriptors.map { fcntl($0, F_DUPFD_CLOEXEC, 20) }
    defer { for descriptor in high { close(descriptor) } }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0)
    for (index, descriptor) in high.enumerated() {
      posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(3 + index))
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
    var pointers: [UnsafeMutablePointer<CChar>?] = (["vmctl"] + arguments).map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    var process = pid_t()
    let status = posix_spawn(&process, program, &actions, &attributes, &pointers, environ)
    guard status == 0 else {
      throw HostNetworkError("cannot start \(program): \(String(cString: strerror(status)))")
    }
    return process
  }

  /// Ends a child of this process.
  /// - Returns: its status, as waitpid(2) gives it.
  static func end(_ process: pid_t) -> Int32 {
    var status: Int32 = 0
    kill(process, SIGKILL)
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    return status
  }

  /// Starts a NAT process as a child of this one.
  static func startNAT(
    _ program: String, _ purpose: NATKeeper.Purpose
  ) throws(HostNetworkError) -> (frames: Int32, control: Int32, process: pid_t) {
    let (frames, theirFrames) = try Descriptors.pair()
    let (control, theirControl) = try Descriptors.pair()
    defer {
      close(theirFrames)
      close(theirControl)
    }
    do {
      return (
        frames, control,
        try spawn(
          program, [NATProcess.subcommand] + purpose.arguments, descriptors: [theirFrames, theirControl])
      )
    } catch {
      close(frames)
      close(control)
      throw error
    }
  }
}

extension NATHelper {
  /// Starts NAT processes as children of this process.
  /// - Parameters: program: vmctl. tftpFolder: whose files guests get by TFTP.
  public static func launcher(_ program: String, tftpFolder: String? = nil) -> NATLauncher {
    {
      let (frames, control, process) = try HelperProcess.startNAT(program, .init(tftpFolder: tftpFolder))
      return NATConnection(
        frames: frames, control: control, process: process, end: { HelperProcess.end(process) }, release: {})
    }
  }
}
