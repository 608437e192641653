/// What the user of a source decides.
extension TeleportSource {
  /// Where to, and how.
  public struct Options: Sendable {
    /// The target's name or address.
    public var host: String
    /// The target's TCP port.
    public var port: Int
    /// Milliseconds that the machine may stand still; more is accepted only if it cannot be kept.
    public var maxDowntimeMS = 250
    /// What the target asks for; nil: nothing is offered.
    public var password: String?
    /// How long the other side may be silent.
    public var timeoutMS = 10_000
    public var name: String
    /// The machine's, which the target compares.
    public var uuid: String
    /// The network cards whose flows are carried on from here when the machine has gone, if the target wants it.
    public var anchors: [Int] = []
    /// What a receiver makes the target of.
    public var definition: String?

    public init(host: String, port: Int, name: String, uuid: String) {
      self.host = host
      self.port = port
      self.name = name
      self.uuid = uuid
    }
  }

  /// How the user ends a doubt.
  public enum Resolution: Sendable {
    /// The user vouches that the target does not run it: the machine goes on here.
    case takeBack
    /// The machine counts as handed over.
    case giveUp
  }
}
