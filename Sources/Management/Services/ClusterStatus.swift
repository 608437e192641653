/// What a cluster's resource agent says of a machine (OCF Resource Agent API 1.1, exit status codes).
public enum ClusterStatus {
  /// OCF_SUCCESS 0, OCF_ERR_GENERIC 1, OCF_NOT_RUNNING 7.
  public static func of(_ state: VMState, isInDoubt: Bool) -> Int32 {
    // Who may have the machine must not let another start it: the cluster fences first.
    if isInDoubt { return 0 }
    switch state {
    case .gurumeditation: return 1
    case .poweroff, .saved, .teleported, .aborted, .teleportingin: return 7
    default: return 0
    }
  }
}
