import Foundation

/// The process in which a machine's address translation runs, so that neither a crash nor a break-in there reaches the machine.
///
/// It has two sockets: frames (`FrameStream`) and control (`NATRequest`, `NATReply`). It ends when the VM process does,
/// which closes them.
public final class NATProcess {
  /// The subcommand of vmctl that this is.
  public static let subcommand = "nat-process"
  /// Descriptor of the frames' socket.
  public static let framesDescriptor: Int32 = 3
  /// Descriptor of the control socket.
  public static let controlDescriptor: Int32 = 4

  /// Bytes that wait for the VM process: from the first on the world's sockets are not read, so that senders are held up by
  /// their own connections; beyond the second frames are dropped.
  private static let holdLimit = 256 << 10
  private static let dropLimit = 1 << 20

  private let stack: NATStack
  private let frames: Int32
  private let control: Int32
  private var input = FrameStream.Decoder()
  private var output = OutputBuffer()
  private var requests = JSONLines()
  private var replies = OutputBuffer()
  private var rules: [PortForward] = []
  private var dropped: UInt64 = 0
  /// The guest has sent something, of which libslirp may have put work off until it is polled.
  private var hasPending = false

  init(
    _ configuration: NATConfiguration, tftpFolder: String?, frames: Int32, control: Int32
  ) throws(HostNetworkError) {
    stack = try NATStack(configuration, tftpFolder: tftpFolder)
    self.frames = frames
    self.control = control
    Descriptors.setNonBlocking(frames)
    Descriptors.setNonBlocking(control)
    stack.onFrame = { [unowned self] frame in
      guard output.count < Self.dropLimit else {
        dropped += 1
        return
      }
      output.append { FrameStream.encode(frame, to: &$0) }
    }
    for rule in configuration.forwards { add(rule, number: nil) }
    reply(NATReply(isReady: true))
  }

  /// Runs until the VM process is gone, which tells the configuration as the first line on the control socket: JSON of a
  /// `NATConfiguration`.
  /// - Parameter tftpFolder: whose files guests get by TFTP.
  /// - Throws: `HostNetworkError` when it cannot start.
  public static func run(tftpFolder: String?) throws {
    guard let line = firstLine(controlDescriptor) else { return }
    guard let configuration = try? JSONDecoder().decode(NATConfiguration.self, from: line) else {
      throw HostNetworkError("the NAT process was given no configuration", remedy: "it is started by a VM process only")
    }
    let process = try NATProcess(
      configuration, tftpFolder: tftpFolder, frames: framesDescriptor, control: controlDescriptor)
    process.run()
  }

  /// What follows it stays in the socket. nil: the other side has gone.
  private static func firstLine(_ descriptor: Int32) -> Data? {
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
  }

  /// Waits for something and does it.
  /// - Returns: false when the other side is gone.
  private func turn() -> Bool {
    let isHeld = output.count >= Self.holdLimit
    var descriptors = [
      pollfd(fd: frames, events: Int16(POLLIN) | (output.isEmpty ? 0 : Int16(POLLOUT)), revents: 0),
      pollfd(fd: control, events: Int16(POLLIN) | (replies.isEmpty ? 0 : Int16(POLLOUT)), revents: 0),
    ]
    var timeout = UInt32(Int32.max)
    if !isHeld { stack.fill(&descriptors, timeout: &timeout) }
    if hasPending && !isHeld { timeout = 0 }
    hasPending = false
    let count = poll(&descriptors, nfds_t(descriptors.count), Int32(clamping: timeout))
    if !isHeld { stack.poll(descriptors, failed: count < 0) }
    if count > 0 {
      guard descriptors[0].revents == 0 || readFrames() else { return false }
      guard descriptors[1].revents == 0 || readRequests() else { return false }
    }
    return output.flush(frames) && replies.flush(control)
  }

  private func readFrames() -> Bool {
    var buffer = [UInt8](repeating: 0, count: 1 << 17)
    switch Descriptors.read(frames, into: &buffer) {
    case .ended: return false
    case .wouldBlock: return true
    case .moved(let count): input.append(buffer[..<count])
    }
    while true {
      do {
        guard let frame = try input.next() else { return true }
        stack.receive(frame)
        hasPending = true
      } catch {
        reply(NATReply(problem: error.description))
        _ = replies.flush(control)
        return false
      }
    }
  }

  private func readRequests() -> Bool {
    var buffer = [UInt8](repeating: 0, count: 1 << 14)
    switch Descriptors.read(control, into: &buffer) {
    case .ended: return false
    case .wouldBlock: return true
    case .moved(let count):
      guard let lines = requests.append(buffer[..<count]) else { return false }
      for line in lines {
        guard let request = try? JSONDecoder().decode(NATRequest.self, from: line) else { return false }
        serve(request)
      }
    }
    return true
  }

  private func serve(_ request: NATRequest) {
    switch request.action {
    case .add: add(request.rule, number: request.number)
    case .remove:
      if let index = rules.firstIndex(where: { $0.name == request.rule.name }) { stack.remove(rules.remove(at: index)) }
      reply(NATReply(number: request.number))
    }
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

  private func reply(_ reply: NATReply) { replies.append { $0 += JSONLines.line(reply) } }
}
