import Foundation
import Testing

/// What scripts wait for and are told: startvm --wait, events, breaks, and what keeps a machine from booting.
@Suite struct WaitingTests {
  @Test(
    "startvm waits for a kernel and for words; events tell what happens; a break is SysRq",
    .enabled(if: Guests.hasLinux, "needs the Linux guests: run scripts/fetch-guest"))
  func linux() throws {
    let host = try TestHost()
    try host.create("box", memory: 256, Guests.linux())
    try host.vmctl("startvm", "box", "--wait", "kernel")
    let events = try host.begin(["events", "box", "--format", "json"])
    let console = try host.console("box")
    try console.expect("guest# ", within: 240)
    try console.send("echo 1 >/proc/sys/kernel/sysrq; dmesg -n 8\n")
    try console.expect("guest# ")
    // A break and then a key: the list of what SysRq can do.
    try host.vmctl("controlvm", "box", "sendbreak")
    try console.send("h")
    try console.expect("sysrq: HELP")
    try host.vmctl("console", "box", "--break")
    try console.send("h")
    try console.expect("sysrq: HELP")

    // RFC 854's BREAK, as telnet sends it.
    let port = try #require(try host.fact("box", "uartport1"))
    let telnet = try TerminalSession("telnet", ["127.0.0.1", port], environment: host.environment)
    try telnet.expect("Escape character is")
    try telnet.send("\u{1D}")
    try telnet.expect("telnet> ")
    try telnet.send("send brk\r")
    try telnet.send("h")
    try telnet.expect("sysrq: HELP")

    try host.vmctl("controlvm", "box", "pause")
    try host.vmctl("controlvm", "box", "resume")
    try host.vmctl("controlvm", "box", "poweroff")
    #expect(try events.wait() == 0)
    let states = try events.output.split(separator: "\n").compactMap { line -> String? in
      let event = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
      #expect(event["machine"] as? String == "box" && (event["time"] as? String)?.hasSuffix("Z") == true)
      return event["state"] as? String
    }
    #expect(states == ["running", "paused", "running", "stopping", "poweroff"], "\(events.output)")

    // Its first words are found though they come before anybody can ask for them.
    try host.vmctl("startvm", "box", "--wait", "console:guest# ")
    try host.vmctl("controlvm", "box", "poweroff")
    let late = try host.attempt(["startvm", "box", "--wait", "console:never said", "--timeout", "0.5"])
    #expect(late.status == 124 && late.errors.contains("has not come in 0.5 seconds"), "\(late.errors)")
    try host.vmctl("controlvm", "box", "poweroff")
    try host.refused("events", "box", saying: ["does not run"])

    // What the boot ROM would have to refuse is refused at once.
    try host.modify("box", ["--append", String(repeating: "x", count: 2048)])
    try host.refused("startvm", "box", saying: ["2048 characters", "2047", "--append"])
    try host.modify("box", ["--append", "console=ttyS0", "--memory", "24"])
    try host.refused("startvm", "box", saying: ["need", "MB", "--memory"])
  }

  /// What docs/control-socket.md shows, word for word.
  @Test(.enabled(if: access("/usr/bin/python3", X_OK) == 0, "needs python3"))
  func theDocumentedClientWorks() throws {
    let host = try TestHost()
    try host.create("box", memory: 16, ["--firmware", Guests.bareMetal("watch32.rom")])
    try host.vmctl("startvm", "box")
    let page = try String(contentsOfFile: Guests.root + "/docs/control-socket.md", encoding: .utf8)
    let example = try #require(page.components(separatedBy: "## From Python\n").last)
    let lines = example.split(separator: "\n", omittingEmptySubsequences: false).filter {
      $0.hasPrefix("    ") || $0.isEmpty
    }
    let script =
      "import os\nos.chdir('\(host.home)/machines/box')\n" + lines.map { $0.dropFirst(4) }.joined(separator: "\n")
    let child = try Child(
      "/usr/bin/python3", ["-c", script], environment: host.environment,
      streams: .files(folder: host.folder, input: nil))
    #expect(try child.wait(within: patience) == 0, "\(child.errors)")
    #expect(child.output == "running\n")
    #expect(try host.state("box") == "paused")
    try host.vmctl("controlvm", "box", "poweroff")
  }

  @Test func aMachineWithNothingToBootSaysSo() throws {
    let host = try TestHost()
    let disk = try host.makeDisk("empty.img", megabytes: 1)
    try host.create("box", memory: 32)
    try host.vmctl("storagectl", "box", "--name", "IDE", "--add", "ide")
    try host.vmctl("storageattach", "box", "--storagectl", "IDE", "--type", "hdd", "--medium", disk)
    let outcome = try host.attempt(["startvm", "box", "--wait", "kernel"])
    #expect(outcome.status == 1 && outcome.errors.contains("the BIOS has found nothing to boot"), "\(outcome.errors)")
    #expect(try host.vmctl("showvminfo", "box", "--log", "0").contains("warning the BIOS has found nothing to boot"))
    #expect(try host.state("box") == "running")
    for words in [
      ["--wait", "nonsense"], ["--wait", "console:"], ["--timeout", "3"], ["--wait", "ready", "--timeout", "0"],
    ] {
      #expect(try host.attempt(["startvm", "box"] + words).status == 64)
    }
  }

  @Test func aBrokenDefinitionIsListedAsInaccessible() throws {
    let host = try TestHost()
    try host.create("good")
    try host.create("bad")
    let file = host.home + "/machines/bad/definition.toml"
    let text = try String(contentsOfFile: file, encoding: .utf8)
    try (text + "nonsense = 3\n").write(toFile: file, atomically: true, encoding: .utf8)
    let list = try host.attempt(["list", "vms"])
    let uuid = try #require(text.split(separator: "\n").first { $0.hasPrefix("uuid") }?.split(separator: "\"")[1])
    #expect(
      list.status == 0 && list.output.contains("\"<inaccessible>\" {\(uuid)}") && list.output.contains("\"good\""))
    #expect(list.errors.contains("\"bad\" is inaccessible") && list.errors.contains("nonsense"), "\(list.errors)")
    #expect(try host.attempt(["list", "vms", "--format", "json"]).output.contains("\"state\" : \"inaccessible\""))
    try host.refused("startvm", "bad", saying: ["nonsense"])
  }
}
