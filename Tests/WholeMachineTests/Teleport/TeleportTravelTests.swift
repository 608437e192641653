import Foundation
import Testing

/// Machines that travel and are whole where they arrive.
@Suite struct TeleportTravelTests {
  /// Reads the proof with all of memory, whatever it costs.
  private static let fullProof = ["VMCTL_TELEPORT_VERIFY": "full"]

  private func travel(_ hosts: TwoHosts, hops: Int, _ eachTime: (TestHost) throws -> Void) throws -> TestHost {
    var (here, there) = (hosts.a, hosts.b)
    for _ in 0..<hops {
      let port = try hosts.await(there, [], Self.fullProof)
      let child = try hosts.send(here, to: port)
      guard try child.wait() == 0 else { throw Failure("teleport: \(child.errors)\n\(there.log("box"))") }
      #expect(try there.fact("box", "teleporterenabled") == "off")
      #expect(try here.state("box") == "teleported")
      (here, there) = (there, here)
      try eachTime(here)
    }
    return here
  }

  @Test(
    "a guest that writes all of its memory at full speed is whole after many hops",
    arguments: [("walker32", 20), ("walker64", 8)])
  func walker(_ guest: String, _ hops: Int) throws {
    let hosts = try TwoHosts(guest: guest)
    try hosts.start(hosts.a, Self.fullProof)
    let last = try travel(hosts, hops: hops) { here in try here.console("box").expect("heartbeat") }
    // Two heartbeats' steps look at every one of its pages.
    try hosts.expectAlive(last, beats: 3)
    #expect(!last.log("box").contains("FAIL"))
  }

  @Test("a guest whose disk writes its memory is whole after 8 hops, and its disk with it")
  func diskWalker() throws {
    let hosts = try TwoHosts(guest: "walker-dma32", disk: 8)
    try hosts.start(hosts.a, Self.fullProof)
    try hosts.a.console("box").expect("heartbeat")
    let last = try travel(hosts, hops: 8) { here in try here.console("box").expect("heartbeat") }
    try hosts.expectAlive(last, beats: 10)
  }

