import Devices
import Foundation
import Synchronization

/// A descriptor that takes and gives a frame at a time.
protocol FrameDevice: AnyObject {
  /// A frame is a packet with the header of `FrameOffload`.
  var hasHeaders: Bool { get }
  /// To be waited on.
  var descriptor: Int32 { get }
  /// Sends frames, waiting for a moment at most. What is not taken is lost, as on Ethernet.
  func send(_ frames: [[UInt8]])
  /// Sends a short frame without waiting at all, on any thread while nobody is in `send`; nil: it cannot do that.
  var sendAtOnce: (@Sendable ([UInt8]) -> Void)? { get }
  /// The next frame; nil: there is none now.
  func receive() -> [UInt8]?
  /// What comes for a machine that stands still is left in the kernel, from where it can be sent after the machine.
  var waitsForMachine: Bool { get }
}

/// A card's cable to a network of datagrams: a tap, or an internal network. What the guest does not take waits in the kernel,
/// which drops what finds no room there.
final class FrameLink: ForwardingLink, @unchecked Sendable {
  private struct State {
    var pipe: FramePipe?
    var isEnding = false
  }

  let description: String
  private let device: any FrameDevice
  private let state = Mutex(State())
  private let bell: Bell
  private var thread: Thread?
  private let ended = DispatchSemaphore(value: 0)
  private let left = DispatchGroup()
  /// The connection to the host that the machine has left, between `join` and `connect`.
  private var arrival: (link: AnchorLink, address: MACAddress, log: @Sendable (String) -> Void)?
  /// Frames that the pipe has not taken yet, from `heldStart` on.
  private var held: [[UInt8]] = []
  private var heldStart = 0
  /// Frames of one turn each way, and bytes after which no more are fetched.
  private static let batch = 32
  private static let shortFrame = 512
  private static let batchBytes = 128 << 10

  var takesHeaders: Bool { device.hasHeaders }

  /// - Throws: `HostNetworkError` when the host has no descriptors left.
  init(_ description: String, _ device: any FrameDevice) throws(HostNetworkError) {
    self.description = description
    self.device = device
    bell = try Bell()
  }

  func start() throws {
    let thread = Thread { [self] in
      while !state.withLock({ $0.isEnding }) { turn() }
      ended.signal()
    }
    thread.name = "network"
    self.thread = thread
    thread.start()
  }

  func connect(_ pipe: FramePipe) {
    // What came before is for who had the machine then.
    while device.receive() != nil {}
    state.withLock { $0.pipe = pipe }
    let send = device.sendAtOnce
    pipe.toHost.onItems { [bell, unowned queue = pipe.toHost] in
      // A short frame, as of who waits for an answer, goes on its way at once; more is for the thread.
      guard let send, queue.takeAtOnce({ $0.count <= Self.shortFrame }, send) else { return bell.ring() }
    }
    pipe.toDevice.onRoom { [bell] in bell.ring() }
    bell.ring()
    receiveLate(pipe)
  }

  func stop() {
    guard thread != nil else { return }
    thread = nil
    state.withLock { $0.isEnding = true }
    bell.ring()
    ended.wait()
    state.withLock { $0.pipe }?.toHost.onItems {}
  }

  private func turn() {
    let pipe = state.withLock { $0.pipe }
    var reads = false
    if let pipe {
      // Few at a time: who closes the pipe waits for them.
      let isOpen: Void? = pipe.toHost.whileOpen {
        device.send(pipe.toHost.take(Self.batch))
        if device.waitsForMachine { deliver(pipe) }
      }
      reads = isOpen != nil || !device.waitsForMachine
      if !device.waitsForMachine { deliver(pipe) }
    }
    let hasMore = pipe.map { $0.toHost.whileOpen { true } != nil && $0.toHost.count > 0 } ?? false
    var descriptors = [
      pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: device.descriptor, events: reads && held.isEmpty ? Int16(POLLIN) : 0, revents: 0),
    ]
    guard poll(&descriptors, 2, hasMore ? 0 : -1) > 0 else { return }
    if descriptors[0].revents != 0 { bell.hear() }
    // A tap whose interface has gone has nothing else to say.
    if descriptors[1].revents & Int16(POLLERR | POLLHUP | POLLNVAL) != 0 { usleep(100_000) }
  }

  /// As many as one turn has time for, at once: the machine is called once for all.
  private func deliver(_ pipe: FramePipe) {
    if held.isEmpty {
      heldStart = 0
      var bytes = 0
      while held.count < Self.batch, bytes < Self.batchBytes, let frame = device.receive() {
        bytes += frame.count
        held.append(frame)
      }
    }
    guard !held.isEmpty else { return }
    heldStart += pipe.toDevice.offer(held[heldStart...])
    if heldStart == held.count { held.removeAll(keepingCapacity: true) }
  }

  // MARK: A machine that has gone, or come

  func leave(_ socket: Int32, key: [UInt8]?, address: MACAddress) {
    stop()
    let link = AnchorLink(socket, key: key, isAnchor: true, now: NATStack.milliseconds)
    guard device.waitsForMachine else { return }
    // The thread has both from here on.
    nonisolated(unsafe) let (mine, rest) = (link, held.isEmpty ? [] : Array(held[heldStart...]))
    left.enter()
    let thread = Thread { [self] in
      LateFrames.send(rest, device, mine, address)
      left.leave()
    }
    thread.name = "late frames"
    thread.start()
  }

  func waitUntilLeft() { left.wait() }

  func join(_ socket: Int32, key: [UInt8]?, address: MACAddress, log: @escaping @Sendable (String) -> Void) {
    let link = AnchorLink(socket, key: key, isAnchor: false, now: NATStack.milliseconds)
    arrival = (link, address, log)
  }

  private func receiveLate(_ pipe: FramePipe) {
    guard let arrival else { return }
    self.arrival = nil
    nonisolated(unsafe) let link = arrival.link
    let (address, log, hasHeaders) = (arrival.address, arrival.log, device.hasHeaders)
    let thread = Thread { [weak self] in
      let count = LateFrames.receive(link, for: address, to: pipe, hasHeaders: hasHeaders) {
        self.map { cable in cable.state.withLock { !$0.isEnding } } ?? false
      }
      if count > 0 { log("frames that the host sent on which the machine has left: \(count)") }
    }
    thread.name = "late frames"
    thread.start()
  }
}
