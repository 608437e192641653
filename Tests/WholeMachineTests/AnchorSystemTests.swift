import Foundation
import Testing

/// Connections of Debian 12 through NAT that outlive teleports.
extension SystemsTests {
  private static var anchored: [System] {
    System.wanted.filter { $0.accelerator == "translator" }.prefix(1).map { system in
      var system = system
      system.cpus = 1
      return system
    }
  }

  /// Talks to an echo server, a line each 50 ms, and keeps in a file how often that has gone well, or how it has ended. With a
  /// third argument it only listens.
  private static let client = """
    import errno, os, socket, sys, time
    def say(text):
      open(sys.argv[2] + ".new", "w").write(text + chr(10))
      os.replace(sys.argv[2] + ".new", sys.argv[2])
    try:
      s = socket.create_connection(("10.0.2.2", int(sys.argv[1])))
      f = s.makefile("rb")
      n = 0
      if len(sys.argv) > 3:
        say("listening")
        say("ended" if f.readline() == b"" else "spoken to")
        sys.exit()
      while True:
        s.sendall(b"%d\\n" % n)
        line = f.readline()
        if line != b"%d\\n" % n:
          say("got %r" % line)
          break
        n += 1
        say("%d" % n)
        time.sleep(0.05)
    except OSError as e:
      say(errno.errorcode[e.errno])
    """

  /// Loads all that a server sends, and says its SHA-256.
  private static let loader = """
    import hashlib, socket, sys
    s = socket.create_connection(("10.0.2.2", int(sys.argv[1])))
    h = hashlib.sha256()
    while True:
      data = s.recv(65536)
      if not data: break
      h.update(data)
    print(h.hexdigest())
    """

  /// An echo server in the guest.
  private static let server = """
    import socketserver
    class H(socketserver.StreamRequestHandler):
      def handle(self):
        for line in self.rfile: self.wfile.write(line)
    class S(socketserver.ThreadingTCPServer): allow_reuse_address = True
    S(("", 7000), H).serve_forever()
    """

