import Foundation
import Testing

/// A machine's screen served by VNC, to clients that people use.
@Suite struct VNCTests {
  private func port(_ host: TestHost, _ machine: String = "box") throws -> Int {
    try #require(Int(try host.fact(machine, "vrdeport") ?? ""))
  }

  private func processes(_ host: TestHost, _ mode: String) throws -> [pid_t] {
    let machine = try #require(host.processID("box"))
    let parent = mode == "keep" ? [machine] : try processes(host, "keep")
    return try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { pid_t($0) }.filter { process in
      let words = (try? String(contentsOfFile: "/proc/\(process)/cmdline", encoding: .utf8)) ?? ""
      let status = (try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)) ?? ""
      return words == "vmctl-vnc\0\(mode)\0" && parent.contains { status.contains("PPid:\t\($0)\n") }
    }
  }

  @Test("a client sees the screen and types on it, and its end is nobody else's", .enabled(if: Guests.has("di-amd64")))
  func watching() throws {
    let host = try TestHost()
    let console = try host.startLinux("box", kernel: "di-amd64", ["--vrde", "on", "--vrde-port", "0"])
    #expect(try host.fact("box", "vrde") == "on")
    let port = try port(host)
    let viewer = try VNCViewer(port: port)
    #expect(viewer.name == "box")
    try viewer.waitForScreenshot(host, "box")

    // While nobody has it open a terminal drops keys.
    try console.send("exec 3<>/dev/tty1\n")
    try console.expect("guest# ")
    try console.send("read -r word <&3; echo \"typed $word.\"\n")
    viewer.type("Hello \"you\"; [a_b]~\n")
    try console.expect("typed Hello \"you\"; [a_b]~.")
    try viewer.waitForScreenshot(host, "box")
    #expect(try host.vmctl("debugvm", "box", "info", "screen").contains("Hello \"you\"; [a_b]~"))

    // The mouse's interrupts are counted.
    try console.expect("guest# ")
    try console.send("echo mouse $(grep -c i8042 /proc/interrupts)\n")
    for step in 0..<20 { viewer.point(100 + step, 100, buttons: step % 2) }
    try console.expect("mouse 2")

    // Killed with a Shift down: the next types small letters.
    viewer.hold(0xFFE1)
    viewer.hold(0x41)
    try poll("the letter on the screen") {
      let lines = try host.vmctl("debugvm", "box", "info", "screen").split(separator: "\n")
      return lines.contains("A") ? () : nil
    }
    let other = try VNCViewer(port: port)
    let sessions = try processes(host, "serve")
    #expect(sessions.count == 2)
    let first = try #require(sessions.min())
    kill(first, SIGKILL)
    try host.waitForLog("box", "ended by signal 9")
    try poll("the client's end") { viewer.listen() ? nil : () }
    try console.expect("guest# ")
    try console.send("read -r word <&3; echo \"typed $word.\"\n")
    other.type("b\n")
    try console.expect("typed Ab.")

    // Without its keeper nobody new comes in; who is there stays, and the machine runs.
    kill(try #require(try processes(host, "keep").first), SIGKILL)
    try host.waitForLog("box", "VNC: its process has ended")
    try other.waitForScreenshot(host, "box")
    #expect(throws: Failure.self) { try VNCViewer(port: port) }
    #expect(try host.state("box") == "running")
    try host.vmctl("controlvm", "box", "poweroff")
    try poll("the client's end") { other.listen() ? nil : () }
  }

  @Test("modes of all sizes are seen, a reset and a saved state too")
  func sizes() throws {
    let host = try TestHost()
    try host.create("box", ["--vrde", "on", "--vrde-port", "0"])
    try host.vmctl("startvm", "box")
    let viewer = try VNCViewer(port: try port(host))
    try viewer.waitForScreenshot(host, "box")
    try host.vmctl("controlvm", "box", "reset")
    try viewer.waitForScreenshot(host, "box")
    try host.vmctl("controlvm", "box", "savestate")
    try poll("the client's end") { viewer.listen() ? nil : () }
    try host.vmctl("startvm", "box")
    try VNCViewer(port: try port(host)).waitForScreenshot(host, "box")
    // A machine that stands still shows what it showed last, with its cursor or without.
    try host.vmctl("controlvm", "box", "pause")
    let last = try VNCViewer(port: try port(host))
    try poll("a picture") {
      guard last.listen() else { throw Failure("the server is gone") }
      return last.pixels.contains { $0 != 0 } ? () : nil
    }
  }

  @Test("who does not know the password does not come in")
  func password() throws {
    let host = try TestHost()
    let file = try host.write("password", Array("secret99 and more\n".utf8))
    try host.create(
      "box", ["--vrde", "on", "--vrde-port", "0", "--vrde-password-file", file, "--vrde-address", "127.0.0.1"])
    try host.vmctl("startvm", "box")
    let port = try port(host)
    #expect(throws: Failure.self) { try VNCViewer(port: port, password: "wrong") }
    try host.waitForLog("box", "a wrong password from 127.0.0.1")
    #expect(throws: Failure.self) { try VNCViewer(port: port, password: "") }
    // VNC's hand-shake has eight characters.
    let viewer = try VNCViewer(port: port, password: "secret99")
    try viewer.waitForScreenshot(host, "box")
    #expect(try !host.vmctl("showvminfo", "box").contains("secret99"))
  }

  @Test("a teleport ends its clients on the one host, and others see the machine on the other")
  func teleport() throws {
    let (a, b) = (try TestHost(), try TestHost())
    for host in [a, b] { try host.create("box", ["--vrde", "on", "--vrde-port", "0"]) }
    try a.vmctl("startvm", "box")
    try b.modify("box", ["--teleporter", "on"])
    try b.vmctl("startvm", "box")
    let (old, new) = (try VNCViewer(port: try port(a)), try VNCViewer(port: try port(b)))
    try old.waitForScreenshot(a, "box")
    // There is no machine yet, and its screen is black.
    #expect(new.pixels.allSatisfy { $0 == 0 })
    let target = try #require(try b.fact("box", "teleporterport"))
    try a.vmctl("controlvm", "box", "teleport", "--host", "127.0.0.1", "--port", target)
    try poll("the client's end") { old.listen() ? nil : () }
    try new.waitForScreenshot(b, "box")
    #expect(new.pixels.contains { $0 != 0 })
  }

  @Test("what cannot be served is said before the machine starts")
  func refused() throws {
    let host = try TestHost()
    try host.create("box", ["--vrde", "on", "--vrde-port", "0"])
    try host.refused(
      "modifyvm", "box", "--vrde-address", "0.0.0.0", saying: ["without a password", "--vrde-password-file"])
    try host.refused("modifyvm", "box", "--vrde-address", "moon", saying: ["\"moon\" is no address"])
    try host.refused("modifyvm", "box", "--vrde-port", "70000", saying: ["70000"])
    try host.create("other", ["--vrde", "on", "--vrde-port", "0"])
    try host.vmctl("startvm", "other")
    let taken = try port(host, "other")
    try host.modify("box", ["--vrdeport", "\(taken)"])
    try host.refused("startvm", "box", saying: ["port \(taken)", "--vrde-port"])
    #expect(try host.state("box") == "poweroff")
    try host.modify("box", ["--vrde-port", "0", "--vrde-password-file", try host.write("empty", [])])
    try host.refused("startvm", "box", saying: ["has no password"])
    try host.modify("box", ["--vrde-password-file", ""])
    try host.vmctl("startvm", "box")
  }
}

