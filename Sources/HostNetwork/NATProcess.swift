import Foundation

/// The process in which a machine's address translation runs, so that neither a crash nor a break-in there reaches the machine.
///
/// It has two sockets: frames (`FrameStream`) and control (`NATRequest`, `NATReply`). It ends when the VM process does,
/// which closes them; or, when the machine has gone to another host, with the last of the flows that it still has
/// (`NATProcess+Anchor`).
public final class NATProcess {
  /// The subcommand of vmctl that this is.
  public static let subcommand = "nat-process"
  /// Descriptor of the frames' socket.
  public static let framesDescriptor: Int32 = 3
  /// Descriptor of the control socket.
  public static let controlDescriptor: Int32 = 4

  /// Bytes that wait for the guest's side: from the first on the world's sockets are not read, so that senders are held up by
  /// their own connections; beyond the second frames are dropped.
  private static let holdLimit = 256 << 10
  private static let dropLimit = 1 << 20
  /// Frames that wait for an anchor's flows, at most.
  private static let waitLimit = 256

  private let stack: NATStack
  /// Where the guest is: its VM process, or the NAT process of the host where it is now.
  var client: any FrameChannel
  /// Negative: the VM process has gone.
  private var control: Int32
  private var requests = JSONLines()
  private var replies = OutputBuffer()
  /// Descriptors that have come and belong to requests to come.
  private var passed: [Int32] = []
  private var rules: [PortForward] = []
  private var dropped: UInt64 = 0
  /// The guest has sent something, of which libslirp may have put work off until it is polled.
  private var hasPending = false
  /// Answers to frames of the stack's, which is not to be called while it sends.
  private var refusals: [[UInt8]] = []

  var router = FrameRouter()
  /// The anchors whose flows the guest has, by number.
  var anchors: [Int: KnownAnchor] = [:]
  var anchorCount = 0
  /// Frames of the guest's of which nobody knows yet where they belong.
  var waiting: [[UInt8]] = []
  var resets: UInt64 = 0
  /// Nothing is sent to the machine any more.
  var isHolding = false
  /// What the machine has not had of what was sent to it.
  var undelivered: [[UInt8]] = []
  /// What it is when the machine has gone.
  var duty: AnchorDuty?
  /// Tries the sandbox.
  private let probe: (ProbeTarget) -> String

  init(
    _ configuration: NATConfiguration, tftpFolder: String?, frames: Int32, control: Int32,
    probe: @escaping (ProbeTarget) -> String
  ) throws(HostNetworkError) {
    self.probe = probe
    stack = try NATStack(configuration, tftpFolder: tftpFolder)
    client = MachineChannel(frames)
    self.control = control
    Descriptors.setNonBlocking(control)
    stack.onFrame = { [unowned self] frame in
      switch router.judge(frame, from: .stack, now: NATStack.milliseconds) {
      case .deliver: deliver(frame)
      case .drop: dropped += 1
      case .refuse(let answer): refusals.append(answer)
      }
    }
    for rule in configuration.forwards { add(rule, number: nil) }
    reply(NATReply(isReady: true))
  }

  /// Runs until the VM process is gone, which tells the configuration as the first line on the control socket: JSON of a
  /// `NATConfiguration`.
  /// - Parameters: tftpFolder: whose files guests get by TFTP. probe: tries the sandbox and says what came of it.
  /// - Throws: `HostNetworkError` when it cannot start.
  public static func run(tftpFolder: String?, probe: @escaping (ProbeTarget) -> String) throws {
    guard let line = firstLine(controlDescriptor) else { return }
    guard let configuration = try? JSONDecoder().decode(NATConfiguration.self, from: line) else {
      throw HostNetworkError("the NAT process was given no configuration", remedy: "it is started by a VM process only")
    }
    let process = try NATProcess(
      configuration, tftpFolder: tftpFolder, frames: framesDescriptor, control: controlDescriptor, probe: probe)
    process.run()
  }

  /// What follows it stays in the socket. nil: the other side has gone.
  static func firstLine(_ descriptor: Int32) -> Data? {
    var line: [UInt8] = []
    var byte: UInt8 = 0
    while line.count <= JSONLines.longest {
      let count = read(descriptor, &byte, 1)
      if count < 0, errno == EINTR { continue }
      guard count == 1 else { return nil }
      if byte == 0x0A { return Data(line) }
      line.append(byte)
    }
    return Data()
  }

  func run() {
    while turn() {}
    duty?.end()
  }

  // MARK: The loop

