import Testing

@testable import Management

@Suite struct WebRequestTests {
  private static func head(_ target: String, _ headers: [String] = [], method: String = "GET") -> [UInt8] {
    Array((["\(method) \(target) HTTP/1.1"] + headers + ["", ""]).joined(separator: "\r\n").utf8)
  }

  private func answer(
    _ target: String, _ headers: [String] = [], method: String = "GET", hasPassword: Bool = false,
    servesFiles: Bool = true
  ) -> WebRequest.Answer? {
    WebRequest(Self.head(target, headers, method: method))?.answer(hasPassword: hasPassword, servesFiles: servesFiles)
  }

  @Test func filesOfTheFolderAreServedAndNoOthers() {
    #expect(answer("/") == .redirect("/vnc.html"))
    #expect(answer("/vnc.html?autoconnect=1#x") == .file("vnc.html"))
    #expect(answer("/app/images/icons/novnc-16x16.png") == .file("app/images/icons/novnc-16x16.png"))
    for target in ["/../secret", "/app/../../secret", "/%2e%2e/secret", "/a//b", "/app/", "/.git", "/a\0b", "/a b"] {
      let refused = answer(target)
      #expect(refused == nil || refused == .refused(404), "\(target)")
    }
    #expect(answer("/vnc.html", servesFiles: false) == .refused(404))
    #expect(answer("/vnc.html", method: "POST") == .refused(405))
  }

  @Test func onlyPagesOfThisServerOpenAWebSocket() {
    let upgrade = "Upgrade: WebSocket"
    #expect(answer("/websockify", [upgrade, "Host: 127.0.0.1:5900"], servesFiles: false) == .screen)
    #expect(answer("/", [upgrade, "Host: 127.0.0.1:5900", "Origin: http://127.0.0.1:5900"]) == .screen)
    #expect(answer("/", [upgrade, "Host: localhost:5900", "Origin: http://LOCALHOST:5900"]) == .screen)
    #expect(answer("/", [upgrade, "Host: 127.0.0.1:5900", "Origin: http://evil.example"]) == .refused(403))
    #expect(answer("/", [upgrade, "Host: 127.0.0.1:5900", "Origin: null"]) == .refused(403))
    #expect(answer("/", [upgrade]) == .refused(400))
    // A name that stands for this host's address for a moment.
    let rebound = [upgrade, "Host: evil.example:5900", "Origin: http://evil.example:5900"]
    #expect(answer("/", rebound) == .refused(403))
    #expect(answer("/", rebound, hasPassword: true) == .screen)
  }

  @Test func whatIsNoRequestIsRefused() {
    for text in [
      "", "GET", "GET /", "GET / HTTP/2\r\n\r\n", "GET x HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ] {
      #expect(WebRequest(Array(text.utf8)) == nil, "\(text)")
    }
    #expect(WebRequest([0xFF, 0xFE]) == nil)
    let whole = Self.head("/vnc.html", ["Host: h", "host: other"])
    #expect(WebRequest(whole)?.headers == ["host": "h"])
    for count in 0..<whole.count { #expect(WebRequest.end(of: Array(whole.prefix(count))) == nil) }
    #expect(WebRequest.end(of: whole + [1, 2]) == whole.count)
    var random = SystemRandomNumberGenerator()
    for _ in 0..<2000 {
      let bytes = whole.map {
        Int.random(in: 0..<20, using: &random) == 0 ? UInt8.random(in: 0...255, using: &random) : $0
      }
      if let request = WebRequest(bytes), case .file(let path) = request.answer(hasPassword: false, servesFiles: true) {
        #expect(!path.hasPrefix("/") && !path.split(separator: "/").contains { $0.hasPrefix(".") }, "\(path)")
      }
    }
  }
}

@Suite struct RemoteScreenTests {
  @Test func withoutAPasswordOnlyThisHostMayWatch() throws {
    var screen = VMDefinition.RemoteScreen()
    #expect(try screen.place() == .tcp("127.0.0.1"))
    screen.address = "192.0.2.1"
    #expect(throws: ManagementError.self) { try screen.place() }
    screen.passwordFile = "/secret"
    #expect(try screen.place() == .tcp("192.0.2.1"))
    screen.address = nil
    #expect(try screen.place() == .tcp("0.0.0.0"))
    screen.passwordFile = nil
    screen.address = "/run/box.sock"
    #expect(try screen.place() == .path("/run/box.sock"))
    screen.address = "localhost"
    #expect(try screen.place() == .tcp("127.0.0.1"))
    screen.address = "moon"
    #expect(throws: ManagementError.self) { try screen.place() }
  }

  /// How a machine is shown is the host's to say that it is on.
  @Test func itDoesNotTravel() throws {
    var definition = VMDefinition(name: "box")
    definition.screen.enabled = true
    definition.screen.passwordFile = "/etc/shadow"
    let temporary = try TemporaryRegistry()
    let reception = MachineReception(temporary.registry, address: "127.0.0.1", passwordFile: "/secret")
    #expect(try reception.arriving(definition.toml()).screen == VMDefinition.RemoteScreen())
    let sent = try VMDefinition(toml: MachineReception.portable(definition), file: "sent")
    #expect(sent.screen == VMDefinition.RemoteScreen())
  }
}
