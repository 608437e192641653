import Foundation

/// Sockets in the file system at paths of any length: `sun_path` holds 108 bytes (unix(7)), so the folder is opened and
/// the socket named below it through /proc/self/fd.
public enum UnixSocket {
  /// A listening socket that only this user can connect to. A socket left behind by a dead process is replaced.
  /// - Parameter packets: whether what is sent comes as it was sent, message by message (SOCK_SEQPACKET).
  static func listen(path: String, packets: Bool = false) throws -> Int32 {
    let descriptor = make(packets)
    guard descriptor >= 0 else { throw ManagementError.system("cannot make a socket") }
    do {
      if isSocket(path) { unlink(path) }
      try withAddress(path) { address, length in
        // The mode is set on the socket before it has a name, so that nobody can connect in between.
        fchmod(descriptor, 0o600)
        guard bind(descriptor, address, length) == 0 else {
          throw ManagementError.system("cannot make the socket \(path)")
        }
        guard chmod(path, 0o600) == 0, Glibc.listen(descriptor, 16) == 0 else {
          throw ManagementError.system("cannot listen on the socket \(path)")
        }
      }
    } catch {
      close(descriptor)
      throw error
    }
    return descriptor
  }

  /// A descriptor connected to the server at a path. Throws `ManagementError` when nobody serves there.
  /// - Parameters:
  ///   - patience: seconds that a wait on it may take, to connect, read or write; 0: without limit.
  ///   - packets: as in `listen`.
  public static func connect(path: String, patience: Int = 0, packets: Bool = false) throws -> Int32 {
    let descriptor = make(packets)
    guard descriptor >= 0 else { throw ManagementError.system("cannot make a socket") }
    setPatience(descriptor, seconds: patience)
    do {
      try withAddress(path) { address, length in
        guard Glibc.connect(descriptor, address, length) == 0 else {
          throw ManagementError.system("cannot connect to \(path)")
        }
      }
    } catch {
      close(descriptor)
      throw error
    }
    return descriptor
  }

  private static func make(_ packets: Bool) -> Int32 {
    socket(AF_UNIX, Int32((packets ? SOCK_SEQPACKET : SOCK_STREAM).rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
  }

  /// How many seconds a wait may take; 0: any number.
  static func setPatience(_ descriptor: Int32, seconds: Int) {
    var time = timeval(tv_sec: seconds, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
    }
  }

  private static func isSocket(_ path: String) -> Bool {
    var information = stat()
    return lstat(path, &information) == 0 && information.st_mode & S_IFMT == S_IFSOCK
  }

  private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) throws -> Void) throws {
    let url = URL(fileURLWithPath: path)
    let folder = open(url.deletingLastPathComponent().path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else { throw ManagementError.system("cannot open the folder of \(path)") }
    defer { close(folder) }
    let short = Array("/proc/self/fd/\(folder)/\(url.lastPathComponent)".utf8)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard short.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw ManagementError("the name of the socket \(path) is too long")
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: short) }
    try withUnsafePointer(to: &address) { pointer in
      try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        try body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }
}
