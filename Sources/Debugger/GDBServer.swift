import Foundation

/// Serves debuggers on a socket that listens, one at a time, in a thread of its own.
public final class GDBServer: @unchecked Sendable {
  private let listener: Int32
  private let machine: any DebuggedMachine
  private let architecture: DebuggedArchitecture
  private let log: @Sendable (String) -> Void
  /// Wakes the thread: what has happened is in `news`.
  private let bell: (read: Int32, write: Int32)
  private let lock = NSLock()
  private var news = News()
  private var hasStopped = false
  /// A debugger is connected.
  private var isBusy = false
  /// Its connection, while it is.
  private var client: Int32 = -1

  private struct News {
    /// A CPU has stopped, or somebody has paused the machine.
    var stopped = false
    /// Why debuggers must go; nil: they may stay.
    var farewell: String?
    var isLast = false
  }

  /// - Parameters:
  ///   - listener: from now on this object's.
  ///   - log: for the machine's log.
  /// - Throws: `DebuggerServerError` when the host has no descriptors left.
  public init(
    listener: Int32, machine: any DebuggedMachine, architecture: DebuggedArchitecture,
    log: @escaping @Sendable (String) -> Void
  ) throws {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw DebuggerServerError.noDescriptors }
    for end in ends {
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
    }
    bell = (ends[0], ends[1])
    _ = fcntl(listener, F_SETFD, FD_CLOEXEC)
    _ = fcntl(listener, F_SETFL, O_NONBLOCK)
    self.listener = listener
    self.machine = machine
    self.architecture = architecture
    self.log = log
    let thread = Thread { [self] in serve() }
    thread.name = "gdb"
    thread.start()
  }

  // MARK: For the machine's keeper, from any thread

  /// A debugger holds the machine: nobody else has it run on.
  public var holdsMachine: Bool { lock.withLock { isBusy && hasStopped } }

  /// A CPU has come to a stop of the debugger's, or somebody has paused the machine.
  public func machineStopped() { ring { $0.stopped = true } }

  /// Sends a debugger that is connected away, with the machine as it is; `ends`: and serves nobody any more. Returns when it is
  /// done, at most after some seconds.
  public func dismiss(_ reason: String, ends: Bool = false) {
    ring {
      $0.farewell = reason
      $0.isLast = $0.isLast || ends
    }
    // What the debugger has set must be gone before the machine is saved or moved: one that does not read is cut off.
    if !waitUntilIdle(.seconds(1)) {
      lock.withLock { if client >= 0 { _ = shutdown(client, Int32(SHUT_RDWR)) } }
      _ = waitUntilIdle(.seconds(5))
    }
  }

  private func waitUntilIdle(_ patience: Duration) -> Bool {
    let limit = ContinuousClock.now + patience
    while lock.withLock({ isBusy }) {
      if ContinuousClock.now > limit { return false }
      usleep(1000)
    }
    return true
  }

  /// Whether a debugger is to go, or others have stopped the machine.
  private var hasNews: Bool { lock.withLock { news.farewell != nil || news.stopped } }

  private func ring(_ body: (inout News) -> Void) {
    lock.withLock { body(&news) }
    var byte: UInt8 = 1
    _ = write(bell.write, &byte, 1)
  }

  private func takeNews() -> News {
    var bytes = [UInt8](repeating: 0, count: 64)
    while read(bell.read, &bytes, bytes.count) > 0 {}
    return lock.withLock {
      defer { news = News(isLast: news.isLast) }
      return news
    }
  }

  // MARK: The thread

  private func serve() {
    defer {
      close(listener)
      close(bell.read)
    }
    while true {
      var entries = [
        pollfd(fd: listener, events: Int16(POLLIN), revents: 0),
        pollfd(fd: bell.read, events: Int16(POLLIN), revents: 0),
      ]
      if poll(&entries, 2, -1) < 0 && errno != EINTR { return }
      if takeNews().isLast { return }
      guard entries[0].revents != 0 else { continue }
      let client = accept(listener, nil, nil)
      if client < 0 {
        if errno == EINVAL || errno == EBADF { return }
        if errno == EMFILE || errno == ENFILE { usleep(100_000) }
        continue
      }
      _ = fcntl(client, F_SETFD, FD_CLOEXEC)
      converse(client)
      lock.withLock {
        self.client = -1
        close(client)
        isBusy = false
      }
    }
  }

  private func converse(_ client: Int32) {
    lock.withLock {
      isBusy = true
      hasStopped = true
      self.client = client
    }
    var one: Int32 = 1
    setsockopt(client, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    let ran = machine.isRunning
    let session: GDBSession
    do {
      session = try GDBSession(machine, architecture)
    } catch {
      return log("a debugger was refused: \(error)")
    }
    log("a debugger has connected")
    _ = takeNews()
    var conversation = Conversation(session: session, client: client)
    session.wantsStop = { [unowned self] in Conversation.isInterrupted(client) || hasNews }
    let end = loop(&conversation, session, client)
    switch end {
    case .detached: session.leave(runs: true)
    case .gone: session.leave(runs: ran)
    case .dismissed(let reason):
      session.leave(runs: false)
      conversation.say(reason + "\n")
      if !session.isStopped { conversation.send("W00") }
    }
    lock.withLock { hasStopped = false }
    log("the debugger has left")
  }

  private enum End { case detached, gone, dismissed(String) }

  private func loop(_ conversation: inout Conversation, _ session: GDBSession, _ client: Int32) -> End {
    while true {
      lock.withLock { hasStopped = session.isStopped }
      var entries = [
        pollfd(fd: client, events: Int16(POLLIN), revents: 0), pollfd(fd: bell.read, events: Int16(POLLIN), revents: 0),
      ]
      if poll(&entries, 2, -1) < 0 {
        if errno == EINTR { continue }
        return .gone
      }
      if entries[1].revents != 0 {
        let news = takeNews()
        if let reason = news.farewell { return .dismissed(reason) }
        if news.stopped, let reply = session.stop() { conversation.send(reply) }
      }
      if conversation.isBroken { return .gone }
      if entries[0].revents != 0 {
        switch conversation.hear() {
        case .more: break
        case .gone: return .gone
        case .detached: return .detached
        }
      }
    }
  }
}

