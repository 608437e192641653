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
}

/// A card's cable to a network of datagrams: a tap, or an internal network. What the guest does not take waits in the kernel,
/// which drops what finds no room there.
final class FrameLink: NetworkLink, @unchecked Sendable {
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
    if let pipe {
      // Few at a time: who closes the pipe waits for them.
      pipe.toHost.whileOpen { device.send(pipe.toHost.take(Self.batch)) }
      deliver(pipe)
    }
    let hasMore = pipe.map { $0.toHost.whileOpen { true } != nil && $0.toHost.count > 0 } ?? false
    var descriptors = [
      pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: device.descriptor, events: pipe != nil && held.isEmpty ? Int16(POLLIN) : 0, revents: 0),
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
}
