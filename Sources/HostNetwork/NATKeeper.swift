import Foundation

/// A process beside the VM process that starts NAT processes for it: once its sandbox is closed the VM process cannot start
/// anything itself, and a NAT process that has died must be replaced.
///
/// It knows a few requests, each a byte: start one, end it, let it go on by itself (`NATProcess`, as an anchor), connect to
/// the socket in the file system that it was made for, and try its sandbox (a line of JSON follows, a `ProbeTarget`).
/// The answer is a line of JSON, with the sockets where there are some. What runs, and what is connected to, is not for the VM
/// process to say. It ends, with its NAT process, when the VM process has gone.
public final class NATKeeper: @unchecked Sendable {
  /// The subcommand of vmctl that this is.
  public static let subcommand = "nat-keeper"
  static let descriptor: Int32 = 3
  private static let start: UInt8 = 1
  private static let end: UInt8 = 2
  private static let connect: UInt8 = 3
  private static let release: UInt8 = 4
  private static let probe: UInt8 = 5

  struct Answer: Codable {
    var process: pid_t?
    var status: Int32?
    var problem: String?
    var text: String?
  }

  private let socket: Int32
  private let process: pid_t
  /// One request at a time.
  private let lock = NSLock()

  /// What it is for, which only who makes it can say.
  public struct Purpose: Equatable, Sendable {
    /// The folder whose files NAT processes give guests by TFTP; nil: none.
    public var tftpFolder: String?
    /// The socket in the file system that it connects to; nil: none.
    public var path: String?
    /// Whether it and what it starts give up what they do not need.
    public var isSandboxed: Bool

    public init(tftpFolder: String? = nil, path: String? = nil, isSandboxed: Bool = true) {
      self.tftpFolder = tftpFolder
      self.path = path
      self.isSandboxed = isSandboxed
    }

    /// From the words of a command line, in pairs.
    public init(_ words: [String]) {
      self.init()
      for index in stride(from: 0, to: words.count - 1, by: 2) {
        switch words[index] {
        case "tftp": tftpFolder = words[index + 1]
        case "connect": path = words[index + 1]
        case "sandbox": isSandboxed = words[index + 1] != "off"
        default: break
        }
      }
    }

    /// Files and folders that are read for it.
    public var readable: [String] { tftpFolder.map { [$0] } ?? [] }

    var arguments: [String] {
      (tftpFolder.map { ["tftp", $0] } ?? []) + (path.map { ["connect", $0] } ?? [])
        + (isSandboxed ? [] : ["sandbox", "off"])
    }
  }

  /// Starts it.
  /// - Parameter program: vmctl.
  /// - Throws: `HostNetworkError`.
  public init(_ program: String, _ purpose: Purpose = Purpose()) throws(HostNetworkError) {
    let (ours, theirs) = try Descriptors.pair()
    defer { close(theirs) }
    do {
      process = try HelperProcess.spawn(program, [Self.subcommand] + purpose.arguments, descriptors: [theirs])
    } catch {
      close(ours)
      throw error
    }
    socket = ours
    // Should it ever hang, the helper's thread must not.
    var patience = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit {
    close(socket)
    // It ends by that. In its sandbox a VM process may not wait for it.
    ChildProcess.wait(process)
  }

  /// Starts NAT processes through the keeper.
  public var launcher: NATLauncher {
    {
      try self.lock.withLock {
        let (answer, descriptors) = try self.ask(Self.start)
        guard descriptors.count == 2, let process = answer.process else {
          for descriptor in descriptors { close(descriptor) }
          throw HostNetworkError(answer.problem ?? "the NAT keeper has started nothing")
        }
        return NATConnection(
          frames: descriptors[0], control: descriptors[1], process: process,
          end: { self.lock.withLock { (try? self.ask(Self.end))?.0.status ?? 0 } },
          release: { self.lock.withLock { _ = try? self.ask(Self.release) } })
      }
    }
  }

  /// A new connection to the socket that it was made for.
  /// - Throws: `HostNetworkError`.
  public func connectPath() throws -> Int32 {
    try lock.withLock {
      let (answer, descriptors) = try ask(Self.connect)
      guard let socket = descriptors.first else { throw HostNetworkError(answer.problem ?? "nothing was connected") }
      return socket
    }
  }

  /// Has it try what its sandbox keeps it from.
  /// - Returns: a line for each attempt.
  /// - Throws: `HostNetworkError` when it does not answer.
  public func probe(_ target: ProbeTarget) throws -> String {
    try lock.withLock { try ask(Self.probe, JSONLines.line(target)).0.text ?? "" }
  }

  private func ask(_ request: UInt8, _ more: [UInt8] = []) throws(HostNetworkError) -> (Answer, [Int32]) {
    guard case .moved(more.count + 1) = Descriptors.write(socket, ([request] + more)[...]),
      let (bytes, descriptors) = DescriptorPassing.receive(socket),
      let answer = try? JSONDecoder().decode(Answer.self, from: Data(bytes))
    else { throw HostNetworkError("the NAT keeper does not answer", remedy: "restart the machine") }
    return (answer, descriptors)
  }

  // MARK: The process

  /// Serves the VM process until it is gone.
  /// - Parameters: program: vmctl. probe: tries the sandbox and says what came of it.
  public static func run(_ program: String, _ purpose: Purpose, probe tries: (ProbeTarget) -> String) {
    var child: pid_t = 0
    func endChild() -> Int32 {
      defer { child = 0 }
      return child > 0 ? HelperProcess.end(child) : 0
    }
    var request: UInt8 = 0
    while true {
      let count = read(descriptor, &request, 1)
      if count < 0, errno == EINTR { continue }
      guard count == 1 else { break }
      var answer = Answer()
      var descriptors: [Int32] = []
      if request == start {
        _ = endChild()
        do throws(HostNetworkError) {
          let made = try HelperProcess.startNAT(program, purpose)
          child = made.process
          answer.process = child
          descriptors = [made.frames, made.control]
        } catch {
          answer.problem = error.description
        }
      } else if request == release {
        child = 0
      } else if request == connect, let path = purpose.path {
        do throws(HostNetworkError) {
          descriptors = [try StreamSockets.connect(path: path)]
        } catch {
          answer.problem = error.description
        }
      } else if request == probe {
        let target = NATProcess.firstLine(descriptor).flatMap { try? JSONDecoder().decode(ProbeTarget.self, from: $0) }
        answer.text = target.map(tries)
      } else {
        answer.status = endChild()
      }
      let isSent = DescriptorPassing.send(descriptor, JSONLines.line(answer), descriptors)
      for descriptor in descriptors { close(descriptor) }
      guard isSent else { break }
    }
    _ = endChild()
  }
}
