import Foundation
import Testing

/// A machine's life as its folder and its process tell it. The guest is a small one that never ends.
@Suite struct LifecycleTests {
  private func hostWithWalker(_ options: [String] = []) throws -> TestHost {
    let host = try TestHost()
    try host.create(
      "box", memory: 32, ["--firmware", Guests.bareMetal("walker32.rom"), "--debug-ports", "on"] + options)
    return host
  }

  @Test("a machine goes through its states and startvm comes back when it runs")
  func states() throws {
    let host = try hostWithWalker()
    #expect(try host.state("box") == "poweroff")
    try host.vmctl("startvm", "box")
    #expect(try host.state("box") == "running")
    #expect(try host.vmctl("list", "runningvms").contains("\"box\""))
    try host.waitForHeartbeat("box")
    try host.vmctl("controlvm", "box", "pause")
    #expect(try host.state("box") == "paused")
    try host.refused("controlvm", "box", "pause", saying: ["paused", "running"])
    try host.vmctl("controlvm", "box", "resume")
    #expect(try host.state("box") == "running")
    try host.vmctl("controlvm", "box", "reset")
    #expect(try host.state("box") == "running")
    try host.vmctl("controlvm", "box", "poweroff")
    #expect(try host.state("box") == "poweroff")
    #expect(try host.vmctl("list", "runningvms") == "")
    try host.refused("controlvm", "box", "pause", saying: ["\"box\"", "poweroff"])
  }

  @Test("a paused machine stands still and a resumed one goes on")
  func pause() throws {
    let host = try hostWithWalker()
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
    try host.vmctl("controlvm", "box", "pause")
    let before = try host.vmctl("debugvm", "box", "getregisters")
    // Long enough to see it move if it did.
    usleep(300_000)
    #expect(try host.vmctl("debugvm", "box", "getregisters") == before)
    let last = host.heartbeats("box").last ?? 0
    try host.vmctl("controlvm", "box", "resume")
    try host.waitForHeartbeat("box", atLeast: last + 2)
    #expect(!host.log("box").contains("FAIL"))
  }

  @Test("a machine whose process is killed is aborted, and starts again")
  func killed() throws {
    let host = try hostWithWalker()
    for _ in 0..<2 {
      try host.vmctl("startvm", "box")
      try host.waitForHeartbeat("box")
      try host.killMachine("box")
      #expect(try host.state("box") == "aborted")
      try host.refused("controlvm", "box", "pause", saying: ["aborted"])
    }
    try host.vmctl("startvm", "box")
    #expect(try host.state("box") == "running")
  }

  @Test("^C and SIGTERM power a machine in the foreground off", arguments: [SIGINT, SIGTERM])
  func foreground(_ signal: Int32) throws {
    let host = try hostWithWalker()
    let child = try host.begin(["startvm", "box", "--foreground"])
    try host.waitForHeartbeat("box")
    child.signal(signal)
    #expect(try child.wait() == 0)
    #expect(try host.state("box") == "poweroff")
  }

  @Test("what must not be done to a running machine is refused, and it runs on")
  func refusedWhileRunning() throws {
    let host = try hostWithWalker()
    try host.vmctl("startvm", "box")
    try host.refused("startvm", "box", saying: ["\"box\"", "runs already"])
    try host.refused("unregistervm", "box", "--delete", saying: ["\"box\"", "running", "poweroff"])
    try host.refused("unregistervm", "box", saying: ["\"box\"", "running"])
    try host.refused("modifyvm", "box", "--memory", "64", saying: ["\"box\"", "running", "poweroff"])
    try host.refused("modifyvm", "box", "--name", "other", saying: ["\"box\"", "running"])
    try host.refused("storagectl", "box", "--name", "IDE", "--add", "ide", saying: ["\"box\"", "running"])
    try host.refused("discardstate", "box", saying: ["\"box\"", "no saved state"])
    #expect(try host.state("box") == "running")
    try host.vmctl("controlvm", "box", "poweroff")
    try host.vmctl("unregistervm", "box", "--delete")
    #expect(try host.vmctl("list", "vms") == "")
    #expect(!FileManager.default.fileExists(atPath: host.home + "/machines/box"))
  }

  @Test("a console port that is in use keeps a machine from starting, by name")
  func portInUse() throws {
    let host = try hostWithWalker(["--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0"])
    try host.vmctl("startvm", "box")
    let port = try #require(try host.fact("box", "uartport1"))
    try host.create("other", ["--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", port])
    try host.refused("startvm", "other", saying: [port, "in use", "--uart-mode1"])
    #expect(try host.state("other") == "poweroff")
    #expect(try host.state("box") == "running")
  }

  @Test("two machines never hold one disk image writable")
  func sharedDisk() throws {
    let host = try hostWithWalker()
    try host.create("other", memory: 32, ["--firmware", Guests.bareMetal("walker32.rom")])
    let disk = try host.makeDisk("disk.img", megabytes: 1)
    try host.attach("box", port: 0, disk)
    try host.attach("other", port: 0, disk)
    try host.vmctl("startvm", "box")
    try host.refused("startvm", "other", saying: [disk, "in use"])
    #expect(try host.state("other") == "poweroff")
    try host.killMachine("box")
    try host.vmctl("startvm", "other")
    #expect(try host.state("other") == "running")
  }

  @Test("only its owner may control a machine")
  func socketMode() throws {
    let host = try hostWithWalker()
    try host.vmctl("startvm", "box")
    let folder = host.home + "/machines/box"
    let mode = try FileManager.default.attributesOfItem(atPath: folder + "/control.sock")[.posixPermissions] as? Int
    #expect(mode == 0o600)
  }
}
