import Foundation
import Testing

@testable import Management

@Suite struct ServiceRatesTests {
  private func row() -> MachineRates.Row { MachineRates.Row(name: "box", state: .active) }

  @Test func ratesAreOfOneProcessOnly() {
    var row = row()
    let old = MachineRates.Counts(process: 1, cpuSeconds: 1, read: 100, written: nil, received: 0, sent: 500)
    var new = MachineRates.Counts(process: 1, cpuSeconds: 2, read: 300, written: 5, received: 4000, sent: 400)
    MachineRates.fill(&row, old, new, 2)
    #expect(row.cpuPercent == 50 && row.diskReadPerSecond == 100 && row.diskWrittenPerSecond == nil)
    #expect(row.receivedPerSecond == 2000)
    #expect(row.sentPerSecond == 0, "a count that has begun anew is no negative rate")
    var other = self.row()
    new.process = 2
    MachineRates.fill(&other, old, new, 2)
    #expect(other == self.row())
  }

  @Test(
    arguments: [
      (nil, "-"), (0, "0"), (999, "999"), (1500, "1.5 KB"), (2_000_000, "2.0 MB"), (3.21e12, "3.2 TB"),
      (1e18, "1000000.0 TB"),
    ] as [(Double?, String)])
  func amountsAreShort(bytes: Double?, text: String) {
    #expect(MachineRates.amount(bytes) == text)
  }

  @Test func aTableHasItsColumnsBelowEachOther() {
    var busy = row()
    busy.cpuPercent = 99.96
    busy.memoryMB = 32
    let host = ServiceList.HostFacts(bootTime: Date(), cpus: 1, freeMB: 1, totalMB: 2)
    let lines = MachineRates.lines(.init(host: host, machines: [busy, row()]), columns: TextColumns { _ in 1 })
    #expect(Set(lines.map(\.count)).count == 1)
    #expect(lines[1].hasPrefix("box   ACTIVE  100.0   32 MB"))
  }

  @Test func countsOfTranslatorsAreSummedOverTheCPUs() {
    let text = """
      state: running
      cpu 0 blocks translated: 12, 3 of them of several
      cpu 0 host code in memory: 5 of 100 bytes
      cpu 1 blocks translated: 30
      cpu 1 nonsense
      cpu x: y
      """
    #expect(MachineProbe.counts(text) == ["blocks translated": 42, "host code in memory": 5])
  }

  /// Each figure of the dashboard is one that there is.
  @Test func theDashboardAsksForMetricsThatThereAre() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../..")
    let data = try Data(contentsOf: root.appendingPathComponent("docs/grafana-dashboard.json"))
    let board = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    let panels = try #require(board["panels"] as? [[String: Any]])
    #expect(panels.count >= 8)
    let queries = panels.flatMap { ($0["targets"] as? [[String: Any]] ?? []).compactMap { $0["expr"] as? String } }
    #expect(queries.count >= panels.count)
    let temporary = try TemporaryRegistry()
    let names = try ServiceMetrics(Services(temporary.registry)).names
    for query in queries {
      for name in query.matches(of: /vmctl_[a-z_]+/).map({ String($0.output) }) {
        #expect(names.contains(name), "\(name) in \(query)")
      }
    }
  }
}
