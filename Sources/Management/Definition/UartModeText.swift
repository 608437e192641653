import Machine

extension MachineConfiguration.UartMode {
  /// What `--uart-modeN` takes.
  public static let forms = "disconnected | tcpserver [HOST:]PORT | tcpclient HOST:PORT | file PATH | server SOCKETPATH"

  /// The words of `--uart-modeN`, as one text in a definition.
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

  public init(words: [String]) throws {
    let rest = words.dropFirst().joined(separator: " ")
    switch (words.first ?? "", rest.isEmpty) {
    case ("disconnected", true): self = .disconnected
    case ("tcpserver", false):
      let address = try NetworkAddress.parse(rest, hostRequired: false)
      self = .tcpServer(host: address.host, port: address.port)
    case ("tcpclient", false):
      let address = try NetworkAddress.parse(rest, hostRequired: true)
      self = .tcpClient(host: address.host ?? "", port: address.port)
    case ("file", false): self = .file(path: Files.absolute(rest))
    case ("server", false): self = .unixServer(path: Files.absolute(rest))
    default:
      throw ManagementError("\"\(words.joined(separator: " "))\" is no uart mode", remedy: "use \(Self.forms)")
    }
  }

  public init(text: String) throws {
    let words = text.split(separator: " ", maxSplits: 1).map(String.init)
    try self.init(words: words)
  }
}
