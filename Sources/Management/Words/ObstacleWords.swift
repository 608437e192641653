import Teleport

/// What stands against a teleport, a line each, with what helps.
enum ObstacleWords {
  /// On whose host it is.
  enum Side: String { case source, target }

  /// - Parameter machine: the target's name for its machine.
  static func text(_ obstacle: TeleportObstacle, machine: String, side: Side) -> String {
    let text =
      switch obstacle {
      case .hardware(let mismatch): MismatchWords.line(mismatch, machine: machine)
      case .memory(let needed, let available):
        "the target's host has \(available) MB of memory left, and the machine may need \(needed) MB; end something there"
      case .medium(let reason): "the target cannot take a medium: \(reason)"
      case .records(let reason): "on the \(side.rawValue)'s host \(reason); free some space there"
      case .forward(let card, let reason):
        "network card \(card) has no such port on the target's host: \(reason); it is tried again once the machine is there"
      }
    return ManagementError.line(for: ForeignText.clean(text))
  }
}
