import Foundation
import Testing

/// `vmctl top`, for scripts and on a terminal.
@Suite struct TopTests {
  private struct Table: Decodable {
    struct Row: Decodable {
      var name: String
      var state: String
      var cpuPercent: Double?
      var residentMB: Int?
      var sentPerSecond: Double?
    }
    var machines: [Row]
  }

  private func host() throws -> TestHost {
    let host = try TestHost()
    try host.create("busy", memory: 32, ["--firmware", Guests.bareMetal("walker32.rom"), "--debug-ports", "on"])
    try host.modify("busy", ["--nic1", "null"])
    try host.create("off", memory: 32)
    try host.vmctl("startvm", "busy")
    try host.waitForHeartbeat("busy")
    return host
  }

  @Test func scriptsGetTables() throws {
    let host = try host()
    let json = try host.vmctl("top", "--once", "--interval", "1", "--format", "json")
    let table = try JSONDecoder().decode(Table.self, from: Data(json.utf8))
    #expect(table.machines.map(\.name) == ["busy", "off"], "the busiest first")
    #expect(table.machines[0].cpuPercent ?? 0 > 0 && table.machines[0].residentMB ?? 0 > 0)
    #expect(table.machines[0].sentPerSecond == 0 && table.machines[0].state == "ACTIVE")
    #expect(table.machines[1].cpuPercent == nil && table.machines[1].residentMB == nil)
    let text = try host.vmctl("top", "--count", "2", "--interval", "0.1")
    #expect(text.components(separatedBy: "NAME  STATE").count == 3, "\(text)")
    // One that is stopped holds nothing up: its network's rates are missing.
    let process = try #require(host.processID("busy"))
    kill(process, SIGSTOP)
    let silent = try host.vmctl("top", "--once", "--interval", "0.1", "--format", "json")
    kill(process, SIGCONT)
    let row = try JSONDecoder().decode(Table.self, from: Data(silent.utf8)).machines.first { $0.name == "busy" }
    #expect(row?.sentPerSecond == nil && row?.residentMB != nil)
    try host.refused("top", "--interval", "0", status: 64, saying: ["--interval is from 0.1 to 3600"])
    try host.refused("top", "--once", "--count", "2", status: 64, saying: ["exclude each other"])
  }

  @Test(.enabled(if: TmuxTerminal.missing == nil, "\(TmuxTerminal.missing ?? "")"), arguments: ["xterm", "vt100"])
  func aTerminalSeesItLive(type: String) throws {
    let host = try host()
    let top = try TmuxTerminal(host, [TestHost.vmctl, "top", "--interval", "0.2"], type: type, columns: 100)
    try top.expect("host: up since", "CPU %", "busy  ACTIVE", "off   INACTIVE", "q: leave")
    try host.vmctl("controlvm", "busy", "poweroff")
    try top.expect("busy  INACTIVE")
    try top.resize(columns: 60, rows: 4)
    try top.expect("NAME", "q: leave", without: "NET OUT")
    try top.press("q")
    try top.expect("ended with 0")
  }

  /// What Prometheus itself thinks of the metrics.
  static let promtool: String? = {
    let places = ["/usr/bin/", "/usr/local/bin/"].map { $0 + "promtool" } + [Guests.cache + "/promtool"]
    return places.first { access($0, X_OK) == 0 }
  }()

  @Test(.enabled(if: promtool != nil, "promtool is not there: run scripts/fetch-tool promtool"))
  func prometheusAcceptsTheMetrics() throws {
    let host = try host()
    let metrics = try host.vmctl("metrics")
    for name in [
      "vmctl_machine_network_sent_bytes_total{machine=\"busy\",card=\"1\"} 0",
      "vmctl_machine_translator_blocks_total{machine=\"busy\"}", "vmctl_machine_cpu_seconds_total{machine=\"busy\"}",
    ] {
      #expect(metrics.contains(name), "\(name)")
    }
    try Self.check(metrics, host)
  }

  /// Prometheus' opinion, where it is there.
  static func check(_ metrics: String, _ host: TestHost) throws {
    guard let promtool else { return }
    let input = try host.write("metrics", Array(metrics.utf8))
    let check = try Child(
      promtool, ["check", "metrics"], environment: host.environment, streams: .files(folder: host.folder, input: input))
    #expect(try check.wait() == 0, "\(check.errors)\(check.output)")
    #expect(check.errors == "", "promtool has remarks")
  }
}
