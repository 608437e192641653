import Foundation

extension MachineConfiguration.UartMode {
  /// Every mode with what it needs.
  public static let forms = "disconnected | tcpserver [HOST:]PORT | tcpclient HOST:PORT | file PATH | server SOCKETPATH"

  /// The mode as one text, as a definition has it.
  public var text: String {
    switch self {
    case .disconnected: return "disconnected"
    case .tcpServer(let host, let port): return "tcpserver " + Self.join(host, port)
    case .tcpClient(let host, let port): return "tcpclient " + Self.join(host, port)
    case .file(let path): return "file \(path)"
    case .unixServer(let path): return "server \(path)"
    }
  }

  private static func join(_ host: String?, _ port: Int) -> String {
    guard let host else { return String(port) }
    return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }

  /// From the words of a command; paths are made absolute.
  public init(words: [String]) throws(SettingFailure) {
    let text = words.joined(separator: " ")
    let rest = String(text.drop { $0 != " " }.dropFirst())
    switch (text.prefix { $0 != " " }, rest.isEmpty) {
    case ("disconnected", true): self = .disconnected
    case ("tcpserver", false):
      let address = try HostPort.parse(rest, hostRequired: false)
      self = .tcpServer(host: address.host, port: address.port)
    case ("tcpclient", false):
      let address = try HostPort.parse(rest, hostRequired: true)
      self = .tcpClient(host: address.host ?? "", port: address.port)
    case ("file", false): self = .file(path: HostPath.absolute(rest))
    case ("server", false): self = .unixServer(path: HostPath.absolute(rest))
    default: throw .form(text: text, expected: Self.forms)
    }
  }

  /// The mode that a text of the file or of a command means. Throws `SettingFailure` when it means none.
  public init(text: String) throws(SettingFailure) { try self.init(words: [text]) }
}

/// "HOST:PORT", "[::1]:PORT" or, where allowed, "PORT" alone.
enum HostPort {
  static func parse(_ text: String, hostRequired: Bool) throws(SettingFailure) -> (host: String?, port: Int) {
    var host: String?
    var number = text[...]
    if let colon = text.lastIndex(of: ":") {
      var name = text[..<colon]
      if name.hasPrefix("[") && name.hasSuffix("]") { name = name.dropFirst().dropLast() }
      host = name.isEmpty ? nil : String(name)
      number = text[text.index(after: colon)...]
    }
    let form = hostRequired ? "HOST:PORT with a port from 1 to 65535" : "[HOST:]PORT with a port from 0 to 65535"
    guard let port = Number.parse(String(number)), port <= 65535, !hostRequired || (host != nil && port > 0) else {
      throw .form(text: text, expected: form)
    }
    return (host, port)
  }
}

/// File names as users give them.
public enum HostPath {
  /// `path` as an absolute path; "~" is the home directory, anything else is relative to the current directory.
  public static func absolute(_ path: String) -> String {
    let expanded = NSString(string: path).expandingTildeInPath
    let full = expanded.hasPrefix("/") ? expanded : FileManager.default.currentDirectoryPath + "/" + expanded
    return URL(fileURLWithPath: full).standardizedFileURL.path
  }
}
