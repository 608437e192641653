/// What a cluster's resource agent says of a machine (OCF Resource Agent API 1.1, exit status codes).
public enum ClusterStatus {
  /// OCF_ERR_INSTALLED.
  public static let noSuchMachine: Int32 = 5

  /// OCF_SUCCESS 0, OCF_ERR_GENERIC 1, OCF_NOT_RUNNING 7.
  public static func of(_ state: VMState, isInDoubt: Bool) -> Int32 {
    // Who may have the machine must not let another start it: the cluster fences first.
    if isInDoubt { return 0 }
    switch state {
    case .gurumeditation: return 1
    case .poweroff, .saved, .teleported, .aborted, .teleportingin, .standby: return 7
    default: return 0
    }
  }
}

extension VMEntry {
  /// Whether a teleport has left the question who has the machine: its process has died in the middle of the hand-over, or
  /// asks a target that does not answer. A live process that does not answer either is not asked for long.
  ///
  /// What another boot of the host has left is none: the machine is not here, and whoever starts it must know that it is
  /// nowhere else either.
  public func isInDoubt(_ status: StatusRecord) -> Bool {
    guard let record = openTeleport else { return false }
    guard status.state.isLive else { return record.isOfThisBoot }
    guard [.teleporting, .teleportingpausedvm].contains(status.state) else { return false }
    let reply = try? ControlClient(self, patience: 3).request(ControlRequest(.status))
    return reply?.teleport?.phase == .inDoubt
  }
}
