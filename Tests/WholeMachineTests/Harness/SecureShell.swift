import Foundation
import Testing

/// A login by OpenSSH's client, with a key made for it.
final class SecureShell {
  private let child: Child
  /// The client's standard input: nobody else has it.
  private let input: Int32
  private var isLeft = false

  /// Logs in as root on a port, and tries until that comes to be.
  /// - Parameter authorize: gives the guest the public key.
  init(folder: String, host: String = "127.0.0.1", port: Int, authorize: (String) throws -> Void) throws {
    let environment = ["PATH": "/usr/bin:/bin", "HOME": folder]
    let key = folder + "/key"
    let maker = try Child(
      "ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key], environment: environment,
      streams: .files(folder: folder, input: nil))
    guard try maker.wait() == 0 else { throw Failure("ssh-keygen: \(maker.errors)") }
    let text = String(decoding: FileManager.default.contents(atPath: key + ".pub") ?? Data(), as: UTF8.self)
    try authorize(text.trimmingCharacters(in: .newlines))
    let pipe = folder + "/ssh-input"
    guard mkfifo(pipe, 0o600) == 0 else { throw Failure("mkfifo: \(String(cString: strerror(errno)))") }
    // Both ways, so that neither side waits for the other to open it.
    input = open(pipe, O_RDWR | O_CLOEXEC)
    let options = [
      "BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR",
      "ConnectionAttempts=100", "ConnectTimeout=60", "IdentitiesOnly=yes",
    ]
    child = try Child(
      "ssh",
      ["-F", "/dev/null", "-i", key, "-p", String(port)] + options.flatMap { ["-o", $0] }
        + ["root@\(host)", "while read line; do echo $$ $line; done"],
      environment: environment, streams: .files(folder: folder, input: pipe))
  }

  deinit { if !isLeft { close(input) } }

  var errors: String { child.errors }

  /// - Returns: what the shell answers to a word: its process's number and the word.
  func ask(_ word: String) throws -> String {
    let known = child.output.count
    let line = Array((word + "\n").utf8)
    guard write(input, line, line.count) == line.count else { throw Failure("ssh takes nothing") }
    return try poll("the answer to \(word)") {
      guard child.isRunning else { throw Failure("ssh has ended: \(child.errors)") }
      let text = String(child.output.dropFirst(known))
      return text.hasSuffix("\n") ? text : nil
    }
  }

  /// Ends its input.
  /// - Returns: the client's status.
  func leave() throws -> Int32 {
    isLeft = true
    close(input)
    return try child.wait()
  }
}
