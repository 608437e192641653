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
    /// Requests that are not sent yet, and the descriptors that go with them.
    var unsent: [(request: NATRequest, descriptors: [Int32])] = []
    var waiting: [Int: @Sendable (NATReply) -> Void] = [:]
    /// Port forwards that the host has refused so far.
    var wanted: [PortForward] = []
    /// The thread ends and leaves the process as it is.
    var isLeaving = false
  }

  private let state: Mutex<State>
  private let launch: NATLauncher
  private let log: @Sendable (String) -> Void
  private let bell: Bell
  private let output: FrameOutput
  private var thread: Thread?
  private let ended = DispatchSemaphore(value: 0)

  // Of the thread.
  var connection: NATConnection?
  var mover: FrameMover
  private var replies = JSONLines()
  var requests = OutputBuffer()
  private var triedAt = ContinuousClock.now
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
    output = FrameOutput()
    mover = FrameMover(output)
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
    pipe.toHost.onItems { [bell, output, unowned queue = pipe.toHost] in
      if !output.sendAtOnce(from: queue) { bell.ring() }
    }
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

  /// Ends the thread and leaves the NAT process to the caller.
  /// - Returns: nil when there is none.
  func takeProcess() -> NATConnection? {
    guard thread != nil else { return nil }
    thread = nil
    state.withLock { $0.isLeaving = true }
    bell.ring()
    ended.wait()
    output.detach()
    defer { connection = nil }
    return connection
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
    state.withLock { $0.wanted.removeAll { $0.name == rule.name } }
    guard forwards.count < NATConfiguration.forwardLimit else {
      throw HostNetworkError("a card has at most \(NATConfiguration.forwardLimit) port forwards")
    }
    try ask(.add) { $0.rule = rule }
    state.withLock { $0.configuration.forwards.append(rule) }
  }

  /// Deletes a port forward. Connections that it has made go on.
  /// - Throws: `HostNetworkError` when no rule has that name.
  public func removeForward(named name: String) throws(HostNetworkError) {
    let wasWanted = state.withLock { state in
      let count = state.wanted.count
      state.wanted.removeAll { $0.name == name }
      return state.wanted.count < count
    }
    guard let rule = state.withLock({ $0.configuration.forwards.first { $0.name == name } }) else {
      if wasWanted { return }
      throw HostNetworkError(
        "there is no port forward \(name)", remedy: "name one of those that the machine's information lists")
    }
    try ask(.remove) { $0.rule = rule }
    state.withLock { $0.configuration.forwards.removeAll { $0.name == name } }
  }

  /// Tries a port forward that the host has refused again and again until it holds: who has the port may be the anchor of this
  /// machine's own connections from when it was here before.
  public func insist(on rule: PortForward) {
    state.withLock { if !$0.wanted.contains(rule) { $0.wanted.append(rule) } }
    bell.ring()
  }

  /// Asks the NAT process and waits for its answer.
  /// - Parameter descriptors: sent with the request; then no longer the caller's.
  @discardableResult
  func ask(
    _ action: NATRequest.Action, _ descriptors: [Int32] = [], within seconds: Double = 30,
    _ fill: (inout NATRequest) -> Void = { _ in }
  ) throws(HostNetworkError) -> NATReply {
    let answer = DispatchSemaphore(value: 0)
    let result = Mutex(NATReply(problem: "the NAT process does not answer"))
    var request = NATRequest(number: 0, action: action)
    fill(&request)
    let number: Int? = state.withLock { state in
      guard !state.isEnding, !state.isLeaving else { return nil }
      state.number += 1
      request.number = state.number
      state.unsent.append((request, descriptors))
      state.waiting[state.number] = { reply in
        result.withLock { $0 = reply }
        answer.signal()
      }
      return state.number
    }
    guard let number else {
      for descriptor in descriptors { close(descriptor) }
      throw HostNetworkError("the NAT process is ending")
    }
    bell.ring()
    if answer.wait(timeout: .now() + seconds) == .timedOut {
      state.withLock { _ = $0.waiting.removeValue(forKey: number) }
    }
    let reply = result.withLock { $0 }
    if let text = reply.problem { throw HostNetworkError(text) }
    return reply
  }

  // MARK: The thread

  private func startProcess() throws {
    let made = try launch()
    Descriptors.setNonBlocking(made.frames)
    Descriptors.setNonBlocking(made.control)
    connection = made
    (mover, replies, requests) = (FrameMover(output), .init(), .init())
    output.attach(made.frames)
    let configuration = state.withLock { state in
      state.process = made.process
      return state.configuration
    }
    requests.append { $0 += JSONLines.line(configuration) }
    startedAt = .now
  }

  private func loop() {
    while !state.withLock({ $0.isEnding || $0.isLeaving }) {
      guard let connection else {
        restart()
        continue
      }
      if !turn(connection) { endProcess(connection) }
    }
    // Who has asked for that does the rest.
    if state.withLock({ $0.isLeaving }) {
      ended.signal()
      return
    }
    if let connection {
      output.detach()
      close(connection.frames)
      close(connection.control)
      // It would end by itself; it has nothing to put in order.
      _ = connection.end()
    }
    connection = nil
    giveUpRequests(because: "the NAT process has ended")
    ended.signal()
  }

  func giveUpRequests(because reason: String) {
    let (waiting, unsent) = state.withLock { state in
      state.process = 0
      defer { (state.unsent, state.waiting) = ([], [:]) }
      return (Array(state.waiting.values), state.unsent)
    }
    for descriptor in unsent.flatMap(\.descriptors) { close(descriptor) }
    for answer in waiting { answer(NATReply(problem: reason)) }
  }

  /// The NAT process has gone: what is known of its connections went with it.
  private func endProcess(_ connection: NATConnection) {
    output.detach()
    close(connection.frames)
    close(connection.control)
    self.connection = nil
    // One that has only lost its mind, and closed its sockets, is ended.
    let status = connection.end()
    giveUpRequests(because: "the NAT process has ended")
    // One that dies as soon as it lives is given a little longer each time, up to 5 s.
    pause = ContinuousClock.now - startedAt > .seconds(10) ? 0 : min(5, max(0.1, pause * 2))
    let cause = status & 0x7F == 0 ? "with status \(status >> 8 & 0xFF)" : "by signal \(status & 0x7F)"
    log("NAT: its process ended \(cause); it is started again, and open connections are lost")
  }

  private func restart() {
    let end = ContinuousClock.now + .seconds(pause)
    while ContinuousClock.now < end, !state.withLock({ $0.isEnding || $0.isLeaving }) { usleep(10_000) }
    guard !state.withLock({ $0.isEnding || $0.isLeaving }) else { return }
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
    retryForwards()
    let pipe = state.withLock { $0.pipe }
    guard sendRequests(connection.control) else { return false }
    do throws(HostNetworkError) {
      try mover.deliver(pipe)
    } catch {
      log("NAT: \(error)")
      return false
    }
    let sends = mover.send(pipe)
    guard sends != false else { return false }
    var descriptors = [
      pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: connection.frames, events: mover.events(pipe, sends: sends), revents: 0),
      pollfd(fd: connection.control, events: Int16(POLLIN) | (requests.isEmpty ? 0 : Int16(POLLOUT)), revents: 0),
    ]
    guard poll(&descriptors, 3, state.withLock { $0.wanted.isEmpty } ? -1 : 1000) > 0 else { return true }
    if descriptors[0].revents != 0 { bell.hear() }
    if descriptors[1].revents & Int16(POLLIN) != 0, !mover.read(connection.frames) { return false }
    // What it has sent is read to its end first.
    if descriptors[1].revents & Int16(POLLHUP | POLLERR) != 0, descriptors[1].revents & Int16(POLLIN) == 0 {
      return false
    }
    return descriptors[2].revents == 0 || readReplies(connection.control)
  }

  /// - Returns: false when the NAT process has gone.
  private func sendRequests(_ socket: Int32) -> Bool {
    while let next = state.withLock({ $0.unsent.first }) {
      if next.descriptors.isEmpty {
        requests.append { $0 += JSONLines.line(next.request) }
      } else {
        // Descriptors go with the bytes of one message, behind all that was said before.
        guard requests.flush(socket) else { return false }
        guard requests.isEmpty else { return true }
        guard DescriptorPassing.send(socket, JSONLines.line(next.request), next.descriptors) else { return false }
        for descriptor in next.descriptors { close(descriptor) }
      }
      state.withLock { _ = $0.unsent.removeFirst() }
    }
    return requests.flush(socket)
  }

  /// What the host has refused is asked for again, every two seconds.
  private func retryForwards() {
    guard ContinuousClock.now - triedAt > .seconds(2) else { return }
    triedAt = .now
    state.withLock { state in
      for rule in state.wanted {
        state.number += 1
        state.unsent.append((NATRequest(number: state.number, action: .add, rule: rule), []))
        state.waiting[state.number] = { [weak self] reply in if reply.problem == nil { self?.holds(rule) } }
      }
    }
  }

  private func holds(_ rule: PortForward) {
    let isWanted = state.withLock { state in
      guard let index = state.wanted.firstIndex(of: rule) else {
        // Deleted meanwhile.
        state.unsent.append((NATRequest(number: 0, action: .remove, rule: rule), []))
        return false
      }
      state.wanted.remove(at: index)
      state.configuration.forwards.append(rule)
      return true
    }
    guard isWanted else { return bell.ring() }
    log("port forward \(rule.name) holds now")
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
          state.withLock { $0.waiting.removeValue(forKey: number) }?(reply)
        } else if let problem = reply.problem {
          log("NAT: \(problem)")
        }
      }
      return true
    }
  }
}
