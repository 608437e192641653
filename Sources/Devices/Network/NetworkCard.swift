/// A network card as the board knows it: a device that has a cable.
///
/// Frames go from the destination address on and without their CRC. All is called with the machine lock held.
public protocol NetworkCard: Device {
  /// Its own, as the maker has set it.
  var address: MACAddress { get }
  /// Whether the cable is plugged in.
  var hasCarrier: Bool { get }
  /// Plugs the cable in or out.
  func setCarrier(_ isThere: Bool)
  /// Takes a frame off the wire.
  /// - Returns: false when the guest has no room for it at present: the frame stays with the caller until `onReceiveRoom`.
  func receive(_ frame: [UInt8]) -> Bool
  /// The guest has made room again after a refusal.
  var onReceiveRoom: () -> Void { get set }
  /// Whether the wire takes frames, at least two of them. While it does not the guest's wait in its ring. Like `onSend` it is
  /// called in the middle of sending: it may not ask the card anything.
  var wireHasRoom: () -> Bool { get set }
  /// A frame of the guest's.
  var onSend: ([UInt8]) -> Void { get set }
  /// The wire takes frames again.
  func wireRoomChanged()
  /// Asks the guest to tell the network where it is, where the card has a way to: the machine has moved.
  func askToAnnounce()
}

extension NetworkCard {
  public func askToAnnounce() {}
}

/// A card whose guest gives away and takes packets with work left to do on them (`FrameOffload`), where the wire does too.
///
/// Such a packet is one array of bytes: the header (`FrameOffload.paddedHeaderLength`), then the packet.
public protocol OffloadingCard: NetworkCard {
  /// Set by a wire that takes packets with work left to do, with the header in front, in place of `onSend`.
  var onSendPacket: (([UInt8]) -> Void)? { get set }
  /// Whether the driver does this work on a packet that it receives.
  func takes(_ offload: FrameOffload) -> Bool
  /// Takes a packet with its header off the wire, of which `offload` was read; the card `takes` that.
  /// - Returns: as `receive(_:)`.
  func receive(packet: [UInt8], _ offload: FrameOffload) -> Bool
}
