import Foundation
import HostNetwork
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
    let end = DispatchTime.now().uptimeNanoseconds + UInt64(max(1, seconds)) * 1_000_000_000
    return try run(path, words, environment: environment, until: end)
  }

  /// - Parameter end: in nanoseconds of `DispatchTime`, when it and what it has started is killed.
  /// - Throws: as above.
  static func run(_ path: String, _ words: [String], environment: [String: String] = [:], until end: UInt64) throws
    -> Outcome
  {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw ManagementError.system("cannot make a pipe") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(ends[0]) }
    let process: pid_t
    do {
      defer { close(ends[1]) }
      // A group of its own, so that all of it can be killed.
      process = try ChildProcess.spawn(
        path, [path] + words, environment: ProcessInfo.processInfo.environment.merging(environment) { $1 },
        output: .descriptor(ends[1]), group: .own)
    } catch {
      throw ManagementError.system("cannot run \(path)", error.code)
    }
    var outcome = Outcome(status: 0, output: "")
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    var raw: Int32 = 0
    var isOpen = true
    // What it has started may hold the pipe longer than it lives: its own end counts.
    while waitpid(process, &raw, WNOHANG) != process {
      let now = DispatchTime.now().uptimeNanoseconds
      guard now < end else {
        outcome.hasTimedOut = true
        kill(-process, SIGKILL)
        kill(process, SIGKILL)
        raw = ChildProcess.wait(process)
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
    outcome.status = ChildProcess.shellStatus(raw)
    outcome.output = String(decoding: bytes, as: UTF8.self)
    return outcome
  }

  /// This program's own file.
  static var own: String {
    (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "vmctl"
  }
}
