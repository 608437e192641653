import Foundation
import Testing

/// GDB itself, at Debian's kernel.
@Suite(.enabled(if: Guests.hasLinux, "needs the Linux guests: run scripts/fetch-guest"))
struct DebuggerTests {
  private static let program: String? = ["/usr/bin/gdb", "/usr/local/bin/gdb"].first { access($0, X_OK) == 0 }

  /// Has GDB do the commands of a script.
  private func gdb(_ host: TestHost, _ script: String) throws -> Child {
    let file = try host.write(
      "commands-\(UUID().uuidString)", Array("set pagination off\nset confirm off\n\(script)\n".utf8))
    return try Child(
      try #require(Self.program), ["-q", "-nx", "-batch", "-x", file], environment: host.environment,
      streams: .files(folder: host.folder, input: nil))
  }

  private func serve(_ host: TestHost, _ more: [String] = ["--port", "0"]) throws -> String {
    let outcome = try host.attempt(["debugvm", "box", "gdbserver"] + more)
    #expect(outcome.status == 0, "\(outcome.errors)")
    return try #require(outcome.output.split(separator: " ").last.map { $0.trimmingCharacters(in: .newlines) })
  }

  @Test(
    "breakpoints, watchpoints and steps at Debian's kernel, and the machine goes on",
    .enabled(if: program != nil, "needs gdb: run scripts/install-dependencies"))
  func kernel() throws {
    let host = try TestHost()
    let console = try host.startLinux("box", append: "workload=0 nokaslr", ["--cpus", "2"])
    func address(_ symbol: String) throws -> String {
      let text = try console.shell("grep -w \(symbol) /proc/kallsyms")
      return "0x" + (try #require(text.split(whereSeparator: \.isWhitespace).first { $0.hasPrefix("ffff") }))
    }
    let function = try address("__do_sys_newuname")
    let variable = try address("panic_timeout")
    try console.send("(i=0; while :; do uname >/dev/null; i=$((i % 9 + 1)); echo $i >/proc/sys/kernel/panic; done) &\n")
    try console.expect("guest# ")

    let place = try serve(host)
    let child = try gdb(
      host,
      """
      target remote \(place)
      info threads
      break *\(function)
      continue
      p $pc == \(function)
      delete
      stepi
      stepi
      p $pc != \(function)
      watch *(int *)\(variable)
      continue
      continue
      p *(int *)\(variable)
      p $cr0 & 0x80000001
      monitor translate \(function.dropFirst(2))
      detach
      """)
    #expect(try child.wait(within: patience) == 0, "\(child.errors)")
    let output = child.output
    for text in [
      "Thread 1 (CPU 0", "Thread 2 (CPU 1", "Breakpoint 1, \(function)", "$1 = 1", "$2 = 1", "Old value = ",
      "New value = ",
      "$4 = 2147483649", "detached",
    ] { #expect(output.contains(text), "\(text) is in: \(output)") }
    #expect(output.components(separatedBy: "Hardware watchpoint 2: ").count == 4, "\(output)")
    #expect(try host.state("box") == "running")
    try console.send("\n")
    #expect(try console.shell("kill %1; echo al''ive").contains("alive"))

    // Somebody else's commands while the debugger holds the machine, and a debugger that is killed.
    let holder = try gdb(host, "target remote \(place)\nshell touch \(host.folder)/holds\nshell sleep 600")
    _ = try poll("GDB to stop the machine") { access(host.folder + "/holds", F_OK) == 0 ? true : nil }
    #expect(try host.state("box") == "paused")
    try host.refused("controlvm", "box", "resume", saying: ["a debugger holds the machine"])
    holder.signal(SIGKILL)
    _ = try poll("the machine to go on") { try host.state("box") == "running" ? true : nil }

    // A machine that moves takes no debugger along.
    let mover = try gdb(host, "target remote \(place)\nshell touch \(host.folder)/moves\ncontinue")
    _ = try poll("GDB") { access(host.folder + "/moves", F_OK) == 0 ? true : nil }
    _ = try poll("the machine to go on") { try host.state("box") == "running" ? true : nil }
    try host.vmctl("controlvm", "box", "savestate")
    _ = try mover.wait(within: patience)
    #expect((mover.output + mover.errors).contains("the machine is being saved"), "\(mover.output) \(mover.errors)")
    try host.vmctl("startvm", "box")
    #expect(try host.console("box").shell("echo still $((1 + 1))").contains("still 2"))
  }

  @Test(
    "vmctl run waits for GDB before the first instruction, and real mode's code is found",
    .enabled(if: program != nil, "needs gdb: run scripts/install-dependencies"))
  func firstInstruction() throws {
    let host = try TestHost()
    let socket = host.folder + "/gdb"
    let run = try host.begin(
      [
        "run", "--memory", "16", "--firmware", Guests.bareMetal("hello.rom"), "--gdb", socket, "--gdb-architecture",
        "i8086",
      ])
    _ = try poll("the machine to wait") { run.errors.contains("target remote \(socket)") ? true : nil }
    let child = try gdb(
      host,
      """
      set architecture i8086
      target remote \(socket)
      p/x $pc
      x/i $pc
      stepi
      p/x $pc
      continue
      """)
    #expect(try child.wait(within: patience) == 0)
    #expect(
      child.output.contains("$1 = 0xfffffff0") && child.output.contains("=> 0xfffffff0:\tljmp"), "\(child.output)")
    #expect(try run.wait(within: patience) == 1)
    #expect(run.output.contains("hello"))
    #expect(access(socket, F_OK) != 0)
  }

  @Test func wrongUseIsTold() throws {
    let host = try TestHost()
    try host.create("box", memory: 16, ["--firmware", Guests.bareMetal("watch32.rom")])
    try host.refused("debugvm", "box", "gdbserver", saying: ["does not run"])
    try host.vmctl("startvm", "box")
    let first = try serve(host)
    let port = try #require(first.split(separator: ":").last.map(String.init))
    // The port is the machine's own: it is taken, and nothing has changed.
    try host.refused("debugvm", "box", "gdbserver", "--port", port, saying: ["port \(port)", "--port"])
    try host.refused("debugvm", "box", "gdbserver", "--port", "70000", status: 64, saying: ["0 to 65535"])
    try host.refused("debugvm", "box", "info", "memory", "--port", "1", status: 64, saying: ["for gdbserver"])
    try host.refused("debugvm", "box", "gdbserver", "--socket", "/no/such/folder/gdb", saying: ["/no/such/folder/gdb"])
    // Asked for elsewhere, it is served there and no longer where it was.
    let second = try serve(host, ["--socket", host.folder + "/gdb"])
    #expect(second == host.folder + "/gdb")
    try host.vmctl("controlvm", "box", "poweroff")
  }
}
