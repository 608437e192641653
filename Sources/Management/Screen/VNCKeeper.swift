import Foundation
import HostNetwork

/// What the processes that serve a screen by VNC are told.
struct VNCConfiguration: Codable {
  var machine: String
  var password: String?
  /// The folder whose files browsers get; nil: none.
  var webFolder: String?
  /// Whether they give up what they do not need.
  var isSandboxed: Bool
}

/// What the keeper tells the VM process; a viewer's seat comes with its socket.
struct VNCNews: Codable {
  enum Kind: String, Codable { case ready, seat, problem }
  var kind: Kind
  var text: String?
}

/// The process beside a VM process that takes VNC's connections. Each client has a process of its own (`VNCSession`), since C
/// parses there what comes from elsewhere: whatever becomes of it, the others and the machine go on.
///
/// It ends with the VM process.
public enum VNCKeeper {
  /// For who starts the program by hand.
  public static let complaint = "vmctl-vnc: machines start this to serve their screens; see vmctl modifyvm --help"
  /// The program beside vmctl that does it: only that one needs libvncserver.
  static let program = "vmctl-vnc"
  /// Clients at a time, also those that have not said their password yet.
  static let clientLimit = 16
  private static let control: Int32 = 3
  private static let listener: Int32 = 4
  /// The status of a client's process whose client had a wrong password.
  public static let wrongPassword: Int32 = 3

  private struct Client {
    var process: pid_t
    /// Hangs up when the process ends.
    var line: Int32
    var address: String
  }

  /// Serves until the VM process has gone.
  public static func run() {
    guard let (bytes, _) = DescriptorPassing.receive(control),
      let configuration = try? JSONDecoder().decode(VNCConfiguration.self, from: Data(bytes))
    else { return }
    if configuration.isSandboxed { Sandbox.closeVNCKeeper(reading: configuration.webFolder) }
    guard tell(VNCNews(kind: .ready)) else { return }
    var clients: [Client] = []
    defer {
      for client in clients { kill(client.process, SIGKILL) }
    }
    while true {
      var waiting = [
        pollfd(fd: control, events: Int16(POLLIN), revents: 0),
        pollfd(fd: clients.count < clientLimit ? listener : -1, events: Int16(POLLIN), revents: 0),
      ]
      waiting += clients.map { pollfd(fd: $0.line, events: Int16(POLLIN), revents: 0) }
      guard poll(&waiting, nfds_t(waiting.count), -1) > 0 else { continue }
      if waiting[0].revents != 0 { return }
      for (index, client) in clients.enumerated().reversed() where waiting[index + 2].revents != 0 {
        bury(client)
        clients.remove(at: index)
      }
      if waiting[1].revents != 0, let client = admit(configuration) { clients.append(client) }
    }
  }

  private static func admit(_ configuration: VNCConfiguration) -> Client? {
    var name = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let socket = withUnsafeMutablePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { accept(listener, $0, &length) }
    }
    guard socket >= 0 else {
      // Without a descriptor left the listener stays ready; it is not to be asked at once again.
      if errno == EMFILE || errno == ENFILE { usleep(100_000) }
      return nil
    }
    defer { close(socket) }
    _ = fcntl(socket, F_SETFD, FD_CLOEXEC)
    guard let (seat, theirSeat) = try? Descriptors.pair(packets: true),
      let (line, theirLine) = try? Descriptors.pair(packets: true)
    else { return nil }
    defer { for descriptor in [seat, theirSeat, theirLine] { close(descriptor) } }
    guard let order = try? JSONEncoder().encode(configuration), DescriptorPassing.send(line, Array(order), []),
      tell(VNCNews(kind: .seat), [seat]),
      let process = try? ChildProcess.spawn(
        "/proc/self/exe", [program, "serve"], descriptors: [theirSeat, socket, theirLine])
    else {
      close(line)
      return nil
    }
    return Client(process: process, line: line, address: address(name))
  }

  private static func bury(_ client: Client) {
    close(client.line)
    kill(client.process, SIGKILL)
    let status = ChildProcess.wait(client.process)
    if status & 0x7F == 0, status >> 8 == wrongPassword {
      tell(VNCNews(kind: .problem, text: "a wrong password from \(client.address)"))
    } else if status & 0x7F != 0 {
      let text =
        "the process that served \(client.address) ended by signal \(status & 0x7F); the machine and others go on"
      tell(VNCNews(kind: .problem, text: text))
    }
  }

  @discardableResult
  private static func tell(_ news: VNCNews, _ descriptors: [Int32] = []) -> Bool {
    guard let bytes = try? JSONEncoder().encode(news) else { return false }
    return DescriptorPassing.send(control, Array(bytes), descriptors)
  }

  private static func address(_ name: sockaddr_storage) -> String {
    guard name.ss_family == sa_family_t(AF_INET) else { return "this host" }
    return withUnsafeBytes(of: name) { bytes in
      let number = bytes.load(as: sockaddr_in.self)
      var address = number.sin_addr
      var text = [CChar](repeating: 0, count: Int(INET_ADDRSTRLEN))
      inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
      let end = text.firstIndex(of: 0) ?? text.endIndex
      let numeric = String(decoding: text[..<end].map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return "\(numeric) port \(UInt16(bigEndian: number.sin_port))"
    }
  }
}
