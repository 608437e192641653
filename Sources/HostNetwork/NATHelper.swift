import Devices
import Foundation
import Synchronization

/// A VM process's side of its NAT process: starts it, starts it again when it has ended, and moves frames both ways.
///
/// Queues are bounded: what the guest sends waits in the pipe; what comes for the guest is read only as fast as the pipe
/// takes it, so that who sends is held up by its own connection.
public final class NATHelper: NetworkLink, @unchecked Sendable {
  /// What has happened so far.
  public struct Counters: Equatable, Sendable {
    /// How often the NAT process was started again.
    public var restarts: UInt64 = 0
  }

  private struct State {
    var configuration: NATConfiguration
    var counters = Counters()
    var process: pid_t = 0
    var isEnding = false
    var pipe: FramePipe?
    var number = 0
    /// Requests without an answer.
    var unsent: [NATRequest] = []
    var waiting: [Int: @Sendable (String?) -> Void] = [:]
  }

  private let state: Mutex<State>
  private let launch: NATLauncher
  private let log: @Sendable (String) -> Void
  private let bell: Bell
  private var thread: Thread?
  private let ended = DispatchSemaphore(value: 0)

  // Of the thread.
  private var connection: NATConnection?
  private var mover = FrameMover()
  private var replies = JSONLines()
  private var requests = OutputBuffer()
  private var startedAt = ContinuousClock.now
  private var pause = 0.0

  /// - Parameters: configuration: without forwards, which are added with `add`. launch: how the NAT process is started; see
  ///   `launcher` and `NATKeeper`. log: takes lines for the machine's log.
  /// - Throws: `HostNetworkError` when the host has no descriptors left.
  public init(
    _ configuration: NATConfiguration, launch: @escaping NATLauncher, log: @escaping @Sendable (String) -> Void
  ) throws(HostNetworkError) {
    state = Mutex(State(configuration: configuration))
    self.launch = launch
    self.log = log
    bell = try Bell()
  }

  public var description: String { "nat \(state.withLock { $0.configuration.text })" }

  /// Starts the NAT process and the thread that serves it.
  /// - Throws: what `launch` throws.
  public func start() throws {
    try startProcess()
    let thread = Thread { [self] in loop() }
    thread.name = "nat"
    self.thread = thread
    thread.start()
  }

  public func connect(_ pipe: FramePipe) {
    state.withLock { $0.pipe = pipe }
    pipe.toHost.onItems { [bell] in bell.ring() }
    pipe.toDevice.onRoom { [bell] in bell.ring() }
    bell.ring()
  }

  /// Ends both. Returns when the NAT process is gone.
  public func stop() {
    guard thread != nil else { return }
    thread = nil
    state.withLock { $0.isEnding = true }
    bell.ring()
    ended.wait()
  }

  /// What has happened until now.
  public var counters: Counters { state.withLock { $0.counters } }
  /// The NAT process, or 0 while there is none.
  public var process: pid_t { state.withLock { $0.process } }
  /// The port forwards that hold.
  public var forwards: [PortForward] { state.withLock { $0.configuration.forwards } }

  // MARK: Rules

