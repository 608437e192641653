import Foundation
import Testing

/// What a source has left of teleports that have failed.
@Suite struct TeleportResidueTests {
  /// What a process has of the host.
  private struct Holdings {
    var descriptors: Int
    var threads: Int
    var residentBytes: Int

    init(_ process: pid_t) throws {
      func count(_ folder: String) throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/\(folder)").count
      }
      descriptors = try count("fd")
      threads = try count("task")
      let text = try String(contentsOfFile: "/proc/\(process)/statm", encoding: .utf8)
      residentBytes = (text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4096
    }
  }

  @Test("a source that has failed to send its machine a hundred times has what it had before")
  func failures() throws {
    let hosts = try TwoHosts(guest: "walker32", memory: 32, disk: 4)
    try hosts.start(hosts.a)
    try hosts.expectAlive(hosts.a)
    let port = try hosts.await(hosts.b)
    let proxy = try TCPProxy(to: port)
    proxy.cut(after: 150_000)
    // One with other hardware.
    let other = try TestHost()
    try other.create("box", memory: 16, ["--debug-ports", "on"])
    try other.modify("box", ["--teleporter", "on"])
    try other.vmctl("startvm", "box")
    let misfit = try hosts.port(other)

    func fail(_ rounds: Int) throws {
      for _ in 0..<rounds {
        for (port, more, reason) in [
          (proxy.port, [], "closed the connection"), (misfit, [], "Memory (MB)"), (1, [], "nothing listens"),
          (misfit, ["--check"], ""),
        ] {
          let child = try hosts.send(hosts.a, to: port, more)
          #expect(try child.wait() == 1)
          #expect(child.errors.contains(reason) || !more.isEmpty, "\(reason) in: \(child.errors)")
        }
      }
    }
    let process = try #require(hosts.a.processID("box"))
    // The first ones open what stays open, and the allocator takes what it keeps.
    try fail(10)
    let before = try Holdings(process)
    try fail(25)
    // Threads of the last request end a moment after its answer.
    let after = try poll("the descriptors and threads of before, \(before)") { () -> Holdings? in
      let now = try Holdings(process)
      return now.descriptors <= before.descriptors && now.threads <= before.threads ? now : nil
    }
    let grown = (after.residentBytes - before.residentBytes) >> 20
    #expect(grown < 16, "\(grown) MB more after a hundred teleports of a machine of 32 MB")
    try hosts.expectRunsOnly(hosts.a)
    // And it goes after all.
    let child = try hosts.send(hosts.a, to: port)
    #expect(try child.wait() == 0, "\(child.errors)")
    try hosts.expectRunsOnly(hosts.b)
  }
}
