import Foundation

/// A server on the host for guests: GET gives a file's bytes, PUT keeps what is sent in another, one connection at a time each.
final class HTTPServer: @unchecked Sendable {
  private(set) var port = 0
  /// Where what was sent last is.
  let uploaded: String
  private let file: String
  private let listener: Int32

  /// - Parameter family: AF_INET or AF_INET6; on its loopback address.
  init(serving file: String, uploadTo uploaded: String, family: Int32 = AF_INET) throws {
    self.file = file
    self.uploaded = uploaded
    listener = socket(family, Int32(SOCK_STREAM.rawValue), 0)
    var storage = sockaddr_storage()
    storage.ss_family = sa_family_t(family)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = listener
    let made = withUnsafeMutableBytes(of: &storage) { bytes -> Bool in
      if family == AF_INET6 {
        length = socklen_t(MemoryLayout<sockaddr_in6>.size)
        bytes[8 + 15] = 1
      } else {
        (bytes[4], bytes[7]) = (127, 1)
      }
      guard let pointer = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return false }
      return bind(descriptor, pointer, length) == 0 && listen(descriptor, 8) == 0
        && getsockname(descriptor, pointer, &length) == 0
    }
    guard made else { throw Failure("no port for a server: \(String(cString: strerror(errno)))") }
    port = withUnsafeBytes(of: &storage) { Int($0[2]) << 8 | Int($0[3]) }
    Thread { [weak self] in
      while true {
        let connection = accept(descriptor, nil, nil)
        guard connection >= 0, let self else { return }
        Thread { self.serve(connection) }.start()
      }
    }.start()
  }

  deinit {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }

  private func serve(_ connection: Int32) {
    defer { close(connection) }
    var head: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    func more() -> ArraySlice<UInt8>? {
      let count = read(connection, &chunk, chunk.count)
      return count > 0 ? chunk[..<count] : nil
    }
    let end = Array("\r\n\r\n".utf8)
    while head.firstRange(of: end) == nil {
      guard head.count < 1 << 16, let part = more() else { return }
      head += part
    }
    guard let range = head.firstRange(of: end) else { return }
    let text = String(decoding: head[..<range.lowerBound], as: UTF8.self)
    if text.hasPrefix("PUT") {
      let line = text.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length:") }
      guard let line, let size = Int(line.dropFirst(15).trimmingCharacters(in: .whitespaces)) else { return }
      let output = open(uploaded, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
      defer { close(output) }
      var rest = size
      var part = head[range.upperBound...]
      while true {
        rest -= part.count
        guard part.withUnsafeBytes({ write(output, $0.baseAddress, $0.count) }) == part.count else { return }
        guard rest > 0 else { break }
        guard let next = more() else { return }
        part = next
      }
      send(connection, Array("HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ndone".utf8)[...])
    } else {
      let input = open(file, O_RDONLY)
      defer { close(input) }
      let size = lseek(input, 0, SEEK_END)
      lseek(input, 0, SEEK_SET)
      guard send(connection, Array("HTTP/1.0 200 OK\r\nContent-Length: \(size)\r\n\r\n".utf8)[...]) else { return }
      while true {
        let count = read(input, &chunk, chunk.count)
        guard count > 0, send(connection, chunk[..<count]) else { return }
      }
    }
  }

  @discardableResult
  private func send(_ connection: Int32, _ bytes: ArraySlice<UInt8>) -> Bool {
    var rest = bytes
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Foundation.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard count > 0 else { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }
}