  /// Waits for something and does it.
  /// - Returns: false when there is nobody left to work for.
  private func turn() -> Bool {
    let isHeld = isHolding || client.pending >= Self.holdLimit
    let numbers = anchors.keys.sorted()
    var descriptors = [
      isHolding ? pollfd(fd: -1, events: 0, revents: 0) : client.events(reads: true),
      pollfd(fd: control, events: Int16(POLLIN) | (replies.isEmpty ? 0 : Int16(POLLOUT)), revents: 0),
    ]
    descriptors += numbers.compactMap { anchors[$0]?.link.events(reads: !isHeld) }
    var timeout = UInt32(Int32.max)
    if let due = anchorTimeout() { timeout = UInt32(clamping: due) }
    if !isHeld { stack.fill(&descriptors, timeout: &timeout) }
    if (hasPending && !isHeld) || !refusals.isEmpty { timeout = 0 }
    hasPending = false
    let count = poll(&descriptors, nfds_t(descriptors.count), Int32(clamping: timeout))
    if !isHeld { stack.poll(descriptors, failed: count < 0) }
    for answer in refusals { stack.receive(answer) }
    refusals = []
    // What is asked for comes first: frames behind it count on it.
    if count > 0, descriptors[1].revents != 0, !readRequests() { return false }
    if count > 0, descriptors[0].revents != 0, !isHolding, descriptors[0].fd == client.descriptor {
      guard readClient() else { return false }
    }
    let broken = Int16(POLLHUP | POLLERR)
    for (index, number) in numbers.enumerated() where count > 0 {
      let results = descriptors[2 + index].revents
      if results & broken != 0 || (results & Int16(POLLIN) != 0 && !isHeld) { readAnchor(number) }
    }
    for number in numbers where anchors[number]?.link.flush() == false { lose(number, because: "is gone") }
    guard keepAnchors(isHeld: isHeld) else { return false }
    guard isHolding || client.flush() else { return false }
    return control < 0 || replies.flush(control) || leftAlone()
  }

  /// The VM process has gone.
  /// - Returns: whether there is something left to do.
  private func leftAlone() -> Bool {
    guard duty != nil else { return false }
    close(control)
    control = -1
    return true
  }

  // MARK: The guest's frames

  private func readClient() -> Bool {
    guard client.read() else { return false }
    while true {
      do throws(HostNetworkError) {
        guard let frame = try client.next() else { return true }
        take(frame)
      } catch {
        reply(NATReply(problem: error.description))
        _ = control >= 0 && replies.flush(control)
        return false
      }
    }
  }

  /// A frame of the guest's goes where it belongs.
  func take(_ frame: [UInt8]) {
    switch router.route(frame, now: NATStack.milliseconds) {
    case .to(.stack): receive(frame)
    case .to(.anchor(let number)): send(frame, to: number)
    case .everyone:
      receive(frame)
      for number in anchors.keys { send(frame, to: number) }
    case .wait:
      if waiting.count < Self.waitLimit { waiting.append(frame) } else { dropped += 1 }
    case .nowhere: dropped += 1
    case .anew(let number, let reset):
      send(reset, to: number)
      receive(frame)
    }
  }

  private func receive(_ frame: [UInt8]) {
    stack.receive(frame)
    hasPending = true
  }

  private func send(_ frame: [UInt8], to number: Int) {
    guard let link = anchors[number]?.link, link.pending < Self.dropLimit else {
      dropped += 1
      return
    }
    link.put(frame)
  }

  /// A frame for the guest.
  func deliver(_ frame: [UInt8]) {
    guard client.pending < Self.dropLimit else {
      dropped += 1
      return
    }
    client.put(frame)
  }

  // MARK: Requests

  private func readRequests() -> Bool {
    guard control >= 0 else { return true }
    switch DescriptorPassing.receiveNow(control) {
    case .ended: return leftAlone()
    case .wouldBlock: return true
    case .moved(let bytes, let descriptors):
      passed += descriptors
      guard passed.count <= 16, let lines = requests.append(bytes) else { return false }
      for line in lines {
        guard let request = try? JSONDecoder().decode(NATRequest.self, from: line), serve(request) else { return false }
      }
      return true
    }
  }

  /// - Returns: false when the VM process asks for what makes no sense.
  private func serve(_ request: NATRequest) -> Bool {
    switch request.action {
    case .add:
      guard let rule = request.rule else { return false }
      add(rule, number: request.number)
    case .remove:
      if let index = rules.firstIndex(where: { $0.name == request.rule?.name }) {
        stack.remove(rules.remove(at: index))
      }
      reply(NATReply(number: request.number))
    case .report: reply(NATReply(number: request.number, report: report()))
    case .probe:
      guard let target = request.target else { return false }
      reply(NATReply(number: request.number, text: probe(target)))
    case .connections: reply(NATReply(number: request.number, flows: connections()))
    case .reset:
      reset(request.flows ?? [])
      reply(NATReply(number: request.number))
    case .join:
      guard let descriptor = passed.first else { return false }
      passed.removeFirst()
      reply(NATReply(number: request.number, problem: join(descriptor, key: request.key.map { [UInt8]($0) })))
    case .hold:
      isHolding = true
      reply(NATReply(number: request.number))
    case .undelivered:
      guard isHolding, let frame = request.frame else { return false }
      undelivered.append([UInt8](frame))
    case .anchor:
      guard isHolding, passed.count >= 2, let status = request.status else { return false }
      let (link, file) = (passed[0], passed[1])
      passed.removeFirst(2)
      becomeAnchor(link, key: request.key.map { [UInt8]($0) }, file, status)
      reply(NATReply(number: request.number))
    }
    return true
  }

  private func add(_ rule: PortForward, number: Int?) {
    do {
      try stack.add(rule)
      rules.append(rule)
      if number != nil { reply(NATReply(number: number)) }
    } catch {
      reply(NATReply(number: number, problem: error.description))
    }
  }

  func reply(_ reply: NATReply) {
    if control >= 0 { replies.append { $0 += JSONLines.line(reply) } }
  }
}
