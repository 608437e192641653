import Foundation
import HostNetwork

/// One client of a screen, in the process that serves it: up to where VNC begins.
public struct VNCSession {
  /// The machine's screen.
  public let screen: ScreenConnection
  /// The client's connection; what it says of VNC is all still to be read.
  public let client: Int32
  /// What the client must know, if anything.
  public let password: String?

  private static let seat: Int32 = 3
  private static let socket: Int32 = 4
  private static let line: Int32 = 5
  /// Seconds that a browser may take for a request.
  private static let patience = 10.0

  /// Learns from the keeper what to do, gives up what that does not need, and serves files until the client speaks VNC.
  /// - Returns: nil when it never does.
  public static func begin() -> VNCSession? {
    for descriptor in [seat, socket, line] { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    guard let (bytes, _) = DescriptorPassing.receive(line),
      let configuration = try? JSONDecoder().decode(VNCConfiguration.self, from: Data(bytes))
    else { return nil }
    if configuration.isSandboxed { Sandbox.closeVNCSession(reading: configuration.webFolder) }
    let screen = ScreenConnection(seat)
    guard case .greeting = screen.hear() else { return nil }
    UnixSocket.setPatience(socket, seconds: 20)
    guard speaksVNC(configuration) else { return nil }
    return VNCSession(screen: screen, client: socket, password: configuration.password)
  }

  /// - Returns: whether the client speaks VNC, over a WebSocket or not.
  private static func speaksVNC(_ configuration: VNCConfiguration) -> Bool {
    // A client of VNC waits for the server to speak first; a browser does not.
    var wait = 0.2
    while true {
      guard let head = head(within: wait) else { return wait < 1 }
      guard let request = WebRequest(head) else { return false }
      switch request.answer(hasPassword: configuration.password != nil, servesFiles: configuration.webFolder != nil) {
      case .screen: return true
      case .refused(let status):
        consume(head)
        reply(status, request)
        return false
      case .redirect(let place):
        consume(head)
        reply(302, request, more: "Location: \(place)\r\n")
      case .file(let path):
        consume(head)
        guard let folder = configuration.webFolder, let bytes = file(path, folder) else {
          reply(404, request)
          break
        }
        reply(200, request, bytes, more: "Content-Type: \(WebRequest.type(of: path))\r\n")
      }
      wait = patience
    }
  }

  /// The head of a browser's request, which stays to be read; nil: what comes is none, or it has not come.
  private static func head(within seconds: Double) -> [UInt8]? {
    let end = ContinuousClock.now + .seconds(seconds)
    var limit = end
    var bytes = [UInt8](repeating: 0, count: WebRequest.limit)
    var wanted: Int32 = 1
    defer {
      wanted = 1
      setsockopt(socket, SOL_SOCKET, SO_RCVLOWAT, &wanted, socklen_t(MemoryLayout<Int32>.size))
    }
    while true {
      setsockopt(socket, SOL_SOCKET, SO_RCVLOWAT, &wanted, socklen_t(MemoryLayout<Int32>.size))
      var waiting = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
      let left = Int32(max(0, (limit - .now) / .milliseconds(1)))
      guard poll(&waiting, 1, left) > 0 else { return nil }
      let count = recv(socket, &bytes, bytes.count, Int32(MSG_PEEK))
      guard count > 0 else { return nil }
      let some = Array(bytes[..<count])
      guard zip(some, "GET ".utf8).allSatisfy(==) || zip(some, "HEAD".utf8).allSatisfy(==) else { return nil }
      if let end = WebRequest.end(of: some) { return Array(some[..<end]) }
      guard count < WebRequest.limit, waiting.revents & Int16(POLLHUP) == 0 else { return nil }
      // It has begun.
      if wanted == 1 { limit = ContinuousClock.now + .seconds(patience) }
      wanted = Int32(count + 1)
    }
  }

  private static func consume(_ head: [UInt8]) {
    var room = head
    _ = recv(socket, &room, room.count, Int32(MSG_WAITALL))
  }

  private static func file(_ path: String, _ folder: String) -> [UInt8]? {
    // Links in the folder may lead to files in it only.
    guard let root = realpath(folder, nil) else { return nil }
    defer { free(root) }
    guard let real = realpath(folder + "/" + path, nil) else { return nil }
    defer { free(real) }
    guard String(cString: real).hasPrefix(String(cString: root) + "/") else { return nil }
    guard let data = FileManager.default.contents(atPath: String(cString: real)), data.count < 16 << 20 else {
      return nil
    }
    return Array(data)
  }

  private static func reply(_ status: Int, _ request: WebRequest, _ body: [UInt8] = [], more: String = "") {
    let words = [200: "OK", 302: "Found", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Not Allowed"]
    let head = "HTTP/1.1 \(status) \(words[status] ?? "")\r\nContent-Length: \(body.count)\r\n\(more)\r\n"
    var bytes = (Array(head.utf8) + (request.method == "HEAD" ? [] : body))[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard count > 0 else { return }
      bytes = bytes.dropFirst(count)
    }
  }
}
