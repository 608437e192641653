import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The socket on which targets and receivers wait.
enum Listener {
  /// - Parameter port: 0: a free one.
  /// - Returns: the socket, which is the caller's, and its port.
  /// - Throws: `TeleportError.cannotListen`.
  static func open(address: String, port: Int) throws(TeleportError) -> (descriptor: Int32, port: Int) {
    func fail(_ code: Int32) -> TeleportError {
      .cannotListen(address: address, port: port, reason: String(cString: strerror(code)))
    }
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let found = getaddrinfo(address, String(port), &hints, &list)
    guard found == 0, let info = list else {
      throw .cannotListen(address: address, port: port, reason: String(cString: gai_strerror(found)))
    }
    defer { freeaddrinfo(list) }
    let descriptor = socket(info.pointee.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw fail(errno) }
    var one: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    guard bind(descriptor, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0,
      Foundation.listen(descriptor, 16) == 0
    else {
      let code = errno
      close(descriptor)
      throw fail(code)
    }
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    return (descriptor, self.port(of: descriptor) ?? port)
  }

  /// nil: it is no socket with a port.
  static func port(of descriptor: Int32) -> Int? {
    var name = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let known = withUnsafeMutablePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    let families = [sa_family_t(AF_INET), sa_family_t(AF_INET6)]
    guard known == 0, families.contains(name.ss_family) else { return nil }
    // Both families keep the port in the same place, in network order.
    return withUnsafeBytes(of: name) { Int($0[2]) << 8 | Int($0[3]) }
  }

  /// The next connection; nil: it was woken, or waited as long as it may.
  static func accept(_ listener: Int32, until wake: WakePipe, milliseconds: Int32 = -1) -> Int32? {
    while true {
      var entries = [
        pollfd(fd: listener, events: Int16(POLLIN), revents: 0),
        pollfd(fd: wake.readEnd, events: Int16(POLLIN), revents: 0),
      ]
      let ready = poll(&entries, 2, milliseconds)
      if ready == 0 || (ready < 0 && errno != EINTR) || entries[1].revents != 0 { return nil }
      guard ready > 0, entries[0].revents != 0 else { continue }
      let descriptor = Foundation.accept(listener, nil, nil)
      guard descriptor >= 0 else {
        // Out of descriptors: let others end first.
        if errno == EMFILE || errno == ENFILE { Thread.sleep(forTimeInterval: 0.1) }
        continue
      }
      _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
      return descriptor
    }
  }
}
