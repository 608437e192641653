import Foundation
import Testing

/// Traces of what a machine's CPUs do, and machines whose runs are all the same.
@Suite struct TraceTests {
  private let host: TestHost

  init() throws { host = try TestHost() }

  private func lines(_ file: String) throws -> [Substring] {
    try String(contentsOfFile: host.folder + "/" + file, encoding: .utf8).split(separator: "\n")
  }

  private func run(_ words: String...) throws -> TestHost.Outcome {
    try host.attempt(["run", "--memory", "64", "--firmware", Guests.bareMetal("hello.rom")] + words)
  }

  @Test func everyInstructionOfARunIsWritten() throws {
    let all = host.folder + "/all"
    let whole = try run("--trace", all, "--trace-events", "instructions,ports")
    #expect(whole.status == 1 && whole.output.contains("hello"), "\(whole.errors)")
    let text = try lines("all")
    #expect(text.first == "0 0 i fffffff0 ea00f000f0 jmp far 0xF000:0xF000")
    #expect(text.contains { $0.hasSuffix(" 0 i ff001 fc cld") })
    // An instruction stands before what it does.
    let exit = try #require(text.firstIndex { $0.hasSuffix(" 0 out f4 1 0") })
    #expect(text[exit - 1].hasSuffix(" e6f4 out 0xF4, al"))
    let letters = text.compactMap { line -> Character? in
      let words = line.split(separator: " ")
      guard words.count == 6, words[2] == "out", words[3] == "3f8", let code = UInt8(words[5], radix: 16) else {
        return nil
      }
      return Character(Unicode.Scalar(code))
    }
    #expect(String(letters).contains("hello from real mode"))

    // Only code at some addresses, only so many lines.
    #expect(try run("--trace", host.folder + "/part", "--trace-range", "0xff000-ff002").status == 1)
    #expect(try lines("part").count == 3)
    #expect(try run("--trace", host.folder + "/few", "--trace-limit", "10").status == 1)
    #expect(try lines("few") == Array(text.filter { $0.contains(" i ") }.prefix(10)))

    // A file that is there stays as it is.
    let again = try run("--trace", all)
    #expect(again.status == 1 && again.errors.contains("there is a file \(all) already"), "\(again.errors)")
    #expect(try lines("all") == text)
    for words in [
      ["--trace-limit", "5"], ["--trace", "x", "--trace-events", "dreams"], ["--trace", "x", "--trace-range", "5-3"],
      ["--trace", "x", "--trace-limit", "0"],
    ] { #expect(try host.attempt(["run"] + words).status == 64) }
  }

  @Test func aRunningMachineIsTracedAndRunsOn() throws {
    try host.create("box", memory: 16, ["--firmware", Guests.bareMetal("watch32.rom")])
    try host.refused("debugvm", "box", "trace", host.folder + "/early", saying: ["does not run"])
    try host.vmctl("startvm", "box")
    try host.refused("debugvm", "box", "trace", "off", saying: ["writes no trace"])
    try host.vmctl("debugvm", "box", "trace", host.folder + "/text", "--limit", "1000")
    try poll("a thousand lines") { try lines("text").count == 1000 ? () : nil }
    try host.vmctl("debugvm", "box", "trace", host.folder + "/packed.zst", "--events", "instructions")
    try host.refused("debugvm", "box", "trace", host.folder + "/text", saying: ["already"])
    try host.vmctl("debugvm", "box", "trace", "off")
    let packed = try Data(contentsOf: URL(fileURLWithPath: host.folder + "/packed.zst"))
    #expect(packed.starts(with: [0x28, 0xB5, 0x2F, 0xFD]))
    let log = try host.vmctl("showvminfo", "box", "--log", "0")
    #expect(log.contains("the trace has ended after 1000 lines"))
    #expect(try host.state("box") == "running")
    try host.vmctl("controlvm", "box", "poweroff")
  }

  /// Linux with its clocks, its random numbers and its random addresses, as far as it comes without a root.
  @Test(.enabled(if: Guests.hasLinux, "needs the Linux guests: run scripts/fetch-guest"))
  func aDeterministicRunIsTheSameAgain() throws {
    func boot(_ trace: String) throws -> String {
      let outcome = try host.attempt(
        [
          "run", "--memory", "128", "--deterministic", "on", "--virtio-rng", "on", "--kernel",
          Guests.kernel("cloud-amd64"), "--append", "console=ttyS0", "--trace", host.folder + "/" + trace,
          "--trace-events", "exceptions,interrupts,ports,mmio", "--on-panic", "exit",
        ], within: 600)
      #expect(outcome.status == 1 && outcome.errors == "vmctl: the guest's kernel has panicked\n", "\(outcome.errors)")
      return outcome.output
    }
    let output = try boot("first")
    #expect(output.contains("Unable to mount root fs"))
    #expect(try boot("second") == output)
    let first = try lines("first")
    #expect(first.count > 100_000)
    // The last words reach the terminal while the machine goes on: one may have come further.
    let second = try lines("second")
    let common = min(first.count, second.count)
    #expect(common > 100_000 && first.prefix(common) == second.prefix(common))
    try host.create("box", memory: 16, ["--deterministic", "on"])
    try host.refused("modifyvm", "box", "--cpus", "2", saying: ["a deterministic machine has one CPU"])
  }
}
