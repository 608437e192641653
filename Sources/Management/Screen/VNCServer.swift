import Foundation
import HostNetwork
import Logging
import Synchronization

/// A VM process's side of VNC: has the keeper started and brings its clients to the machine's screen.
///
/// Made before the process gives up its files, since it starts a program and opens a port.
final class VNCServer: Sendable {
  /// noVNC's files, where Debian's package has them.
  private static let webFolder = "/usr/share/novnc"

  /// The port that clients connect to; nil: it is a Unix socket.
  let port: UInt16?
  /// Where clients find it, for people.
  let summary: String
  private let control: Int32
  private let hasStopped = Mutex(false)

  /// - Throws: `ManagementError` when the screen cannot be served as wanted.
  init(_ wanted: VMDefinition.RemoteScreen, machine: String, isSandboxed: Bool) throws {
    let password = try wanted.effectivePassword()
    let place = try wanted.place()
    if wanted.web, access(Self.webFolder + "/vnc.html", R_OK) != 0 {
      throw ManagementError(
        "noVNC, which browsers are to get, is not in \(Self.webFolder)",
        remedy: "install the package novnc, or leave it out with --vrde-web off")
    }
    let program = try Self.program()
    let listener: Int32
    switch place {
    case .path(let path):
      listener = try UnixSocket.listen(path: path)
      port = nil
      summary = "its screen by VNC: the Unix socket \(path)"
    case .tcp(let address):
      var number = in_addr()
      inet_pton(AF_INET, address, &number)
      let opened = try TCPListener.open(
        number, port: UInt16(clamping: wanted.port), "cannot serve the screen on \(address) port \(wanted.port)",
        remedy: "choose another port with --vrde-port (0: a free one)")
      (listener, port) = (opened.descriptor, opened.port)
      let web = wanted.web ? ", http://\(address):\(opened.port)/ in a browser" : ""
      let warning = password == nil ? " (this host only, as there is no password)" : ""
      summary = "its screen by VNC: \(address) port \(opened.port)\(web)\(warning)"
    }
    defer { close(listener) }
    let (ours, theirs) = try Descriptors.pair(packets: true)
    do {
      do throws(ChildProcess.Failure) {
        // With this side's copy closed its end is heard.
        defer { close(theirs) }
        _ = try ChildProcess.spawn(program, [VNCKeeper.program, "keep"], descriptors: [theirs, listener])
      } catch {
        throw ManagementError("cannot start \(program): \(String(cString: strerror(error.code)))")
      }
      let configuration = VNCConfiguration(
        machine: machine, password: password, webFolder: wanted.web ? Self.webFolder : nil, isSandboxed: isSandboxed)
      UnixSocket.setPatience(ours, seconds: 30)
      let order = Array(try JSONEncoder().encode(configuration))
      guard DescriptorPassing.send(ours, order, []), case .ready? = Self.hear(ours)?.news.kind else {
        throw ManagementError(
          "\(program) has ended at once", remedy: "try it in a terminal; is the package libvncserver1 installed?")
      }
      UnixSocket.setPatience(ours, seconds: 0)
    } catch {
      close(ours)
      throw error
    }
    control = ours
  }

  deinit { close(control) }

  /// Beside vmctl, also when that has been replaced by another version meanwhile.
  private static func program() throws -> String {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    let path = URL(fileURLWithPath: own).deletingLastPathComponent().path + "/" + VNCKeeper.program
    guard access(path, X_OK) == 0 else {
      throw ManagementError(
        "the screen is served by \(VNCKeeper.program), which is not beside vmctl (\(path))",
        remedy: "install it there, or leave VNC out with --vrde off")
    }
    return path
  }

  private static func hear(_ control: Int32) -> (news: VNCNews, descriptors: [Int32])? {
    guard let (bytes, descriptors) = DescriptorPassing.receive(control) else { return nil }
    guard let news = try? JSONDecoder().decode(VNCNews.self, from: Data(bytes)) else {
      for descriptor in descriptors { close(descriptor) }
      return nil
    }
    return (news, descriptors)
  }

  /// From now on clients see the screen.
  func start(_ screen: ScreenService, _ logger: Logger) {
    let thread = Thread { [self] in
      while let (news, descriptors) = Self.hear(control) {
        if news.kind == .seat, let seat = descriptors.first { screen.seat(seat) }
        for other in descriptors.dropFirst(news.kind == .seat ? 1 : 0) { close(other) }
        if news.kind == .problem { logger.warning("VNC: \(news.text ?? "")") }
      }
      if !hasStopped.withLock({ $0 }) {
        logger.error("VNC: its process has ended; the machine goes on, and is served again when it is started again")
      }
    }
    thread.name = "vnc"
    thread.start()
  }

  /// Its processes end, and nobody can connect any more.
  func stop() {
    hasStopped.withLock { $0 = true }
    shutdown(control, Int32(SHUT_RDWR))
  }
}
