import Foundation
import Teleport

/// What a running machine's process says of itself, beside what its files and /proc say.
struct MachineProbe: Sendable {
  /// Its network cards.
  var networks: [NetworkFacts]
  /// What a teleport is doing, while there is one.
  var teleport: TeleportProgress?
  /// How its protection stands, once it has had one.
  var protection: ProtectionProgress?
  /// Counts of its translators by name, all CPUs together.
  var translator: [String: Int] = [:]

  /// Seconds for which a process may be silent: one that is stopped holds the others' figures up no longer.
  private static let patience = 1

  /// Asks the processes of machines, all at once. Those that do not answer have no figures.
  /// - Parameter translators: whether their translators' counts are wanted, for which their CPUs pause for a moment.
  /// - Returns: the answers by definition file.
  static func all(_ entries: [VMEntry], translators: Bool = false) -> [String: MachineProbe] {
    let answers = Parallel.map(entries) { entry -> (String, MachineProbe)? in
      guard let client = try? ControlClient(entry, patience: patience),
        let reply = try? client.request(ControlRequest(.status))
      else { return nil }
      var probe = MachineProbe(networks: reply.networks ?? [], teleport: reply.teleport, protection: reply.protection)
      if translators, let text = try? client.request(ControlRequest(.statistics)).text {
        probe.translator = counts(text)
      }
      return (entry.folder.definition, probe)
    }
    return Dictionary(answers.compactMap { $0 }, uniquingKeysWith: { $1 })
  }

  /// The first number of each line "cpu 0 NAME: NUMBER ...", summed over the CPUs.
  static func counts(_ statistics: String) -> [String: Int] {
    var counts: [String: Int] = [:]
    for line in statistics.split(separator: "\n") where line.hasPrefix("cpu ") {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2 else { continue }
      let name = parts[0].split(separator: " ").dropFirst(2).joined(separator: " ")
      guard let number = Int(parts[1].drop { $0 == " " }.prefix { $0.isNumber }) else { continue }
      counts[name, default: 0] &+= number
    }
    return counts
  }
}