/// What browsers get at the port of a screen.
@Suite(.enabled(if: access("/usr/share/novnc/vnc.html", R_OK) == 0)) struct WebScreenTests {
  /// A connection on which a test speaks HTTP by hand.
  private final class Browser {
    private let socket: Int32
    private var input: [UInt8] = []

    init(_ port: Int) throws {
      socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      var limit = timeval(tv_sec: Int(patience), tv_usec: 0)
      setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
      var name = sockaddr_in()
      name.sin_family = sa_family_t(AF_INET)
      name.sin_port = in_port_t(port).bigEndian
      name.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
      let isConnected = withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
      }
      guard isConnected else { throw Failure("cannot connect") }
    }

    deinit { close(socket) }

    func say(_ bytes: [UInt8]) throws {
      guard send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
        throw Failure("nobody listens")
      }
    }

    func say(_ lines: [String]) throws { try say(Array((lines + ["", ""]).joined(separator: "\r\n").utf8)) }

    func take(_ count: Int) throws -> [UInt8] {
      while input.count < count {
        var room = [UInt8](repeating: 0, count: 1 << 16)
        let got = recv(socket, &room, room.count, 0)
        guard got > 0 else { throw Failure("the server is gone") }
        input += room[..<got]
      }
      defer { input.removeFirst(count) }
      return Array(input[..<count])
    }

    /// An answer's head, line by line.
    func head() throws -> [String] {
      var bytes: [UInt8] = []
      while !bytes.suffix(4).elementsEqual("\r\n\r\n".utf8) { bytes += try take(1) }
      return String(decoding: bytes, as: UTF8.self).components(separatedBy: "\r\n")
    }

    /// Asks for a file.
    func get(_ path: String) throws -> (status: String, body: [UInt8]) {
      try say(["GET \(path) HTTP/1.1", "Host: 127.0.0.1"])
      let head = try head()
      let length = head.first { $0.hasPrefix("Content-Length: ") }.flatMap { Int($0.dropFirst(16)) } ?? 0
      return (String(head[0].split(separator: " ")[1]), try take(length))
    }
  }

  private let upgrade = [
    "GET /websockify HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: binary",
  ]

  @Test("a browser gets noVNC's files and the screen over a WebSocket, and pages of others get nothing")
  func browser() throws {
    let host = try TestHost()
    try host.create("box", ["--vrde", "on", "--vrde-port", "0", "--vrde-web", "on"])
    try host.vmctl("startvm", "box")
    let port = try #require(Int(try host.fact("box", "vrdeport") ?? ""))
    let browser = try Browser(port)
    #expect(try browser.get("/").status == "302")
    for file in ["vnc.html", "core/rfb.js", "app/ui.js"] {
      let (status, body) = try browser.get("/\(file)?v=1")
      #expect(status == "200" && Data(body) == FileManager.default.contents(atPath: "/usr/share/novnc/\(file)"))
    }
    #expect(try browser.get("/missing.js").status == "404")
    for path in ["/../novnc/vnc.html", "/%2e%2e/passwd"] { #expect(try Browser(port).get(path).status == "404") }

    // RFC 6455, 1.3 has this key's answer.
    try browser.say(upgrade + ["Host: 127.0.0.1:\(port)", "Origin: http://127.0.0.1:\(port)"])
    let head = try browser.head()
    #expect(head[0].contains(" 101 "))
    #expect(head.contains { $0.hasSuffix("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") }, "\(head)")
    #expect(try browser.take(14) == [0x82, 12] + Array("RFB 003.008\n".utf8))
    // A frame of a client's is masked, here with nothing.
    try browser.say([0x82, 0x80 | 12, 0, 0, 0, 0] + Array("RFB 003.008\n".utf8))
    #expect(try browser.take(4) == [0x82, 2, 1, 1], "no password is wanted")

    for origin in [["Origin: http://evil.example"], ["Origin: null"]] {
      let page = try Browser(port)
      try page.say(upgrade + ["Host: 127.0.0.1:\(port)"] + origin)
      #expect(try page.head()[0].contains(" 403 "))
    }
    let rebound = try Browser(port)
    try rebound.say(upgrade + ["Host: evil.example:\(port)", "Origin: http://evil.example:\(port)"])
    #expect(try rebound.head()[0].contains(" 403 "))
    // Who says nothing that anybody knows ends nothing but himself.
    let stranger = try Browser(port)
    try stranger.say((0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 7) })
    try VNCViewer(port: port).waitForScreenshot(host, "box")
  }
}
