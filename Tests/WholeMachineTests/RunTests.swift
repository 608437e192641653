import Foundation
import Testing

/// `vmctl run`: a machine that is there once.
@Suite struct RunTests {
  private let host: TestHost

  init() throws { host = try TestHost() }

  /// Runs it, in a temporary folder of its own, in which nothing may be left.
  private func run(_ arguments: String...) throws -> (status: Int32, output: String, errors: String) {
    let child = try begin(arguments)
    let status = try child.wait(within: patience)
    #expect(try leftovers() == [])
    return (status, child.output, child.errors)
  }

  private func begin(_ arguments: [String]) throws -> Child {
    try FileManager.default.createDirectory(atPath: temporary, withIntermediateDirectories: true)
    return try host.begin(
      ["run", "--memory", "64", "--verify-code", "on"] + arguments, environment: ["TMPDIR": temporary])
  }

  private var temporary: String { host.folder + "/tmp" }
  private func leftovers() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: temporary) }

  /// A BIOS image that runs `code` and then rests.
  private func firmware(_ name: String, _ code: [UInt8]) throws -> String {
    var image = [UInt8](repeating: 0xF4, count: 64 << 10)
    image.replaceSubrange(0xF000..<0xF000 + code.count, with: code)
    image.replaceSubrange(0xF000 + code.count..<0xF000 + code.count + 3, with: [0xF4, 0xEB, 0xFD])  // hlt; jmp
    image.replaceSubrange(0xFFF0..<0xFFF5, with: [0xEA, 0x00, 0xF0, 0x00, 0xF0])  // ljmp f000:f000
    let path = host.folder + "/" + name
    try Data(image).write(to: URL(fileURLWithPath: path))
    return path
  }

  @Test func aGuestsWordsAndItsStatusComeOut() throws {
    let hello = Guests.bareMetal("hello.rom")
    let ended = try run("--firmware", hello)
    // It writes 0 to the exit port.
    #expect(ended.status == 1)
    #expect(ended.output.contains("hello"))
    #expect(ended.errors == "")
    let found = try run("--firmware", hello, "--expect", "hello")
    #expect(found.status == 0)
    let missed = try run("--firmware", hello, "--expect", "good-bye")
    #expect(missed.status == 1)
    #expect(missed.errors == "vmctl: the machine has ended without \"good-bye\"\n")
    // mov al, 20; out 0xF4, al
    #expect(try run("--firmware", firmware("exit", [0xB0, 20, 0xE6, 0xF4])).status == 41)
  }

  @Test func timeAndResetsCanEndIt() throws {
    let late = try run("--firmware", firmware("rest", []), "--timeout", "0.5", "--expect", "never")
    #expect(late.status == 124)
    #expect(late.errors == "vmctl: the machine's 0.5 seconds are over without \"never\"\n")
    // mov al, 0xFE; out 0x64, al: the keyboard controller's reset
    let reset = try firmware("reset", [0xB0, 0xFE, 0xE6, 0x64])
    #expect(try run("--firmware", reset, "--on-reboot", "exit").status == 0)
    #expect(try run("--firmware", reset, "--timeout", "0.5").status == 124)
  }

  @Test func aPanicOfTheGuestCanEndIt() throws {
    // mov dx, 0x505; in al, dx; test al, 1; jz off; mov al, 1; out dx, al; off:
    let panic = try firmware("panic", [0xBA, 0x05, 0x05, 0xEC, 0xA8, 1, 0x74, 3, 0xB0, 1, 0xEE])
    let ended = try run("--firmware", panic, "--on-panic", "exit")
    #expect(ended.status == 1)
    #expect(ended.errors == "vmctl: the machine has ended: the guest's kernel has panicked\n")
    #expect(try run("--firmware", panic, "--pvpanic", "on", "--timeout", "0.5").status == 124)
    // It is the end of the instruction that said so: what comes behind does not run.
    let late = try firmware("late", [0xBA, 0x05, 0x05, 0xB0, 1, 0xEE, 0xB0, 20, 0xE6, 0xF4])
    for _ in 0..<5 { #expect(try run("--firmware", late, "--on-panic", "exit").status == 1) }
    // With a crash kernel it goes on, to say what it says.
    let dump = try firmware("dump", [0xBA, 0x05, 0x05, 0xB0, 2, 0xEE, 0xB0, 7, 0xE6, 0xF4])
    #expect(try run("--firmware", dump, "--on-panic", "exit").status == 15)
  }

  /// On a full disk, and with standard descriptors that whoever started it has closed.
  @Test func whatCannotBeWrittenIsTold() throws {
    try FileManager.default.createDirectory(atPath: temporary, withIntermediateDirectories: true)
    func shell(_ redirections: String) throws -> (status: Int32, errors: String) {
      let child = try Child(
        "sh",
        [
          "-c",
          "exec \(TestHost.vmctl) run --memory 64 --timeout 60 --firmware \(Guests.bareMetal("hello.rom")) \(redirections)",
        ], environment: host.environment.merging(["TMPDIR": temporary]) { $1 },
        streams: .files(folder: host.folder, input: nil))
      return (try child.wait(within: patience), child.errors)
    }
    let full = try shell(">/dev/full")
    #expect(
      full.status == 1 && full.errors == "vmctl: what the guest says cannot be written: No space left on device\n")
    #expect(try shell("<&- >&-").status == 1)
    #expect(try leftovers() == [])
  }

  @Test func theMachineEndsWithItsCommand() throws {
    for signal in [SIGTERM, SIGINT, SIGKILL] {
      let child = try begin(["--firmware", Guests.bareMetal("hello.rom"), "--debug-ports", "off"])
      _ = try poll("the greeting") { child.output.contains("hello") ? true : nil }
      let home = temporary + "/" + (try #require(try leftovers().first))
      let record = try String(contentsOfFile: home + "/machines/run/status.json", encoding: .utf8)
      let process =
        try #require(
          try JSONSerialization.jsonObject(with: Data(record.utf8)) as? [String: Any])["process"] as? Int
      child.signal(signal)
      let status = try child.wait(within: patience)
      if signal != SIGKILL { #expect(status == 128 + signal) }
      let pid = try #require(process.map(pid_t.init))
      _ = try poll("the machine's end") { kill(pid, 0) != 0 && errno == ESRCH ? true : nil }
      // Who is killed puts nothing away: that is done for it.
      _ = try poll("the folder's end") { try leftovers().isEmpty ? true : nil }
    }
  }

  /// A boot sector that writes itself back, to the second sector.
  @Test func aSnapshotTakesTheGuestsWritesAndTheImageStays() throws {
    let code: [UInt8] = [
      0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xC0,  // xor ax, ax; mov ds, ax; mov es, ax
      0xB8, 0x01, 0x03, 0xBB, 0x00, 0x7C,  // mov ax, 0x301; mov bx, 0x7C00
      0xB9, 0x02, 0x00, 0xBA, 0x80, 0x00,  // mov cx, 2; mov dx, 0x80
      0xCD, 0x13, 0x0F, 0x92, 0xC0,  // int 0x13; setc al
      0xE6, 0xF4, 0xF4,  // out 0xF4, al; hlt
    ]
    var image = code + [UInt8](repeating: 0, count: (1 << 20) - code.count)
    image.replaceSubrange(510..<512, with: [0x55, 0xAA])
    let path = host.folder + "/disk.img"
    try Data(image).write(to: URL(fileURLWithPath: path))
    func second() throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))[512..<1024]) }
    let empty = [UInt8](repeating: 0, count: 512)
    #expect(try run("--disk", path + ":snapshot").status == 1)
    #expect(try second() == empty)
    #expect(try run("--disk", path + ":ro").status == 3)
    #expect(try second() == empty)
    #expect(try run("--disk", path).status == 1)
    #expect(try second() == Array(image[..<512]))
  }

  @Test func badInputIsToldAndLeavesNothing() throws {
    for (arguments, status, text) in [
      ([], 1, "nothing to boot"), (["--kernel", "/nowhere"], 1, "/nowhere"),
      (["--disk", "/nowhere:snapshot"], 1, "/nowhere"), (["--timeout", "-1", "--kernel", "x"], 64, "--timeout"),
    ] as [([String], Int32, String)] {
      let child = try begin(arguments)
      #expect(try child.wait(within: patience) == status)
      #expect(child.errors.contains(text), "\(child.errors)")
      #expect(child.errors.split(separator: "\n").count == 1, "\(child.errors)")
      #expect(try leftovers() == [])
    }
  }
}
