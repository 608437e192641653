import Foundation
import Synchronization

/// A VM process's side of its NAT process: starts it, starts it again when it has ended, and moves frames both ways.
///
/// Queues are bounded: what the guest sends waits in `capacity` frames, then `send` drops and counts; what comes for
/// the guest is read only as fast as `onFrame` takes it, so that who sends is held up by its own connection.
public final class NATHelper: @unchecked Sendable {
  /// Frames on their way to the NAT process that wait at most.
  public static let capacity = 256

  /// What has gone through.
  public struct Counters: Equatable, Sendable {
    /// Frames of the guest's that went to the NAT process.
    public var sent: UInt64 = 0
    /// Frames for the guest.
    public var received: UInt64 = 0
    /// Frames of the guest's for which there was no room, or no NAT process.
    public var dropped: UInt64 = 0
    /// How often the NAT process was started again.
    public var restarts: UInt64 = 0
  }

  /// Starts a program with the two sockets as its descriptors 3 and 4, and returns its process.
  public typealias Launcher = @Sendable (_ frames: Int32, _ control: Int32, _ configuration: String) throws -> pid_t

  private struct State {
    var outgoing: [[UInt8]] = []
    var configuration: NATConfiguration
    var counters = Counters()
    var process: pid_t = 0
    var isEnding = false
    /// `hasRoom` has said no.
    var senderWaits = false
    var frameIsHeld = false
    var number = 0
    /// Requests without an answer.
    var unsent: [NATRequest] = []
    var waiting: [Int: @Sendable (String?) -> Void] = [:]
  }

  private let state: Mutex<State>
  private let launch: Launcher
  private let log: @Sendable (String) -> Void
  private let onFrame: @Sendable ([UInt8]) -> Bool
  private let onRoom: @Sendable () -> Void
  private let wakeRead: Int32
  private let wakeWrite: Int32
  private var thread: Thread?
  private let ended = DispatchSemaphore(value: 0)

  // Of the thread.
  private var frames: Int32 = -1
  private var control: Int32 = -1
  private var input = FrameStream.Decoder()
  private var output = OutputBuffer()
  private var replies = JSONLines()
  private var requests = OutputBuffer()
  private var held: [UInt8]?
  private var startedAt = Date.distantPast
  private var pause = 0.0

  /// - Parameters:
  ///   - launch: how the NAT process is started; see `launcher`.
  ///   - log: takes lines for the machine's log.
  ///   - onFrame: takes a frame for the guest, on the helper's thread; false: not now, and again after `frameRoomChanged`.
  ///   - onRoom: there is room again after `hasRoom` has said no. On the helper's thread.
  /// - Throws: `HostNetworkError` when the host has no descriptors left.
  public init(
    _ configuration: NATConfiguration, launch: @escaping Launcher, log: @escaping @Sendable (String) -> Void,
    onFrame: @escaping @Sendable ([UInt8]) -> Bool, onRoom: @escaping @Sendable () -> Void
  ) throws(HostNetworkError) {
    state = Mutex(State(configuration: configuration))
    self.launch = launch
    self.log = log
    self.onFrame = onFrame
    self.onRoom = onRoom
    (wakeRead, wakeWrite) = try Descriptors.pair()
    Descriptors.setNonBlocking(wakeRead)
    Descriptors.setNonBlocking(wakeWrite)
  }

  deinit {
    close(wakeRead)
    close(wakeWrite)
  }

