import Foundation
import Testing

/// Bad input of every kind: each is refused with one clear line and a status that is not zero, and nothing is lost.
@Suite struct WrongUseTests {
  @Test(
    "wrong usage is one line and status 64",
    arguments: [
      ["nosuchcommand"], ["startvm"], ["startvm", "a", "--type", "hologram"], ["modifyvm", "a", "--memory", "much"],
      ["modifyvm", "a", "--hpet", "maybe"], ["modifyvm", "a", "--boot2", "moon"],
      ["modifyvm", "a", "--uart1"],
      ["controlvm", "a", "explode"], ["controlvm", "a", "teleport"], ["controlvm", "a", "pause", "now"],
      ["modifyvm", "a", "--nosuchoption", "1"], ["createvm"],
    ])
  func wrongUsage(_ words: [String]) throws {
    let host = try TestHost()
    let outcome = try host.attempt(words)
    #expect(outcome.status == 64)
    #expect(outcome.output == "")
    #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
    #expect(outcome.errors.contains("--help"))
  }

  @Test("a machine that is not there is named, with what to do")
  func noSuchMachine() throws {
    let host = try TestHost()
    for verb in [
      ["startvm", "ghost"], ["controlvm", "ghost", "pause"], ["showvminfo", "ghost"], ["discardstate", "ghost"],
    ] {
      let outcome = try host.attempt(verb)
      #expect(outcome.status == 1)
      #expect(outcome.errors.contains("\"ghost\""))
      #expect(outcome.errors.contains("vmctl list vms"))
    }
  }

  @Test("memory of 0 and more than the host has are refused, and the definition stays")
  func memory() throws {
    let host = try TestHost()
    try host.create("box", memory: 64)
    try host.refused("modifyvm", "box", "--memory", "0", saying: ["--memory 0", "from 1"])
    try host.refused("modifyvm", "box", "--memory", "9999999", saying: ["9999999 MB", "this host has"])
    #expect(try host.fact("box", "memory") == "64")
    try host.refused("createvm", "--name", "other", "--memory", "0", saying: ["--memory 0"])
  }

  @Test("files that are missing are named when they are set and when the machine starts")
  func missingFiles() throws {
    let host = try TestHost()
    try host.create("box")
    for option in ["--kernel", "--firmware"] {
      try host.refused("modifyvm", "box", option, "/nowhere/file", saying: ["/nowhere/file"])
    }
    for option in ["--kernel", "--firmware"] {
      let file = try host.write("file", Array(repeating: 0, count: 65536))
      try host.modify("box", [option, file])
      try FileManager.default.removeItem(atPath: file)
      try host.refused("startvm", "box", saying: [file])
      #expect(try host.state("box") == "poweroff")
      try host.modify("box", [option, option == "--kernel" ? "none" : "bios"])
    }
    let disk = try host.makeDisk("disk.img", megabytes: 1)
    try host.attach("box", port: 0, disk)
    try FileManager.default.removeItem(atPath: disk)
    try host.refused("startvm", "box", saying: [disk])
    #expect(try host.state("box") == "poweroff")
  }

  @Test("a kernel that is none and firmware of an odd size are refused")
  func notAKernel() throws {
    let host = try TestHost()
    try host.create("box")
    let file = try host.write("noise", Array(repeating: 0x5A, count: 1000))
    try host.modify("box", ["--kernel", file])
    try host.refused("startvm", "box", saying: [file])
    try host.modify("box", ["--kernel", "none", "--firmware", file])
    try host.refused("startvm", "box", saying: [file])
    #expect(try host.state("box") == "poweroff")
  }

  @Test("unknown keys and wrong values in a definition are told with file, line and what is allowed")
  func definition() throws {
    let host = try TestHost()
    try host.create("box")
    let file = try #require(try host.fact("box", "CfgFile"))
    let text = try String(contentsOfFile: file, encoding: .utf8)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    let line = 1 + (try #require(lines.firstIndex { $0.hasPrefix("memory") }))

    try text.replacingOccurrences(of: "\nmemory", with: "\nmemmory").write(
      toFile: file, atomically: true, encoding: .utf8)
    try host.refused("startvm", "box", saying: ["\(file):\(line)", "memmory", "memory"])
    try text.replacingOccurrences(of: "\nmemory = 64", with: "\nmemory = \"lots\"")
      .write(toFile: file, atomically: true, encoding: .utf8)
    try host.refused("startvm", "box", saying: ["\(file):\(line)", "memory"])
    try text.write(toFile: file, atomically: true, encoding: .utf8)
    #expect(try host.state("box") == "poweroff")
  }
}
