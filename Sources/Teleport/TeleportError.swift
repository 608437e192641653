/// Why a teleport did not happen, or did not go on. The description says what happened and what to do.
public enum TeleportError: Error, Equatable, CustomStringConvertible, Sendable {
  case cannotConnect(host: String, port: Int, reason: String)
  /// Nobody listens there: the connection was refused by the host itself.
  case nobodyListens(host: String, port: Int)
  case cannotListen(address: String, port: Int, reason: String)
  case otherProtocol(String)
  case version(String)
  case busy(String)
  case password(String)
  case passwordNeeded
  /// What came was not what the other side has sent.
  case tampered
  /// The target, whose machine has this name, asks for none though one was given.
  case passwordNotAsked(machine: String)
  /// With the target's name for its machine.
  case hardware([HardwareMismatch], machine: String)
  /// The other side ended the connection in an orderly way, or the host of a dead process did.
  case closed
  case connectionLost(String)
  case timedOut(String)
  case cancelled
  /// The stream breaks the protocol's rules.
  case damaged(String)
  /// The other side gives a reason why it does not go on.
  case refused(String)
  case proof(String)
  /// The rest of memory never fitted the downtime.
  case tooBusy(megabytes: Double, milliseconds: Int, allowed: Int)
  case machineStopped
  case tooLate
  case mediaTaken(String)
  case givenUp
  case endedElsewhere

  public var description: String {
    switch self {
    case .cannotConnect(let host, let port, let reason): "cannot reach \(host) port \(port): \(reason)"
    case .nobodyListens(let host, let port):
      "nothing listens on \(host) port \(port)"
    case .cannotListen(let address, let port, let reason):
      "cannot wait for a teleport on \(address) port \(port): \(reason)"
    case .otherProtocol(let what): "the peer speaks another protocol (\(what)); check host and port"
    case .version(let what): what
    case .busy(let what): "the target is busy: \(what)"
    case .password(let what): what
    case .tampered: "what arrived is not what the peer has sent: somebody between the two hosts has changed it"
    case .passwordNeeded: "the target asks for a password"
    case .passwordNotAsked: "the target asks for no password, though one was given"
    case .hardware(let mismatches, _):
      "the machines' hardware does not match (\(mismatches.count == 1 ? "a difference" : "\(mismatches.count) differences"))"
        + mismatches.map { "\n  \($0)" }.joined()
    case .closed: "the peer closed the connection"
    case .connectionLost(let reason): "the connection was lost: \(reason)"
    case .timedOut(let what): "time-out: \(what)"
    case .cancelled: "cancelled"
    case .damaged(let what): "the stream is damaged: \(what)"
    case .refused(let what): "the peer refused: \(what)"
    case .proof(let what): "the two machines are not equal: \(what)"
    case .tooBusy(let megabytes, let milliseconds, _):
      "the guest writes its memory faster than the connection takes it, even slowed down: "
        + "\((megabytes * 10).rounded() / 10) MB remain, which takes \(milliseconds) ms, and half of the downtime is theirs"
    case .machineStopped: "the machine ended while it was being teleported"
    case .tooLate: "the machine has been handed over already"
    case .mediaTaken(let what):
      "the machine stays paused, since its media could not be locked again; resume tries once more: \(what)"
    case .givenUp: "given up by the user while the target's answer was outstanding"
    case .endedElsewhere: "the machine was handed over, and has since ended on the target"
    }
  }
}
