import Devices
import Foundation
import Synchronization

/// Frames on their way to a stream socket: of the link's thread, and a short one at once of the thread of the CPU that sends
/// it, which saves waking the other. In what order is the gate's of the pipe's queue to say (`HostQueue.whileOpen`,
/// `takeAtOnce`).
final class FrameOutput: Sendable {
  private struct State {
    var socket: Int32 = -1
    var buffer = OutputBuffer()
  }

  private let state = Mutex(State())
  /// Bytes of a frame that is somebody's question or answer.
  private static let shortFrame = 512

  /// What is sent from now on goes there.
  func attach(_ socket: Int32) { state.withLock { $0 = State(socket: socket) } }

  /// Nothing is written any more when this returns, so that the socket can be closed.
  func detach() { state.withLock { $0 = State() } }

  /// Bytes that the socket has not taken.
  var count: Int { state.withLock { $0.buffer.count } }
  var isEmpty: Bool { count == 0 }

  /// Sends what the socket takes now.
  /// - Returns: false when the other side is gone.
  func send(_ frames: [[UInt8]]) -> Bool {
    state.withLock { state in
      guard state.socket >= 0 else { return true }
      state.buffer.append { bytes in for frame in frames { FrameStream.encode(frame, to: &bytes) } }
      return state.buffer.flush(state.socket)
    }
  }

  /// For `onItems`: sends a short frame that waits alone.
  /// - Returns: false where that is for the link's thread to do, or has been begun and is for it to finish.
  func sendAtOnce(from queue: HostQueue<[UInt8]>) -> Bool {
    var isSent = true
    let isTaken = queue.takeAtOnce({ $0.count <= Self.shortFrame && isIdle }) { isSent = send([$0]) && isEmpty }
    return isTaken && isSent
  }

  private var isIdle: Bool { state.withLock { $0.socket >= 0 && $0.buffer.isEmpty } }
}
