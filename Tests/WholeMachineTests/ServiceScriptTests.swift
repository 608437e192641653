import Foundation
import Testing

/// The scripts that operators get and give, with programs of the test's own in the place of a mail server, a journal and a
/// guest's ssh.
@Suite struct ServiceScriptTests {
  static let why: String? = access("/run/systemd/system", F_OK) == 0 ? "systemd runs here" : nil

  private struct Place {
    let host: TestHost
    var bin: String { host.folder + "/bin" }

    init(_ machines: String...) throws {
      host = try TestHost()
      try FileManager.default.createDirectory(atPath: host.folder + "/bin", withIntermediateDirectories: true)
      for name in machines {
        try host.create(
          name, memory: 32,
          [
            "--firmware", try Guests.bareMetal("walker32.rom"), "--debug-ports", "on", "--uart1", "0x3F8", "4",
            "--uart-mode1", "tcpserver", "0",
          ])
      }
    }

    func script(_ name: String, _ text: String) throws -> String {
      let written = try host.write(UUID().uuidString, Array("#!/bin/sh\n\(text)\n".utf8))
      try makeProgram(host.folder + "/" + name, from: written)
      return host.folder + "/" + name
    }

    func run(_ words: String..., program: String = TestHost.vmctl) throws -> TestHost.Outcome {
      var environment = host.environment
      environment["VMCTL_UNITS"] = host.folder + "/units"
      environment["PATH"] = bin + ":/usr/sbin:/usr/bin:/sbin:/bin"
      let child = try Child(program, words, environment: environment, streams: .files(folder: host.folder, input: nil))
      let status = try child.wait()
      return .init(status: status, output: child.output, errors: child.errors)
    }

