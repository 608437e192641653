import Devices
import Foundation

/// A link whose network goes on sending to the host that a machine has left, until it has learned where the machine is: what
/// comes meanwhile, and what came while the machine stood still, is sent after it.
public protocol ForwardingLink: NetworkLink {
  /// The machine has gone. Returns at once; this link has stopped then.
  /// - Parameters: socket: a connection to `join` of its new host, from now on this link's. key: 32 bytes that both ends have;
  ///   nil: nothing on it is encrypted. address: the card's.
  func leave(_ socket: Int32, key: [UInt8]?, address: MACAddress)
  /// Returns when nothing more is sent after the machine.
  func waitUntilLeft()
  /// The machine has come. To be called before `connect`.
  /// - Parameters: as for `leave`. log: takes a line for the machine's log.
  func join(_ socket: Int32, key: [UInt8]?, address: MACAddress, log: @escaping @Sendable (String) -> Void)
}

/// The two ends of a connection on which frames are sent after a machine (`ForwardingLink`). It speaks as an anchor without
/// flows does (`AnchorLink`), so that whoever is at the other end understands it.
enum LateFrames {
  /// Milliseconds for which the network may take the machine to be where it was.
  static let sendingTime: Int64 = 300
  /// Milliseconds after which nothing is waited for any more.
  static let receivingTime: Int64 = 2000
  private static let pendingLimit = 1 << 20

  /// Whether a frame is for the card alone: others reach the new host by themselves.
  static func isFor(_ address: MACAddress, _ frame: some Collection<UInt8>) -> Bool {
    frame.count >= 14 && frame.prefix(6).elementsEqual(address.bytes)
  }

  /// Sends what has come for the card, and what comes within `sendingTime`.
  static func send(_ held: [[UInt8]], _ device: any FrameDevice, _ link: AnchorLink, _ address: MACAddress) {
    let lastTime = NATStack.milliseconds + sendingTime
    link.put(flows: [], host: "", now: NATStack.milliseconds)
    func put(_ item: [UInt8]) {
      for frame in device.hasHeaders ? FrameOffload.frames(ofPacket: item) : [item]
      where isFor(address, frame) { link.put(frame) }
    }
    for item in held { put(item) }
    while true {
      var count = 0
      // What finds no room waits in the kernel.
      while count < 64, link.pending < pendingLimit, let item = device.receive() {
        put(item)
        count += 1
      }
      let left = lastTime - NATStack.milliseconds
      guard left > 0 else { return end(link) }
      guard link.flush() else { return }
      let reads = link.pending < pendingLimit
      var descriptors = [
        pollfd(fd: device.descriptor, events: reads ? Int16(POLLIN) : 0, revents: 0), link.events(reads: true),
      ]
      guard poll(&descriptors, 2, Int32(left)) > 0 else { continue }
      if descriptors[0].revents & Int16(POLLERR | POLLHUP | POLLNVAL) != 0 { return }
      // It has nothing to say but its end.
      if descriptors[1].revents & Int16(POLLIN | POLLHUP | POLLERR) != 0, !link.read() { return }
    }
  }

  /// Says that this is all, and sends what the other end has not taken yet while it may wait for that.
  private static func end(_ link: AnchorLink) {
    let lastTime = NATStack.milliseconds + receivingTime - sendingTime
    link.putFarewell(now: NATStack.milliseconds)
    while link.flush(), link.pending > 0 {
      let left = lastTime - NATStack.milliseconds
      var descriptors = [link.events(reads: true)]
      guard left > 0, poll(&descriptors, 1, Int32(left)) > 0 else { return }
      if descriptors[0].revents & Int16(POLLIN | POLLHUP | POLLERR) != 0, !link.read() { return }
    }
  }

  /// Takes what the other end sends, until it says that this is all.
  /// - Parameter isWanted: whether somebody still does.
  /// - Returns: how many frames the pipe has taken.
  static func receive(
    _ link: AnchorLink, for address: MACAddress, to pipe: FramePipe, hasHeaders: Bool, while isWanted: () -> Bool
  ) -> Int {
    let end = NATStack.milliseconds + receivingTime
    var count = 0
    while isWanted(), NATStack.milliseconds < end {
      var descriptors = [link.events(reads: true)]
      guard poll(&descriptors, 1, 100) > 0 else { continue }
      guard link.read() else { return count }
      do throws(HostNetworkError) {
        while let frame = try link.next() {
          guard isFor(address, frame) else { continue }
          let item = [hasHeaders ? FrameOffload.packet(frame) : frame]
          // A card that is slow has few places free; whoever sends waits for it.
          while pipe.toDevice.offer(item) == 0 {
            guard isWanted(), NATStack.milliseconds < end else { return count }
            usleep(1000)
          }
          count += 1
        }
      } catch { return count }
      // Flows are an anchor's, which this card's network has no use for.
      for event in link.takeEvents() {
        if case .flows(let flows) = event, flows.flows.isEmpty { continue }
        return count
      }
    }
    return count
  }
}
