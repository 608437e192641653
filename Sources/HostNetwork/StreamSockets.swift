import Foundation

/// Stream sockets by address and by path.
package enum StreamSockets {
  private static let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)

  private static func failed(_ what: String, _ code: Int32 = errno, remedy: String? = nil) -> HostNetworkError {
    HostNetworkError("\(what): \(String(cString: strerror(code)))", remedy: remedy)
  }

  /// The addresses of a host, until `body` makes something of one.
  private static func resolve(
    _ host: String, _ port: Int, flags: Int32, _ body: (UnsafeMutablePointer<addrinfo>) -> Int32?
  ) throws(HostNetworkError) -> Int32 {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = flags
    var list: UnsafeMutablePointer<addrinfo>?
    let status = getaddrinfo(host, String(port), &hints, &list)
    guard status == 0 else {
      throw HostNetworkError("\(host): \(String(cString: gai_strerror(status)))", remedy: "name a host that is there")
    }
    defer { freeaddrinfo(list) }
    var code: Int32 = 0
    var next = list
    while let entry = next {
      if let socket = body(entry) { return socket }
      code = errno
      next = entry.pointee.ai_next
    }
    throw failed("\(host) port \(port)", code)
  }

  /// - Throws: `HostNetworkError` when there is no such host, or nobody listens there.
  package static func connect(_ host: String, _ port: Int) throws(HostNetworkError) -> Int32 {
    try resolve(host, port, flags: 0) { entry in
      let socket = Foundation.socket(entry.pointee.ai_family, kind, 0)
      guard socket >= 0 else { return nil }
      // A host that does not answer at all is given up after a while: the link's end waits for this.
      var patience = timeval(tv_sec: 5, tv_usec: 0)
      setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
      guard Foundation.connect(socket, entry.pointee.ai_addr, entry.pointee.ai_addrlen) == 0 else {
        let code = errno
        close(socket)
        errno = code
        return nil
      }
      var one: Int32 = 1
      setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
      return socket
    }
  }

  static func listen(_ host: String, _ port: Int) throws(HostNetworkError) -> Int32 {
    do {
      return try resolve(host, port, flags: AI_PASSIVE) { entry in
        let socket = Foundation.socket(entry.pointee.ai_family, kind, 0)
        guard socket >= 0 else { return nil }
        var one: Int32 = 1
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        guard bind(socket, entry.pointee.ai_addr, entry.pointee.ai_addrlen) == 0, Foundation.listen(socket, 4) == 0
        else {
          let code = errno
          close(socket)
          errno = code
          return nil
        }
        return socket
      }
    } catch {
      throw HostNetworkError(
        "cannot listen on \(error.message)", remedy: "choose another place, or stop what listens there")
    }
  }

  static func port(_ socket: Int32) -> Int? {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(socket, $0, &length) }
    }
    return status == 0 ? Int(UInt16(bigEndian: address.sin_port)) : nil
  }

  // MARK: Paths

  private static func withAddress<Value>(
    _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value
  ) throws(HostNetworkError) -> Value {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw HostNetworkError("the path \(path) is too long for a socket", remedy: "choose one of up to 107 bytes")
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
  }

  static func connect(path: String) throws(HostNetworkError) -> Int32 {
    let socket = Foundation.socket(AF_UNIX, kind, 0)
    guard socket >= 0 else { throw failed("cannot make a socket") }
    var code: Int32 = 0
    do throws(HostNetworkError) {
      code = try withAddress(path) { Foundation.connect(socket, $0, $1) == 0 ? 0 : errno }
    } catch {
      close(socket)
      throw error
    }
    guard code == 0 else {
      close(socket)
      throw failed("cannot connect to \(path)", code)
    }
    return socket
  }

  /// What is left there of a dead listener is replaced; a live one is not.
  static func listen(path: String) throws(HostNetworkError) -> Int32 {
    if let other = try? connect(path: path) {
      close(other)
      throw failed("cannot listen on \(path)", EADDRINUSE, remedy: "choose another place, or stop what listens there")
    }
    var information = stat()
    if lstat(path, &information) == 0, information.st_mode & S_IFMT == S_IFSOCK { unlink(path) }
    let socket = Foundation.socket(AF_UNIX, kind, 0)
    guard socket >= 0 else { throw failed("cannot make a socket") }
    // Nobody else's before it has a name.
    fchmod(socket, 0o600)
    var code: Int32 = 0
    do throws(HostNetworkError) {
      code = try withAddress(path) { bind(socket, $0, $1) == 0 && Foundation.listen(socket, 4) == 0 ? 0 : errno }
    } catch {
      close(socket)
      throw error
    }
    guard code == 0 else {
      close(socket)
      throw failed("cannot listen on \(path)", code, remedy: "choose another place, or stop what listens there")
    }
    return socket
  }
}
