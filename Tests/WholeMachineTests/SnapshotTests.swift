import Foundation
import Testing

/// Snapshots of running machines, and what is left when one cannot be taken.
@Suite struct SnapshotSystemTests {
  private func box() throws -> (host: TestHost, disk: String) {
    let host = try TestHost()
    try host.create("box", memory: 32, ["--firmware", Guests.bareMetal("walker-dma32.rom"), "--debug-ports", "on"])
    let disk = try host.makeDisk("disk.img", megabytes: 8)
    try host.attach("box", port: 0, disk)
    return (host, disk)
  }

  private func medium(_ host: TestHost) throws -> String { try host.fact("box", "\"IDE-0-0\"") ?? "" }

  private func run(_ host: TestHost, _ program: String, _ arguments: [String]) throws {
    let child = try Child(
      program, arguments, environment: host.environment, streams: .files(folder: host.folder, input: nil))
    #expect(try child.wait(within: 60) == 0, "\(child.output)\(child.errors)")
  }

  @Test("a machine goes on after a snapshot, comes back to it with its memory, and loses nothing when it is deleted")
  func running() throws {
    let (host, disk) = try box()
    try host.vmctl("startvm", "box")
    let first = try #require(try host.waitForHeartbeat("box").last)
    #expect(
      try host.vmctl("snapshot", "box", "take", "one", "--description", "the first").contains("Snapshot taken. UUID: "))
    try host.waitForHeartbeat("box", atLeast: first + 2)
    #expect(try medium(host).hasSuffix(".qcow2"))
    #expect(try host.fact("box", "CurrentSnapshotName") == "one")
    // The disk as it was is not written any more, though the guest writes all the time.
    let frozen = try Data(contentsOf: URL(fileURLWithPath: disk))
    let later = try #require(try host.waitForHeartbeat("box").last)
    try host.waitForHeartbeat("box", atLeast: later + 1)
    #expect(try Data(contentsOf: URL(fileURLWithPath: disk)) == frozen)
    try host.vmctl("snapshot", "box", "take", "two")
    let list = try host.vmctl("snapshot", "box", "list")
    #expect(list.contains("   Name: one (UUID: ") && list.contains("      Name: two (UUID: ") && list.contains(") *\n"))
    let facts = try host.vmctl("snapshot", "box", "list", "--machinereadable")
    #expect(facts.contains("SnapshotName=\"one\"\n") && facts.contains("CurrentSnapshotNode=\"SnapshotName-1\"\n"))
    try host.refused("snapshot", "box", "restore", "one", saying: ["running", "poweroff"])
    try host.refused("snapshot", "box", "delete", "one", saying: ["running", "poweroff"])
    try host.vmctl("controlvm", "box", "poweroff")

    try host.vmctl("snapshot", "box", "restore", "one")
    #expect(try host.state("box") == "saved")
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
    // It sleeps on its new disk, and two snapshots go.
    try host.vmctl("controlvm", "box", "savestate")
    try host.vmctl("snapshot", "box", "delete", "two")
    try host.vmctl("snapshot", "box", "delete", "one")
    #expect(try medium(host) == disk)
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
    try host.vmctl("controlvm", "box", "poweroff")
    #expect(try host.attempt(["snapshot", "box", "list"]).status == 1)
    #expect(try FileManager.default.contentsOfDirectory(atPath: host.home + "/machines/box/snapshots") == [])
  }

  @Test("a machine that sleeps or is paused has snapshots as well, and a teleport takes those disks along")
  func asleep() throws {
    let hosts = try TwoHosts(
      memory: 32, ["--firmware", Guests.bareMetal("walker-dma32.rom"), "--debug-ports", "on"], disk: 8)
    try hosts.start(hosts.a)
    try hosts.a.waitForHeartbeat("box")
    try hosts.a.vmctl("controlvm", "box", "savestate")
    try hosts.a.vmctl("snapshot", "box", "take", "asleep")
    try hosts.a.vmctl("startvm", "box")
    try hosts.a.waitForHeartbeat("box")
    try hosts.a.vmctl("controlvm", "box", "pause")
    try hosts.a.vmctl("snapshot", "box", "take", "paused")
    #expect(try hosts.a.state("box") == "paused")
    try hosts.a.vmctl("controlvm", "box", "resume")
    let overlay = try #require(try hosts.a.fact("box", "\"IDE-0-0\""))
    // The other host does not know yet which disk that is.
    let early = try hosts.send(hosts.a, to: try hosts.await(hosts.b))
    #expect(try early.wait() == 1)
    try hosts.b.vmctl("controlvm", "box", "poweroff")
    try hosts.b.attach("box", port: 0, overlay)
    try hosts.hop(hosts.a, hosts.b)
    try hosts.b.waitForHeartbeat("box")
    try hosts.b.vmctl("controlvm", "box", "poweroff")
    try hosts.a.vmctl("snapshot", "box", "restore", "asleep")
    try hosts.a.vmctl("startvm", "box")
    try hosts.a.waitForHeartbeat("box")
  }

  @Test("a full disk while a snapshot is taken costs nothing")
  func fullDisk() throws {
    let (host, disk) = try box()
    try host.vmctl("startvm", "box")
    let first = try #require(try host.waitForHeartbeat("box").last)
    let process = try #require(host.processID("box"))
    // More than the log, less than the memory.
    try run(host, "prlimit", ["--pid", String(process), "--fsize=100000:"])
    try host.refused("snapshot", "box", "take", "one", saying: ["no snapshot", "is running as before"])
    try host.waitForHeartbeat("box", atLeast: first + 1)
    #expect(try medium(host) == disk)
    #expect(try host.fact("box", "CurrentSnapshotName") == nil)
    #expect(try FileManager.default.contentsOfDirectory(atPath: host.home + "/machines/box/snapshots") == [])
    try run(host, "prlimit", ["--pid", String(process), "--fsize=unlimited:"])
    try host.vmctl("snapshot", "box", "take", "one")
    #expect(try host.fact("box", "CurrentSnapshotName") == "one")
  }

  @Test(
    "a process that is killed while it takes a snapshot leaves a machine that starts, with its disk", arguments: 0..<6)
  func killed(_ moment: Int) throws {
    let (host, _) = try box()
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
    let folder = host.home + "/machines/box/snapshots"
    let command = try host.begin(["snapshot", "box", "take", "one"])
    // From the first byte of its memory to the definition that is written last.
    let sign = ["", ".part", ".state", ".qcow2", ".qcow2", ".qcow2"][moment]
    try poll("a file \(sign)") {
      let files = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
      return sign.isEmpty || files.contains { $0.hasSuffix(sign) } || kill(command.pid, 0) != 0 ? () : nil
    }
    usleep(UInt32(max(moment - 3, 0)) * 1500)
    try host.killMachine("box")
    _ = try command.wait()
    let image = try medium(host)
    if image.hasSuffix(".qcow2") { try run(host, "qemu-img", ["check", "-q", "-f", "qcow2", image]) }
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
    try host.vmctl("snapshot", "box", "take", "two")
    #expect(try host.fact("box", "CurrentSnapshotName") == "two")
    try host.vmctl("controlvm", "box", "poweroff")
    try host.vmctl("snapshot", "box", "restore", "two")
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
  }
}