/// Why a server cannot begin.
public enum DebuggerServerError: Error { case noDescriptors }

/// The bytes between a session and its debugger.
private struct Conversation {
  enum Outcome { case more, gone, detached }

  let session: GDBSession
  let client: Int32
  private var framer = GDBFramer()
  private var last: [UInt8] = []
  /// What was sent has not arrived whole: nothing that follows would be understood.
  private(set) var isBroken = false

  init(session: GDBSession, client: Int32) {
    self.session = session
    self.client = client
    // A debugger that does not read is gone.
    var patience = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
  }

  /// Whether the debugger's next word is that the machine shall stop, or it has gone. Takes nothing.
  static func isInterrupted(_ client: Int32) -> Bool {
    var byte: UInt8 = 0
    let count = recv(client, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
    return count == 0 || count == 1 && byte == 3
  }

  mutating func hear() -> Outcome {
    var bytes = [UInt8](repeating: 0, count: 8192)
    let count = read(client, &bytes, bytes.count)
    if count < 0 && errno == EINTR { return .more }
    guard count > 0 else { return .gone }
    for item in framer.feed(bytes[..<count]) {
      switch item {
      case .interrupt: if let reply = session.stop() { send(reply) }
      case .sendAgain: if !session.isReliable { transmit(last) }
      case .broken: if !session.isReliable { transmit([UInt8(ascii: "-")]) }
      case .packet(let payload):
        if !session.isReliable { transmit([UInt8(ascii: "+")]) }
        let answer = session.take(payload)
        for text in session.output { say(text) }
        switch answer {
        case .reply(let text): send(text)
        case .running: break
        case .end(let text):
          if !text.isEmpty { send(text) }
          return .detached
        }
      }
    }
    return .more
  }

  mutating func send(_ text: String) {
    last = GDBFramer.packet(text.utf8)
    transmit(last)
  }

  /// Text for the debugger's user.
  mutating func say(_ text: String) {
    let bytes = Array(text.utf8)
    for start in stride(from: 0, to: bytes.count, by: 4096) {
      let piece = bytes[start..<min(start + 4096, bytes.count)]
      transmit(GDBFramer.packet(("O" + Hex.text(piece)).utf8))
    }
  }

  private mutating func transmit(_ bytes: [UInt8]) {
    if isBroken { return }
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else {
        isBroken = true
        return
      }
      rest = rest.dropFirst(count)
    }
  }
}
