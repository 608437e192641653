import Foundation
import Testing

/// The operator's menu on terminals, as a person uses it.
@Suite struct MenuTests {
  static let why = TmuxTerminal.missing ?? (access("/run/systemd/system", F_OK) == 0 ? "systemd runs here" : nil)

  private func host() throws -> TestHost {
    let host = try TestHost()
    for name in ["box", "web"] {
      try host.create(name, memory: 32, ["--firmware", Guests.bareMetal("walker32.rom"), "--debug-ports", "on"])
    }
    return host
  }

  private func menu(
    _ host: TestHost, type: String = "xterm", columns: Int = 80, rows: Int = 24, editor: String = "false"
  ) throws -> TmuxTerminal {
    try TmuxTerminal(
      host, [TestHost.vmctl, "menu"], type: type, columns: columns, rows: rows,
      environment: ["VMCTL_UNITS": host.folder + "/units", "VISUAL": editor])
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"), arguments: ["xterm", "linux", "vt100"])
  func machinesAreAddedStartedStoppedAndRemovedByKeys(type: String) throws {
    let host = try host()
    let menu = try menu(host, type: type)
    try menu.expect("vmctl  host: up since", "> ", "box", "web", "INACTIVE", "a add", "q leave")
    // Made a service by its form.
    try menu.press("a")
    try menu.expect("Make a machine a service", "Name", "box")
    try menu.press("Enter", "Enter", "Enter", "Enter", "Enter")
    try menu.expect("\"box\" is a service")
    try menu.press("s")
    try menu.expect("ACTIVE", "has started")
    #expect(try host.state("box") == "running")
    // The uptime goes on by itself.
    try menu.expect("2s")
    try menu.press("Down", "Down", "s")
    // Until the menu has said so, it takes no other operation.
    try menu.expect("the machine \"web\" has started")
    #expect(try host.state("web") == "running")
    // One without a service is stopped as one chooses, and nothing is lost by Enter alone.
    try menu.press("t")
    try menu.expect("How is \"web\" stopped?", "Switch it off")
    try menu.press("Enter")
    try menu.expect("a add", without: "Switch it off")
    #expect(try host.state("web") == "running")
    try menu.press("t", "4")
    try menu.expect("\"web\" is off")
    #expect(try host.state("web") == "poweroff")
    try menu.press("Up", "t")
    try menu.expect("Stop \"box\" by its own means")
    try menu.press("n")
    try menu.expect("a add", without: "by its own means")
    #expect(try host.state("box") == "running")
    try menu.press("v")
    try menu.expect("Save the state of \"box\"")
    try menu.press("y")
    try menu.expect("\"box\" is saved")
    #expect(try host.state("box") == "saved")
    try menu.press("d")
    try menu.expect("Remove the service of \"box\"")
    try menu.press("y")
    try menu.expect("\"box\" is no service any more")
    // By arrows alone: the last of the actions is to leave.
    try menu.press("Enter", "Up", "Enter")
    try menu.expect("ended with 0")
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"), arguments: ["xterm", "vt100"])
  func theConsoleAndTheLogAreLeftForTheMenu(type: String) throws {
    let host = try host()
    try host.modify("box", ["--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0"])
    let menu = try menu(host, type: type)
    try menu.expect("box")
    try menu.press("c")
    try menu.expect("\"box\" does not run")
    try menu.press("s")
    try menu.expect("ACTIVE", "has started")
    try menu.press("c")
    try menu.expect("connected to \"box\"; Ctrl-] leaves")
    try menu.press("C-]")
    try menu.expect("vmctl  host: up since", "ACTIVE", "q leave", without: "connected to")
    try menu.press("l")
    try menu.expect("Log of \"box\"", "heartbeat", "q: back")
    try menu.press("g")
    try menu.expect("starting box")
    try menu.press("o")
    try menu.expect("has no older log")
    try menu.press("q", "i")
    try menu.expect("Configuration:", "State:           ACTIVE", "Log:")
    try menu.press("q", "C-c")
    try menu.expect("ended with 0")
    #expect(try host.state("box") == "running", "machines run on without the menu")
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func aDefinitionIsKeptWhenItIsRightAndOfferedAgainWhenItIsNot() throws {
    let host = try host()
    // The first time it spoils the file, the second time it mends that and changes the memory.
    let editor = try host.write(
      "edit.sh",
      Array(
        """
        if grep -q rubbish "$1"; then sed -i -e /rubbish/d -e 's/^memory = 32/memory = 48/' "$1"; else echo rubbish >>"$1"; fi
        """.utf8))
    let definition = host.home + "/machines/box/definition.toml"
    let before = try String(contentsOfFile: definition, encoding: .utf8)
    let menu = try menu(host, editor: "sh \(editor)")
    try menu.expect("box")
    try menu.press("e")
    try menu.expect("The definition of \"box\" is as it was", "Edit it again", "Drop what was edited")
    #expect(try String(contentsOfFile: definition, encoding: .utf8) == before)
    try menu.press("2")
    try menu.expect("the definition is as it was")
    #expect(!FileManager.default.fileExists(atPath: definition + ".edited"))
    try menu.press("e")
    try menu.expect("Edit it again")
    try menu.press("Enter")
    try menu.expect("the definition of \"box\" is changed", "48 MB")
    #expect(try host.fact("box", "memory") == "48")
    // The stop script has to be one that a shell understands.
    try menu.press("p")
    try menu.expect("is no service and has no stop script")
    try menu.press("a", "Enter", "Enter", "Enter", "Enter", "Enter")
    try menu.expect("\"box\" is a service")
    let script = host.home + "/services/stop"
    let template = try String(contentsOfFile: script, encoding: .utf8)
    let broken = try host.write("break.sh", Array("echo 'if' >>\"$1\"\n".utf8))
    try menu.press("q")
    try menu.expect("ended with 0")
    let second = try self.menu(host, editor: "sh \(broken)")
    try second.expect("box")
    try second.press("p")
    try second.expect("The stop script of \"box\" is as it was", "Edit it again")
    try second.press("2")
    try second.expect("the stop script is as it was")
    #expect(try String(contentsOfFile: script, encoding: .utf8) == template)
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func aTeleportIsAskedForShownAndEnded() throws {
    let host = try host()
    let target = try TestHost()
    try target.vmctl("registervm", host.home + "/machines/box")
    try FileManager.default.removeItem(atPath: target.home + "/machines/box")
    try FileManager.default.copyItem(
      atPath: host.home + "/machines/box", toPath: target.home + "/machines/box")
    try target.modify("box", ["--teleporter", "on"])
    try target.vmctl("startvm", "box")
    let port = try #require(try target.fact("box", "teleporterport"))
    let menu = try menu(host)
    try menu.expect("box")
    try menu.press("s")
    try menu.expect("has started")
    try menu.press("m")
    try menu.expect("Teleport \"box\" to a host")
    try menu.type("127.0.0.1")
    try menu.press("Enter")
    try menu.type("x")
    try menu.press("Enter", "Enter", "Enter")
    try menu.expect("Port: a number from 1 to 65535")
    try menu.press("C-u")
    try menu.type(port)
    try menu.press("Enter", "Enter", "Enter")
    try menu.expect("INACTIVE", "\"box\" is teleported to 127.0.0.1")
    #expect(try host.state("box") == "teleported")
    #expect(try target.state("box") == "running")
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func itFollowsTheTerminalsSizeAndRefusesWhatIsNone() throws {
    let host = try host()
    let menu = try menu(host)
    try menu.expect("box", "STOP SCRIPT")
    try menu.resize(columns: 44, rows: 12)
    try menu.expect("box", "a add", without: "STOP SCRIPT")
    try menu.resize(columns: 20, rows: 5)
    try menu.expect("too small: 40 x 10", without: "box")
    try menu.resize(columns: 120, rows: 30)
    try menu.expect("box", "STOP SCRIPT", "CONSOLE")
    // What another has written over it goes with Ctrl-L.
    try menu.press("C-l", "q")
    try menu.expect("ended with 0")
    for (type, columns, rows, text) in [
      ("xterm", 20, 5, "s 40 and 10; make it"),
      ("none-such", 80, 24, "vmctl: the terminal \"none-such\" is not known"),
      ("dumb", 80, 24, "cannot move its cursor"),
    ] {
      let refused = try self.menu(host, type: type, columns: columns, rows: rows)
      try refused.expect("ended with 1")
      // Lines are broken anywhere.
      let flat = refused.screen.replacingOccurrences(of: "\n", with: "")
      #expect(flat.contains(text), "\(refused.screen)")
    }
    try host.refused("menu", saying: ["the menu needs a terminal; see vmctl service list"])
  }
}
