import Foundation

/// A viewer of a machine's screen, as docs/screen.md describes the protocol, and nothing of vmctl's own in it.
final class ScreenViewer {
  private let socket: Int32
  private(set) var width = 0
  private(set) var height = 0
  private var memory: UnsafeMutableRawPointer?

  init(_ host: TestHost, _ machine: String) throws {
    // The path is short: the test's folder has been made so.
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let path = Array("\(host.home)/machines/\(machine)/screen.sock".utf8)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
    socket = Glibc.socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0)
    var limit = timeval(tv_sec: Int(patience), tv_usec: 0)
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    let isConnected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
    guard isConnected else { throw Failure("cannot watch \(machine): \(String(cString: strerror(errno)))") }
    guard try hear() == [1, 1, 0] + Array(machine.utf8) else { throw Failure("no greeting") }
  }

  deinit {
    if let memory { munmap(memory, width * height * 4) }
    close(socket)
  }

  func say(_ bytes: [UInt8]) throws {
    guard send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else { throw Failure("nobody listens") }
  }

  /// Waits for the next message and takes the picture that comes with it.
  @discardableResult
  func hear() throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4096)
    var control = [UInt64](repeating: 0, count: 8)
    let (count, file) = bytes.withUnsafeMutableBytes { data in
      control.withUnsafeMutableBytes { room in
        var part = iovec(iov_base: data.baseAddress, iov_len: data.count)
        return withUnsafeMutablePointer(to: &part) { parts -> (Int, Int32?) in
          var message = msghdr()
          (message.msg_iov, message.msg_iovlen) = (parts, 1)
          (message.msg_control, message.msg_controllen) = (room.baseAddress, room.count)
          let count = recvmsg(socket, &message, 0)
          let hasFile = count > 0 && message.msg_controllen > MemoryLayout<cmsghdr>.size
          return (count, hasFile ? room.load(fromByteOffset: MemoryLayout<cmsghdr>.size, as: Int32.self) : nil)
        }
      }
    }
    guard count > 0 else { throw Failure("the screen is gone") }
    if bytes[0] == 2, let file {
      if let memory { munmap(memory, width * height * 4) }
      (width, height) = (Int(bytes[1]) | Int(bytes[2]) << 8, Int(bytes[3]) | Int(bytes[4]) << 8)
      memory = mmap(nil, width * height * 4, PROT_READ, MAP_SHARED, file, 0)
      close(file)
      guard memory != MAP_FAILED else { throw Failure("the picture cannot be mapped") }
    }
    return Array(bytes.prefix(count))
  }

  /// 0xRRGGBB of each pixel, as they are now.
  var pixels: [UInt32] {
    guard let memory else { return [] }
    return (0..<width * height).map { index in
      let value = memory.load(fromByteOffset: index * 4, as: UInt32.self)
      return (value & 0xFF) << 16 | value & 0xFF00 | value >> 16 & 0xFF
    }
  }

  /// Looks until the picture is the one that `screenshotpng` takes.
  func waitForScreenshot(_ host: TestHost, _ machine: String) throws {
    if memory == nil { try look() }
    try poll("the same picture as a screenshot's") {
      let file = host.folder + "/compared.png"
      try host.vmctl("controlvm", machine, "screenshotpng", file)
      let picture = try Picture(png: try Data(contentsOf: URL(fileURLWithPath: file)))
      if picture.width == width && picture.height == height && picture.pixels == pixels { return () }
      try look()
      return nil
    }
  }

  /// Waits for the next change.
  func look() throws {
    try say([1])
    try hear()
  }

  /// Presses and lets go of keys, by their codes of set 1.
  func type(_ codes: [UInt8]) throws { for code in codes { try say([2, code, code | 0x80]) } }
}
