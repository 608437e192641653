import Foundation
import HostNetwork

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
    let socket: Int32
    do {
      socket = try StreamSockets.connect(bare, port)
    } catch {
      throw ManagementError("cannot reach \(error.message)")
    }
    defer { close(socket) }
    UnixSocket.setPatience(socket, seconds: seconds)
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
}
