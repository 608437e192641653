import Foundation

/// What operators' status scripts say of the guests.
extension Services {
  /// Seconds that they have, all together.
  private static let patience = 10

  /// Asks the guests that run and have a script, all at once.
  /// - Returns: the answers by the order of the rows.
  func askGuests(_ services: [(VMEntry, ServiceSettings?)], _ rows: [ServiceList.Row]) -> [Int: String] {
    let asked = rows.indices.compactMap { index -> (index: Int, entry: VMEntry, script: String)? in
      guard rows[index].machineState == .running, let script = services[index].1?.statusScript else { return nil }
      return (index, services[index].0, script)
    }
    let end = DispatchTime.now().uptimeNanoseconds + UInt64(Self.patience) * 1_000_000_000
    let answers = Parallel.map(asked) { answer($0.entry, $0.script, until: end) }
    return Dictionary(uniqueKeysWithValues: zip(asked.map(\.index), answers))
  }

  /// The script's word; its status 255 says that the guest has not booted.
  private func answer(_ entry: VMEntry, _ script: String, until end: UInt64) -> String {
    do {
      try ServiceScripts.check(script, what: "the status script")
      let outcome = try Program.run(
        script, [entry.name], environment: ServiceScripts.environment(entry, registry), until: end)
      if outcome.hasTimedOut { return "no answer for \(Self.patience) s" }
      if outcome.status == 255 { return "not booted" }
      return outcome.firstLine.isEmpty ? "status \(outcome.status)" : outcome.firstLine
    } catch {
      return ManagementError.line(for: error)
    }
  }
}