  @Test(
    "connections through NAT live through two teleports byte for byte, and are reset at once when their host is lost",
    arguments: anchored)
  func anchors(_ system: System) throws {
    let patience = system.patience
    let options = [
      "--boot1", "disk", "--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0", "--nic1", "nat",
    ]
    let hosts = try TwoHosts(memory: 512, options)
    let c = try TestHost()
    try c.create("box", memory: 512, options)
    let (a, b) = (hosts.a, hosts.b)
    let address = try #require(try a.fact("box", "macaddress1"))
    for host in [b, c] { try host.modify("box", ["--mac-address1", address]) }
    let disk = hosts.shared + "/disk.img"
    try hosts.run("cp", ["--sparse=always", system.folder + "/disk.img", disk])
    for host in [a, b, c] { try host.attach("box", port: 0, disk) }
    let echo = try EchoServer()
    let sent = hosts.shared + "/sent"
    let stream = try EchoServer(streamingTo: sent)
    let door = try HTTPServer(serving: "/dev/null", uploadTo: "/dev/null").port
    try a.modify("box", ["--nat-pf1", "echo,tcp,,\(door),,7000"])

    try hosts.start(a)
    var console = try a.console("box")
    try console.logIn(within: patience)
    try console.shell(
      "dmesg -n 1; systemctl is-system-running --wait; systemctl stop systemd-timesyncd", within: patience)
    try console.shell("ip addr | grep -q 10.0.2.15 || dhclient -1 -q enp0s3", within: patience)
    for (name, text) in [("client", Self.client), ("server", Self.server), ("loader", Self.loader)] {
      try console.shell("echo \(Data(text.utf8).base64EncodedString()) | base64 -d >/tmp/\(name).py", within: patience)
    }
    func tell(_ file: String) throws -> String {
      try console.shell("cat /tmp/\(file) 2>/dev/null", within: patience).trimmingCharacters(
        in: .whitespacesAndNewlines)
    }
    func begin(_ file: String, _ more: String = "") throws {
      try console.shell(
        "rm -f /tmp/\(file); python3 /tmp/client.py \(echo.port) /tmp/\(file) \(more) >/dev/null 2>&1 &")
      try poll("the connection \(file)", within: patience) { try tell(file) == "" ? nil : () }
    }
    func follow(_ host: TestHost) throws {
      console = try host.console("box")
      try console.send("\n")
      try console.expect("guest# ", within: patience)
    }
    func progress(_ file: String) throws -> Int {
      let text = try tell(file)
      guard let count = Int(text) else { throw Failure("\(file): \(text)") }
      return count
    }
    func expectProgress(_ file: String) throws {
      let before = try progress(file)
      try poll("more of \(file)", within: patience) { try progress(file) > before ? () : nil }
    }
    func anchors(_ host: TestHost) throws -> Int {
      try host.vmctl("list", "anchors").split(separator: "\n").count
    }

    // From the guest: one that talks, one that only listens, a download. From outside: one by the port forward.
    try console.shell("python3 /tmp/server.py >/dev/null 2>&1 &")
    try begin("talks")
    try begin("listens", "only")
    try console.shell("python3 /tmp/loader.py \(stream.port) >/tmp/sum 2>&1 &")
    let visitor = try poll("the guest's server", within: patience) {
      EchoServer.Client(port: door).flatMap { $0.echo("first") == "first" ? $0 : nil }
    }
    try poll("the flows in the machine's information", within: patience) {
      try a.fact("box", "natflows1")?.hasPrefix("4 TCP") == true ? () : nil
    }
    #expect(try a.fact("box", "natcarried1") == "0")
    #expect(try anchors(a) == 0)

    for (index, (from, to)) in [(a, b), (b, c)].enumerated() {
      // The first time encrypted, with what follows on the anchor's link; from host to host there is no other way.
      let secret = try to.write("secret", Array("open sesame\n".utf8))
      let port = try hosts.await(to, index == 0 ? ["--teleporter-password-file", secret] : [])
      let child = try hosts.send(from, to: port, index == 0 ? ["--passwordfile", secret] : [])
      guard try child.wait() == 0, let figures = Figures(child.output) else { throw Failure(child.errors) }
      print("anchors: teleport in \(figures.seconds) s, down \(figures.downtimeMS) ms")
      try follow(to)
      try expectProgress("talks")
      #expect(visitor.echo("after \(index)") == "after \(index)")
      #expect(try tell("listens") == "listening")
      #expect(try tell("sum") == "", "it is still being loaded")
      // Those of the first host, and one of each host since.
      #expect(try to.fact("box", "natcarried1") == "\(4 + index)")
      #expect(try anchors(from) == 1, "\(from.log("box").suffix(1000))")
      #expect(try from.fact("box", "anchor(0)")?.contains("--nat-anchor1 off ends it") == true)
      // The door on the first host leads to where the machine is now, and new connections of the guest's start there.
      let late = try #require(EchoServer.Client(port: door))
      #expect(late.echo("late \(index)") == "late \(index)")
      try begin("new\(index)")
    }
    #expect(try c.fact("box", "natflows1")?.hasPrefix("1 TCP") == true, "the newest is this host's own")
    try stream.finish()
    let sum = try poll("the end of the download", within: patience) {
      let text = try tell("sum")
      return text.isEmpty ? nil : text
    }
    let child = try Child(
      "/usr/bin/sha256sum", [sent], environment: a.environment, streams: .files(folder: hosts.shared, input: nil))
    #expect(try child.wait(within: 300) == 0)
    #expect(sum == child.output.prefix(64), "byte for byte")

    // The first host is lost.
    let process = try #require(Int32(try a.fact("box", "anchorprocess(0)") ?? ""))
    kill(process, SIGKILL)
    try poll("the end of who listens", within: patience) { try tell("listens") == "listening" ? nil : () }
    #expect(try tell("listens") == "ECONNRESET", "it is told without asking")
    try poll("the end of who talks", within: patience) { Int(try tell("talks")) == nil ? () : nil }
    #expect(try tell("talks") == "ECONNRESET")
    #expect(visitor.echo("too late") == nil)
    try expectProgress("new0")
    try expectProgress("new1")
    #expect(try anchors(a) == 0)
    #expect(try a.fact("box", "anchor(0)") == nil)

    // Nothing is left on the second when its last connection has ended.
    try console.shell("pkill -f /tmp/new0")
    try poll("the end of the second anchor", within: patience) { try anchors(b) == 0 ? () : nil }

    // Not wanted: lost on the way.
    try c.modify("box", ["--nat-anchor1", "off"])
    try hosts.hop(c, a)
    try follow(a)
    try poll("the end of the connection", within: patience) { Int(try tell("new1")) == nil ? () : nil }
    #expect(try tell("new1") == "ECONNRESET")
    #expect(try anchors(c) == 0)
    // No longer wanted: lost then.
    try begin("last")
    try hosts.hop(a, b, ["--passwordfile", b.folder + "/secret"])
    try follow(b)
    try expectProgress("last")
    try a.refused("startvm", "box", saying: ["port \(door)/tcp is held by this host's anchor", "--nat-anchor1 off"])
    try expectProgress("last")
    let change = try a.attempt(["modifyvm", "box", "--nat-anchor1", "off"])
    #expect(change.status == 0 && change.errors.contains("that this host carried for the machine at"), "\(change)")
    #expect(change.errors.contains("end: 1 TCP (tcp 10.0.2.15:"), "which: \(change)")
    #expect(try anchors(a) == 0)
    try poll("the end of the connection", within: patience) { Int(try tell("last")) == nil ? () : nil }
    #expect(try tell("last") == "ECONNRESET")
    try b.waitForLog("box", "1 connection is reset")
    #expect(try b.fact("box", "natresets1") == "1")

    // What ends with the machine elsewhere is told.
    try c.modify("box", ["--nat-anchor1", "on"])
    try begin("final")
    try hosts.hop(b, c)
    try follow(c)
    try expectProgress("final")
    let end = try c.attempt(["controlvm", "box", "poweroff"])
    #expect(end.status == 0 && end.errors.contains("other hosts carry for network card 1 end: 1 TCP by"), "\(end)")
    #expect(end.errors.contains("(tcp 10.0.2.15:"), "which: \(end)")
    try poll("the end of the anchor", within: patience) { try anchors(b) == 0 ? () : nil }
  }
}
