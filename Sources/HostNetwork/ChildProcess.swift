import Foundation

/// Programs that this process starts.
package enum ChildProcess {
  /// What a standard stream is.
  package enum Stream {
    case inherited, null
    case descriptor(Int32)
  }

  /// Whose signals it gets.
  package enum Group { case parents, own, ownSession }

  package struct Failure: Error {
    /// In `errno`'s numbers.
    package var code: Int32
  }

  /// Starts a program with default signals.
  /// - Parameters:
  ///   - program: a path, or a name to be looked for where the environment says.
  ///   - words: its command line, the first word included.
  ///   - environment: nil: this process's.
  ///   - output: standard output and error.
  ///   - descriptors: its 3, 4 and so on; what else is open is its own to have marked for an exec to close.
  package static func spawn(
    _ program: String, _ words: [String], environment: [String: String]? = nil, input: Stream = .null,
    output: Stream = .inherited, descriptors: [Int32] = [], group: Group = .parents
  ) throws(Failure) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (place, stream) in [(Int32(0), input), (1, output), (2, output)] {
      switch stream {
      case .inherited: break
      case .null: posix_spawn_file_actions_addopen(&actions, place, "/dev/null", O_RDWR, 0)
      case .descriptor(let descriptor): posix_spawn_file_actions_adddup2(&actions, descriptor, place)
      }
    }
    // Above the places first: one of them may lie on another's.
    let high = descriptors.map { fcntl($0, F_DUPFD_CLOEXEC, 20) }
    defer { for descriptor in high { close(descriptor) } }
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
    let setSession: Int32 = 0x80  // POSIX_SPAWN_SETSID
    let apart =
      switch group {
      case .parents: Int32(0)
      case .own: Int32(POSIX_SPAWN_SETPGROUP)
      case .ownSession: setSession
      }
    posix_spawnattr_setflags(&attributes, Int16(apart | Int32(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK)))

    let pointers = words.map { strdup($0) } + [nil]
    let variables = environment.map { $0.map { strdup("\($0.key)=\($0.value)") } + [nil] }
    defer { for text in pointers + (variables ?? []) { free(text) } }
    var process = pid_t()
    let code =
      if let variables {
        posix_spawnp(&process, program, &actions, &attributes, pointers, variables)
      } else {
        posix_spawnp(&process, program, &actions, &attributes, pointers, environ)
      }
    guard code == 0 else { throw Failure(code: code) }
    return process
  }

  /// Waits for its end.
  /// - Returns: its status, as waitpid(2) gives it.
  @discardableResult
  package static func wait(_ process: pid_t) -> Int32 {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    return status
  }

  /// The status as a shell says it: 128 + N when signal N has ended the process.
  /// - Parameter raw: as waitpid(2) gives it.
  package static func shellStatus(_ raw: Int32) -> Int32 { raw & 0x7F == 0 ? (raw >> 8) & 0xFF : 128 + (raw & 0x7F) }
}