  @Test(
    "a guest that pings, misuses its network card and restarts it does so after each hop, and with the cable out and in again",
    arguments: BareMetalTests.cards.keys.sorted())
  func rings(_ guest: String) throws {
    let card = try #require(BareMetalTests.cards[guest])
    let hosts = try TwoHosts(
      memory: 32,
      [
        "--kernel", Guests.bareMetal(guest + "32.elf"), "--append", "forever=1", "--debug-ports", "on", "--uart1",
        "0x3F8",
        "4", "--uart-mode1", "tcpserver", "0", "--nic1", "nat", "--nic-type1", card,
      ])
    try hosts.b.modify("box", ["--mac-address1", try #require(try hosts.a.fact("box", "macaddress1"))])
    try hosts.start(hosts.a, Self.fullProof)
    try hosts.a.console("box").expect("heartbeat")
    let last = try travel(hosts, hops: 3) { here in
      let console = try here.console("box")
      for _ in 0..<3 { try console.expect("heartbeat") }
    }
    // The others' guests see no link.
    if ["82540EM", "virtio"].contains(card) {
      let console = try last.console("box")
      try last.vmctl("controlvm", "box", "setlinkstate1", "off")
      try console.expect("link down")
      try last.vmctl("controlvm", "box", "setlinkstate1", "on")
      try console.expect("link up")
    }
    try hosts.expectAlive(last, beats: 3)
    #expect(!last.log("box").contains("FAIL"))
  }

  @Test(
    "Linux travels 20 times while its workload checks its memory; editor, shell and console go on",
    .enabled(if: Guests.hasLinux))
  func linux() throws {
    let hosts = try TwoHosts(memory: 256, Guests.linux(append: "workload=32 beat=200"))
    try hosts.start(hosts.a, Self.fullProof)
    var console = try hosts.a.console("box")
    try console.expect("guest# ")
    try console.expect("heartbeat")
    let before = try console.uptime()
    try console.send("vi letter\n")
    // What is typed before the editor has its screen is lost, as on any terminal.
    try console.expect("~")
    try console.send("iwritten on A, ")
    var figures = try hosts.hop(hosts.a, hosts.b)
    // How long is scripts/benchmark-teleport's to say: here other tests have the computer.
    #expect(figures.downtimeMS > 0)
    console = try hosts.b.console("box")
    try console.send("and on B")
    try console.leaveInsertMode("letter")
    try console.send(":wq\n")
    try console.expect("guest# ")
    try console.send("cat letter; place=$((6 * 7))\n")
    try console.expect("written on A, and on B\r\n")
    try console.expect("guest# ")
    let after = try console.uptime()
    #expect(after > before, "the guest's clock goes on where it was")
    var (here, there) = (hosts.b, hosts.a)
    for _ in 0..<19 {
      figures = try hosts.hop(here, there)
      (here, there) = (there, here)
    }
    console = try here.console("box")
    try console.send("\necho $place-$place; cat letter\n")
    try console.expect("42-42\r\n")
    try console.expect("written on A, and on B")
    let seen = try console.expect("heartbeat") + console.expect("heartbeat") + console.expect(" ok")
    #expect(!seen.contains("MEMORY ERROR"))
    #expect(try console.uptime() > after)
  }

  @Test(
    "Linux with several CPUs travels, is saved and travels on, in the translator", .enabled(if: Guests.hasLinux),
    arguments: [2, 4])
  func severalCPUs(_ cpus: Int) throws {
    let options = Guests.linux(append: "workload=16 beat=200") + ["--cpus", String(cpus), "--accel", "translator"]
    let hosts = try TwoHosts(memory: 256, options)
    try hosts.start(hosts.a, Self.fullProof)
    var console = try hosts.a.console("box")
    try console.expect("guest# ")
    // One checker for each CPU, and the one that is there already.
    for _ in 0..<cpus { try console.send("memcheck 8 2000 20 &\n") }
    try console.send("nproc >n; echo $(cat n) CPUs\n")
    try console.expect("\n\(cpus) CPUs")
    var (here, there) = (hosts.a, hosts.b)
    for hop in 0..<3 {
      let port = try hosts.await(there, [], Self.fullProof)
      let child = try hosts.send(here, to: port)
      guard try child.wait() == 0 else { throw Failure("teleport: \(child.errors)") }
      (here, there) = (there, here)
      if hop == 1 {
        try here.vmctl("controlvm", "box", "savestate")
        try hosts.start(here, Self.fullProof)
      }
    }
    console = try here.console("box")
    var seen = ""
    for _ in 0..<10 { seen += try console.expect("heartbeat") }
    try console.send("\necho all: $(cat n) $(grep -c ^processor /proc/cpuinfo) $(pidof memcheck | wc -w) there\n")
    seen += try console.expect("\nall: \(cpus) \(cpus) \(cpus + 1) there")
    #expect(!seen.contains("MEMORY ERROR"))
  }

  @Test("a guest that writes faster than the connection takes it is slowed down until the rest fits")
  func busy() throws {
    let hosts = try TwoHosts(guest: "walker32")
    try hosts.start(hosts.a)
    try hosts.expectAlive(hosts.a)
    let proxy = try TCPProxy(to: try hosts.await(hosts.b), bytesPerSecond: 12_000_000)
    let command = try hosts.send(hosts.a, to: proxy.port, ["--maxdowntime", "50"])
    #expect(try command.wait() == 0, "\(command.errors)")
    #expect((command.output + command.errors).contains("guest slowed by"))
    try hosts.expectRunsOnly(hosts.b)
  }

  @Test("a paused machine arrives paused, and goes on there")
  func paused() throws {
    let hosts = try TwoHosts(guest: "walker32")
    try hosts.start(hosts.a, Self.fullProof)
    try hosts.expectAlive(hosts.a)
    try hosts.a.vmctl("controlvm", "box", "pause")
    try hosts.hop(hosts.a, hosts.b)
    #expect(try hosts.b.state("box") == "paused")
    try hosts.hop(hosts.b, hosts.a)
    #expect(try hosts.a.state("box") == "paused")
    try hosts.a.vmctl("controlvm", "box", "resume")
    try hosts.expectAlive(hosts.a, beats: 3)
  }

  @Test("a saved machine goes on, travels, is saved there and goes on again")
  func saved() throws {
    let hosts = try TwoHosts(guest: "walker64", disk: 1)
    try hosts.start(hosts.a)
    try hosts.expectAlive(hosts.a)
    try hosts.a.vmctl("controlvm", "box", "savestate")
    #expect(try hosts.a.state("box") == "saved")
    try hosts.a.refused("modifyvm", "box", "--memory", "32", saying: ["saved state"])
    try hosts.start(hosts.a)
    try hosts.expectAlive(hosts.a)
    try hosts.hop(hosts.a, hosts.b)
    try hosts.b.vmctl("controlvm", "box", "savestate")
    try hosts.start(hosts.b)
    try hosts.expectRunsOnly(hosts.b)
    try hosts.hop(hosts.b, hosts.a)
    try hosts.expectAlive(hosts.a, beats: 3)
  }

  @Test("what was typed before and after the hop arrives in order")
  func typed() throws {
    let hosts = try TwoHosts(guest: "walker32")
    try hosts.start(hosts.a)
    try hosts.expectAlive(hosts.a)
    // More than the UART's FIFO holds, faster than the guest reads: the rest travels with the machine.
    try hosts.a.vmctl("controlvm", "box", "pause")
    let before = try hosts.a.console("box")
    try before.send("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz")
    usleep(200_000)
    try hosts.hop(hosts.a, hosts.b)
    let console = try hosts.b.console("box")
    try hosts.b.vmctl("controlvm", "box", "resume")
    var echo = ""
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ" { echo += try console.expect(String(letter)) }
    #expect(!echo.contains("FAIL"))
    try console.send("x")
    try console.expect("X")
  }
}
