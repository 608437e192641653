import Foundation

/// Sockets that listen for TCP over IPv4.
enum TCPListener {
  /// - Parameters: address: of the interface. port: 0: a free one.
  /// - Returns: the socket, which is the caller's, and its port.
  /// - Throws: `ManagementError` when it cannot be had: `what` with the system's reason, and the remedy.
  static func open(
    _ address: in_addr, port: UInt16, _ what: String, remedy: String
  ) throws -> (descriptor: Int32, port: UInt16) {
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = port.bigEndian
    name.sin_addr = address
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard listener >= 0 else { throw ManagementError.system("cannot make a socket") }
    var on: Int32 = 1
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isDone = withUnsafeMutablePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, length) == 0 && listen(listener, 16) == 0 && getsockname(listener, $0, &length) == 0
      }
    }
    guard isDone else {
      let error = ManagementError.system(what, remedy: remedy)
      close(listener)
      throw error
    }
    return (listener, UInt16(bigEndian: name.sin_port))
  }
}
