import Foundation
import Testing

/// `controlvm NAME teleport --check`.
@Suite struct TeleportCheckTests {
  private func check(_ hosts: TwoHosts, _ port: Int, _ options: [String] = []) throws -> (
    status: Int32, lines: [String]
  ) {
    let outcome = try hosts.a.attempt(
      ["controlvm", "box", "teleport", "--check", "--host", "localhost", "--port", String(port)] + options)
    #expect(outcome.errors == "")
    return (outcome.status, outcome.output.split(separator: "\n").map(String.init))
  }

  @Test("everything that stands against a teleport is told in lines, and nothing is changed")
  func obstacles() throws {
    let hosts = try TwoHosts(guest: "walker32", memory: 32, disk: 4)
    try hosts.start(hosts.a)
    try hosts.a.waitForHeartbeat("box")
    let unused = try check(hosts, 1)
    #expect(unused.status == 1)
    #expect(unused.lines.count == 1 && unused.lines[0].hasPrefix("obstacle: nothing listens"), "\(unused.lines)")
    // Memory, CPUs and the disk are others there.
    let other = try hosts.b.makeDisk("other.img", megabytes: 4)
    try hosts.b.attach("box", port: 0, other)
    let port = try hosts.await(hosts.b, ["--memory", "16", "--cpus", "2", "--teleporter-password", "let it in"])
    let secret = try hosts.a.write("secret", Array("let it in\n".utf8))
    let wrong = try check(hosts, port, ["--password", "guess"])
    #expect(wrong.lines == ["obstacle: the password is not the target's"])
    let found = try check(hosts, port, ["--passwordfile", secret])
    #expect(found.status == 1)
    #expect(found.lines.count == 3, "\(found.lines)")
    for (line, words) in zip(
      found.lines,
      [["Memory (MB): source 32, target 16", "modifyvm box --memory 32"], ["CPUs: source 1, target 2"], ["other.img"]])
    {
      #expect(line.hasPrefix("obstacle: "))
      for word in words { #expect(line.contains(word), "\(line)") }
    }
    #expect(try hosts.a.state("box") == "running")
    #expect(try hosts.b.state("box") == "teleportingin")
    try hosts.b.vmctl("controlvm", "box", "poweroff")
    // What is told is mended, and the machine goes.
    try hosts.b.attach("box", port: 0, hosts.shared + "/shared.img")
    let again = try hosts.await(hosts.b, ["--memory", "32", "--cpus", "1"])
    for _ in 0..<3 {
      let clear = try check(hosts, again, ["--passwordfile", secret])
      #expect(clear.status == 0)
      #expect(clear.lines == ["nothing stands against it"])
    }
    let child = try hosts.send(hosts.a, to: again, ["--passwordfile", secret])
    #expect(try child.wait() == 0, "\(child.errors)")
    #expect(try hosts.b.state("box") == "running")
    #expect(hosts.b.log("box").contains("has asked what stands against its coming: 0 obstacles"))
  }

  @Test("a receiver that is asked is as it was before")
  func receiver() throws {
    let (a, b) = (try TestHost(), try TestHost())
    let secret = try a.write("secret", Array("let it in\n".utf8))
    try a.create("box", memory: 32, ["--firmware", Guests.bareMetal("walker32.rom"), "--debug-ports", "on"])
    try a.vmctl("startvm", "box")
    let child = try b.begin(["receive", "--address", "127.0.0.1", "--passwordfile", secret])
    defer { child.signal(SIGTERM) }
    let port = try poll("the receiver's port") { () -> Int? in
      guard child.isRunning else { throw Failure("receive: \(child.errors)") }
      return child.output.split(separator: "\n").first.flatMap { Int($0.split(separator: " ").last ?? "") }
    }
    let words = [
      "controlvm", "box", "teleport", "--check", "--host", "localhost", "--port", String(port), "--passwordfile",
      secret,
    ]
    let first = try a.attempt(words)
    #expect(first.status == 0 && first.output == "nothing stands against it\n", "\(first)")
    try eventuallyTrue("the machine is gone") { try b.vmctl("list", "vms") == "" }
    // One that is known there is what it was, whatever came with the question.
    let file = b.folder + "/box/definition.toml"
    try FileManager.default.createDirectory(atPath: b.folder + "/box", withIntermediateDirectories: false)
    try FileManager.default.copyItem(atPath: a.home + "/machines/box/definition.toml", toPath: file)
    try b.vmctl("registervm", file)
    try b.modify("box", ["--memory", "16"])
    let second = try a.attempt(words)
    #expect(second.status == 0, "\(second)")
    try eventuallyTrue("the definition is as before") {
      try b.fact("box", "memory") == "16" && b.state("box") == "poweroff"
    }
    #expect(try a.state("box") == "running")
  }

  private func eventuallyTrue(_ what: String, _ condition: () throws -> Bool) throws {
    _ = try poll(what) { try condition() ? true : nil }
  }
}
