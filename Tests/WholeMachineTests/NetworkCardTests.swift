import Foundation
import Testing

/// Debian on a virtio disk with a card of each model, each on an address translation of its own: the drivers of a whole
/// distribution, for 64 and for 32 bits.
@Suite(
  .enabled(if: !System.wanted.isEmpty, "needs the disk images of Debian: run scripts/build-system as root"),
  .serialized)
struct NetworkCardTests {
  private static let models = ["virtio", "Am79C973", "NE2000PCI", "82540EM", "NE2000ISA"]
  private static let drivers = ["virtio_net", "pcnet32", "ne2k-pci", "e1000", "ne"]
  private static let payload = (0..<3 << 20).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9) }

  @Test("each card's driver sends and receives, before and after a teleport in the middle", arguments: System.wanted)
  func cards(_ system: System) throws {
    let patience = system.patience
    // Kernels for 64 bits have no driver for the ISA bus.
    let models = system.architecture == "amd64" ? Array(Self.models.dropLast()) : Self.models
    var options = [
      "--cpus", String(system.cpus), "--accel", system.accelerator, "--boot1", "disk", "--virtio-rng", "on", "--uart1",
      "0x3F8", "4", "--uart-mode1", "tcpserver", "0",
    ]
    for (index, model) in models.enumerated() {
      let slot = index + 1
      options += ["--nic\(slot)", "nat", "--nic-type\(slot)", model, "--mac-address\(slot)", "02000000000\(slot)"]
      options += ["--nat-net\(slot)", "10.0.\(slot + 10).0/24"]
    }
    let hosts = try TwoHosts(memory: 512, options)
    let disk = hosts.shared + "/disk.img"
    try hosts.run("cp", ["--sparse=always", system.folder + "/disk.img", disk])
    for host in [hosts.a, hosts.b] {
      try host.vmctl("storagectl", "box", "--name", "Virtio", "--add", "virtio")
      try host.vmctl("storageattach", "box", "--storagectl", "Virtio", "--type", "hdd", "--medium", disk)
    }
    let server = try ByteServer(Self.payload)
    try hosts.start(hosts.a)
    var console = try hosts.a.console("box")
    try console.logIn(within: patience)
    #expect(try console.shell("lsblk -dno NAME", within: patience) == "vda\n", "the system's disk is on virtio")
    #expect(try console.shell("cat /sys/class/misc/hw_random/rng_current", within: patience).contains("virtio"))
    #expect(
      try console.shell("dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c", within: patience) == "64\n")

    let right = try hosts.sha256(of: Self.payload)
    for slot in 1...models.count {
      let name = try interface(slot, console, patience)
      let driver = try console.shell(
        "basename $(readlink /sys/class/net/\(name)/device/driver/module)", within: patience)
      #expect(
        driver.trimmingCharacters(in: .newlines).replacing("_", with: "-")
          == Self.drivers[slot - 1].replacing("_", with: "-"))
      try console.shell("dhclient -1 \(name)", within: patience)
      let address = try console.shell("ip -4 -o address show dev \(name)", within: patience)
      #expect(address.contains("inet 10.0.\(slot + 10).15/24"), "\(models[slot - 1]): \(address)")
      let pings = try console.shell("ping -c 3 -i 0.2 10.0.\(slot + 10).2 | grep -c 'bytes from'", within: patience)
      #expect(pings == "3\n", "\(models[slot - 1])")
      let sum = try console.shell("bash -c 'sha256sum <\(path(slot, server.port))'", within: patience)
      #expect(sum.hasPrefix(right), "\(models[slot - 1]) receives what was sent")
      server.forgetReceived()
      try console.shell(
        "bash -c 'exec 3<>\(path(slot, server.port)); head -c 1000000 /dev/zero >&3; sha256sum <&3'", within: patience)
      try poll("what \(models[slot - 1]) sends", within: patience) { server.received >= 1_000_000 ? () : nil }
    }

    // Every card is at work in the middle of a teleport; what it does afterwards is right again.
    for slot in 1...models.count {
      try console.shell(
        "(while :; do bash -c 'sha256sum <\(path(slot, server.port))'; sleep 0.1; done) >/tmp/sums\(slot) 2>/dev/null &",
        within: patience)
    }
    func sums(_ slot: Int, _ console: ConsoleClient) throws -> Int {
      let text = try console.shell("grep -c ^\(right) /tmp/sums\(slot)", within: patience)
      return Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0
    }
    for slot in 1...models.count {
      try poll("a download by \(models[slot - 1])", within: patience) { try sums(slot, console) > 0 ? () : nil }
    }
    let figures = try hosts.hop(hosts.a, hosts.b)
    print("network cards: \(system.testDescription): down \(figures.downtimeMS) ms")
    console = try hosts.b.console("box")
    try console.send("\n")
    try console.expect("guest# ", within: patience)
    for slot in 1...models.count {
      let before = try sums(slot, console)
      try poll("downloads by \(models[slot - 1]) over there", within: patience) {
        try sums(slot, console) > before + 1 ? () : nil
      }
    }
    let troubles = "BUG|Oops|lockup|Call Trace|segfault|general protection|hung|panic|NETDEV WATCHDOG|I/O error"
    #expect(try console.shell("dmesg | grep -E '\(troubles)'", within: patience) == "")
    try console.send("systemctl poweroff\n")
    try console.expect("reboot: Power down", within: patience)
    try hosts.b.waitForState("box", "poweroff")
    try hosts.run("e2fsck", ["-fn", disk + "?offset=1048576"])
  }

  /// What the host's server is called by the guest, through a card.
  private func path(_ slot: Int, _ port: UInt16) -> String { "/dev/tcp/10.0.\(slot + 10).2/\(port)" }

  /// What the guest calls a card.
  private func interface(_ slot: Int, _ console: ConsoleClient, _ patience: Double) throws -> String {
    if slot == 5 { try console.shell("modprobe ne", within: patience) }
    let file = try console.shell(
      "grep -l 02:00:00:00:00:0\(slot) /sys/class/net/*/address", within: patience)
    let parts = file.trimmingCharacters(in: .whitespacesAndNewlines).split(separator: "/")
    guard parts.count == 5 else { throw Failure("the guest has no card \(slot): \(file)") }
    return String(parts[3])
  }
}

