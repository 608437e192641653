import Foundation
import Testing

/// Debian 12 on the host's network, by its own driver of the card.
extension SystemsTests {
  private static var network: [System] {
    System.wanted.filter { $0.accelerator == "translator" }.prefix(1).map { system in
      var system = system
      system.cpus = 1
      return system
    }
  }

  @Test(
    "a distribution gets an address, loads and sends 200 MB unharmed, is reached from outside, and goes on after a journey",
    arguments: network)
  func network(_ system: System) throws {
    let patience = system.patience
    let hosts = try TwoHosts(
      memory: 512,
      [
        "--boot1", "disk", "--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0", "--nic1", "nat", "--nic-trace1",
        "on",
      ])
    let address = try #require(try hosts.a.fact("box", "macaddress1"))
    try hosts.b.modify("box", ["--mac-address1", address])
    let disk = hosts.shared + "/disk.img"
    try hosts.run("cp", ["--sparse=always", system.folder + "/disk.img", disk])
    for host in [hosts.a, hosts.b] { try host.attach("box", port: 0, disk) }
    let big = hosts.shared + "/big"
    try hosts.run("dd", ["if=/dev/urandom", "of=\(big)", "bs=1000000", "count=200", "status=none"])
    let sum = try hosts.sum(big)
    let server = try HTTPServer(serving: big, uploadTo: hosts.shared + "/uploaded")
    let server6 = try HTTPServer(serving: big, uploadTo: hosts.shared + "/uploaded6", family: AF_INET6)

    let names = try NameServer.forRoot(folder: hosts.shared)
    try hosts.start(hosts.a, resolvingBy: names)
    var console = try hosts.a.console("box")
    try console.logIn(within: patience)
    try console.shell("dmesg -n 1")
    #expect(try console.shell("basename $(readlink /sys/class/net/enp0s3/device/driver)") == "e1000\n")
    let mac = try console.shell("cat /sys/class/net/enp0s3/address")
    #expect(mac.filter(\.isHexDigit).uppercased() == address)

    // The network by itself: an address, the gateway, both ways, both protocols.
    try console.shell("dhclient -1 -q enp0s3", within: patience)
    #expect(try console.shell("hostname -I").contains("10.0.2.15"))
    #expect(try console.shell("ping -c 3 -i 0.2 10.0.2.2 >/dev/null && echo yes", within: patience) == "yes\n")
    try poll("an address of IPv6", within: patience) {
      try console.shell("ip -6 addr show dev enp0s3 scope site | grep -c fec0").hasPrefix("1") ? () : nil
    }
    #expect(try console.shell("ping -6 -c 3 -i 0.2 fec0::2 >/dev/null && echo yes", within: patience) == "yes\n")

    if let names {
      #expect(try console.shell("getent ahostsv4 guest.vmctl.test", within: patience).hasPrefix("192.0.2.77 "))
      #expect(try console.shell("getent ahostsv4 nobody.vmctl.test || echo none", within: patience) == "none\n")
      #expect(names.asked.contains("guest.vmctl.test"))
    } else {
      print("network: names are not tried: only root can give a machine another resolv.conf")
    }

    let load = "wget -qO - http://10.0.2.2:\(server.port)/ | sha256sum"
    #expect(try console.shell(load, within: patience).hasPrefix(sum))
    #expect(
      try console.shell("wget -qO - 'http://[fec0::2]:\(server6.port)/' | sha256sum", within: patience).hasPrefix(sum))
    try console.shell("head -c 50000000 /dev/urandom >/tmp/file", within: patience)
    #expect(
      try console.shell(
        "wget -qO - --method=PUT --body-file=/tmp/file http://10.0.2.2:\(server.port)/", within: patience
      )
      .hasSuffix("done"))
    #expect(try console.shell("sha256sum </tmp/file", within: patience).hasPrefix(try hosts.sum(server.uploaded)))

    // A way in, made while it runs, and its conflicts.
    try console.shell("python3 -m http.server -d /etc 8000 >/dev/null 2>&1 &")
    let port = try hosts.a.freePort()
    try hosts.a.vmctl("controlvm", "box", "natpf1", "web,tcp,,\(port),,8000")
    try poll("the guest's server", within: patience) { HTTPServer.get(port, "/hostname") == "debian\n" ? () : nil }
    try hosts.a.refused(
      "controlvm", "box", "natpf1", "other,tcp,,\(server.port),,1", saying: ["\(server.port)/tcp is in use"])
    try hosts.a.refused("controlvm", "box", "natpf1", "delete", "nobody", saying: ["no port forward"])
    try hosts.a.refused("controlvm", "box", "natpf2", "a,tcp,,1,,1", saying: ["no network card 2"])
    #expect(try hosts.a.fact("box", "Forwarding(0)") == "web,tcp,,\(port),,8000")

    // The cable.
    try hosts.a.vmctl("controlvm", "box", "setlinkstate1", "off")
    try poll("no carrier", within: patience) {
      try console.shell("cat /sys/class/net/enp0s3/carrier") == "0\n" ? () : nil
    }
    try hosts.a.vmctl("controlvm", "box", "setlinkstate1", "on")
    try poll("a carrier", within: patience) {
      try console.shell("cat /sys/class/net/enp0s3/carrier") == "1\n" ? () : nil
    }

    // The NAT process dies: another one takes its place, and the guest gets on.
    let process = try #require(hosts.a.natProcess("box"))
    kill(process, SIGKILL)
    try poll("another NAT process", within: patience) { try hosts.a.fact("box", "natrestarts1") == "1" ? () : nil }
    #expect(try console.shell("ping -c 3 -i 0.2 10.0.2.2 >/dev/null && echo yes", within: patience) == "yes\n")
    try poll("the guest's server again", within: patience) {
      HTTPServer.get(port, "/hostname") == "debian\n" ? () : nil
    }

    // A login by ssh, which stays through the journey.
    try console.shell("systemctl start ssh", within: patience)
    let door = try hosts.a.freePort()
    try hosts.a.vmctl("controlvm", "box", "natpf1", "ssh,tcp,,\(door),,22")
    let shell = try SecureShell(folder: hosts.shared, port: door) { key in
      try console.shell("install -d -m 700 /root/.ssh; echo '\(key)' >/root/.ssh/authorized_keys", within: patience)
    }
    let before = try shell.ask("before")
    #expect(before.hasSuffix(" before\n"))

    // A journey: the address is the same, the network is another.
    try hosts.hop(hosts.a, hosts.b)
    console = try hosts.b.console("box")
    try console.send("\n")
    try console.expect("guest# ", within: patience)
    #expect(try console.shell(load, within: patience).hasPrefix(sum))
    #expect(Int(try hosts.b.fact("box", "nicbytesreceived1") ?? "") ?? 0 > 200_000_000)
    let trace = try #require(FileManager.default.contents(atPath: hosts.b.home + "/machines/box/nic1.pcap"))
    #expect(trace.range(of: Data([0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3])) != nil, "it was announced there")
    // The same shell, by the door of the host that it has left.
    let after = try shell.ask("after")
    #expect(after == before.replacingOccurrences(of: "before", with: "after"))
    #expect(try shell.leave() == 0, "\(shell.errors)")

    // What a saved state takes for an open connection is not: who listens on it is told without asking.
    let echo = try EchoServer()
    let listener = """
      import errno, socket
      s = socket.create_connection(("10.0.2.2", \(echo.port)))
      print("listening", flush=True)
      try: s.recv(1)
      except OSError as e: print(errno.errorcode[e.errno], flush=True)
      """
    try console.shell(
      "echo \(Data(listener.utf8).base64EncodedString()) | base64 -d >/tmp/listener.py", within: patience)
    try console.shell("python3 /tmp/listener.py >/tmp/heard 2>&1 &")
    try poll("the connection", within: patience) { try console.shell("cat /tmp/heard") == "listening\n" ? () : nil }
    try hosts.b.vmctl("controlvm", "box", "savestate")
    try poll("the end of its process") { hosts.b.processID("box") == nil ? () : nil }
    try hosts.start(hosts.b)
    console = try hosts.b.console("box")
    try console.send("\n")
    try console.expect("guest# ", within: patience)
    try poll("the end of the connection", within: patience) {
      try console.shell("cat /tmp/heard") == "listening\nECONNRESET\n" ? () : nil
    }
    #expect(try console.shell(load, within: patience).hasPrefix(sum))
    try hosts.b.vmctl("controlvm", "box", "poweroff")
  }
}