  /// Starts `program` with `arguments` and the configuration as its last.
  public static func launcher(_ program: String, _ arguments: [String] = [NATProcess.subcommand]) -> Launcher {
    { frames, control, configuration in
      var actions = posix_spawn_file_actions_t()
      posix_spawn_file_actions_init(&actions)
      defer { posix_spawn_file_actions_destroy(&actions) }
      // Above the two places first: one of the sockets may lie on the other's.
      let (high, higher) = (fcntl(frames, F_DUPFD_CLOEXEC, 10), fcntl(control, F_DUPFD_CLOEXEC, 10))
      defer {
        close(high)
        close(higher)
      }
      posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0)
      posix_spawn_file_actions_adddup2(&actions, high, NATProcess.framesDescriptor)
      posix_spawn_file_actions_adddup2(&actions, higher, NATProcess.controlDescriptor)
      var attributes = posix_spawnattr_t()
      posix_spawnattr_init(&attributes)
      defer { posix_spawnattr_destroy(&attributes) }
      var signals = sigset_t()
      sigfillset(&signals)
      posix_spawnattr_setsigdefault(&attributes, &signals)
      sigemptyset(&signals)
      posix_spawnattr_setsigmask(&attributes, &signals)
      posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
      let words = [program] + arguments + [configuration]
      var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
      defer { for pointer in pointers { free(pointer) } }
      var process = pid_t()
      let status = posix_spawn(&process, program, &actions, &attributes, &pointers, environ)
      guard status == 0 else {
        throw HostNetworkError("cannot start \(program): \(String(cString: strerror(status)))")
      }
      return process
    }
  }

  /// Starts the NAT process and the thread that serves it.
  /// - Throws: what `launch` throws.
  public func start() throws {
    try startProcess()
    let thread = Thread { [self] in loop() }
    thread.name = "nat"
    self.thread = thread
    thread.start()
  }

  /// Ends both. Returns when the NAT process is gone.
  public func stop() {
    guard thread != nil else { return }
    thread = nil
    state.withLock { $0.isEnding = true }
    wake()
    ended.wait()
  }

  /// What has gone through until now.
  public var counters: Counters { state.withLock { $0.counters } }
  /// The NAT process, or 0 while there is none.
  public var process: pid_t { state.withLock { $0.process } }

  // MARK: Frames

  /// Whether two more frames have room. After a no `onRoom` is called once, when half of the queue is free.
  public var hasRoom: Bool {
    state.withLock {
      let isThere = $0.outgoing.count + 2 <= Self.capacity
      if !isThere { $0.senderWaits = true }
      return isThere
    }
  }

  /// Takes a frame of the guest's, or drops and counts it. Never waits.
  public func send(_ frame: [UInt8]) {
    let wasEmpty = state.withLock { state -> Bool in
      guard state.outgoing.count < Self.capacity, (1...FrameStream.longestFrame).contains(frame.count) else {
        state.counters.dropped += 1
        return false
      }
      state.outgoing.append(frame)
      return state.outgoing.count == 1
    }
    if wasEmpty { wake() }
  }

  /// `onFrame` may be asked again.
  public func frameRoomChanged() {
    if state.withLock({ $0.frameIsHeld }) { wake() }
  }

  // MARK: Rules

  /// Adds a port forward while the machine runs, and waits until it holds.
  /// - Throws: `HostNetworkError` when the port is taken or a rule has that name.
  public func add(_ rule: PortForward) throws(HostNetworkError) {
    let isKnown = state.withLock { $0.configuration.forwards.contains { $0.name == rule.name } }
    guard !isKnown else {
      throw HostNetworkError(
        "there is a port forward \(rule.name) already", remedy: "delete it first, or choose another name")
    }
    try ask(.add, rule)
    state.withLock { $0.configuration.forwards.append(rule) }
  }

  /// Deletes a port forward. Connections that it has made go on.
  /// - Throws: `HostNetworkError` when no rule has that name.
  public func removeForward(named name: String) throws(HostNetworkError) {
    guard let rule = state.withLock({ $0.configuration.forwards.first { $0.name == name } }) else {
      throw HostNetworkError(
        "there is no port forward \(name)", remedy: "name one of those that the machine's information lists")
    }
    try ask(.remove, rule)
    state.withLock { $0.configuration.forwards.removeAll { $0.name == name } }
  }

  private func ask(_ action: NATRequest.Action, _ rule: PortForward) throws(HostNetworkError) {
    let answer = DispatchSemaphore(value: 0)
    let problem = Mutex<String?>("the NAT process does not answer")
    let number = state.withLock { state in
      state.number += 1
      state.unsent.append(NATRequest(number: state.number, action: action, rule: rule))
      state.waiting[state.number] = { text in
        problem.withLock { $0 = text }
        answer.signal()
      }
      return state.number
    }
    wake()
    if answer.wait(timeout: .now() + 30) == .timedOut { state.withLock { _ = $0.waiting.removeValue(forKey: number) } }
    if let text = problem.withLock({ $0 }) { throw HostNetworkError(text) }
  }

  // MARK: The thread

  private func wake() { _ = Descriptors.write(wakeWrite, [1]) }

  private func startProcess() throws {
    let (ours, theirs) = try Descriptors.pair()
    let (control, theirControl) = try Descriptors.pair()
    defer {
      close(theirs)
      close(theirControl)
    }
    let configuration = state.withLock { $0.configuration }
    let text = String(decoding: JSONLines.line(configuration).dropLast(), as: UTF8.self)
    do {
      let process = try launch(theirs, theirControl, text)
      state.withLock { $0.process = process }
    } catch {
      close(ours)
      close(control)
      throw error
    }
    Descriptors.setNonBlocking(ours)
    Descriptors.setNonBlocking(control)
    (frames, self.control) = (ours, control)
    (input, output, replies, requests) = (.init(), .init(), .init(), .init())
    startedAt = Date()
  }

  private func loop() {
    while !state.withLock({ $0.isEnding }) {
      guard frames < 0 || turn() else {
        endProcess()
        continue
      }
      if frames < 0 { restart() }
    }
    let process = state.withLock { $0.process }
    if frames >= 0 {
      close(frames)
      close(control)
    }
    // It would end by itself; it has nothing to put in order.
    if process > 0 {
      kill(process, SIGKILL)
      waitpid(process, nil, 0)
    }
    state.withLock { $0.process = 0 }
    ended.signal()
  }

  /// The NAT process has gone: what is known of its connections went with it.
  private func endProcess() {
    close(frames)
    close(control)
    (frames, control) = (-1, -1)
    let process = state.withLock { $0.process }
    // One that has only lost its mind, and closed its sockets, is ended.
    var status: Int32 = 0
    if process > 0 {
      kill(process, SIGKILL)
      waitpid(process, &status, 0)
    }
    let waiting = state.withLock { state in
      state.process = 0
      state.counters.dropped += UInt64(state.outgoing.count)
      state.outgoing.removeAll()
      state.unsent.removeAll()
      defer { state.waiting.removeAll() }
      return Array(state.waiting.values)
    }
    for answer in waiting { answer("the NAT process has ended") }
    // One that dies as soon as it lives is given a little longer each time, up to 5 s.
    pause = Date().timeIntervalSince(startedAt) > 10 ? 0 : min(5, max(0.1, pause * 2))
    let cause = status & 0x7F == 0 ? "with status \(status >> 8 & 0xFF)" : "by signal \(status & 0x7F)"
    log("NAT: its process ended \(cause); it is started again, and open connections are lost")
  }

  private func restart() {
    let end = Date() + pause
    while Date() < end, !state.withLock({ $0.isEnding }) { usleep(10_000) }
    guard !state.withLock({ $0.isEnding }) else { return }
    do {
      try startProcess()
      state.withLock { $0.counters.restarts += 1 }
    } catch {
      pause = min(5, max(0.1, pause * 2))
      log("NAT: \(error)")
    }
    roomMade()
  }

  /// Waits for something and does it.
  /// - Returns: false when the NAT process has gone.
  private func turn() -> Bool {
    takeOutgoing()
    let reads = held == nil ? Int16(POLLIN) : 0
    var descriptors = [
      pollfd(fd: wakeRead, events: Int16(POLLIN), revents: 0),
      pollfd(fd: frames, events: reads | (output.isEmpty ? 0 : Int16(POLLOUT)), revents: 0),
      pollfd(fd: control, events: Int16(POLLIN) | (requests.isEmpty ? 0 : Int16(POLLOUT)), revents: 0),
    ]
    guard poll(&descriptors, 3, -1) > 0 else { return true }
    if descriptors[0].revents != 0 {
      var buffer = [UInt8](repeating: 0, count: 64)
      _ = Descriptors.read(wakeRead, into: &buffer)
      guard deliverHeld() else { return false }
    }
    if descriptors[1].revents != 0, held == nil, !readFrames() { return false }
    if descriptors[1].revents & Int16(POLLHUP | POLLERR) != 0, held != nil { return false }
    if descriptors[2].revents != 0, !readReplies() { return false }
    return output.flush(frames) && requests.flush(control)
  }

  /// Moves what the guest has sent to the socket's buffer, as long as that is short.
  private func takeOutgoing() {
    let taken = state.withLock { state -> [[UInt8]] in
      for request in state.unsent { requests.append { $0 += JSONLines.line(request) } }
      state.unsent = []
      guard output.count < 1 << 17 else { return [] }
      defer { state.outgoing.removeAll(keepingCapacity: true) }
      state.counters.sent += UInt64(state.outgoing.count)
      return state.outgoing
    }
    guard !taken.isEmpty else { return }
    output.append { bytes in for frame in taken { FrameStream.encode(frame, to: &bytes) } }
    roomMade()
  }

  private func roomMade() {
    let isAwaited = state.withLock { state in
      defer { state.senderWaits = false }
      return state.senderWaits
    }
    if isAwaited { onRoom() }
  }

  private func readFrames() -> Bool {
    var buffer = [UInt8](repeating: 0, count: 1 << 17)
    switch Descriptors.read(frames, into: &buffer) {
    case .ended: return false
    case .wouldBlock: return true
    case .moved(let count): input.append(buffer[..<count])
    }
    return deliver()
  }

  /// - Returns: whether what is there could be understood.
  private func deliver() -> Bool {
    while true {
      do {
        guard let frame = try input.next() else { return true }
        // Before it is offered: room may be made while it is being refused.
        state.withLock { $0.frameIsHeld = true }
        guard onFrame(frame) else {
          held = frame
          return true
        }
        state.withLock {
          $0.frameIsHeld = false
          $0.counters.received += 1
        }
      } catch {
        log("NAT: \(error)")
        return false
      }
    }
  }

  private func deliverHeld() -> Bool {
    guard let frame = held else { return true }
    guard onFrame(frame) else { return true }
    held = nil
    state.withLock {
      $0.frameIsHeld = false
      $0.counters.received += 1
    }
    return deliver()
  }

  private func readReplies() -> Bool {
    var buffer = [UInt8](repeating: 0, count: 1 << 14)
    switch Descriptors.read(control, into: &buffer) {
    case .ended: return false
    case .wouldBlock: return true
    case .moved(let count):
      guard let lines = replies.append(buffer[..<count]) else { return false }
      for line in lines {
        guard let reply = try? JSONDecoder().decode(NATReply.self, from: line) else { return false }
        if let number = reply.number {
          state.withLock { $0.waiting.removeValue(forKey: number) }?(reply.problem)
        } else if let problem = reply.problem {
          log("NAT: \(problem)")
        }
      }
      return true
    }
  }
}
