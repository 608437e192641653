import Foundation

/// One request of HTTP/1.1 over TCP, for the few that are made of a server in one's own network. No TLS, no redirects.
enum SmallHTTP {
  private static let mostBytes = 1 << 20

  /// - Parameters: url: "http://HOST[:PORT]/PATH". seconds: for each wait.
  /// - Returns: the body of an answer with the status 200.
  /// - Throws: `ManagementError` for every other.
  static func post(_ url: String, body: [UInt8], seconds: Int) throws -> [UInt8] {
    guard let parts = URLComponents(string: url), parts.scheme == "http", let host = parts.host, !host.isEmpty else {
      throw ManagementError("\"\(url)\" is no address", remedy: "give it as http://HOST:PORT")
    }
    let port = parts.port ?? 80
    let bare = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
    let socket = try connect(bare, port, seconds: seconds)
    defer { close(socket) }
    let head =
      "POST \(parts.path) HTTP/1.1\r\nHost: \(host):\(port)\r\nContent-Type: application/json\r\n"
      + "Content-Length: \(body.count)\r\nConnection: close\r\n\r\n"
    try Files.writeAll(socket, Array(head.utf8) + body, path: url)
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16384)
    while bytes.count < mostBytes {
      let count = read(socket, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw ManagementError.system("\(host) port \(port) does not answer") }
      guard count > 0 else { break }
      bytes += chunk[..<count]
    }
    return try content(of: bytes, from: "\(host) port \(port)")
  }

  /// Takes an answer apart that is here as a whole.
  static func content(of bytes: [UInt8], from place: String) throws -> [UInt8] {
    guard let end = bytes.firstRange(of: Array("\r\n\r\n".utf8)) else {
      throw ManagementError("\(place) does not answer in HTTP")
    }
    let lines = String(decoding: bytes[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
    let status = lines[0].split(separator: " ").dropFirst().first.flatMap { Int($0) }
    guard status == 200 else { throw ManagementError("\(place) answers \"\(lines[0])\"") }
    let body = Array(bytes[end.upperBound...])
    let isChunked = lines.contains {
      $0.lowercased().hasPrefix("transfer-encoding:") && $0.lowercased().contains("chunked")
    }
    return isChunked ? try unchunk(body, place) : body
  }

  private static func unchunk(_ body: [UInt8], _ place: String) throws -> [UInt8] {
    var result: [UInt8] = []
    var rest = body[...]
    while let line = rest.firstRange(of: [13, 10]) {
      let text = String(decoding: rest[rest.startIndex..<line.lowerBound].prefix { $0 != 59 }, as: UTF8.self)
      guard let count = Int(text.trimmingCharacters(in: .whitespaces), radix: 16), count >= 0 else { break }
      if count == 0 { return result }
      let start = line.upperBound
      guard count <= rest.endIndex - start else { break }
      result += rest[start..<start + count]
      rest = rest[min(start + count + 2, rest.endIndex)...]
    }
    throw ManagementError("the answer of \(place) is cut short")
  }

  private static func connect(_ host: String, _ port: Int, seconds: Int) throws -> Int32 {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let found = getaddrinfo(host, String(port), &hints, &list)
    guard found == 0 else { throw ManagementError("cannot find \(host): \(String(cString: gai_strerror(found)))") }
    defer { freeaddrinfo(list) }
    var code = ECONNREFUSED
    var entry = list
    while let info = entry {
      entry = info.pointee.ai_next
      let socket = Glibc.socket(info.pointee.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      guard socket >= 0 else { continue }
      UnixSocket.setPatience(socket, seconds: seconds)
      if Glibc.connect(socket, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0 { return socket }
      code = errno
      close(socket)
    }
    throw ManagementError.system("cannot reach \(host) port \(port)", code)
  }
}