    func read(_ name: String) -> String {
      String(decoding: FileManager.default.contents(atPath: host.folder + "/" + name) ?? Data(), as: UTF8.self)
    }
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func theAlertScriptWritesToTheJournalAndItsExampleMails() throws {
    let place = try Place("box")
    _ = try place.script("bin/logger", #"printf '%s|' "$@" >>"# + place.host.folder + "/journal")
    _ = try place.script("bin/mail", #"{ printf '%s|' "$@"; cat; } >>"# + place.host.folder + "/mails")
    #expect(try place.run("service", "add", "box").status == 0)
    #expect(try place.run("service", "alert", "ABORTED", "box", "it's gone").status == 0)
    #expect(try place.run("service", "alert", "STARTED", "box", "started").status == 0)
    #expect(
      place.read("journal")
        == "-t|vmctl|-p|daemon.err|--|ABORTED box: it's gone|-t|vmctl|-p|daemon.info|--|STARTED box: started|")
    // As its first line says: copied over the other.
    let services = place.host.home + "/services"
    try FileManager.default.removeItem(atPath: services + "/alert")
    try makeProgram(services + "/alert", from: services + "/alert.mail")
    #expect(try place.run("service", "alert", "ABORTED", "box", "it's gone").status == 0)
    #expect(try place.run("service", "alert", "STARTED", "box", "started").status == 0)
    #expect(try place.run("service", "alert", "LOGEVENT", "box", "one\ntwo").status == 0)
    let mails = place.read("mails")
    #expect(mails.hasPrefix("-s|[CRITICAL] vmctl: box ABORTED|root|it's gone\n\nmachine: box\nhost: "))
    #expect(mails.contains("-s|[WARNING] vmctl: box LOGEVENT|root|one\ntwo\n"))
    #expect(!mails.contains("STARTED"), "who gets mail wants no news of what was asked for")
    // One that fails is told, with its first line.
    _ = try place.script("bin/mail", "echo no server; exit 5")
    let failed = try place.run("service", "alert", "ABORTED", "box", "x")
    #expect(failed.status == 1 && failed.errors.contains("ended with 5: no server"))
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"), arguments: ["ssh", "rsh"])
  func theStopScriptsTemplatesStopByWayOfTheNetwork(means: String) throws {
    let place = try Place("box")
    #expect(try place.run("service", "add", "box").status == 0)
    // A connection that ends with the guest: ssh says 255 of that.
    _ = try place.script(
      "bin/" + means,
      "printf '%s|' \"$@\" >\(place.host.folder)/words; \(TestHost.vmctl) controlvm box poweroff; exit "
        + (means == "ssh" ? "255" : "0"))
    let line = means == "ssh" ? "box) stop_by_ssh root@guest 2222 ;;" : "box) stop_by_rsh root guest ;;"
    let script = place.host.home + "/services/stop"
    let text = try String(contentsOfFile: script, encoding: .utf8)
      .replacingOccurrences(of: "# TO CUSTOMIZE: remove this line when the first case is set\n", with: "")
      .replacingOccurrences(of: "*) echo", with: line + "\n*) echo")
    let written = try place.host.write("stop", Array(text.utf8))
    try makeProgram(script, from: written)
    #expect(try place.run("service", "status", "box").output.contains("Using " + means.uppercased()))
    #expect(try place.run("service", "start", "box").status == 0)
    let stopped = try place.run("service", "stop", "box")
    #expect(stopped.status == 0 && stopped.output.contains("is poweroff"), "\(stopped.errors)")
    #expect(
      place.read("words")
        == (means == "ssh"
          ? "-o|BatchMode=yes|-o|ConnectTimeout=10|-p|2222|root@guest|shutdown -h now|"
          : "-l|root|guest|shutdown|-h|now|"))
    // A guest that cannot be reached: the stop has failed, and its time-out ends the machine.
    _ = try place.script("bin/" + means, "echo no route to host; exit 1")
    #expect(try place.run("service", "add", "box", "--stop-timeout", "1").status == 0)
    #expect(try place.run("service", "start", "box").status == 0)
    let failed = try place.run("service", "stop", "box")
    #expect(failed.status == 1 && failed.errors.contains("ended with 1"), "\(failed.errors)")
  }

  private struct List: Decodable {
    struct Row: Decodable {
      var name: String
      var guest: String?
      var consoleRecords: [String]
    }
    var machines: [Row]
  }

  private func list(_ place: Place) throws -> [String: List.Row] {
    let output = try place.run("service", "list", "--format", "json").output
    let rows = try JSONDecoder().decode(List.self, from: Data(output.utf8)).machines
    return Dictionary(rows.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func guestsAreAskedAllAtOnceByTheirStatusScripts() throws {
    let place = try Place("a", "b", "c", "d", "off")
    // Each waits for the other: asked one after the other none would ever answer.
    let meets = try place.script(
      "meets",
      "cd \(place.host.folder); touch \"here-$1\"; until [ -e here-a ] && [ -e here-b ]; do sleep 0.05; done; "
        + "echo \"met, console $VMCTL_CONSOLE_PORT\"; echo more")
    let young = try place.script("young", "exit 255")
    let hangs = try place.script("hangs", "sleep 1000")
    for (name, script) in [("a", meets), ("b", meets), ("c", young), ("d", hangs), ("off", meets)] {
      #expect(try place.run("service", "add", name, "--status-script", script).status == 0)
      if name != "off" { #expect(try place.run("service", "start", name).status == 0) }
    }
    let rows = try list(place)
    #expect(rows["a"]?.guest?.hasPrefix("met, console ") == true && rows["b"]?.guest == rows["b"]?.guest)
    #expect(rows["b"]?.guest?.hasPrefix("met, console ") == true && rows["a"]?.guest != rows["b"]?.guest)
    #expect(rows["c"]?.guest == "not booted")
    #expect(rows["d"]?.guest == "no answer for 10 s")
    #expect(rows["off"]?.guest == nil, "one that does not run is not asked")
    // Their consoles are recorded, as nobody is connected.
    #expect(rows["a"]?.consoleRecords == [place.host.home + "/machines/a/console1.log"])
    #expect(rows["off"]?.consoleRecords == [])
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func eventsOfTheLogAreOneAlertAndSystemdIsToLookForThem() throws {
    let place = try Place("box")
    let alert = try place.script("alert", "printf '%s|' \"$@\" >>\(place.host.folder)/alerts")
    #expect(try place.run("service", "add", "box", "--log-alerts", "info").status == 0)
    try FileManager.default.removeItem(atPath: place.host.home + "/services/alert")
    try makeProgram(place.host.home + "/services/alert", from: alert)
    let units = place.host.folder + "/units"
    let wants = try FileManager.default.contentsOfDirectory(atPath: units + "/timers.target.wants")
    #expect(wants.count == 1 && wants[0].hasPrefix("vmctl-events@") && wants[0].hasSuffix(".timer"))
    if access("/usr/bin/systemd-analyze", X_OK) == 0 {
      let verify = try place.run(
        "verify", units + "/vmctl-events@x.timer", units + "/vmctl-events@x.service",
        program: "/usr/bin/systemd-analyze")
      #expect(verify.errors == "")
    }
    #expect(try place.run("service", "start", "box").status == 0)
    // The first look only learns where the log ends.
    #expect(try place.run("service", "events").output == "")
    try place.host.waitForHeartbeat("box")
    let seen = place.host.heartbeats("box").last ?? 0
    try place.host.waitForHeartbeat("box", atLeast: seen + 2)
    #expect(try place.run("service", "events").output.hasPrefix("box: "))
    let alerts = place.read("alerts")
    #expect(alerts.contains("LOGEVENT|box|") && alerts.contains("heartbeat"))
    #expect(alerts.components(separatedBy: "LOGEVENT").count == 2, "all of them in one")
    #expect(try place.run("service", "add", "box", "--log-alerts", "off").status == 0)
    #expect(try place.run("service", "events").output == "")
    #expect(try FileManager.default.contentsOfDirectory(atPath: units + "/timers.target.wants") == [])
  }

  @Test(
    .enabled(if: why == nil && Guests.hasLinux, "\(why ?? "needs the Linux guests: run scripts/fetch-guest")"))
  func aConsoleIsRecordedWhileNobodyIsConnected() throws {
    let place = try Place()
    try place.host.create("box", memory: 256, Guests.linux("cloud-amd64", append: "workload=0"))
    #expect(try place.run("service", "add", "box", "--stop-mode", "poweroff").status == 0)
    #expect(try place.run("service", "start", "box").status == 0)
    let record = "home/machines/box/console1.log"
    try poll("the guest's boot in the record") { place.read(record).contains("VMCTL-BOOT-DONE") ? () : nil }
    do {
      let console = try place.host.console("box")
      try console.expect("VMCTL-BOOT-DONE")
      _ = try console.shell("echo seen-$((40 + 2))")
      // It goes on by itself when nobody is there any more.
      try console.send("while :; do echo alone-$((40 + 3)); sleep 1; done &\r")
      try console.expect("alone-43")
    }
    try poll("what is said afterwards") {
      place.read(record).components(separatedBy: "somebody was connected]").last?.contains("alone-43") == true
        ? () : nil
    }
    let text = place.read(record)
    #expect(!text.contains("seen-42"), "what somebody has seen is not recorded")
    #expect(text.contains("somebody was connected]"))
    // The next run has a record of its own; the old one is kept.
    #expect(try place.run("service", "stop", "box").status == 0)
    #expect(try place.run("service", "start", "box").status == 0)
    #expect(place.read(record + ".1").contains("alone-43") && !place.read(record).contains("alone-43"))
    #expect(try place.run("service", "stop", "box").status == 0)
  }
}
