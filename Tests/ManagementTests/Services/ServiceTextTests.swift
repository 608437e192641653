import Foundation
import Machine
import Teleport
import Testing

@testable import Management

@Suite struct ServiceTextTests {
  /// What systemd-escape(1) of version 252 makes of them.
  @Test(arguments: [
    ("box", "box"), ("c d", #"c\x20d"#), ("a-b", #"a\x2db"#), (".hidden.x", #"\x2ehidden.x"#), ("a/b", "a-b"),
    ("Grüße", #"Gr\xc3\xbc\xc3\x9fe"#), ("a_b:1", "a_b:1"), (#"a\b"#, #"a\x5cb"#), ("tab\there", #"tab\x09here"#),
  ])
  func namesAreEscapedAsSystemdDoes(text: String, name: String) {
    #expect(UnitName.escape(text) == name)
    #expect(UnitName.unescape(name) == text)
  }

  @Test func anyBytesSurviveUnescaping() {
    for text in ["\\", "\\x", "\\x4", "\\xzz", "-", ""] { _ = UnitName.unescape(text) }
    #expect(UnitName.unescape("\\x4") == "\\x4")
  }

  @Test func wordsOfUnitsAreQuoted() {
    #expect(UnitFiles.word("/usr/bin/vmctl") == "/usr/bin/vmctl")
    #expect(UnitFiles.word("VMCTL_HOME=/a b/100%") == "\"VMCTL_HOME=/a b/100%%\"")
    #expect(UnitFiles.word("a\"b\\$c") == "\"a\\\"b\\\\$$c\"")
  }

  @Test func theUnitsSayWhatAnOperatorHasSaid() {
    let units = UnitFiles(program: "/usr/bin/vmctl", scope: .system)
    let sections = units.template.components(separatedBy: "\n[")
    let unit = sections.first { $0.hasPrefix("Unit]") || $0.contains("[Unit]") } ?? ""
    #expect(unit.contains("StartLimitIntervalSec=600\nStartLimitBurst=3"), "limits belong to [Unit]")
    for line in ["Type=notify", "KillMode=mixed", "WatchdogSec=30", "RestartSec=30", "RestartPreventExitStatus=78"] {
      #expect(units.template.components(separatedBy: "\n").contains(line))
    }
    var settings = ServiceSettings(name: "box", scope: .system)
    settings.after = ["c d"]
    settings.stopTimeout = 45
    settings.restart = false
    let text = units.dropIn(settings, home: "/h", uuid: "u")
    for line in [
      #"After=vmctl@c\x20d.service"#, "TimeoutStopSec=75", "Restart=no",
      "Environment=VMCTL_HOME=/h VMCTL_SERVICE_MACHINE=u",
    ] {
      #expect(text.components(separatedBy: "\n").contains(line), "\(line) in \(text)")
    }
    #expect(UnitFiles(program: "/v", scope: .user).template.contains("WantedBy=default.target"))
  }

  @Test func aStopScriptHasTheStatusThatOperatorsKnow() {
    func status(_ text: String?, common: Bool = true) -> String {
      StopScript.status(text, machine: "box", isCommon: common).description
    }
    #expect(status(nil) == "Not found")
    #expect(status(StopScript.template) == "To customize")
    let mine = StopScript.template.replacingOccurrences(of: StopScript.mark, with: "#")
    #expect(status(mine) == "Case not set")
    func with(_ line: String) -> String {
      mine.replacingOccurrences(of: "    *)", with: line).replacingOccurrences(of: "*) echo", with: line + "\n*) echo")
    }
    #expect(status(with("box) stop_by_expect \"$1\" root x 'poweroff' ;;")) == "Using EXPECT")
    #expect(status(with("\"box\")\n  stop_by_ssh root@h ;;")) == "Using SSH")
    #expect(status(with("box) stop_by_rsh root h ;;")) == "Using RSH")
    #expect(status(with("box) stop_by_acpi box ;;\nweb) stop_by_ssh root@h ;;")) == "Customized")
    #expect(status(with("boxes) stop_by_ssh root@h ;;")) == "Case not set")
    #expect(status("#!/bin/sh\n# ssh would do\nvmctl controlvm box savestate\n", common: false) == "Customized")
    #expect(status("", common: false) == "Customized")
  }

  @Test func whatSystemdSaysOfItsUnitsIsRead() {
    let states = ServiceManager.states(
      "Id=vmctl@a.service\nActiveState=active\nSubState=running\nResult=success\nMainPID=12\n\n"
        + "Id=vmctl@b.service\nActiveState=failed\nResult=watchdog\nMainPID=x\n\nrubbish\n=\n\n")
    #expect(states.count == 2)
    #expect(states["vmctl@a.service"]?.mainProcess == 12)
    #expect(states["vmctl@b.service"]?.result == "watchdog")
  }

  @Test func aMachineAndItsUnitAreOneState() {
    var unit = ServiceManager.UnitState()
    #expect(Services.state(nil, nil) == .unknown)
    #expect(Services.state(.running, unit) == .active)
    #expect(Services.state(.teleportingin, nil) == .activating)
    #expect(Services.state(.standby, nil) == .activating)
    #expect(Services.state(.poweroff, nil) == .inactive)
    #expect(Services.state(.aborted, nil) == .failed)
    unit.active = "deactivating"
    #expect(Services.state(.running, unit) == .deactivating)
    unit.active = "activating"
    #expect(Services.state(.aborted, unit) == .activating, "it waits for its restart")
    unit.active = "failed"
    #expect(Services.state(.poweroff, unit) == .failed)
  }

  @Test func protectionsAreToldInAWordAndInASentence() throws {
    func status(_ state: ProtectionProgress.State, _ side: ProtectionSide, _ peer: String = "h port 6000")
      -> ProtectionStatus?
    {
      var progress = ProtectionProgress(role: side, state: state)
      progress.peer = peer
      progress.reason = state == .deciding ? "silence" : nil
      return ProtectionStatus(progress)
    }
    let cases: [(ProtectionProgress.State, ProtectionSide, String, Bool?, Bool?)] = [
      (.synchronizing, .primary, "begins: h", false, nil), (.protected, .primary, "protected by h", true, nil),
      (.deciding, .primary, "asks the witness", false, nil), (.unprotected, .primary, "UNPROTECTED", false, nil),
      (.takenover, .primary, "went to h", nil, nil), (.synchronizing, .backup, "begins, of h", nil, false),
      (.protected, .backup, "standby of h", nil, true), (.deciding, .backup, "asks the witness", nil, true),
      (.takenover, .backup, "UNPROTECTED", false, nil),
    ]
    for (state, side, words, isProtected, isStandby) in cases {
      let status = try #require(status(state, side))
      #expect(status.words == words && status.isProtected == isProtected && status.isStandby == isStandby, "\(status)")
      #expect(status.line.contains("h port 6000") || status.state == .unprotected, "\(status.line)")
    }
    #expect(status(.deciding, .primary)?.line.hasSuffix("whose the machine is: silence") == true)
    #expect(status(.takenover, .backup)?.line.hasSuffix("taken over from h port 6000") == true)
    #expect(status(.protected, .primary, "nowhere") == nil, "nothing is protected by checkpoints that go nowhere")
  }

  /// What a machine leaves behind that has ended while it was protected.
  @Test func aMachineThatMayRunAtItsBackupIsToldSo() throws {
    let temporary = try TemporaryRegistry()
    try Files.makeDirectory(temporary.registry.home)
    let folder = VMFolder(path: temporary.registry.home)
    var record = StatusRecord(state: .running)
    record.protection = ProtectionStatus(.protected, .primary, peer: "h port 1")
    #expect(ProtectionStatus.of(record, folder)?.state == .protected)
    record.state = .aborted
    #expect(ProtectionStatus.of(record, folder) == nil)
    try ProtectionRecord(witness: "none", session: "s", peer: "h port 1").write(folder)
    #expect(ProtectionStatus.of(record, folder)?.words == "may run at h")
    record.state = .teleported
    #expect(ProtectionStatus.of(record, folder)?.words == "went to h")
    // One of before there was such a thing is read.
    let old = try JSONDecoder().decode(StatusRecord.self, from: JSONEncoder().encode(StatusRecord(state: .running)))
    #expect(old.protection == nil)
  }

  @Test func aMachineThatCannotBeReadIsUnknown() throws {
    let temporary = try TemporaryRegistry()
    _ = try temporary.registry.create(VMDefinition(name: "good"))
    let bad = try temporary.registry.create(VMDefinition(name: "bad"))
    try Data("[".utf8).write(to: URL(fileURLWithPath: bad.folder.definition))
    let list = try Services(temporary.registry).list()
    #expect(list.machines.map(\.name) == ["good", "bad"])
    let row = try #require(list.machines.last)
    #expect(row.state == .unknown && row.cpus == "-" && row.memoryMB == nil)
    #expect(row.configuration == bad.folder.definition && row.reason == list.problems.first)
    #expect(list.problems.count == 1)
  }

  /// As in a definition that somebody has written by hand; commands and editors refuse it.
  @Test func anInterfaceOfNoPossibleNameIsAFinding() {
    var definition = VMDefinition(name: "box")
    var card = MachineConfiguration.NetworkAdapter(slot: 1, network: .bridged, macAddress: "020000000001")
    card.bridgeAdapter = "no/name"
    definition.hardware.networkAdapters = [card]
    let reports = InterfaceCheck(running: []).reports(definition, isRunning: false)
    #expect(reports.map(\.findings) == [[.badName]] && InterfaceFinding.badName.rawValue == 5)
    #expect(reports.first?.line.contains("5: \"no/name\" is no name of an interface") == true)
  }

  @Test func aClusterIsToldWhoHasTheMachine() {
    #expect(ClusterStatus.of(.running, isInDoubt: false) == 0)
    #expect(ClusterStatus.of(.paused, isInDoubt: false) == 0)
    #expect(ClusterStatus.of(.teleportingin, isInDoubt: false) == 7, "who waits does not have it")
    #expect(ClusterStatus.of(.standby, isInDoubt: false) == 7, "nor does who has a copy of it")
    #expect(ClusterStatus.of(.aborted, isInDoubt: false) == 7)
    #expect(ClusterStatus.of(.aborted, isInDoubt: true) == 0, "nobody else may start it before a fence")
    #expect(ClusterStatus.of(.gurumeditation, isInDoubt: false) == 1)
  }

  @Test func requestsForMetricsAreAnsweredOrRefused() {
    func status(_ text: String) -> String { MetricsServer.reply(text) { "x 1\n" }.status }
    #expect(MetricsServer.reply("GET /metrics HTTP/1.1\r\n\r\n") { "x 1\n" } == ("200 OK", "x 1\n"))
    #expect(status("GET /metrics?x=1 HTTP/1.0\r\n\r\n").hasPrefix("200"))
    #expect(status("GET /other HTTP/1.1\r\n\r\n").hasPrefix("404"))
    #expect(status("POST /metrics HTTP/1.1\r\n\r\n").hasPrefix("405"))
    for text in ["", "\r\n\r\n", "GET", "GET  HTTP/1.1", "GET /metrics SPDY"] { #expect(status(text).hasPrefix("400")) }
  }

  @Test func labelsOfMetricsAreEscaped() {
    #expect(ServiceMetrics.escape("a\"b\\c\nd") == "a\\\"b\\\\c\\nd")
  }
}
