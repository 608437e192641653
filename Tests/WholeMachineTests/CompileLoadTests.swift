import Foundation
import Testing

/// A load like a compiler's (firmware/workload/compile-load) in Debian's kernels: what it makes is what the host makes of the
/// same files, on several CPUs and on the way between two hosts.
@Suite(.enabled(if: Guests.has("cloud-amd64") && Guests.has("di-i386"), "needs scripts/fetch-guest all"))
struct CompileLoadTests {
  struct Load: CustomTestStringConvertible, Sendable {
    var kernel: String
    var cpus: Int
    var hops: Int
    var tree = "Sources/Management"
    var testDescription: String { "\(kernel), \(cpus) CPUs, \(hops) hops, \(tree)" }
  }

  /// Two of them, or with `VMCTL_TEST_LOAD=all` (scripts/check-load) the whole matrix with all of the project's sources.
  static let isComplete = ProcessInfo.processInfo.environment["VMCTL_TEST_LOAD"] == "all"
  static let loads: [Load] = {
    guard isComplete else {
      return [Load(kernel: "cloud-amd64", cpus: 2, hops: 10), Load(kernel: "di-i386", cpus: 4, hops: 3)]
    }
    return ["cloud-amd64", "di-i386"].flatMap { kernel in
      [1, 2, 4].flatMap { cpus in
        [0, 10].map { Load(kernel: kernel, cpus: cpus, hops: $0, tree: "Sources") }
      }
    }
  }()

  @Test("a compile-like load makes what the host makes, also while it travels", arguments: loads)
  func compileLoad(_ load: Load) throws {
    let hosts = try TwoHosts(memory: 512, Guests.linux(load.kernel) + ["--cpus", String(load.cpus)])
    // A copy, since the sources may be at work.
    let (tree, initrd) = (hosts.shared + "/tree", hosts.shared + "/load.cpio")
    try run("cp", ["-r", Guests.root + "/" + load.tree + "/.", tree], hosts.a)
    try run(
      "bash",
      [
        "-euc", ". $0; make_load_initramfs \"$@\"", Guests.root + "/scripts/lib/initramfs.sh",
        Guests.initrd(load.kernel), tree, initrd,
      ], hosts.a)
    for host in [hosts.a, hosts.b] { try host.modify("box", ["--initrd", initrd]) }

    try hosts.start(hosts.a)
    var console = try hosts.a.console("box")
    try console.expect("guest# ")
    #expect(try console.shell("nproc") == "\(load.cpus)\n")
    let jobs = max(load.cpus, 2)
    try console.shell("mkdir /tmp/load; compile-load /tree /tmp/load \(jobs) endless >/tmp/output 2>&1 &")

    var (here, there) = (hosts.a, hosts.b)
    var uptimes: [Double] = []
    var downtimes: [Double] = []
    for hop in 0..<load.hops {
      // So that they meet different parts of the load.
      if Self.isComplete { usleep(UInt32(hop) * 200_000) }
      downtimes.append(try hosts.hop(here, there).downtimeMS)
      (here, there) = (there, here)
      console = try here.console("box")
      try console.send("\n")
      uptimes.append(try console.uptime())
    }
    try console.shell("touch /tmp/load/stop")
    let output = try poll("the end of the load", within: 600) {
      let output = try console.shell("cat /tmp/output")
      return output.contains("load-") ? output : nil
    }
    #expect(output == "load-end\n")
    #expect(uptimes == uptimes.sorted(), "the guest's clock never goes back")
    let troubles =
      "BUG|Oops|lockup|stall|unstable|Call Trace|segfault|general protection|trap |hung|WARNING|panic|blocked for"
    #expect(try console.shell("dmesg | grep -E '\(troubles)'") == "", "no trouble in the kernel's log")

    let guest = try Rounds(try console.shell("cat /tmp/load/log"))
    // Every third round is the first again.
    try run(
      Guests.busybox(load.kernel),
      [
        "sh", Guests.root + "/firmware/workload/compile-load", tree,
        hosts.shared + "/native", "2", String(min(guest.outputs.count, 3)),
      ], hosts.a)
    let native = try Rounds(String(contentsOfFile: hosts.shared + "/native/log", encoding: .utf8))
    for (round, outputs) in guest.outputs.enumerated() {
      #expect(outputs == native.outputs[round % 3], "round \(round)")
    }
    #expect(guest.times == guest.times.sorted(), "the guest's clock never goes back")
    if Self.isComplete {
      let down = downtimes.sorted().map { String(Int($0)) }.joined(separator: " ")
      print("load: \(load.testDescription): \(guest.outputs.count) rounds, down \(down) ms")
    }
  }

  private func run(_ program: String, _ arguments: [String], _ host: TestHost) throws {
    let child = try Child(
      program, arguments, environment: host.environment, streams: .files(folder: host.folder, input: nil))
    guard try child.wait() == 0 else { throw Failure("\(program): \(child.output)\(child.errors)") }
  }

  /// The log of compile-load.
  private struct Rounds {
    var times: [Double] = []
    var outputs: [[String]] = []

    init(_ log: String) throws {
      for line in log.split(separator: "\n") {
        let words = line.split(separator: " ")
        if words.count == 3, words[0] == "round", Int(words[1]) == outputs.count, let time = Double(words[2]) {
          times.append(time)
          outputs.append([])
        } else if words.count == 2, words[1].count == 64, !outputs.isEmpty {
          outputs[outputs.count - 1].append(String(line))
        } else {
          throw Failure("a load's log has the line: \(line)")
        }
      }
      guard !outputs.isEmpty, outputs.allSatisfy({ $0.count == outputs[0].count }) else {
        throw Failure("a load's log is not whole: \(log.suffix(1000))")
      }
    }
  }
}