  /// Adds a port forward while the machine runs, and waits until it holds.
  /// - Throws: `HostNetworkError` when the port is taken or a rule has that name.
  public func add(_ rule: PortForward) throws(HostNetworkError) {
    for other in forwards { if let problem = rule.conflict(with: other) { throw problem } }
    guard forwards.count < NATConfiguration.forwardLimit else {
      throw HostNetworkError("a card has at most \(NATConfiguration.forwardLimit) port forwards")
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
    bell.ring()
    if answer.wait(timeout: .now() + 30) == .timedOut { state.withLock { _ = $0.waiting.removeValue(forKey: number) } }
    if let text = problem.withLock({ $0 }) { throw HostNetworkError(text) }
  }

  // MARK: The thread

  private func startProcess() throws {
    let made = try launch()
    Descriptors.setNonBlocking(made.frames)
    Descriptors.setNonBlocking(made.control)
    connection = made
    (mover, replies, requests) = (.init(), .init(), .init())
    let configuration = state.withLock { state in
      state.process = made.process
      return state.configuration
    }
    requests.append { $0 += JSONLines.line(configuration) }
    startedAt = .now
  }

  private func loop() {
    while !state.withLock({ $0.isEnding }) {
      guard let connection else {
        restart()
        continue
      }
      if !turn(connection) { endProcess(connection) }
    }
    if let connection {
      close(connection.frames)
      close(connection.control)
      // It would end by itself; it has nothing to put in order.
      _ = connection.end()
    }
    connection = nil
    state.withLock { $0.process = 0 }
    ended.signal()
  }

  /// The NAT process has gone: what is known of its connections went with it.
  private func endProcess(_ connection: NATConnection) {
    close(connection.frames)
    close(connection.control)
    self.connection = nil
    // One that has only lost its mind, and closed its sockets, is ended.
    let status = connection.end()
    let waiting = state.withLock { state in
      state.process = 0
      state.unsent.removeAll()
      defer { state.waiting.removeAll() }
      return Array(state.waiting.values)
    }
    for answer in waiting { answer("the NAT process has ended") }
    // One that dies as soon as it lives is given a little longer each time, up to 5 s.
    pause = ContinuousClock.now - startedAt > .seconds(10) ? 0 : min(5, max(0.1, pause * 2))
    let cause = status & 0x7F == 0 ? "with status \(status >> 8 & 0xFF)" : "by signal \(status & 0x7F)"
    log("NAT: its process ended \(cause); it is started again, and open connections are lost")
  }

  private func restart() {
    let end = ContinuousClock.now + .seconds(pause)
    while ContinuousClock.now < end, !state.withLock({ $0.isEnding }) { usleep(10_000) }
    guard !state.withLock({ $0.isEnding }) else { return }
    do {
      try startProcess()
      state.withLock { $0.counters.restarts += 1 }
    } catch {
      pause = min(5, max(0.1, pause * 2))
      log("NAT: \(error)")
    }
  }

  /// Waits for something and does it.
  /// - Returns: false when the NAT process has gone.
  private func turn(_ connection: NATConnection) -> Bool {
    let pipe = takeRequests()
    guard requests.flush(connection.control) else { return false }
    do throws(HostNetworkError) {
      try mover.deliver(pipe)
    } catch {
      log("NAT: \(error)")
      return false
    }
    let sends = mover.send(pipe, connection.frames)
    guard sends != false else { return false }
    var descriptors = [
      pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: connection.frames, events: mover.events(pipe, sends: sends), revents: 0),
      pollfd(fd: connection.control, events: Int16(POLLIN) | (requests.isEmpty ? 0 : Int16(POLLOUT)), revents: 0),
    ]
    guard poll(&descriptors, 3, -1) > 0 else { return true }
    if descriptors[0].revents != 0 { bell.hear() }
    if descriptors[1].revents & Int16(POLLIN) != 0, !mover.read(connection.frames) { return false }
    // What it has sent is read to its end first.
    if descriptors[1].revents & Int16(POLLHUP | POLLERR) != 0, descriptors[1].revents & Int16(POLLIN) == 0 {
      return false
    }
    return descriptors[2].revents == 0 || readReplies(connection.control)
  }

  private func takeRequests() -> FramePipe? {
    state.withLock { state in
      for request in state.unsent { requests.append { $0 += JSONLines.line(request) } }
      state.unsent = []
      return state.pipe
    }
  }

  private func readReplies(_ socket: Int32) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 1 << 14)
    switch Descriptors.read(socket, into: &buffer) {
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

/// Wakes a thread that waits in poll(2).
final class Bell: Sendable {
  /// Readable when it has been rung.
  let descriptor: Int32
  private let rope: Int32

  /// - Throws: `HostNetworkError` when the host has no descriptors left.
  init() throws(HostNetworkError) {
    (descriptor, rope) = try Descriptors.pair()
    Descriptors.setNonBlocking(descriptor)
    Descriptors.setNonBlocking(rope)
  }

  deinit {
    close(descriptor)
    close(rope)
  }

  /// Never waits: a bell that is rung already stays so.
  func ring() { _ = Descriptors.write(rope, [1]) }

  func hear() {
    var buffer = [UInt8](repeating: 0, count: 256)
    _ = Descriptors.read(descriptor, into: &buffer)
  }
}
