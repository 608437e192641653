import Foundation
import Testing

/// `clonevm`, and `debugvm NAME state`.
@Suite struct CloneAndStateTests {
  private func walker() throws -> TestHost {
    let host = try TestHost()
    try host.create("box", memory: 32, ["--firmware", Guests.bareMetal("walker32.rom"), "--debug-ports", "on"])
    return host
  }

  @Test("a copy runs beside its original, from a disk of its own")
  func copyRuns() throws {
    let host = try walker()
    let image = try host.makeDisk("own.img", megabytes: 4)
    try host.attach("box", port: 0, image)
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
    try host.refused("clonevm", "box", "--name", "copy", saying: ["running", "poweroff"])
    try host.vmctl("controlvm", "box", "poweroff")
    try host.vmctl("clonevm", "box", "--name", "copy", "--register", "--mode", "machine", "--options", "KeepDiskNames")
    #expect(try host.fact("copy", "UUID") != host.fact("box", "UUID"))
    for name in ["box", "copy"] {
      try host.vmctl("startvm", name)
      try host.waitForHeartbeat(name)
    }
    #expect(FileManager.default.fileExists(atPath: host.home + "/machines/copy/own.img"))
    try host.refused("clonevm", "copy", "--options", "link", status: 64, saying: ["link", "KeepAllMACs"])
  }

  @Test("what a machine's state is, and what has changed since it was saved")
  func stateIsShown() throws {
    let host = try walker()
    try host.refused("debugvm", "box", "state", "show", saying: ["has no state", "start it"])
    try host.vmctl("startvm", "box")
    let last = try #require(try host.waitForHeartbeat("box").last)
    let shown = try host.vmctl("debugvm", "box", "state", "show")
    #expect(shown.contains("cpu0 ("))
    #expect(try host.state("box") == "running", "it goes on")
    try host.waitForHeartbeat("box", atLeast: last + 1)
    try host.vmctl("controlvm", "box", "savestate")
    let file = host.folder + "/then.state"
    try FileManager.default.copyItem(atPath: host.home + "/machines/box/saved.state", toPath: file)
    #expect(
      try host.vmctl("debugvm", "box", "state", "diff", file) == "no difference\n", "the saved state is the machine's")
    struct Report: Decodable {
      struct Section: Decodable { var name: String }
      var pages: Int
      var sections: [Section]
    }
    let json = try host.vmctl("debugvm", "box", "state", "show", file, "--format", "json")
    let report = try JSONDecoder().decode(Report.self, from: Data(json.utf8))
    #expect(report.pages == 32 << 8)
    #expect(report.sections.contains { $0.name == "cpu0" })
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box", atLeast: last + 3)
    let changed = try host.attempt(["debugvm", "box", "state", "diff", file])
    #expect(changed.status == 1)
    #expect(
      changed.output.contains("cpu0.") && changed.output.contains("pages differ"), "\(changed.output.prefix(2000))")
    try host.refused("debugvm", "box", "state", "show", host.folder + "/none", saying: ["/none", "savestate"])
    try host.refused("debugvm", "box", "state", "diff", status: 64, saying: ["one file"])
  }
}