extension TwoHosts {
  /// As the host's own program computes it.
  fileprivate func sha256(of bytes: [UInt8]) throws -> String {
    let path = try a.write("payload", bytes)
    let child = try Child("sha256sum", [path], environment: a.environment, streams: .files(folder: shared, input: nil))
    guard try child.wait(within: 60) == 0 else { throw Failure("sha256sum: \(child.errors)") }
    return String(child.output.prefix(64))
  }
}

/// A server on a free port of the loopback that sends the same bytes to everybody, and counts what comes.
private final class ByteServer: @unchecked Sendable {
  let port: UInt16
  private let socket: Int32
  private let payload: [UInt8]
  private let lock = NSLock()
  private var count = 0

  var received: Int { lock.withLock { count } }
  func forgetReceived() { lock.withLock { count = 0 } }

  init(_ payload: [UInt8]) throws {
    self.payload = payload
    socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) { [socket] pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(socket, $0, length) == 0 && listen(socket, 64) == 0 && getsockname(socket, $0, &length) == 0
      }
    }
    guard isBound else { throw Failure("cannot listen: \(String(cString: strerror(errno)))") }
    port = UInt16(bigEndian: address.sin_port)
    let (listener, bytes) = (socket, payload)
    Thread.detachNewThread { [weak self] in
      while true {
        let client = accept(listener, nil, nil)
        guard client >= 0 else { return }
        Thread.detachNewThread { [weak self] in self?.serve(client, bytes) }
      }
    }
  }

  deinit {
    shutdown(socket, Int32(SHUT_RDWR))
    close(socket)
  }

  /// Reads while it sends, so that who sends first is not kept waiting.
  private func serve(_ client: Int32, _ bytes: [UInt8]) {
    let hasSent = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      var done = 0
      while done < bytes.count {
        let sent = bytes.withUnsafeBytes {
          send(client, $0.baseAddress! + done, $0.count - done, Int32(MSG_NOSIGNAL))
        }
        guard sent > 0 else { break }
        done += sent
      }
      shutdown(client, Int32(SHUT_WR))
      hasSent.signal()
    }
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let got = read(client, &buffer, buffer.count)
      guard got > 0 else { break }
      lock.withLock { count += got }
    }
    shutdown(client, Int32(SHUT_RDWR))
    hasSent.wait()
    close(client)
  }
}
