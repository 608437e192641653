import Foundation

/// Why a test could not go on: what was awaited, and what there was instead.
struct Failure: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// How long a test waits for what must come, in seconds: longer than it takes on any computer, however busy. It ends tests
/// that hang; nothing passes or fails because something was fast or slow. Where a test wants less, what it waits for is
/// that nothing comes.
let patience = 300.0

/// Asks again and again until the answer is not nil or the time is over.
func poll<T>(_ what: String, within seconds: Double = patience, _ ask: () throws -> T?) throws -> T {
  let end = ContinuousClock.now + .seconds(seconds)
  while true {
    if let answer = try ask() { return answer }
    if ContinuousClock.now > end { throw Failure("waited \(seconds) s for \(what)") }
    usleep(10_000)
  }
}

/// A new folder that is the caller's to remove. Its path is short: that of a Unix socket has 107 bytes.
func makeTemporaryFolder(_ prefix: String) throws -> String {
  var template = Array((FileManager.default.temporaryDirectory.path + "/\(prefix)-XXXXXX").utf8CString)
  guard let made = mkdtemp(&template) else { throw Failure("cannot make a temporary folder") }
  return String(cString: made)
}

/// A process of the test, with its output in files.
final class Child {
  let pid: pid_t
  let words: [String]
  private let outputPath: String
  private let errorPath: String
  private(set) var status: Int32?

  /// Where standard input, output and error go: files of the test's, or a terminal.
  enum Streams {
    case files(folder: String, input: String?)
    case terminal(String)
  }

  /// - Parameter input: the file that is standard input; nil: nothing.
  init(_ program: String, _ arguments: [String], environment: [String: String], streams: Streams) throws {
    words = [program] + arguments
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    switch streams {
    case .files(let folder, let input):
      let name = folder + "/" + UUID().uuidString
      (outputPath, errorPath) = (name + ".out", name + ".err")
      posix_spawn_file_actions_addopen(&actions, 0, input ?? "/dev/null", O_RDONLY, 0)
      posix_spawn_file_actions_addopen(&actions, 1, outputPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
      posix_spawn_file_actions_addopen(&actions, 2, errorPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
    case .terminal(let path):
      (outputPath, errorPath) = ("", "")
      // The leader of a new session gets the first terminal that it opens as its own.
      posix_spawn_file_actions_addopen(&actions, 0, path, O_RDWR, 0)
      posix_spawn_file_actions_adddup2(&actions, 0, 1)
      posix_spawn_file_actions_adddup2(&actions, 0, 2)
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    let newSession: Int32 = 0x80  // POSIX_SPAWN_SETSID
    posix_spawnattr_setflags(&attributes, Int16(newSession | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

    let words = self.words.map { strdup($0) } + [nil]
    let variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in words + variables { free(text) } }
    var process = pid_t()
    let code = posix_spawnp(&process, program, &actions, &attributes, words, variables)
    guard code == 0 else { throw Failure("cannot start \(program): \(String(cString: strerror(code)))") }
    pid = process
  }

  deinit {
    if status == nil {
      kill(pid, SIGKILL)
      _ = try? wait()
    }
  }

  var output: String { Self.text(outputPath) }
  var errors: String { Self.text(errorPath) }

  private static func text(_ path: String) -> String {
    String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
  }

  var isRunning: Bool {
    guard status == nil else { return false }
    var raw: Int32 = 0
    guard waitpid(pid, &raw, WNOHANG) == pid else { return true }
    // As a shell says it: the status, or 128 and the signal.
    status = raw & 0x7F == 0 ? (raw >> 8) & 0xFF : 128 + (raw & 0x7F)
    return false
  }

  /// - Returns: its status, or 128 + N when signal N has killed it.
  @discardableResult
  func wait(within seconds: Double = patience) throws -> Int32 {
    let line = words.dropFirst().joined(separator: " ")
    return try poll("the end of: \(line)\n\(output.suffix(1000))\(errors.suffix(1000))", within: seconds) {
      isRunning ? nil : status
    }
  }

  func signal(_ number: Int32) { if isRunning { kill(pid, number) } }
}

/// Makes a program that is run at once. A process of its own writes it: while this one had it open to write, every child that
/// other tests start just then would have it too for a moment, and it would be busy (execve(2), ETXTBSY).
func makeProgram(_ path: String, from source: String) throws {
  let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
  let child = try Child(
    "/bin/cp", [source, path], environment: ProcessInfo.processInfo.environment,
    streams: .files(folder: folder, input: nil))
  guard try child.wait() == 0 else { throw Failure("cannot copy \(source): \(child.errors)") }
  chmod(path, 0o700)
}
