import Foundation

/// Talks to a VM process over its control socket.
public final class ControlClient: @unchecked Sendable {
  /// The socket.
  public let descriptor: Int32
  private let name: String
  private let process: Int32?
  private let patience: Int

  /// - Parameter patience: seconds for which the VM process may be silent. One that works on a request says so every
  ///   second, so that more means that it is stopped or hangs.
  /// - Throws: `ManagementError` when the VM does not run.
  public init(_ entry: VMEntry, patience: Int = 10) throws {
    let status = try entry.folder.currentStatus()
    let state = status.state
    name = entry.name
    process = status.process
    self.patience = patience
    guard state.isLive else {
      throw ManagementError(
        "the machine \"\(entry.name)\" does not run (it is \(state.rawValue))",
        remedy: "start it with vmctl startvm \"\(entry.name)\"")
    }
    do {
      descriptor = try UnixSocket.connect(path: entry.folder.controlSocket, patience: patience)
    } catch {
      throw ManagementError(
        "the machine \"\(entry.name)\" is \(state.rawValue) and does not answer: \(ManagementError.line(for: error))",
        remedy: "try again in a moment; is its process \(process.map(String.init) ?? "") stopped?")
    }
  }

  deinit { close(descriptor) }

  /// Sends a request without waiting. From any thread.
  /// - Throws: `ManagementError` when the process is gone.
  public func post(_ request: ControlRequest) throws {
    var bytes = Array(try JSONEncoder().encode(request))
    bytes.append(10)
    try Files.writeAll(descriptor, bytes, path: "the control socket")
  }

  /// Sends a request and waits for its last answer.
  /// - Throws: `ManagementError` when it says that it has failed, or the process is gone.
  @discardableResult
  public func request(_ request: ControlRequest, progress: (ControlReply) -> Void = { _ in }) throws -> ControlReply {
    try post(request)
    while true {
      let line = try readLine(request.command)
      guard var reply = try? JSONDecoder().decode(ControlReply.self, from: Data(line)) else {
        throw ManagementError(
          "the VM process answers in a way this vmctl does not understand", remedy: "use one version of both")
      }
      if !reply.isLast {
        if !reply.isSignOfLife { progress(reply) }
        continue
      }
      if let error = reply.error { throw ManagementError(error) }
      if request.command == .console { takeYourTime() }
      if let count = reply.dataLength { reply.data = try readData(count, request.command) }
      return reply
    }
  }

  private func readData(_ count: Int, _ command: ControlRequest.Command) throws -> [UInt8] {
    guard (0...Self.dataLimit).contains(count) else {
      throw ManagementError(
        "the VM process announces \(count) bytes for \(command.rawValue)", remedy: "use one version of both")
    }
    var data = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let got = data.withUnsafeMutableBytes { read(descriptor, $0.baseAddress! + done, count - done) }
      if got < 0 && errno == EINTR { continue }
      if got < 0 && errno == EAGAIN { throw silent(command) }
      guard got > 0 else { throw Self.ended(command) }
      done += got
    }
    return data
  }

  /// The largest picture of a screen is less.
  private static let dataLimit = 256 << 20

  private static func ended(_ command: ControlRequest.Command) -> ManagementError {
    ManagementError(
      "the VM process ended before it answered to \(command.rawValue)",
      remedy: "see its log with vmctl showvminfo NAME --log 0")
  }

  private func silent(_ command: ControlRequest.Command) -> ManagementError {
    let process = process.map(String.init) ?? "unknown"
    return ManagementError(
      "the process of the machine \"\(name)\" (\(process)) has not answered to \(command.rawValue) for \(patience) s",
      remedy: "it may be stopped: kill -CONT \(process) lets it go on")
  }

  /// The connection is somebody's who reads and writes as long as they like.
  private func takeYourTime() { UnixSocket.setPatience(descriptor, seconds: 0) }

  /// Looks before it takes: what follows the answer to a console request is the console's.
  private func readLine(_ command: ControlRequest.Command) throws -> [UInt8] {
    var line: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let seen = recv(descriptor, &chunk, chunk.count, Int32(MSG_PEEK))
      if seen < 0 && errno == EINTR { continue }
      if seen < 0 && errno == EAGAIN { throw silent(command) }
      guard seen > 0, line.count < 16 << 20 else { throw Self.ended(command) }
      let end = chunk[..<seen].firstIndex(of: 10)
      let wanted = end.map { $0 + 1 } ?? seen
      // It is there: this neither waits nor gets less.
      guard read(descriptor, &chunk, wanted) == wanted else { throw Self.ended(command) }
      line += chunk[..<wanted]
      if end != nil { return line.dropLast() }
    }
  }
}
