import HostNetwork

/// The network cards, as the host sees them.
extension VirtualMachine {
  /// The slots of the cards that are there, 1 to 8.
  public var networkSlots: [Int] { board.networkPorts.keys.sorted() }

  /// The pipe of card `slot` for what takes its frames from now on; nil: there is no such card.
  /// - Parameter link: what that is; it says in which form it takes frames.
  public func connectNetwork(slot: Int, to link: (any NetworkLink)? = nil) -> FramePipe? {
    guard let port = board.networkPorts[slot] else { return nil }
    port.connect(withHeaders: link?.takesHeaders ?? false, withLongFrames: link?.takesLongFrames ?? false)
    return port.pipe
  }

  /// - Parameter observer: sees every frame that card `slot` sends or takes, with the machine lock held: it must not block.
  public func observeNetwork(slot: Int, _ observer: (@Sendable (NetworkPort.Direction, [UInt8]) -> Void)?) {
    board.networkPorts[slot]?.observe(observer)
  }

  /// Plugs the cable of card `slot` in or out.
  public func setNetworkCarrier(slot: Int, _ isThere: Bool) { board.networkPorts[slot]?.setCarrier(isThere) }

  /// Whether the cable of card `slot` is plugged in; nil: there is no such card.
  public func networkCarrier(slot: Int) -> Bool? { board.networkPorts[slot]?.hasCarrier }

  /// What has gone through the cable of card `slot`; nil: there is no such card.
  public func networkCounters(slot: Int) -> NetworkCounters? { board.networkPorts[slot]?.counters }
}
