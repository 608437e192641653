import Foundation

/// A connection to a running machine's control socket. One request at a time is under way on it; calls from several threads
/// wait for each other.
public final class MachineConnection: @unchecked Sendable {
  /// The most bytes that may follow a line.
  private static let dataLimit = 256 << 20
  private static let lineLimit = 1 << 20
  private let socket: Int32
  private let path: String
  private let machine: String
  private let lock = NSLock()
  private var pending: [UInt8] = []

  /// - Parameters:
  ///   - path: of the socket, `control.sock` in the machine's folder.
  ///   - silence: seconds after which a process that says nothing is taken for stopped.
  /// - Throws: `VMCtlError.notRunning` when nobody listens there.
  public init(socket path: String, machine: String, silence: Int = 10) throws {
    self.path = path
    self.machine = machine
    socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw VMCtlError.system("cannot make a socket: \(String(cString: strerror(errno)))") }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    let fits = withUnsafeMutableBytes(of: &address.sun_path) { place in
      guard bytes.count < place.count else { return false }
      place.copyBytes(from: bytes)
      return true
    }
    var patience = timeval(tv_sec: silence, tv_usec: 0)
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let connected =
      fits
      && withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
        }
      }
    guard connected else {
      close(socket)
      guard fits else { throw VMCtlError.system("the path of the control socket is too long: \(path)") }
      throw VMCtlError.notRunning(machine)
    }
  }

  deinit { close(socket) }

  // MARK: Requests

  /// Asks, and waits for the last line of the answer.
  /// - Throws: `VMCtlError.refused` with the machine's words, `VMCtlError.ended` when its process has gone or hangs.
  @discardableResult
  public func request(_ request: Request, progress: (Reply) -> Void = { _ in }) throws -> Reply {
    try lock.withLock {
      try write(request)
      while true {
        var reply = try readReply()
        guard reply.isLast else {
          progress(reply)
          continue
        }
        if let error = reply.error { throw VMCtlError.refused(error) }
        if let count = reply.dataLength { reply.data = try readData(count) }
        return reply
      }
    }
  }

  /// What it does now.
  /// - Throws: the same errors as `request`.
  public func status() throws -> MachineStatus {
    guard let status = try request(Request("status")).status else {
      throw VMCtlError.protocol("the machine's process does not say how it is")
    }
    return status
  }

  /// Holds it.
  /// - Throws: the same errors as `request`.
  public func pause() throws { try request(Request("pause")) }
  /// Lets it go on.
  /// - Throws: the same errors as `request`.
  public func resume() throws { try request(Request("resume")) }
  /// Its reset button.
  /// - Throws: the same errors as `request`.
  public func reset() throws { try request(Request("reset")) }
  /// Pulls its plug.
  /// - Throws: the same errors as `request`.
  public func powerOff() throws { try request(Request("poweroff")) }
  /// Its power button, which the guest sees.
  /// - Throws: the same errors as `request`.
  public func pressPowerButton() throws { try request(Request("acpipowerbutton")) }
  /// Types on its keyboard.
  /// - Throws: the same errors as `request`.
  public func type(_ text: String) throws {
    var request = Request("keyboardputstring")
    request.text = text
    try self.request(request)
  }
  /// Saves its state and ends it.
  /// - Throws: the same errors as `request`.
  public func saveState(progress: (String) -> Void = { _ in }) throws {
    try request(Request("savestate")) { if let text = $0.progress { progress(text) } }
  }
  /// Its screen, as PNG.
  /// - Throws: the same errors as `request`.
  public func screenshot() throws -> Data { try request(Request("screenshotpng")).data }

  /// Moves it to a host where it waits for that. When this throws, it runs here still, or `status` says that it is in doubt.
  /// - Throws: the same errors as `request`.
  public func teleport(_ order: TeleportOrder, progress: (TeleportProgress) -> Void = { _ in }) throws {
    var request = Request("teleport")
    request.teleport = order
    try self.request(request) { if let teleport = $0.teleport { progress(teleport) } }
  }

  /// Makes this connection the machine's serial console: what is read and written from here on is the console's.
  /// - Returns: its descriptor, this connection's as long as that lives.
  /// - Throws: the same errors as `request`.
  public func console(uart: Int? = nil) throws -> Int32 {
    var request = Request("console")
    request.uart = uart
    try self.request(request)
    var forEver = timeval()
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &forEver, socklen_t(MemoryLayout<timeval>.size))
    return socket
  }

  /// What happens from now on, over a connection of its own. The first says how it is; it ends when the machine does.
  public func events() -> AsyncThrowingStream<MachineEvent, any Error> {
    AsyncThrowingStream { continuation in
      do {
        let other = try MachineConnection(socket: path, machine: machine)
        let thread = Thread {
          do {
            try other.request(Request("events")) { if let event = $0.event { continuation.yield(event) } }
            continuation.finish()
          } catch {
            continuation.finish(throwing: error)
          }
        }
        thread.name = "events"
        // Also when nobody follows any more: that ends the thread.
        continuation.onTermination = { _ in shutdown(other.socket, Int32(SHUT_RDWR)) }
        thread.start()
      } catch {
        continuation.finish(throwing: error)
      }
    }
  }

  // MARK: Lines

  private func write(_ request: Request) throws {
    var bytes = try JSONEncoder().encode(request)
    bytes.append(10)
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        send(socket, $0.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw ended() }
      done += count
    }
  }

  private func readReply() throws -> Reply {
    while true {
      if let end = pending.firstIndex(of: 10) {
        let line = Data(pending[..<end])
        pending.removeSubrange(...end)
        do {
          return try JSONDecoder().decode(Reply.self, from: line)
        } catch {
          throw VMCtlError.protocol(
            "the machine's process answers in a way that is not understood: use one version of both")
        }
      }
      guard pending.count < Self.lineLimit else {
        throw VMCtlError.protocol("the machine's process answers without end")
      }
      try readMore()
    }
  }

  private func readData(_ count: Int) throws -> Data {
    guard (0...Self.dataLimit).contains(count) else { throw VMCtlError.protocol("an answer of \(count) bytes") }
    while pending.count < count { try readMore() }
    defer { pending.removeFirst(count) }
    return Data(pending[..<count])
  }

  private func readMore() throws {
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = read(socket, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw ended(silent: count < 0 && errno == EAGAIN) }
      pending += chunk[..<count]
      return
    }
  }

  private func ended(silent: Bool = false) -> VMCtlError {
    .ended(
      silent
        ? "the process of \"\(machine)\" says nothing: it is stopped or hangs"
        : "the process of \"\(machine)\" has ended the connection")
  }
}