extension HTTPServer {
  /// What a server on this host's loopback address has at a path; nil when it does not answer.
  static func get(_ port: Int, _ path: String) -> String? {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let status = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    let request = Array("GET \(path) HTTP/1.0\r\n\r\n".utf8)
    var patience = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    guard status == 0, send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
      return nil
    }
    var answer: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while answer.count < 1 << 20 {
      let count = read(descriptor, &chunk, chunk.count)
      guard count > 0 else { break }
      answer += chunk[..<count]
    }
    let text = String(decoding: answer, as: UTF8.self)
    return text.range(of: "\r\n\r\n").map { String(text[$0.upperBound...]) }
  }
}

extension TestHost {
  /// A port of the loopback address that nobody had when it was asked for.
  func freePort() throws -> Int {
    try HTTPServer(serving: "/dev/null", uploadTo: "/dev/null").port
  }

  /// The NAT process of a machine: a child of the keeper, which is a child of the machine's process.
  func natProcess(_ name: String) -> pid_t? {
    guard let machine = processID(name) else { return nil }
    func children(_ parent: pid_t) -> [pid_t] {
      let text = FileManager.default.contents(atPath: "/proc/\(parent)/task/\(parent)/children") ?? Data()
      return String(decoding: text, as: UTF8.self).split(separator: " ").compactMap { pid_t($0) }
    }
    return children(machine).flatMap(children).first
  }
}

extension TwoHosts {
  /// SHA-256 of a file, in hexadecimal.
  fileprivate func sum(_ path: String) throws -> String {
    let child = try Child(
      "/usr/bin/sha256sum", [path], environment: a.environment, streams: .files(folder: shared, input: nil))
    guard try child.wait(within: 300) == 0 else { throw Failure("sha256sum: \(child.errors)") }
    return String(child.output.prefix(64))
  }
}
