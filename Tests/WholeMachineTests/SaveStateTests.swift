import Foundation
import Testing

/// `controlvm savestate`, then `startvm` goes on: also when the disk is full and when the state was damaged.
@Suite struct SaveStateTests {
  private func hostWithWalker() throws -> TestHost {
    let host = try TestHost()
    try host.create("box", memory: 32, ["--firmware", Guests.bareMetal("walker32.rom"), "--debug-ports", "on"])
    return host
  }

  private func statePath(_ host: TestHost) -> String { host.home + "/machines/box/saved.state" }

  @Test("a guest that checks its memory goes on where it was saved, again and again")
  func goesOn() throws {
    let host = try hostWithWalker()
    try host.vmctl("startvm", "box")
    var last = try #require(try host.waitForHeartbeat("box", atLeast: 2).last)
    for _ in 0..<3 {
      try host.vmctl("controlvm", "box", "savestate")
      #expect(try host.state("box") == "saved")
      try host.refused("modifyvm", "box", "--memory", "64", saying: ["saved state", "discardstate"])
      try host.vmctl("startvm", "box")
      #expect(try host.state("box") == "running")
      let beats = try host.waitForHeartbeat("box", atLeast: last + 2)
      #expect(beats.first.map { $0 > last } == true, "it has not started anew: \(beats.prefix(3)) after \(last)")
      last = try #require(beats.last)
      #expect(!host.log("box").contains("FAIL"))
      #expect(!FileManager.default.fileExists(atPath: statePath(host)), "what runs has no saved state")
    }
  }

  @Test("a discarded state is gone and the machine starts anew")
  func discard() throws {
    let host = try hostWithWalker()
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
    try host.vmctl("controlvm", "box", "savestate")
    try host.vmctl("discardstate", "box")
    #expect(try host.state("box") == "poweroff")
    #expect(!FileManager.default.fileExists(atPath: statePath(host)))
    try host.vmctl("startvm", "box")
    #expect(try host.waitForHeartbeat("box").first == 1)
  }

  @Test("a machine of the same definition on another host goes on from a state that it adopts")
  func adopted() throws {
    let host = try hostWithWalker()
    let other = try hostWithWalker()
    try host.vmctl("startvm", "box")
    let last = try #require(try host.waitForHeartbeat("box", atLeast: 2).last)
    try host.vmctl("controlvm", "box", "savestate")
    try other.refused("adoptstate", "box", other.home + "/none", saying: ["/none", "controlvm savestate"])
    try other.vmctl("adoptstate", "box", statePath(host))
    #expect(try other.state("box") == "saved")
    try other.refused("adoptstate", "box", statePath(host), saying: ["discardstate"])
    try other.vmctl("startvm", "box")
    let beats = try other.waitForHeartbeat("box", atLeast: last + 2)
    #expect(beats.first.map { $0 > last } == true, "it has not started anew: \(beats.prefix(3)) after \(last)")
    #expect(try host.state("box") == "saved", "a copy was taken")
  }

  @Test("a damaged or truncated state is refused, kept, and a good one in its place goes on")
  func damaged() throws {
    let host = try hostWithWalker()
    try host.vmctl("startvm", "box")
    let last = try #require(try host.waitForHeartbeat("box", atLeast: 2).last)
    try host.vmctl("controlvm", "box", "savestate")
    let file = URL(fileURLWithPath: statePath(host))
    let good = try Data(contentsOf: file)
    var flipped = good
    flipped[flipped.startIndex + good.count / 2] ^= 0x10
    let noise = Data((0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 37) })
    for bad in [good.prefix(good.count - 1), good.prefix(good.count / 2), good.prefix(10), Data(), flipped, noise] {
      try bad.write(to: file)
      try host.refused("startvm", "box", saying: ["state"])
      #expect(try host.state("box") == "saved")
      #expect(try Data(contentsOf: file) == bad, "the file is kept")
    }
    try good.write(to: file)
    try host.vmctl("startvm", "box")
    #expect(try host.waitForHeartbeat("box", atLeast: last + 1).first.map { $0 > last } == true)
  }

  @Test("what a process has left that was killed while it saved is taken away at the next start")
  func killedWhileSaving() throws {
    let host = try hostWithWalker()
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
    let part = host.home + "/machines/box/saved.state.77.part"
    try host.killMachine("box")
    try Data(count: 5000).write(to: URL(fileURLWithPath: part))
    #expect(try host.state("box") == "aborted")
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
    let left = try FileManager.default.contentsOfDirectory(atPath: host.home + "/machines/box")
    #expect(!left.contains { $0.hasSuffix(".part") || $0 == "saved.state" }, "\(left)")
  }

  @Test("when there is no room for the state the machine runs on")
  func diskFull() throws {
    let host = try hostWithWalker()
    // A limit on the size of files stands for a full disk: it needs no disk of its own.
    let child = try Child(
      "bash", ["-c", "ulimit -f 256; exec \"$0\" startvm box", TestHost.vmctl], environment: host.environment,
      streams: .files(folder: host.folder, input: nil))
    #expect(try child.wait() == 0, "\(child.errors)")
    try host.waitForHeartbeat("box")
    try host.refused("controlvm", "box", "savestate", saying: ["saved.state", "too large"])
    #expect(try host.state("box") == "running")
    try host.waitForHeartbeat("box", atLeast: (host.heartbeats("box").last ?? 0) + 2)
    #expect(!host.log("box").contains("FAIL"))
    #expect(!FileManager.default.fileExists(atPath: statePath(host)), "no half state is left")
  }
}
