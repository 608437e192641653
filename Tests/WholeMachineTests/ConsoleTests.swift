import Foundation
import Testing

/// Serial consoles with the programs people use: Debian's telnet and `vmctl console`, on a terminal.
@Suite(.enabled(if: Guests.hasLinux, "needs the Linux guests: run scripts/fetch-guest"))
struct ConsoleTests {
  /// What a person at a terminal may rely on.
  private func use(_ terminal: TerminalSession) throws {
    try terminal.send("\r")
    try terminal.expect("guest# ")
    // What is typed shows once: the guest's terminal echoes, the client's does not.
    try terminal.send("echo mark-$((40 + 2))\r")
    let echo = try terminal.expect("mark-42")
    #expect(echo.components(separatedBy: "echo mark-").count == 2, "\(echo)")
    try terminal.expect("guest# ")

    // Said by a program in the foreground: an interrupt a moment earlier would be the shell's, which may lose it.
    try terminal.send("sh -c \"echo a''sleep; exec sleep 1000\"\r")
    try terminal.expect("asleep")
    try terminal.send("\u{3}")
    try terminal.expect("guest# ")

    // Up twice, then left over "2" to change it.
    try terminal.send("\u{1B}[A\u{1B}[A\u{1B}[D\u{1B}[D\u{7F}3\r")
    try terminal.expect("mark-43")
    try terminal.expect("guest# ")

    try terminal.send("vi /tmp/note\r")
    try terminal.expect("~")
    try terminal.send("ihello from vi")
    try terminal.leaveInsertMode("/tmp/note")
    try terminal.send(":wq\r")
    try terminal.expect("guest# ")
    try terminal.send("cat /tmp/note; rm /tmp/note\r")
    try terminal.expect("rm /tmp/note")
    try terminal.expect("hello from vi")
    try terminal.expect("guest# ")
  }

  @Test("Debian's telnet gives a usable shell, and leaving it leaves the guest alone")
  func telnet() throws {
    let host = try TestHost()
    _ = try host.startLinux("box")
    let port = try #require(try host.fact("box", "uartport1"))
    let terminal = try TerminalSession("telnet", ["127.0.0.1", port], environment: host.environment)
    try terminal.expect("Escape character is")
    try use(terminal)
    try terminal.send("\u{1D}")
    try terminal.expect("telnet> ")
    try terminal.send("quit\r")
    try terminal.child.wait()
    #expect(try host.state("box") == "running")
    #expect(try host.console("box").shell("echo still $((1 + 1))").contains("still 2"))
  }

  @Test("vmctl console gives a usable shell, and its escape leaves it")
  func console() throws {
    let host = try TestHost()
    _ = try host.startLinux("box")
    let terminal = try TerminalSession(TestHost.vmctl, ["console", "box"], environment: host.environment)
    try use(terminal)
    try terminal.send("\u{1D}")
    #expect(try terminal.child.wait() == 0)
    #expect(try host.state("box") == "running")
  }

  @Test(
    "vmctl console gives the terminal back when a signal ends it, and takes no descriptor that was closed for another")
  func endings() throws {
    let host = try TestHost()
    _ = try host.startLinux("box")
    for signal in [SIGTERM, SIGHUP, SIGQUIT] {
      let terminal = try TerminalSession(TestHost.vmctl, ["console", "box"], environment: host.environment)
      try terminal.expect("connected")
      try poll("the guest's terminal") { terminal.echoes ? nil : () }
      terminal.child.signal(signal)
      #expect(try terminal.child.wait() == 128 + signal)
      #expect(terminal.echoes)
    }
    // The control socket was taken for standard input: the guest's words were typed at its own shell.
    for redirections in ["<&- >/dev/null", "</dev/null >&-", "<&- >&- 2>&-"] {
      let child = try Child(
        "sh", ["-c", "exec timeout 2 \(TestHost.vmctl) console box \(redirections)"], environment: host.environment,
        streams: .files(folder: host.folder, input: nil))
      try child.wait()
    }
    let console = try host.console("box")
    try console.send("echo the-e''nd\n")
    #expect(try !console.expect("the-end").contains("not found"))
    #expect(try host.state("box") == "running")
  }

  @Test("all that a console says is in its record, whoever is connected")
  func record() throws {
    let host = try TestHost()
    try host.create("box", memory: 256, Guests.linux() + ["--console-record", "on"])
    try host.vmctl("startvm", "box")
    let console = try host.console("box")
    try console.expect("guest# ", within: 240)
    #expect(try console.shell("echo re''cord-$((40 + 2))").contains("record-42"))
    try host.vmctl("controlvm", "box", "poweroff")
    let record = try String(contentsOfFile: host.home + "/machines/box/console1.log", encoding: .utf8)
    #expect(
      record.contains("VMCTL-BOOT-DONE") && record.contains("record-42") && !record.contains("somebody was connected"))
  }

  @Test("several clients see the same, late ones what was before, and one that drops loses nothing for the others")
  func watchers() throws {
    let host = try TestHost()
    let first = try host.startLinux("box")
    var second: ConsoleClient? = try host.console("box")
    try second?.expect("VMCTL-BOOT-DONE")
    try second?.expect("guest# ")
    try first.shell("echo $((1000 + 1))")
    try second?.expect("1001")
    second = nil
    #expect(try first.shell("seq 1 3000").hasSuffix("2999\n3000\n"))
    let third = try host.console("box")
    try third.expect("2999\r\n3000\r\n")
  }
}
