import Foundation

/// The head of what a browser asks for (RFC 9112), as far as the screen's server needs it.
struct WebRequest: Equatable {
  /// Bytes of a head: no browser's is longer.
  static let limit = 8192

  var method: String
  /// As it was asked for.
  var target: String
  /// By their names in small letters; of two of one name the first.
  var headers: [String: String] = [:]

  /// nil: this is no head of a request.
  init?(_ bytes: [UInt8]) {
    guard let text = String(validating: bytes, as: UTF8.self) else { return nil }
    let lines = text.components(separatedBy: "\r\n")
    let words = lines.first?.split(separator: " ", omittingEmptySubsequences: false) ?? []
    guard words.count == 3, words[2].hasPrefix("HTTP/1."), words[1].hasPrefix("/") else { return nil }
    (method, target) = (String(words[0]), String(words[1]))
    for line in lines.dropFirst() where !line.isEmpty {
      guard let colon = line.firstIndex(of: ":") else { return nil }
      let name = line[..<colon].lowercased()
      let value = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
      if headers[name] == nil { headers[name] = value }
    }
  }

  /// Where the head ends, with its empty line; nil: more is to come.
  static func end(of bytes: [UInt8]) -> Int? {
    let mark = Array("\r\n\r\n".utf8)
    guard bytes.count >= mark.count else { return nil }
    return (0...bytes.count - mark.count).first { Array(bytes[$0..<$0 + 4]) == mark }.map { $0 + 4 }
  }

  /// What is to be done.
  enum Answer: Equatable {
    /// VNC over a WebSocket.
    case screen
    /// A file, by its path in noVNC's folder.
    case file(String)
    case redirect(String)
    case refused(Int)
  }

  /// A page of another site may open a WebSocket to this host in its reader's browser: only pages of this very server may, and
  /// where no password keeps others out no name may stand for its address (which another site's name could, for a moment).
  func answer(hasPassword: Bool, servesFiles: Bool) -> Answer {
    guard method == "GET" || method == "HEAD" else { return .refused(405) }
    if headers["upgrade"]?.lowercased() == "websocket" {
      guard let host = headers["host"]?.lowercased() else { return .refused(400) }
      if let origin = headers["origin"]?.lowercased(), origin != "http://" + host, origin != "https://" + host {
        return .refused(403)
      }
      return hasPassword || Self.isAddress(host) ? .screen : .refused(403)
    }
    guard servesFiles else { return .refused(404) }
    let path = String(target.prefix { $0 != "?" && $0 != "#" }.dropFirst())
    if path.isEmpty { return .redirect("/vnc.html") }
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    let allowed = CharacterSet(charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@+")
    guard
      parts.allSatisfy({ part in
        !part.isEmpty && !part.hasPrefix(".") && part.unicodeScalars.allSatisfy(allowed.contains)
      })
    else { return .refused(404) }
    return .file(path)
  }

  private static func isAddress(_ host: String) -> Bool {
    if host.hasPrefix("[") { return true }
    let name = host.prefix { $0 != ":" }
    var number = in_addr()
    return name == "localhost" || inet_pton(AF_INET, String(name), &number) == 1
  }

  /// The MIME type of a file, by its name.
  static func type(of path: String) -> String {
    switch URL(fileURLWithPath: path).pathExtension {
    case "html": "text/html; charset=utf-8"
    case "js": "text/javascript; charset=utf-8"
    case "css": "text/css; charset=utf-8"
    case "json": "application/json"
    case "svg": "image/svg+xml"
    case "png": "image/png"
    case "ico": "image/x-icon"
    case "woff": "font/woff"
    case "ttf": "font/ttf"
    case "oga", "ogg": "audio/ogg"
    case "mp3": "audio/mpeg"
    default: "application/octet-stream"
    }
  }
}
