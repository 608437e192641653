import Foundation

/// Serves metrics by HTTP/1.0: one request a connection, one connection at a time, each with bounds on size and time.
public enum MetricsServer {
  /// Bytes of a request that are looked at.
  private static let limit = 8192

  /// Listens and serves until the process ends.
  /// - Parameter ready: is told the port.
  /// - Throws: `ManagementError` when the address is none, or its port is taken.
  public static func serve(_ place: String, ready: (UInt16) -> Void, metrics: () throws -> String) throws {
    let (listener, port) = try listen(place)
    defer { close(listener) }
    ready(port)
    while true {
      let client = accept(listener, nil, nil)
      guard client >= 0 else {
        // Out of descriptors and the like passes.
        usleep(10_000)
        continue
      }
      UnixSocket.setPatience(client, seconds: 5)
      answer(client, metrics)
      close(client)
    }
  }

  private static func listen(_ place: String) throws -> (Int32, UInt16) {
    let parts = place.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    var address = in_addr()
    guard (1...2).contains(parts.count), let port = parts.last.flatMap({ UInt16($0) }),
      inet_pton(AF_INET, parts.count == 2 && !parts[0].isEmpty ? parts[0] : "127.0.0.1", &address) == 1
    else {
      throw ManagementError(
        "\"\(place)\" is no place to listen", remedy: "give PORT or ADDRESS:PORT, as 127.0.0.1:9177")
    }
    return try TCPListener.open(address, port: port, "cannot listen on \(place)", remedy: "choose another --listen")
  }

  private static func answer(_ client: Int32, _ metrics: () throws -> String) {
    var request: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1024)
    let end = Array("\r\n\r\n".utf8)
    let deadline = Date().addingTimeInterval(5)
    while request.count < limit, request.firstRange(of: end) == nil {
      let count = read(client, &chunk, chunk.count)
      guard count > 0, Date() < deadline else { return }
      request += chunk[..<count]
    }
    let (status, body) = reply(String(decoding: request, as: UTF8.self), metrics)
    let head =
      "HTTP/1.0 \(status)\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
      + "Content-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n"
    try? Files.writeAll(client, Array((head + body).utf8), path: "the connection")
  }

  static func reply(_ request: String, _ metrics: () throws -> String) -> (status: String, body: String) {
    let words = request.prefix { $0 != "\r\n" && $0 != "\n" }.split(separator: " ")
    guard words.count == 3, words[2].hasPrefix("HTTP/1.") else { return ("400 Bad Request", "this is no request\n") }
    guard words[0] == "GET" else { return ("405 Method Not Allowed", "only GET is served\n") }
    guard ["/metrics", "/"].contains(words[1].split(separator: "?").first.map(String.init) ?? "") else {
      return ("404 Not Found", "see /metrics\n")
    }
    do {
      return ("200 OK", try metrics())
    } catch {
      return ("500 Internal Server Error", ManagementError.line(for: error) + "\n")
    }
  }
}
