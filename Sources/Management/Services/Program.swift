import Foundation
import Teleport

/// A program of the host's that is run to its end, or to a time-out.
enum Program {
  struct Outcome {
    /// As a shell says it: the status, or 128 and the signal.
    var status: Int32
    /// The first of what it wrote to both streams.
    var output: String
    var hasTimedOut = false

    var firstLine: String {
      output.split(whereSeparator: \.isNewline).first.map { ForeignText.clean(String($0)) } ?? ""
    }
  }

  /// Bytes of output that are kept; the rest is read and dropped.
  private static let kept = 65536

  /// - Parameter seconds: after which it and what it has started is killed.
  /// - Throws: `ManagementError` when it cannot be started.
  static func run(_ path: String, _ words: [String], environment: [String: String] = [:], seconds: Int) throws
    -> Outcome
  {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw ManagementError.system("cannot make a pipe") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(ends[0]) }
    let process: pid_t
    do {
      process = try spawn(path, words, environment, output: ends[1])
      close(ends[1])
    } catch {
      close(ends[1])
      throw error
    }
    var outcome = Outcome(status: 0, output: "")
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    let end = DispatchTime.now().uptimeNanoseconds + UInt64(max(1, seconds)) * 1_000_000_000
    var raw: Int32 = 0
    var isOpen = true
    // What it has started may hold the pipe longer than it lives: its own end counts.
    while waitpid(process, &raw, WNOHANG) != process {
      let now = DispatchTime.now().uptimeNanoseconds
      guard now < end else {
        outcome.hasTimedOut = true
        kill(-process, SIGKILL)
        kill(process, SIGKILL)
        while waitpid(process, &raw, 0) < 0 && errno == EINTR {}
        break
      }
      var wish = pollfd(fd: isOpen ? ends[0] : -1, events: Int16(POLLIN), revents: 0)
      guard poll(&wish, 1, 10) > 0 else { continue }
      let count = read(ends[0], &chunk, chunk.count)
      if count <= 0 { isOpen = false }
      if count > 0 && bytes.count < kept { bytes += chunk[..<count] }
    }
    _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    while bytes.count < kept, case let count = read(ends[0], &chunk, chunk.count), count > 0 {
      bytes += chunk[..<count]
    }
    outcome.status = raw & 0x7F == 0 ? (raw >> 8) & 0xFF : 128 + (raw & 0x7F)
    outcome.output = String(decoding: bytes, as: UTF8.self)
    return outcome
  }

  private static func spawn(_ path: String, _ words: [String], _ more: [String: String], output: Int32) throws -> pid_t
  {
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    // A group of its own, so that all of it can be killed.
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, output, 2)
    let environment = ProcessInfo.processInfo.environment.merging(more) { $1 }
    let arguments = ([path] + words).map { strdup($0) } + [nil]
    let variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in arguments + variables { free(text) } }
    var process = pid_t()
    let code = posix_spawnp(&process, path, &actions, &attributes, arguments, variables)
    guard code == 0 else { throw ManagementError.system("cannot run \(path)", code) }
    return process
  }

  /// This program's own file.
  static var own: String {
    (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "vmctl"
  }
}
